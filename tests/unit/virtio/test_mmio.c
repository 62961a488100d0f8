/* The register machine: every register, every state, every width. */
#include "toy.h"
#include "vmm/bus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

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
	virtio_mmio_ops.write(&t->device, 0x100, data, 1);
	assert_int_equal(t->config_writes, 2);
	assert_int_equal(t->config_offset, 0);
	virtio_mmio_ops.write(&t->device, 0x103, data, 4); /* one byte too far */
	virtio_mmio_ops.write(&t->device, 0x106, data, 1);
	virtio_mmio_ops.write(&t->device, 0x1f8, data, 8);
	assert_int_equal(t->config_writes, 2);

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
	};

	/* The faults that are provoked here would otherwise be told on standard error. */
	log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
