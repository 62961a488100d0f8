#include "ring_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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

int setup(void **state)
{
	*state = malloc(sizeof(struct fixture));
	begin(*state, SIZE, true);
	return 0;
}

int teardown(void **state)
{
	memory_destroy(&((struct fixture *)*state)->mem);
	free(*state);
	return 0;
}

void again(struct fixture *f, uint16_t size, bool event_idx)
{
	memory_destroy(&f->mem);
	begin(f, size, event_idx);
}

int pop(struct fixture *f)
{
	return ring_pop(&f->ring, &f->chain);
}

/* The ring must break with these words in its fault, stay broken, and touch nothing more. */
void expect_fault(struct fixture *f, const char *words)
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

void *host(struct fixture *f, gpa_t gpa)
{
	return memory_at(&f->mem, gpa, 1);
}
