/*
 * Packets from the guest (virtio 1.2, 5.1.6.2): each chain of the transmit queue is one packet with
 * its header in front, handed to the backend as it lies in guest memory.
 */
#include "util/macros.h"
#include "virtio/net_parts.h"

#include <errno.h>

static void release(struct tx_slot *slot)
{
	struct tx_side *tx = slot->side;

	slot->next = tx->free;
	tx->free = slot;
	tx->out--;
	if (!tx->out)
		tx->iovs = 0;
	ring_push(&tx->queue->ring, slot->head, 0);
	virtio_queue_done(tx->queue);
}

/* The result does not matter: a network may drop packets, and the driver is told of none. */
static void on_done(struct net_tx *net_tx, int res)
{
	struct tx_slot *slot = container_of(net_tx, struct tx_slot, tx);
	struct tx_side *tx = slot->side;

	release(slot);
	if (tx->out)
		return;
	if (tx->queue->quiescing)
		virtio_queue_idle(tx->queue);
	else
		worker_defer(tx->queue->worker, &tx->more);
}

/* Take one packet. 1: taken. 0: nothing there. -EIO: the queue is no more. */
static int take(struct net_pair *pair)
{
	struct tx_side *tx = &pair->tx;
	struct virtio_queue *queue = tx->queue;
	struct tx_slot *slot = tx->free;
	struct ring_chain chain = {
		.iov = tx->iov + tx->iovs,
		.iov_cap = NET_CHAIN_IOVS,
	};
	int r;

	r = ring_pop(&queue->ring, &chain);
	if (r == 0)
		return 0;
	if (r < 0) {
		virtio_queue_fail(queue, queue->ring.fault);
		return r;
	}
	if (chain.in_count || chain.out_bytes < NET_HEADER) {
		virtio_queue_fail(queue, "a packet to send without a whole header");
		return -EIO;
	}
	tx->free = slot->next;
	tx->out++;
	slot->head = chain.head;
	slot->tx.iov = chain.iov;
	slot->tx.iov_count = chain.out_count;
	if (chain.out_bytes > NET_PACKET_MAX) { /* no network takes that */
		release(slot);
		return 1;
	}
	tx->iovs += chain.out_count;
	net_send(pair->port, &slot->tx);
	return 1;
}

/*
 * Take what there is, as far as slots go; what is out brings us back here when it is done. Kicks
 * are wanted only when nothing is out: until then we come by anyway.
 */
static void work(struct net_pair *pair)
{
	struct tx_side *tx = &pair->tx;
	struct virtio_queue *queue = tx->queue;

	ring_kicks_off(&queue->ring);
	for (unsigned n = 0; n < TX_SLOTS; n++) {
		int r;

		if (!tx->free || tx->iovs + NET_CHAIN_IOVS > TX_IOVS)
			return;
		r = take(pair);
		if (r < 0 || (r == 0 && (tx->out || !ring_kicks_on(&queue->ring))))
			return;
	}
	if (!tx->out) /* a backend that is done at once: let others on this worker have their turn */
		worker_yield(queue->worker, &tx->more);
}

static void on_more(struct worker_task *task)
{
	struct tx_side *tx = container_of(task, struct tx_side, more);

	if (virtio_queue_active(tx->queue))
		work(container_of(tx, struct net_pair, tx));
}

void net_tx_init(struct net_pair *pair, struct virtio_queue *queue)
{
	struct tx_side *tx = &pair->tx;

	tx->queue = queue;
	tx->more.run = on_more;
	for (unsigned i = TX_SLOTS; i-- > 0;) {
		tx->slot[i].tx.done = on_done;
		tx->slot[i].side = tx;
		tx->slot[i].next = tx->free;
		tx->free = &tx->slot[i];
	}
}

void net_tx_begin(struct net_pair *pair)
{
	pair->tx.iovs = 0;
}

void net_tx_kick(struct net_pair *pair)
{
	if (!pair->tx.out)
		work(pair);
}

void net_tx_quiesce(struct net_pair *pair)
{
	net_tx_stop(pair->port);
	if (!pair->tx.out && pair->tx.queue->quiescing)
		virtio_queue_idle(pair->tx.queue);
}
