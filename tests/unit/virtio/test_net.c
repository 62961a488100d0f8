/* The network device: features, both directions, the control queue; good drivers and bad ones. */
#include "card.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define F(name) (1ULL << VIRTIO_NET_F_##name)

enum { ALL = NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN | NET_USO, RX = 0, TX = 1, CTRL = 2 };

static uint8_t big[NET_PACKET_MAX + 100];

/* A packet of @len bytes, header included, that can be told from others. */
static const uint8_t *packet(size_t len, uint8_t seed)
{
	memset(big, 0, NET_HEADER);
	for (size_t i = NET_HEADER; i < len; i++)
		big[i] = (uint8_t)(seed + i * 31 + (i >> 8));
	return big;
}

static struct virtio_net_hdr_v1 *header_at(struct card *c, gpa_t at)
{
	return card_at(c, at);
}

/* Take one chain back and check it. */
static void expect_used(struct card *c, unsigned queue, uint32_t head, uint32_t written)
{
	uint32_t h, n;

	fake_worker_run(c->w);
	assert_true(driver_take(&c->d[queue], &h, &n));
	assert_int_equal(h, head);
	assert_int_equal(n, written);
}

static void expect_none(struct card *c, unsigned queue)
{
	uint32_t h, n;

	fake_worker_run(c->w);
	assert_false(driver_take(&c->d[queue], &h, &n));
}

/* ---- features ---- */

static void test_offers(void **state)
{
	struct card c;
	uint8_t mac[6];

	card_open(&c, 2, ALL);
	assert_true(c.device->offered & F(MQ));
	assert_true(c.device->offered & F(GUEST_TSO4));
	assert_true(c.device->offered & 1ULL << 56); /* HOST_USO */
	assert_false(c.device->offered & F(MTU));
	for (unsigned i = 0; i < 6; i++)
		virtio_mmio_ops.read(c.device, VIRTIO_MMIO_CONFIG + i, &mac[i], 1);
	assert_memory_equal(mac, ((uint8_t[]){ 2, 1, 2, 3, 4, 5 }), 6);
	assert_int_equal(mmio_read32(c.device, VIRTIO_MMIO_CONFIG + 8) & 0xffff, 2); /* pairs */
	card_start(&c, 0, 16);
	assert_int_equal(c.wire.offloads, ALL);
	assert_int_equal(c.wire.pairs, 1);
	card_start(&c, F(GUEST_TSO6), 16);
	assert_int_equal(c.wire.offloads, ALL & ~NET_TSO6);
	card_start(&c, F(GUEST_CSUM), 16); /* without it the others mean nothing */
	assert_int_equal(c.wire.offloads, 0);
	card_start(&c, 1ULL << 54, 16); /* half of USO is none */
	assert_int_equal(c.wire.offloads, ALL & ~NET_USO);
	card_close(&c);

	card_open(&c, 1, 0);
	assert_false(c.device->offered & (F(MQ) | F(CSUM) | F(GUEST_CSUM) | F(HOST_TSO4)));
	card_close(&c);
}

static void test_bad_mac(void **state)
{
	struct wire wire;
	struct guest_memory mem = { 0 };
	struct virtio_net_params params = { .mem = &mem, .net = &wire.net, .label = "net0" };
	struct virtio_device *device;
	struct error err = { 0 };

	wire_init(&wire, 1, 0);
	assert_int_equal(virtio_net_create(&device, &params, &err), -EINVAL);
	assert_int_equal(err.kind, ERROR_USAGE);
	params.mac[0] = 1;
	assert_int_equal(virtio_net_create(&device, &params, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "01:00:00:00:00:00"));
}

/* ---- to the guest ---- */

static void test_rx_one_buffer(void **state)
{
	struct card c;
	uint16_t head;

	card_open(&c, 1, ALL);
	card_start(&c, 0, 16);
	assert_false(wire_packet(&c.wire, 0, packet(100, 1), 100));
	head = card_room(&c, RX, CARD_DATA, 1526);
	card_notify(&c, RX);
	assert_true(c.wire.readies[0] > 0);
	assert_true(wire_packet(&c.wire, 0, packet(100, 1), 100));
	expect_used(&c, RX, head, 100);
	assert_int_equal(header_at(&c, CARD_DATA)->num_buffers, 1);
	assert_memory_equal((uint8_t *)card_at(&c, CARD_DATA) + NET_HEADER,
		packet(100, 1) + NET_HEADER, 100 - NET_HEADER);
	expect_none(&c, RX);
	card_close(&c);
}

