#include "blk_rig.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

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
	if (sqe->opcode == IORING_OP_FALLOCATE)
		s->modes |= (int)sqe->len;
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

int setup(void **state)
{
	struct fixture *f = make(false);

	disk_start(&f->disk, 0);
	*state = f;
	return 0;
}

int setup_read_only(void **state)
{
	struct fixture *f = make(true);

	disk_start(&f->disk, 0);
	*state = f;
	return 0;
}

int setup_unstarted(void **state)
{
	*state = make(false);
	return 0;
}

int teardown(void **state)
{
	struct fixture *f = *state;

	virtio_device_quiesce(f->disk.device);
	disk_close(&f->disk);
	fake_worker_free(f->w);
	free(f);
	return 0;
}

void fill(struct fixture *f, gpa_t gpa, size_t len, uint32_t seed)
{
	uint8_t *p = disk_at(&f->disk, gpa);

	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)((i * 31 + (i >> 8) * 7 + seed) | 1); /* never 0 */
}

/* The image holds the bytes that guest memory has at @gpa. */
void expect_on_disk(struct fixture *f, uint64_t sector, gpa_t gpa, size_t len)
{
	uint8_t *got = malloc(len);

	assert_int_equal(pread(f->disk.fd, got, len, (off_t)(sector * BLOCK_SECTOR)), len);
	assert_memory_equal(got, disk_at(&f->disk, gpa), len);
	free(got);
}

void expect_zero(struct fixture *f, uint64_t sector, size_t len)
{
	uint8_t *got = malloc(len);

	assert_int_equal(pread(f->disk.fd, got, len, (off_t)(sector * BLOCK_SECTOR)), len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(got[i], 0);
	free(got);
}

/* Exactly one chain came back; returns how many bytes the device says it wrote. */
uint32_t expect_one(struct fixture *f, unsigned queue)
{
	uint32_t head, written;

	assert_true(driver_take(&f->disk.d[queue], &head, &written));
	assert_false(driver_take(&f->disk.d[queue], &head, &written));
	return written;
}

/* One request from beginning to end; it must come back once, with this status. */
uint32_t run(struct fixture *f, uint32_t type, uint64_t sector, uint32_t len, uint8_t status)
{
	uint16_t first = f->disk.d[0].next_desc % 256;
	unsigned n = disk_request(&f->disk, 0, type, sector, DISK_DATA, len);
	uint32_t head, written;

	disk_notify(&f->disk, 0);
	fake_worker_run(f->w);
	assert_int_equal(disk_status(&f->disk, n), status);
	assert_true(driver_take(&f->disk.d[0], &head, &written));
	assert_int_equal(head, first);
	assert_false(driver_take(&f->disk.d[0], &head, &written));
	/* Kicks are asked for again, for exactly the next chain. */
	assert_int_equal(driver_avail_event(&f->disk.d[0]), f->disk.d[0].avail_idx);
	return written;
}

/* A chain made by hand, whose status byte is that of the request last made. */
void run_chain(struct fixture *f, const struct driver_buf *bufs, unsigned count)
{
	driver_add(&f->disk.d[0], bufs, count);
	disk_notify(&f->disk, 0);
	fake_worker_run(f->w);
}

bool needs_reset(struct fixture *f)
{
	return mmio_read32(f->disk.device, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

uint32_t put_ranges(struct fixture *f, const struct virtio_blk_discard_write_zeroes *r, unsigned n)
{
	memcpy(disk_at(&f->disk, DISK_DATA), r, n * sizeof(*r));
	return (uint32_t)(n * sizeof(*r));
}

void dirty_image(struct fixture *f)
{
	static uint8_t data[DISK_SECTORS * BLOCK_SECTOR];

	memset(data, 0x5a, sizeof(data));
	assert_int_equal(pwrite(f->disk.fd, data, sizeof(data), 0), sizeof(data));
}

void expect_dirty(struct fixture *f, uint64_t sector)
{
	uint8_t got[BLOCK_SECTOR];

	assert_int_equal(
		pread(f->disk.fd, got, sizeof(got), (off_t)(sector * BLOCK_SECTOR)), sizeof(got));
	for (unsigned i = 0; i < sizeof(got); i++)
		assert_int_equal(got[i], 0x5a);
}
