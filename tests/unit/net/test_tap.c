/*
 * The tap backend on real taps: each run has a network namespace of its own, the other end of a tap
 * is a packet socket on the interface. Without the right to make a namespace the tests are skipped.
 */
#include "bed.h"
#include "util/macros.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { PACKETS = 400 };

/* Without being dropped: a tap's queue holds 1000 packets. */
static void send_frames(struct bed *b, unsigned first, unsigned count, size_t len)
{
	static uint8_t frame[ROOM];

	for (unsigned i = 0; i < count; i++) {
		make_frame(frame, first + i, len);
		assert_int_equal(send(b->packets, frame, len, 0), len);
	}
}

static void do_ready(void *arg)
{
	struct front *f = arg;

	f->budget += 5;
	net_rx_ready(f->port);
}

static void receive(size_t room, size_t len, int mtu, unsigned *spilled)
{
	struct bed b = { 0 };
	struct front *f;

	bed_up(&b, "mvtap0", 0, 1, mtu);
	f = b.front[0];
	front_init(f, room, len);
	send_frames(&b, 0, PACKETS / 2, len); /* these wait in the tap */
	on_worker(b.worker[0], do_start, f);
	assert_true(wait_for(&f->received, PACKETS / 2));
	send_frames(&b, PACKETS / 2, PACKETS / 2, len);
	assert_true(wait_for(&f->received, PACKETS));
	stop_front(f);
	assert_false(f->wrong);
	*spilled = f->spilled;
	bed_down(&b, "mvtap0", 0);
}

static void test_receive(void **state)
{
	unsigned spilled;

	receive(2048, 1514, 0, &spilled);
	assert_int_equal(spilled, 0);
	receive(2048, 60, 0, &spilled);
	assert_int_equal(spilled, 0);
	receive(ROOM, 9000, 9000, &spilled);
	assert_int_equal(spilled, 0);
}

static void test_receive_longer_than_offered(void **state)
{
	unsigned spilled;

	receive(2048, 9000, 9000, &spilled);
	assert_int_equal(spilled, PACKETS);
	receive(64, 1514, 0, &spilled);
	assert_int_equal(spilled, PACKETS);
}

static void test_starve(void **state)
{
	struct bed b = { 0 };
	struct front *f;

	bed_up(&b, "mvtap0", 0, 1, 0);
	f = b.front[0];
	front_init(f, 2048, 100);
	f->budget = 3;
	on_worker(b.worker[0], do_start, f);
	send_frames(&b, 0, 20, 100);
	assert_true(wait_for(&f->received, 3));
	usleep(20000);
	assert_int_equal(atomic_load(&f->received), 3);
	on_worker(b.worker[0], do_ready, f);
	assert_true(wait_for(&f->received, 8));
	on_worker(b.worker[0], do_ready, f);
	on_worker(b.worker[0], do_ready, f);
	on_worker(b.worker[0], do_ready, f);
	assert_true(wait_for(&f->received, 20));
	stop_front(f);
	assert_false(f->wrong);
	bed_down(&b, "mvtap0", 0);
}

/* A driver that resets its device over and over, packets or not, gets each packet once. */
static void test_stop_and_start(void **state)
{
	struct bed b = { 0 };
	struct front *f;

	bed_up(&b, "mvtap0", 0, 1, 0);
	f = b.front[0];
	front_init(f, 2048, 300);
	f->any_order = true; /* what was not received in one round is in the next */
	for (unsigned i = 0; i < 50; i++) {
		unsigned now = atomic_load(&f->received);

		on_worker(b.worker[0], do_start, f);
		send_frames(&b, i * 4, i % 3 ? 4 : 0, 300);
		if (i % 2 && i % 3)
			wait_for(&f->received, now + 1);
		stop_front(f);
	}
	on_worker(b.worker[0], do_start, f);
	assert_true(wait_for(&f->received, 33 * 4));
	stop_front(f);
	assert_int_equal(atomic_load(&f->received), 33 * 4);
	assert_false(f->wrong);
	bed_down(&b, "mvtap0", 0);
}

/* ---- sending ---- */

struct sending {
	struct net_tx tx;
	struct front *front;
	struct iovec iov[2];
	struct virtio_net_hdr_v1 hdr;
	uint8_t frame[1514];
	int res;
};

struct batch {
	struct front *front;
	struct sending *s;
	unsigned count;
};

static void tx_done(struct net_tx *tx, int res)
{
	struct sending *s = container_of(tx, struct sending, tx);

	s->res = res;
	atomic_fetch_add(&s->front->sent, 1);
}

static void do_send(void *arg)
{
	struct batch *batch = arg;

	for (unsigned i = 0; i < batch->count; i++)
		net_send(batch->front->port, &batch->s[i].tx);
}

