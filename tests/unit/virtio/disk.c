#include "disk.h"
#include "block/raw.h"

#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void check(int r, const struct error *err)
{
	if (r >= 0)
		return;
	fprintf(stderr, "test disk: %s\n", err->msg);
	abort();
}

void disk_open(struct disk *disk, struct worker *worker[DISK_QUEUES], bool read_only)
{
	struct virtio_blk_params params = { .mem = &disk->mem,
		.queues = DISK_QUEUES,
		.serial = "serial-0123456789-abcdef",
		.label = "blk0" };
	struct error err = { .msg = "cannot make the image" };

	memset(disk, 0, sizeof(*disk));
	check(memory_create(&disk->mem, DISK_RAM, &err), &err);
	strcpy(disk->path, "/tmp/microvm-test-disk-XXXXXX");
	disk->fd = mkostemp(disk->path, O_CLOEXEC);
	check(disk->fd, &err);
	check(ftruncate(disk->fd, DISK_SECTORS * BLOCK_SECTOR), &err);
	check(block_open(&disk->block, disk->path, read_only, &err), &err);
	block_ring_only(disk->block);
	params.block = disk->block;
	check(virtio_blk_create(&disk->device, &params, &err), &err);
	for (unsigned i = 0; i < DISK_QUEUES; i++) {
		check(block_attach(disk->block, worker[i], &err), &err);
		check(virtio_queue_assign(disk->device, i, worker[i], &err), &err);
		driver_init(&disk->d[i], &disk->mem, DISK_RING + 0x4000 * i, 256);
	}
}

void disk_close(struct disk *disk)
{
	virtio_blk_destroy(disk->device);
	block_close(disk->block);
	close(disk->fd);
	unlink(disk->path);
	memory_destroy(&disk->mem);
}

void disk_start(struct disk *disk, uint64_t without)
{
	uint32_t status;

	status = mmio_negotiate(disk->device, virtio_device_offers(disk->device) & ~without);
	for (unsigned i = 0; i < DISK_QUEUES; i++)
		mmio_set_queue(disk->device, i, &disk->d[i].config);
	mmio_write32(disk->device, VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_DRIVER_OK);
}

void *disk_at(struct disk *disk, gpa_t gpa)
{
	return memory_at(&disk->mem, gpa, 1);
}

gpa_t disk_header(struct disk *disk, uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr header = { .type = type, .sector = sector };
	gpa_t at = DISK_HEADERS + 16ULL * (disk->requests % 0x1000);

	memcpy(disk_at(disk, at), &header, sizeof(header));
	*(uint8_t *)disk_at(disk, disk_status_at(disk, disk->requests)) = DISK_STATUS_UNTOUCHED;
	disk->requests++;
	return at;
}

gpa_t disk_status_at(struct disk *disk, unsigned request)
{
	/* Not side by side with the headers, so that nothing is joined that a test wants apart. */
	return DISK_STATUS + 2ULL * (request % 0x1000);
}

uint8_t disk_status(struct disk *disk, unsigned request)
{
	return __atomic_load_n(
		(uint8_t *)disk_at(disk, disk_status_at(disk, request)), __ATOMIC_ACQUIRE);
}

unsigned disk_request(
	struct disk *disk, unsigned queue, uint32_t type, uint64_t sector, gpa_t data, uint32_t len)
{
	unsigned number = disk->requests;
	bool in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
	struct driver_buf bufs[3] = { { disk_header(disk, type, sector), 16, false } };
	unsigned n = 1;

	if (len)
		bufs[n++] = (struct driver_buf){ data, len, in };
	bufs[n++] = (struct driver_buf){ disk_status_at(disk, number), 1, true };
	driver_add(&disk->d[queue], bufs, n);
	return number;
}

void disk_notify(struct disk *disk, unsigned queue)
{
	mmio_write32(disk->device, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}