/* A packet over several buffers; what a large room leaves over serves the next packets. */
static void test_rx_merge(void **state)
{
	struct card c;
	uint16_t head[10];
	uint8_t *mem;

	card_open(&c, 1, ALL);
	card_start(&c, 0, 16);
	for (unsigned i = 0; i < 10; i++)
		head[i] = card_room(&c, RX, CARD_DATA + i * 0x1000, 1000);
	assert_true(wire_take(&c.wire, 0, 9500)); /* all ten */
	assert_false(wire_take(&c.wire, 0, 100));
	wire_deliver(&c.wire, 0, packet(2500, 3), 2500);
	expect_used(&c, RX, head[0], 1000);
	expect_used(&c, RX, head[1], 1000);
	expect_used(&c, RX, head[2], 500);
	expect_none(&c, RX);
	assert_int_equal(header_at(&c, CARD_DATA)->num_buffers, 3);
	mem = card_at(&c, CARD_DATA);
	packet(2500, 3);
	assert_memory_equal(mem + NET_HEADER, big + NET_HEADER, 1000 - NET_HEADER);
	assert_memory_equal(mem + 0x1000, big + 1000, 1000);
	assert_memory_equal(mem + 0x2000, big + 2000, 500);
	for (unsigned i = 3; i < 10; i++) {
		assert_true(wire_packet(&c.wire, 0, packet(60 + i, 4), 60 + i));
		expect_used(&c, RX, head[i], 60 + i);
		assert_int_equal(header_at(&c, CARD_DATA + i * 0x1000)->num_buffers, 1);
	}
	assert_false(wire_take(&c.wire, 0, 100));
	card_close(&c);
}

/* Longer than the room that was borrowed: more is fetched, also what other slots have left over. */
static void test_rx_spill(void **state)
{
	struct card c;
	uint8_t *mem, seen[5] = { 0 };
	uint32_t h, n, total = 0;

	card_open(&c, 1, ALL);
	card_start(&c, 0, 16);
	for (unsigned i = 0; i < 5; i++)
		card_room(&c, RX, CARD_DATA + i * 0x1000, 1000);
	assert_true(wire_take(&c.wire, 0, 100));
	assert_true(wire_take(&c.wire, 0, 1900));
	assert_true(wire_take(&c.wire, 0, 100));
	wire_deliver(&c.wire, 0, packet(700, 9), 700);
	expect_used(&c, RX, 0, 700);
	wire_give_back(&c.wire, 0); /* two chains lie in a free slot now, one in the ring */
	wire_deliver(&c.wire, 0, packet(3600, 5), 3600);
	fake_worker_run(c.w);
	packet(3600, 5);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(driver_take(&c.d[RX], &h, &n));
		assert_true(h >= 1 && h <= 4 && !seen[h]);
		seen[h] = 1;
		mem = card_at(&c, CARD_DATA + h * 0x1000);
		if (i == 0)
			assert_int_equal(((struct virtio_net_hdr_v1 *)mem)->num_buffers, 4);
		else
			assert_memory_equal(mem, big + total, n);
		assert_int_equal(n, i < 3 ? 1000 : 600);
		total += n;
	}
	assert_int_equal(total, 3600);
	card_close(&c);
}

/* No room for all of it: dropped, and the room is there for the next one. */
static void test_rx_drop(void **state)
{
	struct card c;
	uint16_t head;

	card_open(&c, 1, ALL);
	card_start(&c, 0, 16);
	head = card_room(&c, RX, CARD_DATA, 1000);
	card_room(&c, RX, CARD_DATA + 0x1000, 1000);
	assert_true(wire_packet(&c.wire, 0, packet(5000, 1), 5000));
	expect_none(&c, RX);
	assert_true(wire_packet(&c.wire, 0, packet(500, 1), 500));
	expect_used(&c, RX, head, 500);
	/* As is what is no packet at all. */
	assert_true(wire_packet(&c.wire, 0, packet(NET_HEADER, 1), NET_HEADER - 1));
	expect_none(&c, RX);
	card_close(&c);
}

