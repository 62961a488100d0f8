/* The life of a device: start, batches, faults, reset, rest. */
#include "toy.h"
#include "vmm/bus.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

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
	/* The first index that is none: were it a queue, this would be its doorbell. */
	t->device.queue[QUEUES].kick_fd = eventfd(0, EFD_NONBLOCK);
	wr(t, VIRTIO_MMIO_QUEUE_NOTIFY, QUEUES);
	assert_false(signalled(t->device.queue[QUEUES].kick_fd));
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
	virtio_queue_fail(&t->device.queue[0], "told once, and not again");
	virtio_queue_fail(&t->device.queue[1], "never started");
	expect_broken(t);
}

static void test_bad_ring_needs_reset(void **state)
{
	struct toy *t = *state;

	t->d[0].config.desc = RAM;
	mmio_start(&t->device, V1 | EVENT_IDX, &t->d[0]);
	assert_int_equal(t->starts, 0);
	assert_int_equal(t->kicks, 0);
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

	uint32_t ok = mmio_negotiate(&t->device, V1);

	for (unsigned i = 0; i < QUEUES; i++)
		mmio_set_queue(&t->device, i, &t->d[i].config);
	wr(t, VIRTIO_MMIO_STATUS, ok | DRIVER_OK);
	assert_int_equal(t->starts, QUEUES);
	wr(t, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	wr(t, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	wr(t, VIRTIO_MMIO_QUEUE_SEL, 1);
	t->resets = 0; /* drivers begin with one */
	t->busy = true;
	wr(t, VIRTIO_MMIO_STATUS, 0);
	assert_false(t->busy); /* it waited */
	assert_int_equal(t->quiesces, QUEUES);
	assert_int_equal(t->device.features_sel, 0);
	assert_int_equal(t->device.driver_features_sel, 0);
	assert_int_equal(t->device.queue_sel, 0);
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

/* Of the callbacks only kick is needed. */
static void test_few_callbacks(void **state)
{
	static const struct virtio_ops few = { .name = "few", .id = 43, .kick = toy_kick };
	struct toy *t = *state;

	t->device.ops = &few;
	start(t);
	virtio_mmio_ops.write(&t->device, 0x100, (const uint8_t *)"x", 1);
	assert_int_equal(t->kicks, 1);
	wr(t, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(status(t), 0);
	assert_int_equal(t->quiesces, 0);
}

static void test_no_descriptor_is_left(void **state)
{
	struct toy *t = *state;
	int before = dup(0), after;
	struct error err;

	close(before);
	for (unsigned i = 0; i < 10; i++) {
		struct virtio_device *d = calloc(1, sizeof(*d));

		d->ops = &toy_ops;
		d->queues = VIRTIO_QUEUES_MAX;
		d->queue_max = RING_SIZE_MAX;
		d->config_size = sizeof(d->config);
		assert_int_equal(virtio_device_init(d, &t->mem, &err), 0);
		virtio_device_destroy(d);
		free(d);
	}
	after = dup(0);
	close(after);
	assert_int_equal(before, after);
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
		T(test_start_serves_what_is_there),
		T(test_batch),
		T(test_notify_nonsense),
		T(test_fault_needs_reset),
		T(test_bad_ring_needs_reset),
		T(test_failing_start_needs_reset),
		T(test_reset),
		T(test_queue_taken_back),
		T(test_quiesce_twice),
		T(test_few_callbacks),
		T(test_no_descriptor_is_left),
		T(test_init_refusals),
	};

	/* The faults that are provoked here would otherwise be told on standard error. */
	log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
