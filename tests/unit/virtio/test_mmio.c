/* The register machine: every register, every state, every width; and the life of a device. */
#include "driver.h"
#include "fake_worker.h"
#include "vmm/bus.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RAM = 4 * 1024 * 1024, RING = 0x10000, RING_STRIDE = 0x4000, SIZE = 16, QUEUES = 3 };

#define ACK	    VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER	    VIRTIO_CONFIG_S_DRIVER
#define FEATURES_OK VIRTIO_CONFIG_S_FEATURES_OK
#define DRIVER_OK   VIRTIO_CONFIG_S_DRIVER_OK
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET
#define FAILED	    VIRTIO_CONFIG_S_FAILED

#define V1	  (1ULL << VIRTIO_F_VERSION_1)
#define EVENT_IDX (1ULL << VIRTIO_RING_F_EVENT_IDX)
#define INDIRECT  (1ULL << VIRTIO_RING_F_INDIRECT_DESC)
#define OWN	  (1ULL << 5)

/* A device that gives every chain back at once, and keeps one request open when told to. */
struct toy {
	struct virtio_device device;
	struct guest_memory mem;
	struct worker *w;
	struct driver d[QUEUES];
	unsigned starts, kicks, quiesces, resets, config_writes;
	int start_result;
	bool busy; /* quiesce has to wait */
	struct worker_task later;
	unsigned config_offset, config_len;
};

static struct toy *toy_of(struct virtio_device *device)
{
	return container_of(device, struct toy, device);
}

static int toy_start(struct virtio_queue *queue)
{
	toy_of(queue->device)->starts++;
	return toy_of(queue->device)->start_result;
}

static void toy_kick(struct virtio_queue *queue)
{
	struct iovec iov[SIZE];
	struct ring_chain chain = { .iov = iov, .iov_cap = SIZE };
	int r;

	toy_of(queue->device)->kicks++;
	while ((r = ring_pop(&queue->ring, &chain)) > 0) {
		ring_push(&queue->ring, chain.head, 0);
		virtio_queue_done(queue);
	}
	if (r < 0)
		virtio_queue_fail(queue, queue->ring.fault);
	else
		ring_kicks_on(&queue->ring);
}

static void on_later(struct worker_task *task)
{
	struct toy *t = container_of(task, struct toy, later);

	t->busy = false;
	virtio_queue_idle(&t->device.queue[0]);
}

static void toy_quiesce(struct virtio_queue *queue)
{
	struct toy *t = toy_of(queue->device);

	t->quiesces++;
	if (t->busy && queue->index == 0)
		worker_yield(t->w, &t->later);
	else
		virtio_queue_idle(queue);
}

static void toy_reset(struct virtio_device *device)
{
	toy_of(device)->resets++;
}

static void toy_config_write(
	struct virtio_device *device, unsigned offset, const uint8_t *data, unsigned len)
{
	struct toy *t = toy_of(device);

	t->config_writes++;
	t->config_offset = offset;
	t->config_len = len;
	assert_true(offset + len <= device->config_size);
}

static const struct virtio_ops toy_ops = {
	.name = "toy",
	.id = 42,
	.start = toy_start,
	.kick = toy_kick,
	.quiesce = toy_quiesce,
	.reset = toy_reset,
	.config_write = toy_config_write,
};

static int setup(void **state)
{
	struct toy *t = calloc(1, sizeof(*t));
	struct error err = { 0 };

	assert_int_equal(memory_create(&t->mem, RAM, &err), 0);
	t->w = fake_worker_new();
	t->later.run = on_later;
	t->device.ops = &toy_ops;
	t->device.queues = QUEUES;
	t->device.queue_max = SIZE;
	t->device.offered = OWN;
	t->device.config_size = 6;
	memcpy(t->device.config, "\1\2\3\4\5\6\7\10", 8);
	strcpy(t->device.label, "toy0");
	assert_int_equal(virtio_device_init(&t->device, &t->mem, &err), 0);
	for (unsigned i = 0; i < QUEUES; i++) {
		assert_int_equal(virtio_queue_assign(&t->device, i, t->w, &err), 0);
		driver_init(&t->d[i], &t->mem, RING + i * RING_STRIDE, SIZE);
	}
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct toy *t = *state;

	virtio_device_quiesce(&t->device);
	virtio_device_destroy(&t->device);
	fake_worker_free(t->w);
	memory_destroy(&t->mem);
	free(t);
	return 0;
}

