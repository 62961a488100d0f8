/* Made-up kernel images for the tests of boot/. */
#pragma once

#include "boot/boot.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <stddef.h>
#include <stdint.h>

#define TEST_SETUP_SECTS 3
#define TEST_SETUP_SIZE	 ((TEST_SETUP_SECTS + 1) * 512)
#define TEST_PAYLOAD	 3072
#define TEST_BZIMAGE	 (TEST_SETUP_SIZE + TEST_PAYLOAD)
#define TEST_INIT_SIZE	 0x200000
#define TEST_LOAD	 0x100000ULL
#define TEST_VERSION	 "6.1.0-42-cloud-amd64"

#define TEST_ELF_TEXT 0x1000 /* file offset and size of the first segment */
#define TEST_ELF_DATA 0x2000
#define TEST_ELF      0x2800

/* A bzImage of TEST_BZIMAGE bytes that loads at 1 MiB; malloc'd. */
uint8_t *test_bzimage(void);
struct setup_header *test_setup(uint8_t *bzimage);

/* An ELF of TEST_ELF bytes with text at 1 MiB and data with bss at 2 MiB; malloc'd. */
uint8_t *test_elf(void);
Elf64_Ehdr *test_ehdr(uint8_t *elf);
Elf64_Phdr *test_phdr(uint8_t *elf, unsigned i);

/* A file without a name that holds the bytes. */
int test_file(const void *bytes, size_t n);

/* Open the bytes as kernel "test". */
int test_open(struct boot_kernel **out, const void *bytes, size_t n, struct error *err);

/* Open, load with @in (its kernel and initrd_fd are set here) and close. */
int test_load(const struct guest_memory *mem, const void *bytes, size_t n,
	struct boot_params_in *in, struct boot_entry *entry, struct error *err);

/* A machine with one CPU, ACPI and no devices. */
struct boot_params_in test_params(void);

/* All of LAYOUT_VIRTIO_MAX windows. */
extern const struct boot_device test_devices[LAYOUT_VIRTIO_MAX];

/* The byte at offset @i of the made-up payloads. */
uint8_t test_pattern(size_t i);
