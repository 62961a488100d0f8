/*
 * The console device (virtio 1.2, 5.3): one port, its size, no multiport.
 *
 * The driver's output is copied into the console's buffer and the driver has its chain back at once:
 * Linux waits for that with a spinning CPU, and sends 16 bytes at a time. So a slow terminal holds
 * nothing of the guest's memory, and many pieces become one write.
 */
#pragma once

#include "console/console.h"
#include "virtio/device.h"

/*
 * Main. Makes the device and makes it the sink and the source of @console, which is not owned and
 * must outlive it. *@out is the caller's until virtio_console_destroy().
 */
int virtio_console_create(struct virtio_device **out, const struct guest_memory *mem,
	struct console *console, struct error *err);

/* Main, before the worker starts. @worker must be the one that console_attach() was given. */
int virtio_console_attach(struct virtio_device *device, struct worker *worker, struct error *err);

/* Main. The terminal's size has changed: tell the driver. */
void virtio_console_resized(struct virtio_device *device);

/* Main, after the worker has stopped. NULL is allowed. */
void virtio_console_destroy(struct virtio_device *device);
