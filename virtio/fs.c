/*
 * The file system device (virtio 1.2, 5.11): FUSE requests from the rings to the server and back.
 *
 * Everything but create, assign and destroy runs on one worker, of the kind WORKER_FS: the server
 * makes its system calls there. A request is most often answered before the next is taken. One that
 * takes long (a flush, a read from the disk) keeps its slot, and with it its chain, until the ring
 * has done it; one that waits for a lock until the lock is there, an interrupt ends it, or the queue
 * comes to rest. A timer looks after locks that the host's processes hold.
 *
 * Queue 0 has the high priority (forgets and interrupts), the others requests of every kind.
 */
#include "virtio/fs.h"

#include "util/macros.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	QUEUE_SIZE = 256,
	IOVS = QUEUE_SIZE,
	/* Requests, and bytes, served in one turn before the driver hears of them. */
	BUDGET = 64,
	BUDGET_BYTES = 1 << 20,
	/* How long until a lock is tried again: at first, and at most. */
	RETRY_FIRST_NS = 1000000,
	RETRY_MOST_NS = 50000000
};

struct slot {
	struct fs_request io;
	struct fs_queue *owner;
	struct slot *next_free;
	uint16_t head;
	struct iovec iov[IOVS];
};

struct fs_queue {
	/* Constant after start. */
	struct virtio_queue *queue;
	struct fs *fs;
	/* Worker only. */
	unsigned in_flight; /* popped and not pushed: those that wait */
	struct slot *free;  /* last in, first out */
	unsigned fresh;	    /* slot[fresh ...] were never used: no memory is behind them yet */
	struct worker_task more;
	struct slot slot[QUEUE_SIZE + 1]; /* one more, for a ring_pop() that finds nothing */
};

struct fs {
	struct virtio_device device;
	/* Constant after create. */
	struct fs_server *server;
	struct fs_queue *queue; /* device.queues of them */
	/* Worker only. */
	struct worker_op timer;
	struct __kernel_timespec pause;
	bool timing; /* the timer is with the kernel */
};

static void complete(struct slot *slot, uint32_t written)
{
	struct fs_queue *owner = slot->owner;

	ring_push(&owner->queue->ring, slot->head, written);
	virtio_queue_done(owner->queue);
	slot->next_free = owner->free;
	owner->free = slot;
	owner->in_flight--;
}

/* A queue is at rest when none of its requests waits and the timer has come back. */
static void say_idle(struct fs *fs)
{
	for (unsigned i = 0; i < fs->device.queues; i++) {
		struct fs_queue *owner = &fs->queue[i];

		if (owner->queue->quiescing && !owner->in_flight && !fs->timing)
			virtio_queue_idle(owner->queue);
	}
}

static void on_done(struct fs_request *io, uint32_t written)
{
	struct slot *slot = container_of(io, struct slot, io);

	complete(slot, written);
	say_idle(slot->owner->fs);
}

/* ---- those who wait for a lock ---- */

static void start_timer(struct fs *fs)
{
	fs->timing = true;
	worker_timeout(fs->queue[0].queue->worker, &fs->timer, &fs->pause);
}

static void look_after_locks(struct fs *fs)
{
	while (fs_unlocked(fs->server))
		fs_retry(fs->server);
	if (!fs_waiting(fs->server) || fs->timing)
		return;
	fs->pause.tv_nsec = RETRY_FIRST_NS;
	start_timer(fs);
}

static void on_timer(struct worker_op *op, int res, uint32_t cqe_flags)
{
	struct fs *fs = container_of(op, struct fs, timer);

	fs->timing = false;
	if (fs_waiting(fs->server))
		fs_retry(fs->server);
	if (fs_waiting(fs->server)) {
		fs->pause.tv_nsec = MIN(2 * fs->pause.tv_nsec, (long long)RETRY_MOST_NS);
		start_timer(fs);
	}
	say_idle(fs);
}

/* ---- requests ---- */

/* Serve one request. 1, with the bytes that it moved; 0: nothing there; -EIO: no more of this. */
static int serve(struct fs_queue *owner, uint64_t *bytes)
{
	struct virtio_queue *queue = owner->queue;
	/* The ring gives out as many chains as it has entries, so the slots suffice. */
	struct slot *slot = owner->free ? owner->free : &owner->slot[owner->fresh];
	struct ring_chain chain = { .iov = slot->iov, .iov_cap = IOVS };
	int64_t written;
	int r = ring_pop(&queue->ring, &chain);

	if (r < 0)
		virtio_queue_fail(queue, queue->ring.fault);
	if (r <= 0)
		return r;
	if (owner->free)
		owner->free = slot->next_free;
	else
		owner->fresh++;
	owner->in_flight++;
	slot->owner = owner;
	slot->head = chain.head;
	slot->io.out = slot->iov;
	slot->io.out_count = chain.out_count;
	slot->io.out_bytes = chain.out_bytes;
	slot->io.in = slot->iov + chain.out_count;
	slot->io.in_count = chain.in_count;
	slot->io.in_bytes = chain.in_bytes;
	slot->io.done = on_done;
	written = fs_serve(owner->fs->server, &slot->io);
	*bytes += chain.out_bytes + (uint64_t)MAX(written, 0);
	if (written != FS_LATER)
		complete(slot, (uint32_t)written);
	return 1;
}

