/* A tap's own structures, shared by tap.c (open, life) and tap_io.c (packets). */
#pragma once

#include "net/backend.h"
#include "util/log.h"

enum {
	TAP_BATCH = 32, /* reads in flight at most */
	TAP_SPILL = (NET_PACKET_MAX + 4095) & ~4095
};

struct tap_port {
	struct net_port port;
	struct tap *tap;
	/* Constant after attach. */
	int fd;
	int file; /* fd as a registered file of the worker */

	/* Worker. */
	bool gone;	      /* reads fail: the interface was deleted */
	bool starved;	      /* the driver has offered no buffer */
	unsigned outstanding; /* reads in flight */
	unsigned batch;	      /* how many reads the last refill made */
	unsigned got;	      /* how many of those brought a packet at once */
	uint64_t turn;	      /* when the last refill was made */
	size_t want;	      /* room for the next packet: follows the sizes of the last ones */
	struct worker_task refill;
	struct net_rx *reading[TAP_BATCH]; /* by spill; NULL: that spill is free */
	uint8_t *spill; /* TAP_BATCH * TAP_SPILL bytes: the ends of packets that were too long */
	struct log_limit complaints;
};

struct tap {
	struct net net;
	/* Worker of pair 0. */
	unsigned attached; /* pairs whose queue receives */
	/* Any worker. */
	_Atomic bool nowait; /* this kernel's taps take RWF_NOWAIT: until one says no */
	struct tap_port port[NET_PAIRS_MAX];
};

void tap_rx_start(struct net_port *port);
void tap_rx_ready(struct net_port *port);
void tap_rx_stop(struct net_port *port);
void tap_send(struct net_port *port, struct net_tx *tx);
void tap_tx_stop(struct net_port *port);

/* Wires up what the worker calls back: once, at attach. */
void tap_io_init(struct tap_port *port);
