/* The ring code with good drivers: chains, batches, notifications. */
#include "ring_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* ---- good drivers ---- */

static void test_chain(void **state)
{
	struct fixture *f = *state;
	struct driver_buf bufs[] = { { DATA, 16, false }, { DATA + 0x1000, 100, false },
		{ DATA + 0x2000, 512, true }, { DATA + 0x3000, 1, true } };
	uint32_t head, written;
	uint16_t offered;

	assert_int_equal(pop(f), 0);
	offered = driver_add(&f->d, bufs, 4);
	assert_int_equal(ring_pending(&f->ring), 1);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.head, offered);
	assert_int_equal(f->chain.out_count, 2);
	assert_int_equal(f->chain.in_count, 2);
	assert_int_equal(f->chain.out_bytes, 116);
	assert_int_equal(f->chain.in_bytes, 513);
	for (unsigned i = 0; i < 4; i++) {
		assert_ptr_equal(f->iov[i].iov_base, host(f, bufs[i].addr));
		assert_int_equal(f->iov[i].iov_len, bufs[i].len);
	}
	assert_int_equal(pop(f), 0);

	ring_push(&f->ring, f->chain.head, 513);
	assert_false(driver_take(&f->d, &head, &written)); /* prepared is not published */
	assert_true(ring_publish(&f->ring));
	assert_true(driver_take(&f->d, &head, &written));
	assert_int_equal(head, offered);
	assert_int_equal(written, 513);
	assert_false(ring_publish(&f->ring)); /* nothing new */
}

static void test_neighbours_are_joined(void **state)
{
	struct fixture *f = *state;
	struct driver_buf bufs[] = { { DATA, 16, false }, { DATA + 16, 48, false },
		{ DATA + 64, 100, true }, { DATA + 164, 28, true }, { DATA + 200, 1, true } };

	driver_add(&f->d, bufs, 5);
	assert_int_equal(pop(f), 1);
	/* Readable and writable touch as well, and must stay two. */
	assert_int_equal(f->chain.out_count, 1);
	assert_int_equal(f->iov[0].iov_len, 64);
	assert_int_equal(f->chain.in_count, 2);
	assert_int_equal(f->iov[1].iov_len, 128);
	assert_int_equal(f->iov[2].iov_len, 1);
}

static void test_indirect(void **state)
{
	struct fixture *f = *state;

	/* An odd address is allowed, and so is one direct buffer ahead; WRITE there means nothing. */
	driver_desc_at(&f->mem, TABLE + 3, 0, DATA + 0x1000, 10, NEXT, 2);
	driver_desc_at(&f->mem, TABLE + 3, 2, DATA + 0x2000, 20, WRITE, 0);
	driver_desc(&f->d, 5, DATA, 16, NEXT, 6);
	driver_desc(&f->d, 6, TABLE + 3, 48, INDIRECT | WRITE, 0);
	driver_offer(&f->d, 5);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.head, 5);
	assert_int_equal(f->chain.out_count, 2);
	assert_int_equal(f->chain.in_count, 1);
	assert_int_equal(f->chain.out_bytes, 26);
	assert_int_equal(f->chain.in_bytes, 20);
}

static void test_full_chain_and_full_ring(void **state)
{
	struct fixture *f = *state;
	struct driver_buf bufs[SIZE];

	for (unsigned i = 0; i < SIZE; i++)
		bufs[i] = (struct driver_buf){ DATA + 0x1000 * i, 1, true };
	driver_add(&f->d, bufs, SIZE);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.in_count, SIZE);

	again(f, SIZE, true);
	for (unsigned i = 0; i < SIZE; i++)
		driver_add(&f->d, bufs, 1);
	assert_int_equal(ring_pending(&f->ring), SIZE);
	for (unsigned i = 0; i < SIZE; i++)
		assert_int_equal(pop(f), 1);
	assert_int_equal(pop(f), 0);
}

static void test_last_byte_of_ram(void **state)
{
	struct fixture *f = *state;
	struct driver_buf last = { RAM - 1, 1, true }, behind = { RAM - 1, 2, true };

	driver_add(&f->d, &last, 1);
	assert_int_equal(pop(f), 1);
	driver_add(&f->d, &behind, 1);
	expect_fault(f, "not in memory");
}

/* The indices are free-running: 65536 is no border for anybody. */
static void test_indices_wrap(void **state)
{
	struct fixture *f = *state;
	struct driver_buf buf = { DATA, 8, true };
	uint32_t head, written;

	for (unsigned i = 0; i < 70000; i++) {
		uint16_t offered = driver_add(&f->d, &buf, 1);

		driver_set_used_event(&f->d, (uint16_t)i);
		assert_int_equal(pop(f), 1);
		ring_push(&f->ring, f->chain.head, i);
		assert_true(ring_publish(&f->ring));
		assert_true(driver_take(&f->d, &head, &written));
		assert_int_equal(head, offered);
		assert_int_equal(written, i);
	}
}

