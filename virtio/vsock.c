/*
 * The socket device (virtio 1.2, 5.10): what it is made of, when its queues run, and calls of
 * programs of the host. vsock_parts.h says what the other files do.
 *
 * When a queue goes to rest (a reset, or the end of the machine) every stream ends; bytes that the
 * guest sent before, and that the host's reader has not taken yet, still go to him. The event queue
 * stays unused: its one event tells of a migration.
 */
#include "virtio/vsock.h"

#include "util/macros.h"
#include "virtio/vsock_parts.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_vsock.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* virtio 1.2, 5.10.3; Linux's header leaves it out. */
#ifndef VIRTIO_VSOCK_F_STREAM
#define VIRTIO_VSOCK_F_STREAM 0
#endif

/* Descriptors for what is not a stream. */
enum { FILES_BESIDE = 512, DRAIN_PAUSE_MS = 5 };

/* ---- queues ---- */

void vsock_fail(struct vsock *v, unsigned queue, const char *why)
{
	virtio_queue_fail(&v->device.queue[queue], why);
	vsock_host_accept(v->host, false);
	stream_leave_all(v);
}

static int on_start(struct virtio_queue *queue)
{
	struct vsock *v = vsock_of(queue->device);

	if (queue->index == QUEUE_EVENT)
		return 0;
	v->resets = 0;
	v->tx_waits = false;
	if (vsock_up(v))
		vsock_host_accept(v->host, true);
	return 0;
}

static void work(struct vsock *v)
{
	vsock_tx_work(v);
	vsock_rx_work(v);
}

static void on_kick(struct virtio_queue *queue)
{
	if (queue->index == QUEUE_RX)
		vsock_rx_work(vsock_of(queue->device));
	else if (queue->index == QUEUE_TX)
		work(vsock_of(queue->device));
}

static void on_more_tx(struct worker_task *task)
{
	work(container_of(task, struct vsock, more_tx));
}

static void on_more_rx(struct worker_task *task)
{
	vsock_rx_work(container_of(task, struct vsock, more_rx));
}

/*
 * Nothing of a queue is ever in flight. What the guest has put into its queue it has sent, even if
 * the machine went off at once: it is taken yet, whichever of the two queues goes first.
 */
static void on_quiesce(struct virtio_queue *queue)
{
	struct vsock *v = vsock_of(queue->device);

	if (queue->index != QUEUE_EVENT) {
		vsock_host_accept(v->host, false);
		vsock_tx_last(v);
		stream_leave_all(v);
	}
	virtio_queue_idle(queue);
}

static const struct virtio_ops vsock_ops = {
	.name = "vsock",
	.id = VIRTIO_ID_VSOCK,
	.start = on_start,
	.kick = on_kick,
	.quiesce = on_quiesce,
};

/* ---- the host's side ---- */

static void on_call(struct vsock_user *user, int fd, uint32_t port)
{
	struct vsock *v = container_of(user, struct vsock, user);
	struct stream *s;

	if (!vsock_up(v)) {
		close(fd);
		return;
	}
	s = stream_new(v, fd, STREAM_CALLING, stream_free_port(v, port), port, OWE_REQUEST);
	if (s)
		stream_wake(s);
}

static void on_settled(struct vsock_user *user)
{
	vsock_rx_work(container_of(user, struct vsock, user));
}

/* ---- life ---- */

static void raise_limit(void)
{
	const rlim_t want = VSOCK_STREAMS_MAX + FILES_BESIDE;
	struct rlimit limit;

	/* If it cannot be raised there are fewer streams; those that are too many are refused. */
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= want)
		return;
	limit.rlim_cur = MIN(want, limit.rlim_max);
	setrlimit(RLIMIT_NOFILE, &limit);
}