static void work(struct fs_queue *owner)
{
	struct virtio_queue *queue = owner->queue;
	uint64_t bytes = 0;
	int r = 1;

	ring_kicks_off(&queue->ring);
	for (unsigned n = 0; n < BUDGET && bytes < BUDGET_BYTES; n++) {
		r = serve(owner, &bytes);
		if (r < 0 || (r == 0 && !ring_kicks_on(&queue->ring)))
			break;
		r = 1;
	}
	if (r > 0)
		worker_yield(queue->worker, &owner->more);
	look_after_locks(owner->fs);
}

static void on_more(struct worker_task *task)
{
	struct fs_queue *owner = container_of(task, struct fs_queue, more);

	if (virtio_queue_active(owner->queue))
		work(owner);
}

static void fs_kick(struct virtio_queue *queue)
{
	work(queue->data);
}

static void fs_quiesce(struct virtio_queue *queue)
{
	struct fs *fs = container_of(queue->device, struct fs, device);

	/* All of them: whose request it was, the device as a whole is on its way to rest. */
	fs_cancel(fs->server);
	if (fs->timing)
		worker_cancel(queue->worker, &fs->timer);
	say_idle(fs);
}

static const struct virtio_ops fs_ops = {
	.name = "fs",
	.id = VIRTIO_ID_FS,
	.kick = fs_kick,
	.quiesce = fs_quiesce,
};

/* ---- life ---- */

int virtio_fs_create(struct virtio_device **out, const struct guest_memory *mem, const char *tag,
	struct fs_server *server, unsigned queues, struct error *err)
{
	size_t len = strlen(tag);
	uint32_t requests = htole32(queues ? queues : 1);
	struct fs *fs;
	int r;

	if (!len || len > VIRTIO_FS_TAG_MAX)
		return error_set(err, ERROR_USAGE, EINVAL,
			"the name of a shared directory has 1 to %d bytes: %s", VIRTIO_FS_TAG_MAX,
			tag);
	fs = calloc(1, sizeof(*fs));
	if (fs)
		fs->queue = calloc(1 + le32toh(requests), sizeof(fs->queue[0]));
	if (!fs || !fs->queue) {
		free(fs);
		return error_set(err, ERROR_HOST, ENOMEM, "%s: out of memory", tag);
	}
	fs->server = server;
	fs->timer.complete = on_timer;
	fs->device.ops = &fs_ops;
	fs->device.queues = 1 + le32toh(requests);
	fs->device.queue_max = QUEUE_SIZE;
	/* 5.11.4: the tag, padded with zeroes and not terminated, and the number of request queues */
	memcpy(fs->device.config, tag, len);
	memcpy(fs->device.config + VIRTIO_FS_TAG_MAX, &requests, sizeof(requests));
	fs->device.config_size = VIRTIO_FS_TAG_MAX + sizeof(requests);
	snprintf(fs->device.label, sizeof(fs->device.label), "fs:%.28s", tag);
	r = virtio_device_init(&fs->device, mem, err);
	if (r < 0) {
		free(fs->queue);
		free(fs);
		return r;
	}
	for (unsigned i = 0; i < fs->device.queues; i++) {
		fs->queue[i].queue = &fs->device.queue[i];
		fs->queue[i].fs = fs;
		fs->queue[i].more.run = on_more;
		fs->device.queue[i].data = &fs->queue[i];
	}
	*out = &fs->device;
	return 0;
}

static int begin(void *server)
{
	return fs_server_enter(server);
}

int virtio_fs_assign(struct virtio_device *device, struct worker *worker, struct error *err)
{
	struct fs *fs = container_of(device, struct fs, device);
	int r = 0;

	worker_set_begin(worker, begin, fs->server);
	fs_server_attach(fs->server, worker);
	worker_allow(worker, IORING_OP_TIMEOUT);
	for (unsigned i = 0; i < device->queues && r == 0; i++)
		r = virtio_queue_assign(device, i, worker, err);
	return r;
}

void virtio_fs_destroy(struct virtio_device *device)
{
	struct fs *fs;

	if (!device)
		return;
	fs = container_of(device, struct fs, device);
	virtio_device_destroy(device);
	free(fs->queue);
	free(fs);
}
