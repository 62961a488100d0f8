/* The ring code against good drivers and against every kind of bad one. */
#include "driver.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RAM = 4 * 1024 * 1024, RING = 0x1000, DATA = 0x10000, TABLE = 0x8000, SIZE = 8 };

#define NEXT	 VRING_DESC_F_NEXT
#define WRITE	 VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

struct fixture {
	struct guest_memory mem;
	struct driver d;
	struct ring ring;
	struct iovec iov[1100];
	struct ring_chain chain;
};

static void begin(struct fixture *f, uint16_t size, bool event_idx)
{
	struct error err;

	memset(f, 0, sizeof(*f));
	assert_int_equal(memory_create(&f->mem, RAM, &err), 0);
	driver_init(&f->d, &f->mem, RING, size);
	assert_int_equal(ring_start(&f->ring, &f->mem, &f->d.config, event_idx, true), 0);
	f->chain.iov = f->iov;
	f->chain.iov_cap = ARRAY_SIZE(f->iov);
}

static int setup(void **state)
{
	*state = malloc(sizeof(struct fixture));
	begin(*state, SIZE, true);
	return 0;
}

static int teardown(void **state)
{
	memory_destroy(&((struct fixture *)*state)->mem);
	free(*state);
	return 0;
}

static void again(struct fixture *f, uint16_t size, bool event_idx)
{
	memory_destroy(&f->mem);
	begin(f, size, event_idx);
}

static int pop(struct fixture *f)
{
	return ring_pop(&f->ring, &f->chain);
}

/* The ring must break with these words in its fault, stay broken, and touch nothing more. */
static void expect_fault(struct fixture *f, const char *words)
{
	uint16_t used = driver_used_idx(&f->d);

	assert_int_equal(pop(f), -EIO);
	assert_true(f->ring.broken);
	assert_non_null(f->ring.fault);
	if (!strstr(f->ring.fault, words))
		fail_msg("fault is '%s', expected '%s'", f->ring.fault, words);
	assert_int_equal(pop(f), -EIO);
	ring_push(&f->ring, 0, 0);
	ring_unpop(&f->ring, 1);
	assert_false(ring_publish(&f->ring));
	assert_false(ring_kicks_on(&f->ring));
	assert_int_equal(ring_pending(&f->ring), 0);
	assert_int_equal(driver_used_idx(&f->d), used);
}

static void *host(struct fixture *f, gpa_t gpa)
{
	return memory_at(&f->mem, gpa, 1);
}

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
	ring_unpop(&f->ring, 100); /* more than there are: ignored */
	assert_int_equal(f->ring.in_use, 3);
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

/* ---- bad drivers ---- */

static void test_start_refusals(void **state)
{
	struct fixture *f = *state;
	static const struct ring_config bad[] = {
		{ 0, RING, RING + 0x400, RING + 0x800, true },
		{ 3, RING, RING + 0x400, RING + 0x800, true },
		{ 512, RING, RING + 0x4000, RING + 0x8000, true },
		{ 0x8000, RING, RING + 0x100000, RING + 0x200000, true },
		{ SIZE, RING + 8, RING + 0x400, RING + 0x800, true },
		{ SIZE, RING, RING + 0x401, RING + 0x800, true },
		{ SIZE, RING, RING + 0x400, RING + 0x802, true },
		{ SIZE, RAM, RING + 0x400, RING + 0x800, true },
		{ SIZE, RAM - 16 * SIZE + 16, RING + 0x400, RING + 0x800, true },
		{ SIZE, RING, RAM - (6 + 2 * SIZE) + 2, RING + 0x800, true },
		{ SIZE, RING, RING + 0x400, RAM - (6 + 8 * SIZE) + 2, true },
		{ SIZE, 0xfffffffffffffff0, RING + 0x400, RING + 0x800, true },
		{ SIZE, RING, 0xfffffffffffffffe, RING + 0x800, true },
		{ SIZE, RING, RING + 0x400, 0xfffffffffffffffc, true },
		{ SIZE, 0xd0000000, RING + 0x400, RING + 0x800, true },
	};
	struct ring_config at_end = { SIZE, RAM - 16 * SIZE, RING, RING + 0x800, true };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		if (ring_start(&f->ring, &f->mem, &bad[i], true, true) != -EINVAL)
			fail_msg("configuration %u was accepted", i);
		assert_true(f->ring.broken);
		assert_non_null(f->ring.fault);
		assert_int_equal(pop(f), -EIO);
		assert_false(ring_publish(&f->ring));
		assert_false(ring_kicks_on(&f->ring));
		ring_kicks_off(&f->ring);
	}
	assert_int_equal(ring_start(&f->ring, &f->mem, &at_end, true, true), 0);
}

static void test_head_out_of_range(void **state)
{
	static const uint16_t heads[] = { SIZE, SIZE + 1, 0x7fff, 0xffff };
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(heads); i++) {
		again(f, SIZE, true);
		driver_offer(&f->d, heads[i]);
		expect_fault(f, "head of a chain");
	}
}

