/*
 * Packets to the guest (virtio 1.2, 5.1.6.3 and 5.1.6.4). The backend borrows a slot, which holds
 * descriptor chains of the receive queue, and has the packet written into it; then the chains that
 * the packet fills are pushed and the rest stays in the slot.
 *
 * Chains may thus be used in another order than they were offered in, which is the device's right
 * (2.7.8); the order of packets is the order in which the backend delivers them.
 */
#include "util/macros.h"
#include "virtio/net_parts.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

static_assert(sizeof(struct virtio_net_hdr_v1) == NET_HEADER, "the header's size");

static struct rx_side *side_of(struct net_sink *sink)
{
	return container_of(sink, struct rx_side, sink);
}

static void put_slot(struct rx_side *rx, struct rx_slot *slot)
{
	struct rx_slot **list = slot->chains ? &rx->stocked : &rx->bare;

	slot->next = *list;
	*list = slot;
}

static struct rx_slot *get_slot(struct rx_side *rx)
{
	struct rx_slot **list = rx->stocked ? &rx->stocked : &rx->bare;
	struct rx_slot *slot = *list;

	if (slot) {
		*list = slot->next;
	} else if (rx->fresh < RX_SLOTS) {
		slot = &rx->slot[rx->fresh++];
		slot->rx.iov = slot->iov;
	}
	return slot;
}

/* ---- chains ---- */

/*
 * Take the next chain of the queue into @slot. 1: done. 0: the driver has offered none. -EIO: the
 * queue is no more.
 */
static int pop_chain(struct rx_side *rx, struct rx_slot *slot)
{
	struct virtio_queue *queue = rx->queue;
	struct ring_chain chain = {
		.iov = slot->iov + slot->rx.iov_count,
		.iov_cap = NET_CHAIN_IOVS,
	};
	int r;

	if (!virtio_queue_active(queue))
		return -EIO;
	r = ring_pop(&queue->ring, &chain);
	if (r < 0) {
		virtio_queue_fail(queue, queue->ring.fault);
		return r;
	}
	if (r == 0)
		return 0;
	if (chain.out_count || chain.in_bytes < NET_HEADER) {
		virtio_queue_fail(queue, "a receive buffer that cannot hold a packet's header");
		return -EIO;
	}
	slot->chain[slot->chains++] = (struct rx_chain){
		.head = chain.head,
		.iovs = (uint16_t)chain.in_count,
		.bytes = (uint32_t)chain.in_bytes,
	};
	slot->rx.iov_count += chain.in_count;
	slot->rx.bytes += chain.in_bytes;
	return 1;
}

/* Move the last chain of @from to the end of @slot. */
static void move_chain(struct rx_slot *slot, struct rx_slot *from)
{
	struct rx_chain *chain = &from->chain[--from->chains];

	from->rx.iov_count -= chain->iovs;
	from->rx.bytes -= chain->bytes;
	memcpy(slot->iov + slot->rx.iov_count, from->iov + from->rx.iov_count,
		chain->iovs * sizeof(slot->iov[0]));
	slot->chain[slot->chains++] = *chain;
	slot->rx.iov_count += chain->iovs;
	slot->rx.bytes += chain->bytes;
}

/* What another free slot has left over, where the driver has nothing new. */
static bool steal_chain(struct rx_side *rx, struct rx_slot *slot)
{
	struct rx_slot *from = rx->stocked;

	if (!from)
		return false;
	move_chain(slot, from);
	if (!from->chains) {
		rx->stocked = from->next;
		put_slot(rx, from);
	}
	return true;
}

/* Fill @slot up to @want bytes, as far as that goes. */
static void stock(struct rx_side *rx, struct rx_slot *slot, size_t want)
{
	if (!rx->mergeable) {
		if (!slot->chains)
			pop_chain(rx, slot);
		return;
	}
	/* There must be room for any chain before one is popped. */
	while (slot->rx.bytes < want && slot->rx.iov_count + NET_CHAIN_IOVS <= RX_IOVS) {
		int r = pop_chain(rx, slot);

		if (r < 0 || (r == 0 && !steal_chain(rx, slot)))
			return;
	}
}

/* Push the first chains of @slot, which hold @len bytes, and close the ranks. */
static void push_chains(struct rx_side *rx, struct rx_slot *slot, unsigned chains, size_t len)
{
	unsigned iovs = 0;

	for (unsigned i = 0; i < chains; i++) {
		struct rx_chain *chain = &slot->chain[i];
		size_t n = MIN(len, (size_t)chain->bytes);

		ring_push(&rx->queue->ring, chain->head, (uint32_t)n);
		len -= n;
		iovs += chain->iovs;
		slot->rx.bytes -= chain->bytes;
	}
	slot->chains -= chains;
	slot->rx.iov_count -= iovs;
	memmove(slot->chain, slot->chain + chains, slot->chains * sizeof(slot->chain[0]));
	memmove(slot->iov, slot->iov + iovs, slot->rx.iov_count * sizeof(slot->iov[0]));
	virtio_queue_done(rx->queue);
}

