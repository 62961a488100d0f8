/*
 * Guest memory: one anonymous mapping of the host, shown to the guest below and above the hole.
 *
 * memory_at() is the only way from a guest address to a host pointer. All fields are constant
 * after memory_create(), so any thread may look up.
 */
#pragma once

#include "util/error.h"
#include "vmm/layout.h"

#include <stddef.h>
#include <stdint.h>

enum { MEMORY_REGIONS_MAX = 2 };

struct memory_region {
	gpa_t base;
	uint64_t size; /* bytes, a multiple of 4 KiB, never 0 */
	uint8_t *host;
};

struct guest_memory {
	unsigned regions; /* 1, or 2 when there is RAM above the hole */
	struct memory_region region[MEMORY_REGIONS_MAX];
	uint64_t bytes; /* of RAM, all regions together */
	void *mapping;	/* the whole host mapping, guard pages included */
	size_t mapping_size;
};

/*
 * Reserve @bytes of guest RAM (a multiple of 4 KiB, at least MEMORY_MIN). Host pages are taken as
 * the guest touches them. Errors: -EINVAL with ERROR_USAGE for a size that cannot be meant,
 * -ENOMEM with ERROR_HOST for one this host cannot hold.
 */
int memory_create(struct guest_memory *mem, uint64_t bytes, struct error *err);
void memory_destroy(struct guest_memory *mem);

#define MEMORY_MIN (4 * 1024 * 1024ULL)

/*
 * The host address of guest bytes [@gpa, @gpa + @len), or NULL unless every one of them is RAM of
 * one region: a range that leaves RAM, crosses the hole or wraps around is refused; one that ends
 * exactly at the end of RAM is valid. @len 0 is refused.
 */
void *memory_at(const struct guest_memory *mem, gpa_t gpa, uint64_t len);

/* Copy into guest memory; -EFAULT if the range is not RAM. For boot code, before the guest runs. */
int memory_write(const struct guest_memory *mem, gpa_t gpa, const void *from, uint64_t len);

/* The first address above RAM below the hole: min(bytes, 3 GiB). */
gpa_t memory_low_end(const struct guest_memory *mem);
