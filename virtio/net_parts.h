/* The network device's own structures: for virtio/net*.c only. */
#pragma once

#include "util/log.h"
#include "virtio/net.h"

enum {
	NET_QUEUE_SIZE = RING_SIZE_MAX,
	/* A chain may have as many buffers as the queue has entries (2.7.5.3.1, 2.7.4). */
	NET_CHAIN_IOVS = RING_SIZE_MAX,

	RX_SLOTS = 32, /* packets to the guest that may be under way */
	RX_IOVS = 2 * NET_CHAIN_IOVS,

	TX_SLOTS = 64,
	TX_IOVS = 8 * NET_CHAIN_IOVS
};

/* A descriptor chain that lies in a slot. */
struct rx_chain {
	uint16_t head;
	uint16_t iovs;
	uint32_t bytes;
};

/*
 * Room for one packet to the guest: one chain, or with mergeable buffers several. What a packet
 * leaves over stays here for the next one.
 */
struct rx_slot {
	struct net_rx rx;
	struct rx_slot *next;
	unsigned chains;
	struct rx_chain chain[RX_IOVS];
	struct iovec iov[RX_IOVS + 1]; /* of all chains in order, and one for the backend */
};

struct rx_side {
	struct virtio_queue *queue; /* constant after create */
	struct net_sink sink;
	bool mergeable;		 /* VIRTIO_NET_F_MRG_RXBUF, constant while live */
	unsigned out;		 /* slots that the backend has */
	struct rx_slot *stocked; /* free slots with chains in them */
	struct rx_slot *bare;	 /* free slots without; last in, first out, as the other */
	unsigned fresh;		 /* slot[fresh ...] were never used: no memory is behind them yet */
	struct rx_slot slot[RX_SLOTS];
};

struct tx_slot {
	struct net_tx tx;
	struct tx_side *side;
	struct tx_slot *next;
	uint16_t head;
};

struct tx_side {
	struct virtio_queue *queue; /* constant after create */
	unsigned out;		    /* slots that the backend has */
	struct tx_slot *free;
	struct worker_task more;
	unsigned iovs; /* of iov[] that are in use: all given back when nothing is out */
	struct tx_slot slot[TX_SLOTS];
	struct iovec iov[TX_IOVS];
};

/* A queue pair: receiveq and transmitq, on one worker. */
struct net_pair {
	struct virtio_net *owner;
	struct net_port *port; /* constant after assign */
	struct rx_side rx;
	struct tx_side tx;
};

struct virtio_net {
	struct virtio_device device;
	/* Constant after create. */
	struct net *net;
	uint8_t mac[6];
	unsigned pairs;
	struct net_pair *pair;
};

static inline struct virtio_net *virtio_net_of(struct virtio_device *device)
{
	return container_of(device, struct virtio_net, device);
}

/* What the driver accepted, as bits of the backend (NET_*): packets to it may need no more. */
unsigned virtio_net_guest_offloads(const struct virtio_device *device);

/* Each side's start, kick and quiesce, as in struct virtio_ops. All: the pair's worker. */
void net_rx_init(struct net_pair *pair, struct virtio_queue *queue);
void net_rx_begin(struct net_pair *pair);
void net_rx_kick(struct net_pair *pair);
void net_rx_quiesce(struct net_pair *pair);

void net_tx_init(struct net_pair *pair, struct virtio_queue *queue);
void net_tx_begin(struct net_pair *pair);
void net_tx_kick(struct net_pair *pair);
void net_tx_quiesce(struct net_pair *pair);

/* The control queue (5.1.6.5): whatever worker it is on. */
void net_ctrl_kick(struct virtio_net *net, struct virtio_queue *queue);
