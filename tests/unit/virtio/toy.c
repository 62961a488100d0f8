#include "toy.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct toy *toy_of(struct virtio_device *device)
{
	return container_of(device, struct toy, device);
}

static int toy_start(struct virtio_queue *queue)
{
	toy_of(queue->device)->starts++;
	return toy_of(queue->device)->start_result;
}

void toy_kick(struct virtio_queue *queue)
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

const struct virtio_ops toy_ops = {
	.name = "toy",
	.id = 42,
	.start = toy_start,
	.kick = toy_kick,
	.quiesce = toy_quiesce,
	.reset = toy_reset,
	.config_write = toy_config_write,
};

int setup(void **state)
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

int teardown(void **state)
{
	struct toy *t = *state;

	virtio_device_quiesce(&t->device);
	virtio_device_destroy(&t->device);
	fake_worker_free(t->w);
	memory_destroy(&t->mem);
	free(t);
	return 0;
}

uint32_t rd(struct toy *t, uint32_t offset)
{
	return mmio_read32(&t->device, offset);
}

void wr(struct toy *t, uint32_t offset, uint32_t value)
{
	mmio_write32(&t->device, offset, value);
}

uint32_t status(struct toy *t)
{
	return rd(t, VIRTIO_MMIO_STATUS);
}

void start(struct toy *t)
{
	mmio_start(&t->device, V1 | EVENT_IDX, &t->d[0]);
	assert_int_equal(status(t), ACK | DRIVER | FEATURES_OK | DRIVER_OK);
}

bool signalled(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}
