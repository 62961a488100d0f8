/*
 * Boot: a kernel image, an initrd and a command line in; guest memory filled and a vCPU's first
 * state out. Knows guest memory and the layout, nothing of KVM.
 *
 * Order: boot_kernel_open() -> boot_memory_needed(), where the caller likes to know ->
 * memory_create() -> boot_load() -> the caller sets the first vCPU from struct boot_entry ->
 * boot_kernel_close(). All on the main thread, before any vCPU runs.
 *
 * A vmlinux that still has the table of places that a bzImage's loader would use (as what is unpacked
 * from a bzImage has) is moved to a random virtual address, unless its command line says nokaslr.
 *
 * The payload of a kernel is never mapped and never copied twice: opening reads the headers,
 * loading reads the rest straight into guest memory.
 */
#pragma once

#include "util/error.h"
#include "vmm/memory.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	BOOT_CPUS_MAX = 64, /* local APIC ids 0 to 63 */
	BOOT_DEVICES_MAX = LAYOUT_VIRTIO_MAX
};

struct boot_kernel; /* a validated image: an open file and what its headers say */

enum boot_hw { BOOT_HW_ACPI, BOOT_HW_FDT, BOOT_HW_CMDLINE };

/*
 * Open and validate the image: bzImage with a 64-bit entry (boot protocol 2.12 or later,
 * XLF_KERNEL_64) or x86-64 ELF (vmlinux, or a bare program whose segments lie at 1 MiB or above).
 * Nothing in the file is trusted: truncated at any byte or with any bit changed it is refused, or
 * loads harmlessly inside guest memory. ERROR_IMAGE, naming @path.
 */
int boot_kernel_open(struct boot_kernel **out, const char *path, struct error *err);

/* The same for an open file, which becomes the kernel's (closed on failure, too). */
int boot_kernel_from_fd(struct boot_kernel **out, int fd, const char *path, struct error *err);

void boot_kernel_close(struct boot_kernel *kernel); /* NULL is allowed */

/* "6.1.0-55-cloud-amd64" of a bzImage's header (kernel_version), or NULL. Owned by @kernel. */
const char *boot_kernel_version(const struct boot_kernel *kernel);

/*
 * The least guest RAM, in bytes, that boot_load() accepts for this kernel and an initrd of
 * @initrd_size bytes (0: none). What the guest needs to run well is more.
 */
uint64_t boot_memory_needed(const struct boot_kernel *kernel, uint64_t initrd_size);

/* A virtio-mmio device as the hardware descriptions tell the guest of it. */
struct boot_device {
	gpa_t base;
	uint64_t size; /* bytes, below 4 GiB */
	unsigned gsi;  /* below LAYOUT_IOAPIC_PINS; edge, active high */
};

struct boot_params_in {
	const struct boot_kernel *kernel;
	int initrd_fd;		 /* a regular file, read whole from its start; -1: none */
	const char *initrd_name; /* for messages */
	const char *cmdline;	 /* whole, but for what BOOT_HW_CMDLINE adds; NULL: empty */
	unsigned cpus;
	enum boot_hw hw;
	unsigned devices;
	const struct boot_device *device;
};

/*
 * How the first vCPU enters the guest: 64-bit mode, paging on, flat segments, interrupts off. The
 * same for Linux and for a bare ELF program, which may use the zero page or not.
 */
struct boot_entry {
	gpa_t rip;
	gpa_t rsi; /* zero page */
	gpa_t rsp;
	gpa_t cr3; /* identity map of the first 4 GiB with 2 MiB pages */
	gpa_t gdt; /* null, null, __BOOT_CS 0x10 (64-bit code), __BOOT_DS 0x18, TSS 0x20 */
	uint16_t gdt_limit;
};

/*
 * Fill guest memory: kernel, initrd, command line, zero page with e820, page tables, GDT and the
 * hardware description. @mem must be fresh, all zero: what ELF calls zero-filled is left alone.
 * ERROR_IMAGE for what does not fit or is not supported (naming the file or option), ERROR_USAGE
 * for cpus and devices beyond the limits above.
 */
int boot_load(const struct guest_memory *mem, const struct boot_params_in *in,
	struct boot_entry *entry, struct error *err);
