/* The ring code against every kind of bad driver. */
#include "ring_rig.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

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

/* What was taken before the ring broke is not shown any more. */
static void test_fault_with_chains_in_use(void **state)
{
	struct fixture *f = *state;
	struct driver_buf buf = { DATA, 8, true };
	uint16_t head;

	for (unsigned i = 0; i < 2; i++) {
		driver_add(&f->d, &buf, 1);
		assert_int_equal(pop(f), 1);
	}
	head = f->chain.head;
	ring_push(&f->ring, head, 8);
	driver_offer(&f->d, SIZE);
	expect_fault(f, "head of a chain");
	ring_push(&f->ring, head, 8);
	assert_int_equal(f->ring.next_used, 1);
	assert_false(ring_publish(&f->ring));
	assert_int_equal(driver_used_idx(&f->d), 0);
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

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
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
		T(test_fault_with_chains_in_use),
		T(test_more_chains_than_entries),
		T(test_descriptor_changes_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
