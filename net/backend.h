/* What a backend is to net.c: for net/ only. */
#pragma once

#include "net/net.h"

struct net_ops {
	void (*close)(struct net *net);
	int (*attach)(struct net *net, unsigned pair, struct worker *worker, struct net_port **out,
		struct error *err);
	int (*set_offloads)(struct net *net, unsigned offloads);
	int (*set_pairs)(struct net *net, unsigned pairs);
	void (*rx_start)(struct net_port *port);
	void (*rx_ready)(struct net_port *port);
	void (*rx_stop)(struct net_port *port);
	void (*send)(struct net_port *port, struct net_tx *tx);
	void (*tx_stop)(struct net_port *port);
};

/* Embedded first in each backend's own. All constant after open. */
struct net {
	const struct net_ops *ops;
	char name[16];
	unsigned pairs;
	unsigned offloads;
	unsigned mtu;
	enum worker_kind kind;
};

/* Embedded in each backend's own. */
struct net_port {
	struct net *net;       /* constant after attach */
	struct worker *worker; /* constant after attach */
	struct net_sink *sink; /* worker */
	bool receiving;	       /* worker: between rx_start and rx_stop */
};
