/* Drivers that break the rules of the socket device, and parameters that cannot be meant. */
#include "plug.h"
#include "virtio/vsock_parts.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

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

static void gets_end(int fd)
{
	char c;

	assert_int_equal(recv(fd, &c, 1, MSG_DONTWAIT), 0);
}

/* ---- headers ---- */

static void test_nobody_there(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;

	plug_start(p, 8);
	for (unsigned op = 0; op < 20; op++) {
		plug_send(p, 1024, 99, op, "data", op == VIRTIO_VSOCK_OP_RW ? 4 : 0);
		if (op == VIRTIO_VSOCK_OP_RST) {
			plug_quiet(p); /* or two would answer each other for ever */
			continue;
		}
		plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 1024, 99);
		assert_int_equal(packet.hdr.src_cid, VSOCK_HOST_CID);
		plug_quiet(p);
	}
}

static void test_wrong_addresses(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;

	plug_start(p, 8);
	p->hdr.dst_cid = 3;
	plug_send(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_OP_REQUEST, NULL, 0);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 1024, PLUG_SERVED);
	assert_int_equal(packet.hdr.src_cid, 3);
	p->hdr.dst_cid = 1ULL << 32 | VSOCK_HOST_CID;
	plug_send(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_OP_REQUEST, NULL, 0);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 1024, PLUG_SERVED);
	p->hdr.dst_cid = VSOCK_HOST_CID;
	p->hdr.src_cid = PLUG_CID + 1;
	plug_send(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_OP_REQUEST, NULL, 0);
	plug_quiet(p);
	p->hdr.src_cid = PLUG_CID;
	p->hdr.type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	plug_send(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_OP_REQUEST, NULL, 0);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 1024, PLUG_SERVED);
	assert_int_equal(packet.hdr.type, VIRTIO_VSOCK_TYPE_SEQPACKET);
	plug_send(p, 1024, PLUG_SERVED, VIRTIO_VSOCK_OP_RST, NULL, 0);
	plug_quiet(p);
	assert_int_equal(vsock_of(p->device)->streams, 0);
	assert_int_equal(accept(p->served, NULL, NULL), -1);
}

/* Each of these ends the stream, and only the stream. */
static void test_rules_of_a_stream(void **state)
{
	static const uint16_t bad[] = { VIRTIO_VSOCK_OP_INVALID, VIRTIO_VSOCK_OP_REQUEST,
		VIRTIO_VSOCK_OP_RESPONSE, 8, 0xffff };
	struct plug *p = *state;
	struct plug_packet packet;
	int other, fd;

	plug_start(p, 8);
	other = plug_connect(p, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		fd = plug_connect(p, 2);
		plug_send(p, 2, PLUG_SERVED, bad[i], NULL, 0);
		plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 2, PLUG_SERVED);
		gets_end(fd);
		close(fd);
	}
	/* Data after the end of data. */
	fd = plug_connect(p, 2);
	plug_shutdown(p, 2, PLUG_SERVED, VIRTIO_VSOCK_SHUTDOWN_SEND);
	plug_send(p, 2, PLUG_SERVED, VIRTIO_VSOCK_OP_RW, "x", 1);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 2, PLUG_SERVED);
	close(fd);
	/* A shutdown that says nothing says nothing. */
	plug_shutdown(p, 1, PLUG_SERVED, 0);
	plug_shutdown(p, 1, PLUG_SERVED, 0xfffffffc);
	plug_quiet(p);
	/* Data, or more, before the answer to a call. */
	for (unsigned i = 0; i < 2; i++) {
		fd = plug_call(p, "CONNECT 6\n");
		assert_true(plug_take(p, &packet));
		plug_send(p, 6, packet.hdr.src_port,
			i ? VIRTIO_VSOCK_OP_RW : VIRTIO_VSOCK_OP_SHUTDOWN, "x", i);
		plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 6, packet.hdr.src_port);
		gets_end(fd);
		close(fd);
	}
	plug_send(p, 1, PLUG_SERVED, VIRTIO_VSOCK_OP_RW, "x", 1);
	plug_quiet(p);
	assert_false(plug_broken(p));
	close(other);
}

static void test_length_beyond_the_chain(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;
	struct virtio_vsock_hdr hdr;
	char got[8];
	int fd;

	plug_start(p, 8);
	for (uint64_t len = 5; len <= UINT32_MAX;
		len = len < 0x10000 ? len * 7 : len + UINT32_MAX / 2) {
		fd = plug_connect(p, 1024);
		hdr = p->hdr;
		hdr.src_port = 1024;
		hdr.dst_port = PLUG_SERVED;
		hdr.op = VIRTIO_VSOCK_OP_RW;
		hdr.len = (uint32_t)len;
		plug_queue(p, &hdr, "data", 4);
		plug_run(p);
		plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 1024, PLUG_SERVED);
		gets_end(fd);
		close(fd);
	}
	/* Less than the chain holds: the rest is nothing. And a length where there is no data. */
	fd = plug_connect(p, 1024);
	hdr = p->hdr;
	hdr.src_port = 1024;
	hdr.dst_port = PLUG_SERVED;
	hdr.op = VIRTIO_VSOCK_OP_RW;
	hdr.len = 2;
	plug_queue(p, &hdr, "data", 4);
	hdr.len = 0;
	plug_queue(p, &hdr, "data", 4);
	hdr.op = VIRTIO_VSOCK_OP_CREDIT_UPDATE;
	hdr.len = 1000;
	plug_queue(p, &hdr, "data", 4);
	plug_run(p);
	assert_int_equal(recv(fd, got, sizeof(got), MSG_DONTWAIT), 2);
	plug_quiet(p);
	close(fd);
}

