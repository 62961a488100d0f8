/*
 * The register machine of virtio over MMIO, version 2 (virtio 1.2, 4.2.2). All of it runs on vCPU
 * threads. The two registers of the data path (InterruptStatus, InterruptACK) take no lock; the
 * rest is set-up and runs under device->lock.
 *
 * A driver that breaks the rules (wrong width, wrong state, a queue that is not there) reads zeroes
 * and has its writes ignored.
 */
#include "util/macros.h"
#include "virtio/device.h"
#include "vmm/bus.h"

#include <endian.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <string.h>
#include <unistd.h>

static_assert(VIRTIO_MMIO_NOTIFY == VIRTIO_MMIO_QUEUE_NOTIFY, "ioeventfds match this register");

enum {
	MAGIC = 0x74726976, /* "virt" */
	VERSION = 2,
	VENDOR = 0x4d764d75, /* "uMvM" */
	SHM_NONE = -1
};

/* What a driver may write into Status; DEVICE_NEEDS_RESET is the device's. */
enum {
	DRIVER_BITS = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
		      VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FEATURES_OK |
		      VIRTIO_CONFIG_S_FAILED
};

static bool status_has(struct virtio_device *device, uint32_t bits)
{
	return (atomic_load(&device->status) & bits) == bits;
}

static struct virtio_queue *selected(struct virtio_device *device)
{
	return device->queue_sel < device->queues ? &device->queue[device->queue_sel] : NULL;
}

/* Any vCPU. Byte access of any width; what lies behind the device's own space reads as zero. */
static void config_read(struct virtio_device *device, uint64_t offset, uint8_t *data, unsigned len)
{
	memset(data, 0, len);
	if (offset >= device->config_size)
		return;
	pthread_mutex_lock(&device->config_lock);
	memcpy(data, device->config + offset, MIN(len, device->config_size - (unsigned)offset));
	pthread_mutex_unlock(&device->config_lock);
}

static void config_write(
	struct virtio_device *device, uint64_t offset, const uint8_t *data, unsigned len)
{
	if (!device->ops->config_write || offset >= device->config_size ||
		len > device->config_size - offset)
		return;
	pthread_mutex_lock(&device->lock);
	device->ops->config_write(device, (unsigned)offset, data, len);
	pthread_mutex_unlock(&device->lock);
}

static uint32_t read_offers(struct virtio_device *device)
{
	uint64_t offers = virtio_device_offers(device);

	if (device->features_sel > 1)
		return 0;
	return (uint32_t)(offers >> 32 * device->features_sel);
}

/* Under device->lock. */
static uint32_t read_locked(struct virtio_device *device, uint64_t offset)
{
	struct virtio_queue *queue = selected(device);

	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return read_offers(device);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return queue ? device->queue_max : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return queue && queue->config.ready;
	default:
		return 0;
	}
}

static uint32_t read_register(struct virtio_device *device, uint64_t offset)
{
	uint32_t value;

	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return device->ops->id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return atomic_load(&device->interrupt_status);
	case VIRTIO_MMIO_STATUS:
		return atomic_load(&device->status);
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return atomic_load(&device->config_generation);
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return (uint32_t)SHM_NONE;
	}
	pthread_mutex_lock(&device->lock);
	value = read_locked(device, offset);
	pthread_mutex_unlock(&device->lock);
	return value;
}

/* Features are open between DRIVER and FEATURES_OK (3.1.1); words above 64 bits do not exist. */
static void write_features(struct virtio_device *device, uint32_t value)
{
	unsigned shift = 32 * device->driver_features_sel;

	if (device->driver_features_sel > 1 || !status_has(device, VIRTIO_CONFIG_S_DRIVER) ||
		status_has(device, VIRTIO_CONFIG_S_FEATURES_OK))
		return;
	device->features &= ~(0xffffffffULL << shift);
	device->features |= (uint64_t)value << shift;
}

static bool features_fit(const struct virtio_device *device)
{
	return !(device->features & ~virtio_device_offers(device)) &&
	       virtio_has(device, VIRTIO_F_VERSION_1);
}

/*
 * The driver's way through 3.1.1: every step needs the ones before it, no bit is taken back but by
 * a reset, and a driver that said FAILED has to begin anew.
 */
