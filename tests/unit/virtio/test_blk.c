/*
 * The block device, turn by turn: what each request does to the image, how each error is told, and
 * that every chain comes back exactly once.
 */
#include "disk.h"
#include "fake_worker.h"
#include "vmm/bus.h"

#include <errno.h>
#include <linux/falloc.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define OK     VIRTIO_BLK_S_OK
#define IOERR  VIRTIO_BLK_S_IOERR
#define UNSUPP VIRTIO_BLK_S_UNSUPP

/* What the hook below does to the operations that the backend asks for. */
struct script {
	unsigned seen[IORING_OP_LAST]; /* by opcode */
	unsigned shorten;	       /* bytes moved by one read or write at most; 0: all */
	uint8_t fail_op;
	int fail_with; /* 0: nothing fails */
	unsigned fail_times;
	int no_mode; /* fallocate() modes that the file system lacks */
};

struct fixture {
	struct disk disk;
	struct worker *w;
	struct script script;
};

static bool run_script(void *ctx, const struct io_uring_sqe *sqe, int *res)
{
	struct fixture *f = ctx;
	struct script *s = &f->script;
	const struct iovec *v = (const struct iovec *)(uintptr_t)sqe->addr;
	void *buf = (void *)(uintptr_t)sqe->addr;
	size_t n = sqe->len;

	s->seen[sqe->opcode]++;
	if (s->fail_with && sqe->opcode == s->fail_op && s->fail_times) {
		s->fail_times--;
		*res = s->fail_with;
		return true;
	}
	if (sqe->opcode == IORING_OP_FALLOCATE && ((int)sqe->len & s->no_mode)) {
		*res = -EOPNOTSUPP;
		return true;
	}
	if (!s->shorten)
		return false;
	if (sqe->opcode == IORING_OP_READV || sqe->opcode == IORING_OP_WRITEV) {
		buf = v->iov_base;
		n = v->iov_len;
	}
	n = MIN(n, (size_t)s->shorten);
	switch (sqe->opcode) {
	case IORING_OP_READ:
	case IORING_OP_READV:
		*res = (int)pread(f->disk.fd, buf, n, (off_t)sqe->off);
		return true;
	case IORING_OP_WRITE:
	case IORING_OP_WRITEV:
		*res = (int)pwrite(f->disk.fd, buf, n, (off_t)sqe->off);
		return true;
	default:
		return false;
	}
}

static struct fixture *make(bool read_only)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct worker *w[DISK_QUEUES];

	f->w = fake_worker_new();
	for (unsigned i = 0; i < DISK_QUEUES; i++)
		w[i] = f->w;
	disk_open(&f->disk, w, read_only);
	fake_worker_set_hook(f->w, run_script, f);
	return f;
}

static int setup(void **state)
{
	struct fixture *f = make(false);

	disk_start(&f->disk, 0);
	*state = f;
	return 0;
}

static int setup_read_only(void **state)
{
	struct fixture *f = make(true);

	disk_start(&f->disk, 0);
	*state = f;
	return 0;
}

static int setup_unstarted(void **state)
{
	*state = make(false);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	virtio_device_quiesce(f->disk.device);
	disk_close(&f->disk);
	fake_worker_free(f->w);
	free(f);
	return 0;
}

static void fill(struct fixture *f, gpa_t gpa, size_t len, uint32_t seed)
{
	uint8_t *p = disk_at(&f->disk, gpa);

	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)((i * 31 + (i >> 8) * 7 + seed) | 1); /* never 0 */
}

/* The image holds the bytes that guest memory has at @gpa. */
static void expect_on_disk(struct fixture *f, uint64_t sector, gpa_t gpa, size_t len)
{
	uint8_t *got = malloc(len);

	assert_int_equal(pread(f->disk.fd, got, len, (off_t)(sector * BLOCK_SECTOR)), len);
	assert_memory_equal(got, disk_at(&f->disk, gpa), len);
	free(got);
}

