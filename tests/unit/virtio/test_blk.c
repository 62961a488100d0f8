/* The block device: its configuration, and what each request does to the image. */
#include "blk_rig.h"
#include "vmm/bus.h"

#include <errno.h>
#include <linux/falloc.h>
#include <linux/virtio_mmio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

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
			    c.max_discard_seg > 0 && c.write_zeroes_may_unmap == 1 &&
			    c.discard_sector_alignment == 1u << c.physical_block_exp);
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

	/* Only where the driver allows it may the space be given up. */
	zero_some(f, 0);
	assert_int_equal(f->script.modes, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
	f->script.modes = 0;
	zero_some(f, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
	assert_int_equal(f->script.modes, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
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

	/* A failure is an error. */
	f->script = (struct script){
		.fail_op = IORING_OP_FALLOCATE, .fail_with = -EIO, .fail_times = 2
	};
	run(f, VIRTIO_BLK_T_DISCARD, 0, put_ranges(f, r, 2), IOERR);
	assert_int_equal(f->script.seen[IORING_OP_FALLOCATE], 1); /* and ends the request */
	run(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, put_ranges(f, r, 2), IOERR);
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
	struct virtio_blk_discard_write_zeroes many[16];

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
	/* As many as there may be. */
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = (struct virtio_blk_discard_write_zeroes){ 2 * i, 1, 0 };
	run(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, put_ranges(f, many, 16), OK);
	expect_zero(f, 30, 512);
	expect_dirty(f, 31);
	assert_false(needs_reset(f));
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
	};

	/* The faults that are provoked here would otherwise be told on standard error. */
	log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
