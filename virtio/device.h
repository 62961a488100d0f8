/*
 * What a virtio device is to the rest of the program: constant data, a few callbacks, and queues
 * that each belong to one worker. The transport (virtio/mmio.c) runs the register machine on vCPU
 * threads; the devices (virtio/blk.c, net.c, ...) run on workers.
 *
 * Life of a queue:
 *
 *	driver sets DRIVER_OK     vCPU thread, under device->lock, worker_call() to each queue's worker:
 *	                          ring_start(), ops->start(), then one ops->kick() as if it were kicked
 *	guest notifies            KVM -> ioeventfd -> worker -> ops->kick(queue)
 *	request done              ring_push(), virtio_queue_done() -> at the end of the batch the used
 *	                          ring is published and the irqfd signalled if the driver wants it
 *	reset, or machine stops   worker_call(): ops->quiesce(queue); when nothing is in flight the
 *	                          device says virtio_queue_idle(), and only then is the ring let go
 */
#pragma once

#include "util/error.h"
#include "util/log.h"
#include "virtio/ring.h"
#include "vmm/memory.h"
#include "vmm/worker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { VIRTIO_QUEUES_MAX = 18 };

struct virtio_device;
struct virtio_queue;

/* The constant part of a device type. */
struct virtio_ops {
	const char *name; /* "blk", for messages */
	uint32_t id;	  /* virtio 1.2, section 5: 1 net, 2 block, 3 console, 4 entropy */

	/*
	 * Worker thread. The driver is ready and queue->ring runs; device->features is what was
	 * negotiated. Return 0, or -errno to fail the device. May be NULL.
	 */
	int (*start)(struct virtio_queue *queue);
	/* Worker thread. The driver may have added chains: take them. */
	void (*kick)(struct virtio_queue *queue);
	/*
	 * Worker thread. Stop taking chains; cancel what would wait for ever; say
	 * virtio_queue_idle(queue) once nothing of this queue is in flight (at once, if so now).
	 * May be NULL: then the queue is idle at once.
	 */
	void (*quiesce)(struct virtio_queue *queue);
	/* vCPU thread, under device->lock: all queues are idle and the device was reset. May be NULL. */
	void (*reset)(struct virtio_device *device);
	/*
	 * vCPU thread, under device->lock: the driver wrote @len bytes into config space at @offset
	 * (inside it). May be NULL: writes are ignored.
	 */
	void (*config_write)(
		struct virtio_device *device, unsigned offset, const uint8_t *data, unsigned len);
};

struct virtio_queue {
	/* Constant after start. */
	struct virtio_device *device;
	unsigned index;
	struct worker *worker; /* not owned; several queues may share one */
	int kick_fd;	       /* ioeventfd, owned */
	int irq_file;	       /* the device's irqfd as a registered file of this worker */
	void *data;	       /* the device type's own */

	/* vCPU under device->lock. */
	struct ring_config config;

	/* Worker only. */
	struct ring ring;
	bool live;   /* between start and idle: the ring may be touched */
	bool failed; /* virtio_queue_fail() was said since the last start */
	struct worker_event kick;
	struct worker_task publish;
	struct worker_call *quiescing; /* who waits for idle */
};

struct virtio_device {
	/* Constant after start. */
	const struct virtio_ops *ops;
	const struct guest_memory *mem;
	uint64_t offered; /* feature bits; the transport adds VERSION_1, EVENT_IDX, INDIRECT_DESC */
	unsigned queues;
	uint16_t queue_max; /* entries, at most RING_SIZE_MAX */
	int irq_fd;	    /* irqfd, owned */
	char label[32];	    /* "blk0", for messages and /proc of the curious */

	pthread_mutex_t lock;
	/* vCPU under lock. */
	uint64_t features; /* acknowledged by the driver; constant while a queue is live */
	uint32_t features_sel, driver_features_sel, queue_sel;
	bool started; /* queues were handed to their workers */

	/* Configuration space: under config_lock, by any thread. */
	pthread_mutex_t config_lock;
	uint8_t config[64];
	unsigned config_size;

	/* Any thread. */
	_Atomic uint32_t status;	   /* VIRTIO_CONFIG_S_* */
	_Atomic uint32_t interrupt_status; /* workers set bits, a vCPU clears them */
	_Atomic uint32_t config_generation;

	struct log_limit complaints;
	struct virtio_queue queue[VIRTIO_QUEUES_MAX];
};

/*
 * Main. Fill in @device, which the device type embeds and owns (zeroed memory): locks, eventfds.
 * ops, offered, queues, queue_max, label, config and config_size are the caller's to set before.
 */
int virtio_device_init(
	struct virtio_device *device, const struct guest_memory *mem, struct error *err);

/* Main, before the worker starts. Say who works queue @index. */
int virtio_queue_assign(
	struct virtio_device *device, unsigned index, struct worker *worker, struct error *err);

/*
 * Main or a vCPU, holding no lock; workers running. Bring every queue to rest: nothing is in flight
 * when it returns. Does nothing for a device that was never started.
 */
void virtio_device_quiesce(struct virtio_device *device);

/* Main, after the workers have stopped. Closes what virtio_device_init() made. */
void virtio_device_destroy(struct virtio_device *device);

/* Worker thread, after ring_push(): publish and notify at the end of this batch. */
void virtio_queue_done(struct virtio_queue *queue);

/* Worker thread, the answer to ops->quiesce(). */
void virtio_queue_idle(struct virtio_queue *queue);

/*
 * Worker thread. The driver broke the rules (or the ring is broken): DEVICE_NEEDS_RESET, a
 * configuration interrupt, a rate-limited line in the log. This queue is not kicked again before
 * the driver has reset the device; what is in flight still completes (into nothing).
 */
void virtio_queue_fail(struct virtio_queue *queue, const char *why);

/*
 * Any thread. Replace @len bytes of configuration space at @offset and, if the driver is there,
 * send it a configuration change interrupt (from a worker thread or main: writes the irqfd).
 */
void virtio_config_update(
	struct virtio_device *device, unsigned offset, const void *data, unsigned len);

/*
 * Worker thread. May the device take chains from this queue? False before the start, from quiesce
 * on, and after a fault. For work that a device has put off (worker_yield()).
 */
static inline bool virtio_queue_active(const struct virtio_queue *queue)
{
	return queue->live && !queue->quiescing && !queue->failed;
}

/* Any thread. What the transport offers to the driver: device->offered and the ring's own bits. */
uint64_t virtio_device_offers(const struct virtio_device *device);

/*
 * The transport's (virtio/mmio.c), vCPU thread, under device->lock. Hand the ready queues to their
 * workers; bring one queue to rest; bring all to rest and forget everything the driver said.
 */
void virtio_device_start(struct virtio_device *device);
void virtio_queue_quiesce(struct virtio_queue *queue);
void virtio_device_reset(struct virtio_device *device);

static inline bool virtio_has(const struct virtio_device *device, unsigned feature_bit)
{
	return device->features >> feature_bit & 1;
}

/* The register machine of virtio over MMIO (virtio 1.2, 4.2.2): bus ops whose ctx is the device. */
struct bus_ops;
extern const struct bus_ops virtio_mmio_ops;

/* Register offsets that others need: KVM matches QueueNotify for the ioeventfds. */
enum { VIRTIO_MMIO_WINDOW = 0x200, VIRTIO_MMIO_NOTIFY = 0x50 };
