/*
 * Guest memory for fuzz targets: small, two regions with a hole between them as in a real machine,
 * each an allocation of its own so that the address sanitizer sees a step across its end.
 */
#pragma once

#include "vmm/memory.h"

#include <stdlib.h>
#include <string.h>

enum { GUEST_LOW = 0x8000, GUEST_HIGH = 0x1000 };

static inline void guest_create(struct guest_memory *mem)
{
	*mem = (struct guest_memory){
		.regions = 2,
		.region = { { .base = 0,
				    .size = GUEST_LOW,
				    .host = aligned_alloc(4096, GUEST_LOW) },
			{ .base = LAYOUT_HOLE_END,
				.size = GUEST_HIGH,
				.host = aligned_alloc(4096, GUEST_HIGH) } },
		.bytes = GUEST_LOW + GUEST_HIGH,
	};
	memset(mem->region[0].host, 0, GUEST_LOW);
	memset(mem->region[1].host, 0, GUEST_HIGH);
}

static inline void guest_destroy(struct guest_memory *mem)
{
	free(mem->region[0].host);
	free(mem->region[1].host);
}

/* An address out of 16 bits of input: mostly RAM, sometimes the edges, the hole and the far end. */
static inline gpa_t guest_address(uint16_t v)
{
	switch (v >> 12) {
	case 0xf:
		return UINT64_MAX - (v & 0xfff);
	case 0xe:
		return LAYOUT_HOLE_END + (v & 0xfff);
	case 0xd:
		return LAYOUT_VIRTIO + (v & 0xfff);
	case 0xc:
		return GUEST_LOW - 0x800 + (v & 0xfff);
	default:
		return v % GUEST_LOW;
	}
}
