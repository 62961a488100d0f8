/* Devices on real workers, with real threads, a real io_uring and a real file. */
#include "disk.h"
#include "util/clock.h"
#include "virtio/rng.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { SLOTS = 8, SLOT_SECTORS = DISK_SECTORS / DISK_QUEUES / SLOTS, PATIENCE_MS = 20000 };

struct fixture {
	struct worker *w[DISK_QUEUES];
	struct disk disk;
};

static struct worker *make_worker(const char *name)
{
	struct worker_params p = { .name = name, .sandbox = true };
	struct error err = { 0 };
	struct worker *w;

	if (worker_create(&w, &p, &err) < 0)
		fail_msg("%s", err.msg);
	return w;
}

static void start_worker(struct worker *w)
{
	struct error err = { 0 };

	if (worker_start(w, &err) < 0)
		fail_msg("%s", err.msg);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	for (unsigned i = 0; i < DISK_QUEUES; i++)
		f->w[i] = make_worker("worker-test");
	disk_open(&f->disk, f->w, false);
	for (unsigned i = 0; i < DISK_QUEUES; i++)
		start_worker(f->w[i]);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	virtio_device_quiesce(f->disk.device);
	for (unsigned i = 0; i < DISK_QUEUES; i++)
		worker_stop(f->w[i]);
	disk_close(&f->disk);
	for (unsigned i = 0; i < DISK_QUEUES; i++)
		worker_destroy(f->w[i]);
	free(f);
	return 0;
}

/* Sleep until the device interrupts, as a driver does: ask for it, look again, then wait. */
static void wait_used(struct virtio_device *device, struct driver *d)
{
	int64_t end = now_ms() + PATIENCE_MS;
	uint64_t count;

	while (driver_used_idx(d) == d->used_idx) {
		struct pollfd p = { .fd = device->irq_fd, .events = POLLIN };

		driver_set_used_event(d, d->used_idx); /* a full barrier, like the load below */
		if (driver_used_idx(d) != d->used_idx)
			return;
		if (poll(&p, 1, 100) == 1 && read(p.fd, &count, sizeof(count)) < 0)
			fail();
		if (now_ms() > end)
			fail_msg("no interrupt within %d ms", PATIENCE_MS);
		mmio_write32(device, VIRTIO_MMIO_INTERRUPT_ACK,
			mmio_read32(device, VIRTIO_MMIO_INTERRUPT_STATUS));
	}
}

static unsigned take_all(struct driver *d)
{
	uint32_t head, written;
	unsigned n = 0;

	while (driver_take(d, &head, &written))
		n++;
	return n;
}

/* Offer one request in each slot of each queue, and wait until all are back with OK. */
static void round_trip(struct fixture *f, uint32_t type, const uint32_t *sector, uint32_t len)
{
	unsigned first = f->disk.requests, n;

	for (unsigned i = 0; i < DISK_QUEUES * SLOTS; i++)
		disk_request(&f->disk, i / SLOTS, type, i * SLOT_SECTORS + sector[i],
			DISK_DATA + i * 0x10000ULL, len);
	for (unsigned i = 0; i < DISK_QUEUES; i++)
		disk_notify(&f->disk, i);
	for (unsigned i = 0; i < DISK_QUEUES; i++)
		for (n = take_all(&f->disk.d[i]); n < SLOTS; n += take_all(&f->disk.d[i]))
			wait_used(f->disk.device, &f->disk.d[i]);
	for (unsigned i = 0; i < DISK_QUEUES * SLOTS; i++)
		assert_int_equal(disk_status(&f->disk, first + i), VIRTIO_BLK_S_OK);
}

