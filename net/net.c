/* The front door of the backends: hands calls on, and what is the same for all of them. */
#include "net/net.h"

#include "net/backend.h"
#include "util/cleanup.h"

#include <stdio.h>
#include <string.h>

void net_close(struct net *net)
{
	if (net)
		net->ops->close(net);
}

const char *net_name(const struct net *net)
{
	return net->name;
}

unsigned net_pairs(const struct net *net)
{
	return net->pairs;
}

enum worker_kind net_worker_kind(const struct net *net)
{
	return net->kind;
}

unsigned net_offloads(const struct net *net)
{
	return net->offloads;
}

unsigned net_mtu(const struct net *net)
{
	return net->mtu;
}

/* FNV-1a: no secret, only unlikely to meet. */
static uint64_t hash_bytes(uint64_t hash, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len--)
		hash = (hash ^ *p++) * 0x100000001b3ULL;
	return hash;
}

void net_default_mac(const struct net *net, unsigned index, uint8_t mac[6])
{
	_cleanup_fclose_ FILE *f = fopen("/etc/machine-id", "re");
	uint64_t hash = 0xcbf29ce484222325ULL;
	char id[64];

	if (f)
		hash = hash_bytes(hash, id, fread(id, 1, sizeof(id), f));
	hash = hash_bytes(hash, net->name, strlen(net->name));
	hash = hash_bytes(hash, &index, sizeof(index));
	hash ^= hash >> 29; /* the low bits alone vary too little with the last byte */
	mac[0] = 0x02;	    /* unicast, locally administered */
	for (unsigned i = 1; i < 6; i++)
		mac[i] = (uint8_t)(hash >> 8 * i);
}

int net_attach(struct net *net, unsigned pair, struct worker *worker, struct net_port **out,
	struct error *err)
{
	return net->ops->attach(net, pair, worker, out, err);
}

int net_set_offloads(struct net *net, unsigned offloads)
{
	return net->ops->set_offloads(net, offloads);
}

int net_set_pairs(struct net *net, unsigned pairs)
{
	return net->ops->set_pairs(net, pairs);
}

void net_rx_start(struct net_port *port, struct net_sink *sink)
{
	port->sink = sink;
	port->receiving = true;
	port->net->ops->rx_start(port);
}

void net_rx_ready(struct net_port *port)
{
	if (port->receiving)
		port->net->ops->rx_ready(port);
}

void net_rx_stop(struct net_port *port)
{
	if (!port->receiving)
		return;
	port->receiving = false;
	port->net->ops->rx_stop(port);
}

void net_send(struct net_port *port, struct net_tx *tx)
{
	tx->port = port;
	port->net->ops->send(port, tx);
}

void net_tx_stop(struct net_port *port)
{
	port->net->ops->tx_stop(port);
}
