/*
 * The socket device on a real worker behind its seccomp filter: many megabytes through sockets that
 * are read and written with pauses, by a driver that sleeps until it is interrupted. An edge that
 * is lost anywhere (a socket's, the ring's, a kick) ends in silence, and the test with it.
 */
#include "driver.h"
#include "virtio/vsock.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_vsock.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	RAM = 16 * 1024 * 1024,
	STREAMS = 4,
	SIZE = 64,
	RX_BYTES = 4096,
	TX_AT = 0x400000,
	TX_STEP = 0x10000,
	RX_AT = 0x200000,
	RX_STEP = 0x2000,
	ALLOC = 32768, /* of each stream's buffer in the guest: credit runs out often */
	TOTAL = 6 * 1024 * 1024,
	PATIENCE_MS = 20000,
	HEADER = sizeof(struct virtio_vsock_hdr)
};

struct side {
	uint32_t sent, got, fwd, alloc;
	bool open, ended;
};

struct rig {
	struct guest_memory mem;
	struct worker *w;
	struct virtio_device *device;
	struct driver rx, tx;
	pthread_t host[STREAMS];
	int fd[STREAMS]; /* the host's ends */
	struct side side[STREAMS];
	unsigned rx_next;
	gpa_t rx_at[SIZE];
	unsigned tx_out; /* packets that the device has */
};

static uint8_t byte_at(unsigned stream, uint32_t n)
{
	return (uint8_t)(n * 31 + (n >> 8) + (n >> 16) + stream);
}

/* The host: everything comes back, with rests now and then; at the end, the end. */
static void *echo(void *arg)
{
	int fd = *(int *)arg;
	unsigned seed = (unsigned)fd;
	char data[20000];
	ssize_t n;

	while ((n = read(fd, data, 1 + (size_t)rand_r(&seed) % sizeof(data))) > 0) {
		for (ssize_t at = 0; at < n;) {
			ssize_t w = write(fd, data + at, (size_t)(n - at));

			if (w < 0)
				return (void *)1;
			at += w;
		}
		if (rand_r(&seed) % 200 == 0)
			usleep(1000);
	}
	close(fd);
	return n < 0 ? (void *)1 : NULL;
}

