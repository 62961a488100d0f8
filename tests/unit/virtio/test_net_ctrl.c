/* The control queue of the network device, and which queue is what. */
#include "card.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define F(name) (1ULL << VIRTIO_NET_F_##name)

enum { ACK = CARD_DATA + 0x800, UNTOUCHED = 0xee };

/* One command on @queue. Returns the answer's byte. */
static uint8_t command(struct card *c, unsigned queue, const void *bytes, uint32_t len)
{
	struct driver_buf bufs[3] = { { CARD_DATA, 2, false }, { CARD_DATA + 2, len - 2, false },
		{ ACK, 1, true } };
	uint8_t *ack = card_at(c, ACK);
	uint32_t h, n;

	*ack = UNTOUCHED;
	memcpy(card_at(c, CARD_DATA), bytes, len);
	if (len > 2) {
		driver_add(&c->d[queue], bufs, 3);
	} else {
		bufs[0].len = len;
		bufs[1] = bufs[2];
		driver_add(&c->d[queue], bufs, 2);
	}
	card_notify(c, queue);
	assert_true(driver_take(&c->d[queue], &h, &n));
	assert_int_equal(n, 1);
	return *ack;
}

static uint8_t set_pairs(struct card *c, unsigned queue, uint16_t pairs)
{
	uint8_t bytes[4] = { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET };

	memcpy(bytes + 2, &pairs, 2);
	return command(c, queue, bytes, sizeof(bytes));
}

static uint8_t set_mac(struct card *c, unsigned queue)
{
	static const uint8_t bytes[] = { VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 2, 9, 9,
		9, 9, 9 };

	return command(c, queue, bytes, sizeof(bytes));
}

static uint8_t last_mac_byte(struct card *c)
{
	uint8_t byte;

	virtio_mmio_ops.read(c->device, VIRTIO_MMIO_CONFIG + 5, &byte, 1);
	return byte;
}

static void test_pairs(void **state)
{
	struct card c;

	card_open(&c, 2, 0);
	card_start(&c, 0, 16);
	assert_int_equal(c.wire.pairs, 1);
	assert_int_equal(c.wire.starts[1], 1);
	assert_int_equal(set_pairs(&c, 4, 2), VIRTIO_NET_OK);
	assert_int_equal(c.wire.pairs, 2);
	assert_int_equal(set_pairs(&c, 4, 3), VIRTIO_NET_ERR);
	assert_int_equal(set_pairs(&c, 4, 0), VIRTIO_NET_ERR);
	assert_int_equal(set_pairs(&c, 4, 0x8000), VIRTIO_NET_ERR);
	assert_int_equal(c.wire.pairs, 2);
	c.wire.fail_pairs = -5;
	assert_int_equal(set_pairs(&c, 4, 1), VIRTIO_NET_ERR);
	c.wire.fail_pairs = 0;
	/* A new driver begins with one. */
	card_start(&c, 0, 16);
	assert_int_equal(c.wire.pairs, 1);
	card_close(&c);
}

/* Without MQ queue 2 is the control queue, whatever it would have been. */
static void test_without_mq(void **state)
{
	struct card c;

	card_open(&c, 2, 0);
	card_start(&c, F(MQ), 16);
	assert_int_equal(c.wire.starts[1], 0);
	assert_int_equal(set_mac(&c, 2), VIRTIO_NET_OK);
	assert_int_equal(set_pairs(&c, 2, 1), VIRTIO_NET_ERR);
	/* What lies behind it is nothing. */
	driver_add(&c.d[3], &(struct driver_buf){ CARD_DATA, 100, false }, 1);
	card_notify(&c, 3);
	card_notify(&c, 4);
	assert_int_equal(c.wire.sent, 0);
	assert_false(card_broken(&c));
	card_close(&c);
}

static void test_mac(void **state)
{
	struct card c;

	card_open(&c, 1, 0);
	card_start(&c, 0, 16);
	assert_int_equal(last_mac_byte(&c), 5);
	assert_int_equal(set_mac(&c, 2), VIRTIO_NET_OK);
	assert_int_equal(last_mac_byte(&c), 9);
	card_reset(&c);
	assert_int_equal(last_mac_byte(&c), 5);
	card_start(&c, F(CTRL_MAC_ADDR), 16);
	assert_int_equal(set_mac(&c, 2), VIRTIO_NET_ERR);
	assert_int_equal(last_mac_byte(&c), 5);
	card_start(&c, F(CTRL_VQ), 16); /* no control queue at all */
	driver_add(&c.d[2], &(struct driver_buf){ ACK, 1, true }, 1);
	card_notify(&c, 2);
	assert_int_equal(driver_used_idx(&c.d[2]), 0);
	card_close(&c);
}

static void test_nonsense(void **state)
{
	struct card c;
	uint8_t bytes[300] = { 77, 1 };

	card_open(&c, 2, 0);
	card_start(&c, 0, 16);
	assert_int_equal(command(&c, 4, bytes, sizeof(bytes)), VIRTIO_NET_ERR);
	assert_int_equal(command(&c, 4, bytes, 2), VIRTIO_NET_ERR);
	assert_int_equal(command(&c, 4, bytes, 1), VIRTIO_NET_ERR);
	bytes[0] = VIRTIO_NET_CTRL_MQ;
	bytes[1] = VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET;
	assert_int_equal(command(&c, 4, bytes, 3), VIRTIO_NET_ERR);
	bytes[0] = VIRTIO_NET_CTRL_MAC;
	bytes[1] = VIRTIO_NET_CTRL_MAC_ADDR_SET;
	assert_int_equal(command(&c, 4, bytes, 7), VIRTIO_NET_ERR);
	assert_false(card_broken(&c));
	/* An answer that has nowhere to go. */
	driver_add(&c.d[4], &(struct driver_buf){ CARD_DATA, 4, false }, 1);
	card_notify(&c, 4);
	assert_true(card_broken(&c));
	/* And one without a question. */
	card_start(&c, 0, 16);
	driver_add(&c.d[4], &(struct driver_buf){ ACK, 1, true }, 1);
	card_notify(&c, 4);
	assert_int_equal(*(uint8_t *)card_at(&c, ACK), VIRTIO_NET_ERR);
	assert_false(card_broken(&c));
	card_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_without_mq),
		cmocka_unit_test(test_mac),
		cmocka_unit_test(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
