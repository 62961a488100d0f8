/*
 * The tap backend: packets. Both ways they pass between the tap and the guest's own buffers by
 * reads and writes on the worker's io_uring; one io_uring_enter carries a batch of them.
 *
 * To the guest: a refill queues up to TAP_BATCH reads. The last one waits in the kernel until there
 * is a packet; the others only look (RWF_NOWAIT) and come back empty-handed if there is none. The
 * kernel runs them in the order of submission and completes them in the order it ran them, so the
 * order of completions is the order of packets. When the last one is back, the next refill is made:
 * larger if all found packets at once, else as large as what was found. A quiet line thus costs one
 * read per packet, a busy one a fraction of a system call.
 *
 * Taps learned RWF_NOWAIT with Linux 6.4. Before, every read of a batch waits; a packet then wakes
 * more reads than it can satisfy, which costs time but nothing else.
 *
 * Nobody knows a packet's size before it is read: each read gets as much of the guest's memory as
 * the last packets needed, and behind it a spill buffer of ours, so that a longer packet is whole
 * all the same and only the part in the spill is copied.
 *
 * From the guest: one write each. The descriptor does not block and a tap takes what it is given,
 * so writes are done when io_uring_enter returns, in order.
 */
#include "net/tap.h"

#include "util/macros.h"

#include <errno.h>
#include <string.h>

/* ---- to the guest ---- */

static void read_done(struct worker_op *op, int res, uint32_t cqe_flags);

static void submit_read(struct tap_port *port, struct net_rx *rx, bool wait)
{
	struct worker *worker = port->port.worker;
	struct io_uring_sqe *sqe = worker_sqe(worker);
	unsigned count = rx->iov_count;
	unsigned spill = 0;

	while (port->reading[spill])
		spill++; /* there are as many as reads */
	port->reading[spill] = rx;
	port->outstanding++;
	rx->port = &port->port;
	rx->spill = spill;
	rx->io.complete = read_done;
	if (rx->bytes < NET_PACKET_MAX)
		rx->iov[count++] =
			(struct iovec){ port->spill + (size_t)spill * TAP_SPILL, TAP_SPILL };
	io_uring_prep_readv(sqe, port->file, rx->iov, count, 0);
	if (!wait)
		sqe->rw_flags = RWF_NOWAIT;
	worker_submit(worker, sqe, &rx->io);
}

/* How many reads the next batch should have. */
static unsigned next_batch(const struct tap_port *port)
{
	if (port->got < port->batch)
		return MAX(port->got, 1U);
	return MIN(2 * port->batch, (unsigned)TAP_BATCH);
}

static void refill(struct worker_task *task)
{
	struct tap_port *port = container_of(task, struct tap_port, refill);
	struct net_sink *sink = port->port.sink;
	bool nowait = atomic_load_explicit(&port->tap->nowait, memory_order_relaxed);
	struct net_rx *rx;
	unsigned batch;

	if (!port->port.receiving || port->gone || port->outstanding)
		return;
	batch = next_batch(port);
	port->batch = port->got = 0;
	port->turn = worker_turn(port->port.worker);
	rx = sink->take(sink, port->want);
	port->starved = !rx;
	while (rx) {
		struct net_rx *next = NULL;

		port->batch++;
		if (port->batch < batch)
			next = sink->take(sink, port->want);
		submit_read(port, rx, !next || !nowait);
		rx = next;
	}
}

/* The next packet is likely to be as large as the largest of the last ones. */
static void learn_size(struct tap_port *port, size_t len)
{
	if (len >= port->want)
		port->want = len;
	else
		port->want -= (port->want - len) / 8;
}

static void read_failed(struct tap_port *port, int res)
{
	switch (res) {
	case -EAGAIN: /* no packet */
	case -EINTR:
	case -ECANCELED: /* stopped */
		return;
	case -EOPNOTSUPP:
		atomic_store(&port->tap->nowait, false);
		return;
	}
	/* EBADFD: the interface was deleted. Reading on would only spin. */
	port->gone = true;
	log_limited(&port->complaints, LOG_LEVEL_WARN,
		"the tap \"%s\" no longer delivers packets: %s", port->tap->net.name,
		strerror(-res));
}

static void read_done(struct worker_op *op, int res, uint32_t cqe_flags)
{
	struct net_rx *rx = container_of(op, struct net_rx, io);
	struct tap_port *port = container_of(rx->port, struct tap_port, port);
	struct net_sink *sink = port->port.sink;

	port->reading[rx->spill] = NULL;
	port->outstanding--;
	if (res > 0) {
		if (worker_turn(port->port.worker) == port->turn + 1)
			port->got++;
		learn_size(port, (size_t)res);
		sink->deliver(sink, rx, (size_t)res, port->spill + (size_t)rx->spill * TAP_SPILL);
	} else {
		read_failed(port, res);
		sink->give_back(sink, rx);
	}
	if (!port->outstanding && port->port.receiving)
		worker_defer(port->port.worker, &port->refill);
}

void tap_rx_start(struct net_port *net_port)
{
	struct tap_port *port = container_of(net_port, struct tap_port, port);

	port->gone = false;
	port->batch = 1;
	port->got = 0;
	port->want = NET_HEADER + 1514;
	refill(&port->refill);
}

void tap_rx_ready(struct net_port *net_port)
{
	struct tap_port *port = container_of(net_port, struct tap_port, port);

	if (port->starved)
		refill(&port->refill);
}

void tap_rx_stop(struct net_port *net_port)
{
	struct tap_port *port = container_of(net_port, struct tap_port, port);

	for (unsigned i = 0; i < TAP_BATCH && port->outstanding; i++) {
		if (port->reading[i])
			worker_cancel(net_port->worker, &port->reading[i]->io);
	}
}

/* ---- from the guest ---- */

static void write_done(struct worker_op *op, int res, uint32_t cqe_flags)
{
	struct net_tx *tx = container_of(op, struct net_tx, io);

	tx->done(tx, res);
}

void tap_send(struct net_port *net_port, struct net_tx *tx)
{
	struct tap_port *port = container_of(net_port, struct tap_port, port);
	struct io_uring_sqe *sqe = worker_sqe(net_port->worker);

	tx->io.complete = write_done;
	io_uring_prep_writev(sqe, port->file, tx->iov, tx->iov_count, 0);
	worker_submit(net_port->worker, sqe, &tx->io);
}

/*
 * Nothing waits: a write to a tap ends at once, and its completion comes with the io_uring_enter
 * that submits it.
 */
void tap_tx_stop(struct net_port *net_port)
{
	(void)net_port;
}

void tap_io_init(struct tap_port *port)
{
	port->refill.run = refill;
}
