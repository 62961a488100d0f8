/* A network device for tests: the device, its wire, a driver's side of all its queues. */
#pragma once

#include "driver.h"
#include "fake_worker.h"
#include "virtio/net.h"
#include "vmm/bus.h"
#include "wire.h"

enum {
	CARD_RAM = 16 * 1024 * 1024,
	CARD_RING = 0x1000, /* queue n at + n * 0x4000 */
	CARD_DATA = 0x100000,
	CARD_QUEUES = 5
};

struct card {
	struct guest_memory mem;
	struct wire wire;
	struct worker *w;
	struct virtio_device *device;
	struct driver d[CARD_QUEUES];
	uint64_t features;
};

void card_open(struct card *c, unsigned pairs, unsigned offloads);
void card_close(struct card *c);
/* Negotiate what is offered but @without; all queues with @size entries; DRIVER_OK. */
void card_start(struct card *c, uint64_t without, uint16_t size);
void card_reset(struct card *c);

void *card_at(struct card *c, gpa_t gpa);
void card_notify(struct card *c, unsigned queue);
/* Offer one buffer for a packet to the guest. */
uint16_t card_room(struct card *c, unsigned queue, gpa_t at, uint32_t len);
bool card_broken(struct card *c); /* DEVICE_NEEDS_RESET */
