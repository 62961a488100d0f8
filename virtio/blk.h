/* The block device (virtio 1.2, 5.2) in front of a disk backend. */
#pragma once

#include "block/block.h"
#include "virtio/device.h"

struct virtio_blk_params {
	const struct guest_memory *mem; /* not owned */
	struct block *block;		/* not owned; must outlive the device */
	unsigned queues;		/* request queues, 1 to VIRTIO_QUEUES_MAX; 0 means 1 */
	const char *serial; /* GET_ID's answer, at most 20 bytes count; NULL: the label */
	const char *label;  /* for messages: "blk0" */
};

/*
 * Main. Makes the device; *@out is the caller's until virtio_blk_destroy(). For each queue then:
 * block_attach() and virtio_queue_assign() to the same worker. The device is read-only when its
 * backend is.
 */
int virtio_blk_create(
	struct virtio_device **out, const struct virtio_blk_params *params, struct error *err);

/* Main, after the workers have stopped. NULL is allowed. */
void virtio_blk_destroy(struct virtio_device *device);
