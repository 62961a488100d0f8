/*
 * The network device between a driver and a network that both do whatever the input says: chains of
 * every shape on every queue, packets of every size and with any header, held and released at any
 * time, resets in between. A reset always ends, and leaves nothing out.
 */
#include "driver.h"
#include "fake_worker.h"
#include "guest.h"
#include "input.h"
#include "util/macros.h"
#include "virtio/net.h"
#include "wire.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_net.h>

enum { SIZE = 16, STRIDE = 0x300, QUEUES = 5, CHAIN_MAX = 6, STEPS = 400 };

struct bed {
	struct guest_memory mem;
	struct wire wire;
	struct worker *w;
	struct virtio_device *device;
	struct driver d[QUEUES];
};

static void require(bool truth)
{
	if (!truth)
		abort();
}

static void start(struct bed *b, struct input *in)
{
	uint64_t features = virtio_device_offers(b->device) & ~(uint64_t)take32(in);
	uint32_t status = mmio_negotiate(b->device, features | 1ULL << VIRTIO_F_VERSION_1);

	for (unsigned i = 0; i < b->wire.net.pairs; i++)
		require(b->wire.lent[i] == 0);
	require(b->wire.held == 0);
	for (unsigned i = 0; i < b->device->queues; i++) {
		driver_init(&b->d[i], &b->mem, LAYOUT_HOLE_END + i * STRIDE, SIZE);
		mmio_set_queue(b->device, i, &b->d[i].config);
	}
	mmio_write32(b->device, VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void offer(struct bed *b, struct input *in, unsigned queue)
{
	struct driver_buf bufs[CHAIN_MAX];
	uint8_t shape = take8(in);
	unsigned count = shape % CHAIN_MAX + 1;
	bool write = shape & 0x80; /* most chains are all one way */

	for (unsigned i = 0; i < count; i++) {
		uint16_t len = take16(in);

		bufs[i] = (struct driver_buf){
			.addr = guest_address(take16(in)), .len = len % 3000, .write = write
		};
		if (shape & 0x40 && i + 2 >= count)
			write = true;
	}
	driver_add(&b->d[queue], bufs, count);
}

/* A command that means something: by chance few would. */
static void command(struct bed *b, struct input *in)
{
	unsigned queue = take8(in) & 1 ? 2 * b->wire.net.pairs : 2;
	uint8_t v = take8(in);
	uint8_t bytes[8] = { v & 1 ? VIRTIO_NET_CTRL_MQ : VIRTIO_NET_CTRL_MAC, v >> 1 & 1,
		take8(in) };
	struct driver_buf bufs[2] = { { 0x100, v % 9 + 1, false }, { 0x200, v >> 6, true } };

	memcpy(memory_at(&b->mem, 0x100, sizeof(bytes)), bytes, sizeof(bytes));
	driver_add(&b->d[queue], bufs, 2);
}

static void packet(struct bed *b, struct input *in, unsigned pair)
{
	static uint8_t data[NET_PACKET_MAX];
	size_t len = take16(in);

	data[0] = take8(in);
	data[1] = take8(in);
	if (b->wire.lent[pair])
		wire_deliver(&b->wire, pair, data, len < 0x8000 ? len % 4000 : len);
}

static void step(struct bed *b, struct input *in)
{
	uint8_t v = take8(in);
	unsigned queue = (v >> 4) % b->device->queues, pair = (v >> 4) % b->wire.net.pairs;

	switch (v & 15) {
	case 0:
	case 1:
	case 2:
		offer(b, in, queue);
		break;
	case 3:
		command(b, in);
		break;
	case 4:
	case 5:
		mmio_write32(b->device, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
		break;
	case 6:
	case 7:
		wire_take(&b->wire, pair, take16(in));
		break;
	case 8:
	case 9:
		packet(b, in, pair);
		break;
	case 10:
		if (b->wire.lent[pair])
			wire_give_back(&b->wire, pair);
		break;
	case 11:
		if (b->wire.held)
			wire_release(&b->wire);
		break;
	case 12:
		b->wire.hold = v & 16 && b->wire.held < WIRE_KEEP - 2 * 64;
		break;
	case 13:
		driver_desc(&b->d[queue], take8(in) % SIZE, guest_address(take16(in)), take16(in),
			take8(in) % 8, take8(in) % (SIZE + 2));
		driver_offer(&b->d[queue], take8(in) % (SIZE + 1));
		break;
	case 14:
		if (v == 0xee)
			start(b, in);
		break;
	default:
		fake_worker_turn(b->w);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct bed b = { 0 };
	struct virtio_net_params params = {
		.mem = &b.mem, .net = &b.wire.net, .mac = { 2 }, .label = "net0"
	};
	struct error err;

	log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	guest_create(&b.mem);
	wire_init(&b.wire, take8(&in) % 2 + 1, NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN | NET_USO);
	b.w = fake_worker_new();
	require(virtio_net_create(&b.device, &params, &err) == 0);
	require(virtio_net_assign(b.device, &b.w, 1, &err) == 0);
	start(&b, &in);
	for (unsigned i = 0; i < STEPS && in.left; i++)
		step(&b, &in);
	virtio_device_quiesce(b.device);
	require(b.wire.held == 0 && b.wire.lent[0] == 0 && b.wire.lent[1] == 0);
	virtio_net_destroy(b.device);
	fake_worker_free(b.w);
	wire_free(&b.wire);
	guest_destroy(&b.mem);
	return 0;
}
