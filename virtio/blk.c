/*
 * The block device (virtio 1.2, 5.2): requests from the ring to the backend and back.
 *
 * Everything below but create and destroy runs on the worker of the queue in question; queues share
 * only the backend, which is made for that. A request lives in a preallocated slot from ring_pop()
 * to ring_push(); data never passes through us, only the 16-byte header, the segments of a discard
 * and the status byte do.
 *
 * Each chain is completed exactly once: with OK, IOERR or UNSUPP in its status byte. Only a chain
 * that has no room for a status byte, or a broken ring, stops the queue.
 */
#include "virtio/blk.h"

#include "util/macros.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	QUEUE_SIZE = 256,
	/* Data buffers of one request; header and status byte are two more (5.2.4: seg_max). */
	SEG_MAX = QUEUE_SIZE - 2,
	IOVS = QUEUE_SIZE + 2,
	/* Ranges in one discard or write zeroes request, and how long each may be (2 GiB). */
	RANGES_MAX = 16,
	RANGE_SECTORS_MAX = 1 << 22,
	/* Requests taken in one turn before others on this worker have theirs. */
	BUDGET = 128
};

struct request {
	struct block_request io;
	struct blk_queue *owner;
	struct request *next_free;
	uint8_t *status;  /* the last writable byte of the chain */
	uint32_t written; /* for the used ring, if the request succeeds */
	uint16_t head;
	uint16_t range, ranges; /* DISCARD and WRITE_ZEROES: which is being done, how many */
	struct virtio_blk_discard_write_zeroes ranges_of[RANGES_MAX];
	struct iovec iov[IOVS];
};

struct blk_queue {
	/* Constant after start. */
	struct virtio_queue *queue;
	struct blk *blk;
	/* Worker only. */
	unsigned in_flight;
	struct request *free; /* last in, first out: the one used last is still in the cache */
	unsigned fresh;	      /* slot[fresh ...] were never used: no memory is behind them yet */
	struct worker_task more;
	bool writethrough; /* the driver knows no flush: every write is made stable (5.2.6.2) */
	struct request slot[QUEUE_SIZE + 1]; /* one more, for a ring_pop() that finds nothing */
};

struct blk {
	struct virtio_device device;
	/* Constant after create. */
	struct block *block;
	char id[VIRTIO_BLK_ID_BYTES]; /* NUL-padded, not terminated */
	struct blk_queue *queue;      /* device.queues of them */
};

/* ---- the end of a request ---- */

static void complete(struct request *q, uint8_t status)
{
	struct blk_queue *owner = q->owner;
	struct virtio_queue *queue = owner->queue;

	/* What was read has no meaning when it failed: then only the status byte counts. */
	__atomic_store_n(q->status, status, __ATOMIC_RELAXED);
	ring_push(&queue->ring, q->head, status == VIRTIO_BLK_S_OK ? q->written : 1);
	virtio_queue_done(queue);
	q->next_free = owner->free;
	owner->free = q;
	owner->in_flight--;
	if (!owner->in_flight && queue->quiescing)
		virtio_queue_idle(queue);
}

static bool next_range(struct request *q);