static void sending_init(struct sending *s, struct front *f, uint32_t seq, size_t len)
{
	*s = (struct sending){ .front = f, .tx.done = tx_done };
	make_frame(s->frame, seq, len);
	s->iov[0] = (struct iovec){ &s->hdr, sizeof(s->hdr) };
	s->iov[1] = (struct iovec){ s->frame, len };
	s->tx.iov = s->iov;
	s->tx.iov_count = 2;
}

static void test_send(void **state)
{
	struct bed b = { 0 };
	struct sending *s = calloc(PACKETS, sizeof(*s));
	struct batch batch;
	uint8_t buf[2048];

	bed_up(&b, "mvtap0", 0, 1, 0);
	for (unsigned i = 0; i < PACKETS; i++)
		sending_init(&s[i], b.front[0], i, 64 + i);
	batch = (struct batch){ b.front[0], s, PACKETS };
	on_worker(b.worker[0], do_send, &batch);
	assert_true(wait_for(&b.front[0]->sent, PACKETS));
	for (unsigned i = 0; i < PACKETS; i++) {
		assert_true(s[i].res > 0);
		assert_int_equal(recv(b.packets, buf, sizeof(buf), MSG_DONTWAIT), 64 + i);
		assert_true(frame_is(buf, i, 64 + i));
	}
	stop_front(b.front[0]);
	bed_down(&b, "mvtap0", 0);
	free(s);
}

/* What no network takes is dropped, and said so. */
static void test_send_nonsense(void **state)
{
	struct bed b = { 0 };
	struct sending *s = calloc(6, sizeof(*s));
	struct batch batch;

	bed_up(&b, "mvtap0", 0, 1, 0);
	for (unsigned i = 0; i < 6; i++)
		sending_init(&s[i], b.front[0], i, 100);
	s[0].iov[1].iov_len = 5;  /* no whole Ethernet header */
	s[1].hdr.gso_type = 0x77; /* no such thing */
	s[2].hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	s[2].hdr.csum_start = 60000; /* outside of the packet */
	s[3].hdr.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	s[3].hdr.gso_size = 0;
	s[4].iov[1].iov_len = 0; /* a header and nothing */
	batch = (struct batch){ b.front[0], s, 6 };
	on_worker(b.worker[0], do_send, &batch);
	assert_true(wait_for(&b.front[0]->sent, 6));
	for (unsigned i = 0; i < 5; i++)
		assert_true(s[i].res < 0);
	assert_true(s[5].res > 0);
	bed_down(&b, "mvtap0", 0);
	free(s);
}

/* ---- several queues ---- */

static void do_pairs(void *arg)
{
	struct bed *b = arg;

	assert_int_equal(net_set_pairs(b->net, 2), 0);
	assert_int_equal(net_set_pairs(b->net, 3), -EINVAL);
	assert_int_equal(net_set_pairs(b->net, 0), -EINVAL);
}

static void do_pair(void *arg)
{
	struct bed *b = arg;

	assert_int_equal(net_set_pairs(b->net, 1), 0);
}

static unsigned both(struct bed *b)
{
	return atomic_load(&b->front[0]->received) + atomic_load(&b->front[1]->received);
}

static void wait_both(struct bed *b, unsigned want)
{
	for (int ms = 0; ms < 5000 && both(b) < want; ms++)
		usleep(1000);
	assert_int_equal(both(b), want);
}

static void test_pairs(void **state)
{
	struct bed b = { 0 };
	struct sending s;
	struct batch batch;

	bed_up(&b, "mvtap1", IFF_MULTI_QUEUE, 2, 0);
	for (unsigned i = 0; i < 2; i++) {
		front_init(b.front[i], 2048, 200);
		b.front[i]->any_order = true;
		on_worker(b.worker[i], do_start, b.front[i]);
	}
	/* At first all comes through the first pair. */
	send_frames(&b, 0, 100, 200);
	wait_both(&b, 100);
	assert_int_equal(atomic_load(&b.front[1]->received), 0);
	for (unsigned round = 1; round <= 20; round++) {
		on_worker(b.worker[0], do_pairs, &b);
		send_frames(&b, 0, 50, 200);
		wait_both(&b, 100 + 100 * (round - 1) + 50);
		on_worker(b.worker[0], do_pair, &b);
		send_frames(&b, 0, 50, 200);
		wait_both(&b, 100 + 100 * round);
	}
	/* Sending works through the second as well. */
	on_worker(b.worker[0], do_pairs, &b);
	sending_init(&s, b.front[1], 0, 100);
	batch = (struct batch){ b.front[1], &s, 1 };
	on_worker(b.worker[1], do_send, &batch);
	assert_true(wait_for(&b.front[1]->sent, 1));
	assert_true(s.res > 0);
	for (unsigned i = 0; i < 2; i++) {
		stop_front(b.front[i]);
		assert_false(b.front[i]->wrong);
	}
	bed_down(&b, "mvtap1", IFF_MULTI_QUEUE);
}

