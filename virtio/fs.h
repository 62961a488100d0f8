/* The file system device (virtio 1.2, 5.11) in front of a FUSE server. */
#pragma once

#include "fs/fs.h"
#include "virtio/device.h"

enum { VIRTIO_FS_TAG_MAX = 36 };

/*
 * Main. Makes the device that the guest mounts as @tag (1 to 36 bytes, else ERROR_USAGE), with
 * @queues request queues (0: one) and the one of high priority. @server is not owned, serves this
 * device only and must outlive it. *@out is the caller's until virtio_fs_destroy().
 */
int virtio_fs_create(struct virtio_device **out, const struct guest_memory *mem, const char *tag,
	struct fs_server *server, unsigned queues, struct error *err);

/*
 * Main, before the worker starts. All queues go to @worker, which is of the kind WORKER_FS and
 * serves nothing else: its thread enters the server (fs_server_enter()).
 */
int virtio_fs_assign(struct virtio_device *device, struct worker *worker, struct error *err);

/* Main, after the worker has stopped. NULL is allowed. */
void virtio_fs_destroy(struct virtio_device *device);