static void on_done(struct block_request *io, int res)
{
	struct request *q = container_of(io, struct request, io);
	struct blk_queue *owner = q->owner;

	if (res == 0 && q->range < q->ranges && next_range(q))
		return;
	if (res == 0 && io->op != BLOCK_READ && io->op != BLOCK_FLUSH && owner->writethrough) {
		io->op = BLOCK_FLUSH;
		block_submit(owner->blk->block, owner->queue->worker, io);
		return;
	}
	complete(q, res < 0 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
}

static void submit(struct request *q)
{
	q->io.done = on_done;
	block_submit(q->owner->blk->block, q->owner->queue->worker, &q->io);
}

/* ---- discard and write zeroes ---- */

/* Hand the next range to the backend. False if that was the last one. */
static bool next_range(struct request *q)
{
	const struct virtio_blk_discard_write_zeroes *r;

	if (q->range == q->ranges)
		return false;
	r = &q->ranges_of[q->range++];
	q->io.offset = r->sector * BLOCK_SECTOR;
	q->io.len = (uint64_t)r->num_sectors * BLOCK_SECTOR;
	q->io.unmap = r->flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	submit(q);
	return true;
}

static bool sectors_fit(const struct block *block, uint64_t sector, uint64_t count)
{
	uint64_t capacity = block_size(block) / BLOCK_SECTOR;

	return sector <= capacity && count <= capacity - sector;
}

/* Check one range, in host byte order. Returns the status it deserves. */
static uint8_t check_range(
	const struct request *q, const struct virtio_blk_discard_write_zeroes *range)
{
	uint32_t known = q->io.op == BLOCK_WRITE_ZEROES ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;

	if (range->flags & ~known)
		return VIRTIO_BLK_S_UNSUPP;
	if (range->num_sectors > RANGE_SECTORS_MAX ||
		!sectors_fit(q->owner->blk->block, range->sector, range->num_sectors))
		return VIRTIO_BLK_S_IOERR;
	return VIRTIO_BLK_S_OK;
}

/* All ranges are copied and checked before the first one is touched. */
static void clear(struct request *q, const struct iovec *iov, unsigned count, uint64_t bytes)
{
	const struct block *block = q->owner->blk->block;
	unsigned n = (unsigned)(bytes / sizeof(q->ranges_of[0]));
	uint8_t status = VIRTIO_BLK_S_OK;

	if (block_read_only(block) || !n || bytes % sizeof(q->ranges_of[0]) || n > RANGES_MAX) {
		complete(q, VIRTIO_BLK_S_IOERR);
		return;
	}
	iov_to_buf(iov, count, sizeof(struct virtio_blk_outhdr), q->ranges_of, bytes);
	for (unsigned i = 0; i < n && status == VIRTIO_BLK_S_OK; i++) {
		struct virtio_blk_discard_write_zeroes *range = &q->ranges_of[i];

		range->sector = le64toh(range->sector);
		range->num_sectors = le32toh(range->num_sectors);
		range->flags = le32toh(range->flags);
		status = check_range(q, range);
	}
	if (status != VIRTIO_BLK_S_OK) {
		complete(q, status);
		return;
	}
	q->ranges = (uint16_t)n;
	next_range(q);
}

/* ---- read, write, get ID ---- */

/* Cut @bytes off the front. */
static void trim_front(struct iovec **iov, unsigned *count, size_t bytes)
{
	while (*count && bytes >= (*iov)->iov_len) {
		bytes -= (*iov)->iov_len;
		(*iov)++;
		(*count)--;
	}
	if (bytes) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + bytes;
		(*iov)->iov_len -= bytes;
	}
}

static void read_write(
	struct request *q, struct iovec *iov, unsigned count, uint64_t bytes, uint64_t sector)
{
	const struct block *block = q->owner->blk->block;

	if (bytes % BLOCK_SECTOR || !sectors_fit(block, sector, bytes / BLOCK_SECTOR) ||
		(q->io.op == BLOCK_WRITE && block_read_only(block))) {
		complete(q, VIRTIO_BLK_S_IOERR);
		return;
	}
	if (q->io.op == BLOCK_READ)
		q->written += (uint32_t)bytes;
	q->io.offset = sector * BLOCK_SECTOR;
	q->io.len = bytes;
	q->io.iov = iov;
	q->io.iov_count = count;
	submit(q);
}

static void get_id(struct request *q, const struct iovec *iov, unsigned count)
{
	const struct blk *blk = q->owner->blk;

	q->written += (uint32_t)iov_from_buf(iov, count, 0, blk->id, sizeof(blk->id));
	complete(q, VIRTIO_BLK_S_OK);
}

/* ---- the beginning of a request ---- */

/*
 * The status byte is the very last writable one, wherever the driver put it (2.7.4.1: a device must
 * not expect a particular arrangement of descriptors). Cuts it off from the chain's iovecs.
 */
