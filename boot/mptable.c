/*
 * The table of Intel's MultiProcessor Specification 1.4, for kernels that are told of virtio-mmio
 * on the command line: local APICs, one IOAPIC, and a straight line from each ISA interrupt to
 * the IOAPIC's pin of the same number.
 *
 * The floating pointer lies where it is looked for, at the start of the EBDA (the last kilobyte of
 * conventional memory). The table with 64 processors is larger than that, so it lies in the area
 * that ACPI's tables would have, which is reserved in e820, too.
 */
#include "boot/describe.h"

#include "util/macros.h"

#include <errno.h>
#include <string.h>

struct __attribute__((packed)) mp_pointer { /* 4.1 */
	char signature[4];
	uint32_t table;
	uint8_t length; /* in 16 bytes */
	uint8_t revision;
	uint8_t checksum;
	uint8_t feature[5]; /* 0: a table follows; no IMCR, so virtual wire mode */
};

struct __attribute__((packed)) mp_header { /* 4.2 */
	char signature[4];
	uint16_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[8];
	char product_id[12];
	uint32_t oem_table;
	uint16_t oem_size;
	uint16_t entries;
	uint32_t lapic;
	uint16_t extended_length;
	uint8_t extended_checksum;
	uint8_t reserved;
};

struct __attribute__((packed)) mp_processor { /* 4.3.1 */
	uint8_t type;			      /* 0 */
	uint8_t apic_id;
	uint8_t apic_version;
	uint8_t flags; /* 1: enabled, 2: boot processor */
	uint32_t signature;
	uint32_t features;
	uint32_t reserved[2];
};

struct __attribute__((packed)) mp_bus { /* 4.3.2 */
	uint8_t type;			/* 1 */
	uint8_t id;
	char name[6];
};

struct __attribute__((packed)) mp_ioapic { /* 4.3.3 */
	uint8_t type;			   /* 2 */
	uint8_t id;
	uint8_t version;
	uint8_t flags; /* 1: enabled */
	uint32_t address;
};

struct __attribute__((packed)) mp_interrupt { /* 4.3.4 (type 3, I/O) and 4.3.5 (type 4, local) */
	uint8_t type;
	uint8_t kind;
	uint16_t flags; /* 0: as the bus says; for ISA: edge, active high */
	uint8_t bus;
	uint8_t source;
	uint8_t apic;
	uint8_t pin;
};

enum {
	MP_IO_INTERRUPT = 3,
	MP_LOCAL_INTERRUPT = 4,
	MP_KIND_INT = 0,
	MP_KIND_NMI = 1,
	MP_KIND_EXTINT = 3,
	MP_ALL_APICS = 0xff,
	MP_LAPIC_VERSION = 0x14, /* integrated, as KVM's */
	MP_IOAPIC_VERSION = 0x11,
	MP_BUS_ISA = 0,
	MP_FEATURE_FPU_APIC = 1 | 1 << 9
};

static_assert(sizeof(struct mp_pointer) == 16, "MP floating pointer");
static_assert(sizeof(struct mp_header) == 44, "MP table header");
static_assert(sizeof(struct mp_processor) == 20, "MP processor");
static_assert(sizeof(struct mp_interrupt) == 8, "MP interrupt");

struct out {
	uint8_t *base;
	size_t size;
	size_t used;
	uint16_t entries;
	bool full;
};

static void put(struct out *o, const void *entry, size_t n)
{
	if (o->full || n > o->size - o->used) {
		o->full = true;
		return;
	}
	memcpy(o->base + o->used, entry, n);
	o->used += n;
	o->entries++;
}

static uint8_t checksum(const void *bytes, size_t n)
{
	const uint8_t *p = bytes;
	uint8_t sum = 0;

	while (n--)
		sum += *p++;
	return (uint8_t)-sum;
}

static void put_processors(struct out *o, unsigned cpus)
{
	for (unsigned i = 0; i < cpus; i++) {
		struct mp_processor cpu = {
			.apic_id = (uint8_t)i,
			.apic_version = MP_LAPIC_VERSION,
			.flags = i ? 1 : 3,
			.signature = 0x600, /* family 6; Linux asks CPUID */
			.features = MP_FEATURE_FPU_APIC,
		};

		put(o, &cpu, sizeof(cpu));
	}
}

static void put_interrupts(struct out *o, uint8_t ioapic_id)
{
	struct mp_interrupt extint = {
		.type = MP_LOCAL_INTERRUPT, .kind = MP_KIND_EXTINT, .bus = MP_BUS_ISA
	};
	struct mp_interrupt nmi = { .type = MP_LOCAL_INTERRUPT,
		.kind = MP_KIND_NMI,
		.bus = MP_BUS_ISA,
		.apic = MP_ALL_APICS,
		.pin = 1 };

	for (uint8_t pin = 0; pin < LAYOUT_IOAPIC_PINS; pin++) {
		struct mp_interrupt line = {
			.type = MP_IO_INTERRUPT,
			.kind = MP_KIND_INT,
			.bus = MP_BUS_ISA,
			.source = pin,
			.apic = ioapic_id,
			.pin = pin,
		};

		put(o, &line, sizeof(line));
	}
	put(o, &extint, sizeof(extint));
	put(o, &nmi, sizeof(nmi));
}

int mptable_build(uint8_t *area, size_t size, uint8_t pointer[16], const struct boot_params_in *in)
{
	/* The processors have the ids below. */
	struct mp_ioapic ioapic = { .type = 2,
		.id = (uint8_t)in->cpus,
		.version = MP_IOAPIC_VERSION,
		.flags = 1,
		.address = LAYOUT_IOAPIC };
	struct mp_bus isa = { .type = 1, .id = MP_BUS_ISA, .name = "ISA   " };
	struct mp_header header = { .signature = "PCMP", .revision = 4, .lapic = LAYOUT_LAPIC };
	struct mp_pointer p = {
		.signature = "_MP_", .table = LAYOUT_MP_TABLE, .length = 1, .revision = 4
	};
	struct out o = { .base = area, .size = size, .used = sizeof(header) };

	if (size < sizeof(header))
		return -ENOSPC;
	put_processors(&o, in->cpus);
	put(&o, &isa, sizeof(isa));
	put(&o, &ioapic, sizeof(ioapic));
	put_interrupts(&o, ioapic.id);
	if (o.full || o.used > UINT16_MAX)
		return -ENOSPC;
	header.length = (uint16_t)o.used;
	header.entries = o.entries;
	memcpy(header.oem_id, "MICROVM ", sizeof(header.oem_id));
	memcpy(header.product_id, "MICROVM     ", sizeof(header.product_id));
	memcpy(area, &header, sizeof(header));
	area[offsetof(struct mp_header, checksum)] = checksum(area, o.used);
	p.checksum = checksum(&p, sizeof(p));
	memcpy(pointer, &p, sizeof(p));
	return (int)o.used;
}
