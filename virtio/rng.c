/*
 * The entropy device (virtio 1.2, 5.4): the host's kernel reads its random bytes straight into the
 * driver's buffers. One buffer at a time, and of a long one only the first bytes: a guest that asks
 * without end gets its share and no more.
 */
#include "virtio/rng.h"

#include "util/cleanup.h"
#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_ids.h>
#include <string.h>

enum { QUEUE_SIZE = 64, IOVS = 8, BYTES_MAX = 4096, RETRIES_MAX = 100 };

static const char source[] = "/dev/urandom";

struct rng {
	struct virtio_device device;
	/* Constant after start. */
	int fd;
	int file;
	/* Worker only. */
	struct worker_op op;
	struct worker_task more;
	bool busy; /* a buffer is with the kernel */
	uint8_t retries;
	uint16_t head;
	unsigned count;
	struct iovec iov[RING_CHAIN_MAX];
};

static struct rng *rng_of(struct virtio_device *device)
{
	return container_of(device, struct rng, device);
}

static void submit(struct rng *rng)
{
	struct worker *worker = rng->device.queue[0].worker;
	struct io_uring_sqe *sqe = worker_sqe(worker);

	io_uring_prep_readv(sqe, rng->file, rng->iov, rng->count, 0);
	worker_submit(worker, sqe, &rng->op);
}

/* Leave the first BYTES_MAX bytes, in IOVS pieces at most. */
static void shorten(struct rng *rng, const struct ring_chain *chain)
{
	size_t left = BYTES_MAX;

	rng->count = 0;
	for (unsigned i = 0; i < MIN(chain->in_count, (unsigned)IOVS) && left; i++) {
		struct iovec *v = &chain->iov[chain->out_count + i];

		rng->iov[i] = (struct iovec){ v->iov_base, MIN(v->iov_len, left) };
		left -= rng->iov[i].iov_len;
		rng->count++;
	}
}

static void give_back(struct rng *rng, uint32_t written)
{
	struct virtio_queue *queue = &rng->device.queue[0];

	ring_push(&queue->ring, rng->head, written);
	virtio_queue_done(queue);
}

/* Take chains until one can be filled; that one goes to the kernel. */
static void work(struct virtio_queue *queue)
{
	struct rng *rng = rng_of(queue->device);
	struct ring_chain chain = { .iov = rng->iov, .iov_cap = ARRAY_SIZE(rng->iov) };
	int r;

	if (rng->busy)
		return;
	ring_kicks_off(&queue->ring);
	for (unsigned n = 0; n < QUEUE_SIZE; n++) {
		r = ring_pop(&queue->ring, &chain);
		if (r < 0) {
			virtio_queue_fail(queue, queue->ring.fault);
			return;
		}
		if (r == 0) {
			if (!ring_kicks_on(&queue->ring))
				return;
			continue;
		}
		rng->head = chain.head;
		shorten(rng, &chain);
		if (rng->count) {
			rng->busy = true;
			rng->retries = 0;
			submit(rng);
			return;
		}
		give_back(rng, 0); /* nothing to write into */
	}
	/* Chains without room for a byte, and no end of them: the others have their turn first. */
	worker_yield(queue->worker, &rng->more);
}

static void on_more(struct worker_task *task)
{
	struct rng *rng = container_of(task, struct rng, more);

	if (virtio_queue_active(&rng->device.queue[0]))
		work(&rng->device.queue[0]);
}

static void on_read(struct worker_op *op, int res, uint32_t cqe_flags)
{
	struct rng *rng = container_of(op, struct rng, op);
	struct virtio_queue *queue = &rng->device.queue[0];

	if ((res == -EINTR || res == -EAGAIN) && rng->retries++ < RETRIES_MAX) {
		submit(rng);
		return;
	}
	if (res < 0)
		log_limited(&rng->device.complaints, LOG_LEVEL_WARN, "%s: cannot read %s: %s",
			rng->device.label, source, strerror(-res));
	rng->busy = false;
	give_back(rng, (uint32_t)MAX(res, 0));
	if (queue->quiescing)
		virtio_queue_idle(queue);
	else if (virtio_queue_active(queue))
		work(queue);
}

static void rng_quiesce(struct virtio_queue *queue)
{
	if (!rng_of(queue->device)->busy)
		virtio_queue_idle(queue);
}

static const struct virtio_ops rng_ops = {
	.name = "rng",
	.id = VIRTIO_ID_RNG,
	.kick = work,
	.quiesce = rng_quiesce,
};

int virtio_rng_create(struct virtio_device **out, const struct guest_memory *mem, const char *label,
	struct error *err)
{
	struct rng *rng = calloc(1, sizeof(*rng));
	int r;

	if (!rng)
		return error_set(err, ERROR_HOST, ENOMEM, "%s: out of memory", label);
	rng->device.ops = &rng_ops;
	rng->device.queues = 1;
	rng->device.queue_max = QUEUE_SIZE;
	rng->op.complete = on_read;
	rng->more.run = on_more;
	snprintf(rng->device.label, sizeof(rng->device.label), "%s", label);
	rng->fd = open(source, O_RDONLY | O_CLOEXEC);
	if (rng->fd < 0) {
		r = error_set(err, ERROR_HOST, errno, "%s: cannot open %s: %m", label, source);
		free(rng);
		return r;
	}
	r = virtio_device_init(&rng->device, mem, err);
	if (r < 0) {
		close(rng->fd);
		free(rng);
		return r;
	}
	*out = &rng->device;
	return 0;
}

int virtio_rng_attach(struct virtio_device *device, struct worker *worker, struct error *err)
{
	struct rng *rng = rng_of(device);

	rng->file = worker_add_file(worker, rng->fd);
	if (rng->file < 0)
		return error_set(err, ERROR_HOST, -rng->file, "%s: cannot register %s: %s",
			device->label, source, strerror(-rng->file));
	worker_allow(worker, IORING_OP_READV);
	return virtio_queue_assign(device, 0, worker, err);
}

void virtio_rng_destroy(struct virtio_device *device)
{
	struct rng *rng;

	if (!device)
		return;
	rng = rng_of(device);
	close(rng->fd);
	virtio_device_destroy(device);
	free(rng);
}
