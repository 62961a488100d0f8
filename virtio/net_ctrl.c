/* The control queue of the network device (virtio 1.2, 5.1.6.5). */
#include "util/macros.h"
#include "virtio/net_parts.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>

/* The longest command there is that we know: class, command and a MAC address. */
enum { COMMAND_MAX = 2 + 6 };

/* 5.1.6.5.5: how many pairs the driver uses. */
static bool set_pairs(struct virtio_net *net, const uint8_t *arg, size_t len)
{
	unsigned pairs;

	if (!virtio_has(&net->device, VIRTIO_NET_F_MQ) || len < 2)
		return false;
	pairs = arg[0] | (unsigned)arg[1] << 8;
	return pairs >= 1 && pairs <= net->pairs && net_set_pairs(net->net, pairs) == 0;
}

/* 5.1.6.5.2. Nothing is filtered by address: it only has to read back. */
static bool set_mac(struct virtio_net *net, const uint8_t *arg, size_t len)
{
	if (!virtio_has(&net->device, VIRTIO_NET_F_CTRL_MAC_ADDR) || len < sizeof(net->mac))
		return false;
	pthread_mutex_lock(&net->device.config_lock);
	memcpy(net->device.config, arg, sizeof(net->mac));
	pthread_mutex_unlock(&net->device.config_lock);
	return true;
}

static bool run_command(struct virtio_net *net, const uint8_t *command, size_t len)
{
	if (len < 2)
		return false;
	if (command[0] == VIRTIO_NET_CTRL_MQ && command[1] == VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET)
		return set_pairs(net, command + 2, len - 2);
	if (command[0] == VIRTIO_NET_CTRL_MAC && command[1] == VIRTIO_NET_CTRL_MAC_ADDR_SET)
		return set_mac(net, command + 2, len - 2);
	return false;
}

/* One command. 1: done. 0: nothing there. -EIO: the queue is no more. */
static int take(struct virtio_net *net, struct virtio_queue *queue)
{
	struct iovec iov[NET_CHAIN_IOVS];
	struct ring_chain chain = { .iov = iov, .iov_cap = ARRAY_SIZE(iov) };
	uint8_t command[COMMAND_MAX];
	size_t len;
	uint8_t ack;
	int r;

	r = ring_pop(&queue->ring, &chain);
	if (r == 0)
		return 0;
	if (r < 0 || !chain.in_count) {
		virtio_queue_fail(
			queue, r < 0 ? queue->ring.fault : "a command without room for its answer");
		return -EIO;
	}
	len = iov_to_buf(iov, chain.out_count, 0, command, sizeof(command));
	ack = run_command(net, command, len) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
	iov_from_buf(iov + chain.out_count, chain.in_count, 0, &ack, sizeof(ack));
	ring_push(&queue->ring, chain.head, sizeof(ack));
	virtio_queue_done(queue);
	return 1;
}

void net_ctrl_kick(struct virtio_net *net, struct virtio_queue *queue)
{
	int r;

	/* A driver has one command under way; one that floods us may wait for its next kick. */
	for (unsigned n = 0; n < NET_QUEUE_SIZE; n++) {
		r = take(net, queue);
		if (r < 0 || (r == 0 && !ring_kicks_on(&queue->ring)))
			return;
	}
}