/* ---- chains ---- */

/* Header and data cut where they should not be, an empty piece of memory between all bytes. */
static void test_header_in_pieces(void **state)
{
	struct plug *p = *state;
	struct virtio_vsock_hdr hdr;
	struct driver_buf bufs[50];
	uint8_t bytes[50];
	char got[8] = "";
	int fd;

	plug_start(p, 8);
	fd = plug_connect(p, 1024);
	hdr = p->hdr;
	hdr.src_port = 1024;
	hdr.dst_port = PLUG_SERVED;
	hdr.op = VIRTIO_VSOCK_OP_RW;
	hdr.len = 6;
	memcpy(bytes, &hdr, sizeof(hdr));
	memcpy(bytes + sizeof(hdr), "pieces", 6);
	for (unsigned i = 0; i < ARRAY_SIZE(bufs); i++) {
		bufs[i] = (struct driver_buf){ PLUG_TX + 2 * i, 1, false };
		memcpy(memory_at(&p->mem, bufs[i].addr, 1), &bytes[i], 1);
	}
	driver_add(&p->d[1], bufs, ARRAY_SIZE(bufs));
	plug_run(p);
	assert_int_equal(recv(fd, got, sizeof(got), MSG_DONTWAIT), 6);
	assert_string_equal(got, "pieces");
	close(fd);
}

static void test_room_in_pieces(void **state)
{
	struct plug *p = *state;
	struct driver_buf bufs[50];
	struct virtio_vsock_hdr hdr;
	uint8_t bytes[50];
	uint32_t head, written;
	int fd;

	p->no_refill = true;
	plug_start(p, 1);
	fd = plug_connect(p, 1024);
	for (unsigned i = 0; i < ARRAY_SIZE(bufs); i++)
		bufs[i] = (struct driver_buf){ PLUG_TX + 0x1000 + 2 * i, 1, true };
	driver_add(&p->d[0], bufs, ARRAY_SIZE(bufs));
	assert_int_equal(write(fd, "pieces of", 9), 9);
	plug_run(p);
	assert_true(driver_take(&p->d[0], &head, &written));
	assert_int_equal(written, 50);
	for (unsigned i = 0; i < ARRAY_SIZE(bufs); i++)
		memcpy(&bytes[i], memory_at(&p->mem, bufs[i].addr, 1), 1);
	memcpy(&hdr, bytes, sizeof(hdr));
	assert_int_equal(hdr.len, 6);
	assert_memory_equal(bytes + sizeof(hdr), "pieces", 6);
	close(fd);
}

static void test_short_packet(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;
	int fd;

	plug_start(p, 8);
	fd = plug_connect(p, 1024);
	driver_add(&p->d[1], &(struct driver_buf){ PLUG_TX, PLUG_HEADER - 1, false }, 1);
	plug_run(p);
	assert_true(plug_broken(p));
	gets_end(fd);
	close(fd);
	/* Nobody is let in any more, until the driver starts again. */
	fd = plug_call(p, "CONNECT 1\n");
	plug_quiet(p);
	plug_reset(p);
	plug_start(p, 8);
	assert_true(plug_take(p, &packet));
	assert_int_equal(packet.hdr.op, VIRTIO_VSOCK_OP_REQUEST);
	close(plug_connect(p, 1024));
	close(fd);
}

static void rx_buffer_fails(struct plug *p, const struct driver_buf *bufs, unsigned count)
{
	plug_start(p, 0);
	driver_add(&p->d[0], bufs, count);
	plug_run(p);
	assert_false(plug_broken(p)); /* not looked at yet */
	plug_send(p, 1, 99, VIRTIO_VSOCK_OP_RW, NULL, 0);
	assert_true(plug_broken(p));
	plug_reset(p);
}

static void test_bad_rx_buffers(void **state)
{
	struct plug *p = *state;
	const struct driver_buf small = { PLUG_RX, PLUG_HEADER, true };
	const struct driver_buf mixed[2] = { { PLUG_RX, 64, false }, { PLUG_RX + 64, 64, true } };
	const struct driver_buf nowhere = { PLUG_RAM, 4096, true };

	rx_buffer_fails(p, &small, 1);
	rx_buffer_fails(p, mixed, 2);
	rx_buffer_fails(p, &nowhere, 1);
	plug_start(p, 8);
	close(plug_connect(p, 1024));
}

