/* Streams between a driver, good and bad, and programs of the host. */
#include "plug.h"
#include "virtio/vsock_parts.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

enum { SHUT_BOTH = VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND };

static int setup(void **state)
{
	struct plug *p = calloc(1, sizeof(*p));

	plug_open(p);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	plug_close(*state);
	free(*state);
	return 0;
}

static void gets_text(int fd, const char *text)
{
	char got[64] = "";

	assert_int_equal(recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT), strlen(text));
	assert_string_equal(got, text);
}

static void gets_end(int fd)
{
	char c;

	assert_int_equal(recv(fd, &c, 1, MSG_DONTWAIT), 0);
}

static void gets_nothing(int fd)
{
	char c;

	assert_int_equal(recv(fd, &c, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

/* ---- beginnings ---- */

static void test_guest_connects(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;
	int fd;

	plug_start(p, 8);
	fd = plug_connect(p, 1024);
	plug_send(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_OP_RW, "hello", 5);
	gets_text(fd, "hello");
	assert_int_equal(write(fd, "you too", 7), 7);
	plug_run(p);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RW, 1024, PLUG_SERVED);
	assert_int_equal(packet.hdr.len, 7);
	assert_int_equal(packet.hdr.fwd_cnt, 5);
	assert_int_equal(packet.hdr.src_cid, VSOCK_HOST_CID);
	assert_memory_equal(packet.data, "you too", 7);
	close(fd);
	plug_run(p);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_SHUTDOWN, 1024, PLUG_SERVED);
	assert_int_equal(packet.hdr.flags, SHUT_BOTH);
	plug_send(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_OP_RST, NULL, 0);
	plug_quiet(p);
}

static void test_host_calls(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;
	uint32_t port;
	char ok[32];
	int fd;

	plug_start(p, 8);
	fd = plug_call(p, "CONNECT 52\nearly");
	assert_true(plug_take(p, &packet));
	assert_int_equal(packet.hdr.op, VIRTIO_VSOCK_OP_REQUEST);
	assert_int_equal(packet.hdr.dst_port, 52);
	port = packet.hdr.src_port;
	plug_quiet(p);
	gets_nothing(fd);
	plug_send(p, 52, port, VIRTIO_VSOCK_OP_RESPONSE, NULL, 0);
	snprintf(ok, sizeof(ok), "OK %u\n", port);
	gets_text(fd, ok);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RW, 52, port);
	assert_int_equal(packet.hdr.len, 5);
	assert_memory_equal(packet.data, "early", 5);
	plug_send(p, 52, port, VIRTIO_VSOCK_OP_RW, "late", 4);
	gets_text(fd, "late");
	plug_send(p, 52, port, VIRTIO_VSOCK_OP_RST, NULL, 0);
	gets_end(fd);
	plug_quiet(p);
	close(fd);
}

static void test_calls_refused(void **state)
{
	static const char *const bad[] = { "CONNECT 4294967296\n", "CONNECT \n", "CONNECT 5",
		"CONNECT -1\n", "connect 5\n", "CONNECT 5 \n", "\n", "CONNECT 5\r\n",
		"CONNECT 000000000000000000000000000000005\n" };
	struct plug *p = *state;
	struct plug_packet packet;
	int fd;

	plug_start(p, 8);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		fd = plug_call(p, bad[i]);
		shutdown(fd, SHUT_WR);
		plug_run(p);
		plug_quiet(p);
		/* What was not read makes it a reset; else it is the plain end. */
		assert_true(recv(fd, &packet, 1, MSG_DONTWAIT) <= 0 && errno != EAGAIN);
		errno = 0;
		close(fd);
	}
	/* The guest says no. */
	fd = plug_call(p, "CONNECT 9\n");
	assert_true(plug_take(p, &packet));
	assert_int_equal(packet.hdr.op, VIRTIO_VSOCK_OP_REQUEST);
	plug_send(p, 9, packet.hdr.src_port, VIRTIO_VSOCK_OP_RST, NULL, 0);
	gets_end(fd);
	plug_quiet(p);
	close(fd);
}

