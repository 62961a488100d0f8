/* The parts of boot_load(): each writes one thing into guest memory. */
#pragma once

#include "boot/boot.h"

#include <stdbool.h>
#include <stddef.h>

/* Where what boot_load() placed ended up; filled from top to bottom. */
struct boot_placed {
	gpa_t initrd;
	uint64_t initrd_size; /* 0: none */
	const char *cmdline;  /* as the guest gets it; host memory of boot_load() */
	gpa_t setup_data;     /* head of the list of struct setup_data; 0: empty */
	gpa_t rsdp;	      /* 0: none */
	bool randomized;      /* the kernel lies at a virtual address that nobody knows */
};

/* tables.c: identity map of 4 GiB and GDT, and the entry's fields that point to them. */
int boot_tables(const struct guest_memory *mem, struct boot_entry *entry);

/* initrd.c: read the initrd as high as the kernel's limit and the memory allow. */
int boot_initrd(const struct guest_memory *mem, const struct boot_params_in *in,
	struct boot_placed *placed, struct error *err);

/*
 * cmdline.c: the base words and, for BOOT_HW_CMDLINE, one virtio_mmio.device= for each device, in
 * front of "--" if there is one. Into @out, of @size bytes; -ENOSPC if they do not fit.
 */
int boot_cmdline(const struct boot_params_in *in, char *out, size_t size);

/* zeropage.c: struct boot_params at LAYOUT_ZERO_PAGE and the command line. */
int boot_zero_page(const struct guest_memory *mem, const struct boot_params_in *in,
	const struct boot_placed *placed, struct error *err);

/*
 * The three hardware descriptions, each built into a host buffer that will be seen at its place in
 * guest memory. All return the bytes used, or -ENOSPC.
 */

/* acpi.c: for LAYOUT_ACPI. The RSDP comes first. */
int acpi_build(uint8_t *area, size_t size, const struct boot_params_in *in);

/* mptable.c: for LAYOUT_MP_TABLE, and @pointer (16 bytes) for LAYOUT_EBDA. */
int mptable_build(uint8_t *area, size_t size, uint8_t pointer[16], const struct boot_params_in *in);

/* fdt.c: a device tree blob, anywhere. */
int fdt_build(uint8_t *area, size_t size, const struct boot_params_in *in,
	const struct guest_memory *mem, const struct boot_placed *placed);
