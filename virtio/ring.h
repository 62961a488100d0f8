/*
 * The split virtqueue, device side (virtio 1.2, 2.7). This and ring.c are the only code that reads
 * or writes descriptor tables, available rings and used rings.
 *
 * A ring belongs to its queue's worker thread from ring_start() to the end of the quiesce. Nothing
 * a driver writes into it can do more than break the ring: every descriptor is copied once, the
 * copy is checked, and guest addresses become pointers only through memory_at().
 */
#pragma once

#include "vmm/memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
	RING_SIZE_MAX = 256,
	/* Descriptors in one chain through an indirect table; a chain without one is limited by size. */
	RING_CHAIN_MAX = 1024
};

/* What the driver said of the ring through the transport's registers. */
struct ring_config {
	uint16_t size; /* entries, a power of two */
	gpa_t desc;    /* descriptor area, 16-byte aligned */
	gpa_t avail;   /* driver area, 2-byte aligned */
	gpa_t used;    /* device area, 4-byte aligned */
	bool ready;
};

struct ring {
	const struct guest_memory *mem;
	uint16_t size;
	bool event_idx;	   /* VIRTIO_F_EVENT_IDX negotiated */
	bool indirect;	   /* VIRTIO_F_INDIRECT_DESC negotiated */
	bool broken;	   /* a fault was seen: every later call does nothing */
	const char *fault; /* what it was, for the log; constant string */
	uint8_t *desc, *avail, *used;
	uint16_t next_avail;	 /* free-running */
	uint16_t seen_avail;	 /* the driver's index when it was last looked at */
	uint16_t next_used;	 /* free-running: prepared, perhaps not yet published */
	uint16_t published_used; /* what the guest has been shown */
	uint16_t in_use;	 /* chains popped and not pushed */
};

/*
 * One request: a descriptor chain turned into iovecs. The readable buffers (driver to device) come
 * first, then the writable ones, as the specification demands (2.7.4.2). Neighbouring buffers that
 * touch are joined. Fill iov and iov_cap before ring_pop().
 */
struct ring_chain {
	struct iovec *iov;  /* the caller's array */
	unsigned iov_cap;   /* its room, in iovecs */
	unsigned out_count; /* iov[0 .. out_count): the device reads */
	unsigned in_count;  /* iov[out_count .. out_count + in_count): the device writes */
	uint64_t out_bytes;
	uint64_t in_bytes; /* both together fit in 32 bits */
	uint16_t head;	   /* for ring_push() */
};

/*
 * Take over the ring at @config: check sizes, alignment and that all three areas are RAM. Returns
 * 0, or -EINVAL with ring->fault set.
 */
int ring_start(struct ring *ring, const struct guest_memory *mem, const struct ring_config *config,
	bool event_idx, bool indirect);

/* 1: @chain holds a request. 0: nothing there. -EIO: the ring is broken, see ring->fault. */
int ring_pop(struct ring *ring, struct ring_chain *chain);

/*
 * Give the last @count popped chains back, unused: the next ring_pop() returns the first of them
 * again. Only for chains that have not been pushed, newest first.
 */
void ring_unpop(struct ring *ring, unsigned count);

/* Prepare the used element for the chain at @head, of which @written bytes were filled. */
void ring_push(struct ring *ring, uint16_t head, uint32_t written);

/*
 * Show the guest everything pushed since the last time, with the barrier 2.7.8.2 asks for. Returns
 * true if the driver wants an interrupt for it (2.7.10).
 */
bool ring_publish(struct ring *ring);

/*
 * Kicks are not wanted while the queue is being worked (ring_kicks_off()); before going to wait,
 * ring_kicks_on() asks for them again and returns true if the driver added something meanwhile: the
 * caller then goes on popping.
 */
void ring_kicks_off(struct ring *ring);
bool ring_kicks_on(struct ring *ring);

/* How many chains the driver has offered that were not popped yet (0 when broken). */
unsigned ring_pending(struct ring *ring);

/* Copy between a flat buffer and iovecs from byte @offset on; returns how much was copied. */
size_t iov_from_buf(
	const struct iovec *iov, unsigned count, size_t offset, const void *buf, size_t len);
size_t iov_to_buf(const struct iovec *iov, unsigned count, size_t offset, void *buf, size_t len);
