#include "virtio/device.h"

#include "util/macros.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

uint64_t virtio_device_offers(const struct virtio_device *device)
{
	return device->offered | 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_EVENT_IDX |
	       1ULL << VIRTIO_RING_F_INDIRECT_DESC;
}

/*
 * Worker thread. Say why in InterruptStatus, then raise the line. In this order: a driver that
 * acknowledges between the two has already seen what is announced, and the late edge finds nothing.
 */
static void notify(struct virtio_queue *queue, uint32_t why)
{
	atomic_fetch_or(&queue->device->interrupt_status, why);
	worker_signal(queue->worker, queue->irq_file);
}

/* Worker thread, end of the turn: everything that was pushed in it is shown in one step. */
static void on_publish(struct worker_task *task)
{
	struct virtio_queue *queue = container_of(task, struct virtio_queue, publish);

	if (queue->live && ring_publish(&queue->ring))
		notify(queue, VIRTIO_MMIO_INT_VRING);
}

static void on_kick(struct worker_event *event)
{
	struct virtio_queue *queue = container_of(event, struct virtio_queue, kick);

	if (virtio_queue_active(queue))
		queue->device->ops->kick(queue);
}

int virtio_device_init(
	struct virtio_device *device, const struct guest_memory *mem, struct error *err)
{
	int r;

	device->mem = mem;
	device->irq_fd = -1;
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		device->queue[i] = (struct virtio_queue){ .device = device,
			.index = i,
			.kick_fd = -1,
			.irq_file = -1,
			.kick.fire = on_kick,
			.publish.run = on_publish };
	}
	pthread_mutex_init(&device->lock, NULL);
	pthread_mutex_init(&device->config_lock, NULL);
	if (!device->queues || device->queues > VIRTIO_QUEUES_MAX || !device->queue_max ||
		device->queue_max > RING_SIZE_MAX || device->config_size > sizeof(device->config)) {
		r = error_set(err, ERROR_MACHINE, EINVAL, "%s: wrong numbers of queues or bytes",
			device->label);
		goto fail;
	}
	device->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (device->irq_fd < 0)
		goto no_eventfd;
	for (unsigned i = 0; i < device->queues; i++) {
		device->queue[i].kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (device->queue[i].kick_fd < 0)
			goto no_eventfd;
	}
	return 0;

no_eventfd:
	r = error_set(err, ERROR_HOST, errno,
		"%s: cannot make an eventfd: %m; raise the limit of open files (ulimit -n)",
		device->label);
fail:
	virtio_device_destroy(device);
	return r;
}

int virtio_queue_assign(
	struct virtio_device *device, unsigned index, struct worker *worker, struct error *err)
{
	struct virtio_queue *queue = &device->queue[index];
	int r;

	queue->worker = worker;
	r = worker_add_event(worker, &queue->kick, queue->kick_fd);
	if (r >= 0)
		r = queue->irq_file = worker_add_file(worker, device->irq_fd);
	if (r < 0)
		return error_set(err, ERROR_HOST, -r, "%s: cannot register queue %u: %s",
			device->label, index, strerror(-r));
	return 0;
}

void virtio_device_destroy(struct virtio_device *device)
{
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		if (device->queue[i].kick_fd >= 0)
			close(device->queue[i].kick_fd);
		device->queue[i].kick_fd = -1;
	}
	if (device->irq_fd >= 0)
		close(device->irq_fd);
	device->irq_fd = -1;
	pthread_mutex_destroy(&device->lock);
	pthread_mutex_destroy(&device->config_lock);
}

/* What one of the calls below carries to the worker. */
struct queue_call {
	struct worker_call call;
	struct virtio_queue *queue;
};

static void call_queue(struct virtio_queue *queue, void (*run)(struct worker_call *call))
{
	struct queue_call qc = { .call.run = run, .queue = queue };

	worker_call(queue->worker, &qc.call);
}