static void test_random_io(void **state)
{
	struct fixture *f = *state;
	uint8_t *image = calloc(DISK_SECTORS, BLOCK_SECTOR),
		*got = malloc(DISK_SECTORS * BLOCK_SECTOR);
	uint32_t sector[DISK_QUEUES * SLOTS];

	disk_start(&f->disk, 0);
	srandom(1);
	for (unsigned round = 0; round < 200; round++) {
		uint32_t len = (1 + (uint32_t)random() % 32) * BLOCK_SECTOR;

		for (unsigned i = 0; i < ARRAY_SIZE(sector); i++) {
			uint8_t *p = disk_at(&f->disk, DISK_DATA + i * 0x10000ULL);

			sector[i] = (uint32_t)random() % (SLOT_SECTORS - len / BLOCK_SECTOR + 1);
			for (unsigned b = 0; b < len; b++)
				p[b] = (uint8_t)random();
			memcpy(image + (i * SLOT_SECTORS + sector[i]) * BLOCK_SECTOR, p, len);
		}
		round_trip(f, VIRTIO_BLK_T_OUT, sector, len);
		for (unsigned i = 0; i < ARRAY_SIZE(sector); i++)
			memset(disk_at(&f->disk, DISK_DATA + i * 0x10000ULL), 0, len);
		round_trip(f, VIRTIO_BLK_T_IN, sector, len);
		for (unsigned i = 0; i < ARRAY_SIZE(sector); i++)
			assert_memory_equal(disk_at(&f->disk, DISK_DATA + i * 0x10000ULL),
				image + (i * SLOT_SECTORS + sector[i]) * BLOCK_SECTOR, len);
	}
	assert_int_equal(pread(f->disk.fd, got, DISK_SECTORS * BLOCK_SECTOR, 0),
		DISK_SECTORS * BLOCK_SECTOR);
	assert_memory_equal(got, image, DISK_SECTORS * BLOCK_SECTOR);
	free(image);
	free(got);
}

static void test_every_type(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_discard_write_zeroes range = { 0, 64, 0 };
	static const struct {
		uint32_t type, len;
	} requests[] = { { VIRTIO_BLK_T_OUT, 4096 }, { VIRTIO_BLK_T_FLUSH, 0 },
		{ VIRTIO_BLK_T_WRITE_ZEROES, 16 }, { VIRTIO_BLK_T_DISCARD, 16 },
		{ VIRTIO_BLK_T_GET_ID, 20 }, { VIRTIO_BLK_T_IN, 4096 } };
	uint8_t zero[4096] = { 0 };

	disk_start(&f->disk, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
		unsigned n;

		memset(disk_at(&f->disk, DISK_DATA), 0x77, 4096);
		if (requests[i].len == sizeof(range))
			memcpy(disk_at(&f->disk, DISK_DATA), &range, sizeof(range));
		n = disk_request(&f->disk, 0, requests[i].type, 0, DISK_DATA, requests[i].len);
		disk_notify(&f->disk, 0);
		wait_used(f->disk.device, &f->disk.d[0]);
		assert_int_equal(take_all(&f->disk.d[0]), 1);
		assert_int_equal(disk_status(&f->disk, n), VIRTIO_BLK_S_OK);
	}
	assert_memory_equal(disk_at(&f->disk, DISK_DATA), zero, 4096);
}

/* A reset with I/O under way: once it reads back as 0, no byte of guest memory changes any more. */
static void test_reset_under_load(void **state)
{
	struct fixture *f = *state;
	uint8_t *data = disk_at(&f->disk, DISK_DATA);

	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < DISK_QUEUES; i++)
			driver_init(&f->disk.d[i], &f->disk.mem, DISK_RING + 0x4000 * i, 256);
		disk_start(&f->disk, 0);
		for (unsigned i = 0; i < 64; i++)
			disk_request(&f->disk, i % DISK_QUEUES,
				i % 3 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT, i * 16,
				DISK_DATA + i * 0x2000ULL, 0x2000);
		for (unsigned i = 0; i < DISK_QUEUES; i++)
			disk_notify(&f->disk, i);
		mmio_write32(f->disk.device, VIRTIO_MMIO_STATUS, 0);
		assert_int_equal(mmio_read32(f->disk.device, VIRTIO_MMIO_STATUS), 0);
		memset(data, 0x33, 64 * 0x2000);
		memset(disk_at(&f->disk, DISK_RING), 0x33, 0x8000);
		usleep(200);
		for (unsigned i = 0; i < 64 * 0x2000; i++)
			if (data[i] != 0x33)
				fail_msg("byte %u changed after the reset", i);
		for (unsigned i = 0; i < 0x8000; i++)
			assert_int_equal(((uint8_t *)disk_at(&f->disk, DISK_RING))[i], 0x33);
	}
}