static uint8_t *take_status(struct ring_chain *chain)
{
	struct iovec *last = &chain->iov[chain->out_count + chain->in_count - 1];

	chain->in_bytes--;
	if (!--last->iov_len)
		chain->in_count--;
	return (uint8_t *)last->iov_base + last->iov_len;
}

static void dispatch(struct request *q, struct ring_chain *chain)
{
	struct iovec *out = chain->iov, *in = chain->iov + chain->out_count;
	struct virtio_blk_outhdr header;
	uint64_t out_data = chain->out_bytes - sizeof(header);

	if (iov_to_buf(out, chain->out_count, 0, &header, sizeof(header)) < sizeof(header)) {
		complete(q, VIRTIO_BLK_S_IOERR);
		return;
	}
	switch (le32toh(header.type)) {
	case VIRTIO_BLK_T_IN:
		q->io.op = BLOCK_READ;
		read_write(q, in, chain->in_count, chain->in_bytes, le64toh(header.sector));
		break;
	case VIRTIO_BLK_T_OUT:
		q->io.op = BLOCK_WRITE;
		trim_front(&out, &chain->out_count, sizeof(header));
		read_write(q, out, chain->out_count, out_data, le64toh(header.sector));
		break;
	case VIRTIO_BLK_T_FLUSH:
		q->io.op = BLOCK_FLUSH;
		submit(q);
		break;
	case VIRTIO_BLK_T_GET_ID:
		get_id(q, in, chain->in_count);
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		q->io.op = le32toh(header.type) == VIRTIO_BLK_T_DISCARD ? BLOCK_DISCARD
									: BLOCK_WRITE_ZEROES;
		clear(q, out, chain->out_count, out_data);
		break;
	default:
		complete(q, VIRTIO_BLK_S_UNSUPP);
		break;
	}
}

/* Take one request. 1: taken. 0: nothing there. -EIO: the queue is no more. */
static int take(struct blk_queue *owner)
{
	struct virtio_queue *queue = owner->queue;
	/* The ring gives out as many chains as it has entries, so the slots suffice. */
	struct request *q = owner->free ? owner->free : &owner->slot[owner->fresh];
	struct ring_chain chain = { .iov = q->iov, .iov_cap = IOVS };
	int r;

	r = ring_pop(&queue->ring, &chain);
	if (r == 0)
		return 0;
	if (r < 0 || !chain.in_count) {
		virtio_queue_fail(
			queue, r < 0 ? queue->ring.fault : "a request without a status byte");
		return -EIO;
	}
	if (owner->free)
		owner->free = q->next_free;
	else
		owner->fresh++;
	owner->in_flight++;
	q->owner = owner;
	q->head = chain.head;
	q->written = 1;
	q->range = q->ranges = 0;
	q->status = take_status(&chain);
	dispatch(q, &chain);
	return 1;
}

/*
 * Take what there is; what the driver adds meanwhile needs no kick. After BUDGET requests the rest
 * waits for the next turn, so that one disk cannot starve what else this worker serves.
 */
static void work(struct blk_queue *owner)
{
	struct virtio_queue *queue = owner->queue;
	int r;

	ring_kicks_off(&queue->ring);
	for (unsigned n = 0; n < BUDGET; n++) {
		r = take(owner);
		if (r < 0 || (r == 0 && !ring_kicks_on(&queue->ring)))
			return;
	}
	worker_yield(queue->worker, &owner->more);
}

static void on_more(struct worker_task *task)
{
	struct blk_queue *owner = container_of(task, struct blk_queue, more);

	if (virtio_queue_active(owner->queue))
		work(owner);
}

static int blk_start(struct virtio_queue *queue)
{
	struct blk_queue *owner = queue->data;

	owner->writethrough = !virtio_has(queue->device, VIRTIO_BLK_F_FLUSH);
	return 0;
}

static void blk_kick(struct virtio_queue *queue)
{
	work(queue->data);
}

/* Requests to a disk end by themselves; the last one to do so says idle. */
static void blk_quiesce(struct virtio_queue *queue)
{
	struct blk_queue *owner = queue->data;

	if (!owner->in_flight)
		virtio_queue_idle(queue);
}

