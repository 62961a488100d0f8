#include "plug.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
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

static struct sockaddr_un address(struct plug *p, const char *name)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", p->dir, name);
	return addr;
}

static int listener(struct plug *p, const char *name)
{
	struct sockaddr_un addr = address(p, name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_return_code(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), errno);
	assert_return_code(listen(fd, 2000), errno);
	return fd;
}

void plug_open(struct plug *p)
{
	int pair[2];
	struct vsock_listen listen[3] = { { .port = PLUG_SERVED }, { .port = PLUG_GIVEN },
		{ .port = PLUG_KEYED, .keyed = true } };
	struct vsock_params params = { .guest_cid = PLUG_CID, .listens = 3, .listen = listen };
	char prefix[64];
	struct sockaddr_un served;

	*p = (struct plug){ .dir = "/tmp/plug-XXXXXX", .rx_bytes = PLUG_RX_BYTES };
	log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	assert_non_null(mkdtemp(p->dir));
	assert_int_equal(memory_create(&p->mem, PLUG_RAM, NULL), 0);
	p->w = fake_worker_new();
	params.listen_fd = listener(p, "door");
	p->served = listener(p, "served");
	served = address(p, "served");
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
	p->given = pair[0];
	memcpy(listen[2].key, PLUG_KEY, VSOCK_KEY_BYTES);
	listen[0].path = listen[2].path = served.sun_path;
	listen[1].fd = pair[1];
	snprintf(prefix, sizeof(prefix), "%s/other", p->dir);
	params.listen_dir_prefix = prefix;
	assert_int_equal(virtio_vsock_create(&p->device, &p->mem, &params, NULL), 0);
	assert_int_equal(virtio_vsock_assign(p->device, p->w, NULL), 0);
	p->hdr = (struct virtio_vsock_hdr){ .src_cid = PLUG_CID,
		.dst_cid = VSOCK_HOST_CID,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.buf_alloc = PLUG_ALLOC };
}

void plug_close(struct plug *p)
{
	char command[64];

	virtio_device_quiesce(p->device);
	virtio_vsock_drain(p->device, 0);
	virtio_vsock_destroy(p->device);
	close(p->served);
	close(p->given);
	fake_worker_free(p->w);
	memory_destroy(&p->mem);
	snprintf(command, sizeof(command), "rm -r %s", p->dir);
	assert_int_equal(system(command), 0);
}

void plug_start(struct plug *p, unsigned buffers)
{
	uint32_t status = mmio_negotiate(p->device, virtio_device_offers(p->device));

	assert_true(status & VIRTIO_CONFIG_S_FEATURES_OK);
	for (unsigned i = 0; i < 3; i++) {
		driver_init(&p->d[i], &p->mem, PLUG_RING + i * 0x4000, PLUG_SIZE);
		mmio_set_queue(p->device, i, &p->d[i].config);
	}
	p->rx_next = 0;
	plug_offer(p, buffers);
	mmio_write32(p->device, VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_DRIVER_OK);
	plug_run(p);
}

void plug_reset(struct plug *p)
{
	mmio_write32(p->device, VIRTIO_MMIO_STATUS, 0);
}

void plug_offer(struct plug *p, unsigned buffers)
{
	for (unsigned i = 0; i < buffers; i++) {
		gpa_t at = PLUG_RX + (p->rx_next++ % PLUG_SIZE) * PLUG_RX_STEP;
		uint16_t head =
			driver_add(&p->d[0], &(struct driver_buf){ at, p->rx_bytes, true }, 1);

		p->rx_at[head] = at;
	}
}

void plug_run(struct plug *p)
{
	for (unsigned i = 0; i < 3; i++)
		mmio_write32(p->device, VIRTIO_MMIO_QUEUE_NOTIFY, i);
	fake_worker_run(p->w);
}

static void reclaim(struct plug *p)
{
	uint32_t head, written;

	while (driver_take(&p->d[1], &head, &written))
		assert_int_equal(written, 0);
}

/* Header and data in buffers of their own, as Linux does; each packet has room of its own. */
void plug_queue(struct plug *p, const struct virtio_vsock_hdr *hdr, const void *data, size_t len)
{
	gpa_t at = PLUG_TX + (p->d[1].avail_idx % (PLUG_SIZE / 2)) * 0x400;
	gpa_t body = len > 0x300 ? PLUG_RX + 0x100000 : at + 0x80;
	struct driver_buf bufs[2] = { { at, PLUG_HEADER, false }, { body, (uint32_t)len, false } };

	memcpy(memory_at(&p->mem, at, PLUG_HEADER), hdr, PLUG_HEADER);
	if (len)
		memcpy(memory_at(&p->mem, body, len), data, len);
	reclaim(p);
	driver_add(&p->d[1], bufs, len ? 2 : 1);
}

void plug_send(struct plug *p, uint32_t guest_port, uint32_t host_port, unsigned op,
	const void *data, size_t len)
{
	struct virtio_vsock_hdr hdr = p->hdr;

	hdr.src_port = guest_port;
	hdr.dst_port = host_port;
	hdr.op = (uint16_t)op;
	hdr.len = (uint32_t)len;
	plug_queue(p, &hdr, data, len);
	plug_run(p);
}

void plug_shutdown(struct plug *p, uint32_t guest_port, uint32_t host_port, uint32_t flags)
{
	p->hdr.flags = flags;
	plug_send(p, guest_port, host_port, VIRTIO_VSOCK_OP_SHUTDOWN, NULL, 0);
	p->hdr.flags = 0;
}

bool plug_take(struct plug *p, struct plug_packet *packet)
{
	uint32_t head, written;

	if (!driver_take(&p->d[0], &head, &written))
		return false;
	assert_true(written >= PLUG_HEADER && written <= p->rx_bytes);
	memcpy(packet, memory_at(&p->mem, p->rx_at[head], written), written);
	assert_int_equal(packet->hdr.len, written - PLUG_HEADER);
	assert_int_equal(packet->hdr.dst_cid, PLUG_CID);
	if (!p->no_refill) {
		plug_offer(p, 1);
		plug_run(p);
	}
	return true;
}

void plug_expect(struct plug *p, struct plug_packet *packet, unsigned op, uint32_t guest_port,
	uint32_t host_port)
{
	assert_true(plug_take(p, packet));
	assert_int_equal(packet->hdr.op, op);
	assert_int_equal(packet->hdr.dst_port, guest_port);
	assert_int_equal(packet->hdr.src_port, host_port);
}

void plug_quiet(struct plug *p)
{
	struct plug_packet packet;

	if (plug_take(p, &packet))
		fail_msg("a packet with operation %u", packet.hdr.op);
}

int plug_connect(struct plug *p, uint32_t guest_port)
{
	struct plug_packet packet;
	int fd;

	plug_send(p, guest_port, PLUG_SERVED, VIRTIO_VSOCK_OP_REQUEST, NULL, 0);
	plug_expect(p, &packet, VIRTIO_VSOCK_OP_RESPONSE, guest_port, PLUG_SERVED);
	assert_true(packet.hdr.buf_alloc > 0);
	fd = accept4(p->served, NULL, NULL, SOCK_NONBLOCK);
	assert_return_code(fd, errno);
	return fd;
}

int plug_call(struct plug *p, const char *line)
{
	struct sockaddr_un addr = address(p, "door");
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_return_code(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), errno);
	assert_int_equal(write(fd, line, strlen(line)), strlen(line));
	plug_run(p);
	return fd;
}

bool plug_broken(struct plug *p)
{
	return mmio_read32(p->device, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET;
}
