/*
 * The other side of a split virtqueue: the least of a driver, for tests and fuzz targets. It lays
 * the three areas out in guest memory, offers chains and looks at what came back.
 */
#pragma once

#include "util/macros.h"
#include "virtio/device.h"
#include "virtio/ring.h"

#include <linux/virtio_ring.h>

struct driver {
	const struct guest_memory *mem;
	struct ring_config config;
	uint16_t avail_idx; /* chains offered so far */
	uint16_t used_idx;  /* chains taken back so far */
	uint16_t next_desc; /* for driver_add() */
};

/* A buffer of a chain. */
struct driver_buf {
	gpa_t addr;
	uint32_t len;
	bool write; /* for the device to write */
};

/* Areas of a queue with @size entries, one behind the other from @base on, all zero. */
void driver_init(struct driver *d, const struct guest_memory *mem, gpa_t base, uint16_t size);

/* Raw access, for rings that no good driver would make. */
void driver_desc(
	struct driver *d, unsigned index, gpa_t addr, uint32_t len, uint16_t flags, uint16_t next);
void driver_desc_at(const struct guest_memory *mem, gpa_t table, unsigned index, gpa_t addr,
	uint32_t len, uint16_t flags, uint16_t next);
void driver_offer(struct driver *d, uint16_t head); /* the next available entry, and the index */
void driver_set_avail_idx(struct driver *d, uint16_t idx);
void driver_set_avail_flags(struct driver *d, uint16_t flags);
void driver_set_used_event(struct driver *d, uint16_t event);
uint16_t driver_avail_event(const struct driver *d);
uint16_t driver_used_flags(const struct driver *d);
uint16_t driver_used_idx(const struct driver *d);

/* A chain as a good driver makes it, offered at once; returns its head. Descriptors go in a circle. */
uint16_t driver_add(struct driver *d, const struct driver_buf *bufs, unsigned count);

/* True if the device gave a chain back: which, and how many bytes it says it wrote. */
bool driver_take(struct driver *d, uint32_t *head, uint32_t *written);

/* ---- through the registers of virtio-mmio ---- */

uint32_t mmio_read32(struct virtio_device *device, uint32_t offset);
void mmio_write32(struct virtio_device *device, uint32_t offset, uint32_t value);

/* The driver's way from reset to FEATURES_OK with @features. Returns the status read back. */
uint32_t mmio_negotiate(struct virtio_device *device, uint64_t features);
/* Tell the device where queue @index lies, and that it is ready. */
void mmio_set_queue(struct virtio_device *device, unsigned index, const struct ring_config *config);
/* Negotiate, one queue 0 at @d, DRIVER_OK. */
void mmio_start(struct virtio_device *device, uint64_t features, const struct driver *d);