/* ---- the header ---- */

/* May this driver be given such a packet? Those queued before it negotiated may be others. */
static bool acceptable(const struct virtio_device *device, const struct virtio_net_hdr_v1 *hdr)
{
	unsigned offloads = virtio_net_guest_offloads(device);

	if ((hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) && !(offloads & NET_CSUM))
		return false;
	switch (hdr->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return true;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return offloads & NET_TSO4;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return offloads & NET_TSO6;
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		return offloads & NET_USO;
	default:
		return false;
	}
}

/*
 * What the backend cannot know: how many chains the packet is spread over (5.1.6.4: 1 without
 * mergeable buffers), and that flags are 0 unless GUEST_CSUM was negotiated (5.1.6.4.1).
 */
static bool finish_header(struct rx_side *rx, struct rx_slot *slot, unsigned chains)
{
	struct virtio_net_hdr_v1 hdr;

	iov_to_buf(slot->iov, slot->rx.iov_count, 0, &hdr, sizeof(hdr));
	if (!acceptable(rx->queue->device, &hdr))
		return false;
	if (!virtio_has(rx->queue->device, VIRTIO_NET_F_GUEST_CSUM))
		hdr.flags = 0;
	hdr.num_buffers = htole16((uint16_t)chains);
	iov_from_buf(slot->iov, slot->rx.iov_count, 0, &hdr, sizeof(hdr));
	return true;
}

/* ---- the backend's side ---- */

static struct net_rx *rx_take(struct net_sink *sink, size_t want)
{
	struct rx_side *rx = side_of(sink);
	struct rx_slot *slot = get_slot(rx);

	if (!slot)
		return NULL;
	stock(rx, slot, want);
	/* Only where there is nothing at all are kicks of use: else we look again soon enough. */
	if (!slot->chains && virtio_queue_active(rx->queue) && ring_kicks_on(&rx->queue->ring)) {
		ring_kicks_off(&rx->queue->ring);
		stock(rx, slot, want);
	}
	if (!slot->chains) {
		put_slot(rx, slot);
		return NULL;
	}
	rx->out++;
	return &slot->rx;
}

static void slot_back(struct rx_side *rx, struct rx_slot *slot)
{
	put_slot(rx, slot);
	rx->out--;
	if (!rx->out && rx->queue->quiescing)
		virtio_queue_idle(rx->queue);
}

static void rx_give_back(struct net_sink *sink, struct net_rx *net_rx)
{
	slot_back(side_of(sink), container_of(net_rx, struct rx_slot, rx));
}

static void rx_deliver(
	struct net_sink *sink, struct net_rx *net_rx, size_t len, const uint8_t *spill)
{
	struct rx_side *rx = side_of(sink);
	struct rx_slot *slot = container_of(net_rx, struct rx_slot, rx);
	size_t placed = slot->rx.bytes, covered = 0;
	unsigned chains = 0;

	if (len > placed)
		stock(rx, slot, len);
	while (chains < slot->chains && covered < len)
		covered += slot->chain[chains++].bytes;
	/* A packet that the driver has no room for is dropped, as is half of a header. */
	if (len >= NET_HEADER && covered >= len) {
		if (len > placed)
			iov_from_buf(slot->iov, slot->rx.iov_count, placed, spill, len - placed);
		if (finish_header(rx, slot, chains))
			push_chains(rx, slot, chains, len);
	}
	slot_back(rx, slot);
}

/* ---- the queue's side ---- */

void net_rx_init(struct net_pair *pair, struct virtio_queue *queue)
{
	struct rx_side *rx = &pair->rx;

	rx->queue = queue;
	rx->sink = (struct net_sink){ rx_take, rx_deliver, rx_give_back };
}

/* A new ring: whatever chains the slots had were of the old one. */
void net_rx_begin(struct net_pair *pair)
{
	struct rx_side *rx = &pair->rx;

	rx->mergeable = virtio_has(rx->queue->device, VIRTIO_NET_F_MRG_RXBUF);
	rx->stocked = rx->bare = NULL;
	for (unsigned i = rx->fresh; i-- > 0;) {
		rx->slot[i].chains = rx->slot[i].rx.iov_count = 0;
		rx->slot[i].rx.bytes = 0;
		put_slot(rx, &rx->slot[i]);
	}
	ring_kicks_off(&rx->queue->ring);
	net_rx_start(pair->port, &rx->sink);
}

void net_rx_kick(struct net_pair *pair)
{
	ring_kicks_off(&pair->rx.queue->ring);
	net_rx_ready(pair->port);
}

void net_rx_quiesce(struct net_pair *pair)
{
	net_rx_stop(pair->port);
	if (!pair->rx.out && pair->rx.queue->quiescing)
		virtio_queue_idle(pair->rx.queue);
}
