/*
 * The network device (virtio 1.2, 5.1): features, configuration space, and which queue is what.
 * net_rx.c and net_tx.c move packets, net_ctrl.c answers the control queue.
 *
 * Queues (5.1.2): pair i has receiveq 2i and transmitq 2i + 1; the control queue follows the last
 * pair. But if the driver did not negotiate MQ there is but one pair for it, and the control queue
 * is number 2, which with MQ would be a receiveq.
 */
#include "virtio/net.h"

#include "util/macros.h"
#include "virtio/net_parts.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* virtio 1.2, 5.1.3; Linux 6.2 headers have them. */
#ifndef VIRTIO_NET_F_HOST_USO
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO	56
#endif

#define BIT(n) (1ULL << (n))

enum { CONFIG_BYTES = offsetof(struct virtio_net_config, speed) };

/* Which of the driver's features allow the backend to do what, and the other way round. */
static const struct {
	unsigned offload;
	uint64_t guest; /* packets to the guest may have it: all of these */
	uint64_t host;	/* packets from the guest may have it */
} offload_bits[] = {
	{ NET_CSUM, BIT(VIRTIO_NET_F_GUEST_CSUM), BIT(VIRTIO_NET_F_CSUM) },
	{ NET_TSO4, BIT(VIRTIO_NET_F_GUEST_TSO4), BIT(VIRTIO_NET_F_HOST_TSO4) },
	{ NET_TSO6, BIT(VIRTIO_NET_F_GUEST_TSO6), BIT(VIRTIO_NET_F_HOST_TSO6) },
	{ NET_ECN, BIT(VIRTIO_NET_F_GUEST_ECN), BIT(VIRTIO_NET_F_HOST_ECN) },
	{ NET_USO, BIT(VIRTIO_NET_F_GUEST_USO4) | BIT(VIRTIO_NET_F_GUEST_USO6),
		BIT(VIRTIO_NET_F_HOST_USO) },
};

unsigned virtio_net_guest_offloads(const struct virtio_device *device)
{
	unsigned offloads = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(offload_bits); i++) {
		if ((device->features & offload_bits[i].guest) == offload_bits[i].guest)
			offloads |= offload_bits[i].offload;
	}
	/* 5.1.3.1: each of the others requires GUEST_CSUM. */
	return offloads & NET_CSUM ? offloads : 0;
}

/* ---- queues ---- */

static unsigned control_queue(const struct virtio_net *net)
{
	return virtio_has(&net->device, VIRTIO_NET_F_MQ) ? 2 * net->pairs : 2;
}

enum role { ROLE_RX, ROLE_TX, ROLE_CTRL, ROLE_NONE };

static enum role role_of(const struct virtio_queue *queue)
{
	const struct virtio_net *net = virtio_net_of(queue->device);
	unsigned control = control_queue(net);

	if (queue->index == control)
		return virtio_has(&net->device, VIRTIO_NET_F_CTRL_VQ) ? ROLE_CTRL : ROLE_NONE;
	if (queue->index > control)
		return ROLE_NONE;
	return queue->index % 2 ? ROLE_TX : ROLE_RX;
}

static struct net_pair *pair_of(const struct virtio_queue *queue)
{
	return &virtio_net_of(queue->device)->pair[queue->index / 2];
}

/* Pair 0's worker, before any other queue of the device runs. */
static int start_device(struct virtio_net *net)
{
	int r = net_set_offloads(net->net, virtio_net_guest_offloads(&net->device));

	/* 5.1.6.5.5.1: only the first pair is in use until the driver asks for more. */
	return r < 0 ? r : net_set_pairs(net->net, 1);
}

static int on_start(struct virtio_queue *queue)
{
	int r = queue->index == 0 ? start_device(virtio_net_of(queue->device)) : 0;

	if (r < 0)
		return r;
	if (role_of(queue) == ROLE_RX)
		net_rx_begin(pair_of(queue));
	else if (role_of(queue) == ROLE_TX)
		net_tx_begin(pair_of(queue));
	return 0;
}

static void on_kick(struct virtio_queue *queue)
{
	switch (role_of(queue)) {
	case ROLE_RX:
		net_rx_kick(pair_of(queue));
		break;
	case ROLE_TX:
		net_tx_kick(pair_of(queue));
		break;
	case ROLE_CTRL:
		net_ctrl_kick(virtio_net_of(queue->device), queue);
		break;
	case ROLE_NONE:
		break;
	}
}

