#include "block/raw.h"

#include "util/macros.h"

#include <errno.h>
#include <limits.h>
#include <linux/falloc.h>
#include <string.h>
#include <time.h>

/* A call that the kernel asks to repeat (-EINTR, -EAGAIN) is repeated this often in a row. */
enum { RETRIES_MAX = 100 };

/*
 * A small write into the page cache is a copy, done before another thread would be awake; but most
 * file systems let io_uring do buffered writes only on a thread of the kernel's. So the worker makes
 * such a write itself. One that took longer than a copy does waited for the disk, or for memory to
 * be written back: for a while after it, writes go to the ring and hold nobody up.
 */
enum { HERE_BYTES_MAX = 64 * 1024, HERE_SLOW_NS = 2000000, HERE_PAUSE_NS = 1000000000 };

/* Ways to clear a range, best first; what a file system lacks falls through to the next. */
enum { CLEAR_PUNCH, CLEAR_ZERO_RANGE, CLEAR_WRITE };

/* Zeroes for CLEAR_WRITE: one page-sized block, many times over. Never written to. */
enum { ZEROES = 65536, ZERO_IOVS = 16 };
static const uint8_t zeroes[ZEROES];
#define Z                                                                \
	{                                                                \
		.iov_base = (void *)(uintptr_t)zeroes, .iov_len = ZEROES \
	}
#define Z4 Z, Z, Z, Z
static const struct iovec zero_iov[ZERO_IOVS] = { Z4, Z4, Z4, Z4 };

static const char *const op_names[] = { [BLOCK_READ] = "read",
	[BLOCK_WRITE] = "write",
	[BLOCK_FLUSH] = "flush",
	[BLOCK_DISCARD] = "discard",
	[BLOCK_WRITE_ZEROES] = "write zeroes" };

uint64_t block_size(const struct block *block)
{
	return block->size;
}

bool block_read_only(const struct block *block)
{
	return block->read_only;
}

bool block_can_discard(const struct block *block)
{
	return block->can_discard;
}

unsigned block_size_logical(const struct block *block)
{
	return block->unit;
}

