#include "util/macros.h"
#include "virtio/vsock_parts.h"

#include <errno.h>
#include <linux/virtio_vsock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	SHUT_BOTH = VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND,
	FIRST_PORT = 1 << 30, /* of those that programs of the host get */
	FULL_SHARE = 256 * KIB
};

/* ---- the table ---- */

static struct stream **bucket_of(struct vsock *v, uint32_t host_port, uint32_t guest_port)
{
	uint64_t h = ((uint64_t)host_port << 32 | guest_port) ^ ((uint64_t)v->seed << 16);

	h *= 0x9e3779b97f4a7c15ULL;
	h ^= h >> 29;
	h *= 0xbf58476d1ce4e5b9ULL;
	return &v->bucket[h >> 54];
}

struct stream *stream_find(struct vsock *v, uint32_t host_port, uint32_t guest_port)
{
	struct stream *s = *bucket_of(v, host_port, guest_port);

	while (s && (s->host_port != host_port || s->guest_port != guest_port))
		s = s->chain;
	return s;
}

static void table_remove(struct stream *s)
{
	struct stream **at = bucket_of(s->vsock, s->host_port, s->guest_port);

	while (*at != s)
		at = &(*at)->chain;
	*at = s->chain;
}

uint32_t stream_free_port(struct vsock *v, uint32_t guest_port)
{
	do {
		if (++v->next_port < FIRST_PORT || v->next_port == UINT32_MAX)
			v->next_port = FIRST_PORT;
	} while (stream_find(v, v->next_port, guest_port));
	return v->next_port;
}

/*
 * How much a new stream may have in its buffer. The more streams there are the less, so that all
 * buffers together stay below 140 MiB whatever the guest does and however slow the host reads.
 */
static uint32_t share(const struct vsock *v)
{
	if (v->streams < 128)
		return FULL_SHARE;
	return v->streams < 1024 ? 64 * KIB : 16 * KIB;
}

/* The kernel's buffer of a socket holds about a full share; where that would be too much, less. */
static void limit_socket(int fd, uint32_t bytes)
{
	int half = (int)bytes / 2; /* the kernel doubles it */

	if (bytes < FULL_SHARE)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &half, sizeof(half));
}

/* ---- credit ---- */

uint32_t stream_credit(const struct stream *s)
{
	uint32_t under_way = s->tx_cnt - s->peer_fwd;

	/* More under way than fits: the guest has shrunk its buffer, or lies. */
	return under_way >= s->peer_alloc ? 0 : s->peer_alloc - under_way;
}

/* @len bytes have left the buffer. Tell the guest, if it may be short of credit. */
static void forwarded(struct stream *s, uint32_t len)
{
	s->fwd_cnt += len;
	if (s->state == STREAM_OPEN && s->fwd_cnt - s->fwd_told >= s->buf_alloc / 4)
		s->owed |= OWE_CREDIT_UPDATE;
}

/* ---- who has something for the guest ---- */

static bool has_something(struct stream *s)
{
	if (s->state == STREAM_LEFT)
		return false;
	if (s->owed || (s->shut & ~s->shut_told))
		return true;
	if (s->state != STREAM_OPEN || !s->readable || s->eof)
		return false;
	if (stream_credit(s))
		return true;
	if (s->credit_asked)
		return false;
	/* The guest tells when it has room again; but not every one does so soon. */
	s->credit_asked = true;
	s->owed |= OWE_CREDIT_REQUEST;
	return true;
}

void stream_wake(struct stream *s)
{
	if (s->running || !has_something(s))
		return;
	s->running = true;
	TAILQ_INSERT_TAIL(&s->vsock->run, s, link);
}

/* ---- the end of it ---- */

static void drop_buffer(struct stream *s)
{
	free(s->buf);
	s->buf = NULL;
	s->buf_start = s->buf_used = 0;
}

static void stop_running(struct stream *s)
{
	if (s->running)
		TAILQ_REMOVE(&s->vsock->run, s, link);
	s->running = false;
}

/* The host's side is over. */
static void drop_socket(struct stream *s)
{
	vsock_socket_close(s->vsock->host, &s->sock);
	drop_buffer(s);
	s->readable = false;
	s->deaf = true;
	vsock_host_retry(s->vsock->host);
}

