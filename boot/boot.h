/*
 * Boot: a kernel image, an initrd and a command line in; guest memory filled and a vCPU's first
 * state out. Knows guest memory and the layout, nothing of KVM.
 *
 * Order: boot_kernel_open() -> boot_load() -> the caller sets the vCPU from struct boot_entry.
 */
#pragma once

#include "util/error.h"
#include "vmm/memory.h"

#include <stdbool.h>
#include <stdint.h>

struct boot_kernel; /* a validated image, its bytes mapped or in memory */

enum boot_hw { BOOT_HW_ACPI, BOOT_HW_FDT, BOOT_HW_CMDLINE };

/*
 * Open and validate the image: bzImage with a 64-bit entry (boot protocol 2.12 or later, XLF_KERNEL_64)
 * or x86-64 ELF (vmlinux, or a bare program). Nothing in the file is trusted: truncated at any byte
 * or with any bit changed it is refused or loads harmlessly inside guest memory. ERROR_IMAGE,
 * naming @path.
 */
int boot_kernel_open(struct boot_kernel **out, const char *path, struct error *err);
void boot_kernel_close(struct boot_kernel *kernel); /* NULL is allowed */

/* "6.1.0-55-cloud-amd64" of a bzImage's header (kernel_version), or NULL. Owned by @kernel. */
const char *boot_kernel_version(const struct boot_kernel *kernel);

/* A device as the hardware descriptions tell the guest of it. */
struct boot_device {
	gpa_t base;
	uint64_t size;
	unsigned gsi;
};

struct boot_params_in {
	const struct boot_kernel *kernel;
	int initrd_fd;		 /* -1: none */
	const char *initrd_name; /* for messages */
	const char *cmdline;	 /* whole, but for what BOOT_HW_CMDLINE adds */
	unsigned cpus;
	enum boot_hw hw;
	unsigned devices;
	const struct boot_device *device;
};

/* How the first vCPU enters the guest: 64-bit mode, paging on, flat segments, interrupts off. */
struct boot_entry {
	gpa_t rip;
	gpa_t rsi; /* zero page */
	gpa_t rsp;
	gpa_t cr3; /* identity map of the first 4 GiB with 2 MiB pages */
	gpa_t gdt; /* null, null, __BOOT_CS 0x10 (64-bit code), __BOOT_DS 0x18, TSS 0x20 */
	uint16_t gdt_limit;
	/* Whether the image is a Linux kernel; a bare ELF program gets no zero page magic checked. */
};

/*
 * Fill guest memory: kernel, initrd, command line, zero page with e820, page tables, GDT and the
 * hardware description. ERROR_IMAGE for what does not fit or is not supported.
 */
int boot_load(const struct guest_memory *mem, const struct boot_params_in *in,
	struct boot_entry *entry, struct error *err);
