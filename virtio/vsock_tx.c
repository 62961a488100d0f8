/*
 * Packets from the guest (virtio 1.2, 5.10.6): each chain is a header and, for RW, its payload,
 * which goes from guest memory to the socket as it is.
 */
#include "util/macros.h"
#include "virtio/vsock_parts.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <linux/virtio_vsock.h>
#include <string.h>

static_assert(sizeof(struct virtio_vsock_hdr) == VSOCK_HEADER, "the header's size");

enum {
	PACKETS = 64, /* taken before others have their turn */
	SHUT_BOTH = VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND
};

/* A header as the guest wrote it, copied once, in this machine's byte order. */
struct packet {
	uint64_t src_cid, dst_cid;
	uint32_t guest_port, host_port;
	uint32_t len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
	uint64_t room; /* payload bytes that the chain has */
};

static void reset_tuple(struct vsock *v, const struct packet *p)
{
	struct vsock_reset reset = {
		.cid = p->dst_cid,
		.host_port = p->host_port,
		.guest_port = p->guest_port,
		.type = p->type,
	};

	vsock_owe_reset(v, &reset);
}

/* The guest broke the rules of this stream, or we cannot go on with it. */
static void reset_stream(struct vsock *v, struct stream *s, const struct packet *p)
{
	stream_drop(s);
	reset_tuple(v, p);
}

static void note_credit(struct stream *s, const struct packet *p)
{
	s->peer_alloc = p->buf_alloc;
	s->peer_fwd = p->fwd_cnt;
	if (stream_credit(s))
		s->credit_asked = false;
}

/* The guest connects to a port of the host. */
static void on_request(struct vsock *v, const struct packet *p)
{
	const uint8_t *key = vsock_host_key(v->host, p->host_port);
	struct stream *s = NULL;
	int fd = key ? -1 : -EMFILE;

	if (!key && v->streams < VSOCK_STREAMS_MAX)
		fd = vsock_host_connect(v->host, p->host_port);
	if (key || fd >= 0)
		s = stream_new(v, fd, STREAM_OPEN, p->host_port, p->guest_port, OWE_RESPONSE);
	if (!s) {
		log_debug("%s: the guest's call to port %u is refused: %s", v->device.label,
			p->host_port, fd < 0 ? strerror(-fd) : "no memory or descriptor");
		reset_tuple(v, p);
		return;
	}
	s->key = key;
	note_credit(s, p);
	stream_wake(s);
}

/* Who has the key is connected. Compared as a whole: how soon it differs is nobody's business. */
static void on_key(
	struct vsock *v, struct stream *s, const struct packet *p, const struct ring_chain *chain)
{
	uint8_t said[VSOCK_KEY_BYTES] = { 0 }, differs = p->len != sizeof(said);
	int fd = -EACCES;

	if (!differs)
		iov_to_buf(chain->iov, chain->out_count, VSOCK_HEADER, said, sizeof(said));
	for (unsigned i = 0; i < sizeof(said); i++)
		differs |= said[i] ^ s->key[i];
	if (!differs)
		fd = vsock_host_connect(v->host, s->host_port);
	if (fd >= 0)
		fd = stream_connect(s, fd, p->len);
	if (fd < 0) {
		log_debug("%s: the guest's call to port %u is refused: %s", v->device.label,
			s->host_port, strerror(-fd));
		reset_stream(v, s, p);
		return;
	}
	s->key = NULL;
	stream_wake(s);
}

static void on_data(
	struct vsock *v, struct stream *s, const struct packet *p, const struct ring_chain *chain)
{
	unsigned parts;

	if (s->state != STREAM_OPEN || p->len > p->room ||
		(s->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND)) {
		reset_stream(v, s, p);
		return;
	}
	if (!p->len) {
		stream_wake(s);
		return;
	}
	if (s->key) {
		on_key(v, s, p, chain);
		return;
	}
	parts = vsock_part(chain->iov, chain->out_count, VSOCK_HEADER, p->len, v->part);
	if (stream_put(s, v->part, parts, p->len) < 0)
		reset_stream(v, s, p);
}

static void on_shutdown(struct vsock *v, struct stream *s, const struct packet *p)
{
	uint8_t how = p->flags & SHUT_BOTH;

	if (s->state == STREAM_CALLING) {
		reset_stream(v, s, p);
	} else if ((s->guest_shut | how) == SHUT_BOTH) {
		/* 5.10.6.6: the answer that lets the guest use the port again. */
		stream_leave(s);
		reset_tuple(v, p);
	} else {
		stream_guest_shut(s, how);
	}
}

