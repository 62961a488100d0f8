/*
 * Packets to the guest (virtio 1.2, 5.10.6). Streams that have something take turns; each turn is
 * one packet of control, or one read from the socket straight into as many of the driver's buffers
 * as the last reads filled. Resets for those who have no stream go first.
 */
#include "util/macros.h"
#include "virtio/vsock_parts.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_vsock.h>
#include <string.h>
#include <sys/socket.h>

enum {
	TURNS = 64,	    /* before other devices of the worker have theirs */
	BATCH_CHAINS = 32,  /* filled by one read */
	BATCH_BYTES = 65536 /* read at once from one socket */
};

/* Buffers of the driver that were taken to be filled together. */
struct batch {
	struct ring_chain chain[BATCH_CHAINS];
	unsigned chains, iovs;
	size_t room; /* for payload */
};

unsigned vsock_part(
	const struct iovec *iov, unsigned count, size_t skip, size_t len, struct iovec *to)
{
	unsigned n = 0;

	for (unsigned i = 0; i < count && len; i++) {
		size_t from = MIN(skip, iov[i].iov_len), size = MIN(iov[i].iov_len - from, len);

		skip -= from;
		len -= size;
		if (size)
			to[n++] = (struct iovec){ (uint8_t *)iov[i].iov_base + from, size };
	}
	return n;
}

/* ---- the driver's buffers ---- */

/* 1: one more in @b. 0: the driver has offered none. Negative: the queue has failed. */
static int take_buffer(struct vsock *v, struct batch *b)
{
	struct virtio_queue *queue = &v->device.queue[QUEUE_RX];
	struct ring_chain *chain = &b->chain[b->chains];
	int r;

	*chain = (struct ring_chain){ .iov = v->iov + b->iovs, .iov_cap = VSOCK_CHAIN_IOVS };
	r = ring_pop(&queue->ring, chain);
	if (r < 0) {
		vsock_fail(v, QUEUE_RX, queue->ring.fault);
		return r;
	}
	if (r == 0)
		return 0;
	if (chain->out_count || chain->in_bytes <= VSOCK_HEADER) {
		vsock_fail(v, QUEUE_RX, "a receive buffer that cannot hold a packet");
		return -EPROTO;
	}
	b->chains++;
	b->iovs += chain->in_count;
	b->room += chain->in_bytes - VSOCK_HEADER;
	return 1;
}

static void push(struct vsock *v, const struct ring_chain *chain, uint32_t len)
{
	struct virtio_queue *queue = &v->device.queue[QUEUE_RX];

	ring_push(&queue->ring, chain->head, VSOCK_HEADER + len);
	virtio_queue_done(queue);
}

static void put_header(const struct ring_chain *chain, const struct virtio_vsock_hdr *hdr)
{
	iov_from_buf(chain->iov, chain->in_count, 0, hdr, sizeof(*hdr));
}

/* ---- packets ---- */

static struct virtio_vsock_hdr header(struct stream *s, uint16_t op, uint32_t flags)
{
	/* Every packet says how things stand with our buffer. */
	s->fwd_told = s->fwd_cnt;
	s->owed &= (uint8_t)~OWE_CREDIT_UPDATE;
	return (struct virtio_vsock_hdr){
		.src_cid = htole64(VSOCK_HOST_CID),
		.dst_cid = htole64(s->vsock->guest_cid),
		.src_port = htole32(s->host_port),
		.dst_port = htole32(s->guest_port),
		.type = htole16(VIRTIO_VSOCK_TYPE_STREAM),
		.op = htole16(op),
		.flags = htole32(flags),
		.buf_alloc = htole32(s->buf_alloc),
		.fwd_cnt = htole32(s->fwd_cnt),
	};
}

/* 1: sent. 0: no buffer. Negative: the queue has failed. So for all of these. */
static int send_reset(struct vsock *v)
{
	const struct vsock_reset *reset = &v->reset[v->first_reset];
	struct virtio_vsock_hdr hdr = {
		.src_cid = htole64(reset->cid),
		.dst_cid = htole64(v->guest_cid),
		.src_port = htole32(reset->host_port),
		.dst_port = htole32(reset->guest_port),
		.type = htole16(reset->type),
		.op = htole16(VIRTIO_VSOCK_OP_RST),
	};
	struct batch b = { .chains = 0 };
	int r = take_buffer(v, &b);

	if (r <= 0)
		return r;
	put_header(&b.chain[0], &hdr);
	push(v, &b.chain[0], 0);
	v->first_reset = (v->first_reset + 1) % VSOCK_RESETS_MAX;
	v->resets--;
	if (v->tx_waits) {
		v->tx_waits = false;
		worker_yield(v->device.queue[QUEUE_TX].worker, &v->more_tx);
	}
	return 1;
}

void vsock_owe_reset(struct vsock *v, const struct vsock_reset *reset)
{
	if (v->resets == VSOCK_RESETS_MAX)
		return; /* only in vsock_tx_last(), and then nobody waits for it */
	v->reset[(v->first_reset + v->resets) % VSOCK_RESETS_MAX] = *reset;
	v->resets++;
}