/* ---- opening ---- */

static void expect_error(const char *name, unsigned pairs, enum error_kind kind, const char *word1,
	const char *word2)
{
	struct error err = { 0 };
	struct net *net = NULL;

	assert_true(net_open_tap(&net, name, pairs, &err) < 0);
	assert_null(net);
	assert_int_equal(err.kind, kind);
	if (!strstr(err.msg, word1) || !strstr(err.msg, word2))
		fail_msg("%s", err.msg);
}

static void test_open_errors(void **state)
{
	struct net *net, *none = NULL;
	struct error err = { 0 };

	expect_error("nosuchtap", 1, ERROR_HOST, "\"nosuchtap\"", "ip tuntap add");
	assert_int_equal(if_nametoindex("nosuchtap"), 0); /* nor was it made */
	expect_error("", 1, ERROR_USAGE, "name", "1 to 15");
	expect_error("abcdefghijklmnop", 1, ERROR_USAGE, "abcdefghijklmnop", "1 to 15");
	expect_error("tap%d", 1, ERROR_HOST, "tap%d", "no network interface");
	expect_error("lo", 1, ERROR_HOST, "\"lo\"", "not a tap");
	expect_error("x", 0, ERROR_USAGE, "pairs", "1 to 8");
	expect_error("x", 9, ERROR_USAGE, "pairs", "1 to 8");
	make_tap("mvtun", IFF_TUN);
	expect_error("mvtun", 1, ERROR_HOST, "\"mvtun\"", "not a tap");
	delete_tap("mvtun", IFF_TUN);

	make_tap("mvtap0", IFF_TAP);
	set_up("mvtap0", true, 1400);
	expect_error("mvtap0", 2, ERROR_HOST, "only one queue", "multi_queue");
	assert_int_equal(net_open_tap(&net, "mvtap0", 1, &err), 0);
	assert_string_equal(net_name(net), "mvtap0");
	assert_int_equal(net_mtu(net), 1400);
	assert_int_equal(net_pairs(net), 1);
	assert_int_equal(net_worker_kind(net), WORKER_IO);
	assert_true(net_offloads(net) & NET_CSUM);
	expect_error("mvtap0", 1, ERROR_BUSY, "\"mvtap0\"", "in use");
	net_close(net);
	assert_int_equal(net_open_tap(&net, "mvtap0", 1, &err), 0);
	net_close(net);
	delete_tap("mvtap0", IFF_TAP);

	make_tap("mvtap1", IFF_TAP | IFF_MULTI_QUEUE);
	set_up("mvtap1", true, 0);
	assert_int_equal(net_open_tap(&net, "mvtap1", 1, NULL), 0);
	net_close(net);
	assert_int_equal(net_open_tap(&net, "mvtap1", 8, &err), 0);
	net_close(net);
	net_close(none);
	delete_tap("mvtap1", IFF_TAP | IFF_MULTI_QUEUE);
}

static void test_mac(void **state)
{
	struct net *net;
	uint8_t a[6], b[6];

	make_tap("mvtap0", IFF_TAP);
	assert_int_equal(net_open_tap(&net, "mvtap0", 1, NULL), 0);
	net_default_mac(net, 0, a);
	net_default_mac(net, 0, b);
	assert_memory_equal(a, b, 6);
	assert_int_equal(a[0] & 3, 2); /* unicast, local */
	net_default_mac(net, 1, b);
	assert_memory_not_equal(a, b, 6);
	net_close(net);
	delete_tap("mvtap0", IFF_TAP);
}

/* The interface goes away under us: no packets, no fuss, no spinning. */
static void test_deleted(void **state)
{
	struct bed b = { 0 };

	bed_up(&b, "mvtap0", 0, 1, 0);
	front_init(b.front[0], 2048, 100);
	on_worker(b.worker[0], do_start, b.front[0]);
	assert_int_equal(system("ip link del mvtap0"), 0);
	assert_true(wait_for(&b.front[0]->back, 1));
	usleep(20000);
	assert_true(atomic_load(&b.front[0]->back) <= 2);
	stop_front(b.front[0]);
	close(b.packets);
	b.packets = -1;
	bed_down(&b, "mvtap0", 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_errors),
		cmocka_unit_test(test_mac),
		cmocka_unit_test(test_receive),
		cmocka_unit_test(test_receive_longer_than_offered),
		cmocka_unit_test(test_starve),
		cmocka_unit_test(test_stop_and_start),
		cmocka_unit_test(test_send),
		cmocka_unit_test(test_send_nonsense),
		cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_deleted),
	};

	if (access("/dev/net/tun", R_OK | W_OK) < 0 || !bed_namespace()) {
		fprintf(stderr, "skipped: no /dev/net/tun or no right to make a namespace: %s\n",
			strerror(errno));
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
