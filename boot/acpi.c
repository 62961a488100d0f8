/*
 * ACPI tables (ACPI 6.4) for a machine without ACPI hardware: RSDP, XSDT, a hardware-reduced FADT,
 * MADT and DSDT, one behind the other from LAYOUT_ACPI on.
 */
#include "boot/aml.h"
#include "boot/describe.h"

#include "util/macros.h"

#include <errno.h>
#include <string.h>

#define OEM_ID	     "MICROV"
#define OEM_TABLE_ID "MICROVM "
#define CREATOR_ID   "MVM "

struct __attribute__((packed)) acpi_rsdp { /* 5.2.5.3 */
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum; /* of all */
	uint8_t reserved[3];
};

struct __attribute__((packed)) acpi_header { /* 5.2.6 */
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
};

struct __attribute__((packed)) acpi_gas { /* 5.2.3.2: generic address structure */
	uint8_t space;			  /* 1: I/O ports */
	uint8_t bit_width;
	uint8_t bit_offset;
	uint8_t access; /* 1: bytes */
	uint64_t address;
};

struct __attribute__((packed)) acpi_fadt { /* 5.2.9, revision 6 */
	struct acpi_header header;
	uint32_t firmware_ctrl;
	uint32_t dsdt;
	uint8_t unused[64]; /* 44 to 107: of ACPI hardware, or for hints that do not matter here */
	uint8_t century;
	uint16_t boot_arch;
	uint8_t reserved;
	uint32_t flags;
	struct acpi_gas reset;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor;
	uint64_t x_firmware_ctrl;
	uint64_t x_dsdt;
	struct acpi_gas blocks[8]; /* of ACPI hardware */
	struct acpi_gas sleep_control;
	struct acpi_gas sleep_status;
	uint64_t hypervisor;
};

enum {
	FADT_BOOT_NO_VGA = 1 << 2,
	FADT_BOOT_NO_CMOS_RTC = 1 << 5,
	/* LEGACY_DEVICES and 8042 are not set: Linux probes neither. */

	FADT_WBINVD = 1 << 0,
	FADT_PROC_C1 = 1 << 2,
	FADT_PWR_BUTTON = 1 << 4, /* none, or a control method */
	FADT_SLP_BUTTON = 1 << 5,
	FADT_RESET_REG_SUP = 1 << 10,
	FADT_HEADLESS = 1 << 12,
	FADT_HW_REDUCED = 1 << 20
};

struct __attribute__((packed)) acpi_madt { /* 5.2.12 */
	struct acpi_header header;
	uint32_t lapic;
	uint32_t flags; /* 1: PCAT_COMPAT, which we are not */
};

struct __attribute__((packed)) acpi_lapic { /* 5.2.12.2 */
	uint8_t type;			    /* 0 */
	uint8_t length;
	uint8_t processor;
	uint8_t apic_id;
	uint32_t flags; /* 1: enabled */
};

struct __attribute__((packed)) acpi_ioapic { /* 5.2.12.3 */
	uint8_t type;			     /* 1 */
	uint8_t length;
	uint8_t id;
	uint8_t reserved;
	uint32_t address;
	uint32_t gsi_base;
};

static_assert(sizeof(struct acpi_rsdp) == 36, "RSDP");
static_assert(sizeof(struct acpi_header) == 36, "table header");
static_assert(sizeof(struct acpi_fadt) == 276, "FADT");
static_assert(offsetof(struct acpi_fadt, boot_arch) == 109, "FADT");
static_assert(offsetof(struct acpi_fadt, sleep_control) == 244, "FADT");
static_assert(sizeof(struct acpi_madt) == 44, "MADT");

/* The area that is being filled. Guest address of offset x: LAYOUT_ACPI + x. */
struct area {
	uint8_t *base;
	size_t size;
	size_t used;
};

static uint8_t checksum(const void *bytes, size_t n)
{
	const uint8_t *p = bytes;
	uint8_t sum = 0;

	while (n--)
		sum += *p++;
	return (uint8_t)-sum;
}

