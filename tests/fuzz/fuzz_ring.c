/*
 * Rings full of anything: any configuration, any memory, changed between the calls. Whatever comes
 * out of ring_pop() must lie in guest memory, and never more of it than the ring has entries.
 */
#include "guest.h"
#include "input.h"
#include "util/macros.h"
#include "virtio/ring.h"

#include <linux/virtio_ring.h>

enum { IOVS = 300, STEPS = 200 };

static volatile uint8_t sink;

static void require(bool truth)
{
	if (!truth)
		abort();
}

/* Read what may be read and write what may be written: the sanitizer says where that is wrong. */
static void touch(const struct guest_memory *mem, const struct ring_chain *chain)
{
	uint64_t out = 0, in = 0;

	require(chain->out_count + chain->in_count <= chain->iov_cap);
	for (unsigned i = 0; i < chain->out_count + chain->in_count; i++) {
		uint8_t *p = chain->iov[i].iov_base;
		size_t n = chain->iov[i].iov_len;

		require(n > 0);
		if (i < chain->out_count) {
			out += n;
			sink = p[0] ^ p[n - 1] ^ p[n / 2];
		} else {
			in += n;
			p[0] ^= 0;
			p[n - 1] ^= 0;
		}
	}
	require(out == chain->out_bytes && in == chain->in_bytes && out + in <= UINT32_MAX);
	require(out + in > 0);
}

/* Write a descriptor that makes some sense, so that long chains are found. */
static void poke_desc(const struct guest_memory *mem, struct input *in, gpa_t table)
{
	struct vring_desc d = { .addr = guest_address(take16(in)) };
	gpa_t at = table + 16ULL * (take8(in) % 64);
	uint8_t kind = take8(in);
	void *to = memory_at(mem, at, sizeof(d));

	d.len = kind & 0x80 ? take32(in) : take8(in);
	d.flags = kind & 7;
	d.next = take8(in) % 64;
	if (to)
		memcpy(to, &d, sizeof(d));
}

static void poke(const struct guest_memory *mem, gpa_t at, uint16_t value)
{
	void *to = memory_at(mem, at, sizeof(value));

	if (to)
		memcpy(to, &value, sizeof(value));
}

static void step(struct ring *ring, struct input *in, const struct ring_config *c)
{
	struct iovec iov[IOVS];
	struct ring_chain chain = { .iov = iov, .iov_cap = IOVS };

	switch (take8(in) % 12) {
	case 0:
	case 1:
		chain.iov_cap = take8(in) % 8 ? IOVS : 3;
		if (ring_pop(ring, &chain) == 1)
			touch(ring->mem, &chain);
		break;
	case 2:
		if (ring->in_use)
			ring_push(ring, take8(in), take32(in));
		break;
	case 3:
		ring_publish(ring);
		break;
	case 4:
		ring_unpop(ring, take8(in) % 4);
		break;
	case 5:
		ring_kicks_off(ring);
		break;
	case 6:
		ring_kicks_on(ring);
		break;
	case 7:
		require(ring_pending(ring) <= ring->size);
		break;
	case 8:
		poke_desc(ring->mem, in, c->desc);
		break;
	case 9:
		poke_desc(ring->mem, in, guest_address(take16(in)));
		break;
	case 10: /* an available head, and the index behind it */
		poke(ring->mem, c->avail + 4 + 2ULL * (ring->next_avail % (c->size ? c->size : 1)),
			take8(in));
		poke(ring->mem, c->avail + 2, ring->next_avail + take8(in) % 4);
		break;
	case 11:
		poke(ring->mem, guest_address(take16(in)), take16(in));
		break;
	}
	require(ring->in_use <= ring->size);
	require(!ring->broken || ring->fault);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	uint8_t shape = take8(&in), flags = take8(&in);
	struct guest_memory mem;
	struct ring ring;
	struct ring_config c = { .size = (uint16_t)(1u << (shape & 15)), .ready = true };

	guest_create(&mem);
	if (flags & 0x80)
		c.size = take16(&in);
	c.desc = 0x1000;
	c.avail = 0x3000;
	c.used = 0x4000;
	if (flags & 0x40) {
		c.desc = flags & 0x20 ? take64(&in) : guest_address(take16(&in));
		c.avail = guest_address(take16(&in));
		c.used = guest_address(take16(&in));
	}
	if (flags & 0x10)
		take_bytes(&in, mem.region[0].host, MIN(in.left / 2, (size_t)GUEST_LOW));
	ring_start(&ring, &mem, &c, flags & 1, flags & 2);
	for (unsigned i = 0; i < STEPS && in.left; i++)
		step(&ring, &in, &c);
	guest_destroy(&mem);
	return 0;
}