static void make(struct rig *r)
{
	struct worker_params wp = { .name = "vsock-test", .kind = WORKER_VSOCK, .sandbox = true };
	struct vsock_listen listen[STREAMS];
	struct vsock_params params = {
		.guest_cid = 3, .listen_fd = -1, .listens = STREAMS, .listen = listen
	};
	struct error err = { 0 };

	log_setup(LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
	assert_int_equal(memory_create(&r->mem, RAM, NULL), 0);
	if (worker_create(&r->w, &wp, &err) < 0)
		fail_msg("%s", err.msg);
	for (unsigned i = 0; i < STREAMS; i++) {
		int pair[2];

		assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
		r->fd[i] = pair[0];
		listen[i] = (struct vsock_listen){ .port = 100 + i, .fd = pair[1] };
		assert_int_equal(pthread_create(&r->host[i], NULL, echo, &r->fd[i]), 0);
	}
	assert_int_equal(virtio_vsock_create(&r->device, &r->mem, &params, NULL), 0);
	assert_int_equal(virtio_vsock_assign(r->device, r->w, NULL), 0);
	if (worker_start(r->w, &err) < 0)
		fail_msg("%s", err.msg);
}

static void offer(struct rig *r)
{
	gpa_t at = RX_AT + (r->rx_next++ % SIZE) * RX_STEP;

	r->rx_at[driver_add(&r->rx, &(struct driver_buf){ at, RX_BYTES, true }, 1)] = at;
}

static void start(struct rig *r, uint64_t without)
{
	uint32_t status = mmio_negotiate(r->device, virtio_device_offers(r->device) & ~without);

	driver_init(&r->rx, &r->mem, 0x1000, SIZE);
	driver_init(&r->tx, &r->mem, 0x5000, SIZE);
	mmio_set_queue(r->device, 0, &r->rx.config);
	mmio_set_queue(r->device, 1, &r->tx.config);
	for (unsigned i = 0; i < SIZE / 4; i++)
		offer(r);
	mmio_write32(r->device, VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void send_packet(struct rig *r, unsigned i, unsigned op, uint32_t flags, uint32_t len)
{
	struct side *s = &r->side[i];
	struct virtio_vsock_hdr hdr = { .src_cid = 3,
		.dst_cid = VSOCK_HOST_CID,
		.src_port = 1000 + i,
		.dst_port = 100 + i,
		.len = len,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = (uint16_t)op,
		.flags = flags,
		.buf_alloc = ALLOC,
		.fwd_cnt = s->got };
	gpa_t at = TX_AT + (r->tx.avail_idx % (SIZE / 2)) * TX_STEP;
	uint8_t *p = memory_at(&r->mem, at, TX_STEP);
	struct driver_buf bufs[2] = { { at, HEADER, false }, { at + HEADER, len, false } };

	memcpy(p, &hdr, HEADER);
	for (uint32_t n = 0; n < len; n++)
		p[HEADER + n] = byte_at(i, s->sent + n);
	s->sent += len;
	driver_add(&r->tx, bufs, len ? 2 : 1);
	r->tx_out++;
}

/* What one stream can send now. */
static bool send_some(struct rig *r, unsigned i)
{
	struct side *s = &r->side[i];
	uint32_t len = 1 + (uint32_t)random() % 30000;

	len = MIN(len, s->alloc - (s->sent - s->fwd));
	len = MIN(len, TOTAL - s->sent);
	if (!s->open || !len || r->tx_out + 2 > SIZE / 2)
		return false;
	send_packet(r, i, VIRTIO_VSOCK_OP_RW, 0, len);
	if (s->sent == TOTAL) {
		s->open = false;
		send_packet(r, i, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, 0);
	}
	return true;
}

static void understand(struct rig *r, const uint8_t *p)
{
	struct virtio_vsock_hdr hdr;
	struct side *s;
	unsigned i;

	memcpy(&hdr, p, HEADER);
	i = hdr.dst_port - 1000;
	assert_in_range(i, 0, STREAMS - 1);
	s = &r->side[i];
	s->fwd = hdr.fwd_cnt;
	s->alloc = hdr.buf_alloc;
	switch (hdr.op) {
	case VIRTIO_VSOCK_OP_RESPONSE:
		s->open = true;
		break;
	case VIRTIO_VSOCK_OP_RW:
		for (uint32_t n = 0; n < hdr.len; n++) {
			if (p[HEADER + n] != byte_at(i, s->got + n))
				fail_msg("stream %u: byte %u is wrong", i, s->got + n);
		}
		s->got += hdr.len;
		send_packet(r, i, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, 0);
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		if (hdr.flags & VIRTIO_VSOCK_SHUTDOWN_SEND) {
			assert_int_equal(s->got, TOTAL);
			s->ended = true;
		}
		break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		send_packet(r, i, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, 0);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		break;
	default:
		fail_msg("operation %u", hdr.op);
	}
}

/* One round over both queues; false if there was nothing to do. Answers need room in the queue. */
static bool round_of_work(struct rig *r)
{
	uint32_t head, written;
	bool any = false, offered = false;

	while (driver_take(&r->tx, &head, &written)) {
		r->tx_out--;
		any = true;
	}
	while (r->tx_out < SIZE / 2 && driver_take(&r->rx, &head, &written)) {
		understand(r, memory_at(&r->mem, r->rx_at[head], written));
		offer(r);
		any = offered = true;
	}
	for (unsigned i = 0; i < STREAMS; i++)
		any |= send_some(r, i);
	if (offered)
		mmio_write32(r->device, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	if (any)
		mmio_write32(r->device, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	return any;
}

/* As a driver sleeps: ask for the interrupt, look again, wait. */
static void wait_interrupt(struct rig *r)
{
	struct pollfd p = { .fd = r->device->irq_fd, .events = POLLIN };
	uint64_t n;

	driver_set_used_event(&r->rx, r->rx.used_idx);
	driver_set_used_event(&r->tx, r->tx.used_idx);
	if (driver_used_idx(&r->rx) != r->rx.used_idx || driver_used_idx(&r->tx) != r->tx.used_idx)
		return;
	if (poll(&p, 1, PATIENCE_MS) != 1)
		fail_msg("silence: sent %u, got %u, told %u", r->side[0].sent, r->side[0].got,
			r->side[0].fwd);
	assert_int_equal(read(p.fd, &n, sizeof(n)), sizeof(n));
	mmio_write32(r->device, VIRTIO_MMIO_INTERRUPT_ACK,
		mmio_read32(r->device, VIRTIO_MMIO_INTERRUPT_STATUS));
}

static void all_there_and_back(uint64_t without)
{
	struct rig *r = calloc(1, sizeof(*r));
	unsigned ended = 0;
	void *result;

	make(r);
	start(r, without);
	for (unsigned i = 0; i < STREAMS; i++)
		send_packet(r, i, VIRTIO_VSOCK_OP_REQUEST, 0, 0);
	mmio_write32(r->device, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	while (ended < STREAMS) {
		if (!round_of_work(r))
			wait_interrupt(r);
		ended = 0;
		for (unsigned i = 0; i < STREAMS; i++)
			ended += r->side[i].ended;
	}
	for (unsigned i = 0; i < STREAMS; i++) {
		assert_int_equal(pthread_join(r->host[i], &result), 0);
		assert_null(result);
	}
	virtio_device_quiesce(r->device);
	worker_stop(r->w);
	virtio_vsock_destroy(r->device);
	worker_destroy(r->w);
	memory_destroy(&r->mem);
	free(r);
}

static void test_there_and_back(void **state)
{
	all_there_and_back(0);
}

static void test_without_event_idx(void **state)
{
	all_there_and_back(1ULL << VIRTIO_RING_F_EVENT_IDX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_without_event_idx),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