/* A line that comes in pieces, and one that comes before there is a driver. */
static void test_call_takes_time(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;
	int fd = plug_call(p, "CONN");

	plug_start(p, 8);
	plug_quiet(p);
	assert_int_equal(write(fd, "ECT 77", 6), 6);
	plug_run(p);
	plug_quiet(p);
	assert_int_equal(write(fd, "\n", 1), 1);
	plug_run(p);
	assert_true(plug_take(p, &packet));
	assert_int_equal(packet.hdr.op, VIRTIO_VSOCK_OP_REQUEST);
	assert_int_equal(packet.hdr.dst_port, 77);
	close(fd);
}

/* Whoever goes before the guest has answered: the answer finds nobody. */
static void test_caller_goes(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;
	uint32_t port;

	plug_start(p, 8);
	close(plug_call(p, "CONNECT 9\n"));
	assert_true(plug_take(p, &packet));
	assert_int_equal(packet.hdr.op, VIRTIO_VSOCK_OP_REQUEST);
	port = packet.hdr.src_port;
	plug_run(p);
	plug_quiet(p);
	plug_send(p, 9, port, VIRTIO_VSOCK_OP_RESPONSE, NULL, 0);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 9, port);
	plug_quiet(p);
	/* But who said something and went is heard. */
	close(plug_call(p, "CONNECT 9\nhello"));
	assert_true(plug_take(p, &packet));
	port = packet.hdr.src_port;
	plug_run(p);
	plug_send(p, 9, port, VIRTIO_VSOCK_OP_RESPONSE, NULL, 0);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RW, 9, port);
	assert_memory_equal(packet.data, "hello", 5);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_SHUTDOWN, 9, port);
	assert_int_equal(packet.hdr.flags, SHUT_BOTH);
}

static void test_given_socket(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;

	plug_start(p, 8);
	plug_send(p, 1, PLUG_GIVEN, VIRTIO_VSOCK_OP_REQUEST, NULL, 0);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RESPONSE, 1, PLUG_GIVEN);
	plug_send(p, 2, PLUG_GIVEN, VIRTIO_VSOCK_OP_REQUEST, NULL, 0);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 2, PLUG_GIVEN);
	plug_send(p, 1, PLUG_GIVEN, VIRTIO_VSOCK_OP_RW, "first", 5);
	gets_text(p->given, "first");
	plug_shutdown(p, 1, PLUG_GIVEN, SHUT_BOTH);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 1, PLUG_GIVEN);
	gets_end(p->given);
	plug_send(p, 1, PLUG_GIVEN, VIRTIO_VSOCK_OP_REQUEST, NULL, 0);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 1, PLUG_GIVEN);
}

static void ask_keyed(struct plug *p, uint32_t guest_port, const void *said, size_t len)
{
	struct plug_packet packet;

	plug_send(p, guest_port, PLUG_KEYED, VIRTIO_VSOCK_OP_REQUEST, NULL, 0);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RESPONSE, guest_port, PLUG_KEYED);
	assert_true(accept4(p->served, NULL, NULL, SOCK_NONBLOCK) < 0);
	plug_send(p, guest_port, PLUG_KEYED, VIRTIO_VSOCK_OP_RW, said, len);
}

/* Who does not say the key is refused, and nothing on the host hears of him. */
static void test_keyed_port(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;
	int fd;

	plug_start(p, 8);
	ask_keyed(p, 1, "0123456789abcdeX", 16);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 1, PLUG_KEYED);
	ask_keyed(p, 1, "0123456789abcde", 15);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 1, PLUG_KEYED);
	ask_keyed(p, 1, "0123456789abcdef and more", 25);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 1, PLUG_KEYED);
	assert_true(accept4(p->served, NULL, NULL, SOCK_NONBLOCK) < 0);
	ask_keyed(p, 1023, PLUG_KEY, VSOCK_KEY_BYTES);
	plug_quiet(p);
	fd = accept4(p->served, NULL, NULL, SOCK_NONBLOCK);
	assert_return_code(fd, errno);
	plug_send(p, 1023, PLUG_KEYED, VIRTIO_VSOCK_OP_RW, "hello", 5);
	gets_text(fd, "hello");
	assert_int_equal(write(fd, "back", 4), 4);
	plug_run(p);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RW, 1023, PLUG_KEYED);
	assert_memory_equal(packet.data, "back", 4);
	assert_int_equal(packet.hdr.fwd_cnt, VSOCK_KEY_BYTES + 5);
	close(fd);
}