void stream_drop(struct stream *s)
{
	struct vsock *v = s->vsock;

	stop_running(s);
	if (s->state == STREAM_LEFT)
		TAILQ_REMOVE(&v->left, s, link);
	else
		table_remove(s);
	drop_socket(s);
	v->streams--;
	free(s);
}

void stream_leave(struct stream *s)
{
	if (!s->buf_used) {
		stream_drop(s);
		return;
	}
	stop_running(s);
	table_remove(s);
	s->state = STREAM_LEFT;
	TAILQ_INSERT_TAIL(&s->vsock->left, s, link);
}

void stream_leave_all(struct vsock *v)
{
	for (unsigned i = 0; i < VSOCK_BUCKETS; i++) {
		while (v->bucket[i])
			stream_leave(v->bucket[i]);
	}
}

/* Both ways are done as far as the host goes: what remains is to agree with the guest on it. */
static void settle(struct stream *s)
{
	bool to_guest = s->eof || (s->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV);
	bool to_host = s->deaf || s->wr_done;

	if (s->state != STREAM_OPEN)
		return;
	if (s->deaf)
		s->shut |= VIRTIO_VSOCK_SHUTDOWN_RCV;
	if (s->eof)
		s->shut |= VIRTIO_VSOCK_SHUTDOWN_SEND;
	if (to_guest && to_host) {
		s->shut = SHUT_BOTH;
		drop_socket(s);
	}
}

void stream_end_of_file(struct stream *s)
{
	s->eof = true;
	if (s->hung_up)
		s->deaf = true;
	settle(s);
}

/* ---- to the host ---- */

/* The socket takes no more. Bytes that can go nowhere count as gone, so that no credit is lost. */
static void turn_deaf(struct stream *s)
{
	s->deaf = true;
	forwarded(s, s->buf_used);
	drop_buffer(s);
}