static void expect_zero(struct fixture *f, uint64_t sector, size_t len)
{
	uint8_t *got = malloc(len);

	assert_int_equal(pread(f->disk.fd, got, len, (off_t)(sector * BLOCK_SECTOR)), len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(got[i], 0);
	free(got);
}

/* Exactly one chain came back; returns how many bytes the device says it wrote. */
static uint32_t expect_one(struct fixture *f, unsigned queue)
{
	uint32_t head, written;

	assert_true(driver_take(&f->disk.d[queue], &head, &written));
	assert_false(driver_take(&f->disk.d[queue], &head, &written));
	return written;
}

/* One request from beginning to end; it must come back once, with this status. */
static uint32_t run(struct fixture *f, uint32_t type, uint64_t sector, uint32_t len, uint8_t status)
{
	unsigned n = disk_request(&f->disk, 0, type, sector, DISK_DATA, len);

	disk_notify(&f->disk, 0);
	fake_worker_run(f->w);
	assert_int_equal(disk_status(&f->disk, n), status);
	return expect_one(f, 0);
}

/* A chain made by hand, whose status byte is that of the request last made. */
static void run_chain(struct fixture *f, const struct driver_buf *bufs, unsigned count)
{
	driver_add(&f->disk.d[0], bufs, count);
	disk_notify(&f->disk, 0);
	fake_worker_run(f->w);
}

static bool needs_reset(struct fixture *f)
{
	return mmio_read32(f->disk.device, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* ---- configuration ---- */

static struct virtio_blk_config config_of(struct fixture *f)
{
	struct virtio_blk_config c;

	for (unsigned i = 0; i < sizeof(c); i += 4)
		virtio_mmio_ops.read(f->disk.device, 0x100 + i, (uint8_t *)&c + i, 4);
	return c;
}

static bool offers(struct fixture *f, unsigned bit)
{
	return virtio_device_offers(f->disk.device) >> bit & 1;
}

static void test_config(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_config c = config_of(f);

	assert_int_equal(mmio_read32(f->disk.device, VIRTIO_MMIO_DEVICE_ID), 2);
	assert_int_equal(c.capacity, DISK_SECTORS);
	assert_int_equal(c.seg_max, 254);
	assert_int_equal(c.blk_size, 512);
	assert_int_equal(512 << c.physical_block_exp, block_size_logical(f->disk.block));
	assert_int_equal(c.num_queues, DISK_QUEUES);
	assert_true(c.max_write_zeroes_sectors > 0 && c.max_write_zeroes_seg > 0);
	assert_int_equal(c.unused, 0);
	assert_int_equal(c.max_secure_erase_sectors, 0);
	assert_true(offers(f, VIRTIO_BLK_F_FLUSH));
	assert_true(offers(f, VIRTIO_BLK_F_WRITE_ZEROES));
	assert_false(offers(f, VIRTIO_BLK_F_RO));
	if (block_can_discard(f->disk.block))
		assert_true(offers(f, VIRTIO_BLK_F_DISCARD) && c.max_discard_sectors > 0 &&
			    c.max_discard_seg > 0 && c.write_zeroes_may_unmap == 1);
}

static void test_config_read_only(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_config c = config_of(f);

	assert_true(offers(f, VIRTIO_BLK_F_RO));
	assert_false(offers(f, VIRTIO_BLK_F_DISCARD));
	assert_false(offers(f, VIRTIO_BLK_F_WRITE_ZEROES));
	assert_int_equal(c.max_discard_sectors, 0);
	assert_int_equal(c.max_write_zeroes_sectors, 0);
}

/* ---- requests ---- */

static void test_write_and_read(void **state)
{
	struct fixture *f = *state;

	fill(f, DISK_DATA, 8192, 1);
	assert_int_equal(run(f, VIRTIO_BLK_T_OUT, 100, 8192, OK), 1);
	expect_on_disk(f, 100, DISK_DATA, 8192);
	memset(disk_at(&f->disk, DISK_DATA), 0, 8192);
	assert_int_equal(run(f, VIRTIO_BLK_T_IN, 100, 8192, OK), 8193);
	expect_on_disk(f, 100, DISK_DATA, 8192);
	assert_int_equal(*(uint8_t *)disk_at(&f->disk, DISK_DATA), 1);
	assert_int_equal(f->script.seen[IORING_OP_WRITE], 1);
	assert_int_equal(f->script.seen[IORING_OP_READ], 1);
	assert_true(mmio_read32(f->disk.device, VIRTIO_MMIO_INTERRUPT_STATUS) & 1);
}

static void test_second_queue(void **state)
{
	struct fixture *f = *state;
	unsigned n;

	fill(f, DISK_DATA, 512, 2);
	n = disk_request(&f->disk, 1, VIRTIO_BLK_T_OUT, 7, DISK_DATA, 512);
	disk_notify(&f->disk, 1);
	fake_worker_run(f->w);
	assert_int_equal(disk_status(&f->disk, n), OK);
	expect_one(f, 1);
	expect_on_disk(f, 7, DISK_DATA, 512);
}

/* 2.7.4.1: the same bytes, cut in every odd way. */
static void test_any_layout(void **state)
{
	struct fixture *f = *state;
	gpa_t header = disk_header(&f->disk, VIRTIO_BLK_T_OUT, 5);
	gpa_t status = disk_status_at(&f->disk, 0);
	struct driver_buf split[] = { { header, 1, false }, { header + 1, 7, false },
		{ header + 8, 8, false }, { DISK_DATA, 3, false }, { DISK_DATA + 3, 1000, false },
		{ DISK_DATA + 1003, 21, false }, { status, 1, true } };
	struct driver_buf whole[] = { { DISK_DATA + 0x10000, 16 + 1024, false },
		{ status, 1, true } };
	struct driver_buf odd[] = { { header, 16, false }, { DISK_DATA + 0x20000, 1000, true },
		{ DISK_DATA + 0x30000, 25, true } };
	uint8_t *p;

	fill(f, DISK_DATA, 1024, 3);
	run_chain(f, split, 7);
	assert_int_equal(disk_status(&f->disk, 0), OK);
	expect_one(f, 0);
	expect_on_disk(f, 5, DISK_DATA, 1024);

	/* Header and data in one buffer, not even aligned to anything. */
	fill(f, DISK_DATA + 0x10010, 1024, 4);
	memcpy(disk_at(&f->disk, DISK_DATA + 0x10000), disk_at(&f->disk, header), 16);
	run_chain(f, whole, 2);
	assert_int_equal(disk_status(&f->disk, 0), OK);
	expect_one(f, 0);
	expect_on_disk(f, 5, DISK_DATA + 0x10010, 1024);

	/* Data and status in one buffer: the status is its last byte. */
	header = disk_header(&f->disk, VIRTIO_BLK_T_IN, 5);
	odd[0].addr = header;
	p = disk_at(&f->disk, DISK_DATA + 0x30000);
	p[24] = DISK_STATUS_UNTOUCHED;
	run_chain(f, odd, 3);
	assert_int_equal(p[24], OK);
	assert_int_equal(expect_one(f, 0), 1025);
	expect_on_disk(f, 5, DISK_DATA + 0x20000, 1000);
	assert_memory_equal(p, (uint8_t *)disk_at(&f->disk, DISK_DATA + 0x10010) + 1000, 24);
}

static void test_large_request(void **state)
{
	struct fixture *f = *state;
	struct driver_buf bufs[256];
	unsigned n = 0;

	/* 254 buffers that do not touch, all a queue's descriptors. */
	bufs[n++] = (struct driver_buf){ disk_header(&f->disk, VIRTIO_BLK_T_OUT, 0), 16, false };
	for (unsigned i = 0; i < 254; i++) {
		bufs[n++] = (struct driver_buf){ DISK_DATA + i * 0x1000ULL, 1024, false };
		fill(f, DISK_DATA + i * 0x1000ULL, 1024, i);
	}
	bufs[n++] = (struct driver_buf){ disk_status_at(&f->disk, 0), 1, true };
	run_chain(f, bufs, n);
	assert_int_equal(disk_status(&f->disk, 0), OK);
	expect_one(f, 0);
	assert_int_equal(f->script.seen[IORING_OP_WRITEV], 1);
	for (unsigned i = 0; i < 254; i++)
		expect_on_disk(f, 2 * i, DISK_DATA + i * 0x1000ULL, 1024);
}

static void test_flush(void **state)
{
	struct fixture *f = *state;

	run(f, VIRTIO_BLK_T_FLUSH, 0, 0, OK);
	assert_int_equal(f->script.seen[IORING_OP_FSYNC], 1);
	f->script =
		(struct script){ .fail_op = IORING_OP_FSYNC, .fail_with = -EIO, .fail_times = 1 };
	run(f, VIRTIO_BLK_T_FLUSH, 0, 0, IOERR);
}

/* A driver that knows no flush is promised that a write that came back is on the disk. */
static void test_writethrough(void **state)
{
	struct fixture *f = *state;

	disk_start(&f->disk, 1ULL << VIRTIO_BLK_F_FLUSH);
	fill(f, DISK_DATA, 512, 1);
	run(f, VIRTIO_BLK_T_OUT, 0, 512, OK);
	assert_int_equal(f->script.seen[IORING_OP_FSYNC], 1);
	run(f, VIRTIO_BLK_T_IN, 0, 512, OK);
	assert_int_equal(f->script.seen[IORING_OP_FSYNC], 1);
	f->script =
		(struct script){ .fail_op = IORING_OP_FSYNC, .fail_with = -EIO, .fail_times = 1 };
	run(f, VIRTIO_BLK_T_OUT, 0, 512, IOERR);
}

static void test_get_id(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(run(f, VIRTIO_BLK_T_GET_ID, 0, 20, OK), 21);
	assert_memory_equal(disk_at(&f->disk, DISK_DATA), "serial-0123456789-ab", 20);
	memset(disk_at(&f->disk, DISK_DATA), 0, 20);
	assert_int_equal(run(f, VIRTIO_BLK_T_GET_ID, 0, 6, OK), 7);
	assert_memory_equal(disk_at(&f->disk, DISK_DATA), "serial\0", 7);
}

/* ---- discard and write zeroes ---- */

static uint32_t put_ranges(
	struct fixture *f, const struct virtio_blk_discard_write_zeroes *r, unsigned n)
{
	memcpy(disk_at(&f->disk, DISK_DATA), r, n * sizeof(*r));
	return (uint32_t)(n * sizeof(*r));
}

static void dirty_image(struct fixture *f)
{
	static uint8_t data[DISK_SECTORS * BLOCK_SECTOR];

	memset(data, 0x5a, sizeof(data));
	assert_int_equal(pwrite(f->disk.fd, data, sizeof(data), 0), sizeof(data));
}

static void expect_dirty(struct fixture *f, uint64_t sector)
{
	uint8_t got[BLOCK_SECTOR];

	assert_int_equal(
		pread(f->disk.fd, got, sizeof(got), (off_t)(sector * BLOCK_SECTOR)), sizeof(got));
	for (unsigned i = 0; i < sizeof(got); i++)
		assert_int_equal(got[i], 0x5a);
}

static void zero_some(struct fixture *f, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes r[] = { { 10, 20, flags }, { 1000, 1048, flags },
		{ 500, 0, flags }, { 600, 1, flags } };

	dirty_image(f);
	run(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, put_ranges(f, r, 4), OK);
	expect_dirty(f, 9);
	expect_zero(f, 10, 20 * 512);
	expect_dirty(f, 30);
	expect_dirty(f, 500);
	expect_dirty(f, 599);
	expect_zero(f, 600, 512);
	expect_dirty(f, 601);
	expect_dirty(f, 999);
	expect_zero(f, 1000, 1048 * 512);
}

static void test_write_zeroes(void **state)
{
	struct fixture *f = *state;

	zero_some(f, 0);
	zero_some(f, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
	assert_int_equal(f->script.seen[IORING_OP_WRITE], 0);
}

/* A file system without one or the other, down to writing zeroes; asked once, then known. */
static void test_write_zeroes_fallback(void **state)
{
	struct fixture *f = *state;

	f->script.no_mode = FALLOC_FL_ZERO_RANGE;
	zero_some(f, 0);
	zero_some(f, 0);
	assert_int_equal(f->script.seen[IORING_OP_FALLOCATE], 1);
	assert_true(f->script.seen[IORING_OP_WRITE] > 0);
	assert_true(f->script.seen[IORING_OP_WRITEV] > 0);
	f->script.shorten = 777;
	zero_some(f, 0);
	f->script.shorten = 0;
	f->script.no_mode |= FALLOC_FL_PUNCH_HOLE;
	zero_some(f, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
}

/* A disk of larger sectors refuses some ranges: those are written, the others still cleared. */
static void test_unaligned_ranges(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_discard_write_zeroes r = { 1, 1, 0 };

	f->script = (struct script){
		.fail_op = IORING_OP_FALLOCATE, .fail_with = -EINVAL, .fail_times = 2
	};
	zero_some(f, 0);
	assert_int_equal(f->script.seen[IORING_OP_FALLOCATE], 3);
	assert_int_equal(f->script.seen[IORING_OP_WRITE], 2);
	assert_int_equal(f->script.seen[IORING_OP_WRITEV], 1);
	f->script.fail_times = 1;
	run(f, VIRTIO_BLK_T_DISCARD, 0, put_ranges(f, &r, 1), OK);
	expect_dirty(f, 1);
}

static void test_discard(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_discard_write_zeroes r[] = { { 0, 8, 0 }, { 1024, 1024, 0 } };
	struct stat before, after;

	if (!block_can_discard(f->disk.block))
		skip();
	dirty_image(f);
	fsync(f->disk.fd);
	assert_int_equal(fstat(f->disk.fd, &before), 0);
	run(f, VIRTIO_BLK_T_DISCARD, 0, put_ranges(f, r, 2), OK);
	expect_zero(f, 0, 8 * 512);
	expect_zero(f, 1024, 1024 * 512);
	expect_dirty(f, 8);
	assert_int_equal(fstat(f->disk.fd, &after), 0);
	assert_true(after.st_blocks < before.st_blocks);
	assert_int_equal(after.st_size, before.st_size);

	/* Advice that the file system cannot take is no error. */
	f->script.no_mode = FALLOC_FL_PUNCH_HOLE;
	run(f, VIRTIO_BLK_T_DISCARD, 0, put_ranges(f, r, 2), OK);
	run(f, VIRTIO_BLK_T_DISCARD, 0, put_ranges(f, r, 2), OK);
}

static void test_bad_ranges(void **state)
{
	static const struct {
		struct virtio_blk_discard_write_zeroes r;
		uint8_t discard, zeroes; /* the status deserved */
	} bad[] = {
		{ { DISK_SECTORS, 1, 0 }, IOERR, IOERR },
		{ { DISK_SECTORS - 1, 2, 0 }, IOERR, IOERR },
		{ { UINT64_MAX, 1, 0 }, IOERR, IOERR },
		{ { UINT64_MAX - 1, 2, 0 }, IOERR, IOERR },
		{ { 1ULL << 55, 1, 0 }, IOERR, IOERR },
		{ { 0, UINT32_MAX, 0 }, IOERR, IOERR },
		{ { 0, 1, 1 }, UNSUPP, OK },
		{ { 0, 1, 2 }, UNSUPP, UNSUPP },
		{ { 0, 1, 1u << 31 }, UNSUPP, UNSUPP },
	};
	struct fixture *f = *state;
	struct virtio_blk_discard_write_zeroes two[] = { { 0, 8, 0 }, { DISK_SECTORS, 1, 0 } };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		run(f, VIRTIO_BLK_T_DISCARD, 0, put_ranges(f, &bad[i].r, 1), bad[i].discard);
		run(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, put_ranges(f, &bad[i].r, 1), bad[i].zeroes);
	}
	/* All are looked at before the first is touched. */
	dirty_image(f);
	run(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, put_ranges(f, two, 2), IOERR);
	expect_dirty(f, 0);
	/* None, a piece of one, too many. */
	run(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 0, IOERR);
	run(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 15, IOERR);
	run(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 24, IOERR);
	run(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 17 * 16, IOERR);
	run(f, VIRTIO_BLK_T_DISCARD, 0, 4096, IOERR);
	expect_dirty(f, 0);
	assert_false(needs_reset(f));
}

/* ---- errors ---- */

static void test_bad_requests(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t len;
	} bad[] = { { DISK_SECTORS, 512 }, { DISK_SECTORS - 1, 1024 }, { UINT64_MAX, 512 },
		{ UINT64_MAX / 512, 512 }, { 1ULL << 55, 512 }, { 1ULL << 63, 512 }, { 0, 511 },
		{ 0, 513 }, { 0, 1 }, { DISK_SECTORS + 1, 0 } };
	static const uint32_t types[] = { 2, 3, 5, 7, 10, 14, 15, 16, 0x80000000, 0xffffffff };
	struct fixture *f = *state;

	dirty_image(f);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(run(f, VIRTIO_BLK_T_IN, bad[i].sector, bad[i].len, IOERR), 1);
		assert_int_equal(run(f, VIRTIO_BLK_T_OUT, bad[i].sector, bad[i].len, IOERR), 1);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
		run(f, types[i], 0, 512, UNSUPP);
	expect_dirty(f, 0);
	for (unsigned op = 0; op < IORING_OP_LAST; op++)
		assert_int_equal(f->script.seen[op], 0);
	run(f, VIRTIO_BLK_T_IN, DISK_SECTORS - 1, 512, OK); /* the very last sector */
	run(f, VIRTIO_BLK_T_IN, DISK_SECTORS, 0, OK);
	assert_false(needs_reset(f));
}

static void test_short_header(void **state)
{
	struct fixture *f = *state;
	gpa_t header = disk_header(&f->disk, VIRTIO_BLK_T_OUT, 0);
	struct driver_buf bufs[] = { { header, 15, false },
		{ disk_status_at(&f->disk, 0), 1, true } };
	struct driver_buf only_status[] = { { disk_status_at(&f->disk, 0), 1, true } };

	run_chain(f, bufs, 2);
	assert_int_equal(disk_status(&f->disk, 0), IOERR);
	expect_one(f, 0);
	run_chain(f, only_status, 1);
	assert_int_equal(disk_status(&f->disk, 0), IOERR);
	expect_one(f, 0);
	assert_false(needs_reset(f));
}

static void test_no_status_byte(void **state)
{
	struct fixture *f = *state;
	struct driver_buf bufs[] = { { disk_header(&f->disk, VIRTIO_BLK_T_OUT, 0), 16, false },
		{ DISK_DATA, 512, false } };

	run_chain(f, bufs, 2);
	assert_true(needs_reset(f));
	assert_int_equal(driver_used_idx(&f->disk.d[0]), 0);
	assert_int_equal(f->script.seen[IORING_OP_WRITE], 0);
	/* The other queue goes on. */
	disk_request(&f->disk, 1, VIRTIO_BLK_T_IN, 0, DISK_DATA, 512);
	disk_notify(&f->disk, 1);
	fake_worker_run(f->w);
	expect_one(f, 1);
}

static void test_read_only(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_discard_write_zeroes r = { 0, 8, 0 };

	dirty_image(f);
	fill(f, DISK_DATA, 512, 9);
	run(f, VIRTIO_BLK_T_OUT, 0, 512, IOERR);
	run(f, VIRTIO_BLK_T_OUT, 0, 0, IOERR);
	run(f, VIRTIO_BLK_T_DISCARD, 0, put_ranges(f, &r, 1), IOERR);
	run(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, put_ranges(f, &r, 1), IOERR);
	run(f, VIRTIO_BLK_T_FLUSH, 0, 0, OK);
	expect_dirty(f, 0);
	for (unsigned op = 0; op < IORING_OP_LAST; op++)
		assert_int_equal(f->script.seen[op], 0); /* the image was not even asked */
	run(f, VIRTIO_BLK_T_IN, 0, 512, OK);
}

static void test_partial_transfers(void **state)
{
	struct fixture *f = *state;
	gpa_t header = disk_header(&f->disk, VIRTIO_BLK_T_IN, 0);
	struct driver_buf bufs[] = { { header, 16, false }, { DISK_DATA + 0x10000, 700, true },
		{ DISK_DATA + 0x20000, 1, true }, { DISK_DATA + 0x30000, 1347, true },
		{ disk_status_at(&f->disk, 0), 1, true } };
	uint8_t *got, *want;

	f->script.shorten = 100;
	fill(f, DISK_DATA, 2048, 5);
	run(f, VIRTIO_BLK_T_OUT, 0, 2048, OK);
	expect_on_disk(f, 0, DISK_DATA, 2048);
	run_chain(f, bufs, 5);
	assert_int_equal(disk_status(&f->disk, 0), OK);
	assert_int_equal(expect_one(f, 0), 2049);
	got = disk_at(&f->disk, 0);
	want = disk_at(&f->disk, DISK_DATA);
	assert_memory_equal(got + DISK_DATA + 0x10000, want, 700);
	assert_memory_equal(got + DISK_DATA + 0x20000, want + 700, 1);
	assert_memory_equal(got + DISK_DATA + 0x30000, want + 701, 1347);
}

static void test_repeats_and_failures(void **state)
{
	static const int passing[] = { -EINTR, -EAGAIN };
	static const int lasting[] = { -EIO, -ENOSPC, -EDQUOT, -EROFS, -EAGAIN };
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(passing); i++) {
		f->script = (struct script){
			.fail_op = IORING_OP_WRITE, .fail_with = passing[i], .fail_times = 3
		};
		run(f, VIRTIO_BLK_T_OUT, 0, 512, OK);
		assert_int_equal(f->script.seen[IORING_OP_WRITE], 4);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(lasting); i++) {
		f->script = (struct script){
			.fail_op = IORING_OP_WRITE, .fail_with = lasting[i], .fail_times = 100000
		};
		assert_int_equal(run(f, VIRTIO_BLK_T_OUT, 0, 512, IOERR), 1);
		f->script.fail_op = IORING_OP_READ;
		run(f, VIRTIO_BLK_T_IN, 0, 512, IOERR);
	}
	f->script = (struct script){ 0 };
	/* Somebody shortened the file: a read that finds nothing is an error, not silence. */
	assert_int_equal(ftruncate(f->disk.fd, 512), 0);
	run(f, VIRTIO_BLK_T_IN, 1, 512, IOERR);
	run(f, VIRTIO_BLK_T_IN, 0, 1024, IOERR);
	assert_false(needs_reset(f));
}

/* ---- in flight ---- */

static void test_reset_waits(void **state)
{
	struct fixture *f = *state;
	unsigned n;

	fill(f, DISK_DATA, 512, 6);
	n = disk_request(&f->disk, 0, VIRTIO_BLK_T_OUT, 3, DISK_DATA, 512);
	disk_notify(&f->disk, 0);
	fake_worker_hold(f->w, true);
	fake_worker_run(f->w);
	assert_int_equal(disk_status(&f->disk, n), DISK_STATUS_UNTOUCHED);
	mmio_write32(f->disk.device, VIRTIO_MMIO_STATUS, 0);
	/* It was finished, and seen, before the reset was; later nothing is touched. */
	assert_int_equal(disk_status(&f->disk, n), OK);
	expect_one(f, 0);
	expect_on_disk(f, 3, DISK_DATA, 512);
	assert_int_equal(mmio_read32(f->disk.device, VIRTIO_MMIO_STATUS), 0);
	fake_worker_hold(f->w, false);
	disk_request(&f->disk, 0, VIRTIO_BLK_T_OUT, 4, DISK_DATA, 512);
	disk_notify(&f->disk, 0);
	fake_worker_run(f->w);
	assert_int_equal(driver_used_idx(&f->disk.d[0]), 1);

	for (unsigned i = 0; i < DISK_QUEUES; i++)
		driver_init(&f->disk.d[i], &f->disk.mem, DISK_RING + 0x4000 * i, 256);
	disk_start(&f->disk, 0);
	run(f, VIRTIO_BLK_T_IN, 3, 512, OK);
}

static void test_fault_while_in_flight(void **state)
{
	struct fixture *f = *state;

	disk_request(&f->disk, 0, VIRTIO_BLK_T_IN, 3, DISK_DATA, 512);
	disk_notify(&f->disk, 0);
	fake_worker_hold(f->w, true);
	fake_worker_run(f->w);
	driver_offer(&f->disk.d[0], 0xffff);
	disk_notify(&f->disk, 0);
	fake_worker_run(f->w);
	assert_true(needs_reset(f));
	fake_worker_hold(f->w, false);
	fake_worker_run(f->w);
	assert_int_equal(driver_used_idx(&f->disk.d[0]), 0); /* into nothing */
	mmio_write32(f->disk.device, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(mmio_read32(f->disk.device, VIRTIO_MMIO_STATUS), 0);
}

/* More than the budget of a turn, and one kick for all of it. */
static void test_full_queue(void **state)
{
	struct fixture *f = *state;
	uint32_t head, written;
	unsigned n = 0;

	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 128; i++) {
			struct driver_buf bufs[] = { { disk_header(&f->disk, VIRTIO_BLK_T_IN, i),
							     16, false },
				{ DISK_DATA + i * 513ULL, 513, true } };

			driver_add(&f->disk.d[0], bufs, 2);
		}
		disk_notify(&f->disk, 0);
		fake_worker_run(f->w);
		while (driver_take(&f->disk.d[0], &head, &written)) {
			assert_int_equal(written, 513);
			n++;
		}
		assert_int_equal(n, 128 * (round + 1));
	}
	/* 256 chains of one buffer each: the fullest that a queue can be, all in flight at once. */
	fake_worker_hold(f->w, true);
	for (unsigned i = 0; i < 256; i++) {
		gpa_t table = 0x180000 + 32ULL * i;

		driver_desc_at(&f->disk.mem, table, 0, disk_header(&f->disk, VIRTIO_BLK_T_IN, i),
			16, VRING_DESC_F_NEXT, 1);
		driver_desc_at(
			&f->disk.mem, table, 1, DISK_DATA + i * 513ULL, 513, VRING_DESC_F_WRITE, 0);
		driver_desc(&f->disk.d[0], i, table, 32, VRING_DESC_F_INDIRECT, 0);
		driver_offer(&f->disk.d[0], (uint16_t)i);
	}
	disk_notify(&f->disk, 0);
	fake_worker_run(f->w);
	fake_worker_hold(f->w, false);
	fake_worker_run(f->w);
	while (driver_take(&f->disk.d[0], &head, &written))
		n++;
	assert_int_equal(n, 3 * 128 + 256);
	assert_false(needs_reset(f));
}

/* One head offered twice: two requests on the same buffers, two completions, nothing worse. */
static void test_same_head_twice(void **state)
{
	struct fixture *f = *state;
	uint32_t head, written;

	disk_request(&f->disk, 0, VIRTIO_BLK_T_IN, 0, DISK_DATA, 512);
	driver_offer(&f->disk.d[0], 0);
	driver_offer(&f->disk.d[0], 0);
	disk_notify(&f->disk, 0);
	fake_worker_run(f->w);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(driver_take(&f->disk.d[0], &head, &written));
		assert_int_equal(head, 0);
	}
	assert_false(driver_take(&f->disk.d[0], &head, &written));
}

#define T(name)		  cmocka_unit_test_setup_teardown(name, setup, teardown)
#define T_RO(name)	  cmocka_unit_test_setup_teardown(name, setup_read_only, teardown)
#define T_UNSTARTED(name) cmocka_unit_test_setup_teardown(name, setup_unstarted, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(test_config),
		T_RO(test_config_read_only),
		T(test_write_and_read),
		T(test_second_queue),
		T(test_any_layout),
		T(test_large_request),
		T(test_flush),
		T_UNSTARTED(test_writethrough),
		T(test_get_id),
		T(test_write_zeroes),
		T(test_write_zeroes_fallback),
		T(test_unaligned_ranges),
		T(test_discard),
		T(test_bad_ranges),
		T(test_bad_requests),
		T(test_short_header),
		T(test_no_status_byte),
		T_RO(test_read_only),
		T(test_partial_transfers),
		T(test_repeats_and_failures),
		T(test_reset_waits),
		T(test_fault_while_in_flight),
		T(test_full_queue),
		T(test_same_head_twice),
	};

	/* The faults that are provoked here would otherwise be told on standard error. */
	log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
