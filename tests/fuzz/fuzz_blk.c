/*
 * Requests to the block device, in chains of every shape, with a host whose calls fail and fall
 * short as the input says. Each chain comes back exactly once, unless the device asked for a reset.
 */
#include "block/block.h"
#include "driver.h"
#include "fake_worker.h"
#include "guest.h"
#include "input.h"
#include "virtio/blk.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

enum { DISK_BYTES = 0x10000, SIZE = 16, CHAINS = 64, CHAIN_MAX = 8, HEADERS = 0x6000 };

/* The ring has the high memory for itself: a guest that reads over its own ring proves nothing. */
#define RING LAYOUT_HOLE_END

static void require(bool truth)
{
	if (!truth)
		abort();
}

/* The host's kernel: sometimes an error, sometimes less than was asked for. */
static bool host(void *ctx, const struct io_uring_sqe *sqe, int *res)
{
	static const int errors[] = { -EIO, -ENOSPC, -EINTR, -EAGAIN, -EOPNOTSUPP, -EINVAL };
	struct input *in = ctx;
	uint8_t v = in->left ? take8(in) : 0;

	if (v >= 0xf0) {
		*res = errors[v % ARRAY_SIZE(errors)];
		return true;
	}
	/* Half of it, but at least something: what a single buffer got is left as it was. */
	if (v >= 0xe0 && (sqe->opcode == IORING_OP_READ || sqe->opcode == IORING_OP_WRITE)) {
		*res = (int)(sqe->len / 2 + 1);
		return true;
	}
	return false;
}

static gpa_t data_address(struct input *in)
{
	gpa_t at = guest_address(take16(in));

	return at >= RING && at < RING + GUEST_HIGH ? at - RING : at;
}

static void put_header(const struct guest_memory *mem, struct input *in, gpa_t at)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_FLUSH,
		VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES };
	struct virtio_blk_outhdr header;
	uint8_t v = take8(in);

	header.type = v < 0xf0 ? types[v % ARRAY_SIZE(types)] : take32(in);
	header.ioprio = 0;
	header.sector = v & 1 ? take64(in) : take8(in);
	memcpy(memory_at(mem, at, sizeof(header)), &header, sizeof(header));
}

static void put_range(const struct guest_memory *mem, struct input *in)
{
	struct virtio_blk_discard_write_zeroes range = {
		.sector = take8(in), .num_sectors = take8(in), .flags = take8(in)
	};
	void *to = memory_at(mem, data_address(in), sizeof(range));

	if (to)
		memcpy(to, &range, sizeof(range));
}

/* One chain. The first buffer is a header unless the input wants something else. */
static void offer(struct driver *d, struct input *in, unsigned number)
{
	struct driver_buf bufs[CHAIN_MAX];
	gpa_t header = HEADERS + 16ULL * (number % 64);
	uint8_t shape = take8(in);
	unsigned n = 0, more = shape % 6;

	put_header(d->mem, in, header);
	if (shape & 0x80)
		put_range(d->mem, in);
	if (shape & 0x40)
		bufs[n++] = (struct driver_buf){ header, 7, false };
	bufs[n] = (struct driver_buf){ header + 7 * n, 16 - 7 * n, false };
	n++;
	while (more--) {
		uint8_t v = take8(in);

		bufs[n++] = (struct driver_buf){ data_address(in),
			v & 2 ? 512u * (v >> 4) : take16(in) % 2048, v & 1 };
	}
	if (shape & 0x20)
		bufs[n++] = (struct driver_buf){ 0x5000 + number, 1, true };
	driver_add(d, bufs, n);
}

static void drive(struct virtio_device *device, struct worker *w, const struct guest_memory *mem,
	struct input *in)
{
	unsigned offered = 0, back = 0;
	uint32_t head, written;
	struct driver d;

	driver_init(&d, mem, RING, SIZE);
	mmio_start(device, virtio_device_offers(device) & ~(uint64_t)take16(in), &d);
	while (offered < CHAINS && in->left) {
		/* A descriptor must be free again before it is used again, or chains would mix. */
		for (unsigned used = 0; used + CHAIN_MAX <= SIZE && in->left; used += CHAIN_MAX) {
			d.next_desc = (uint16_t)(offered % 2 * CHAIN_MAX);
			offer(&d, in, offered++);
		}
		mmio_write32(device, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		fake_worker_run(w);
		while (driver_take(&d, &head, &written)) {
			require(head % CHAIN_MAX == 0 && head < SIZE);
			back++;
		}
		if (mmio_read32(device, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET)
			return;
		require(back == offered);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct guest_memory mem;
	struct virtio_blk_params params = { .mem = &mem, .queues = 1, .label = "blk0" };
	struct worker *w = fake_worker_new();
	struct virtio_device *device;
	struct error err;
	char path[64];
	int fd = memfd_create("disk", MFD_CLOEXEC);

	log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	require(fd >= 0 && ftruncate(fd, DISK_BYTES) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	guest_create(&mem);
	require(block_open(&params.block, path, take8(&in) & 1, &err) == 0);
	require(virtio_blk_create(&device, &params, &err) == 0);
	require(block_attach(params.block, w, &err) == 0);
	require(virtio_queue_assign(device, 0, w, &err) == 0);
	fake_worker_set_hook(w, host, &in);
	drive(device, w, &mem, &in);
	fake_worker_set_hook(w, NULL, NULL);
	virtio_device_quiesce(device);
	virtio_blk_destroy(device);
	block_close(params.block);
	fake_worker_free(w);
	guest_destroy(&mem);
	close(fd);
	return 0;
}