static void test_index_jumps(void **state)
{
	struct fixture *f = *state;

	driver_set_avail_idx(&f->d, SIZE + 1);
	expect_fault(f, "jumped");
	again(f, SIZE, true);
	driver_set_avail_idx(&f->d, 0xffff); /* backwards */
	expect_fault(f, "jumped");
	again(f, SIZE, true);
	driver_set_avail_idx(&f->d, SIZE + 1);
	assert_int_equal(ring_pending(&f->ring), 0);
	assert_true(f->ring.broken);
}

static void test_loops(void **state)
{
	struct fixture *f = *state;

	driver_desc(&f->d, 0, DATA, 8, NEXT, 0);
	driver_offer(&f->d, 0);
	expect_fault(f, "loop");

	again(f, SIZE, true);
	for (unsigned i = 0; i < SIZE; i++)
		driver_desc(&f->d, i, DATA + 16 * i, 8, NEXT, (uint16_t)((i + 1) % SIZE));
	driver_offer(&f->d, 3);
	expect_fault(f, "loop");

	/* In an indirect table, and one whose buffers join so that no iovec limit ends it. */
	again(f, SIZE, true);
	driver_desc_at(&f->mem, TABLE, 0, DATA, 8, NEXT, 1);
	driver_desc_at(&f->mem, TABLE, 1, DATA + 8, 8, NEXT, 0);
	driver_desc(&f->d, 0, TABLE, 32, INDIRECT, 0);
	driver_offer(&f->d, 0);
	expect_fault(f, "loop");
}

static void test_too_long_an_indirect_chain(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i <= RING_CHAIN_MAX; i++)
		driver_desc_at(&f->mem, TABLE, i, DATA + 0x10000 + i, 1, NEXT, (uint16_t)(i + 1));
	driver_desc(&f->d, 0, TABLE, 16 * (RING_CHAIN_MAX + 2), INDIRECT, 0);
	driver_offer(&f->d, 0);
	expect_fault(f, "too long");
}

static void test_next_out_of_range(void **state)
{
	static const uint16_t nexts[] = { SIZE, 0xffff };
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(nexts); i++) {
		again(f, SIZE, true);
		driver_desc(&f->d, 0, DATA, 8, NEXT, nexts[i]);
		driver_offer(&f->d, 0);
		expect_fault(f, "next is outside");
	}
	again(f, SIZE, true);
	driver_desc_at(&f->mem, TABLE, 0, DATA, 8, NEXT, 2);
	driver_desc(&f->d, 0, TABLE, 32, INDIRECT, 0);
	driver_offer(&f->d, 0);
	expect_fault(f, "next is outside");
}

static void test_bad_buffers(void **state)
{
	static const struct {
		gpa_t addr;
		uint32_t len;
		const char *words;
	} bad[] = {
		{ DATA, 0, "no bytes" },
		{ RAM, 1, "not in memory" },
		{ RAM - 8, 9, "not in memory" },
		{ 0, 0xffffffff, "not in memory" },
		{ 0xffffffffffffffff, 1, "not in memory" },
		{ 0xffffffffffffffff, 2, "not in memory" },
		{ 0xfffffffffffff000, 0x2000, "not in memory" },
		{ LAYOUT_VIRTIO, 4, "not in memory" },
		{ LAYOUT_HOLE_END, 4, "not in memory" },
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct driver_buf buf = { bad[i].addr, bad[i].len, true };

		again(f, SIZE, true);
		driver_add(&f->d, &buf, 1);
		expect_fault(f, bad[i].words);
	}
}

static void test_total_over_32_bits(void **state)
{
	struct fixture *f = *state;

	/* 1024 times all 4 MiB of memory are 2^32 bytes: one too many. */
	for (unsigned i = 0; i < 1024; i++)
		driver_desc_at(&f->mem, TABLE, i, 0, RAM, WRITE | (i < 1023 ? NEXT : 0),
			(uint16_t)(i + 1));
	driver_desc(&f->d, 0, TABLE, 16 * 1024, INDIRECT, 0);
	driver_offer(&f->d, 0);
	expect_fault(f, "4 GiB");

	again(f, SIZE, true);
	for (unsigned i = 0; i < 1024; i++)
		driver_desc_at(&f->mem, TABLE, i, 0, i ? RAM : RAM - 1,
			WRITE | (i < 1023 ? NEXT : 0), (uint16_t)(i + 1));
	driver_desc(&f->d, 0, TABLE, 16 * 1024, INDIRECT, 0);
	driver_offer(&f->d, 0);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.in_bytes, UINT32_MAX);
}

