/* A socket device for tests: the device, a driver's side of its queues, the host's sockets. */
#pragma once

#include "driver.h"
#include "fake_worker.h"
#include "virtio/vsock.h"
#include "vmm/bus.h"

#include <linux/virtio_vsock.h>

enum {
	PLUG_RAM = 16 * 1024 * 1024,
	PLUG_RING = 0x1000, /* queue n at + n * 0x4000 */
	PLUG_TX = 0x100000, /* what the guest sends */
	PLUG_RX = 0x200000, /* buffer n at + n * 0x2000 */
	PLUG_RX_STEP = 0x2000,
	PLUG_RX_BYTES = 4096 + 44,
	PLUG_SIZE = 64, /* entries of each queue */
	PLUG_CID = 7,
	PLUG_SERVED = 5000,	 /* the port that plug->served listens for */
	PLUG_GIVEN = 5001,	 /* the port that has one connected socket */
	PLUG_KEYED = 5002,	 /* plug->served as well, for who says PLUG_KEY */
	PLUG_ALLOC = 256 * 1024, /* what the guest says its buffers hold */
	PLUG_HEADER = sizeof(struct virtio_vsock_hdr)
};

#define PLUG_KEY "0123456789abcdef"

/* A packet that the guest got. */
struct plug_packet {
	struct virtio_vsock_hdr hdr;
	uint8_t data[PLUG_RX_BYTES];
};

struct plug {
	struct guest_memory mem;
	struct worker *w;
	struct virtio_device *device;
	struct driver d[3];
	char dir[32];
	int door;   /* connect here to call the guest: plug_call() */
	int served; /* listens for PLUG_SERVED */
	int given;  /* the other end of what PLUG_GIVEN has */
	gpa_t rx_at[PLUG_SIZE];
	unsigned rx_next;
	uint32_t rx_bytes;	     /* of each buffer offered */
	bool no_refill;		     /* buffers that were used are not offered anew */
	struct virtio_vsock_hdr hdr; /* for plug_send(): what does not change */
};

void plug_open(struct plug *p);
void plug_close(struct plug *p);
/* Negotiate, DRIVER_OK; @buffers for packets to the guest. */
void plug_start(struct plug *p, unsigned buffers);
void plug_reset(struct plug *p);
void plug_offer(struct plug *p, unsigned buffers);
/* Until nothing happens any more. */
void plug_run(struct plug *p);

/* The guest sends: a header as given, and @len bytes. plug_send() runs the device as well. */
void plug_queue(struct plug *p, const struct virtio_vsock_hdr *hdr, const void *data, size_t len);
void plug_send(struct plug *p, uint32_t guest_port, uint32_t host_port, unsigned op,
	const void *data, size_t len);
void plug_shutdown(struct plug *p, uint32_t guest_port, uint32_t host_port, uint32_t flags);

/* The next packet of the guest; false if there is none. */
bool plug_take(struct plug *p, struct plug_packet *packet);
/* The same, and it must be there with @op for these ports. */
void plug_expect(struct plug *p, struct plug_packet *packet, unsigned op, uint32_t guest_port,
	uint32_t host_port);
/* There must be none. */
void plug_quiet(struct plug *p);

/* The guest connects to PLUG_SERVED; returns the host's end. */
int plug_connect(struct plug *p, uint32_t guest_port);
/* A program of the host connects to the door, and has written @line. */
int plug_call(struct plug *p, const char *line);
bool plug_broken(struct plug *p); /* DEVICE_NEEDS_RESET */
