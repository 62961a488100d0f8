/*
 * The tap backend: packets. Both ways they pass between the tap and the guest's own buffers.
 *
 * To the guest: one read waits on the worker's io_uring until there is a packet. Then the worker
 * reads on by itself, one readv() for each packet, until the tap is empty or a share is done, and
 * the read on the ring waits anew. So a quiet line costs one completion for each packet, a busy one
 * none; and all packets of a turn make one interrupt.
 *
 * (A batch of reads on the ring would save the system calls, but taps know RWF_NOWAIT only since
 * Linux 6.4: before, every read of a batch waits, and one packet wakes them all.)
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
#include <sys/uio.h>

/* ---- to the guest ---- */

static void read_done(struct worker_op *op, int res, uint32_t cqe_flags);

/* The next packet is likely to be as large as the largest of the last ones. */
static void learn_size(struct tap_port *port, size_t len)
{
	if (len >= port->want)
		port->want = len;
	else
		port->want -= (port->want - len) / 8;
}

/* A place for the next packet, the spill behind it; NULL where the driver has offered none. */
static struct net_rx *take(struct tap_port *port, unsigned *count)
{
	struct net_sink *sink = port->port.sink;
	struct net_rx *rx = sink->take(sink, port->want);

	port->starved = !rx;
	if (!rx)
		return NULL;
	*count = rx->iov_count;
	if (rx->bytes < NET_PACKET_MAX)
		rx->iov[(*count)++] = (struct iovec){ port->spill, TAP_SPILL };
	return rx;
}

/* What a read into @rx came to. Returns false where there is no use in reading on just now. */
static bool finish(struct tap_port *port, struct net_rx *rx, int res)
{
	struct net_sink *sink = port->port.sink;

	if (res > 0) {
		learn_size(port, (size_t)res);
		sink->deliver(sink, rx, (size_t)res, port->spill);
		return true;
	}
	sink->give_back(sink, rx);
	if (res == -EINTR)
		return true;
	if (res == -EAGAIN || res == -ECANCELED) /* no packet; stopped */
		return false;
	/* EBADFD: the interface was deleted. Reading on would only spin. */
	port->gone = true;
	log_limited(&port->complaints, LOG_LEVEL_WARN,
		"the tap \"%s\" no longer delivers packets: %s", port->tap->net.name,
		strerror(-res));
	return false;
}

static void wait_for_packet(struct tap_port *port)
{
	struct worker *worker = port->port.worker;
	unsigned count;
	struct net_rx *rx = take(port, &count);
	struct io_uring_sqe *sqe;

	if (!rx)
		return;
	port->reading = rx;
	rx->port = &port->port;
	rx->io.complete = read_done;
	sqe = worker_sqe(worker);
	io_uring_prep_readv(sqe, port->file, rx->iov, count, 0);
	worker_submit(worker, sqe, &rx->io);
}

/* Read what is there. The others of this worker have their turn after TAP_SHARE packets. */
static void drain(struct tap_port *port)
{
	struct net_rx *rx;
	unsigned count;
	ssize_t n;

	for (unsigned i = 0; i < TAP_SHARE; i++) {
		rx = take(port, &count);
		if (!rx)
			return;
		n = readv(port->fd, rx->iov, (int)count);
		if (!finish(port, rx, n < 0 ? -errno : (int)n)) {
			if (!port->gone)
				wait_for_packet(port);
			return;
		}
	}
	worker_yield(port->port.worker, &port->more);
}

static void read_done(struct worker_op *op, int res, uint32_t cqe_flags)
{
	struct net_rx *rx = container_of(op, struct net_rx, io);
	struct tap_port *port = container_of(rx->port, struct tap_port, port);
	bool on;

	port->reading = NULL;
	on = finish(port, rx, res);
	if (!port->port.receiving || port->gone)
		return;
	if (on)
		drain(port);
	else
		wait_for_packet(port);
}

static void read_more(struct worker_task *task)
{
	struct tap_port *port = container_of(task, struct tap_port, more);

	if (port->port.receiving && !port->gone && !port->reading)
		drain(port);
}

void tap_rx_start(struct net_port *net_port)
{
	struct tap_port *port = container_of(net_port, struct tap_port, port);

	port->gone = false;
	port->want = NET_HEADER + 1514;
	if (!port->reading)
		wait_for_packet(port);
}

void tap_rx_ready(struct net_port *net_port)
{
	struct tap_port *port = container_of(net_port, struct tap_port, port);

	if (port->starved && !port->gone && !port->reading)
		drain(port);
}

void tap_rx_stop(struct net_port *net_port)
{
	struct tap_port *port = container_of(net_port, struct tap_port, port);

	if (port->reading)
		worker_cancel(net_port->worker, &port->reading->io);
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
	port->more.run = read_more;
}
