#include "vmm/bus.h"

#include <errno.h>
#include <string.h>

int bus_add(struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *ops, void *ctx,
	struct error *err)
{
	unsigned at = 0;

	if (!size || base + size - 1 < base)
		return error_set(err, ERROR_MACHINE, EINVAL, "%s bus: empty range at %#llx",
			bus->name, (unsigned long long)base);
	if (bus->ranges == BUS_RANGES_MAX)
		return error_set(err, ERROR_MACHINE, ENOSPC, "%s bus: more than %d devices",
			bus->name, BUS_RANGES_MAX);
	while (at < bus->ranges && bus->range[at].base < base)
		at++;
	if ((at > 0 && base - bus->range[at - 1].base < bus->range[at - 1].size) ||
		(at < bus->ranges && bus->range[at].base - base < size))
		return error_set(err, ERROR_MACHINE, EEXIST, "%s bus: two devices at %#llx",
			bus->name, (unsigned long long)base);
	memmove(&bus->range[at + 1], &bus->range[at], (bus->ranges - at) * sizeof(bus->range[0]));
	bus->range[at] = (struct bus_range){ .base = base, .size = size, .ops = ops, .ctx = ctx };
	bus->ranges++;
	return 0;
}

/* The range that holds all of [addr, addr + len), or NULL. */
static const struct bus_range *find(const struct bus *bus, uint64_t addr, unsigned len)
{
	unsigned lo = 0, hi = bus->ranges;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		const struct bus_range *r = &bus->range[mid];

		if (addr < r->base)
			hi = mid;
		else if (addr - r->base >= r->size)
			lo = mid + 1;
		else
			return len <= r->size - (addr - r->base) ? r : NULL;
	}
	return NULL;
}

void bus_read(const struct bus *bus, uint64_t addr, uint8_t *data, unsigned len)
{
	const struct bus_range *r = find(bus, addr, len);

	if (r)
		r->ops->read(r->ctx, addr - r->base, data, len);
	else
		memset(data, 0xff, len);
}

void bus_write(const struct bus *bus, uint64_t addr, const uint8_t *data, unsigned len)
{
	const struct bus_range *r = find(bus, addr, len);

	if (r)
		r->ops->write(r->ctx, addr - r->base, data, len);
}