/* One that goes without saying it, and one that stays. */
static void test_keyed_port_left(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;

	plug_start(p, 8);
	plug_send(p, 1, PLUG_KEYED, VIRTIO_VSOCK_OP_REQUEST, NULL, 0);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RESPONSE, 1, PLUG_KEYED);
	plug_shutdown(p, 1, PLUG_KEYED, VIRTIO_VSOCK_SHUTDOWN_SEND);
	plug_shutdown(p, 1, PLUG_KEYED, SHUT_BOTH);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 1, PLUG_KEYED);
	plug_send(p, 2, PLUG_KEYED, VIRTIO_VSOCK_OP_REQUEST, NULL, 0);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RESPONSE, 2, PLUG_KEYED);
	plug_send(p, 2, PLUG_KEYED, VIRTIO_VSOCK_OP_CREDIT_REQUEST, NULL, 0);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 2, PLUG_KEYED);
	plug_quiet(p);
}

static void test_any_other_port(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), far;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/other_4294967294", p->dir);
	assert_return_code(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), errno);
	assert_return_code(listen(fd, 0), errno);
	plug_start(p, 8);
	plug_send(p, 1, 4294967294, VIRTIO_VSOCK_OP_REQUEST, NULL, 0);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RESPONSE, 1, 4294967294);
	plug_send(p, 1, 3, VIRTIO_VSOCK_OP_REQUEST, NULL, 0);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 1, 3);
	/* A server that does not come to accept: refused, never waited for. */
	plug_send(p, 2, 4294967294, VIRTIO_VSOCK_OP_REQUEST, NULL, 0);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 2, 4294967294);
	far = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
	plug_send(p, 1, 4294967294, VIRTIO_VSOCK_OP_RW, "x", 1);
	gets_text(far, "x");
	close(far);
	close(fd);
}

/* ---- much data ---- */

/* Bytes that tell where they stand. */
static uint8_t byte_at(size_t n)
{
	return (uint8_t)(n ^ n >> 8 ^ n >> 16 ^ 0x5a);
}

static void fill(uint8_t *to, size_t from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = byte_at(from + i);
}

static void check(const uint8_t *data, size_t from, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (data[i] != byte_at(from + i))
			fail_msg("byte %zu is wrong", from + i);
	}
}

/* What there is to be read of @fd, checked. */
static size_t drink(int fd, size_t from)
{
	static uint8_t data[65536];
	size_t had = 0;
	ssize_t n;

	while ((n = recv(fd, data, sizeof(data), MSG_DONTWAIT)) > 0) {
		check(data, from + had, (size_t)n);
		had += (size_t)n;
	}
	return had;
}

/* The guest's end of one stream, which keeps its books as a good driver does. */
struct guest {
	struct plug *p;
	uint32_t port;
	uint32_t sent, fwd, alloc; /* to the host */
	uint32_t got;		   /* from it */
	bool ended;
};

static void note(struct guest *g, const struct plug_packet *packet)
{
	g->fwd = packet->hdr.fwd_cnt;
	g->alloc = packet->hdr.buf_alloc;
	if (packet->hdr.op == VIRTIO_VSOCK_OP_RW) {
		check(packet->data, g->got, packet->hdr.len);
		g->got += packet->hdr.len;
	}
	if (packet->hdr.op == VIRTIO_VSOCK_OP_SHUTDOWN &&
		(packet->hdr.flags & VIRTIO_VSOCK_SHUTDOWN_SEND))
		g->ended = true;
}

static void take_all(struct guest *g)
{
	struct plug_packet packet;

	while (plug_take(g->p, &packet)) {
		assert_int_equal(packet.hdr.dst_port, g->port);
		note(g, &packet);
	}
}