int virtio_vsock_create(struct virtio_device **out, const struct guest_memory *mem,
	const struct vsock_params *params, struct error *err)
{
	struct vsock_host_params host = {
		.listen_fd = params->listen_fd,
		.listens = params->listens,
		.listen = params->listen,
		.listen_dir_prefix = params->listen_dir_prefix,
	};
	uint64_t cid = htole64(params->guest_cid);
	struct vsock *v;
	int r;

	if (params->guest_cid < VSOCK_GUEST_CID_MIN || params->guest_cid >= UINT32_MAX)
		return error_set(err, ERROR_USAGE, EINVAL,
			"vsock: %llu cannot be a guest's CID: try one from %d to 4294967294",
			(unsigned long long)params->guest_cid, VSOCK_GUEST_CID_MIN);
	v = calloc(1, sizeof(*v));
	if (!v)
		return error_set(err, ERROR_HOST, ENOMEM, "vsock: out of memory");
	v->guest_cid = params->guest_cid;
	v->user = (struct vsock_user){ on_call, on_settled };
	v->more_tx.run = on_more_tx;
	v->more_rx.run = on_more_rx;
	TAILQ_INIT(&v->run);
	TAILQ_INIT(&v->left);
	if (getrandom(&v->seed, sizeof(v->seed), GRND_NONBLOCK) < 0)
		v->seed = (uint32_t)getpid(); /* early in a host's boot: better than nothing */
	v->device.ops = &vsock_ops;
	v->device.queues = QUEUES;
	v->device.queue_max = VSOCK_QUEUE_SIZE;
	v->device.offered = 1ULL << VIRTIO_VSOCK_F_STREAM;
	v->device.config_size = sizeof(cid);
	memcpy(v->device.config, &cid, sizeof(cid));
	snprintf(v->device.label, sizeof(v->device.label), "vsock");
	r = virtio_device_init(&v->device, mem, err);
	if (r < 0) {
		free(v);
		return r;
	}
	r = vsock_host_open(&v->host, &host, err);
	if (r < 0) {
		virtio_device_destroy(&v->device);
		free(v);
		return r;
	}
	raise_limit();
	*out = &v->device;
	return 0;
}

enum worker_kind virtio_vsock_worker_kind(const struct vsock_params *params)
{
	bool connects = params->listen_dir_prefix != NULL;

	for (unsigned i = 0; i < params->listens; i++)
		connects |= params->listen[i].path != NULL;
	return connects ? WORKER_VSOCK_CONNECT : WORKER_VSOCK;
}

int virtio_vsock_assign(struct virtio_device *device, struct worker *worker, struct error *err)
{
	struct vsock *v = vsock_of(device);
	int r = vsock_host_attach(v->host, worker, &v->user, err);

	for (unsigned i = 0; i < QUEUES && r == 0; i++)
		r = virtio_queue_assign(device, i, worker, err);
	return r;
}

/* ---- the last bytes ---- */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/*
 * Write what the socket takes; true if there is more. By main, whose filter knows write and poll;
 * SIGPIPE is ignored.
 */
static bool drain_one(struct stream *s)
{
	while (s->buf_used) {
		uint32_t first = MIN(s->buf_used, s->buf_alloc - s->buf_start);
		ssize_t n = write(s->sock.fd, s->buf + s->buf_start, first);

		if (n < 0 && errno == EAGAIN)
			return true;
		if (n < 0 && errno != EINTR)
			return false;
		s->buf_start = (s->buf_start + (uint32_t)MAX(n, 0)) % s->buf_alloc;
		s->buf_used -= (uint32_t)MAX(n, 0);
	}
	return false;
}

void virtio_vsock_drain(struct virtio_device *device, int ms)
{
	struct vsock *v = vsock_of(device);
	int64_t end = now_ms() + ms;
	struct stream *s;
	bool more;

	do {
		more = false;
		TAILQ_FOREACH(s, &v->left, link)
		more |= drain_one(s);
	} while (more && now_ms() < end && poll(NULL, 0, DRAIN_PAUSE_MS) == 0);
}

void virtio_vsock_destroy(struct virtio_device *device)
{
	struct vsock *v;

	if (!device)
		return;
	v = vsock_of(device);
	/* The table is empty since the queues came to rest; the epoll instance goes as a whole. */
	while (!TAILQ_EMPTY(&v->left)) {
		struct stream *s = TAILQ_FIRST(&v->left);

		TAILQ_REMOVE(&v->left, s, link);
		close(s->sock.fd);
		free(s->buf);
		free(s);
	}
	vsock_host_close(v->host);
	virtio_device_destroy(&v->device);
	free(v);
}
