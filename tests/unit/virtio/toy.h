/* A device with nothing behind it, on a worker without a thread, and its registers. */
#pragma once

#include "driver.h"
#include "fake_worker.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>

enum { RAM = 4 * 1024 * 1024, RING = 0x10000, RING_STRIDE = 0x4000, SIZE = 16, QUEUES = 3 };

#define ACK	    VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER	    VIRTIO_CONFIG_S_DRIVER
#define FEATURES_OK VIRTIO_CONFIG_S_FEATURES_OK
#define DRIVER_OK   VIRTIO_CONFIG_S_DRIVER_OK
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET
#define FAILED	    VIRTIO_CONFIG_S_FAILED

#define V1	  (1ULL << VIRTIO_F_VERSION_1)
#define EVENT_IDX (1ULL << VIRTIO_RING_F_EVENT_IDX)
#define INDIRECT  (1ULL << VIRTIO_RING_F_INDIRECT_DESC)
#define OWN	  (1ULL << 5)

/* A device that gives every chain back at once, and keeps one request open when told to. */
struct toy {
	struct virtio_device device;
	struct guest_memory mem;
	struct worker *w;
	struct driver d[QUEUES];
	unsigned starts, kicks, quiesces, resets, config_writes;
	int start_result;
	bool busy; /* quiesce has to wait */
	struct worker_task later;
	unsigned config_offset, config_len;
};

extern const struct virtio_ops toy_ops;

void toy_kick(struct virtio_queue *queue);
int setup(void **state);
int teardown(void **state);

/* Its registers. */
uint32_t rd(struct toy *t, uint32_t offset);
void wr(struct toy *t, uint32_t offset, uint32_t value);
uint32_t status(struct toy *t);
/* The driver's way to DRIVER_OK, with queue 0 alone. */
void start(struct toy *t);
/* An eventfd's count is not 0. */
bool signalled(int fd);
