/*
 * User-mode networking: a guest that speaks just enough ARP, UDP and TCP by hand, against sockets of
 * a network namespace of the test's own.
 */
#include "bed.h"
#include "util/macros.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <netinet/if_ether.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define GUEST  "10.0.2.15"
#define ROUTER "10.0.2.2"

enum { UDP_PORT = 4001, FORWARD_UDP = 4002, FORWARD_TCP = 4003, GUEST_PORT = 77, KEEP = 256 };

/* The frames that reached the guest, and buffers for as many as `budget` says. */
struct guest {
	struct net *net;
	struct net_port *port;
	struct worker *worker;
	struct net_sink sink;
	struct net_rx rx;
	struct iovec iov[3];
	uint8_t buf[ROOM];
	size_t room;
	unsigned budget;
	bool wrong;
	struct {
		size_t len;
		uint8_t *data;
	} frame[KEEP];
	atomic_uint frames;
};

static const uint8_t guest_mac[6] = { 2, 0, 0, 0, 0, 9 };

static struct net_rx *take(struct net_sink *sink, size_t want)
{
	struct guest *g = container_of(sink, struct guest, sink);

	if (!g->budget)
		return NULL;
	g->budget--;
	g->iov[0] = (struct iovec){ g->buf, 30 };
	g->iov[1] = (struct iovec){ g->buf + 30, g->room - 30 };
	g->rx.iov = g->iov;
	g->rx.iov_count = 2;
	g->rx.bytes = g->room;
	return &g->rx;
}

static void deliver(struct net_sink *sink, struct net_rx *rx, size_t len, const uint8_t *spill)
{
	struct guest *g = container_of(sink, struct guest, sink);
	unsigned n = atomic_load(&g->frames);
	static const struct virtio_net_hdr_v1 plain;

	if (len > g->room)
		memcpy(g->buf + g->room, spill, len - g->room);
	if (len < NET_HEADER || memcmp(g->buf, &plain, NET_HEADER))
		g->wrong = true;
	if (n >= KEEP)
		return;
	g->frame[n].len = len - NET_HEADER;
	g->frame[n].data = malloc(len);
	memcpy(g->frame[n].data, g->buf + NET_HEADER, len - NET_HEADER);
	atomic_store(&g->frames, n + 1);
}

static void give_back(struct net_sink *sink, struct net_rx *rx)
{
}

static void do_open(void *arg)
{
	struct guest *g = arg;

	net_rx_start(g->port, &g->sink);
}

static void do_close(void *arg)
{
	struct guest *g = arg;

	net_rx_stop(g->port);
	net_tx_stop(g->port);
}

static void do_more(void *arg)
{
	struct guest *g = arg;

	g->budget += 1000;
	net_rx_ready(g->port);
}

/* Buffers for two more, so small that a part of each packet is in the spill. */
static void do_narrow(void *arg)
{
	struct guest *g = arg;

	g->room = 64;
	g->budget = 2;
}

/* ---- sending by hand ---- */

struct packet {
	struct net_tx tx;
	struct guest *guest;
	struct iovec iov[2];
	uint8_t data[NET_HEADER + 2048];
	bool done;
};

static void tx_done(struct net_tx *tx, int res)
{
	container_of(tx, struct packet, tx)->done = true;
}

static void do_send(void *arg)
{
	struct packet *p = arg;

	net_send(p->guest->port, &p->tx);
}

/* @len bytes of frame at @p->data + NET_HEADER. The header in front is nonsense on purpose. */
static void send_packet(struct packet *p, size_t len)
{
	memset(p->data, 0xff, NET_HEADER);
	p->tx.done = tx_done;
	p->iov[0] = (struct iovec){ p->data, 20 };
	p->iov[1] = (struct iovec){ p->data + 20, NET_HEADER + len - 20 };
	p->tx.iov = p->iov;
	p->tx.iov_count = 2;
	on_worker(p->guest->worker, do_send, p);
	assert_true(p->done);
}

static uint16_t sum(const void *data, size_t len, uint32_t start)
{
	const uint8_t *p = data;
	uint32_t s = start;

	for (size_t i = 0; i + 1 < len; i += 2)
		s += (uint32_t)(p[i] << 8 | p[i + 1]);
	if (len % 2)
		s += (uint32_t)(p[len - 1] << 8);
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return htons((uint16_t)~s);
}

static void announce(struct guest *g)
{
	struct packet *p = calloc(1, sizeof(*p));
	struct ether_arp *arp = (void *)(p->data + NET_HEADER + 14);
	struct ether_header *eth = (void *)(p->data + NET_HEADER);
	in_addr_t ip = inet_addr(GUEST);

	p->guest = g;
	memset(eth->ether_dhost, 0xff, 6);
	memcpy(eth->ether_shost, guest_mac, 6);
	eth->ether_type = htons(ETHERTYPE_ARP);
	arp->arp_hrd = htons(1);
	arp->arp_pro = htons(ETHERTYPE_IP);
	arp->arp_hln = 6;
	arp->arp_pln = 4;
	arp->arp_op = htons(ARPOP_REQUEST);
	memcpy(arp->arp_sha, guest_mac, 6);
	memcpy(arp->arp_spa, &ip, 4);
	memcpy(arp->arp_tpa, &ip, 4);
	send_packet(p, 14 + sizeof(*arp));
	free(p);
}

