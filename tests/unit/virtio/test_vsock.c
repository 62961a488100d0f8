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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_guest_connects, setup, teardown),
		cmocka_unit_test_setup_teardown(test_host_calls, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
