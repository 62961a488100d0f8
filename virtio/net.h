/* The network device (virtio 1.2, 5.1) in front of a packet backend. */
#pragma once

#include "net/net.h"
#include "virtio/device.h"

struct virtio_net_params {
	const struct guest_memory *mem; /* not owned */
	struct net *net;		/* not owned; must outlive the device */
	uint8_t mac[6];			/* see net_default_mac() */
	const char *label;		/* for messages: "net0" */
};

/*
 * Main. Makes the device, with as many queue pairs as @params->net has; *@out is the caller's until
 * virtio_net_destroy(). ERROR_USAGE for a MAC address that no interface can have.
 */
int virtio_net_create(
	struct virtio_device **out, const struct virtio_net_params *params, struct error *err);

/*
 * Main, before the workers start. Queue pair i is served by @worker[i % @count], all of the kind
 * that net_worker_kind() says; the control queue goes with the first pair. Attaches the backend.
 */
int virtio_net_assign(struct virtio_device *device, struct worker *const *worker, unsigned count,
	struct error *err);

/* Main, after the workers have stopped. NULL is allowed. */
void virtio_net_destroy(struct virtio_device *device);
