#include "driver.h"

#include "vmm/bus.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <string.h>

/* A field of guest memory. The tests that use this give addresses that are RAM. */
static uint8_t *at(const struct guest_memory *mem, gpa_t gpa, uint64_t len)
{
	return memory_at(mem, gpa, len);
}

static void put16(struct driver *d, gpa_t gpa, uint16_t v)
{
	__atomic_store_n((uint16_t *)at(d->mem, gpa, 2), v, __ATOMIC_SEQ_CST);
}

static uint16_t get16(const struct driver *d, gpa_t gpa)
{
	return __atomic_load_n((uint16_t *)at(d->mem, gpa, 2), __ATOMIC_SEQ_CST);
}

void driver_init(struct driver *d, const struct guest_memory *mem, gpa_t base, uint16_t size)
{
	*d = (struct driver){ .mem = mem };
	d->config.size = size;
	d->config.desc = base;
	d->config.avail = base + 16ULL * size;
	d->config.used = align_up(d->config.avail + 6 + 2ULL * size, 4);
	d->config.ready = true;
	memset(at(mem, base, 1), 0, d->config.used + 6 + 8ULL * size - base);
}

void driver_desc_at(const struct guest_memory *mem, gpa_t table, unsigned index, gpa_t addr,
	uint32_t len, uint16_t flags, uint16_t next)
{
	struct vring_desc d = { .addr = addr, .len = len, .flags = flags, .next = next };

	memcpy(at(mem, table + 16ULL * index, 16), &d, sizeof(d));
}

void driver_desc(
	struct driver *d, unsigned index, gpa_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	driver_desc_at(d->mem, d->config.desc, index, addr, len, flags, next);
}

void driver_set_avail_idx(struct driver *d, uint16_t idx)
{
	d->avail_idx = idx;
	put16(d, d->config.avail + 2, idx);
}

void driver_offer(struct driver *d, uint16_t head)
{
	put16(d, d->config.avail + 4 + 2 * (d->avail_idx % d->config.size), head);
	driver_set_avail_idx(d, (uint16_t)(d->avail_idx + 1));
}

void driver_set_avail_flags(struct driver *d, uint16_t flags)
{
	put16(d, d->config.avail, flags);
}

void driver_set_used_event(struct driver *d, uint16_t event)
{
	put16(d, d->config.avail + 4 + 2 * d->config.size, event);
}

uint16_t driver_avail_event(const struct driver *d)
{
	return get16(d, d->config.used + 4 + 8 * d->config.size);
}

uint16_t driver_used_flags(const struct driver *d)
{
	return get16(d, d->config.used);
}

uint16_t driver_used_idx(const struct driver *d)
{
	return get16(d, d->config.used + 2);
}

uint16_t driver_add(struct driver *d, const struct driver_buf *bufs, unsigned count)
{
	uint16_t mask = (uint16_t)(d->config.size - 1), head = d->next_desc & mask;

	for (unsigned i = 0; i < count; i++) {
		uint16_t flags = bufs[i].write ? VRING_DESC_F_WRITE : 0;

		if (i + 1 < count)
			flags |= VRING_DESC_F_NEXT;
		driver_desc(d, d->next_desc & mask, bufs[i].addr, bufs[i].len, flags,
			(d->next_desc + 1) & mask);
		d->next_desc++;
	}
	driver_offer(d, head);
	return head;
}

bool driver_take(struct driver *d, uint32_t *head, uint32_t *written)
{
	const uint8_t *elem;

	if (driver_used_idx(d) == d->used_idx)
		return false;
	elem = at(d->mem, d->config.used + 4 + 8 * (d->used_idx % d->config.size), 8);
	memcpy(head, elem, 4);
	memcpy(written, elem + 4, 4);
	d->used_idx++;
	return true;
}

uint32_t mmio_read32(struct virtio_device *device, uint32_t offset)
{
	uint32_t value;

	virtio_mmio_ops.read(device, offset, (uint8_t *)&value, sizeof(value));
	return value;
}

void mmio_write32(struct virtio_device *device, uint32_t offset, uint32_t value)
{
	virtio_mmio_ops.write(device, offset, (const uint8_t *)&value, sizeof(value));
}

uint32_t mmio_negotiate(struct virtio_device *device, uint64_t features)
{
	uint32_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	mmio_write32(device, VIRTIO_MMIO_STATUS, 0);
	mmio_write32(device, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	mmio_write32(device, VIRTIO_MMIO_STATUS, status);
	for (unsigned word = 0; word < 2; word++) {
		mmio_write32(device, VIRTIO_MMIO_DRIVER_FEATURES_SEL, word);
		mmio_write32(
			device, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32 * word));
	}
	mmio_write32(device, VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_FEATURES_OK);
	return mmio_read32(device, VIRTIO_MMIO_STATUS);
}

void mmio_set_queue(struct virtio_device *device, unsigned index, const struct ring_config *config)
{
	mmio_write32(device, VIRTIO_MMIO_QUEUE_SEL, index);
	mmio_write32(device, VIRTIO_MMIO_QUEUE_NUM, config->size);
	mmio_write32(device, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)config->desc);
	mmio_write32(device, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(config->desc >> 32));
	mmio_write32(device, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)config->avail);
	mmio_write32(device, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(config->avail >> 32));
	mmio_write32(device, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)config->used);
	mmio_write32(device, VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(config->used >> 32));
	mmio_write32(device, VIRTIO_MMIO_QUEUE_READY, 1);
}

void mmio_start(struct virtio_device *device, uint64_t features, const struct driver *d)
{
	uint32_t status = mmio_negotiate(device, features);

	mmio_set_queue(device, 0, &d->config);
	mmio_write32(device, VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_DRIVER_OK);
}