static void guest_open(struct guest *g, struct plug *p, uint32_t port)
{
	*g = (struct guest){ .p = p, .port = port, .alloc = 256 * KIB };
}

/* As much of @want as there is credit for. */
static void guest_send(struct guest *g, size_t want)
{
	static uint8_t data[65536];
	uint32_t room = g->alloc - (g->sent - g->fwd);
	uint32_t n = (uint32_t)(want < sizeof(data) ? want : sizeof(data));

	n = MIN(n, room);
	if (!n)
		return;
	fill(data, g->sent, n);
	plug_send(g->p, g->port, PLUG_SERVED, VIRTIO_VSOCK_OP_RW, data, n);
	g->sent += n;
}

static void test_to_the_host(void **state)
{
	enum { TOTAL = 20 * 1024 * 1024 };
	struct plug *p = *state;
	struct guest g;
	size_t had = 0;
	int fd;

	plug_start(p, 32);
	fd = plug_connect(p, 1024);
	guest_open(&g, p, 1024);
	srandom(1);
	while (had < TOTAL) {
		guest_send(&g, MIN(1 + (size_t)random() % 65536, (size_t)TOTAL - g.sent));
		if (random() % 3 == 0) {
			had += drink(fd, had);
			plug_run(p);
		}
		take_all(&g);
	}
	assert_int_equal(g.sent, TOTAL);
	close(fd);
}

static void test_to_the_guest(void **state)
{
	enum { TOTAL = 20 * 1024 * 1024 };
	struct plug *p = *state;
	struct guest g;
	size_t put = 0;
	int fd;

	p->rx_bytes = 1000; /* not what anything is a multiple of */
	plug_start(p, 32);
	fd = plug_connect(p, 1024);
	guest_open(&g, p, 1024);
	srandom(2);
	while (g.got < TOTAL) {
		static uint8_t data[65536];
		size_t len = MIN(1 + (size_t)random() % sizeof(data), TOTAL - put);
		ssize_t n;

		fill(data, put, len);
		n = write(fd, data, len);
		put += n > 0 ? (size_t)n : 0;
		plug_run(p);
		take_all(&g);
		/* The guest's books come late, so that its credit runs out now and then. */
		if (random() % 4 == 0) {
			p->hdr.fwd_cnt = g.got;
			plug_send(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_OP_CREDIT_UPDATE, NULL, 0);
			take_all(&g);
		}
	}
	close(fd);
}

/* ---- credit ---- */

static void test_credit_to_the_guest(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;
	struct guest g;
	uint8_t data[3000];
	int fd;

	plug_start(p, 8);
	p->hdr.buf_alloc = 1000;
	fd = plug_connect(p, 1024);
	guest_open(&g, p, 1024);
	fill(data, 0, sizeof(data));
	assert_int_equal(write(fd, data, sizeof(data)), sizeof(data));
	plug_run(p);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RW, 1024, PLUG_SERVED);
	note(&g, &packet);
	assert_int_equal(g.got, 1000);
	/* It asks once, and an answer without credit does not make it ask again. */
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 1024, PLUG_SERVED);
	plug_send(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_OP_CREDIT_UPDATE, NULL, 0);
	plug_quiet(p);
	p->hdr.fwd_cnt = 300;
	plug_send(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_OP_CREDIT_UPDATE, NULL, 0);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RW, 1024, PLUG_SERVED);
	note(&g, &packet);
	assert_int_equal(g.got, 1300);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 1024, PLUG_SERVED);
	/* A smaller buffer than what is under way, and counters that cannot be: no credit. */
	p->hdr.buf_alloc = 500;
	plug_send(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_OP_CREDIT_UPDATE, NULL, 0);
	p->hdr.fwd_cnt = 5000;
	plug_send(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_OP_CREDIT_UPDATE, NULL, 0);
	plug_quiet(p);
	p->hdr.fwd_cnt = 1300;
	p->hdr.buf_alloc = 100000;
	plug_send(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_OP_CREDIT_UPDATE, NULL, 0);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RW, 1024, PLUG_SERVED);
	note(&g, &packet);
	assert_int_equal(g.got, 3000);
	plug_quiet(p);
	/* The guest asks, too. */
	plug_send(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_OP_CREDIT_REQUEST, NULL, 0);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 1024, PLUG_SERVED);
	close(fd);
}