/* The packet of control that is due; data, if there is any, goes before an update of credit. */
static uint16_t control_due(const struct stream *s)
{
	if (s->owed & OWE_REQUEST)
		return VIRTIO_VSOCK_OP_REQUEST;
	if (s->owed & OWE_RESPONSE)
		return VIRTIO_VSOCK_OP_RESPONSE;
	if (s->readable && !s->eof && s->state == STREAM_OPEN && stream_credit(s))
		return VIRTIO_VSOCK_OP_RW;
	if (s->owed & OWE_CREDIT_UPDATE)
		return VIRTIO_VSOCK_OP_CREDIT_UPDATE;
	if (s->owed & OWE_CREDIT_REQUEST)
		return VIRTIO_VSOCK_OP_CREDIT_REQUEST;
	return s->shut & ~s->shut_told ? VIRTIO_VSOCK_OP_SHUTDOWN : VIRTIO_VSOCK_OP_INVALID;
}

static int send_control(struct vsock *v, struct stream *s, uint16_t op)
{
	static const struct {
		uint16_t op;
		uint8_t owed;
	} pays[] = {
		{ VIRTIO_VSOCK_OP_REQUEST, OWE_REQUEST },
		{ VIRTIO_VSOCK_OP_RESPONSE, OWE_RESPONSE },
		{ VIRTIO_VSOCK_OP_CREDIT_REQUEST, OWE_CREDIT_REQUEST },
	};
	struct batch b = { .chains = 0 };
	struct virtio_vsock_hdr hdr;
	int r = take_buffer(v, &b);

	if (r <= 0)
		return r;
	hdr = header(s, op, op == VIRTIO_VSOCK_OP_SHUTDOWN ? s->shut : 0);
	put_header(&b.chain[0], &hdr);
	push(v, &b.chain[0], 0);
	if (op == VIRTIO_VSOCK_OP_SHUTDOWN)
		s->shut_told = s->shut;
	for (unsigned i = 0; i < ARRAY_SIZE(pays); i++) {
		if (pays[i].op == op)
			s->owed &= (uint8_t)~pays[i].owed;
	}
	return 1;
}

/* ---- data ---- */

/* @len bytes lie in the buffers of @b: a header before each part, and what is left over back. */
static void deliver(struct vsock *v, struct stream *s, const struct batch *b, uint32_t len)
{
	struct virtio_vsock_hdr hdr = header(s, VIRTIO_VSOCK_OP_RW, 0);
	unsigned used = 0;

	s->tx_cnt += len;
	while (len) {
		const struct ring_chain *chain = &b->chain[used++];
		uint32_t n = (uint32_t)MIN((uint64_t)len, chain->in_bytes - VSOCK_HEADER);

		hdr.len = htole32(n);
		put_header(chain, &hdr);
		push(v, chain, n);
		len -= n;
	}
	ring_unpop(&v->device.queue[QUEUE_RX].ring, b->chains - used);
	/* As many as were filled; more, when that was all there were. */
	if (used == b->chains)
		used *= 2;
	s->batch = (uint8_t)MIN(used, (unsigned)BATCH_CHAINS);
}

static unsigned gather(struct vsock *v, const struct batch *b, size_t len)
{
	unsigned parts = 0;

	for (unsigned i = 0; i < b->chains && len; i++) {
		const struct ring_chain *chain = &b->chain[i];
		size_t n = MIN(len, (size_t)chain->in_bytes - VSOCK_HEADER);

		parts += vsock_part(chain->iov, chain->in_count, VSOCK_HEADER, n, v->part + parts);
		len -= n;
	}
	return parts;
}

static int send_data(struct vsock *v, struct stream *s)
{
	size_t want = MIN(stream_credit(s), (uint32_t)BATCH_BYTES);
	struct batch b = { .chains = 0 };
	struct msghdr msg = { .msg_iov = v->part };
	ssize_t n;
	int r = 1;

	while (r > 0 && b.room < want && b.chains < s->batch &&
		b.iovs + VSOCK_CHAIN_IOVS <= VSOCK_IOVS)
		r = take_buffer(v, &b);
	if (r < 0 || !b.chains)
		return r;
	msg.msg_iovlen = gather(v, &b, want);
	do
		n = recvmsg(s->sock.fd, &msg, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		deliver(v, s, &b, (uint32_t)n);
		return 1;
	}
	ring_unpop(&v->device.queue[QUEUE_RX].ring, b.chains);
	if (n < 0 && errno == EAGAIN) {
		s->readable = false;
	} else {
		if (n < 0)
			s->hung_up = true;
		stream_end_of_file(s);
	}
	return 1;
}

/* ---- turns ---- */

static int serve_stream(struct vsock *v)
{
	struct stream *s = TAILQ_FIRST(&v->run);
	uint16_t op = control_due(s);
	int r = 1;

	if (op == VIRTIO_VSOCK_OP_RW)
		r = send_data(v, s);
	else if (op != VIRTIO_VSOCK_OP_INVALID)
		r = send_control(v, s, op);
	if (r <= 0) /* it stays the first, or it is no more */
		return r;
	TAILQ_REMOVE(&v->run, s, link);
	s->running = false;
	stream_wake(s);
	return 1;
}

static bool idle(const struct vsock *v)
{
	return !v->resets && TAILQ_EMPTY(&v->run);
}

void vsock_rx_work(struct vsock *v)
{
	struct virtio_queue *queue = &v->device.queue[QUEUE_RX];

	if (!vsock_up(v))
		return;
	ring_kicks_off(&queue->ring);
	for (unsigned n = 0; n < TURNS; n++) {
		int r;

		if (idle(v))
			return;
		r = v->resets ? send_reset(v) : serve_stream(v);
		/* Kicks are of interest only where there is no buffer. */
		if (r < 0 || (r == 0 && !ring_kicks_on(&queue->ring)))
			return;
		if (r == 0)
			ring_kicks_off(&queue->ring);
	}
	if (!idle(v))
		worker_yield(queue->worker, &v->more_rx);
}
