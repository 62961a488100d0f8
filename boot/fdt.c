/*
 * A flattened device tree as Linux's arch/x86/kernel/devicetree.c takes it through setup_data: its
 * only x86 machine with one was the CE4100, whose names for the APICs stuck.
 *
 * What is probed has to lie under a node that Linux knows as a bus: "simple-bus" for the
 * virtio-mmio windows, "isa" for the serial port.
 */
#include "boot/describe.h"

#include "util/macros.h"

#include <errno.h>
#include <libfdt.h>
#include <stdio.h>

#define IOAPIC_PHANDLE 1
#define EDGE_HIGH      3 /* second interrupt cell: edge, active high in of_ioapic_type[] */
#define SERIAL_CLOCK   1843200

/* Calls libfdt until something fails; the first error stays. */
struct tree {
	void *fdt;
	int r;
};

#define DO(t, call)                      \
	do {                             \
		if (!(t)->r)             \
			(t)->r = (call); \
	} while (0)

__attribute__((format(printf, 2, 3))) static void begin(struct tree *t, const char *fmt, ...)
{
	char name[32];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	DO(t, fdt_begin_node(t->fdt, name));
}

static void end(struct tree *t)
{
	DO(t, fdt_end_node(t->fdt));
}

static void string(struct tree *t, const char *name, const char *value)
{
	DO(t, fdt_property_string(t->fdt, name, value));
}

/* One string after the other, each with its zero. */
#define strings(t, name, list) DO(t, fdt_property((t)->fdt, name, list, sizeof(list)))

static void flag(struct tree *t, const char *name)
{
	DO(t, fdt_property(t->fdt, name, NULL, 0));
}

static void cells(struct tree *t, const char *name, const uint32_t *cell, unsigned n)
{
	fdt32_t be[8];

	for (unsigned i = 0; i < n; i++)
		be[i] = cpu_to_fdt32(cell[i]);
	DO(t, fdt_property(t->fdt, name, be, (int)(n * sizeof(be[0]))));
}

#define CELLS(t, name, ...)                               \
	cells(t, name, (const uint32_t[]){ __VA_ARGS__ }, \
		sizeof((const uint32_t[]){ __VA_ARGS__ }) / sizeof(uint32_t))

/* An address or size takes two cells below the root and below soc. */
#define HI(v)		   ((uint32_t)((v) >> 32))
#define LO(v)		   ((uint32_t)(v))
#define REG(t, base, size) CELLS(t, "reg", HI(base), LO(base), HI(size), LO(size))

static void two_cells(struct tree *t)
{
	CELLS(t, "#address-cells", 2);
	CELLS(t, "#size-cells", 2);
}

static void put_cpus(struct tree *t, unsigned cpus)
{
	begin(t, "cpus");
	CELLS(t, "#address-cells", 1);
	CELLS(t, "#size-cells", 0);
	for (unsigned i = 0; i < cpus; i++) {
		begin(t, "cpu@%x", i);
		string(t, "device_type", "cpu");
		string(t, "compatible", "intel,ce4100");
		CELLS(t, "reg", i); /* local APIC id */
		end(t);
	}
	end(t);
}

static void put_memory(struct tree *t, const struct guest_memory *mem)
{
	for (unsigned i = 0; i < mem->regions; i++) {
		const struct memory_region *r = &mem->region[i];

		begin(t, "memory@%llx", (unsigned long long)r->base);
		string(t, "device_type", "memory");
		REG(t, r->base, r->size);
		end(t);
	}
}

static void put_chosen(struct tree *t, const struct boot_placed *placed)
{
	uint64_t end_of_initrd = placed->initrd + placed->initrd_size;

	begin(t, "chosen");
	string(t, "bootargs", placed->cmdline);
	string(t, "stdout-path", "/isa@1,0/serial@1,3f8");
	if (placed->initrd_size) {
		CELLS(t, "linux,initrd-start", HI(placed->initrd), LO(placed->initrd));
		CELLS(t, "linux,initrd-end", HI(end_of_initrd), LO(end_of_initrd));
	}
	end(t);
}

static void put_apics(struct tree *t)
{
	begin(t, "interrupt-controller@%llx", LAYOUT_IOAPIC);
	string(t, "compatible", "intel,ce4100-ioapic");
	flag(t, "interrupt-controller");
	CELLS(t, "#interrupt-cells", 2);
	CELLS(t, "#address-cells", 0);
	CELLS(t, "phandle", IOAPIC_PHANDLE);
	REG(t, LAYOUT_IOAPIC, 0x1000ULL);
	end(t);
	begin(t, "lapic@%llx", LAYOUT_LAPIC);
	string(t, "compatible", "intel,ce4100-lapic");
	/* No IMCR to switch from PIC mode (MP specification, 3.6.2). */
	flag(t, "intel,virtual-wire-mode");
	REG(t, LAYOUT_LAPIC, 0x1000ULL);
	end(t);
}

static void put_soc(struct tree *t, const struct boot_params_in *in)
{
	static const char compatible[] = "intel,ce4100-cp\0simple-bus";

	begin(t, "soc");
	strings(t, "compatible", compatible);
	flag(t, "ranges");
	two_cells(t);
	put_apics(t);
	for (unsigned i = 0; i < in->devices; i++) {
		const struct boot_device *d = &in->device[i];

		begin(t, "virtio@%llx", (unsigned long long)d->base);
		string(t, "compatible", "virtio,mmio");
		REG(t, d->base, d->size);
		CELLS(t, "interrupts", d->gsi, EDGE_HIGH);
		flag(t, "dma-coherent");
		end(t);
	}
	end(t);
}

/* The bus's own two address cells are (1 for I/O ports, the port); ports map to ports. */
static void put_isa(struct tree *t)
{
	begin(t, "isa@1,0");
	string(t, "device_type", "isa");
	string(t, "compatible", "isa");
	CELLS(t, "#address-cells", 2);
	CELLS(t, "#size-cells", 1);
	CELLS(t, "ranges", 1, 0, 0, 0, 0x10000);
	begin(t, "serial@1,%x", LAYOUT_PORT_SERIAL);
	string(t, "compatible", "ns16550a");
	string(t, "device_type", "serial");
	CELLS(t, "reg", 1, LAYOUT_PORT_SERIAL, 8);
	CELLS(t, "clock-frequency", SERIAL_CLOCK);
	CELLS(t, "interrupts", LAYOUT_SERIAL_GSI, EDGE_HIGH);
	end(t);
	end(t);
}

int fdt_build(uint8_t *area, size_t size, const struct boot_params_in *in,
	const struct guest_memory *mem, const struct boot_placed *placed)
{
	struct tree t = { .fdt = area };

	DO(&t, fdt_create(area, (int)size));
	DO(&t, fdt_finish_reservemap(area));
	begin(&t, "%s", "");
	string(&t, "model", "microvm");
	string(&t, "compatible", "intel,ce4100");
	CELLS(&t, "interrupt-parent", IOAPIC_PHANDLE);
	two_cells(&t);
	put_chosen(&t, placed);
	put_cpus(&t, in->cpus);
	put_memory(&t, mem);
	put_soc(&t, in);
	put_isa(&t);
	end(&t);
	DO(&t, fdt_finish(area));
	return t.r ? -ENOSPC : (int)fdt_totalsize(area);
}
