/*
 * The socket device's own structures: for virtio/vsock*.c only. Everything is the worker's while a
 * queue is live.
 *
 * Who does what:
 *	vsock.c		life, queues, calls from the host
 *	vsock_tx.c	packets from the guest are understood
 *	vsock_rx.c	packets to the guest are made
 *	vsock_stream.c	streams: the table, the buffer towards the host, credit, shutting down
 *
 * Credit (5.10.6.3) is counted in bytes of payload by free-running 32-bit counters.
 *
 *	to the host	The guest may have sent buf_alloc bytes more than fwd_cnt, which counts what
 *			left for the socket. What the socket does not take at once is copied into
 *			the stream's buffer, which therefore never holds more than buf_alloc.
 *	to the guest	tx_cnt counts what we sent; it stays within peer_alloc of peer_fwd. Without
 *			credit nothing is read from the socket, so its writer is held back.
 */
#pragma once

#include "util/log.h"
#include "virtio/vsock.h"

#include <sys/queue.h>

enum {
	VSOCK_QUEUE_SIZE = RING_SIZE_MAX,
	/* A chain may have as many buffers as the queue has entries (2.7.5.3.1). */
	VSOCK_CHAIN_IOVS = RING_SIZE_MAX,
	VSOCK_IOVS = 1024, /* what one system call takes (UIO_MAXIOV) */
	VSOCK_HEADER = 44,
	VSOCK_STREAMS_MAX = 4096,
	VSOCK_BUCKETS = 1024,
	/* Resets that wait for room in the receive queue; when full, nothing is taken from the guest. */
	VSOCK_RESETS_MAX = 256
};

/* What a stream owes the guest beside data. */
enum {
	OWE_REQUEST = 1 << 0,
	OWE_RESPONSE = 1 << 1,
	OWE_CREDIT_UPDATE = 1 << 2,
	OWE_CREDIT_REQUEST = 1 << 3
};

enum stream_state {
	STREAM_CALLING, /* a program of the host calls: REQUEST is owed or sent, no answer yet */
	STREAM_OPEN,
	STREAM_GIVEN_UP, /* the caller went before the guest answered; no socket any more */
	STREAM_LEFT	 /* the guest has done with it: not in the table, its last bytes go out */
};

struct stream {
	struct vsock_socket sock; /* fd -1 when the host's side is over */
	struct vsock *vsock;
	struct stream *chain;	  /* in the table's bucket */
	TAILQ_ENTRY(stream) link; /* in vsock->run, or when STREAM_LEFT in vsock->left */
	uint32_t host_port, guest_port;
	enum stream_state state;
	const uint8_t *key; /* must be said first: there is no socket yet; else NULL */
	bool running;	    /* in vsock->run */
	bool readable;	    /* the socket may have something, or its end */
	bool eof;	    /* its end was read: no more data for the guest */
	bool hung_up;	    /* nobody is at its other end any more */
	bool deaf;	    /* it takes nothing any more: what the guest sends is dropped */
	bool wr_done;	    /* the guest's end of data was passed on */
	bool credit_asked;  /* since credit ran out */
	uint8_t owed;	    /* OWE_* */
	/* VIRTIO_VSOCK_SHUTDOWN_*: what the guest said, what we say, and have said. */
	uint8_t guest_shut, shut, shut_told;
	uint8_t batch; /* how many of the driver's buffers the next read may fill */

	/* Towards the host: buf is a circle of buf_alloc bytes, or NULL while nothing is in it. */
	uint8_t *buf;
	uint32_t buf_alloc, buf_start, buf_used;
	uint32_t fwd_cnt, fwd_told;
	/* Towards the guest. */
	uint32_t peer_alloc, peer_fwd, tx_cnt;
};

/* A reset for somebody who has no stream (any more). */
struct vsock_reset {
	uint64_t cid; /* of ours, as the guest named it */
	uint32_t host_port, guest_port;
	uint16_t type;
};

TAILQ_HEAD(stream_list, stream);