static void test_counters_wrap(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;
	struct stream *s;
	uint8_t data[3000];
	int fd;

	plug_start(p, 8);
	p->hdr.buf_alloc = 2000;
	fd = plug_connect(p, 1024);
	s = stream_find(vsock_of(p->device), PLUG_SERVED, 1024);
	s->tx_cnt = s->peer_fwd = p->hdr.fwd_cnt = UINT32_MAX - 99;
	s->fwd_cnt = s->fwd_told = UINT32_MAX - 9;
	fill(data, 0, sizeof(data));
	assert_int_equal(write(fd, data, sizeof(data)), sizeof(data));
	plug_run(p);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RW, 1024, PLUG_SERVED);
	assert_int_equal(packet.hdr.len, 2000);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 1024, PLUG_SERVED);
	p->hdr.fwd_cnt = 400; /* 500 on */
	plug_send(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_OP_RW, data, 300);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RW, 1024, PLUG_SERVED);
	assert_int_equal(packet.hdr.len, 500);
	assert_int_equal(packet.hdr.fwd_cnt, 290);
	assert_int_equal(drink(fd, 0), 300);
	close(fd);
}

/* ---- ends ---- */

static void test_guest_half_closes(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;
	int fd;

	plug_start(p, 8);
	fd = plug_connect(p, 1024);
	plug_send(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_OP_RW, "question", 8);
	plug_shutdown(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_SHUTDOWN_SEND);
	gets_text(fd, "question");
	gets_end(fd);
	assert_int_equal(write(fd, "answer", 6), 6);
	plug_run(p);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RW, 1024, PLUG_SERVED);
	assert_memory_equal(packet.data, "answer", 6);
	plug_quiet(p);
	shutdown(fd, SHUT_WR);
	plug_run(p);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_SHUTDOWN, 1024, PLUG_SERVED);
	assert_int_equal(packet.hdr.flags, SHUT_BOTH);
	plug_shutdown(p, 1024, PLUG_SERVED, SHUT_BOTH);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 1024, PLUG_SERVED);
	plug_quiet(p);
	close(fd);
}

static void test_host_half_closes(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;
	int fd;

	plug_start(p, 8);
	fd = plug_connect(p, 1024);
	assert_int_equal(write(fd, "question", 8), 8);
	shutdown(fd, SHUT_WR);
	plug_run(p);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RW, 1024, PLUG_SERVED);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_SHUTDOWN, 1024, PLUG_SERVED);
	assert_int_equal(packet.hdr.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
	plug_send(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_OP_RW, "answer", 6);
	plug_quiet(p);
	plug_shutdown(p, 1024, PLUG_SERVED, SHUT_BOTH);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 1024, PLUG_SERVED);
	gets_text(fd, "answer");
	gets_end(fd);
	close(fd);
}

static void test_guest_stops_reading(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;
	int fd;

	plug_start(p, 8);
	fd = plug_connect(p, 1024);
	plug_shutdown(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_SHUTDOWN_RCV);
	assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	plug_send(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_OP_RW, "still", 5);
	gets_text(fd, "still");
	plug_quiet(p);
	plug_shutdown(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_SHUTDOWN_SEND);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 1024, PLUG_SERVED);
	gets_end(fd);
	close(fd);
}

static void test_host_stops_reading(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;
	int fd;

	plug_start(p, 8);
	fd = plug_connect(p, 1024);
	shutdown(fd, SHUT_RD);
	plug_send(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_OP_RW, "lost", 4);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_SHUTDOWN, 1024, PLUG_SERVED);
	assert_int_equal(packet.hdr.flags, VIRTIO_VSOCK_SHUTDOWN_RCV);
	/* What was under way costs no credit. */
	assert_int_equal(packet.hdr.fwd_cnt, 4);
	plug_send(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_OP_RW, "lost", 4);
	plug_quiet(p);
	assert_int_equal(write(fd, "still", 5), 5);
	close(fd);
	plug_run(p);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RW, 1024, PLUG_SERVED);
	assert_int_equal(packet.hdr.fwd_cnt, 8);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_SHUTDOWN, 1024, PLUG_SERVED);
	assert_int_equal(packet.hdr.flags, SHUT_BOTH);
}

