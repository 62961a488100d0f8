#include "card.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

void card_open(struct card *c, unsigned pairs, unsigned offloads)
{
	struct virtio_net_params params = {
		.mem = &c->mem, .net = &c->wire.net, .mac = { 2, 1, 2, 3, 4, 5 }, .label = "net0"
	};

	*c = (struct card){ 0 };
	wire_init(&c->wire, pairs, offloads);
	assert_int_equal(memory_create(&c->mem, CARD_RAM, NULL), 0);
	c->w = fake_worker_new();
	assert_int_equal(virtio_net_create(&c->device, &params, NULL), 0);
	assert_int_equal(virtio_net_assign(c->device, &c->w, 1, NULL), 0);
	log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
}

void card_close(struct card *c)
{
	virtio_device_quiesce(c->device);
	virtio_net_destroy(c->device);
	fake_worker_free(c->w);
	memory_destroy(&c->mem);
	wire_free(&c->wire);
}

void card_start(struct card *c, uint64_t without, uint16_t size)
{
	uint32_t status;

	c->features = virtio_device_offers(c->device) & ~without;
	status = mmio_negotiate(c->device, c->features);
	assert_true(status & VIRTIO_CONFIG_S_FEATURES_OK);
	for (unsigned i = 0; i < c->device->queues; i++) {
		driver_init(&c->d[i], &c->mem, CARD_RING + i * 0x4000, size);
		mmio_set_queue(c->device, i, &c->d[i].config);
	}
	mmio_write32(c->device, VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_DRIVER_OK);
}

void card_reset(struct card *c)
{
	mmio_write32(c->device, VIRTIO_MMIO_STATUS, 0);
}

void *card_at(struct card *c, gpa_t gpa)
{
	return memory_at(&c->mem, gpa, 1);
}

void card_notify(struct card *c, unsigned queue)
{
	mmio_write32(c->device, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
	fake_worker_run(c->w);
}

uint16_t card_room(struct card *c, unsigned queue, gpa_t at, uint32_t len)
{
	return driver_add(&c->d[queue], &(struct driver_buf){ at, len, true }, 1);
}

bool card_broken(struct card *c)
{
	return mmio_read32(c->device, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET;
}
