/*
 * The socket device (virtio 1.2, 5.10): streams between the guest (its CID) and unix sockets of the
 * host (CID 2), without a kernel module or a privilege on the host. Its host side is vsock/host.h.
 */
#pragma once

#include "virtio/device.h"
#include "vsock/host.h" /* struct vsock_listen */

enum { VSOCK_HOST_CID = 2, VSOCK_GUEST_CID_MIN = 3 };

struct vsock_params {
	uint64_t guest_cid; /* VSOCK_GUEST_CID_MIN to 0xfffffffe */
	/*
	 * -1, or a listening unix stream socket. A program of the host connects to it, writes
	 * "CONNECT PORT\n" and, once somebody in the guest has accepted, reads "OK HOSTPORT\n";
	 * from there on bytes flow. It is closed without an answer if the guest refuses. Programs
	 * may connect before the guest's driver is up: they wait. Taken over when the device is
	 * made; the path is the caller's to remove.
	 */
	int listen_fd;
	unsigned listens;
	const struct vsock_listen *listen; /* copied */
	/* NULL, or: any other port N that the guest connects to is the unix socket PREFIX_N. */
	const char *listen_dir_prefix;
};

/*
 * Main. Makes the device; *@out is the caller's until virtio_vsock_destroy(). The descriptors in
 * @params belong to the device if it succeeds, and stay the caller's if it fails. Raises the limit
 * of open files (RLIMIT_NOFILE) as far as it goes without privilege, for each stream is one.
 * ERROR_USAGE for a CID, path or descriptor that cannot be meant.
 */
int virtio_vsock_create(struct virtio_device **out, const struct guest_memory *mem,
	const struct vsock_params *params, struct error *err);

/*
 * Any thread. What the worker must be: one that can connect only where @params names a path or a
 * prefix to connect to.
 */
enum worker_kind virtio_vsock_worker_kind(const struct vsock_params *params);

/* Main, before the worker starts. @worker must be of the kind that virtio_vsock_worker_kind() says. */
int virtio_vsock_assign(struct virtio_device *device, struct worker *worker, struct error *err);

/*
 * Main, after the worker has stopped. Programs of the host that are slow to read what the guest has
 * sent get up to @ms milliseconds more to take the rest, all together.
 */
void virtio_vsock_drain(struct virtio_device *device, int ms);

/* Main, after the worker has stopped. NULL is allowed. Does not wait for slow readers. */
void virtio_vsock_destroy(struct virtio_device *device);
