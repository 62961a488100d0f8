/*
 * A network for tests: the backend is the test itself. It lends buffers, fills them when told to,
 * and keeps what was sent until told to be done with it.
 */
#pragma once

#include "net/backend.h"

enum { WIRE_KEEP = 512, WIRE_LENT = 64 };

struct wire {
	struct net net;
	struct net_port port[NET_PAIRS_MAX];
	/* What the frontend asked for. */
	unsigned offloads, pairs;
	int fail_pairs; /* what set_pairs() returns */
	unsigned starts[NET_PAIRS_MAX], stops[NET_PAIRS_MAX], readies[NET_PAIRS_MAX];
	/* Packets from the guest, header included. */
	bool hold; /* net_tx are kept until wire_release() */
	unsigned sent;
	struct {
		size_t len;
		uint8_t *data;
	} packet[WIRE_KEEP]; /* by sent % WIRE_KEEP */
	unsigned held;
	struct net_tx *holding[WIRE_KEEP];
	/* Room for packets to the guest. */
	unsigned lent[NET_PAIRS_MAX];
	struct net_rx *lending[NET_PAIRS_MAX][WIRE_LENT];
};

void wire_init(struct wire *wire, unsigned pairs, unsigned offloads);
void wire_free(struct wire *wire);

/* Borrow room for @want bytes. False: the driver has offered none. */
bool wire_take(struct wire *wire, unsigned pair, size_t want);
/* The room borrowed first gets a packet (@data with its header), or goes back unused. */
void wire_deliver(struct wire *wire, unsigned pair, const uint8_t *data, size_t len);
void wire_give_back(struct wire *wire, unsigned pair);
/* Both in one. False: no room, nothing delivered. */
bool wire_packet(struct wire *wire, unsigned pair, const uint8_t *data, size_t len);

/* The net_tx held first is done. */
void wire_release(struct wire *wire);