/* ---- floods ---- */

/* A guest that makes us owe it answers and takes none: at some point we listen no more. */
static void test_no_room_for_answers(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;
	struct vsock *v = vsock_of(p->device);
	unsigned sent = 0, got = 0;

	p->no_refill = true;
	plug_start(p, 0);
	while (v->resets < VSOCK_RESETS_MAX) {
		plug_send(p, sent++, 99, VIRTIO_VSOCK_OP_RW, NULL, 0);
		assert_true(sent <= VSOCK_RESETS_MAX);
	}
	for (unsigned i = 0; i < 20; i++)
		plug_send(p, sent++, 99, VIRTIO_VSOCK_OP_RW, NULL, 0);
	assert_int_equal((uint16_t)(p->d[1].avail_idx - driver_used_idx(&p->d[1])), 20);
	p->no_refill = false;
	plug_offer(p, 4);
	plug_run(p);
	while (plug_take(p, &packet))
		assert_int_equal(packet.hdr.dst_port, got++);
	assert_int_equal(got, sent);
	assert_int_equal(driver_used_idx(&p->d[1]), p->d[1].avail_idx);
}

static void test_too_many_streams(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;
	struct vsock *v = vsock_of(p->device);
	int fd;

	plug_start(p, 8);
	fd = plug_connect(p, 1);
	v->streams += VSOCK_STREAMS_MAX - 1;
	plug_send(p, 2, PLUG_SERVED, VIRTIO_VSOCK_OP_REQUEST, NULL, 0);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RST, 2, PLUG_SERVED);
	close(fd);
	fd = plug_call(p, "CONNECT 1\n");
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_SHUTDOWN, 1, PLUG_SERVED);
	plug_quiet(p);
	gets_end(fd);
	close(fd);
	v->streams -= VSOCK_STREAMS_MAX - 1;
}

static void test_reset_ends_all(void **state)
{
	struct plug *p = *state;
	struct plug_packet packet;
	int connected, calling, waiting;

	for (unsigned i = 0; i < 3; i++) {
		plug_start(p, 8);
		connected = plug_connect(p, 1);
		calling = plug_call(p, "CONNECT 1\n");
		assert_true(plug_take(p, &packet));
		waiting = plug_call(p, "CONNE");
		plug_reset(p);
		gets_end(connected);
		gets_end(calling);
		assert_int_equal(recv(waiting, &packet, 1, MSG_DONTWAIT), -1);
		assert_int_equal(errno, ECONNRESET);
		assert_int_equal(vsock_of(p->device)->streams, 0);
		close(connected);
		close(calling);
		close(waiting);
	}
}

/* ---- parameters ---- */

static void refuses(struct plug *p, const struct vsock_params *params, const char *words)
{
	struct virtio_device *device;
	struct error err = { 0 };

	assert_true(virtio_vsock_create(&device, &p->mem, params, &err) < 0);
	assert_int_equal(err.kind, ERROR_USAGE);
	if (!strstr(err.msg, words))
		fail_msg("%s", err.msg);
}

static void test_parameters(void **state)
{
	static const uint64_t cids[] = { 0, 1, 2, UINT32_MAX, 1ULL << 32 };
	struct plug *p = *state;
	struct vsock_listen listen[2] = { { 1, "/tmp/a", -1 }, { 1, "/tmp/b", -1 } };
	struct vsock_params good = { .guest_cid = 3, .listen_fd = -1 }, bad;
	struct virtio_device *device;
	char path[200];

	for (unsigned i = 0; i < ARRAY_SIZE(cids); i++) {
		bad = good;
		bad.guest_cid = cids[i];
		refuses(p, &bad, "CID");
	}
	bad = good;
	bad.listens = 2;
	bad.listen = listen;
	refuses(p, &bad, "two sockets");
	memset(path, 'x', sizeof(path));
	path[108] = 0;
	listen[1] = (struct vsock_listen){ 2, path, -1 };
	refuses(p, &bad, "path");
	listen[1] = (struct vsock_listen){ 2, NULL, -1 };
	refuses(p, &bad, "stream socket");
	bad = good;
	bad.listen_dir_prefix = path;
	path[97] = 0;
	refuses(p, &bad, "path");
	path[96] = 0;
	assert_int_equal(virtio_vsock_create(&device, &p->mem, &bad, NULL), 0);
	virtio_vsock_destroy(device);
	bad = good;
	bad.listen_fd = p->given;
	refuses(p, &bad, "listens");
	virtio_vsock_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nobody_there, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rules_of_a_stream, setup, teardown),
		cmocka_unit_test_setup_teardown(test_length_beyond_the_chain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_header_in_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_room_in_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_short_packet, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_rx_buffers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_room_for_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_many_streams, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset_ends_all, setup, teardown),
		cmocka_unit_test_setup_teardown(test_parameters, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
