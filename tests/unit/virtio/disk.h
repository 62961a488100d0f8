/* A disk for tests: a file, its backend, the virtio device before it and a driver's side of it. */
#pragma once

#include "block/block.h"
#include "driver.h"
#include "virtio/blk.h"

#include <linux/virtio_blk.h>

enum {
	DISK_RAM = 16 * 1024 * 1024,
	DISK_RING = 0x1000,	      /* queue n at + n * 0x4000 */
	DISK_HEADERS = 0x100000,      /* 16 bytes for each request */
	DISK_STATUS = 0x140000,	      /* a byte for each request */
	DISK_DATA = 0x200000,	      /* free for tests */
	DISK_SECTORS = 2048,	      /* the image's size */
	DISK_STATUS_UNTOUCHED = 0xee, /* what a status byte holds before the device writes it */
	DISK_QUEUES = 2
};

struct disk {
	struct guest_memory mem;
	char path[64];
	int fd; /* the test's own */
	struct block *block;
	struct virtio_device *device;
	struct driver d[DISK_QUEUES];
	unsigned requests; /* made so far */
};

/* Makes the image, opens it and makes the device; assigns queue n to worker[n]. */
void disk_open(struct disk *disk, struct worker *worker[DISK_QUEUES], bool read_only);
void disk_close(struct disk *disk);
/* Negotiate all that is offered but @without, and start both queues. */
void disk_start(struct disk *disk, uint64_t without);

/* Guest memory, for the test to fill or look at. */
void *disk_at(struct disk *disk, gpa_t gpa);

/* A header in guest memory; returns its address. Its number is disk->requests before the call. */
gpa_t disk_header(struct disk *disk, uint32_t type, uint64_t sector);
gpa_t disk_status_at(struct disk *disk, unsigned request);
/* The status byte of a request. */
uint8_t disk_status(struct disk *disk, unsigned request);

/*
 * Offer a request on @queue as Linux does: header, one data buffer (none if @len is 0), status.
 * Returns its number.
 */
unsigned disk_request(struct disk *disk, unsigned queue, uint32_t type, uint64_t sector, gpa_t data,
	uint32_t len);
void disk_notify(struct disk *disk, unsigned queue);
