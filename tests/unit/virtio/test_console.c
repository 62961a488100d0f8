/* The console device in front of a fake console with a little room. */
#include "driver.h"
#include "fake_worker.h"
#include "virtio/console.h"

#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_mmio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	RX,
	TX,
	SIZE = 8,
	RX_RING = 0x10000,
	TX_RING = 0x20000,
	RX_DATA = 0x100000,
	TX_DATA = 0x200000,
	BUF = 16,
	ROOM = 64,
	TICKS = 40
};

struct console {
	struct console_sink sink;
	void (*room)(void *ctx);
	void *room_ctx;
	uint8_t out[4096];
	size_t len, limit;
	unsigned wanted;
	uint16_t columns, rows;
};

void console_set_sink(struct console *c, const struct console_sink *sink)
{
	c->sink = *sink;
}

void console_set_room(struct console *c, void (*room)(void *ctx), void *ctx)
{
	c->room = room;
	c->room_ctx = ctx;
}

void console_input_wanted(struct console *c)
{
	c->wanted++;
}

size_t console_put(struct console *c, const struct iovec *iov, unsigned count, size_t offset)
{
	size_t n = iov_to_buf(iov, count, offset, c->out + c->len, c->limit - c->len);

	c->len += n;
	return n;
}

void console_size(const struct console *c, uint16_t *columns, uint16_t *rows)
{
	*columns = c->columns;
	*rows = c->rows;
}

struct fixture {
	struct guest_memory mem;
	struct worker *w;
	struct console console;
	struct virtio_device *device;
	struct driver rx, tx;
};