/* Room for a table of @n bytes, zeroed; NULL if there is none left. */
static void *reserve(struct area *a, size_t n)
{
	size_t at = align_up(a->used, 16);

	if (at > a->size || n > a->size - at)
		return NULL;
	a->used = at + n;
	return memset(a->base + at, 0, n);
}

static uint64_t address(const struct area *a, const void *table)
{
	return LAYOUT_ACPI + (uint64_t)((const uint8_t *)table - a->base);
}

static void finish(void *table, const char *signature, uint8_t revision, size_t length)
{
	struct acpi_header *h = table;

	memcpy(h->signature, signature, sizeof(h->signature));
	h->length = (uint32_t)length;
	h->revision = revision;
	memcpy(h->oem_id, OEM_ID, sizeof(h->oem_id));
	memcpy(h->oem_table_id, OEM_TABLE_ID, sizeof(h->oem_table_id));
	h->oem_revision = 1;
	memcpy(h->creator_id, CREATOR_ID, sizeof(h->creator_id));
	h->creator_revision = 1;
	h->checksum = 0;
	h->checksum = checksum(table, length);
}

static struct acpi_gas port(uint16_t address)
{
	return (struct acpi_gas){ .space = 1, .bit_width = 8, .access = 1, .address = address };
}

static uint64_t put_fadt(struct area *a, uint64_t dsdt)
{
	struct acpi_fadt *f = reserve(a, sizeof(*f));

	if (!f)
		return 0;
	f->dsdt = (uint32_t)dsdt;
	f->x_dsdt = dsdt;
	f->boot_arch = FADT_BOOT_NO_VGA | FADT_BOOT_NO_CMOS_RTC;
	f->flags = FADT_WBINVD | FADT_PROC_C1 | FADT_PWR_BUTTON | FADT_SLP_BUTTON |
		   FADT_RESET_REG_SUP | FADT_HEADLESS | FADT_HW_REDUCED;
	f->reset = port(LAYOUT_PORT_ACPI_RESET);
	f->reset_value = LAYOUT_ACPI_RESET_BYTE;
	f->minor = 4;
	f->sleep_control = port(LAYOUT_PORT_ACPI_SLEEP);
	f->sleep_status = port(LAYOUT_PORT_ACPI_SLEEP + 1);
	memcpy(&f->hypervisor, "MICROVM", 7);
	finish(f, "FACP", 6, sizeof(*f));
	return address(a, f);
}

static uint64_t put_madt(struct area *a, unsigned cpus)
{
	size_t size = sizeof(struct acpi_madt) + cpus * sizeof(struct acpi_lapic) +
		      sizeof(struct acpi_ioapic);
	struct acpi_madt *m = reserve(a, size);
	struct acpi_ioapic *ioapic;
	struct acpi_lapic *lapic;

	if (!m)
		return 0;
	m->lapic = LAYOUT_LAPIC;
	lapic = (void *)(m + 1);
	for (unsigned i = 0; i < cpus; i++)
		*lapic++ = (struct acpi_lapic){
			.length = sizeof(*lapic),
			.processor = (uint8_t)i,
			.apic_id = (uint8_t)i,
			.flags = 1,
		};
	ioapic = (void *)lapic;
	*ioapic = (struct acpi_ioapic){
		.type = 1, .length = sizeof(*ioapic), .address = LAYOUT_IOAPIC
	};
	finish(m, "APIC", 5, size);
	return address(a, m);
}

static void put32(uint8_t *p, uint64_t v)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

