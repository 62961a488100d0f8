/* Guest memory: what memory_at() takes and refuses at every edge. Buses: who answers where. */
#include "util/macros.h"
#include "vmm/bus.h"
#include "vmm/memory.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_edges(void **state)
{
	struct guest_memory m;
	struct error err = { 0 };

	assert_int_equal(memory_create(&m, 5 * GIB, &err), 0);
	assert_int_equal(m.regions, 2);
	assert_int_equal(memory_low_end(&m), 3 * GIB);
	assert_ptr_equal(memory_at(&m, 0, 1), m.region[0].host);
	/* The last byte, and a buffer that ends exactly at the end of RAM. */
	assert_non_null(memory_at(&m, 3 * GIB - 1, 1));
	assert_non_null(memory_at(&m, 3 * GIB - 4096, 4096));
	assert_non_null(memory_at(&m, 0, 3 * GIB));
	assert_null(memory_at(&m, 3 * GIB - 4096, 4097));
	/* The hole, and across it. */
	assert_null(memory_at(&m, 3 * GIB, 1));
	assert_null(memory_at(&m, 4 * GIB - 1, 1));
	assert_null(memory_at(&m, 4 * GIB - 1, 2));
	assert_null(memory_at(&m, 0, 5 * GIB));
	/* Above it. */
	assert_ptr_equal(memory_at(&m, 4 * GIB, 1), m.region[1].host);
	assert_non_null(memory_at(&m, 6 * GIB - 1, 1));
	assert_non_null(memory_at(&m, 4 * GIB, 2 * GIB));
	assert_null(memory_at(&m, 6 * GIB - 1, 2));
	assert_null(memory_at(&m, 6 * GIB, 1));
	/* Wrap-around and nothing at all. */
	assert_null(memory_at(&m, UINT64_MAX, 1));
	assert_null(memory_at(&m, UINT64_MAX, 2));
	assert_null(memory_at(&m, 4096, UINT64_MAX));
	assert_null(memory_at(&m, 4096, UINT64_MAX - 4095));
	assert_null(memory_at(&m, 0, 0));
	memory_destroy(&m);
}

static void test_sizes(void **state)
{
	struct guest_memory m;
	struct error err = { 0 };

	assert_int_equal(memory_create(&m, 0, &err), -EINVAL);
	assert_int_equal(err.kind, ERROR_USAGE);
	assert_int_equal(memory_create(&m, 16 * MIB + 1, &err), -EINVAL);
	assert_int_equal(memory_create(&m, UINT64_MAX - 4095, &err), -ENOMEM);
	assert_int_equal(err.kind, ERROR_HOST);
	assert_int_equal(memory_create(&m, 3 * GIB, &err), 0);
	assert_int_equal(m.regions, 1);
	memory_destroy(&m);
	assert_int_equal(memory_create(&m, 3 * GIB + 4096, &err), 0);
	assert_int_equal(m.regions, 2);
	assert_non_null(memory_at(&m, 4 * GIB, 4096));
	assert_null(memory_at(&m, 4 * GIB, 4097));
	memory_destroy(&m);
	memory_destroy(&m); /* twice is harmless */
}

static void test_write(void **state)
{
	struct guest_memory m;

	assert_int_equal(memory_create(&m, 4 * MIB, NULL), 0);
	assert_int_equal(memory_write(&m, 4 * MIB - 4, "abcd", 4), 0);
	assert_memory_equal(memory_at(&m, 4 * MIB - 4, 4), "abcd", 4);
	assert_int_equal(memory_write(&m, 4 * MIB - 3, "abcd", 4), -EFAULT);
	assert_int_equal(memory_write(&m, 4 * MIB, "", 0), 0);
	memory_destroy(&m);
}

static uint64_t last_offset;

static void note_read(void *ctx, uint64_t offset, uint8_t *data, unsigned len)
{
	last_offset = offset;
	memset(data, *(int *)ctx, len);
}

static void note_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned len)
{
	last_offset = 1000 + offset;
}

static void test_bus(void **state)
{
	static const struct bus_ops ops = { .read = note_read, .write = note_write };
	struct bus bus = { .name = "pio" };
	struct error err = { 0 };
	int a = 1, b = 2;
	uint8_t d[8];

	assert_int_equal(bus_add(&bus, 0x200, 0x10, &ops, &b, &err), 0);
	assert_int_equal(bus_add(&bus, 0x100, 0x10, &ops, &a, &err), 0);
	assert_int_equal(bus_add(&bus, 0x10f, 1, &ops, &a, &err), -EEXIST);
	assert_int_equal(bus_add(&bus, 0xff, 2, &ops, &a, &err), -EEXIST);
	assert_int_equal(bus_add(&bus, 0, 0x1000, &ops, &a, &err), -EEXIST);
	assert_int_equal(bus_add(&bus, 0x300, 0, &ops, &a, &err), -EINVAL);
	assert_int_equal(bus_add(&bus, UINT64_MAX, 2, &ops, &a, &err), -EINVAL);
	assert_int_equal(bus_add(&bus, 0x110, 0xf0, &ops, &a, &err), 0); /* fits exactly between */
	bus_read(&bus, 0x10f, d, 1);
	assert_int_equal(d[0], 1);
	assert_int_equal(last_offset, 0xf);
	bus_read(&bus, 0x200, d, 4);
	assert_int_equal(d[3], 2);
	bus_read(&bus, 0x20e, d, 4); /* runs over the end: nobody claims it whole */
	assert_int_equal(d[0], 0xff);
	bus_read(&bus, 0x210, d, 1);
	assert_int_equal(d[0], 0xff);
	bus_read(&bus, UINT64_MAX, d, 8);
	assert_int_equal(d[7], 0xff);
	bus_write(&bus, 0x20f, d, 1);
	assert_int_equal(last_offset, 1000 + 0xf);
}

static void test_bus_full(void **state)
{
	static const struct bus_ops ops = { .read = note_read, .write = note_write };
	struct bus bus = { .name = "pio" };
	int a = 1;

	for (unsigned i = 0; i < BUS_RANGES_MAX; i++)
		assert_int_equal(bus_add(&bus, i * 2, 1, &ops, &a, NULL), 0);
	assert_int_equal(bus_add(&bus, 4096, 1, &ops, &a, NULL), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_edges),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_bus),
		cmocka_unit_test(test_bus_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