static void on_response(struct vsock *v, struct stream *s, const struct packet *p)
{
	if (s->state != STREAM_CALLING || (s->owed & OWE_REQUEST))
		reset_stream(v, s, p);
	else
		stream_accepted(s);
}

/* A packet of a stream that there is. */
static void on_packet(
	struct vsock *v, struct stream *s, const struct packet *p, const struct ring_chain *chain)
{
	note_credit(s, p);
	switch (p->op) {
	case VIRTIO_VSOCK_OP_RW:
		on_data(v, s, p, chain);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		stream_wake(s);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		if (s->state == STREAM_OPEN)
			s->owed |= OWE_CREDIT_UPDATE;
		stream_wake(s);
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		on_shutdown(v, s, p);
		break;
	case VIRTIO_VSOCK_OP_RST:
		stream_leave(s);
		break;
	case VIRTIO_VSOCK_OP_RESPONSE:
		on_response(v, s, p);
		break;
	default: /* a request for ports that are in use, or nothing known */
		reset_stream(v, s, p);
		break;
	}
}

static void dispatch(struct vsock *v, const struct packet *p, const struct ring_chain *chain)
{
	struct stream *s;

	/* 5.10.6.4.2: not from this guest, so there is nobody to answer. */
	if (p->src_cid != v->guest_cid)
		return;
	if (p->dst_cid != VSOCK_HOST_CID || p->type != VIRTIO_VSOCK_TYPE_STREAM) {
		if (p->op != VIRTIO_VSOCK_OP_RST)
			reset_tuple(v, p);
		return;
	}
	s = stream_find(v, p->host_port, p->guest_port);
	if (s)
		on_packet(v, s, p, chain);
	else if (p->op == VIRTIO_VSOCK_OP_REQUEST)
		on_request(v, p);
	else if (p->op != VIRTIO_VSOCK_OP_RST)
		reset_tuple(v, p);
}

static void take_packet(struct vsock *v, const struct ring_chain *chain)
{
	struct virtio_vsock_hdr hdr;
	struct packet p;

	iov_to_buf(chain->iov, chain->out_count, 0, &hdr, sizeof(hdr));
	p = (struct packet){
		.src_cid = le64toh(hdr.src_cid),
		.dst_cid = le64toh(hdr.dst_cid),
		.guest_port = le32toh(hdr.src_port),
		.host_port = le32toh(hdr.dst_port),
		.len = le32toh(hdr.len),
		.type = le16toh(hdr.type),
		.op = le16toh(hdr.op),
		.flags = le32toh(hdr.flags),
		.buf_alloc = le32toh(hdr.buf_alloc),
		.fwd_cnt = le32toh(hdr.fwd_cnt),
		.room = chain->out_bytes - VSOCK_HEADER,
	};
	dispatch(v, &p, chain);
}

/* Take one chain. 1: done. 0: there is none. Negative: the queue has failed. */
static int take(struct vsock *v, struct virtio_queue *queue)
{
	struct ring_chain chain = { .iov = v->iov, .iov_cap = VSOCK_CHAIN_IOVS };
	int r = ring_pop(&queue->ring, &chain);

	if (r < 0) {
		vsock_fail(v, QUEUE_TX, queue->ring.fault);
		return r;
	}
	if (r == 0)
		return 0;
	if (chain.out_bytes < VSOCK_HEADER) {
		vsock_fail(v, QUEUE_TX, "a packet without a whole header");
		return -EPROTO;
	}
	take_packet(v, &chain);
	ring_push(&queue->ring, chain.head, 0);
	virtio_queue_done(queue);
	return 1;
}

void vsock_tx_work(struct vsock *v)
{
	struct virtio_queue *queue = &v->device.queue[QUEUE_TX];
	int r = 1;

	if (!vsock_up(v))
		return;
	ring_kicks_off(&queue->ring);
	for (unsigned n = 0; n < PACKETS && r > 0; n++) {
		/* Each packet may bring about one reset. */
		v->tx_waits = v->resets == VSOCK_RESETS_MAX;
		if (v->tx_waits)
			return; /* vsock_rx_work() goes on when the guest has taken some */
		r = take(v, queue);
		if (r == 0 && ring_kicks_on(&queue->ring))
			r = 1;
	}
	if (r > 0)
		worker_yield(queue->worker, &v->more_tx);
}

void vsock_tx_last(struct vsock *v)
{
	struct virtio_queue *queue = &v->device.queue[QUEUE_TX];

	/* No more than a queue holds: a driver that resets it may have other CPUs that go on. */
	for (unsigned n = 0; n < VSOCK_QUEUE_SIZE && queue->live && v->streams; n++) {
		if (take(v, queue) <= 0)
			return;
	}
}
