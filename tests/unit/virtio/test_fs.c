/* The file system device: its rings, requests that wait for a lock, resets in between. */
#include "driver.h"
#include "fake_worker.h"
#include "virtio/fs.h"
#include "vmm/bus.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { RAM = 4 << 20, RINGS = 0x100000, OUT = 0x1000, IN = 0x80000, STRIDE = 0x1000 };

struct fixture {
	struct guest_memory mem;
	struct worker *w;
	struct fs_server *server;
	struct virtio_device *device;
	struct driver d[2];
	char dir[64];
	unsigned sent;
};

static void start(struct fixture *f)
{
	uint32_t status = mmio_negotiate(f->device, virtio_device_offers(f->device));

	for (unsigned i = 0; i < 2; i++) {
		driver_init(&f->d[i], &f->mem, RINGS + 0x4000 * i, 64);
		mmio_set_queue(f->device, i, &f->d[i].config);
	}
	mmio_write32(f->device, VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* Offer one request on @queue, with @room bytes for the answer; it is not kicked. */
static uint16_t offer(struct fixture *f, unsigned queue, uint32_t opcode, uint64_t node,
	const void *arg, uint32_t len, uint32_t room)
{
	gpa_t out = OUT + STRIDE * (f->sent % 64), in = IN + STRIDE * (f->sent % 64);
	struct fuse_in_header head = {
		.len = (uint32_t)sizeof(head) + len,
		.opcode = opcode,
		.unique = 100 + f->sent,
		.nodeid = node,
	};
	struct driver_buf bufs[] = { { out, sizeof(head), false }, { out + 0x100, len, false },
		{ in, 16, true }, { in + 0x100, room, true } };
	struct driver_buf used[4];
	unsigned n = 0;

	memcpy(memory_at(&f->mem, out, sizeof(head)), &head, sizeof(head));
	if (len)
		memcpy(memory_at(&f->mem, out + 0x100, len), arg, len);
	for (unsigned i = 0; i < 4; i++)
		if (bufs[i].len && (room || i < 2))
			used[n++] = bufs[i];
	f->sent++;
	return driver_add(&f->d[queue], used, n);
}

static struct fuse_out_header *answer(struct fixture *f, unsigned request)
{
	return memory_at(&f->mem, IN + STRIDE * (request % 64), 0x200);
}

static void kick(struct fixture *f, unsigned queue)
{
	mmio_write32(f->device, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

static void init(struct fixture *f)
{
	struct fuse_init_in in = { .major = 7, .minor = 38 };
	uint32_t head, written;

	offer(f, 1, FUSE_INIT, 0, &in, sizeof(in), 0x200);
	kick(f, 1);
	fake_worker_run(f->w);
	assert_true(driver_take(&f->d[1], &head, &written));
	assert_int_equal(written, sizeof(struct fuse_out_header) + sizeof(struct fuse_init_out));
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct fs_options options = { .path = f->dir };
	struct error err;
	char path[128];
	int fd;

	strcpy(f->dir, "/tmp/microvm-test-fs-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(path, sizeof(path), "%s/file", f->dir);
	fd = open(path, O_CREAT | O_RDWR, 0600);
	assert_int_equal(write(fd, "content", 7), 7);
	close(fd);
	f->w = fake_worker_new();
	assert_int_equal(memory_create(&f->mem, RAM, &err), 0);
	assert_int_equal(fs_server_open(&f->server, &options, &err), 0);
	assert_int_equal(virtio_fs_create(&f->device, &f->mem, "share", f->server, 0, &err), 0);
	assert_int_equal(virtio_fs_assign(f->device, f->w, &err), 0);
	assert_int_equal(fs_server_enter(f->server), 0);
	start(f);
	init(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char path[128];

	virtio_device_quiesce(f->device);
	virtio_fs_destroy(f->device);
	fs_server_close(f->server);
	memory_destroy(&f->mem);
	fake_worker_free(f->w);
	snprintf(path, sizeof(path), "%s/file", f->dir);
	unlink(path);
	rmdir(f->dir);
	free(f);
	return 0;
}

static void test_config(void **state)
{
	struct fixture *f = *state;
	uint8_t config[40];

	assert_int_equal(mmio_read32(f->device, VIRTIO_MMIO_DEVICE_ID), 26);
	for (unsigned i = 0; i < sizeof(config); i++)
		virtio_mmio_ops.read(f->device, 0x100 + i, config + i, 1);
	assert_memory_equal(config, "share\0\0\0", 8);
	assert_memory_equal(config + 36, "\1\0\0\0", 4);
}

static void test_bad_tags(void **state)
{
	struct fixture *f = *state;
	struct virtio_device *device;
	struct error err;

	assert_int_equal(virtio_fs_create(&device, &f->mem, "", f->server, 1, &err), -EINVAL);
	assert_int_equal(err.kind, ERROR_USAGE);
	assert_int_equal(virtio_fs_create(&device, &f->mem, "0123456789012345678901234567890123456",
				 f->server, 1, &err),
		-EINVAL);
	assert_int_equal(virtio_fs_create(&device, &f->mem, "012345678901234567890123456789012345",
				 f->server, 1, &err),
		0);
	virtio_fs_destroy(device);
	assert_true(virtio_fs_create(&device, &f->mem, "t", f->server, 99, &err) < 0);
	virtio_fs_destroy(NULL);
}

/* Several requests, one notification. */
static void test_batch(void **state)
{
	struct fixture *f = *state;
	unsigned first = f->sent, signals;
	uint32_t head, written;

	fake_worker_signals(f->w, f->device->queue[1].irq_file);
	driver_set_used_event(&f->d[1], f->d[1].used_idx);
	for (unsigned i = 0; i < 5; i++)
		offer(f, 1, FUSE_LOOKUP, 1, i % 2 ? "absent" : "file", i % 2 ? 7 : 5, 0x200);
	/* A forget asks for no answer, and has no room for one. */
	offer(f, 1, FUSE_FORGET, 2, (uint64_t[1]){ 1 }, 8, 0);
	kick(f, 1);
	fake_worker_run(f->w);
	for (unsigned i = 0; i < 5; i++) {
		assert_true(driver_take(&f->d[1], &head, &written));
		assert_int_equal(answer(f, first + i)->error, i % 2 ? -ENOENT : 0);
		assert_int_equal(written, i % 2 ? 16 : 16 + sizeof(struct fuse_entry_out));
		assert_int_equal(answer(f, first + i)->len, written);
		assert_int_equal(answer(f, first + i)->unique, 100 + first + i);
	}
	assert_true(driver_take(&f->d[1], &head, &written));
	assert_int_equal(written, 0);
	assert_false(driver_take(&f->d[1], &head, &written));
	signals = fake_worker_signals(f->w, f->device->queue[1].irq_file);
	assert_int_equal(signals, 1);
}

/* Requests too short for anything, or with no room for an answer: given back, and no more. */
static void test_short(void **state)
{
	struct fixture *f = *state;
	struct driver_buf bufs[] = { { OUT, 12, false }, { IN, 64, true } };
	uint32_t head, written;

	driver_add(&f->d[1], bufs, 2);
	driver_add(&f->d[1], bufs, 1);
	driver_add(&f->d[1], bufs + 1, 1);
	bufs[0].len = 40;
	bufs[1].len = 7;
	driver_add(&f->d[1], bufs, 2);
	kick(f, 1);
	fake_worker_run(f->w);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(driver_take(&f->d[1], &head, &written));
		assert_int_equal(written, 0);
	}
	assert_false(mmio_read32(f->device, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
}

static uint64_t open_file(struct fixture *f, uint64_t *node)
{
	struct fuse_open_in in = { .flags = O_RDWR };
	unsigned first = f->sent;
	uint32_t head, written;
	uint64_t fh;

	offer(f, 1, FUSE_LOOKUP, 1, "file", 5, 0x200);
	kick(f, 1);
	fake_worker_run(f->w);
	memcpy(node, memory_at(&f->mem, IN + STRIDE * (first % 64) + 0x100, 8), 8);
	offer(f, 1, FUSE_OPEN, *node, &in, sizeof(in), 16);
	kick(f, 1);
	fake_worker_run(f->w);
	memcpy(&fh, memory_at(&f->mem, IN + STRIDE * ((first + 1) % 64) + 0x100, 8), 8);
	while (driver_take(&f->d[1], &head, &written))
		;
	assert_int_equal(answer(f, first + 1)->error, 0);
	return fh;
}

static void lock(struct fixture *f, uint64_t node, uint64_t fh, uint64_t owner, uint32_t type)
{
	struct fuse_lk_in in = {
		.fh = fh, .owner = owner, .lk = { .end = INT64_MAX, .type = type }
	};

	offer(f, 1, FUSE_SETLKW, node, &in, sizeof(in), 16);
	kick(f, 1);
}

static void turns(struct fixture *f, unsigned n)
{
	while (n--)
		fake_worker_turn(f->w);
}

static void test_waits_for_a_lock(void **state)
{
	struct fixture *f = *state;
	unsigned first;
	uint32_t head, written;
	uint64_t node, fh = open_file(f, &node);

	first = f->sent;
	lock(f, node, fh, 1, F_WRLCK);
	lock(f, node, fh, 2, F_WRLCK);
	turns(f, 20); /* the timer goes off in each */
	assert_true(driver_take(&f->d[1], &head, &written));
	assert_false(driver_take(&f->d[1], &head, &written));
	/* Others are served meanwhile. */
	offer(f, 1, FUSE_STATFS, 1, NULL, 0, 0x200);
	kick(f, 1);
	turns(f, 3);
	assert_true(driver_take(&f->d[1], &head, &written));
	lock(f, node, fh, 1, F_UNLCK);
	turns(f, 3);
	assert_true(driver_take(&f->d[1], &head, &written));
	assert_true(driver_take(&f->d[1], &head, &written));
	assert_int_equal(answer(f, first + 1)->error, 0);
	assert_int_equal(answer(f, first + 1)->unique, 100 + first + 1);
	/* An interrupt by the queue of high priority ends another. */
	lock(f, node, fh, 3, F_WRLCK);
	turns(f, 3);
	offer(f, 0, FUSE_INTERRUPT, 0, (uint64_t[1]){ 100 + f->sent - 1 }, 8, 0);
	kick(f, 0);
	turns(f, 3);
	assert_true(driver_take(&f->d[0], &head, &written));
	assert_true(driver_take(&f->d[1], &head, &written));
	assert_int_equal(answer(f, first + 4)->error, -EINTR);
	fake_worker_run(f->w);
}

/* A reset while a request waits: it ends, and nothing comes after the reset. */
static void test_reset_while_waiting(void **state)
{
	struct fixture *f = *state;
	unsigned first;
	uint64_t node, fh = open_file(f, &node);

	first = f->sent;
	lock(f, node, fh, 1, F_WRLCK);
	lock(f, node, fh, 2, F_WRLCK);
	turns(f, 5);
	mmio_write32(f->device, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(answer(f, first + 1)->error, -EINTR);
	assert_int_equal(fake_worker_queued(f->w), 0);
	start(f);
	init(f);
	fh = open_file(f, &node);
	first = f->sent;
	lock(f, node, fh, 3, F_WRLCK);
	fake_worker_run(f->w);
	assert_int_equal(answer(f, first)->error, 0);
}

static unsigned taken_back(struct fixture *f)
{
	uint32_t head, written;
	unsigned n = 0;

	while (driver_take(&f->d[1], &head, &written))
		n++;
	return n;
}

/* What takes long is with the ring; others are served meanwhile, and the file may be closed. */
static void test_flush_by_the_ring(void **state)
{
	struct fixture *f = *state;
	uint64_t node, fh = open_file(f, &node);
	struct fuse_fsync_in sync = { .fh = fh };
	struct fuse_release_in release = { .fh = fh };
	unsigned first = f->sent;

	assert_true(fake_worker_allows(f->w, IORING_OP_FSYNC));
	assert_true(fake_worker_allows(f->w, IORING_OP_READV));
	fake_worker_hold(f->w, true);
	offer(f, 1, FUSE_FSYNC, node, &sync, sizeof(sync), 16);
	offer(f, 1, FUSE_FSYNC, node, &sync, sizeof(sync), 16);
	offer(f, 1, FUSE_STATFS, 1, NULL, 0, 0x200);
	offer(f, 1, FUSE_RELEASE, node, &release, sizeof(release), 16);
	offer(f, 1, FUSE_FSYNC, node, &sync, sizeof(sync), 16);
	kick(f, 1);
	turns(f, 5);
	assert_int_equal(taken_back(f), 3);
	assert_int_equal(answer(f, first + 2)->error, 0);
	assert_int_equal(answer(f, first + 3)->error, 0);
	assert_int_equal(answer(f, first + 4)->error, -EBADF); /* it is closed to the guest */
	fake_worker_hold(f->w, false);
	turns(f, 5);
	assert_int_equal(taken_back(f), 2);
	assert_int_equal(answer(f, first)->error, 0);
	assert_int_equal(answer(f, first + 1)->error, 0);
	assert_int_equal(answer(f, first)->unique, 100 + first);

	/* A reset waits for it. */
	fh = open_file(f, &node);
	sync.fh = fh;
	fake_worker_hold(f->w, true);
	first = f->sent;
	offer(f, 1, FUSE_FSYNC, node, &sync, sizeof(sync), 16);
	kick(f, 1);
	turns(f, 5);
	assert_int_equal(taken_back(f), 0);
	mmio_write32(f->device, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(answer(f, first)->unique, 100 + first);
	assert_int_equal(answer(f, first)->error, 0);
	fake_worker_hold(f->w, false);
	start(f);
	init(f);
}

static void test_read_from_the_disk(void **state)
{
	struct fixture *f = *state;
	uint64_t node, fh = open_file(f, &node);
	struct fuse_read_in in = { .fh = fh, .size = 100 };
	unsigned first = f->sent;
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/file", f->dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(fsync(fd), 0);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
	for (unsigned i = 0; i < 2; i++) {
		in.offset = i;
		offer(f, 1, FUSE_READ, node, &in, sizeof(in), 0x200);
	}
	kick(f, 1);
	fake_worker_run(f->w);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(answer(f, first + i)->error, 0);
		assert_int_equal(answer(f, first + i)->len, 16 + 7 - i);
		assert_memory_equal(memory_at(&f->mem, IN + STRIDE * ((first + i) % 64) + 0x100, 6),
			&"content"[i], 7 - i);
	}
	assert_int_equal(taken_back(f), 2);
}

static void test_broken_ring(void **state)
{
	struct fixture *f = *state;
	uint64_t node, fh = open_file(f, &node);
	uint32_t head, written;

	lock(f, node, fh, 1, F_WRLCK);
	lock(f, node, fh, 2, F_WRLCK);
	turns(f, 3);
	while (driver_take(&f->d[1], &head, &written))
		;
	driver_set_avail_idx(&f->d[1], (uint16_t)(f->d[1].avail_idx + 1000));
	kick(f, 1);
	turns(f, 3);
	assert_true(mmio_read32(f->device, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	mmio_write32(f->device, VIRTIO_MMIO_STATUS, 0);
	start(f);
	init(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_config, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_tags, setup, teardown),
		cmocka_unit_test_setup_teardown(test_batch, setup, teardown),
		cmocka_unit_test_setup_teardown(test_short, setup, teardown),
		cmocka_unit_test_setup_teardown(test_waits_for_a_lock, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset_while_waiting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flush_by_the_ring, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_from_the_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_broken_ring, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
