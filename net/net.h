/*
 * A network behind one opaque handle: a tap, or user-mode networking. Packets carry the virtio-net
 * header (virtio 1.2, 5.1.6, struct virtio_net_hdr_v1) in front, whatever the backend.
 *
 * A network has one or more queue pairs; each is served by one worker, and everything marked
 * "worker" below is called on that worker's thread only. The frontend (virtio/net.c) owns the rings
 * and the guest's buffers; the backend moves packets between them and the outside, straight from
 * and to guest memory where it can:
 *
 *	guest sends	frontend: net_send(tx)	 -> backend: tx->done()
 *	guest receives	backend: sink->take(rx)	 -> sink->deliver(rx), or sink->give_back(rx)
 *
 * Flow control: towards the outside by the frontend's number of net_tx, each out until its done().
 * Towards the guest by take(): NULL means that the driver has offered no buffer; the backend leaves
 * packets where they are (a tap's queue) until net_rx_ready().
 *
 * Life: net_open_*() (main) -> net_attach() for each pair (main) -> the worker starts ->
 * net_rx_start(), net_send(), ... -> net_rx_stop(), net_tx_stop() -> the worker stops ->
 * net_close() (main). Start and stop may come any number of times: the driver's resets.
 */
#pragma once

#include "util/error.h"
#include "vmm/worker.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct net;
struct net_port; /* one queue pair of it */

enum {
	NET_HEADER = 12, /* bytes of struct virtio_net_hdr_v1 */
	/* Header and the longest frame there is: 64 KiB of IP and an Ethernet header with two tags. */
	NET_PACKET_MAX = NET_HEADER + 22 + 65536,
	NET_PAIRS_MAX = 8
};

/*
 * What one side of a network may leave undone because the other knows how to do it. The bits mean
 * the same in both directions.
 */
enum {
	NET_CSUM = 1 << 0, /* checksums: VIRTIO_NET_HDR_F_NEEDS_CSUM, and DATA_VALID to the guest */
	NET_TSO4 = 1 << 1, /* the segmentation of TCP, UDP (USO): VIRTIO_NET_HDR_GSO_*; need CSUM */
	NET_TSO6 = 1 << 2,
	NET_ECN = 1 << 3, /* of TCP with ECN */
	NET_USO = 1 << 4
};

/* A packet from the guest. The frontend fills what is above the line. */
struct net_tx {
	/*
	 * Worker. Once for each net_send(), later or from inside it: the buffers are the
	 * frontend's again. @res < 0: the packet was dropped, as networks may.
	 */
	void (*done)(struct net_tx *tx, int res);
	struct iovec *iov; /* header first; must live until done() */
	unsigned iov_count;
	/* ---- the backend's ---- */
	struct net_port *port;
	struct worker_op io;
};

/* Room for one packet to the guest, lent by the frontend. */
struct net_rx {
	struct iovec *iov;  /* one more entry behind the last is the backend's to use */
	unsigned iov_count; /* at least 1 */
	size_t bytes;	    /* the sum of iov, at least NET_HEADER */
	/* ---- the backend's ---- */
	struct net_port *port;
	struct worker_op io;
};

/* Where packets to the guest go: the frontend's half of a queue pair. All three: worker. */
struct net_sink {
	/*
	 * Room for the next packet: @want bytes if the driver has offered as many, else less. NULL
	 * if it has offered none: net_rx_ready() will tell when it has. Any number may be out.
	 */
	struct net_rx *(*take)(struct net_sink *sink, size_t want);
	/*
	 * @rx holds a packet of @len bytes, header included; what did not fit into its buffers lies
	 * at @spill (rx->bytes less than len only then). Packets reach the guest in the order of
	 * these calls. Takes @rx back.
	 */
	void (*deliver)(struct net_sink *sink, struct net_rx *rx, size_t len, const uint8_t *spill);
	/* Nothing came: takes @rx back. */
	void (*give_back)(struct net_sink *sink, struct net_rx *rx);
};

/* One port of the host that leads to one of the guest; user-mode networking only. */
struct net_forward {
	bool udp;
	const char *host_addr; /* dotted quad of the host to listen on */
	uint16_t host_port;
	uint16_t guest_port;
};

/*
 * Main. Use the tap @name, which must exist, with @pairs queues (1 to NET_PAIRS_MAX). Errors, each
 * naming @name: it does not exist, is no tap, has only one queue (ERROR_HOST); somebody else uses
 * it (ERROR_BUSY); no permission, no /dev/net/tun (ERROR_HOST).
 */
int net_open_tap(struct net **out, const char *name, unsigned pairs, struct error *err);

/*
 * Main. A network of the guest's own, 10.0.2.0/24, whose way out are this process's sockets:
 * libslirp, which is loaded here and now. The host's ports are bound here too: ERROR_BUSY names one
 * that is taken. @forward is not kept.
 */
int net_open_user(
	struct net **out, const struct net_forward *forward, unsigned forwards, struct error *err);

/* Main, after the workers have stopped. NULL is allowed. */
void net_close(struct net *net);

/* Constant after net_open_*(). */
const char *net_name(const struct net *net); /* for messages: the tap's, or "user" */
unsigned net_pairs(const struct net *net);
enum worker_kind net_worker_kind(const struct net *net); /* what the workers must be */
unsigned net_offloads(const struct net *net);		 /* what it can, in either direction */
unsigned net_mtu(const struct net *net);		 /* bytes of IP in a frame; 0: 1500 */

/*
 * Main. An address for the guest when none was given: locally administered, the same at every start
 * on this host, another for each host, tap and @index.
 */
void net_default_mac(const struct net *net, unsigned index, uint8_t mac[6]);

/*
 * Main, before @worker starts. Register files and allow operations of queue pair @pair there; pairs
 * are attached in ascending order. *@out is the network's.
 */
int net_attach(struct net *net, unsigned pair, struct worker *worker, struct net_port **out,
	struct error *err);

/* Worker of pair 0. What packets to the guest may need of it (NET_*): what its driver accepted. */
int net_set_offloads(struct net *net, unsigned offloads);

/*
 * Worker of pair 0. Packets are to reach the guest through the first @pairs queue pairs only. At
 * first it is 1. Returns 0 or -errno.
 */
int net_set_pairs(struct net *net, unsigned pairs);

/* Worker. Packets may flow to @sink until net_rx_stop(). */
void net_rx_start(struct net_port *port, struct net_sink *sink);
/* Worker. There are buffers again after a take() that gave NULL. Harmless at any other time. */
void net_rx_ready(struct net_port *port);
/* Worker. No more take(); what is out comes back by give_back() or deliver(), now or soon. */
void net_rx_stop(struct net_port *port);

/* Worker. */
void net_send(struct net_port *port, struct net_tx *tx);
/* Worker. What is out is done at once, dropped if need be: every done() comes now or soon. */
void net_tx_stop(struct net_port *port);
