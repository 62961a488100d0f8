/*
 * The block device: how each error is told, and that every chain comes back exactly once, also when
 * the queue is full, broken or taken away.
 */
#include "blk_rig.h"

#include <errno.h>
#include <linux/virtio_mmio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

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

	fake_worker_hold(f->w, true);
	disk_request(&f->disk, 0, VIRTIO_BLK_T_IN, 0, DISK_DATA, 512);
	run_chain(f, bufs, 2);
	assert_true(needs_reset(f));
	/* What was in flight completes, into nothing. */
	fake_worker_hold(f->w, false);
	fake_worker_run(f->w);
	assert_int_equal(f->script.seen[IORING_OP_READ], 1);
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
	disk_request(&f->disk, 0, VIRTIO_BLK_T_IN, 8, DISK_DATA + 512, 512);
	n = disk_request(&f->disk, 0, VIRTIO_BLK_T_OUT, 3, DISK_DATA, 512);
	disk_notify(&f->disk, 0);
	fake_worker_hold(f->w, true);
	fake_worker_run(f->w);
	assert_int_equal(disk_status(&f->disk, n), DISK_STATUS_UNTOUCHED);
	mmio_write32(f->disk.device, VIRTIO_MMIO_STATUS, 0);
	/* It was finished, and seen, before the reset was; later nothing is touched. */
	assert_int_equal(disk_status(&f->disk, n - 1), OK);
	assert_int_equal(disk_status(&f->disk, n), OK);
	assert_int_equal(driver_used_idx(&f->disk.d[0]), 2);
	expect_on_disk(f, 3, DISK_DATA, 512);
	assert_int_equal(mmio_read32(f->disk.device, VIRTIO_MMIO_STATUS), 0);
	fake_worker_hold(f->w, false);
	disk_request(&f->disk, 0, VIRTIO_BLK_T_OUT, 4, DISK_DATA, 512);
	disk_notify(&f->disk, 0);
	fake_worker_run(f->w);
	assert_int_equal(driver_used_idx(&f->disk.d[0]), 2);

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
		*(uint8_t *)disk_at(&f->disk, DISK_DATA + i * 513ULL + 512) = DISK_STATUS_UNTOUCHED;
		driver_desc_at(
			&f->disk.mem, table, 1, DISK_DATA + i * 513ULL, 513, VRING_DESC_F_WRITE, 0);
		driver_desc(&f->disk.d[0], i, table, 32, VRING_DESC_F_INDIRECT, 0);
		driver_offer(&f->disk.d[0], (uint16_t)i);
	}
	disk_notify(&f->disk, 0);
	fake_worker_turn(f->w);
	assert_int_equal(fake_worker_queued(f->w), 128); /* then others have their turn */
	fake_worker_run(f->w);
	assert_int_equal(fake_worker_queued(f->w), 256);
	fake_worker_hold(f->w, false);
	fake_worker_run(f->w);
	for (unsigned i = 0; i < 256; i++) {
		assert_true(driver_take(&f->disk.d[0], &head, &written));
		assert_int_equal(head, i);
		assert_int_equal(*(uint8_t *)disk_at(&f->disk, DISK_DATA + i * 513ULL + 512), OK);
	}
	assert_false(driver_take(&f->disk.d[0], &head, &written));
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

#define T(name)	   cmocka_unit_test_setup_teardown(name, setup, teardown)
#define T_RO(name) cmocka_unit_test_setup_teardown(name, setup_read_only, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
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
