/*
 * A bus: address ranges and who answers for them. A machine has two, one for ports (PIO) and one
 * for memory-mapped registers (MMIO). Built by main before the vCPUs start and constant after, so
 * lookups take no lock; a device that is not only read locks for itself.
 */
#pragma once

#include "util/error.h"

#include <stdint.h>

struct bus_ops {
	/*
	 * On the vCPU thread that made the access. @offset is from the start of the range; @len is
	 * 1, 2, 4 or 8 and @offset + @len lies inside it. read() must fill all of @data.
	 */
	void (*read)(void *ctx, uint64_t offset, uint8_t *data, unsigned len);
	void (*write)(void *ctx, uint64_t offset, const uint8_t *data, unsigned len);
};

enum { BUS_RANGES_MAX = 48 };

struct bus_range {
	uint64_t base;
	uint64_t size;
	const struct bus_ops *ops;
	void *ctx; /* not owned */
};

struct bus {
	const char *name; /* "mmio" or "pio", for messages */
	unsigned ranges;
	struct bus_range range[BUS_RANGES_MAX]; /* sorted by base, without overlaps */
};

/* Main, before start. -EEXIST for an overlap, -ENOSPC when full, -EINVAL for an empty range. */
int bus_add(struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *ops, void *ctx,
	struct error *err);

/* Any vCPU. An access that nobody claims whole reads as all ones and is written nowhere. */
void bus_read(const struct bus *bus, uint64_t addr, uint8_t *data, unsigned len);
void bus_write(const struct bus *bus, uint64_t addr, const uint8_t *data, unsigned len);
