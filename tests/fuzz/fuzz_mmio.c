/*
 * Every sequence of register accesses, of every width, on a real block device: negotiations that go
 * wrong, queues that lie anywhere, resets in the middle of things. A worker without a thread serves
 * the queues in between.
 */
#include "block/block.h"
#include "driver.h"
#include "fake_worker.h"
#include "guest.h"
#include "input.h"
#include "virtio/blk.h"
#include "vmm/bus.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

enum { DISK_BYTES = 0x10000, QUEUES = 2, STEPS = 300 };

struct machine {
	struct guest_memory mem;
	struct worker *w;
	struct block *block;
	struct virtio_device *device;
};

static void require(bool truth)
{
	if (!truth)
		abort();
}

static void build(struct machine *m, int fd, bool read_only)
{
	struct virtio_blk_params params = { .mem = &m->mem, .queues = QUEUES, .label = "blk0" };
	struct error err;
	char path[64];

	guest_create(&m->mem);
	m->w = fake_worker_new();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	require(block_open(&m->block, path, read_only, &err) == 0);
	params.block = m->block;
	require(virtio_blk_create(&m->device, &params, &err) == 0);
	require(block_attach(m->block, m->w, &err) == 0);
	for (unsigned i = 0; i < QUEUES; i++)
		require(virtio_queue_assign(m->device, i, m->w, &err) == 0);
}

static void tear_down(struct machine *m)
{
	virtio_device_quiesce(m->device);
	virtio_blk_destroy(m->device);
	block_close(m->block);
	fake_worker_free(m->w);
	guest_destroy(&m->mem);
}

/* Registers that exist, more often than others. */
static uint64_t an_offset(struct input *in)
{
	static const uint16_t known[] = { 0x10, 0x14, 0x20, 0x24, 0x30, 0x34, 0x38, 0x44, 0x50,
		0x60, 0x64, 0x70, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4, 0xac, 0xb0, 0xfc, 0x100,
		0x104 };
	uint8_t v = take8(in);

	return v < 200 ? known[v % ARRAY_SIZE(known)] : take16(in) % (VIRTIO_MMIO_WINDOW - 7);
}

static void access_register(struct machine *m, struct input *in, bool write)
{
	static const unsigned widths[] = { 4, 4, 4, 4, 4, 1, 2, 8 };
	uint64_t offset = an_offset(in);
	unsigned len = widths[take8(in) % ARRAY_SIZE(widths)];
	uint8_t data[8];

	if (write) {
		take_bytes(in, data, len);
		virtio_mmio_ops.write(m->device, offset, data, len);
	} else {
		virtio_mmio_ops.read(m->device, offset, data, len);
	}
}

static void start(struct machine *m, struct input *in)
{
	uint8_t v = take8(in);
	uint32_t status =
		mmio_negotiate(m->device, virtio_device_offers(m->device) & ~(uint64_t)take32(in));

	for (unsigned i = 0; i < QUEUES; i++) {
		struct ring_config c = { 1u << (v >> 4), guest_address(take16(in)),
			guest_address(take16(in)), guest_address(take16(in)), true };
		struct driver d;

		if (v >> i & 1) {
			driver_init(&d, &m->mem, 0x1000 + i * 0x1000, 16);
			c = d.config;
		}
		mmio_set_queue(m->device, i, &c);
	}
	mmio_write32(m->device, VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void step(struct machine *m, struct input *in)
{
	uint8_t op = take8(in);
	void *to;
	gpa_t at;

	switch (op % 8) {
	case 0:
	case 1:
	case 2:
		access_register(m, in, true);
		break;
	case 3:
		access_register(m, in, false);
		break;
	case 4:
		start(m, in);
		break;
	case 5:
		fake_worker_turn(m->w);
		break;
	case 6:
		at = guest_address(take16(in));
		to = memory_at(&m->mem, at, 16);
		if (to)
			take_bytes(in, to, 16);
		break;
	case 7:
		fake_worker_hold(m->w, op & 0x10);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct machine m;
	int fd = memfd_create("disk", MFD_CLOEXEC);

	log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	require(fd >= 0 && ftruncate(fd, DISK_BYTES) == 0);
	build(&m, fd, take8(&in) & 1);
	for (unsigned i = 0; i < STEPS && in.left; i++)
		step(&m, &in);
	/* Whatever was done, a reset makes it good. */
	fake_worker_hold(m.w, false);
	mmio_write32(m.device, VIRTIO_MMIO_STATUS, 0);
	require(mmio_read32(m.device, VIRTIO_MMIO_STATUS) == 0);
	require(mmio_read32(m.device, VIRTIO_MMIO_INTERRUPT_STATUS) == 0);
	require(mmio_read32(m.device, VIRTIO_MMIO_MAGIC_VALUE) == 0x74726976);
	tear_down(&m);
	close(fd);
	return 0;
}
