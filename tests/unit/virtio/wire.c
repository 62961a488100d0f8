#include "wire.h"

#include "util/macros.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct wire *wire_of(struct net *net)
{
	return container_of(net, struct wire, net);
}

static unsigned index_of(struct net_port *port)
{
	return (unsigned)(port - wire_of(port->net)->port);
}

static int wire_attach(struct net *net, unsigned pair, struct worker *worker, struct net_port **out,
	struct error *err)
{
	struct net_port *port = &wire_of(net)->port[pair];

	*port = (struct net_port){ .net = net, .worker = worker };
	*out = port;
	return 0;
}

static int wire_set_offloads(struct net *net, unsigned offloads)
{
	wire_of(net)->offloads = offloads;
	return 0;
}

static int wire_set_pairs(struct net *net, unsigned pairs)
{
	if (wire_of(net)->fail_pairs)
		return wire_of(net)->fail_pairs;
	wire_of(net)->pairs = pairs;
	return 0;
}

static void wire_rx_start(struct net_port *port)
{
	wire_of(port->net)->starts[index_of(port)]++;
}

static void wire_rx_ready(struct net_port *port)
{
	wire_of(port->net)->readies[index_of(port)]++;
}

static struct net_rx *first(struct wire *wire, unsigned pair)
{
	struct net_rx *rx = wire->lending[pair][0];

	wire->lent[pair]--;
	memmove(wire->lending[pair], wire->lending[pair] + 1,
		wire->lent[pair] * sizeof(wire->lending[pair][0]));
	return rx;
}

void wire_give_back(struct wire *wire, unsigned pair)
{
	struct net_sink *sink = wire->port[pair].sink;

	sink->give_back(sink, first(wire, pair));
}

static void release(struct wire *wire, unsigned i)
{
	struct net_tx *tx = wire->holding[i];

	wire->held--;
	memmove(wire->holding + i, wire->holding + i + 1,
		(wire->held - i) * sizeof(wire->holding[0]));
	tx->done(tx, 0);
}

static void wire_rx_stop(struct net_port *port)
{
	struct wire *wire = wire_of(port->net);

	wire->stops[index_of(port)]++;
	while (wire->lent[index_of(port)])
		wire_give_back(wire, index_of(port));
}

static void keep(struct wire *wire, const struct net_tx *tx)
{
	size_t len = 0, at = 0;
	uint8_t *data;

	for (unsigned i = 0; i < tx->iov_count; i++)
		len += tx->iov[i].iov_len;
	data = malloc(len);
	for (unsigned i = 0; i < tx->iov_count; i++) {
		memcpy(data + at, tx->iov[i].iov_base, tx->iov[i].iov_len);
		at += tx->iov[i].iov_len;
	}
	free(wire->packet[wire->sent % WIRE_KEEP].data);
	wire->packet[wire->sent % WIRE_KEEP].data = data;
	wire->packet[wire->sent++ % WIRE_KEEP].len = len;
}

static void wire_send(struct net_port *port, struct net_tx *tx)
{
	struct wire *wire = wire_of(port->net);

	keep(wire, tx);
	if (wire->hold)
		wire->holding[wire->held++] = tx;
	else
		tx->done(tx, 0);
}

static void wire_tx_stop(struct net_port *port)
{
	struct wire *wire = wire_of(port->net);

	for (unsigned i = 0, kept = 0, n = wire->held; i < n; i++) {
		if (wire->holding[kept]->port == port)
			release(wire, kept);
		else
			kept++;
	}
}

static void wire_close(struct net *net)
{
}

static const struct net_ops wire_ops = {
	.close = wire_close,
	.attach = wire_attach,
	.set_offloads = wire_set_offloads,
	.set_pairs = wire_set_pairs,
	.rx_start = wire_rx_start,
	.rx_ready = wire_rx_ready,
	.rx_stop = wire_rx_stop,
	.send = wire_send,
	.tx_stop = wire_tx_stop,
};

void wire_init(struct wire *wire, unsigned pairs, unsigned offloads)
{
	*wire = (struct wire){
		.net = { .ops = &wire_ops, .name = "wire", .pairs = pairs, .offloads = offloads }
	};
}

void wire_free(struct wire *wire)
{
	for (unsigned i = 0; i < WIRE_KEEP; i++)
		free(wire->packet[i].data);
}

bool wire_take(struct wire *wire, unsigned pair, size_t want)
{
	struct net_port *port = &wire->port[pair];
	struct net_rx *rx;

	if (!port->receiving || wire->lent[pair] == WIRE_LENT)
		return false;
	rx = port->sink->take(port->sink, want);
	if (!rx)
		return false;
	wire->lending[pair][wire->lent[pair]++] = rx;
	return true;
}

void wire_deliver(struct wire *wire, unsigned pair, const uint8_t *data, size_t len)
{
	struct net_sink *sink = wire->port[pair].sink;
	struct net_rx *rx = first(wire, pair);
	size_t done = 0;

	for (unsigned i = 0; i < rx->iov_count && done < len; i++) {
		size_t n = MIN(len - done, rx->iov[i].iov_len);

		memcpy(rx->iov[i].iov_base, data + done, n);
		done += n;
	}
	if (done != MIN(len, rx->bytes))
		abort(); /* bytes is not the sum of iov */
	sink->deliver(sink, rx, len, data + done);
}

bool wire_packet(struct wire *wire, unsigned pair, const uint8_t *data, size_t len)
{
	if (!wire_take(wire, pair, len))
		return false;
	while (wire->lent[pair] > 1)
		wire_give_back(wire, pair);
	wire_deliver(wire, pair, data, len);
	return true;
}

void wire_release(struct wire *wire)
{
	release(wire, 0);
}