static void write_status(struct virtio_device *device, uint32_t value)
{
	uint32_t old = atomic_load(&device->status);
	uint32_t now = old | (value & DRIVER_BITS);

	if (!value) {
		virtio_device_reset(device);
		return;
	}
	if ((old & VIRTIO_CONFIG_S_FAILED) || (old & DRIVER_BITS & ~value))
		return;
	if (!(now & VIRTIO_CONFIG_S_ACKNOWLEDGE))
		now &= ~(uint32_t)VIRTIO_CONFIG_S_DRIVER;
	if (!(now & VIRTIO_CONFIG_S_DRIVER))
		now &= ~(uint32_t)VIRTIO_CONFIG_S_FEATURES_OK;
	if (!(old & VIRTIO_CONFIG_S_FEATURES_OK) && !features_fit(device))
		now &= ~(uint32_t)VIRTIO_CONFIG_S_FEATURES_OK;
	if (!(now & VIRTIO_CONFIG_S_FEATURES_OK))
		now &= ~(uint32_t)VIRTIO_CONFIG_S_DRIVER_OK;
	/* Or, not store: a worker may have set DEVICE_NEEDS_RESET since. */
	atomic_fetch_or(&device->status, now);
	if (now & ~old & VIRTIO_CONFIG_S_DRIVER_OK)
		virtio_device_start(device);
}

static void write_ready(
	struct virtio_device *device, struct virtio_queue *queue, uint32_t value, bool open)
{
	if (open && value == 1) {
		queue->config.ready = true;
	} else if (value == 0 && queue->config.ready) {
		/* 4.2.2.2: when this reads back as zero the ring is the driver's alone again. */
		virtio_queue_quiesce(queue);
		queue->config.ready = false;
	}
}

static void set_half(gpa_t *address, bool high, uint32_t value)
{
	*address = high ? (*address & 0xffffffffULL) | (gpa_t)value << 32
			: (*address & ~0xffffffffULL) | value;
}

/* Queues are set up between FEATURES_OK and DRIVER_OK, and each only while it is not ready. */
static void write_queue(struct virtio_device *device, uint64_t offset, uint32_t value)
{
	struct virtio_queue *queue = selected(device);
	bool open = status_has(device, VIRTIO_CONFIG_S_FEATURES_OK) &&
		    !status_has(device, VIRTIO_CONFIG_S_DRIVER_OK) &&
		    !status_has(device, VIRTIO_CONFIG_S_FAILED);

	if (!queue)
		return;
	if (offset == VIRTIO_MMIO_QUEUE_READY) {
		write_ready(device, queue, value, open);
		return;
	}
	if (!open || queue->config.ready)
		return;
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		if (value && value <= device->queue_max && !(value & (value - 1)))
			queue->config.size = (uint16_t)value;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_half(&queue->config.desc, offset == VIRTIO_MMIO_QUEUE_DESC_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_half(&queue->config.avail, offset == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_half(&queue->config.used, offset == VIRTIO_MMIO_QUEUE_USED_HIGH, value);
		break;
	}
}

/*
 * KVM turns the kicks of existing queues into ioeventfd signals; what arrives here is either of a
 * width KVM did not match, or nonsense.
 */
static void write_notify(struct virtio_device *device, uint32_t index)
{
	uint64_t one = 1;

	/* Fails only when the counter is full, and then the kick is on its way already. */
	if (index < device->queues && write(device->queue[index].kick_fd, &one, sizeof(one)) < 0)
		return;
}

/* Under device->lock. */
static void write_locked(struct virtio_device *device, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		device->features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		device->driver_features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		write_features(device, value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		device->queue_sel = value;
		break;
	case VIRTIO_MMIO_STATUS:
		write_status(device, value);
		break;
	default:
		write_queue(device, offset, value);
		break;
	}
}

static void mmio_read(void *ctx, uint64_t offset, uint8_t *data, unsigned len)
{
	struct virtio_device *device = ctx;
	uint32_t value;

	if (offset >= VIRTIO_MMIO_CONFIG) {
		config_read(device, offset - VIRTIO_MMIO_CONFIG, data, len);
	} else if (len == sizeof(value) && offset % sizeof(value) == 0) {
		value = htole32(read_register(device, offset));
		memcpy(data, &value, sizeof(value));
	} else {
		memset(data, 0, len);
	}
}

static void mmio_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned len)
{
	struct virtio_device *device = ctx;
	uint32_t value;

	if (offset >= VIRTIO_MMIO_CONFIG) {
		config_write(device, offset - VIRTIO_MMIO_CONFIG, data, len);
		return;
	}
	if (len != sizeof(value) || offset % sizeof(value))
		return;
	memcpy(&value, data, sizeof(value));
	value = le32toh(value);
	if (offset == VIRTIO_MMIO_INTERRUPT_ACK) {
		atomic_fetch_and(&device->interrupt_status, ~value);
	} else if (offset == VIRTIO_MMIO_QUEUE_NOTIFY) {
		write_notify(device, value);
	} else {
		pthread_mutex_lock(&device->lock);
		write_locked(device, offset, value);
		pthread_mutex_unlock(&device->lock);
	}
}

const struct bus_ops virtio_mmio_ops = { .read = mmio_read, .write = mmio_write };