/* A guest that has closed may use its port again, while the host still reads what it sent. */
static void test_last_bytes(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;
	struct guest g;
	size_t had = 0;
	int fd, again;

	plug_start(p, 8);
	fd = plug_connect(p, 1024);
	guest_open(&g, p, 1024);
	for (unsigned i = 0; i < 20; i++) {
		guest_send(&g, 65536);
		take_all(&g);
	}
	assert_true(g.sent > 256 * KIB);
	plug_shutdown(p, 1024, PLUG_SERVED, SHUT_BOTH);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 1024, PLUG_SERVED);
	again = plug_connect(p, 1024);
	while (had < g.sent) {
		size_t n = drink(fd, had);

		assert_true(n > 0);
		had += n;
		plug_run(p);
	}
	gets_end(fd);
	plug_quiet(p);
	plug_send(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_OP_RW, "new", 3);
	gets_text(again, "new");
	close(fd);
	close(again);
}

/* The same across a reset of the device, and across the end of the machine. */
static void test_last_bytes_of_all(void **state)
{
	struct plug *p = *state;
	struct guest g;
	size_t had = 0;
	int fd;

	plug_start(p, 8);
	fd = plug_connect(p, 1024);
	guest_open(&g, p, 1024);
	for (unsigned i = 0; i < 20; i++) {
		guest_send(&g, 65536);
		take_all(&g);
	}
	plug_reset(p);
	while (had < 200 * 1024)
		had += drink(fd, had);
	plug_start(p, 8); /* writes on, for there is a worker */
	had += drink(fd, had);
	plug_reset(p);
	while (had < g.sent) {
		virtio_vsock_drain(p->device, 20);
		had += drink(fd, had);
	}
	close(fd);
}

/* What was in the queue when the machine went off, without a kick even, was sent. */
static void test_sent_at_the_end(void **state)
{
	struct plug *p = *state;
	struct virtio_vsock_hdr hdr;
	int fd;

	plug_start(p, 8);
	fd = plug_connect(p, 1024);
	hdr = p->hdr;
	hdr.src_port = 1024;
	hdr.dst_port = PLUG_SERVED;
	hdr.op = VIRTIO_VSOCK_OP_RW;
	hdr.len = 4;
	plug_queue(p, &hdr, "last", 4);
	plug_queue(p, &hdr, "word", 4);
	virtio_device_quiesce(p->device);
	gets_text(fd, "lastword");
	gets_end(fd);
	close(fd);
}

/* ---- many ---- */

static void test_many_streams(void **state)
{
	enum { STREAMS = 1200 };
	struct plug *p = *state;
	struct plug_packet packet;
	int fd[STREAMS];

	plug_start(p, 16);
	for (uint32_t i = 0; i < STREAMS; i++) {
		struct stream *s;
		int room;
		socklen_t len = sizeof(room);

		fd[i] = plug_connect(p, 2000 + i);
		/* The more there are, the less each may make us, and the kernel, hold. */
		s = stream_find(vsock_of(p->device), PLUG_SERVED, 2000 + i);
		assert_int_equal(getsockopt(s->sock.fd, SOL_SOCKET, SO_SNDBUF, &room, &len), 0);
		assert_int_equal(s->buf_alloc, i < 128 ? 262144 : i < 1024 ? 65536 : 16384);
		assert_true(room <= (int)s->buf_alloc);
	}
	for (uint32_t i = 0; i < STREAMS; i++) {
		plug_send(p, 2000 + i, PLUG_SERVED, VIRTIO_VSOCK_OP_RW, &i, sizeof(i));
		assert_int_equal(write(fd[i], &i, sizeof(i)), sizeof(i));
	}
	plug_run(p);
	for (uint32_t i = 0; i < STREAMS; i++) {
		uint32_t got = 0;

		assert_int_equal(recv(fd[i], &got, sizeof(got), MSG_DONTWAIT), sizeof(got));
		assert_int_equal(got, i);
		assert_true(plug_take(p, &packet));
		assert_int_equal(packet.hdr.op, VIRTIO_VSOCK_OP_RW);
		memcpy(&got, packet.data, sizeof(got));
		assert_int_equal(packet.hdr.dst_port, 2000 + got);
	}
	for (uint32_t i = 0; i < STREAMS; i++)
		close(fd[i]);
	plug_run(p);
	for (uint32_t i = 0; i < STREAMS; i++) {
		assert_true(plug_take(p, &packet));
		assert_int_equal(packet.hdr.op, VIRTIO_VSOCK_OP_SHUTDOWN);
		plug_send(p, packet.hdr.dst_port, PLUG_SERVED, VIRTIO_VSOCK_OP_RST, NULL, 0);
	}
	assert_int_equal(vsock_of(p->device)->streams, 0);
}