static void start_on_worker(struct worker_call *call)
{
	struct virtio_queue *queue = container_of(call, struct queue_call, call)->queue;
	struct virtio_device *device = queue->device;
	int r;

	queue->failed = false;
	r = ring_start(&queue->ring, device->mem, &queue->config,
		virtio_has(device, VIRTIO_RING_F_EVENT_IDX),
		virtio_has(device, VIRTIO_RING_F_INDIRECT_DESC));
	queue->live = true;
	if (r < 0) {
		virtio_queue_fail(queue, queue->ring.fault);
	} else {
		r = device->ops->start ? device->ops->start(queue) : 0;
		if (r < 0)
			virtio_queue_fail(queue, strerror(-r));
	}
	/* The driver may have filled the queue before DRIVER_OK, its kicks then went nowhere. */
	if (virtio_queue_active(queue))
		device->ops->kick(queue);
	worker_call_done(call);
}

void virtio_device_start(struct virtio_device *device)
{
	device->started = true;
	for (unsigned i = 0; i < device->queues; i++) {
		if (device->queue[i].config.ready)
			call_queue(&device->queue[i], start_on_worker);
	}
}

static void quiesce_on_worker(struct worker_call *call)
{
	struct virtio_queue *queue = container_of(call, struct queue_call, call)->queue;

	if (!queue->live) {
		worker_call_done(call);
		return;
	}
	queue->quiescing = call;
	if (queue->device->ops->quiesce)
		queue->device->ops->quiesce(queue);
	else
		virtio_queue_idle(queue);
}

void virtio_queue_quiesce(struct virtio_queue *queue)
{
	if (queue->device->started && queue->config.ready)
		call_queue(queue, quiesce_on_worker);
}

void virtio_queue_idle(struct virtio_queue *queue)
{
	struct worker_call *call = queue->quiescing;

	if (!call)
		return;
	/* What completed on the way to rest was done: the driver shall see it. */
	on_publish(&queue->publish);
	queue->live = false;
	queue->quiescing = NULL;
	worker_call_done(call);
}

static void quiesce_all(struct virtio_device *device)
{
	for (unsigned i = 0; i < device->queues; i++)
		virtio_queue_quiesce(&device->queue[i]);
}

void virtio_device_quiesce(struct virtio_device *device)
{
	pthread_mutex_lock(&device->lock);
	quiesce_all(device);
	pthread_mutex_unlock(&device->lock);
}

void virtio_device_reset(struct virtio_device *device)
{
	quiesce_all(device);
	device->started = false;
	device->features = 0;
	device->features_sel = device->driver_features_sel = device->queue_sel = 0;
	for (unsigned i = 0; i < device->queues; i++)
		device->queue[i].config = (struct ring_config){ 0 };
	if (device->ops->reset)
		device->ops->reset(device);
	/* The queues rest, so no worker sets a bit in these any more. */
	atomic_store(&device->interrupt_status, 0);
	atomic_store(&device->status, 0);
}

void virtio_queue_done(struct virtio_queue *queue)
{
	worker_defer(queue->worker, &queue->publish);
}

void virtio_queue_fail(struct virtio_queue *queue, const char *why)
{
	struct virtio_device *device = queue->device;

	if (!queue->live || queue->failed)
		return;
	queue->failed = true;
	queue->ring.broken = true;
	log_limited(&device->complaints, LOG_LEVEL_WARN,
		"%s: queue %u stopped until the driver resets the device: %s", device->label,
		queue->index, why ? why : "unknown fault");
	/* 2.1.2: the bit first, then the notification that makes the driver look at it. */
	atomic_fetch_or(&device->status, VIRTIO_CONFIG_S_NEEDS_RESET);
	notify(queue, VIRTIO_MMIO_INT_CONFIG);
}

void virtio_config_update(
	struct virtio_device *device, unsigned offset, const void *data, unsigned len)
{
	uint64_t one = 1;

	pthread_mutex_lock(&device->config_lock);
	if (offset <= device->config_size && len <= device->config_size - offset) {
		memcpy(device->config + offset, data, len);
		atomic_fetch_add(&device->config_generation, 1);
	}
	pthread_mutex_unlock(&device->config_lock);
	if (!(atomic_load(&device->status) & VIRTIO_CONFIG_S_DRIVER_OK))
		return;
	atomic_fetch_or(&device->interrupt_status, VIRTIO_MMIO_INT_CONFIG);
	/* Fails only when the counter is full, and then the interrupt is on its way already. */
	if (write(device->irq_fd, &one, sizeof(one)) < 0)
		return;
}
