/* What the files of boot/ that deal with kernel images share. */
#pragma once

#include "boot/boot.h"

#include <asm/bootparam.h>
#include <stddef.h>

/* Nothing of an image may be placed below: real-mode data, our tables and the legacy hole. */
#define BOOT_IMAGE_MIN LAYOUT_HIGH_RAM

enum {
	BOOT_SEGMENTS_MAX = 64,
	BOOT_HEAD = 4096, /* bytes of the file's start that the parsers see */
	BOOT_VERSION_MAX = 128
};

/* A piece of the file and where it goes. Checked when opened: see image_add(). */
struct boot_segment {
	uint64_t offset; /* in the file */
	uint64_t bytes;	 /* from the file */
	gpa_t gpa;
	uint64_t size; /* in memory, >= bytes; the rest stays zero */
};

struct boot_kernel {
	int fd;
	char *path;
	uint64_t file_size;
	bool bzimage;
	struct setup_header setup; /* as the zero page wants it; made up for ELF */
	char version[BOOT_VERSION_MAX];
	gpa_t entry;
	gpa_t start; /* of the lowest segment */
	gpa_t end;   /* above all segments: the first byte that an initrd may have */
	uint64_t relocs, relocs_size; /* ELF only: what may be a table of places; 0: none */
	unsigned segments;
	struct boot_segment segment[BOOT_SEGMENTS_MAX];
};

/* The start of the file, as read once; what is not there is zero. */
struct boot_head {
	_Alignas(16) uint8_t byte[BOOT_HEAD]; /* read as an ELF header, too */
	size_t len;
};

/* "kernel PATH: " and the message, as ERROR_IMAGE. Returns -@errnum. */
int image_error(const struct boot_kernel *k, struct error *err, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/*
 * Add a segment if it lies inside the file and between BOOT_IMAGE_MIN and the hole; @what names it
 * in the message if not.
 */
int image_add(struct boot_kernel *k, const struct boot_segment *segment, const char *what,
	struct error *err);

/* Read exactly @len bytes at @offset. -ENODATA where the file ends too soon, or -errno. */
int image_read(int fd, void *to, uint64_t len, uint64_t offset);

/* Read all segments into guest memory. */
int image_load(const struct boot_kernel *k, const struct guest_memory *mem, struct error *err);

/* The parsers: fill setup, version, entry and segments. */
int bzimage_parse(struct boot_kernel *k, const struct boot_head *head, struct error *err);
int elf_parse(struct boot_kernel *k, const struct boot_head *head, struct error *err);

/* Note what follows the ELF file that ends at @elf_end: a table of places, or anything else. */
void relocs_find(struct boot_kernel *k, uint64_t elf_end);

/*
 * Move a loaded kernel to a random virtual address, if it has the table for that and @cmdline does
 * not say nokaslr.
 */
int relocs_randomize(const struct boot_kernel *k, const struct guest_memory *mem,
	const char *cmdline, bool *randomized, struct error *err);

/* Say what a file is that is neither bzImage nor ELF. Always fails. */
int image_not_a_kernel(
	const struct boot_kernel *k, const struct boot_head *head, struct error *err);

/* Whether the head has the boot sector flag and the "HdrS" of a Linux/x86 image. */
bool bzimage_probe(const struct boot_head *head);