static const struct virtio_ops blk_ops = {
	.name = "blk",
	.id = VIRTIO_ID_BLOCK,
	.start = blk_start,
	.kick = blk_kick,
	.quiesce = blk_quiesce,
};

/* ---- life ---- */

static void fill_config(struct blk *blk, unsigned queues)
{
	unsigned unit = block_size_logical(blk->block);
	struct virtio_blk_config config = {
		.capacity = htole64(block_size(blk->block) / BLOCK_SECTOR),
		.seg_max = htole32(SEG_MAX),
		.blk_size = htole32(BLOCK_SECTOR),
		.physical_block_exp = (uint8_t)__builtin_ctz(unit / BLOCK_SECTOR),
		.min_io_size = htole16((uint16_t)(unit / BLOCK_SECTOR)),
		.num_queues = htole16((uint16_t)queues),
	};
	uint64_t offer = 1ULL << VIRTIO_BLK_F_SEG_MAX | 1ULL << VIRTIO_BLK_F_BLK_SIZE |
			 1ULL << VIRTIO_BLK_F_TOPOLOGY | 1ULL << VIRTIO_BLK_F_FLUSH |
			 1ULL << VIRTIO_BLK_F_MQ;

	if (block_read_only(blk->block)) {
		offer |= 1ULL << VIRTIO_BLK_F_RO;
	} else {
		offer |= 1ULL << VIRTIO_BLK_F_WRITE_ZEROES;
		config.max_write_zeroes_sectors = htole32(RANGE_SECTORS_MAX);
		config.max_write_zeroes_seg = htole32(RANGES_MAX);
		config.write_zeroes_may_unmap = block_can_discard(blk->block);
	}
	if (block_can_discard(blk->block)) {
		offer |= 1ULL << VIRTIO_BLK_F_DISCARD;
		config.max_discard_sectors = htole32(RANGE_SECTORS_MAX);
		config.max_discard_seg = htole32(RANGES_MAX);
		config.discard_sector_alignment = htole32(unit / BLOCK_SECTOR);
	}
	/* The secure erase fields at the end belong to a feature that is not offered. */
	blk->device.config_size = offsetof(struct virtio_blk_config, max_secure_erase_sectors);
	memcpy(blk->device.config, &config, blk->device.config_size);
	blk->device.offered = offer;
}

static void init_queue(struct blk *blk, unsigned index)
{
	struct blk_queue *owner = &blk->queue[index];

	owner->queue = &blk->device.queue[index];
	owner->queue->data = owner;
	owner->blk = blk;
	owner->more.run = on_more;
}

int virtio_blk_create(
	struct virtio_device **out, const struct virtio_blk_params *params, struct error *err)
{
	struct blk *blk = calloc(1, sizeof(*blk));
	unsigned queues = params->queues ? params->queues : 1;
	const char *serial = params->serial ? params->serial : params->label;
	int r;

	if (blk)
		blk->queue = calloc(queues, sizeof(blk->queue[0]));
	if (!blk || !blk->queue) {
		free(blk);
		return error_set(err, ERROR_HOST, ENOMEM, "%s: out of memory", params->label);
	}
	blk->block = params->block;
	memcpy(blk->id, serial, strnlen(serial, sizeof(blk->id)));
	blk->device.ops = &blk_ops;
	blk->device.queues = queues;
	blk->device.queue_max = QUEUE_SIZE;
	snprintf(blk->device.label, sizeof(blk->device.label), "%s", params->label);
	fill_config(blk, queues);
	r = virtio_device_init(&blk->device, params->mem, err);
	if (r < 0) {
		free(blk->queue);
		free(blk);
		return r;
	}
	for (unsigned i = 0; i < queues; i++)
		init_queue(blk, i);
	*out = &blk->device;
	return 0;
}

void virtio_blk_destroy(struct virtio_device *device)
{
	struct blk *blk;

	if (!device)
		return;
	blk = container_of(device, struct blk, device);
	virtio_device_destroy(device);
	free(blk->queue);
	free(blk);
}