/* A driver that breaks the rules under load loses its device, and gets it back by a reset. */
static void test_fault_under_load(void **state)
{
	struct fixture *f = *state;
	int64_t end = now_ms() + PATIENCE_MS;
	uint32_t sector[DISK_QUEUES * SLOTS] = { 0 };

	disk_start(&f->disk, 0);
	for (unsigned i = 0; i < 32; i++)
		disk_request(&f->disk, 0, VIRTIO_BLK_T_IN, i, DISK_DATA + i * 0x1000ULL, 512);
	driver_offer(&f->disk.d[0], 0x1234);
	disk_notify(&f->disk, 0);
	while (!(mmio_read32(f->disk.device, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET)) {
		usleep(100);
		assert_true(now_ms() < end);
	}
	for (unsigned i = 0; i < DISK_QUEUES; i++)
		driver_init(&f->disk.d[i], &f->disk.mem, DISK_RING + 0x4000 * i, 256);
	disk_start(&f->disk, 0);
	round_trip(f, VIRTIO_BLK_T_IN, sector, 512);
}

static void test_entropy(void **state)
{
	struct guest_memory mem;
	struct virtio_device *device;
	struct worker *w = make_worker("worker-rng");
	struct driver d;
	struct error err = { 0 };
	struct driver_buf some = { 0x10000, 64, true }, much = { 0x20000, 0x100000, true },
			  none = { 0x10000, 64, false };
	static const uint8_t zero[64];
	uint32_t head, written;
	uint8_t *data;

	assert_int_equal(memory_create(&mem, 4 * MIB, &err), 0);
	assert_int_equal(virtio_rng_create(&device, &mem, "rng0", &err), 0);
	assert_int_equal(virtio_rng_attach(device, w, &err), 0);
	start_worker(w);
	driver_init(&d, &mem, 0x1000, 16);
	mmio_start(device, virtio_device_offers(device), &d);
	data = memory_at(&mem, 0, 4 * MIB);
	for (unsigned round = 0; round < 100; round++) {
		driver_add(&d, &some, 1);
		driver_add(&d, &none, 1);
		driver_add(&d, &much, 1);
		mmio_write32(device, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		wait_used(device, &d);
		assert_true(driver_take(&d, &head, &written));
		assert_int_equal(written, 64);
		assert_memory_not_equal(data + 0x10000, zero, 64);
		wait_used(device, &d);
		assert_true(driver_take(&d, &head, &written));
		assert_int_equal(written, 0); /* nothing to write into */
		wait_used(device, &d);
		assert_true(driver_take(&d, &head, &written));
		assert_int_equal(written, 4096); /* its share */
		assert_memory_not_equal(data + 0x20000 + 4032, zero, 64);
		assert_memory_equal(data + 0x20000 + 4096, zero, 64);
		memset(data + 0x10000, 0, 0x20000);
	}
	/* Useless chains without end, more than one turn takes. */
	for (unsigned i = 0; i < 16; i++)
		driver_add(&d, &none, 1);
	mmio_write32(device, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	for (unsigned n = 0; n < 16; n += take_all(&d))
		wait_used(device, &d);
	virtio_device_quiesce(device);
	worker_stop(w);
	virtio_rng_destroy(device);
	worker_destroy(w);
	memory_destroy(&mem);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(test_random_io),
		T(test_every_type),
		T(test_reset_under_load),
		T(test_fault_under_load),
		cmocka_unit_test(test_entropy),
	};

	struct worker_params probe = { .name = "probe" };
	struct error err = { 0 };
	struct worker *w;

	if (worker_create(&w, &probe, &err) < 0) {
		printf("skip: %s\n", err.msg);
		return 77;
	}
	worker_destroy(w);
	/* The workers wear their seccomp filters, which takes this (or being root). */
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