int block_attach(struct block *block, struct worker *worker, struct error *err)
{
	static const uint8_t ops[] = { IORING_OP_READ, IORING_OP_READV };
	static const uint8_t write_ops[] = { IORING_OP_WRITE, IORING_OP_WRITEV, IORING_OP_FSYNC,
		IORING_OP_FALLOCATE };
	int file;

	for (unsigned i = 0; i < block->workers; i++)
		if (block->attached[i].worker == worker)
			return 0;
	if (block->workers == BLOCK_WORKERS_MAX)
		return error_set(err, ERROR_MACHINE, ENOSPC, "%s: more than %d workers",
			block->path, BLOCK_WORKERS_MAX);
	file = worker_add_file(worker, block->fd);
	if (file < 0)
		return error_set(err, ERROR_HOST, -file, "%s: cannot register the image: %s",
			block->path, strerror(-file));
	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
		worker_allow(worker, ops[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(write_ops) && !block->read_only; i++)
		worker_allow(worker, write_ops[i]);
	block->attached[block->workers].worker = worker;
	block->attached[block->workers++].file = file;
	return 0;
}

static void finish(struct block_request *request, int res)
{
	if (res < 0)
		log_limited(&request->block->complaints, LOG_LEVEL_WARN,
			"%s: %s of %llu bytes at %llu failed: %s", request->block->path,
			op_names[request->op], (unsigned long long)request->len,
			(unsigned long long)request->offset, strerror(-res));
	request->done(request, res);
}

static void prepare_rw(const struct block_request *q, struct io_uring_sqe *sqe)
{
	const struct iovec *v = q->iov;

	/* One buffer is the common case, and spares the kernel the copying of the vector. */
	if (q->op == BLOCK_READ && q->iov_count == 1)
		io_uring_prep_read(sqe, q->file, v->iov_base, (unsigned)v->iov_len, q->offset);
	else if (q->op == BLOCK_READ)
		io_uring_prep_readv(sqe, q->file, v, q->iov_count, q->offset);
	else if (q->iov_count == 1)
		io_uring_prep_write(sqe, q->file, v->iov_base, (unsigned)v->iov_len, q->offset);
	else
		io_uring_prep_writev(sqe, q->file, v, q->iov_count, q->offset);
}

/* DISCARD and WRITE_ZEROES, by the way that request->how says. */
static void prepare_clear(const struct block_request *q, struct io_uring_sqe *sqe)
{
	int mode = FALLOC_FL_KEEP_SIZE;

	switch (q->how) {
	case CLEAR_PUNCH:
	case CLEAR_ZERO_RANGE:
		mode |= q->how == CLEAR_PUNCH ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
		io_uring_prep_fallocate(sqe, q->file, mode, q->offset, q->len);
		break;
	case CLEAR_WRITE:
		if (q->len <= ZEROES)
			io_uring_prep_write(sqe, q->file, zeroes, (unsigned)q->len, q->offset);
		else
			io_uring_prep_writev(sqe, q->file, zero_iov,
				(unsigned)MIN(q->len / ZEROES, (uint64_t)ZERO_IOVS), q->offset);
		break;
	}
}

static void submit(struct block_request *request)
{
	struct io_uring_sqe *sqe = worker_sqe(request->worker);

	switch (request->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		prepare_rw(request, sqe);
		break;
	case BLOCK_FLUSH:
		io_uring_prep_fsync(sqe, request->file, IORING_FSYNC_DATASYNC);
		break;
	case BLOCK_DISCARD:
	case BLOCK_WRITE_ZEROES:
		prepare_clear(request, sqe);
		break;
	}
	worker_submit(request->worker, sqe, &request->io);
}

/* The kernel did @n bytes of a longer request: leave what is still to do. */
static void advance(struct block_request *request, size_t n)
{
	request->offset += n;
	request->len -= n;
	if (request->op != BLOCK_READ && request->op != BLOCK_WRITE)
		return;
	while (n && n >= request->iov->iov_len) {
		n -= request->iov->iov_len;
		request->iov++;
		request->iov_count--;
	}
	if (n) {
		request->iov->iov_base = (uint8_t *)request->iov->iov_base + n;
		request->iov->iov_len -= n;
	}
}

static bool lacks(int res)
{
	return res == -EOPNOTSUPP || res == -ENOSYS || res == -ENOTTY;
}

/* This range, not the call: a disk with sectors of 4 KiB refuses what is not aligned to them. */
static bool misfits(int res)
{
	return res == -EINVAL;
}

/* The first way to clear from @how on that this image is not known to lack. */
static uint8_t clear_way(const struct block_request *request, uint8_t how)
{
	struct block *block = request->block;

	if (how == CLEAR_PUNCH && atomic_load(&block->no_punch_hole))
		how = CLEAR_ZERO_RANGE;
	if (how == CLEAR_ZERO_RANGE && atomic_load(&block->no_zero_range))
		how = CLEAR_WRITE;
	return how;
}

/* fallocate() failed with @res. True if the request goes on in another way. */
static bool clear_fallback(struct block_request *request, int res)
{
	struct block *block = request->block;

	if (request->how == CLEAR_WRITE || !(lacks(res) || misfits(res)))
		return false;
	if (lacks(res))
		atomic_store(
			request->how == CLEAR_PUNCH ? &block->no_punch_hole : &block->no_zero_range,
			true);
	/* A discard is advice (virtio 1.2, 5.2.6.2): where it cannot be taken, nothing is done. */
	if (request->op == BLOCK_DISCARD)
		return false;
	request->how = misfits(res) ? CLEAR_WRITE : clear_way(request, request->how);
	submit(request);
	return true;
}

static void moved(struct block_request *request, unsigned n)
{
	if (!n) {
		/* Nothing at all: a read behind the end, that is, somebody shortened the file. */
		finish(request, -EIO);
		return;
	}
	advance(request, MIN((uint64_t)n, request->len));
	if (request->len)
		submit(request);
	else
		finish(request, 0);
}

static void on_complete(struct worker_op *op, int res, uint32_t cqe_flags)
{
	struct block_request *request = container_of(op, struct block_request, io);
	bool clear = request->op == BLOCK_DISCARD || request->op == BLOCK_WRITE_ZEROES;

	if ((res == -EINTR || res == -EAGAIN) && request->retries < RETRIES_MAX) {
		request->retries++;
		submit(request);
		return;
	}
	request->retries = 0;
	if (clear && res < 0 && clear_fallback(request, res))
		return;
	if (request->op == BLOCK_DISCARD && (lacks(res) || misfits(res)))
		res = 0;
	if (res < 0 || request->op == BLOCK_FLUSH || (clear && request->how != CLEAR_WRITE))
		finish(request, MIN(res, 0));
	else
		moved(request, (unsigned)res);
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Make a small write at once. False if it is for the ring. */
static bool write_here(struct block_request *request)
{
	struct block *block = request->block;
	int64_t began, ended;
	ssize_t n;

	if (request->op != BLOCK_WRITE || request->len > HERE_BYTES_MAX ||
		request->iov_count > IOV_MAX)
		return false;
	began = now_ns();
	if (began < atomic_load_explicit(&block->busy_until, memory_order_relaxed))
		return false;
	n = pwritev(block->fd, request->iov, (int)request->iov_count, (off_t)request->offset);
	ended = now_ns();
	if (ended - began > HERE_SLOW_NS)
		atomic_store_explicit(
			&block->busy_until, ended + HERE_PAUSE_NS, memory_order_relaxed);
	/* What failed or came short is tried again by the ring, which knows what to do then. */
	if (n != (ssize_t)request->len)
		return false;
	request->done(request, 0);
	return true;
}

/* The sum of the iovecs, or UINT64_MAX if one of them is more than a read(2) can be asked for. */
static uint64_t iov_bytes(const struct block_request *request)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < request->iov_count; i++) {
		if (request->iov[i].iov_len > UINT32_MAX)
			return UINT64_MAX;
		sum += request->iov[i].iov_len;
	}
	return sum;
}

