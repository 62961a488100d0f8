/* The raw backend by itself: what it refuses, how it attaches, how it goes on. */
#include "block/raw.h"
#include "fake_worker.h"
#include "util/log.h"
#include "util/macros.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { SIZE = 64 * 1024, NOT_DONE = 12345 };

struct fixture {
	char path[64];
	int fd;
	struct block *block;
	struct worker *w;
	struct block_request q;
	struct iovec iov[2];
	int res;
	unsigned calls, operations;
	char data[2 * SIZE];
};

static void on_done(struct block_request *q, int res)
{
	struct fixture *f = container_of(q, struct fixture, q);

	f->res = res;
	f->calls++;
}

static int begin(void **state, bool read_only)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct error err = { 0 };

	strcpy(f->path, "/tmp/microvm-test-raw-XXXXXX");
	f->fd = mkstemp(f->path);
	assert_true(f->fd >= 0);
	assert_int_equal(ftruncate(f->fd, SIZE), 0);
	if (block_open(&f->block, f->path, read_only, &err) < 0)
		fail_msg("%s", err.msg);
	f->w = fake_worker_new();
	assert_int_equal(block_attach(f->block, f->w, &err), 0);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return begin(state, false);
}

static int setup_read_only(void **state)
{
	return begin(state, true);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	block_close(f->block);
	fake_worker_free(f->w);
	close(f->fd);
	unlink(f->path);
	free(f);
	return 0;
}

/* Submit, and wait for the one and only answer. */
static int run(struct fixture *f, enum block_op op, uint64_t offset, uint64_t len)
{
	f->iov[0] = (struct iovec){ f->data, len };
	f->q = (struct block_request){ .done = on_done,
		.op = op,
		.offset = offset,
		.len = len,
		.iov = f->iov,
		.iov_count = 1 };
	f->res = NOT_DONE;
	f->calls = 0;
	block_submit(f->block, f->w, &f->q);
	fake_worker_run(f->w);
	assert_int_equal(f->calls, 1);
	return f->res;
}

static bool count(void *ctx, const struct io_uring_sqe *sqe, int *res)
{
	((struct fixture *)ctx)->operations++;
	return false;
}

static void test_ranges(void **state)
{
	static const enum block_op ops[] = { BLOCK_READ, BLOCK_WRITE, BLOCK_DISCARD,
		BLOCK_WRITE_ZEROES };
	static const struct {
		uint64_t offset, len;
	} bad[] = { { SIZE, 512 }, { SIZE - 512, 1024 }, { 0, SIZE + 512 }, { UINT64_MAX, 1 },
		{ UINT64_MAX - 511, 512 }, { 512, UINT64_MAX }, { SIZE + 1, 0 } };
	struct fixture *f = *state;

	block_ring_only(f->block);
	fake_worker_set_hook(f->w, count, f);
	for (unsigned op = 0; op < ARRAY_SIZE(ops); op++) {
		for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
			assert_int_equal(run(f, ops[op], bad[i].offset, bad[i].len), -EINVAL);
		assert_int_equal(run(f, ops[op], SIZE, 0), 0); /* nothing, at the end */
		assert_int_equal(f->operations, 0);
		assert_int_equal(run(f, ops[op], SIZE - 512, 512), 0);
		assert_int_equal(f->operations, 1);
		f->operations = 0;
	}
	assert_int_equal(run(f, BLOCK_FLUSH, UINT64_MAX, UINT64_MAX), 0);
	assert_int_equal(f->operations, 1);
}

static void test_iov_must_add_up(void **state)
{
	struct fixture *f = *state;

	f->q = (struct block_request){
		.done = on_done, .op = BLOCK_READ, .len = 1024, .iov = f->iov, .iov_count = 2
	};
	f->iov[0] = (struct iovec){ f->data, 512 };
	f->iov[1] = (struct iovec){ f->data + 512, 511 };
	block_submit(f->block, f->w, &f->q);
	assert_int_equal(f->res, -EINVAL);
	f->iov[1].iov_len = SIZE_MAX; /* adds up only modulo 2^64 */
	f->iov[0].iov_len = 1025;
	block_submit(f->block, f->w, &f->q);
	assert_int_equal(f->res, -EINVAL);
	assert_int_equal(f->calls, 2);
	assert_int_equal(fake_worker_queued(f->w), 0);
}

static void test_read_only(void **state)
{
	struct fixture *f = *state;

	fake_worker_set_hook(f->w, count, f);
	assert_int_equal(run(f, BLOCK_WRITE, 0, 512), -EINVAL);
	assert_int_equal(run(f, BLOCK_DISCARD, 0, 512), -EINVAL);
	assert_int_equal(run(f, BLOCK_WRITE_ZEROES, 0, 512), -EINVAL);
	assert_int_equal(run(f, BLOCK_FLUSH, 0, 0), 0);
	assert_int_equal(f->operations, 0);
	assert_int_equal(run(f, BLOCK_READ, 0, 512), 0);
	/* Nor does the ring let through what the image does not need. */
	assert_true(fake_worker_allows(f->w, IORING_OP_READ));
	assert_true(fake_worker_allows(f->w, IORING_OP_READV));
	assert_false(fake_worker_allows(f->w, IORING_OP_WRITEV));
	assert_false(fake_worker_allows(f->w, IORING_OP_FSYNC));
	assert_false(fake_worker_allows(f->w, IORING_OP_FALLOCATE));
}

