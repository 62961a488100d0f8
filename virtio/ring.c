#include "virtio/ring.h"

#include "util/macros.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

/*
 * Where the fields lie (virtio 1.2, 2.7). The rings are read and written by offset, because their
 * C structs end in arrays of a length that the driver chose.
 *
 *	desc   size * { le64 addr; le32 len; le16 flags; le16 next; }
 *	avail  le16 flags; le16 idx; size * le16 head; le16 used_event;
 *	used   le16 flags; le16 idx; size * { le32 id; le32 len; }; le16 avail_event;
 */
enum {
	DESC_BYTES = 16,
	AVAIL_FLAGS = 0,
	AVAIL_IDX = 2,
	AVAIL_RING = 4,
	USED_FLAGS = 0,
	USED_IDX = 2,
	USED_RING = 4,
	USED_BYTES = 8,
	EVENT_BYTES = 2
};

struct desc {
	gpa_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

/* A table that descriptors are taken from: the ring's own, or an indirect one. */
struct table {
	const uint8_t *at;
	uint32_t entries;
	bool indirect;
};

static int fault(struct ring *ring, const char *why)
{
	ring->broken = true;
	ring->fault = why;
	return -EIO;
}

/*
 * A guest's vCPUs write these fields while we look at them, so each is one access of its width that
 * the compiler may neither repeat nor tear. Where the order between two of them matters, a comment
 * says why.
 */
static uint16_t load16(const uint8_t *p)
{
	return le16toh(__atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED));
}

static void store16(uint8_t *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)p, htole16(v), __ATOMIC_RELAXED);
}

static void store32(uint8_t *p, uint32_t v)
{
	__atomic_store_n((uint32_t *)p, htole32(v), __ATOMIC_RELAXED);
}

/*
 * The one copy of a descriptor. Indirect tables may lie at any address, hence packed; volatile, so
 * that nothing is read a second time after it was checked.
 */
static struct desc load_desc(const struct table *table, uint32_t index)
{
	struct words {
		uint64_t addr;
		uint64_t rest;
	} __attribute__((packed));
	const volatile struct words *w =
		(const volatile struct words *)(table->at + (size_t)index * DESC_BYTES);
	uint64_t addr = le64toh(w->addr);
	uint64_t rest = le64toh(w->rest);

	return (struct desc){
		.addr = addr,
		.len = (uint32_t)rest,
		.flags = (uint16_t)(rest >> 32),
		.next = (uint16_t)(rest >> 48),
	};
}

int ring_start(struct ring *ring, const struct guest_memory *mem, const struct ring_config *config,
	bool event_idx, bool indirect)
{
	uint16_t size = config->size;

	*ring = (struct ring){
		.mem = mem, .size = size, .event_idx = event_idx, .indirect = indirect
	};
	if (!size || (size & (size - 1)) || size > RING_SIZE_MAX)
		ring->fault = "the queue's size is not a power of two within the limit";
	else if (config->desc % 16 || config->avail % 2 || config->used % 4)
		ring->fault = "an area of the queue is not aligned";
	if (!ring->fault) {
		ring->desc = memory_at(mem, config->desc, (uint64_t)size * DESC_BYTES);
		ring->avail = memory_at(mem, config->avail, AVAIL_RING + 2ULL * size + EVENT_BYTES);
		ring->used = memory_at(
			mem, config->used, USED_RING + (uint64_t)size * USED_BYTES + EVENT_BYTES);
		if (!ring->desc || !ring->avail || !ring->used)
			ring->fault = "an area of the queue is not in memory";
	}
	ring->broken = ring->fault != NULL;
	return ring->broken ? -EINVAL : 0;
}

/* Look at the driver's index. Returns how many chains wait to be popped, or -EIO. */
static int refresh_avail(struct ring *ring)
{
	uint16_t idx, waiting;

	/*
	 * Acquire: the driver wrote heads and descriptors before the index (2.7.13.3), so none of
	 * them may be read ahead of it. Pairs with the write barrier in the driver.
	 */
	idx = le16toh(__atomic_load_n((uint16_t *)(ring->avail + AVAIL_IDX), __ATOMIC_ACQUIRE));
	waiting = (uint16_t)(idx - ring->next_avail);
	if (waiting > ring->size)
		return fault(ring, "the available index jumped by more than the queue's size");
	ring->seen_avail = idx;
	return waiting;
}