static void test_slow_reader(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;
	struct guest slow;
	int fd, quick;

	plug_start(p, 8);
	fd = plug_connect(p, 1);
	quick = plug_connect(p, 2);
	guest_open(&slow, p, 1);
	for (unsigned i = 0; i < 20; i++) {
		guest_send(&slow, 65536);
		take_all(&slow);
	}
	assert_int_equal(slow.sent - slow.fwd, slow.alloc);
	/* One that the guest does not read, either. */
	p->hdr.buf_alloc = 10;
	plug_send(p, 1, PLUG_SERVED, VIRTIO_VSOCK_OP_CREDIT_UPDATE, NULL, 0);
	assert_int_equal(write(fd, "0123456789abcdef", 16), 16);
	plug_run(p);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RW, 1, PLUG_SERVED);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 1, PLUG_SERVED);
	slow.fwd = packet.hdr.fwd_cnt; /* the last that the guest has heard */
	guest_send(&slow, 65536);
	assert_int_equal(slow.sent - slow.fwd, slow.alloc);
	p->hdr.buf_alloc = PLUG_ALLOC;
	for (unsigned i = 0; i < 1000; i++) {
		plug_send(p, 2, PLUG_SERVED, VIRTIO_VSOCK_OP_RW, "ping", 4);
		gets_text(quick, "ping");
		assert_int_equal(write(quick, "pong", 4), 4);
		plug_run(p);
		plug_expect(p, &packet, VIRTIO_VSOCK_OP_RW, 2, PLUG_SERVED);
	}
	plug_quiet(p);
	/* One byte more than there is credit for: that stream is over, the other is not. */
	plug_send(p, 1, PLUG_SERVED, VIRTIO_VSOCK_OP_RW, "x", 1);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 1, PLUG_SERVED);
	plug_send(p, 2, PLUG_SERVED, VIRTIO_VSOCK_OP_RW, "ping", 4);
	gets_text(quick, "ping");
	close(fd);
	close(quick);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_guest_connects, setup, teardown),
		cmocka_unit_test_setup_teardown(test_host_calls, setup, teardown),
		cmocka_unit_test_setup_teardown(test_calls_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_call_takes_time, setup, teardown),
		cmocka_unit_test_setup_teardown(test_caller_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_given_socket, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keyed_port, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keyed_port_left, setup, teardown),
		cmocka_unit_test_setup_teardown(test_any_other_port, setup, teardown),
		cmocka_unit_test_setup_teardown(test_to_the_host, setup, teardown),
		cmocka_unit_test_setup_teardown(test_to_the_guest, setup, teardown),
		cmocka_unit_test_setup_teardown(test_credit_to_the_guest, setup, teardown),
		cmocka_unit_test_setup_teardown(test_counters_wrap, setup, teardown),
		cmocka_unit_test_setup_teardown(test_guest_half_closes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_host_half_closes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_guest_stops_reading, setup, teardown),
		cmocka_unit_test_setup_teardown(test_host_stops_reading, setup, teardown),
		cmocka_unit_test_setup_teardown(test_last_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_last_bytes_of_all, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sent_at_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_streams, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slow_reader, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