/* One virtio-mmio window: Memory32Fixed and Interrupt, edge, active high (6.4.3). */
static void put_virtio(struct aml *dsdt, const struct boot_device *d, unsigned n)
{
	uint8_t crs[] = {
		0x86, 9, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, /* Memory32Fixed (ReadWrite, base, size) */
		0x89, 6, 0, 0x03, 1, 0, 0, 0, 0,       /* Interrupt (Consumer, Edge, ActiveHigh) */
		0x79, 0,			       /* end */
	};
	char name[5] = { 'V', 'I', (char)('0' + n / 10), (char)('0' + n % 10) };
	size_t device = aml_device(dsdt, name);

	put32(crs + 4, d->base);
	put32(crs + 8, d->size);
	put32(crs + 17, d->gsi);
	aml_name_string(dsdt, "_HID", "LNRO0005");
	aml_name_integer(dsdt, "_UID", n);
	aml_name_integer(dsdt, "_CCA", 1);
	aml_name_buffer(dsdt, "_CRS", crs, sizeof(crs));
	aml_close(dsdt, device);
}

static void put_serial(struct aml *dsdt)
{
	static const uint8_t crs[] = {
		0x47,
		1,
		LAYOUT_PORT_SERIAL & 0xff,
		LAYOUT_PORT_SERIAL >> 8, /* IO (Decode16, ... */
		LAYOUT_PORT_SERIAL & 0xff,
		LAYOUT_PORT_SERIAL >> 8,
		1,
		8, /* ... alignment, 8) */
		0x22,
		(1 << LAYOUT_SERIAL_GSI) & 0xff,
		(1 << LAYOUT_SERIAL_GSI) >> 8, /* IRQ */
		0x79,
		0,
	};
	size_t device = aml_device(dsdt, "COM1");

	aml_name_eisaid(dsdt, "_HID", "PNP0501");
	aml_name_integer(dsdt, "_UID", 0);
	aml_name_buffer(dsdt, "_CRS", crs, sizeof(crs));
	aml_close(dsdt, device);
}

static uint64_t put_dsdt(struct area *a, const struct boot_params_in *in)
{
	static const uint8_t s5[] = { LAYOUT_ACPI_S5_TYPE, 0, 0, 0 };
	struct acpi_header *header = reserve(a, sizeof(*header));
	struct aml dsdt = { .out = a->base + a->used, .size = a->size - a->used };
	size_t scope;

	if (!header)
		return 0;
	aml_name_package(&dsdt, "_S5_", s5, sizeof(s5));
	scope = aml_scope(&dsdt, "\\_SB_");
	put_serial(&dsdt);
	for (unsigned i = 0; i < in->devices; i++)
		put_virtio(&dsdt, &in->device[i], i);
	aml_close(&dsdt, scope);
	if (dsdt.full)
		return 0;
	a->used += dsdt.len;
	finish(header, "DSDT", 2, sizeof(*header) + dsdt.len);
	return address(a, header);
}

static uint64_t put_xsdt(struct area *a, const uint64_t *tables, unsigned n)
{
	size_t size = sizeof(struct acpi_header) + n * sizeof(*tables);
	struct acpi_header *x = reserve(a, size);

	if (!x)
		return 0;
	memcpy(x + 1, tables, n * sizeof(*tables));
	finish(x, "XSDT", 1, size);
	return address(a, x);
}

int acpi_build(uint8_t *area, size_t size, const struct boot_params_in *in)
{
	struct area a = { .base = area, .size = size };
	struct acpi_rsdp *rsdp = reserve(&a, sizeof(*rsdp));
	uint64_t tables[2];
	uint64_t dsdt;
	uint64_t xsdt;

	if (!rsdp)
		return -ENOSPC;
	dsdt = put_dsdt(&a, in);
	tables[0] = put_fadt(&a, dsdt);
	tables[1] = put_madt(&a, in->cpus);
	xsdt = put_xsdt(&a, tables, ARRAY_SIZE(tables));
	if (!dsdt || !tables[0] || !tables[1] || !xsdt)
		return -ENOSPC;
	memcpy(rsdp->signature, "RSD PTR ", sizeof(rsdp->signature));
	memcpy(rsdp->oem_id, OEM_ID, sizeof(rsdp->oem_id));
	rsdp->revision = 2;
	rsdp->length = sizeof(*rsdp);
	rsdp->xsdt = xsdt;
	rsdp->checksum = checksum(rsdp, 20);
	rsdp->extended_checksum = checksum(rsdp, sizeof(*rsdp));
	return (int)a.used;
}