static bool valid(const struct block *block, const struct block_request *request)
{
	if (request->op == BLOCK_FLUSH)
		return true;
	if (request->offset > block->size || request->len > block->size - request->offset)
		return false;
	if (request->op != BLOCK_READ && block->read_only)
		return false;
	return (request->op != BLOCK_READ && request->op != BLOCK_WRITE) ||
	       iov_bytes(request) == request->len;
}

void block_submit(struct block *block, struct worker *worker, struct block_request *request)
{
	bool attached = false;

	for (unsigned i = 0; i < block->workers; i++) {
		if (block->attached[i].worker != worker)
			continue;
		request->file = block->attached[i].file;
		attached = true;
		break;
	}
	request->block = block;
	request->worker = worker;
	request->io.complete = on_complete;
	request->retries = 0;
	request->how = clear_way(request,
		request->op == BLOCK_DISCARD || request->unmap ? CLEAR_PUNCH : CLEAR_ZERO_RANGE);
	if (!attached || !valid(block, request)) {
		finish(request, -EINVAL);
		return;
	}
	/* Nothing to write back, nothing to move, or advice that this file system cannot take. */
	if ((request->op == BLOCK_FLUSH && block->read_only) ||
		(request->op != BLOCK_FLUSH && !request->len) ||
		(request->op == BLOCK_DISCARD && request->how != CLEAR_PUNCH)) {
		request->done(request, 0);
		return;
	}
	if (!write_here(request))
		submit(request);
}