static uint32_t rd(struct toy *t, uint32_t offset)
{
	return mmio_read32(&t->device, offset);
}

static void wr(struct toy *t, uint32_t offset, uint32_t value)
{
	mmio_write32(&t->device, offset, value);
}

static uint32_t status(struct toy *t)
{
	return rd(t, VIRTIO_MMIO_STATUS);
}

static void start(struct toy *t)
{
	mmio_start(&t->device, V1 | EVENT_IDX, &t->d[0]);
	assert_int_equal(status(t), ACK | DRIVER | FEATURES_OK | DRIVER_OK);
}

static bool signalled(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

/* ---- registers ---- */

static void test_identity(void **state)
{
	struct toy *t = *state;

	assert_int_equal(rd(t, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	assert_int_equal(rd(t, VIRTIO_MMIO_VERSION), 2);
	assert_int_equal(rd(t, VIRTIO_MMIO_DEVICE_ID), 42);
	assert_int_not_equal(rd(t, VIRTIO_MMIO_VENDOR_ID), 0);
	wr(t, VIRTIO_MMIO_MAGIC_VALUE, 0);
	wr(t, VIRTIO_MMIO_DEVICE_ID, 0);
	assert_int_equal(rd(t, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	assert_int_equal(rd(t, VIRTIO_MMIO_DEVICE_ID), 42);
	/* No shared memory regions: their length and base are -1 (4.2.2). */
	for (uint32_t offset = 0xb0; offset <= 0xbc; offset += 4)
		assert_int_equal(rd(t, offset), 0xffffffff);
	/* Reserved ones, and the legacy ones that version 2 does not have. */
	assert_int_equal(rd(t, VIRTIO_MMIO_GUEST_PAGE_SIZE), 0);
	assert_int_equal(rd(t, VIRTIO_MMIO_QUEUE_PFN), 0);
	assert_int_equal(rd(t, 0xc0), 0);
	assert_int_equal(rd(t, 0xf8), 0);
}

static void test_features_words(void **state)
{
	struct toy *t = *state;
	uint64_t offers;

	wr(t, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	offers = rd(t, VIRTIO_MMIO_DEVICE_FEATURES);
	wr(t, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	offers |= (uint64_t)rd(t, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
	assert_true(offers == (V1 | EVENT_IDX | INDIRECT | OWN));
	wr(t, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
	assert_int_equal(rd(t, VIRTIO_MMIO_DEVICE_FEATURES), 0);
	wr(t, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0xffffffff);
	assert_int_equal(rd(t, VIRTIO_MMIO_DEVICE_FEATURES), 0);
}

static void test_negotiation(void **state)
{
	struct toy *t = *state;

	assert_true(mmio_negotiate(&t->device, V1) & FEATURES_OK);
	assert_true(mmio_negotiate(&t->device, V1 | OWN | EVENT_IDX | INDIRECT) & FEATURES_OK);
	assert_false(mmio_negotiate(&t->device, OWN) & FEATURES_OK); /* a legacy driver */
	assert_false(mmio_negotiate(&t->device, 0) & FEATURES_OK);
	assert_false(mmio_negotiate(&t->device, V1 | 1) & FEATURES_OK); /* never offered */
	assert_false(mmio_negotiate(&t->device, V1 | 1ULL << 63) & FEATURES_OK);

	/* Refused features can be corrected without a reset. */
	wr(t, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	wr(t, VIRTIO_MMIO_DRIVER_FEATURES, V1 >> 32);
	wr(t, VIRTIO_MMIO_STATUS, ACK | DRIVER | FEATURES_OK);
	assert_int_equal(status(t), ACK | DRIVER | FEATURES_OK);
	/* And then they are fixed. */
	wr(t, VIRTIO_MMIO_DRIVER_FEATURES, 0);
	assert_true(t->device.features == V1);
	/* A word that does not exist is ignored. */
	wr(t, VIRTIO_MMIO_STATUS, 0);
	wr(t, VIRTIO_MMIO_STATUS, ACK | DRIVER);
	wr(t, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 2);
	wr(t, VIRTIO_MMIO_DRIVER_FEATURES, 0xffffffff);
	assert_true(t->device.features == 0);
}

static void test_status_order(void **state)
{
	struct toy *t = *state;

	wr(t, VIRTIO_MMIO_STATUS, DRIVER); /* without ACKNOWLEDGE */
	assert_int_equal(status(t), 0);
	wr(t, VIRTIO_MMIO_STATUS, ACK | FEATURES_OK);
	assert_int_equal(status(t), ACK);
	/* Features before DRIVER are not listened to. */
	wr(t, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	wr(t, VIRTIO_MMIO_DRIVER_FEATURES, V1 >> 32);
	assert_true(t->device.features == 0);
	wr(t, VIRTIO_MMIO_STATUS, ACK | DRIVER | DRIVER_OK); /* without FEATURES_OK */
	assert_int_equal(status(t), ACK | DRIVER);
	assert_false(t->device.started);
	wr(t, VIRTIO_MMIO_STATUS, ACK); /* bits are not taken back */
	assert_int_equal(status(t), ACK | DRIVER);
	wr(t, VIRTIO_MMIO_STATUS, ACK | DRIVER | NEEDS_RESET | 0xffffff00);
	assert_int_equal(status(t), ACK | DRIVER); /* not the driver's to set */
	wr(t, VIRTIO_MMIO_STATUS, ACK | DRIVER | FAILED);
	assert_int_equal(status(t), ACK | DRIVER | FAILED);
	wr(t, VIRTIO_MMIO_DRIVER_FEATURES, V1 >> 32);
	wr(t, VIRTIO_MMIO_STATUS, ACK | DRIVER | FAILED | FEATURES_OK);
	assert_int_equal(status(t), ACK | DRIVER | FAILED); /* only a reset helps */
	wr(t, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(status(t), 0);
}

static void test_queue_registers(void **state)
{
	struct toy *t = *state;

	for (unsigned i = 0; i < QUEUES; i++) {
		wr(t, VIRTIO_MMIO_QUEUE_SEL, i);
		assert_int_equal(rd(t, VIRTIO_MMIO_QUEUE_NUM_MAX), SIZE);
		assert_int_equal(rd(t, VIRTIO_MMIO_QUEUE_READY), 0);
	}
	for (uint32_t i = QUEUES; i; i = i < 0x80000000 ? i * 2 : 0) {
		wr(t, VIRTIO_MMIO_QUEUE_SEL, i);
		assert_int_equal(rd(t, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
		wr(t, VIRTIO_MMIO_QUEUE_NUM, 8);
		wr(t, VIRTIO_MMIO_QUEUE_READY, 1);
		assert_int_equal(rd(t, VIRTIO_MMIO_QUEUE_READY), 0);
	}
	/* Before FEATURES_OK nothing can be set up. */
	mmio_set_queue(&t->device, 1, &t->d[1].config);
	assert_int_equal(rd(t, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_int_equal(t->device.queue[1].config.size, 0);

	mmio_negotiate(&t->device, V1);
	wr(t, VIRTIO_MMIO_QUEUE_SEL, 1);
	static const uint32_t bad[] = { 0, 3, SIZE + 1, 2 * SIZE, 0x10000, 0x10008, 0x80000000 };
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		wr(t, VIRTIO_MMIO_QUEUE_NUM, bad[i]);
		assert_int_equal(t->device.queue[1].config.size, 0);
	}
	wr(t, VIRTIO_MMIO_QUEUE_DESC_HIGH, 0x12345678);
	wr(t, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x9abcdef0);
	assert_true(t->device.queue[1].config.desc == 0x123456789abcdef0);
	mmio_set_queue(&t->device, 1, &t->d[1].config);
	assert_int_equal(rd(t, VIRTIO_MMIO_QUEUE_READY), 1);
	assert_true(t->device.queue[1].config.desc == t->d[1].config.desc);
	assert_true(t->device.queue[1].config.avail == t->d[1].config.avail);
	assert_true(t->device.queue[1].config.used == t->d[1].config.used);
	/* While it is ready it stands still. */
	wr(t, VIRTIO_MMIO_QUEUE_NUM, 2);
	wr(t, VIRTIO_MMIO_QUEUE_USED_LOW, 0);
	assert_int_equal(t->device.queue[1].config.size, SIZE);
	assert_true(t->device.queue[1].config.used == t->d[1].config.used);
	wr(t, VIRTIO_MMIO_QUEUE_READY, 2);
	assert_int_equal(rd(t, VIRTIO_MMIO_QUEUE_READY), 1);
	wr(t, VIRTIO_MMIO_QUEUE_READY, 0);
	assert_int_equal(rd(t, VIRTIO_MMIO_QUEUE_READY), 0);
	wr(t, VIRTIO_MMIO_QUEUE_NUM, 2);
	assert_int_equal(t->device.queue[1].config.size, 2);
}

/* Every width at every offset: control registers answer to aligned words only. */
static void test_widths(void **state)
{
	static const unsigned widths[] = { 1, 2, 4, 8 };
	struct toy *t = *state;
	uint8_t data[8], zero[8] = { 0 };

	for (unsigned offset = 0; offset < 0x100; offset++) {
		for (unsigned i = 0; i < ARRAY_SIZE(widths); i++) {
			if (widths[i] == 4 && offset % 4 == 0)
				continue;
			memset(data, 0xa5, sizeof(data));
			virtio_mmio_ops.read(&t->device, offset, data, widths[i]);
			assert_memory_equal(data, zero, widths[i]);
			memset(data, 0xff, sizeof(data));
			virtio_mmio_ops.write(&t->device, offset, data, widths[i]);
		}
	}
	assert_int_equal(status(t), 0);
	assert_int_equal(t->device.features_sel, 0);
	assert_int_equal(t->device.queue_sel, 0);
	for (unsigned i = 0; i < QUEUES; i++)
		assert_false(signalled(t->device.queue[i].kick_fd));
}

static void test_config_space(void **state)
{
	struct toy *t = *state;
	uint8_t data[8];
	uint32_t generation = rd(t, VIRTIO_MMIO_CONFIG_GENERATION);

	virtio_mmio_ops.read(&t->device, 0x101, data, 1);
	assert_int_equal(data[0], 2);
	virtio_mmio_ops.read(&t->device, 0x101, data, 4); /* byte alignment is enough */
	assert_memory_equal(data, "\2\3\4\5", 4);
	virtio_mmio_ops.read(&t->device, 0x100, data, 8);
	assert_memory_equal(data, "\1\2\3\4\5\6\0\0", 8); /* 6 bytes are the device's */
	virtio_mmio_ops.read(&t->device, 0x106, data, 4);
	assert_memory_equal(data, "\0\0\0\0", 4);
	virtio_mmio_ops.read(&t->device, 0x1f8, data, 8);
	assert_memory_equal(data, "\0\0\0\0\0\0\0\0", 8);

	virtio_mmio_ops.write(&t->device, 0x102, data, 4);
	assert_int_equal(t->config_writes, 1);
	assert_int_equal(t->config_offset, 2);
	assert_int_equal(t->config_len, 4);
	virtio_mmio_ops.write(&t->device, 0x103, data, 4); /* one byte too far */
	virtio_mmio_ops.write(&t->device, 0x106, data, 1);
	virtio_mmio_ops.write(&t->device, 0x1f8, data, 8);
	assert_int_equal(t->config_writes, 1);

	/* No interrupt before DRIVER_OK, but a new generation. */
	virtio_config_update(&t->device, 4, "\x77\x88", 2);
	assert_int_equal(rd(t, VIRTIO_MMIO_CONFIG_GENERATION), generation + 1);
	assert_int_equal(rd(t, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	assert_false(signalled(t->device.irq_fd));
	start(t);
	virtio_config_update(&t->device, 4, "\x99\xaa", 2);
	virtio_config_update(&t->device, 5, "\x99\xaa", 2); /* outside: nothing changes */
	virtio_mmio_ops.read(&t->device, 0x104, data, 2);
	assert_memory_equal(data, "\x99\xaa", 2);
	assert_int_equal(rd(t, VIRTIO_MMIO_CONFIG_GENERATION), generation + 2);
	assert_int_equal(rd(t, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	assert_true(signalled(t->device.irq_fd));
}

/* ---- life ---- */

static void test_start_serves_what_is_there(void **state)
{
	struct toy *t = *state;
	struct driver_buf buf = { 0x100000, 64, true };
	uint32_t head, written;

	driver_add(&t->d[0], &buf, 1);
	start(t);
	assert_int_equal(t->starts, 1); /* of three queues one was ready */
	assert_int_equal(t->kicks, 1);
	fake_worker_run(t->w);
	assert_true(driver_take(&t->d[0], &head, &written));
	assert_int_equal(rd(t, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	assert_int_equal(fake_worker_signals(t->w, t->device.queue[0].irq_file), 1);
	wr(t, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
	assert_int_equal(rd(t, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	wr(t, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	assert_int_equal(rd(t, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	/* DRIVER_OK a second time is no second start. */
	wr(t, VIRTIO_MMIO_STATUS, status(t));
	assert_int_equal(t->starts, 1);
}

/* One turn, many requests: one publication and at most one interrupt. */
static void test_batch(void **state)
{
	struct toy *t = *state;
	struct driver_buf buf = { 0x100000, 64, true };

	start(t);
	driver_set_used_event(&t->d[0], 4);
	for (unsigned i = 0; i < 10; i++)
		driver_add(&t->d[0], &buf, 1);
	wr(t, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	assert_true(fake_worker_turn(t->w));
	assert_int_equal(driver_used_idx(&t->d[0]), 10);
	assert_int_equal(fake_worker_signals(t->w, t->device.queue[0].irq_file), 1);
	for (unsigned i = 0; i < 5; i++)
		driver_add(&t->d[0], &buf, 1);
	wr(t, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	fake_worker_run(t->w);
	assert_int_equal(driver_used_idx(&t->d[0]), 15);
	assert_int_equal(fake_worker_signals(t->w, t->device.queue[0].irq_file), 0);
}

static void test_notify_nonsense(void **state)
{
	struct toy *t = *state;

	wr(t, VIRTIO_MMIO_QUEUE_NOTIFY, 0); /* not started */
	fake_worker_run(t->w);
	assert_int_equal(t->kicks, 0);
	start(t);
	t->kicks = 0;
	wr(t, VIRTIO_MMIO_QUEUE_NOTIFY, 1); /* exists, but was never made ready */
	wr(t, VIRTIO_MMIO_QUEUE_NOTIFY, QUEUES);
	wr(t, VIRTIO_MMIO_QUEUE_NOTIFY, VIRTIO_QUEUES_MAX);
	wr(t, VIRTIO_MMIO_QUEUE_NOTIFY, 0xffffffff);
	fake_worker_run(t->w);
	assert_int_equal(t->kicks, 0);
}

static void expect_broken(struct toy *t)
{
	assert_int_equal(status(t), ACK | DRIVER | FEATURES_OK | DRIVER_OK | NEEDS_RESET);
	assert_true(rd(t, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
	assert_int_equal(fake_worker_signals(t->w, t->device.queue[0].irq_file), 1);
	/* It is not listened to any more, */
	t->kicks = 0;
	wr(t, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	fake_worker_run(t->w);
	assert_int_equal(t->kicks, 0);
	/* and after a reset all is well. */
	driver_init(&t->d[0], &t->mem, RING, SIZE);
	start(t);
	assert_int_equal(rd(t, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	assert_int_equal(t->kicks, 1);
}

static void test_fault_needs_reset(void **state)
{
	struct toy *t = *state;

	start(t);
	driver_offer(&t->d[0], SIZE);
	wr(t, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	fake_worker_run(t->w);
	expect_broken(t);
}

static void test_bad_ring_needs_reset(void **state)
{
	struct toy *t = *state;

	t->d[0].config.desc = RAM;
	mmio_start(&t->device, V1 | EVENT_IDX, &t->d[0]);
	assert_int_equal(t->starts, 0);
	expect_broken(t);
}

static void test_failing_start_needs_reset(void **state)
{
	struct toy *t = *state;

	t->start_result = -EIO;
	mmio_start(&t->device, V1 | EVENT_IDX, &t->d[0]);
	assert_int_equal(t->kicks, 0);
	t->start_result = 0;
	expect_broken(t);
}

static void test_reset(void **state)
{
	struct toy *t = *state;

	start(t);
	t->resets = 0; /* drivers begin with one */
	t->busy = true;
	wr(t, VIRTIO_MMIO_STATUS, 0);
	assert_false(t->busy); /* it waited */
	assert_int_equal(t->quiesces, 1);
	assert_int_equal(t->resets, 1);
	assert_int_equal(status(t), 0);
	assert_int_equal(rd(t, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	for (unsigned i = 0; i < QUEUES; i++) {
		wr(t, VIRTIO_MMIO_QUEUE_SEL, i);
		assert_int_equal(rd(t, VIRTIO_MMIO_QUEUE_READY), 0);
	}
	/* A kick that came late finds nobody, and the rings are not touched any more. */
	t->kicks = 0;
	wr(t, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	fake_worker_run(t->w);
	assert_int_equal(t->kicks, 0);
	start(t);
}

static void test_queue_taken_back(void **state)
{
	struct toy *t = *state;

	start(t);
	wr(t, VIRTIO_MMIO_QUEUE_SEL, 0);
	wr(t, VIRTIO_MMIO_QUEUE_READY, 0);
	assert_int_equal(rd(t, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_int_equal(t->quiesces, 1);
	t->kicks = 0;
	wr(t, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	fake_worker_run(t->w);
	assert_int_equal(t->kicks, 0);
	wr(t, VIRTIO_MMIO_QUEUE_READY, 1); /* not while the device runs */
	assert_int_equal(rd(t, VIRTIO_MMIO_QUEUE_READY), 0);
	wr(t, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(t->quiesces, 1);
}

static void test_quiesce_twice(void **state)
{
	struct toy *t = *state;

	virtio_device_quiesce(&t->device); /* never started */
	assert_int_equal(t->quiesces, 0);
	start(t);
	virtio_device_quiesce(&t->device);
	virtio_device_quiesce(&t->device);
	assert_int_equal(t->quiesces, 1);
}

static void test_init_refusals(void **state)
{
	static const struct {
		unsigned queues, queue_max, config_size;
	} bad[] = { { 0, 16, 0 }, { VIRTIO_QUEUES_MAX + 1, 16, 0 }, { 1, 0, 0 },
		{ 1, RING_SIZE_MAX + 1, 0 }, { 1, 16, 65 } };
	struct toy *t = *state;
	struct error err;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct virtio_device *d = calloc(1, sizeof(*d));

		d->ops = &toy_ops;
		d->queues = bad[i].queues;
		d->queue_max = (uint16_t)bad[i].queue_max;
		d->config_size = bad[i].config_size;
		assert_int_equal(virtio_device_init(d, &t->mem, &err), -EINVAL);
		free(d);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(test_identity),
		T(test_features_words),
		T(test_negotiation),
		T(test_status_order),
		T(test_queue_registers),
		T(test_widths),
		T(test_config_space),
		T(test_start_serves_what_is_there),
		T(test_batch),
		T(test_notify_nonsense),
		T(test_fault_needs_reset),
		T(test_bad_ring_needs_reset),
		T(test_failing_start_needs_reset),
		T(test_reset),
		T(test_queue_taken_back),
		T(test_quiesce_twice),
		T(test_init_refusals),
	};

	/* The faults that are provoked here would otherwise be told on standard error. */
	log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
