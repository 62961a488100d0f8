/* A tap's own structures, shared by tap.c (open, life) and tap_io.c (packets). */
#pragma once

#include "net/backend.h"
#include "util/log.h"

enum {
	TAP_SHARE = 64, /* packets read in one go, before others have their turn */
	TAP_SPILL = (NET_PACKET_MAX + 4095) & ~4095
};

struct tap_port {
	struct net_port port;
	struct tap *tap;
	/* Constant after attach. */
	int fd;
	int file; /* fd as a registered file of the worker */

	/* Worker. */
	bool gone;		/* reads fail: the interface was deleted */
	bool starved;		/* the driver has offered no buffer */
	size_t want;		/* room for the next packet: follows the sizes of the last ones */
	struct net_rx *reading; /* waits on the ring for a packet, or NULL */
	struct worker_task more;
	uint8_t *spill; /* TAP_SPILL bytes: the end of a packet that was too long */
	struct log_limit complaints;
};

struct tap {
	struct net net;
	/* Worker of pair 0. */
	unsigned attached; /* pairs whose queue receives */
	struct tap_port port[NET_PAIRS_MAX];
};

void tap_rx_start(struct net_port *port);
void tap_rx_ready(struct net_port *port);
void tap_rx_stop(struct net_port *port);
void tap_send(struct net_port *port, struct net_tx *tx);
void tap_tx_stop(struct net_port *port);

/* Wires up what the worker calls back: once, at attach. */
void tap_io_init(struct tap_port *port);