static void on_quiesce(struct virtio_queue *queue)
{
	switch (role_of(queue)) {
	case ROLE_RX:
		net_rx_quiesce(pair_of(queue));
		break;
	case ROLE_TX:
		net_tx_quiesce(pair_of(queue));
		break;
	default: /* never has anything in flight */
		virtio_queue_idle(queue);
		break;
	}
}

/* The address a driver set is gone with the reset. */
static void on_reset(struct virtio_device *device)
{
	pthread_mutex_lock(&device->config_lock);
	memcpy(device->config, virtio_net_of(device)->mac, sizeof(virtio_net_of(device)->mac));
	pthread_mutex_unlock(&device->config_lock);
}

static const struct virtio_ops net_ops = {
	.name = "net",
	.id = VIRTIO_ID_NET,
	.start = on_start,
	.kick = on_kick,
	.quiesce = on_quiesce,
	.reset = on_reset,
};

/* ---- life ---- */

static void fill_config(struct virtio_net *net)
{
	struct virtio_net_config config = {
		.status = htole16(VIRTIO_NET_S_LINK_UP),
		.max_virtqueue_pairs = htole16((uint16_t)net->pairs),
		.mtu = htole16((uint16_t)MIN(net_mtu(net->net), 65535U)),
	};
	uint64_t offer = BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_STATUS) |
			 BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_CTRL_VQ) |
			 BIT(VIRTIO_NET_F_CTRL_MAC_ADDR);

	for (unsigned i = 0; i < ARRAY_SIZE(offload_bits); i++) {
		if (net_offloads(net->net) & offload_bits[i].offload)
			offer |= offload_bits[i].guest | offload_bits[i].host;
	}
	if (net->pairs > 1)
		offer |= BIT(VIRTIO_NET_F_MQ);
	if (net_mtu(net->net))
		offer |= BIT(VIRTIO_NET_F_MTU);
	memcpy(config.mac, net->mac, sizeof(config.mac));
	memcpy(net->device.config, &config, CONFIG_BYTES);
	net->device.config_size = CONFIG_BYTES;
	net->device.offered = offer;
}

int virtio_net_create(
	struct virtio_device **out, const struct virtio_net_params *params, struct error *err)
{
	static const uint8_t zero[6];
	struct virtio_net *net;
	int r;

	if (params->mac[0] & 1 || !memcmp(params->mac, zero, sizeof(zero)))
		return error_set(err, ERROR_USAGE, EINVAL,
			"%s: %02x:%02x:%02x:%02x:%02x:%02x cannot be the address of an interface: "
			"the first byte must be even, and not all may be 0",
			params->label, params->mac[0], params->mac[1], params->mac[2],
			params->mac[3], params->mac[4], params->mac[5]);
	net = calloc(1, sizeof(*net));
	if (net)
		net->pair = calloc(net_pairs(params->net), sizeof(net->pair[0]));
	if (!net || !net->pair) {
		free(net);
		return error_set(err, ERROR_HOST, ENOMEM, "%s: out of memory", params->label);
	}
	net->net = params->net;
	net->pairs = net_pairs(params->net);
	memcpy(net->mac, params->mac, sizeof(net->mac));
	net->device.ops = &net_ops;
	net->device.queues = 2 * net->pairs + 1;
	net->device.queue_max = NET_QUEUE_SIZE;
	snprintf(net->device.label, sizeof(net->device.label), "%s", params->label);
	fill_config(net);
	r = virtio_device_init(&net->device, params->mem, err);
	if (r < 0) {
		free(net->pair);
		free(net);
		return r;
	}
	for (unsigned i = 0; i < net->pairs; i++) {
		net->pair[i].owner = net;
		net_rx_init(&net->pair[i], &net->device.queue[2 * i]);
		net_tx_init(&net->pair[i], &net->device.queue[2 * i + 1]);
	}
	*out = &net->device;
	return 0;
}

int virtio_net_assign(struct virtio_device *device, struct worker *const *worker, unsigned count,
	struct error *err)
{
	struct virtio_net *net = virtio_net_of(device);
	int r = 0;

	for (unsigned i = 0; i < net->pairs && r >= 0; i++) {
		struct worker *w = worker[i % count];

		r = virtio_queue_assign(device, 2 * i, w, err);
		if (r >= 0)
			r = virtio_queue_assign(device, 2 * i + 1, w, err);
		if (r >= 0)
			r = net_attach(net->net, i, w, &net->pair[i].port, err);
	}
	return r < 0 ? r : virtio_queue_assign(device, 2 * net->pairs, worker[0], err);
}

void virtio_net_destroy(struct virtio_device *device)
{
	struct virtio_net *net;

	if (!device)
		return;
	net = virtio_net_of(device);
	virtio_device_destroy(device);
	free(net->pair);
	free(net);
}