/* Add one buffer to @chain, joined to its neighbour where the two touch. */
static int add_buffer(struct ring *ring, struct ring_chain *chain, const struct desc *d)
{
	bool writable = d->flags & VRING_DESC_F_WRITE;
	unsigned count = chain->out_count + chain->in_count;
	struct iovec *last = count ? &chain->iov[count - 1] : NULL;
	uint8_t *host;

	if (!writable && chain->in_count)
		return fault(ring, "a readable buffer follows a writable one");
	if (!d->len)
		return fault(ring, "a buffer has no bytes");
	if (chain->out_bytes + chain->in_bytes + d->len > UINT32_MAX)
		return fault(ring, "a chain's buffers are 4 GiB or more together");
	host = memory_at(ring->mem, d->addr, d->len);
	if (!host)
		return fault(ring, "a buffer is not in memory");

	if (writable)
		chain->in_bytes += d->len;
	else
		chain->out_bytes += d->len;
	/* Never across the border between what the device reads and what it writes. */
	if (last && writable == (chain->in_count > 0) &&
		(uint8_t *)last->iov_base + last->iov_len == host) {
		last->iov_len += d->len;
		return 0;
	}
	if (count == chain->iov_cap)
		return fault(ring, "a chain has more buffers than the device takes");
	chain->iov[count] = (struct iovec){ .iov_base = host, .iov_len = d->len };
	if (writable)
		chain->in_count++;
	else
		chain->out_count++;
	return 0;
}

/* Turn to the table that @d refers to (2.7.5.3). */
static int enter_indirect(struct ring *ring, struct table *table, const struct desc *d)
{
	if (!ring->indirect)
		return fault(ring, "an indirect descriptor without the feature");
	if (table->indirect)
		return fault(ring, "an indirect descriptor inside an indirect table");
	if (d->flags & VRING_DESC_F_NEXT)
		return fault(ring, "an indirect descriptor with a next one");
	if (!d->len || d->len % DESC_BYTES)
		return fault(ring, "an indirect table's length is not a multiple of 16");
	table->at = memory_at(ring->mem, d->addr, d->len);
	table->entries = d->len / DESC_BYTES;
	table->indirect = true;
	if (!table->at)
		return fault(ring, "an indirect table is not in memory");
	return 0;
}

/* Follow the chain that begins at @index of the ring's own table. */
static int walk(struct ring *ring, struct ring_chain *chain, uint32_t index)
{
	struct table table = { .at = ring->desc, .entries = ring->size };
	uint32_t left = table.entries;

	/* Each descriptor of a table can be in the chain once: more steps than that are a loop. */
	for (;;) {
		struct desc d;
		int r;

		if (!left--)
			return fault(ring, "a descriptor chain is a loop, or too long");
		d = load_desc(&table, index);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			r = enter_indirect(ring, &table, &d);
			if (r < 0)
				return r;
			index = 0;
			left = MIN(table.entries, (uint32_t)RING_CHAIN_MAX);
			continue;
		}
		r = add_buffer(ring, chain, &d);
		if (r < 0)
			return r;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return 0;
		if (d.next >= table.entries)
			return fault(ring, "a descriptor's next is outside of its table");
		index = d.next;
	}
}

int ring_pop(struct ring *ring, struct ring_chain *chain)
{
	uint16_t head;
	int r;

	if (ring->broken)
		return -EIO;
	/* The index is read again only when all that it promised has been taken. */
	if (ring->seen_avail == ring->next_avail) {
		r = refresh_avail(ring);
		if (r <= 0)
			return r;
	}
	if (ring->in_use == ring->size)
		return fault(ring, "more chains are in use than the queue has entries");
	head = load16(ring->avail + AVAIL_RING + 2 * (ring->next_avail & (ring->size - 1)));
	if (head >= ring->size)
		return fault(ring, "the head of a chain is outside of the table");

	chain->out_count = chain->in_count = 0;
	chain->out_bytes = chain->in_bytes = 0;
	chain->head = head;
	r = walk(ring, chain, head);
	if (r < 0)
		return r;
	ring->next_avail++;
	ring->in_use++;
	return 1;
}