static void send_udp(struct guest *g, const char *to, uint16_t port, const char *text)
{
	struct packet *p = calloc(1, sizeof(*p));
	struct ether_header *eth = (void *)(p->data + NET_HEADER);
	struct iphdr *ip = (void *)(p->data + NET_HEADER + 14);
	struct udphdr *udp = (void *)(p->data + NET_HEADER + 34);
	size_t len = strlen(text);

	p->guest = g;
	memcpy(eth->ether_shost, guest_mac, 6);
	eth->ether_type = htons(ETHERTYPE_IP);
	*ip = (struct iphdr){ .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP };
	ip->tot_len = htons((uint16_t)(28 + len));
	ip->saddr = inet_addr(GUEST);
	ip->daddr = inet_addr(to);
	ip->check = sum(ip, 20, 0);
	udp->source = htons(GUEST_PORT);
	udp->dest = htons(port);
	udp->len = htons((uint16_t)(8 + len));
	memcpy(udp + 1, text, len);
	send_packet(p, 42 + len);
	free(p);
}

/* The next frame from @from on that is IP with @protocol: its index, or KEEP if none comes. */
static unsigned await_ip(struct guest *g, unsigned from, int protocol)
{
	for (int ms = 0; ms < 3000; ms++) {
		for (; from < atomic_load(&g->frames); from++) {
			const uint8_t *f = g->frame[from].data;

			if (f[12] == 8 && f[13] == 0 && f[14 + 9] == protocol)
				return from;
		}
		usleep(1000);
	}
	return KEEP;
}

/* ---- set-up ---- */

static struct guest *guest_up(const struct net_forward *forward, unsigned forwards)
{
	struct guest *g = calloc(1, sizeof(*g));
	struct worker_params params = {
		.name = "user", .kind = WORKER_USER_NET, .sandbox = BED_SANDBOX
	};
	struct error err = { 0 };