static void test_unpop(void **state)
{
	struct fixture *f = *state;
	struct driver_buf bufs[] = { { DATA, 1, true }, { DATA + 10, 2, true },
		{ DATA + 20, 3, true } };

	for (unsigned i = 0; i < 3; i++)
		driver_add(&f->d, &bufs[i], 1);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pop(f), 1);
	ring_unpop(&f->ring, 2);
	assert_int_equal(ring_pending(&f->ring), 2);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.in_bytes, 2);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.in_bytes, 3);
	ring_unpop(&f->ring, 4); /* more than there are: ignored */
	assert_int_equal(f->ring.in_use, 3);
	ring_unpop(&f->ring, 3);
	assert_int_equal(f->ring.in_use, 0);
	assert_int_equal(ring_pending(&f->ring), 3);
}

/* ---- notifications ---- */

static void push_some(struct fixture *f, unsigned n)
{
	struct driver_buf buf = { DATA, 8, true };

	for (unsigned i = 0; i < n; i++) {
		driver_add(&f->d, &buf, 1);
		assert_int_equal(pop(f), 1);
		ring_push(&f->ring, f->chain.head, 0);
	}
}

static void test_used_event(void **state)
{
	struct fixture *f = *state;

	driver_set_used_event(&f->d, 3);
	push_some(f, 3);
	assert_false(ring_publish(&f->ring)); /* 0, 1, 2: not yet */
	push_some(f, 1);
	assert_true(ring_publish(&f->ring)); /* 3 */
	push_some(f, 4);
	assert_false(ring_publish(&f->ring)); /* 4 to 7: past it */
	driver_set_used_event(&f->d, 9);
	push_some(f, 4);
	assert_true(ring_publish(&f->ring)); /* 8 to 11: in the middle of a batch */
}

static void test_no_interrupt_flag(void **state)
{
	struct fixture *f = *state;

	again(f, SIZE, false);
	push_some(f, 1);
	assert_true(ring_publish(&f->ring));
	driver_set_avail_flags(&f->d, VRING_AVAIL_F_NO_INTERRUPT);
	push_some(f, 1);
	assert_false(ring_publish(&f->ring));
}

static void test_kicks_with_event_idx(void **state)
{
	struct fixture *f = *state;
	struct driver_buf buf = { DATA, 8, true };

	ring_kicks_off(&f->ring);
	driver_add(&f->d, &buf, 1);
	assert_int_equal(pop(f), 1);
	assert_int_equal(driver_avail_event(&f->d), 0); /* passed: no kick for 1 */
	assert_int_equal(driver_used_flags(&f->d), 0);	/* must stay 0 with EVENT_IDX */
	assert_false(ring_kicks_on(&f->ring));
	assert_int_equal(driver_avail_event(&f->d), 1);
	driver_add(&f->d, &buf, 1);
	assert_true(ring_kicks_on(&f->ring)); /* came before we asked to be kicked */
}

static void test_kicks_with_flag(void **state)
{
	struct fixture *f = *state;
	struct driver_buf buf = { DATA, 8, true };

	again(f, SIZE, false);
	ring_kicks_off(&f->ring);
	assert_int_equal(driver_used_flags(&f->d), VRING_USED_F_NO_NOTIFY);
	assert_false(ring_kicks_on(&f->ring));
	assert_int_equal(driver_used_flags(&f->d), 0);
	driver_add(&f->d, &buf, 1);
	assert_true(ring_kicks_on(&f->ring));
}

static void test_iov_copy(void **state)
{
	char a[3] = "abc", b[1] = "d", c[4] = "efgh", flat[16] = { 0 };
	struct iovec iov[] = { { a, 3 }, { b, 1 }, { NULL, 0 }, { c, 4 } };

	assert_int_equal(iov_to_buf(iov, 4, 0, flat, sizeof(flat)), 8);
	assert_memory_equal(flat, "abcdefgh", 8);
	assert_int_equal(iov_to_buf(iov, 4, 2, flat, 4), 4);
	assert_memory_equal(flat, "cdef", 4);
	assert_int_equal(iov_to_buf(iov, 4, 4, flat, 16), 4);
	assert_int_equal(iov_to_buf(iov, 4, 8, flat, 16), 0);
	assert_int_equal(iov_to_buf(iov, 4, 100, flat, 16), 0);
	assert_int_equal(iov_from_buf(iov, 4, 2, "XYZ", 3), 3);
	assert_memory_equal(a, "abX", 3);
	assert_memory_equal(b, "Y", 1);
	assert_memory_equal(c, "Zfgh", 4);
	assert_int_equal(iov_from_buf(iov, 4, 7, "12", 2), 1);
	assert_memory_equal(c, "Zfg1", 4);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(test_chain),
		T(test_neighbours_are_joined),
		T(test_indirect),
		T(test_full_chain_and_full_ring),
		T(test_last_byte_of_ram),
		T(test_indices_wrap),
		T(test_unpop),
		T(test_used_event),
		T(test_no_interrupt_flag),
		T(test_kicks_with_event_idx),
		T(test_kicks_with_flag),
		T(test_iov_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