static void test_rx_not_mergeable(void **state)
{
	struct card c;
	struct driver_buf bufs[2] = { { CARD_DATA, 12, true }, { CARD_DATA + 0x1000, 1514, true } };
	uint16_t head[3];

	card_open(&c, 1, ALL);
	card_start(&c, F(MRG_RXBUF), 16);
	for (unsigned i = 0; i < 3; i++) {
		head[i] = driver_add(&c.d[RX], bufs, 2);
		bufs[0].addr += 0x2000;
		bufs[1].addr += 0x2000;
	}
	assert_true(wire_packet(&c.wire, 0, packet(1526, 1), 1526));
	expect_used(&c, RX, head[0], 1526);
	assert_int_equal(header_at(&c, CARD_DATA)->num_buffers, 1);
	assert_memory_equal(card_at(&c, CARD_DATA + 0x1000), packet(1526, 1) + 12, 1514);
	assert_true(wire_packet(&c.wire, 0, packet(1527, 1), 1527)); /* too long: dropped */
	expect_none(&c, RX);
	assert_true(wire_packet(&c.wire, 0, packet(40, 1), 40));
	expect_used(&c, RX, head[1], 40);
	card_close(&c);
}

static bool rx_header(struct card *c, uint8_t flags, uint8_t gso)
{
	uint32_t h, n;
	bool got;

	packet(100, 0);
	((struct virtio_net_hdr_v1 *)big)->flags = flags;
	((struct virtio_net_hdr_v1 *)big)->gso_type = gso;
	card_room(c, RX, CARD_DATA, 1000);
	assert_true(wire_packet(&c->wire, 0, big, 100));
	fake_worker_run(c->w);
	got = driver_take(&c->d[RX], &h, &n);
	return got;
}