	if (net_open_user(&g->net, forward, forwards, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(net_worker_kind(g->net), WORKER_USER_NET);
	assert_int_equal(net_pairs(g->net), 1);
	assert_int_equal(net_offloads(g->net), 0);
	g->sink = (struct net_sink){ take, deliver, give_back };
	g->room = ROOM;
	g->budget = 1000000;
	assert_int_equal(worker_create(&g->worker, &params, &err), 0);
	assert_int_equal(net_attach(g->net, 0, g->worker, &g->port, &err), 0);
	if (worker_start(g->worker, &err) < 0)
		fail_msg("%s", err.msg);
	on_worker(g->worker, do_open, g);
	announce(g);
	return g;
}

static void guest_down(struct guest *g)
{
	on_worker(g->worker, do_close, g);
	worker_destroy(g->worker);
	net_close(g->net);
	assert_false(g->wrong);
	for (unsigned i = 0; i < atomic_load(&g->frames); i++)
		free(g->frame[i].data);
	free(g);
}

static int host_socket(int type, uint16_t port, bool connected)
{
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), on = 1;
	struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval patience = { .tv_sec = 3 };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (connected)
		assert_int_equal(connect(fd, (void *)&at, sizeof(at)), 0);
	else
		assert_int_equal(bind(fd, (void *)&at, sizeof(at)), 0);
	return fd;
}

/* ---- tests ---- */

static void test_udp_out_and_back(void **state)
{
	struct guest *g = guest_up(NULL, 0);
	int fd = host_socket(SOCK_DGRAM, UDP_PORT, false);
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	char buf[64] = "";
	unsigned n;

	send_udp(g, ROUTER, UDP_PORT, "hello host");
	assert_int_equal(recvfrom(fd, buf, sizeof(buf), 0, (void *)&from, &len), 10);
	assert_memory_equal(buf, "hello host", 10);
	assert_int_equal(sendto(fd, "hello guest", 11, 0, (void *)&from, len), 11);
	n = await_ip(g, 0, IPPROTO_UDP);
	assert_int_not_equal(n, KEEP);
	assert_memory_equal(g->frame[n].data, guest_mac, 6);
	assert_memory_equal(g->frame[n].data + 42, "hello guest", 11);
	close(fd);
	guest_down(g);
}

static void test_forward_udp(void **state)
{
	struct net_forward forward = { true, "127.0.0.1", FORWARD_UDP, 53 };
	struct guest *g = guest_up(&forward, 1);
	int fd = host_socket(SOCK_DGRAM, FORWARD_UDP, true);
	const struct udphdr *udp;
	unsigned n;

	assert_int_equal(send(fd, "question", 8, 0), 8);
	n = await_ip(g, 0, IPPROTO_UDP);
	assert_int_not_equal(n, KEEP);
	udp = (const void *)(g->frame[n].data + 34);
	assert_int_equal(ntohs(udp->dest), 53);
	assert_memory_equal(udp + 1, "question", 8);
	close(fd);
	guest_down(g);
}

static void test_forward_tcp(void **state)
{
	struct net_forward forward = { false, "0.0.0.0", FORWARD_TCP, 22 };
	struct guest *g = guest_up(&forward, 1);
	int fd = host_socket(SOCK_STREAM, FORWARD_TCP, true);
	const struct tcphdr *tcp;
	unsigned n = await_ip(g, 0, IPPROTO_TCP);

	assert_int_not_equal(n, KEEP);
	tcp = (const void *)(g->frame[n].data + 34);
	assert_int_equal(ntohs(tcp->dest), 22);
	assert_true(tcp->syn && !tcp->ack);
	close(fd);
	guest_down(g);
}

/* A driver without buffers: what came meanwhile is there when it has some. */
static void test_backlog(void **state)
{
	struct net_forward forward = { true, "127.0.0.1", FORWARD_UDP, 53 };
	struct guest *g = guest_up(&forward, 1);
	int fd = host_socket(SOCK_DGRAM, FORWARD_UDP, true);
	unsigned n = 0;

	on_worker(g->worker, do_narrow, g);
	send_udp(g, ROUTER, UDP_PORT, "to find the way");
	for (unsigned i = 0; i < 100; i++) {
		char text[100];

		memset(text, 'a' + i % 26, sizeof(text));
		assert_int_equal(send(fd, text, sizeof(text), 0), sizeof(text));
	}
	usleep(50000);
	assert_true(atomic_load(&g->frames) <= 4);
	on_worker(g->worker, do_more, g);
	for (unsigned i = 0; i < 100; i++) {
		n = await_ip(g, n, IPPROTO_UDP);
		assert_int_not_equal(n, KEEP);
		assert_int_equal(g->frame[n].data[42], 'a' + i % 26);
		assert_int_equal(g->frame[n].data[141], 'a' + i % 26);
		n++;
	}
	close(fd);
	guest_down(g);
}

/* Whatever a guest sends, libslirp is asked to make sense of it and lives. */
static void test_nonsense(void **state)
{
	struct guest *g = guest_up(NULL, 0);
	struct packet *p = calloc(1, sizeof(*p));
	unsigned seed = 1;

	p->guest = g;
	for (unsigned i = 0; i < 2000; i++) {
		size_t len = (unsigned)rand_r(&seed) % 200 + 10;

		for (size_t k = 0; k < len; k++)
			p->data[NET_HEADER + k] = (uint8_t)rand_r(&seed);
		p->data[NET_HEADER + 12] = 8;
		p->data[NET_HEADER + 13] = i % 3 ? 0 : 6;
		if (i % 2)
			p->data[NET_HEADER + 14] = 0x45;
		send_packet(p, len);
	}
	free(p);
	guest_down(g);
}

static void expect_error(const struct net_forward *f, enum error_kind kind, const char *words)
{
	struct error err = { 0 };
	struct net *net = NULL;

	assert_true(net_open_user(&net, f, 1, &err) < 0);
	assert_null(net);
	assert_int_equal(err.kind, kind);
	if (!strstr(err.msg, words))
		fail_msg("%s", err.msg);
}

static void test_forward_errors(void **state)
{
	int udp = host_socket(SOCK_DGRAM, FORWARD_UDP, false);
	int tcp = host_socket(SOCK_STREAM, FORWARD_TCP, false);
	struct net_forward ok = { false, "127.0.0.1", FORWARD_TCP, 22 };
	struct net *net;

	assert_int_equal(listen(tcp, 1), 0);
	expect_error(&(struct net_forward){ true, "127.0.0.1", FORWARD_UDP, 53 }, ERROR_BUSY,
		"udp port 4002 of 127.0.0.1 is in use");
	expect_error(&ok, ERROR_BUSY, "tcp port 4003 of 127.0.0.1 is in use");
	expect_error(&(struct net_forward){ false, "192.0.2.7", FORWARD_TCP, 53 }, ERROR_USAGE,
		"192.0.2.7 is no address of this host");
	expect_error(&(struct net_forward){ false, "localhost", FORWARD_TCP, 53 }, ERROR_USAGE,
		"\"localhost\" is not an address");
	close(udp);
	close(tcp);
	/* What failed left nothing behind, and a closed network neither. */
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(net_open_user(&net, &ok, 1, NULL), 0);
		net_close(net);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_udp_out_and_back),
		cmocka_unit_test(test_forward_udp),
		cmocka_unit_test(test_forward_tcp),
		cmocka_unit_test(test_backlog),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_forward_errors),
	};

	if (!bed_namespace()) {
		fprintf(stderr, "skipped: no right to make a namespace: %s\n", strerror(errno));
		return 77;
	}
	set_up("lo", true, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