static void test_bad_indirect(void **state)
{
	static const struct {
		gpa_t addr;
		uint32_t len;
		uint16_t flags;
		const char *words;
	} bad[] = {
		{ TABLE, 0, INDIRECT, "multiple of 16" },
		{ TABLE, 15, INDIRECT, "multiple of 16" },
		{ TABLE, 17, INDIRECT, "multiple of 16" },
		{ TABLE, 0xffffffff, INDIRECT, "multiple of 16" },
		{ TABLE, 0xfffffff0, INDIRECT, "not in memory" },
		{ RAM - 16, 32, INDIRECT, "not in memory" },
		{ 0xfffffffffffffff8, 16, INDIRECT, "not in memory" },
		{ TABLE, 16, INDIRECT | NEXT, "with a next" },
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		again(f, SIZE, true);
		driver_desc_at(&f->mem, TABLE, 0, DATA, 8, 0, 0);
		driver_desc(&f->d, 0, bad[i].addr, bad[i].len, bad[i].flags, 1);
		driver_offer(&f->d, 0);
		expect_fault(f, bad[i].words);
	}

	again(f, SIZE, true);
	driver_desc_at(&f->mem, TABLE, 0, TABLE, 16, INDIRECT, 0);
	driver_desc(&f->d, 0, TABLE, 16, INDIRECT, 0);
	driver_offer(&f->d, 0);
	expect_fault(f, "inside an indirect table");

	/* A table that lies on top of the ring's own is still an indirect one. */
	again(f, SIZE, true);
	driver_desc(&f->d, 0, RING, 16 * SIZE, INDIRECT, 0);
	driver_offer(&f->d, 0);
	expect_fault(f, "inside an indirect table");

	again(f, SIZE, true);
	assert_int_equal(ring_start(&f->ring, &f->mem, &f->d.config, true, false), 0);
	driver_desc(&f->d, 0, TABLE, 16, INDIRECT, 0);
	driver_offer(&f->d, 0);
	expect_fault(f, "without the feature");
}

static void test_writable_before_readable(void **state)
{
	struct fixture *f = *state;
	struct driver_buf bufs[] = { { DATA, 8, true }, { DATA + 8, 8, false } };

	driver_add(&f->d, bufs, 2);
	expect_fault(f, "follows a writable");
}

static void test_more_buffers_than_room(void **state)
{
	struct fixture *f = *state;
	struct driver_buf bufs[] = { { DATA, 8, true }, { DATA + 16, 8, true },
		{ DATA + 32, 8, true } };

	f->chain.iov_cap = 2;
	driver_add(&f->d, bufs, 3);
	expect_fault(f, "more buffers");
}

/* One head offered again and again: no device can be made to hold more than size chains. */
static void test_more_chains_than_entries(void **state)
{
	struct fixture *f = *state;
	struct driver_buf buf = { DATA, 8, true };

	for (unsigned i = 0; i < SIZE; i++) {
		driver_add(&f->d, &buf, 1);
		assert_int_equal(pop(f), 1);
	}
	driver_offer(&f->d, 0);
	expect_fault(f, "more chains");
}

struct flipper {
	struct fixture *f;
	_Atomic bool stop;
};

/* A vCPU that changes a descriptor while the device looks at it. */
static void *flip(void *arg)
{
	struct flipper *p = arg;
	uint64_t *rest = memory_at(&p->f->mem, RING + 8, 8);
	uint64_t *addr = memory_at(&p->f->mem, RING, 8);

	while (!atomic_load(&p->stop)) {
		__atomic_store_n(rest, 64ULL, __ATOMIC_RELAXED);
		__atomic_store_n(addr, (uint64_t)RAM - 64, __ATOMIC_RELAXED);
		__atomic_store_n(addr, (uint64_t)RAM - 8, __ATOMIC_RELAXED);
		__atomic_store_n(rest, 8ULL, __ATOMIC_RELAXED);
		__atomic_store_n(rest, 0xffffffffULL, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Whatever is read, what was checked is what is used: every iovec lies in memory. */
static void test_descriptor_changes_meanwhile(void **state)
{
	struct fixture *f = *state;
	uint8_t *ram = memory_at(&f->mem, 0, RAM);
	struct flipper p = { .f = f };
	pthread_t thread;

#ifdef __SANITIZE_THREAD__
	skip(); /* a guest's race is meant to be one */
#endif
	driver_desc(&f->d, 0, RAM - 8, 8, 0, 0);
	assert_int_equal(pthread_create(&thread, NULL, flip, &p), 0);
	for (unsigned i = 0; i < 200000; i++) {
		assert_int_equal(ring_start(&f->ring, &f->mem, &f->d.config, true, true), 0);
		driver_set_avail_idx(&f->d, 1);
		if (pop(f) != 1)
			continue;
		assert_int_equal(f->chain.out_count, 1);
		assert_true((uint8_t *)f->iov[0].iov_base >= ram);
		assert_true((uint8_t *)f->iov[0].iov_base + f->iov[0].iov_len <= ram + RAM);
		assert_int_equal(f->chain.out_bytes, f->iov[0].iov_len);
	}
	atomic_store(&p.stop, true);
	pthread_join(thread, NULL);
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
		T(test_start_refusals),
		T(test_head_out_of_range),
		T(test_index_jumps),
		T(test_loops),
		T(test_too_long_an_indirect_chain),
		T(test_next_out_of_range),
		T(test_bad_buffers),
		T(test_total_over_32_bits),
		T(test_bad_indirect),
		T(test_writable_before_readable),
		T(test_more_buffers_than_room),
		T(test_more_chains_than_entries),
		T(test_descriptor_changes_meanwhile),
		T(test_iov_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