static void create(struct fixture *f)
{
	struct error err;

	assert_int_equal(virtio_console_create(&f->device, &f->mem, &f->console, &err), 0);
	assert_int_equal(virtio_console_attach(f->device, f->w, &err), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct error err;

	*state = f;
	f->console.limit = sizeof(f->console.out);
	f->w = fake_worker_new();
	assert_int_equal(memory_create(&f->mem, MEMORY_MIN, &err), 0);
	create(f);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	virtio_device_quiesce(f->device);
	virtio_console_destroy(f->device);
	fake_worker_free(f->w);
	memory_destroy(&f->mem);
	free(f);
	return 0;
}

static void start(struct fixture *f)
{
	uint64_t wanted = 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_CONSOLE_F_SIZE;
	uint32_t status = mmio_negotiate(f->device, wanted & virtio_device_offers(f->device));

	driver_init(&f->rx, &f->mem, RX_RING, SIZE);
	driver_init(&f->tx, &f->mem, TX_RING, SIZE);
	mmio_set_queue(f->device, RX, &f->rx.config);
	mmio_set_queue(f->device, TX, &f->tx.config);
	mmio_write32(f->device, VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void kick(struct fixture *f, unsigned queue)
{
	uint64_t one = 1;

	assert_int_equal(write(f->device->queue[queue].kick_fd, &one, sizeof(one)), sizeof(one));
	fake_worker_turn(f->w);
	fake_worker_turn(f->w);
}

/* The guest prints @text in pieces of at most @step bytes, a buffer of the chain each. */
static void print(struct fixture *f, const char *text, size_t step)
{
	struct driver_buf bufs[SIZE];
	unsigned count = 0;

	assert_int_equal(memory_write(&f->mem, TX_DATA, text, strlen(text)), 0);
	for (size_t at = 0; at < strlen(text); at += step)
		bufs[count++] = (struct driver_buf){ TX_DATA + at,
			(uint32_t)MIN(step, strlen(text) - at), false };
	driver_add(&f->tx, bufs, count);
	kick(f, TX);
}

/* Offer receive buffer @i (again). */
static void offer(struct fixture *f, unsigned i)
{
	driver_add(&f->rx, &(struct driver_buf){ RX_DATA + i * BUF, BUF, true }, 1);
}

static void offer_all(struct fixture *f)
{
	for (unsigned i = 0; i < SIZE; i++)
		offer(f, i);
	kick(f, RX);
}

static size_t type(struct fixture *f, const char *text)
{
	size_t n = f->console.sink.input(f->console.sink.ctx, (const uint8_t *)text, strlen(text));

	/* What timers there are end within as many turns. */
	for (unsigned i = 0; i < TICKS; i++)
		fake_worker_turn(f->w);
	return n;
}

/* The driver takes one buffer back: its length. */
static uint32_t take(struct fixture *f)
{
	uint32_t head, written = 0;

	assert_true(driver_take(&f->rx, &head, &written));
	return written;
}

/* A driver that is up: it has given the empty buffer back. */
static void come_up(struct fixture *f)
{
	offer_all(f);
	assert_int_equal(type(f, "x"), 0);
	assert_int_equal(take(f), 0);
	f->console.wanted = 0;
	offer(f, 0);
	kick(f, TX); /* any sign of life will do */
	assert_int_equal(f->console.wanted, 1);
	while (f->rx.used_idx != driver_used_idx(&f->rx))
		take(f); /* further empty ones, sent before the first came back */
}

static void test_output(void **state)
{
	struct fixture *f = *state;
	uint32_t head, written;

	start(f);
	print(f, "hello, ", 16);
	print(f, "world", 2);
	assert_int_equal(f->console.len, 12);
	assert_memory_equal(f->console.out, "hello, world", 12);
	assert_true(driver_take(&f->tx, &head, &written));
	assert_int_equal(written, 0);
	assert_true(driver_take(&f->tx, &head, &written));
	assert_false(driver_take(&f->tx, &head, &written));
}

/* The console is full: the chain waits, the next ones too, and they come in order. */
static void test_output_waits(void **state)
{
	struct fixture *f = *state;
	uint32_t head, written;

	start(f);
	f->console.limit = 4;
	print(f, "abcdef", 3);
	print(f, "ghi", 3);
	assert_memory_equal(f->console.out, "abcd", 4);
	assert_false(driver_take(&f->tx, &head, &written));
	f->console.limit = 5;
	f->console.room(f->console.room_ctx);
	fake_worker_turn(f->w);
	assert_false(driver_take(&f->tx, &head, &written));
	f->console.limit = 100;
	f->console.room(f->console.room_ctx);
	fake_worker_turn(f->w);
	/* "ghi" overwrote the guest's memory of what was still to be said, as it may. */
	assert_int_equal(f->console.len, 9);
	assert_true(driver_take(&f->tx, &head, &written));
	assert_true(driver_take(&f->tx, &head, &written));
}

/* Reset, or the machine's end, while a chain waits: nothing hangs, and the next driver starts well. */
static void test_reset_while_waiting(void **state)
{
	struct fixture *f = *state;

	start(f);
	f->console.limit = 2;
	print(f, "abc", 16);
	assert_int_equal(f->console.len, 2);
	mmio_write32(f->device, VIRTIO_MMIO_STATUS, 0);
	f->console.limit = 100;
	f->console.room(f->console.room_ctx);
	fake_worker_turn(f->w);
	assert_int_equal(f->console.len, 2);
	start(f);
	print(f, "xyz", 16);
	assert_int_equal(f->console.len, 5);
	assert_memory_equal(f->console.out, "abxyz", 5);
}

/* Linux drops what comes before it knows where to put it. */
static void test_input_waits_for_a_listener(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(type(f, "before"), 0); /* there is no driver at all */
	start(f);
	offer(f, 0); /* it is still filling its queue */
	kick(f, RX);
	assert_int_equal(f->console.sink.input(f->console.sink.ctx, (const uint8_t *)"a", 1), 0);
	fake_worker_turn(f->w);
	assert_int_equal(driver_used_idx(&f->rx), 0);
	for (unsigned i = 1; i < SIZE; i++)
		offer(f, i);
	assert_int_equal(type(f, "a"), 0);
	assert_true(driver_used_idx(&f->rx) > 0);
	assert_int_equal(take(f), 0); /* an empty one, which it throws away */
	assert_int_equal(type(f, "a"), 0);
	assert_int_equal(take(f), 0);
	f->console.wanted = 0;
	offer(f, 1); /* this one comes back */
	fake_worker_turn(f->w);
	fake_worker_turn(f->w);
	assert_int_equal(f->console.wanted, 1);
	assert_int_equal(type(f, "a"), 1);
}

static void test_input(void **state)
{
	struct fixture *f = *state;
	const char *at;

	start(f);
	come_up(f);
	assert_int_equal(type(f, "ls -l\n"), 6);
	at = memory_at(&f->mem, RX_DATA, SIZE * BUF);
	assert_non_null(at);
	assert_int_equal(take(f), 6);
	assert_non_null(memmem(at, SIZE * BUF, "ls -l\n", 6));
}

/* More than all buffers hold: the rest is asked for when there is a buffer again. */
static void test_input_waits_for_buffers(void **state)
{
	struct fixture *f = *state;
	char text[SIZE * BUF * 2] = { 0 };
	size_t got = 0, n;

	memset(text, 'y', sizeof(text) - 1);
	start(f);
	come_up(f);
	n = type(f, text);
	assert_true(n > 0 && n < strlen(text) && n % BUF == 0);
	while (f->rx.used_idx != driver_used_idx(&f->rx))
		got += take(f);
	assert_int_equal(got, n);
	f->console.wanted = 0;
	offer(f, 3);
	kick(f, RX);
	assert_int_equal(f->console.wanted, 1);
	assert_int_equal(type(f, text), BUF);
	assert_int_equal(take(f), BUF);
}

static void test_size(void **state)
{
	struct fixture *f = *state;
	uint64_t size_bit = 1ULL << VIRTIO_CONSOLE_F_SIZE;

	assert_false(virtio_device_offers(f->device) & size_bit); /* no terminal */
	/* A new device, on a new worker: the old one knows the old device's doorbells. */
	virtio_console_destroy(f->device);
	fake_worker_free(f->w);
	f->w = fake_worker_new();
	f->console.columns = 132;
	f->console.rows = 43;
	create(f);
	assert_true(virtio_device_offers(f->device) & size_bit);
	assert_int_equal(mmio_read32(f->device, VIRTIO_MMIO_CONFIG), 132 | 43 << 16);
	start(f);
	f->console.columns = 80;
	virtio_console_resized(f->device);
	assert_int_equal(mmio_read32(f->device, VIRTIO_MMIO_CONFIG), 80 | 43 << 16);
	assert_true(mmio_read32(f->device, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
}

/* Linux asks for the size only after a change interrupt: its first output brings one, and only one. */
static void test_size_is_announced(void **state)
{
	struct fixture *f = *state;

	/* A new device, on a new worker: the old one knows the old device's doorbells. */
	virtio_console_destroy(f->device);
	fake_worker_free(f->w);
	f->w = fake_worker_new();
	f->console.columns = 132;
	f->console.rows = 43;
	create(f);
	start(f);
	assert_false(f->device->interrupt_status & VIRTIO_MMIO_INT_CONFIG);
	print(f, "a", 1);
	assert_true(f->device->interrupt_status & VIRTIO_MMIO_INT_CONFIG);
	mmio_write32(f->device, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
	print(f, "b", 1);
	assert_false(f->device->interrupt_status & VIRTIO_MMIO_INT_CONFIG);
}

/* Nonsense costs the guest its console and nothing else. */
static void test_hostile(void **state)
{
	struct fixture *f = *state;

	start(f);
	driver_add(&f->tx, &(struct driver_buf){ MEMORY_MIN, 16, false }, 1);
	kick(f, TX);
	assert_true(mmio_read32(f->device, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(type(f, "a"), 0);
	mmio_write32(f->device, VIRTIO_MMIO_STATUS, 0);

	start(f);
	/* For the device to write: there is nothing to print. */
	driver_add(&f->tx, &(struct driver_buf){ TX_DATA, 16, true }, 1);
	kick(f, TX);
	assert_int_equal(f->console.len, 0);
	/* Only to read: there is no room in it. */
	for (unsigned i = 0; i < SIZE; i++)
		driver_add(&f->rx, &(struct driver_buf){ RX_DATA, 16, false }, 1);
	kick(f, RX);
	assert_int_equal(type(f, "a"), 0);
	driver_desc(&f->rx, 0, ~0ULL, 64, VRING_DESC_F_WRITE, 0);
	driver_offer(&f->rx, 0);
	kick(f, TX);
	assert_int_equal(type(f, "abc"), 0);
	assert_true(mmio_read32(f->device, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_output, setup, teardown),
		cmocka_unit_test_setup_teardown(test_output_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset_while_waiting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_input_waits_for_a_listener, setup, teardown),
		cmocka_unit_test_setup_teardown(test_input, setup, teardown),
		cmocka_unit_test_setup_teardown(test_input_waits_for_buffers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_size, setup, teardown),
		cmocka_unit_test_setup_teardown(test_size_is_announced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
