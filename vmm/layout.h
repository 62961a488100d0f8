/*
 * Every guest-physical address, port and interrupt number of the machine, in one drawing.
 *
 *   0x0_0000_0000  +----------------------+
 *                  | real-mode IVT, BDA   |  0x472: warm-boot flag, see platform/reset.c
 *   0x0_0000_1000  +----------------------+
 *                  | boot GDT, page tables|  LAYOUT_GDT, LAYOUT_PAGE_TABLES
 *   0x0_0000_7000  | zero page            |  LAYOUT_ZERO_PAGE (struct boot_params)
 *   0x0_0000_e000  | random seed          |  LAYOUT_SEED (struct setup_data)
 *   0x0_0001_0000  | command line         |  LAYOUT_CMDLINE
 *   0x0_0002_0000  | device tree          |  LAYOUT_FDT (only --hw fdt)
 *   0x0_0009_fc00  +----------------------+  end of conventional memory; EBDA: MP pointer
 *   0x0_000a_0000  | legacy video: a hole for the guest, plain RAM underneath
 *   0x0_000e_0000  | ACPI tables, RSDP    |  LAYOUT_ACPI (--hw acpi), reserved in e820; or
 *                  | or MP table          |  LAYOUT_MP_TABLE (--hw cmdline)
 *   0x0_0010_0000  +----------------------+  LAYOUT_HIGH_RAM: kernel, initrd, the guest's own
 *                  | RAM                  |
 *   0x0_c000_0000  +----------------------+  LAYOUT_HOLE_START, 3 GiB
 *                  | virtio-mmio windows  |  LAYOUT_VIRTIO + n * 4 KiB
 *   0x0_fec0_0000  | IOAPIC               |
 *   0x0_fee0_0000  | local APICs          |
 *   0x0_fffb_c000  | identity map, TSS    |  KVM's own pages (Intel real mode)
 *   0x1_0000_0000  +----------------------+  LAYOUT_HOLE_END, 4 GiB
 *                  | RAM above the hole   |
 *                  +----------------------+
 */
#pragma once

#include <assert.h>
#include <stdint.h>

/* A guest-physical address. Becomes a pointer only through memory_at(). */
typedef uint64_t gpa_t;

/* Boot structures below 1 MiB. */
#define LAYOUT_GDT		0x1000ULL
#define LAYOUT_BOOT_STACK	0x2000ULL /* grows down */
#define LAYOUT_ZERO_PAGE	0x7000ULL
#define LAYOUT_PAGE_TABLES	0x8000ULL /* PML4, PDPT, 4 page directories: 6 pages */
#define LAYOUT_PAGE_TABLES_SIZE 0x6000ULL
#define LAYOUT_SEED		0xe000ULL
#define LAYOUT_SEED_SIZE	0x1000ULL
#define LAYOUT_CMDLINE		0x10000ULL
#define LAYOUT_CMDLINE_MAX	0x10000ULL
#define LAYOUT_FDT		0x20000ULL
#define LAYOUT_FDT_MAX		0x20000ULL
#define LAYOUT_EBDA		0x9fc00ULL /* the MP floating pointer */
#define LAYOUT_EBDA_END		0xa0000ULL
#define LAYOUT_ACPI		0xe0000ULL /* the RSDP first, the tables behind it */
#define LAYOUT_ACPI_MAX		0x20000ULL
#define LAYOUT_MP_TABLE		LAYOUT_ACPI /* with 64 processors it is larger than the EBDA */
#define LAYOUT_HIGH_RAM		0x100000ULL

/* The hole below 4 GiB where RAM gives way to devices. */
#define LAYOUT_HOLE_START 0xc0000000ULL
#define LAYOUT_HOLE_END	  0x100000000ULL

/* virtio-mmio windows: device n at LAYOUT_VIRTIO + n * LAYOUT_VIRTIO_STRIDE, GSI base + n. */
#define LAYOUT_VIRTIO	       0xd0000000ULL
#define LAYOUT_VIRTIO_STRIDE   0x1000ULL
#define LAYOUT_VIRTIO_GSI_BASE 5
#define LAYOUT_VIRTIO_MAX      19 /* GSIs 5 to 23, the last pin of the IOAPIC */

#define LAYOUT_IOAPIC	    0xfec00000ULL
#define LAYOUT_IOAPIC_PINS  24
#define LAYOUT_LAPIC	    0xfee00000ULL
#define LAYOUT_IDENTITY_MAP 0xfffbc000ULL /* one page, KVM_SET_IDENTITY_MAP_ADDR */
#define LAYOUT_TSS	    0xfffbd000ULL /* three pages, KVM_SET_TSS_ADDR */

/* Ports. */
#define LAYOUT_PORT_I8042      0x60  /* data; 0x64 command: only "pulse reset" is understood */
#define LAYOUT_PORT_RTC	       0x70  /* index; 0x71 data: reads as 0 */
#define LAYOUT_PORT_EXIT       0xf4  /* one byte written here becomes the exit status */
#define LAYOUT_PORT_SERIAL     0x3f8 /* 16550, eight ports */
#define LAYOUT_PORT_ACPI_SLEEP 0x600 /* hardware-reduced sleep control; 0x601 sleep status */
#define LAYOUT_PORT_ACPI_RESET 0x602 /* FADT RESET_REG; RESET_VALUE below */
#define LAYOUT_ACPI_RESET_BYTE 0x01
#define LAYOUT_ACPI_S5_TYPE    5 /* SLP_TYP for soft off */

#define LAYOUT_SERIAL_GSI 4

static_assert(LAYOUT_ZERO_PAGE >= LAYOUT_BOOT_STACK, "zero page over the stack");
static_assert(LAYOUT_PAGE_TABLES >= LAYOUT_ZERO_PAGE + 0x1000, "page tables over the zero page");
static_assert(LAYOUT_SEED >= LAYOUT_PAGE_TABLES + LAYOUT_PAGE_TABLES_SIZE, "random seed");
static_assert(LAYOUT_CMDLINE >= LAYOUT_SEED + LAYOUT_SEED_SIZE, "command line");
static_assert(LAYOUT_FDT >= LAYOUT_CMDLINE + LAYOUT_CMDLINE_MAX, "device tree");
static_assert(LAYOUT_EBDA >= LAYOUT_FDT + LAYOUT_FDT_MAX, "EBDA");
static_assert(LAYOUT_ACPI + LAYOUT_ACPI_MAX <= LAYOUT_HIGH_RAM, "ACPI tables");
static_assert(LAYOUT_VIRTIO >= LAYOUT_HOLE_START, "virtio windows must lie in the hole");
static_assert(LAYOUT_VIRTIO + LAYOUT_VIRTIO_MAX * LAYOUT_VIRTIO_STRIDE <= LAYOUT_IOAPIC, "windows");
static_assert(LAYOUT_VIRTIO_GSI_BASE + LAYOUT_VIRTIO_MAX <= LAYOUT_IOAPIC_PINS, "IOAPIC pins");
static_assert(LAYOUT_VIRTIO_GSI_BASE > LAYOUT_SERIAL_GSI, "serial interrupt");
static_assert(LAYOUT_TSS + 0x3000 <= LAYOUT_HOLE_END, "TSS");