void ring_unpop(struct ring *ring, unsigned count)
{
	if (ring->broken || count > ring->in_use)
		return;
	ring->next_avail -= (uint16_t)count;
	ring->in_use -= (uint16_t)count;
}

void ring_push(struct ring *ring, uint16_t head, uint32_t written)
{
	uint8_t *used;

	if (ring->broken || !ring->in_use)
		return;
	used = ring->used + USED_RING + USED_BYTES * (ring->next_used & (ring->size - 1));
	store32(used, head);
	store32(used + 4, written);
	ring->next_used++;
	ring->in_use--;
}

bool ring_publish(struct ring *ring)
{
	uint16_t old = ring->published_used, new = ring->next_used;

	if (ring->broken || old == new)
		return false;
	/*
	 * Release: the used elements, and the data that the requests wrote (by us, or by the kernel
	 * before it completed the I/O), must be there before the index that shows them (2.7.8.2).
	 */
	__atomic_store_n((uint16_t *)(ring->used + USED_IDX), htole16(new), __ATOMIC_RELEASE);
	ring->published_used = new;
	/*
	 * A driver that goes to sleep writes used_event (or the flag) and then looks at our index;
	 * we write the index and then look at used_event. Only a full barrier on both sides keeps
	 * both from missing each other (2.7.10.1); release and acquire do not order a store before
	 * a later load.
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (ring->event_idx) {
		uint16_t event = load16(ring->avail + AVAIL_RING + 2 * ring->size);

		/* Is event among the entries old .. new - 1? All modulo 2^16. */
		return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
	}
	return !(load16(ring->avail + AVAIL_FLAGS) & VRING_AVAIL_F_NO_INTERRUPT);
}

void ring_kicks_off(struct ring *ring)
{
	/*
	 * With EVENT_IDX there is nothing to write: avail_event stays at an index that the driver
	 * has passed, so no new one equals it until ring_kicks_on() moves it.
	 */
	if (!ring->broken && !ring->event_idx)
		store16(ring->used + USED_FLAGS, VRING_USED_F_NO_NOTIFY);
}

bool ring_kicks_on(struct ring *ring)
{
	if (ring->broken)
		return false;
	if (ring->event_idx)
		store16(ring->used + USED_RING + USED_BYTES * ring->size, ring->next_avail);
	else
		store16(ring->used + USED_FLAGS, 0);
	/*
	 * The mirror of ring_publish(): the wish to be kicked must be visible before the index is
	 * looked at, or a chain added in between is neither seen nor kicked for (2.7.7.2, 2.7.13.4).
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return load16(ring->avail + AVAIL_IDX) != ring->next_avail;
}

unsigned ring_pending(struct ring *ring)
{
	int waiting = ring->broken ? 0 : refresh_avail(ring);

	return waiting > 0 ? (unsigned)waiting : 0;
}

/* The part of iov entry @v that lies at @offset of the rest, cut to @len; moves @offset on. */
static size_t iov_part(const struct iovec *v, size_t *offset, size_t len, uint8_t **at)
{
	size_t n;

	if (*offset >= v->iov_len) {
		*offset -= v->iov_len;
		return 0;
	}
	n = MIN(v->iov_len - *offset, len);
	*at = (uint8_t *)v->iov_base + *offset;
	*offset = 0;
	return n;
}

size_t iov_from_buf(
	const struct iovec *iov, unsigned count, size_t offset, const void *buf, size_t len)
{
	size_t done = 0;

	for (unsigned i = 0; i < count && done < len; i++) {
		uint8_t *at = NULL;
		size_t n = iov_part(&iov[i], &offset, len - done, &at);

		if (n)
			memcpy(at, (const uint8_t *)buf + done, n);
		done += n;
	}
	return done;
}

size_t iov_to_buf(const struct iovec *iov, unsigned count, size_t offset, void *buf, size_t len)
{
	size_t done = 0;

	for (unsigned i = 0; i < count && done < len; i++) {
		uint8_t *at = NULL;
		size_t n = iov_part(&iov[i], &offset, len - done, &at);

		if (n)
			memcpy((uint8_t *)buf + done, at, n);
		done += n;
	}
	return done;
}