/* A driver never sees an offload that it did not agree to. */
static void test_rx_offloads(void **state)
{
	struct card c;

	card_open(&c, 1, ALL);
	card_start(&c, 0, 16);
	assert_true(rx_header(&c, VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_TCPV4));
	assert_int_equal(header_at(&c, CARD_DATA)->flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_true(rx_header(&c, VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_TCPV6));
	assert_true(rx_header(&c, VIRTIO_NET_HDR_F_NEEDS_CSUM, 5));
	assert_false(rx_header(&c, 0, 77));
	card_start(&c, F(GUEST_TSO4), 16);
	assert_false(rx_header(&c, VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_TCPV4));
	assert_true(rx_header(&c, VIRTIO_NET_HDR_F_NEEDS_CSUM, 0));
	card_start(&c, F(GUEST_CSUM), 16);
	assert_false(rx_header(&c, VIRTIO_NET_HDR_F_NEEDS_CSUM, 0));
	assert_true(rx_header(&c, VIRTIO_NET_HDR_F_DATA_VALID, 0));
	assert_int_equal(header_at(&c, CARD_DATA)->flags, 0);
	card_close(&c);
}

static void bad_rx(const struct driver_buf *bufs, unsigned count, uint64_t without)
{
	struct card c;

	card_open(&c, 1, ALL);
	card_start(&c, without, 16);
	card_room(&c, RX, CARD_DATA, 1000);
	driver_add(&c.d[RX], bufs, count);
	assert_true(wire_take(&c.wire, 0, 100));
	assert_false(wire_take(&c.wire, 0, 100));
	fake_worker_run(c.w);
	assert_true(card_broken(&c));
	/* What is out completes into nothing. */
	wire_deliver(&c.wire, 0, packet(100, 1), 100);
	expect_none(&c, RX);
	/* After the reset all is well. */
	card_start(&c, without, 16);
	assert_false(card_broken(&c));
	card_room(&c, RX, CARD_DATA, 1000);
	assert_true(wire_packet(&c.wire, 0, packet(100, 1), 100));
	expect_used(&c, RX, 0, 100);
	card_close(&c);
}

static void test_rx_hostile(void **state)
{
	const struct driver_buf readable[] = { { CARD_DATA, 1000, false } };
	const struct driver_buf mixed[] = { { CARD_DATA, 10, false }, { CARD_DATA, 1000, true } };
	const struct driver_buf tiny[] = { { CARD_DATA, 11, true } };
	const struct driver_buf nowhere[] = { { CARD_RAM, 1000, true } };

	bad_rx(readable, 1, 0);
	bad_rx(mixed, 2, 0);
	bad_rx(tiny, 1, 0);
	bad_rx(tiny, 1, F(MRG_RXBUF));
	bad_rx(nowhere, 1, 0);
}

/* Buffers of a dozen bytes are legal, if silly; a header in pieces too. */
static void test_rx_tiny(void **state)
{
	struct card c;
	struct driver_buf pieces[3] = { { CARD_DATA, 5, true }, { CARD_DATA + 0x100, 6, true },
		{ CARD_DATA + 0x200, 90, true } };
	uint32_t h, n, total = 0;
	uint16_t head;

	card_open(&c, 1, ALL);
	card_start(&c, 0, 256);
	for (unsigned i = 0; i < 256; i++)
		card_room(&c, RX, CARD_DATA + i * 0x100, 12);
	assert_true(wire_packet(&c.wire, 0, packet(1000, 1), 1000));
	fake_worker_run(c.w);
	for (unsigned i = 0; i < 84; i++) {
		assert_true(driver_take(&c.d[RX], &h, &n));
		total += n;
	}
	assert_int_equal(total, 1000);
	assert_int_equal(header_at(&c, CARD_DATA)->num_buffers, 84);
	card_start(&c, 0, 16);
	head = driver_add(&c.d[RX], pieces, 3);
	assert_true(wire_packet(&c.wire, 0, packet(100, 1), 100));
	expect_used(&c, RX, head, 100);
	assert_int_equal(*(uint8_t *)card_at(&c, CARD_DATA + 0x105), 1); /* num_buffers */
	card_close(&c);
}

/* A reset waits for what the backend has, and the new ring knows nothing of the old one. */
static void test_rx_reset(void **state)
{
	struct card c;

	card_open(&c, 1, ALL);
	card_start(&c, 0, 16);
	for (unsigned i = 0; i < 8; i++)
		card_room(&c, RX, CARD_DATA + i * 0x1000, 1000);
	assert_true(wire_take(&c.wire, 0, 3000));
	wire_give_back(&c.wire, 0);
	assert_true(wire_take(&c.wire, 0, 3000));
	assert_true(wire_take(&c.wire, 0, 3000));
	card_reset(&c);
	assert_int_equal(c.wire.lent[0], 0);
	assert_int_equal(c.wire.starts[0], 1);
	assert_int_equal(c.wire.stops[0], 1);
	card_start(&c, 0, 16);
	assert_int_equal(c.wire.starts[0], 2);
	assert_false(wire_take(&c.wire, 0, 100));
	card_room(&c, RX, CARD_DATA, 1000);
	assert_true(wire_packet(&c.wire, 0, packet(100, 1), 100));
	expect_used(&c, RX, 0, 100);
	card_close(&c);
}

/* ---- from the guest ---- */

static uint16_t tx(struct card *c, gpa_t at, uint32_t len, uint8_t seed)
{
	struct driver_buf bufs[3] = { { at, 12, false }, { at + 0x100, 30, false },
		{ at + 0x200, len - 42, false } };

	packet(len, seed);
	memcpy(card_at(c, at), big, 12);
	memcpy(card_at(c, at + 0x100), big + 12, 30);
	memcpy(card_at(c, at + 0x200), big + 42, len - 42);
	return driver_add(&c->d[TX], bufs, 3);
}

static void test_tx(void **state)
{
	struct card c;
	uint16_t head[4];

	card_open(&c, 1, ALL);
	card_start(&c, 0, 16);
	for (unsigned i = 0; i < 4; i++)
		head[i] = tx(&c, CARD_DATA + i * 0x1000, 100 + i, (uint8_t)i);
	card_notify(&c, TX);
	assert_int_equal(c.wire.sent, 4);
	for (unsigned i = 0; i < 4; i++) {
		expect_used(&c, TX, head[i], 0);
		assert_int_equal(c.wire.packet[i].len, 100 + i);
		assert_memory_equal(c.wire.packet[i].data, packet(100 + i, (uint8_t)i), 100 + i);
	}
	card_close(&c);
}

/* More packets than slots, and a backend that takes its time: each comes back once, in order. */
static void test_tx_flow(void **state)
{
	struct card c;
	unsigned back = 0, rounds = 0;
	uint32_t h, n;

	card_open(&c, 1, ALL);
	card_start(&c, 0, 256);
	c.wire.hold = true;
	for (unsigned i = 0; i < 256; i++) {
		struct driver_buf buf = { CARD_DATA + i * 64, 64, false };

		driver_add(&c.d[TX], &buf, 1);
	}
	card_notify(&c, TX);
	assert_true(c.wire.held > 0 && c.wire.held < 256);
	while (back < 256 && rounds++ < 1000) {
		while (c.wire.held)
			wire_release(&c.wire);
		fake_worker_run(c.w);
		while (driver_take(&c.d[TX], &h, &n))
			assert_int_equal(h, back++);
	}
	assert_int_equal(back, 256);
	assert_int_equal(c.wire.sent, 256);
	/* And now kicks are wanted again. */
	driver_add(&c.d[TX], &(struct driver_buf){ CARD_DATA, 64, false }, 1);
	card_notify(&c, TX);
	assert_int_equal(c.wire.sent, 257);
	card_reset(&c);
	assert_int_equal(c.wire.held, 0);
	card_close(&c);
}

static void bad_tx(const struct driver_buf *bufs, unsigned count)
{
	struct card c;

	card_open(&c, 1, ALL);
	card_start(&c, 0, 16);
	driver_add(&c.d[TX], bufs, count);
	card_notify(&c, TX);
	assert_true(card_broken(&c));
	assert_int_equal(c.wire.sent, 0);
	expect_none(&c, TX);
	card_start(&c, 0, 16);
	tx(&c, CARD_DATA, 100, 1);
	card_notify(&c, TX);
	assert_int_equal(c.wire.sent, 1);
	card_close(&c);
}

static void test_tx_hostile(void **state)
{
	const struct driver_buf shortest[] = { { CARD_DATA, 11, false } };
	const struct driver_buf writable[] = { { CARD_DATA, 1000, true } };
	const struct driver_buf mixed[] = { { CARD_DATA, 100, false }, { CARD_DATA, 9, true } };
	const struct driver_buf nowhere[] = { { CARD_DATA, 100, false }, { ~0ULL, 9, false } };

	bad_tx(shortest, 1);
	bad_tx(writable, 1);
	bad_tx(mixed, 2);
	bad_tx(nowhere, 2);
}

static void test_tx_huge(void **state)
{
	struct card c;
	struct driver_buf huge = { CARD_DATA, 8 << 20, false };
	struct driver_buf most = { CARD_DATA, NET_PACKET_MAX, false };
	uint16_t head;

	card_open(&c, 1, ALL);
	card_start(&c, 0, 16);
	head = driver_add(&c.d[TX], &huge, 1);
	card_notify(&c, TX);
	assert_int_equal(c.wire.sent, 0);
	expect_used(&c, TX, head, 0); /* dropped */
	head = driver_add(&c.d[TX], &most, 1);
	card_notify(&c, TX);
	assert_int_equal(c.wire.sent, 1);
	expect_used(&c, TX, head, 0);
	assert_false(card_broken(&c));
	card_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_offers),
		cmocka_unit_test(test_bad_mac),
		cmocka_unit_test(test_rx_one_buffer),
		cmocka_unit_test(test_rx_merge),
		cmocka_unit_test(test_rx_spill),
		cmocka_unit_test(test_rx_drop),
		cmocka_unit_test(test_rx_not_mergeable),
		cmocka_unit_test(test_rx_offloads),
		cmocka_unit_test(test_rx_hostile),
		cmocka_unit_test(test_rx_tiny),
		cmocka_unit_test(test_rx_reset),
		cmocka_unit_test(test_tx),
		cmocka_unit_test(test_tx_flow),
		cmocka_unit_test(test_tx_hostile),
		cmocka_unit_test(test_tx_huge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
