/* The entropy device (virtio 1.2, 5.4): random bytes from the host's kernel. */
#pragma once

#include "virtio/device.h"

/*
 * Main. Makes the device (one queue) and opens the host's source; *@out is the caller's until
 * virtio_rng_destroy().
 */
int virtio_rng_create(struct virtio_device **out, const struct guest_memory *mem, const char *label,
	struct error *err);

/* Main, before the worker starts: assign the queue to @worker and register the source there. */
int virtio_rng_attach(struct virtio_device *device, struct worker *worker, struct error *err);

/* Main, after the workers have stopped. NULL is allowed. */
void virtio_rng_destroy(struct virtio_device *device);