static void test_attach(void **state)
{
	struct fixture *f = *state;
	struct worker *more[BLOCK_WORKERS_MAX];
	struct error err = { 0 };

	assert_true(fake_worker_allows(f->w, IORING_OP_WRITE));
	assert_true(fake_worker_allows(f->w, IORING_OP_WRITEV));
	assert_true(fake_worker_allows(f->w, IORING_OP_FSYNC));
	assert_true(fake_worker_allows(f->w, IORING_OP_FALLOCATE));
	/* The same worker, as often as it likes. */
	for (unsigned i = 0; i < 2 * BLOCK_WORKERS_MAX; i++)
		assert_int_equal(block_attach(f->block, f->w, &err), 0);
	for (unsigned i = 0; i < BLOCK_WORKERS_MAX; i++) {
		more[i] = fake_worker_new();
		/* Elsewhere the image has another index. */
		assert_int_equal(worker_add_file(more[i], 0), 0);
		if (i + 1 < BLOCK_WORKERS_MAX)
			assert_int_equal(block_attach(f->block, more[i], &err), 0);
	}
	assert_int_equal(block_attach(f->block, more[BLOCK_WORKERS_MAX - 1], &err), -ENOSPC);

	strcpy(f->data, "by another worker");
	f->iov[0] = (struct iovec){ f->data, 512 };
	f->q = (struct block_request){
		.done = on_done, .op = BLOCK_WRITE, .len = 512, .iov = f->iov, .iov_count = 1
	};
	block_submit(f->block, more[3], &f->q);
	fake_worker_run(more[3]);
	assert_int_equal(f->res, 0);
	memset(f->data, 0, 512);
	assert_int_equal(pread(f->fd, f->data, 512, 0), 512);
	assert_string_equal(f->data, "by another worker");
	/* One that was never attached. */
	f->q.len = f->iov[0].iov_len = 512;
	block_submit(f->block, more[BLOCK_WORKERS_MAX - 1], &f->q);
	assert_int_equal(f->res, -EINVAL);
	for (unsigned i = 0; i < BLOCK_WORKERS_MAX; i++)
		fake_worker_free(more[i]);
}

/* Interrupted again and again, but each time a little further. */
static bool stutter(void *ctx, const struct io_uring_sqe *sqe, int *res)
{
	struct fixture *f = ctx;

	if (f->operations++ % 50) {
		*res = -EINTR;
		return true;
	}
	*res = (int)pread(f->fd, (void *)(uintptr_t)sqe->addr, 1000, (off_t)sqe->off);
	return true;
}

static void test_progress_resets_patience(void **state)
{
	struct fixture *f = *state;

	memset(f->data, 'x', SIZE);
	assert_int_equal(pwrite(f->fd, f->data, SIZE, 0), SIZE);
	memset(f->data, 0, SIZE);
	fake_worker_set_hook(f->w, stutter, f);
	assert_int_equal(run(f, BLOCK_READ, 0, SIZE), 0);
	for (unsigned i = 0; i < SIZE; i++)
		assert_int_equal(f->data[i], 'x');
}

/* A small write is made at once, a large one by the ring, and any while the disk is behind. */
static void test_small_writes(void **state)
{
	struct fixture *f = *state;
	char back[1024];

	fake_worker_set_hook(f->w, count, f);
	memset(f->data, 'w', sizeof(f->data));
	assert_int_equal(run(f, BLOCK_WRITE, 512, 1024), 0);
	assert_int_equal(f->operations, 0);
	assert_int_equal(pread(f->fd, back, sizeof(back), 512), sizeof(back));
	assert_memory_equal(back, f->data, sizeof(back));

	assert_int_equal(
		ftruncate(f->fd, 0), 0); /* the size that counts is the one at its opening */
	f->block->size = 4 * SIZE;
	assert_int_equal(run(f, BLOCK_WRITE, 0, 2 * SIZE), 0);
	assert_int_equal(f->operations, 1);

	f->operations = 0;
	block_ring_only(f->block);
	assert_int_equal(run(f, BLOCK_WRITE, 512, 1024), 0);
	assert_int_equal(f->operations, 1);
}

/* What fails at once is tried again by the ring, whose answer counts. */
static void test_small_write_fails(void **state)
{
	struct fixture *f = *state;
	int fd = f->block->fd;

	fake_worker_set_hook(f->w, count, f);
	f->block->fd = -1;
	assert_int_equal(run(f, BLOCK_WRITE, 0, 512), 0);
	assert_int_equal(f->operations, 1);
	f->block->fd = fd;
}

#define T(name)	   cmocka_unit_test_setup_teardown(name, setup, teardown)
#define T_RO(name) cmocka_unit_test_setup_teardown(name, setup_read_only, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(test_ranges),
		T(test_iov_must_add_up),
		T_RO(test_read_only),
		T(test_attach),
		T(test_progress_resets_patience),
		T(test_small_writes),
		T(test_small_write_fails),
	};

	/* The errors that are provoked here would otherwise be told on standard error. */
	log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