struct vsock {
	struct virtio_device device;
	/* Constant after create. */
	struct vsock_user user;
	struct vsock_host *host;
	uint64_t guest_cid;
	uint32_t seed; /* of the table, so that no guest can know who shares a bucket */

	/* Worker only. */
	struct worker_task more_tx, more_rx;
	bool tx_waits; /* for room among the resets */
	uint32_t next_port;
	unsigned streams;
	struct stream *bucket[VSOCK_BUCKETS];
	struct stream_list run;	 /* streams that may have something for the guest, in turn */
	struct stream_list left; /* streams that only have their last bytes to deliver */
	unsigned first_reset, resets;
	struct vsock_reset reset[VSOCK_RESETS_MAX];
	struct iovec iov[VSOCK_IOVS];  /* of chains */
	struct iovec part[VSOCK_IOVS]; /* of their payload */
};

enum { QUEUE_RX, QUEUE_TX, QUEUE_EVENT, QUEUES };

static inline struct vsock *vsock_of(struct virtio_device *device)
{
	return container_of(device, struct vsock, device);
}

static inline bool vsock_up(const struct vsock *v)
{
	return virtio_queue_active(&v->device.queue[QUEUE_RX]) &&
	       virtio_queue_active(&v->device.queue[QUEUE_TX]);
}

/* ---- vsock.c ---- */

/* The driver broke the rules: the queue fails, and every stream ends. */
void vsock_fail(struct vsock *v, unsigned queue, const char *why);

/* ---- vsock_tx.c, vsock_rx.c ---- */

/* Take what the guest sent, or send what is owed to it. Also to be said when there is nothing. */
void vsock_tx_work(struct vsock *v);
void vsock_rx_work(struct vsock *v);

/* The queues go to rest: take what the guest has sent up to now, answer nothing. */
void vsock_tx_last(struct vsock *v);

/* Owe the guest a reset. Where there is no room (see VSOCK_RESETS_MAX) it is dropped. */
void vsock_owe_reset(struct vsock *v, const struct vsock_reset *reset);

/*
 * The bytes [@skip, @skip + @len) of @iov as iovecs in @to, which must have room for @count.
 * Returns how many they are.
 */
unsigned vsock_part(
	const struct iovec *iov, unsigned count, size_t skip, size_t len, struct iovec *to);

/* ---- vsock_stream.c ---- */

struct stream *stream_find(struct vsock *v, uint32_t host_port, uint32_t guest_port);

/*
 * A stream over the socket @fd, which belongs to it (or is closed, if this fails: NULL), or -1: it
 * will have one by stream_connect(). @owed is how it begins. The caller wakes it.
 */
struct stream *stream_new(struct vsock *v, int fd, enum stream_state state, uint32_t host_port,
	uint32_t guest_port, uint8_t owed);

/* Its socket, likewise, after @taken bytes of the guest's that were for us. 0 or -errno. */
int stream_connect(struct stream *s, int fd, uint32_t taken);

/* A port of the host for a stream to @guest_port that no other stream uses. */
uint32_t stream_free_port(struct vsock *v, uint32_t guest_port);

/* It is over at once, whatever is still in its buffer. */
void stream_drop(struct stream *s);
/* It is over for the guest; what it has sent goes to the host yet. Both free @s, now or later. */
void stream_leave(struct stream *s);
/* All streams: each as stream_leave(). */
void stream_leave_all(struct vsock *v);

/* Queue @s if there is something that it can send to the guest. */
void stream_wake(struct stream *s);

/* How many bytes the guest takes from @s now. */
uint32_t stream_credit(const struct stream *s);

/*
 * Data of the guest. -EPROTO: more than it had credit for; -ENOMEM. Then the stream must be reset.
 * @part may be changed.
 */
int stream_put(struct stream *s, struct iovec *part, unsigned count, uint32_t len);
/* The guest will not send or not receive any more (VIRTIO_VSOCK_SHUTDOWN_*, not both). */
void stream_guest_shut(struct stream *s, uint8_t how);
/* The guest accepted. */
void stream_accepted(struct stream *s);
/* The socket's end was read, or it failed. */
void stream_end_of_file(struct stream *s);