static ssize_t give(struct stream *s, struct iovec *part, unsigned count)
{
	struct msghdr msg = { .msg_iov = part, .msg_iovlen = count };
	ssize_t n;

	do
		n = sendmsg(s->sock.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return n;
	if (errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM)
		turn_deaf(s);
	return 0;
}

/* All that the guest sent is with the socket: pass on that it was the last. */
static void pass_end(struct stream *s)
{
	if (!(s->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) || s->wr_done || s->sock.fd < 0)
		return;
	s->wr_done = true;
	shutdown(s->sock.fd, SHUT_WR);
}

/* What the socket takes of the buffer. */
static void flush(struct stream *s)
{
	while (s->buf_used && !s->deaf) {
		uint32_t first = MIN(s->buf_used, s->buf_alloc - s->buf_start);
		struct iovec part[2] = { { s->buf + s->buf_start, first },
			{ s->buf, s->buf_used - first } };
		ssize_t n = give(s, part, part[1].iov_len ? 2 : 1);

		if (n <= 0)
			break;
		s->buf_start = (s->buf_start + (uint32_t)n) % s->buf_alloc;
		s->buf_used -= (uint32_t)n;
		forwarded(s, (uint32_t)n);
	}
	if (!s->buf_used) {
		drop_buffer(s);
		pass_end(s);
	}
	vsock_socket_want_out(s->vsock->host, &s->sock, s->buf_used > 0);
}

/* Copy what @part holds from byte @skip on behind what is in the buffer. The room was checked. */
static void keep(struct stream *s, const struct iovec *part, unsigned count, size_t skip)
{
	for (unsigned i = 0; i < count; i++) {
		const uint8_t *from = part[i].iov_base;
		size_t at = MIN(skip, part[i].iov_len);

		skip -= at;
		while (at < part[i].iov_len) {
			uint32_t end = (s->buf_start + s->buf_used) % s->buf_alloc;
			size_t room = MIN(s->buf_alloc - s->buf_used, s->buf_alloc - end);
			uint32_t n = (uint32_t)MIN(part[i].iov_len - at, room);

			memcpy(s->buf + end, from + at, n);
			s->buf_used += n;
			at += n;
		}
	}
}

int stream_put(struct stream *s, struct iovec *part, unsigned count, uint32_t len)
{
	ssize_t n = 0;

	/* By what it was told: what has left the buffer since then is not its credit yet. */
	if (len > s->buf_alloc - (s->fwd_cnt - s->fwd_told) - s->buf_used)
		return -EPROTO;
	if (!s->deaf && !s->buf_used) {
		n = give(s, part, count);
		forwarded(s, (uint32_t)n);
	}
	if (s->deaf) {
		forwarded(s, len - (uint32_t)n);
		settle(s);
	} else if (n < len) {
		if (!s->buf)
			s->buf = malloc(s->buf_alloc);
		if (!s->buf)
			return -ENOMEM;
		keep(s, part, count, (size_t)n);
		vsock_socket_want_out(s->vsock->host, &s->sock, true);
	}
	stream_wake(s);
	return 0;
}

void stream_guest_shut(struct stream *s, uint8_t how)
{
	s->guest_shut |= how;
	if (s->sock.fd < 0)
		return;
	if (how & VIRTIO_VSOCK_SHUTDOWN_RCV) {
		s->readable = false;
		shutdown(s->sock.fd, SHUT_RD);
	}
	if (!s->buf_used)
		pass_end(s);
	settle(s);
	stream_wake(s);
}

void stream_accepted(struct stream *s)
{
	char line[32];
	struct iovec part = { line, 0 };

	part.iov_len = (size_t)snprintf(line, sizeof(line), "OK %u\n", s->host_port);
	s->state = STREAM_OPEN;
	/* Nothing else was ever written to it, so there is room; if the caller is gone, no matter. */
	give(s, &part, 1);
	settle(s);
	stream_wake(s);
}

/* ---- what the socket says ---- */

/* Somebody who called and went before there was an answer. What he said may still be of interest. */
static void caller_went(struct stream *s)
{
	char c;

	if (recv(s->sock.fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
		return;
	if (s->owed & OWE_REQUEST) {
		stream_drop(s);
		return;
	}
	s->state = STREAM_GIVEN_UP;
	drop_socket(s);
}

static void on_ready(struct vsock_socket *sock, uint32_t events)
{
	struct stream *s = container_of(sock, struct stream, sock);

	if (events & (EPOLLHUP | EPOLLERR))
		s->hung_up = true;
	if (s->hung_up && s->state == STREAM_CALLING) {
		caller_went(s);
		return;
	}
	if (!(s->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV))
		s->readable = true;
	if (s->buf_used)
		flush(s);
	if (s->state == STREAM_LEFT) {
		if (!s->buf_used)
			stream_drop(s);
		return;
	}
	/* Nobody is there, and nothing is left to be read: the end. */
	if (s->hung_up && (s->eof || (s->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV)))
		turn_deaf(s);
	settle(s);
	stream_wake(s);
}

int stream_connect(struct stream *s, int fd, uint32_t taken)
{
	int r;

	s->sock.fd = fd;
	limit_socket(fd, s->buf_alloc);
	/* What the socket already has is told as an event, too. */
	r = vsock_socket_watch(s->vsock->host, &s->sock);
	if (r < 0) {
		close(fd);
		s->sock.fd = -1;
		return r;
	}
	forwarded(s, taken);
	return 0;
}

struct stream *stream_new(struct vsock *v, int fd, enum stream_state state, uint32_t host_port,
	uint32_t guest_port, uint8_t owed)
{
	struct stream **bucket = bucket_of(v, host_port, guest_port);
	struct stream *s = v->streams < VSOCK_STREAMS_MAX ? calloc(1, sizeof(*s)) : NULL;

	if (!s) {
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	s->sock = (struct vsock_socket){ .fd = -1, .ready = on_ready };
	s->vsock = v;
	s->host_port = host_port;
	s->guest_port = guest_port;
	s->state = state;
	s->owed = owed;
	s->batch = 1;
	s->buf_alloc = share(v);
	if (fd >= 0 && stream_connect(s, fd, 0) < 0) {
		free(s);
		return NULL;
	}
	s->chain = *bucket;
	*bucket = s;
	v->streams++;
	return s;
}
