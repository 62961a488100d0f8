/* Kernel images: what is taken, what is refused and with which words; damage of every kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "images.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ASSERT_CONTAINS(text, part)                                         \
	do {                                                                \
		if (!strstr(text, part))                                    \
			fail_msg("\"%s\" does not say \"%s\"", text, part); \
	} while (0)

static struct guest_memory mem;

static int memory_setup(void **state)
{
	return memory_create(&mem, 8 * 1024 * 1024, NULL);
}

static int memory_teardown(void **state)
{
	memory_destroy(&mem);
	return 0;
}

static void refused(const void *bytes, size_t n, const char *words)
{
	struct error err = { 0 };
	struct boot_kernel *k;

	assert_true(test_open(&k, bytes, n, &err) < 0);
	assert_null(k);
	assert_int_equal(err.kind, ERROR_IMAGE);
	ASSERT_CONTAINS(err.msg, "kernel test: ");
	ASSERT_CONTAINS(err.msg, words);
	assert_null(strchr(err.msg, '\n'));
}

static void bzimage_taken(void **state)
{
	uint8_t *image = test_bzimage();
	struct boot_params_in in = test_params();
	struct boot_entry entry;
	struct error err = { 0 };
	struct boot_kernel *k;

	assert_int_equal(test_open(&k, image, TEST_BZIMAGE, &err), 0);
	assert_string_equal(boot_kernel_version(k), TEST_VERSION);
	assert_int_equal(boot_memory_needed(k, 0), 4 * 1024 * 1024);
	assert_int_equal(boot_memory_needed(k, 1024 * 1024 + 1), 4 * 1024 * 1024 + 4096);
	boot_kernel_close(k);

	assert_int_equal(test_load(&mem, image, TEST_BZIMAGE, &in, &entry, &err), 0);
	assert_int_equal(entry.rip, TEST_LOAD + 0x200);
	assert_memory_equal(
		memory_at(&mem, TEST_LOAD, TEST_PAYLOAD), image + TEST_SETUP_SIZE, TEST_PAYLOAD);
	free(image);
}

static void bzimage_load_address(void **state)
{
	struct boot_params_in in = test_params();
	uint8_t *image = test_bzimage();
	struct setup_header *hdr = test_setup(image);
	struct boot_entry entry;

	/* Preferred address honoured. */
	hdr->pref_address = 0x300000;
	hdr->kernel_alignment = 0x100000;
	assert_int_equal(test_load(&mem, image, TEST_BZIMAGE, &in, &entry, NULL), 0);
	assert_int_equal(entry.rip, 0x300200);
	/* Aligned up. */
	hdr->pref_address = 0x300001;
	assert_int_equal(test_load(&mem, image, TEST_BZIMAGE, &in, &entry, NULL), 0);
	assert_int_equal(entry.rip, 0x400200);
	/* Not relocatable: exactly there, or not at all. */
	hdr->relocatable_kernel = 0;
	assert_int_equal(test_load(&mem, image, TEST_BZIMAGE, &in, &entry, NULL), 0);
	assert_int_equal(entry.rip, 0x300201);
	hdr->pref_address = 0x10000;
	refused(image, TEST_BZIMAGE, "below 1 MiB");
	/* Relocatable and without a wish. */
	hdr->relocatable_kernel = 1;
	hdr->pref_address = 0;
	assert_int_equal(test_load(&mem, image, TEST_BZIMAGE, &in, &entry, NULL), 0);
	assert_int_equal(entry.rip, 0x100200);
	hdr->pref_address = UINT64_MAX;
	refused(image, TEST_BZIMAGE, "beyond 3 GiB");
	hdr->pref_address = LAYOUT_HOLE_START - TEST_INIT_SIZE + 0x100000;
	refused(image, TEST_BZIMAGE, "ends at 3 GiB");
	free(image);
}

static void bzimage_refused(void **state)
{
	uint8_t *image = test_bzimage();
	struct setup_header *hdr = test_setup(image);
	struct setup_header good = *hdr;

	hdr->xloadflags = 0;
	refused(image, TEST_BZIMAGE, "32-bit kernel");
	*hdr = good;
	hdr->version = 0x020b;
	refused(image, TEST_BZIMAGE, "2.11 is too old");
	*hdr = good;
	hdr->loadflags = 0;
	refused(image, TEST_BZIMAGE, "zImage");
	*hdr = good;
	hdr->kernel_alignment = 0x3000;
	refused(image, TEST_BZIMAGE, "power of two");
	*hdr = good;
	hdr->syssize = 0x20;
	refused(image, TEST_BZIMAGE, "no room");
	*hdr = good;
	hdr->syssize = UINT32_MAX;
	refused(image, TEST_BZIMAGE, "truncated");
	*hdr = good;
	hdr->jump = 0x10eb;
	refused(image, TEST_BZIMAGE, "cut short");
	*hdr = good;
	hdr->init_size = UINT32_MAX;
	refused(image, TEST_BZIMAGE, "ends at 3 GiB");
	*hdr = good;
	hdr->header = 0;
	refused(image, TEST_BZIMAGE, "without Linux's boot header");
	image[0] = 0;
	refused(image, TEST_BZIMAGE, "boot sector");
	hdr->boot_flag = 0;
	refused(image, TEST_BZIMAGE, "not a kernel");
	free(image);
}

static void version_is_only_a_name(void **state)
{
	static const char *const bad[] = { "../../etc", "6.1/../x y", "", " 6.1", "6.1\n", "x" };
	uint8_t *image = test_bzimage();
	struct boot_kernel *k;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(image + 0x300, 0, 64);
		memcpy(image + 0x300, bad[i], strlen(bad[i]));
		assert_int_equal(test_open(&k, image, TEST_BZIMAGE, NULL), 0);
		assert_null(boot_kernel_version(k));
		boot_kernel_close(k);
	}
	/* Without an end, across the end of the setup sectors, outside of them. */
	memset(image + 0x300, '1', TEST_SETUP_SIZE - 0x300);
	assert_int_equal(test_open(&k, image, TEST_BZIMAGE, NULL), 0);
	assert_null(boot_kernel_version(k));
	boot_kernel_close(k);
	for (unsigned at = TEST_SETUP_SIZE - 0x202; at < TEST_SETUP_SIZE - 0x1fe; at++) {
		test_setup(image)->kernel_version = (uint16_t)at;
		assert_int_equal(test_open(&k, image, TEST_BZIMAGE, NULL), 0);
		assert_null(boot_kernel_version(k));
		boot_kernel_close(k);
	}
	free(image);
}

static void elf_taken(void **state)
{
	struct boot_params_in in = test_params();
	uint8_t *elf = test_elf();
	struct boot_entry entry;
	struct boot_kernel *k;

	memory_teardown(NULL);
	assert_int_equal(memory_setup(NULL), 0);
	assert_int_equal(test_load(&mem, elf, TEST_ELF, &in, &entry, NULL), 0);
	assert_int_equal(entry.rip, 0x100010);
	assert_memory_equal(memory_at(&mem, 0x100000, 0x1000), elf + TEST_ELF_TEXT, 0x1000);
	assert_memory_equal(memory_at(&mem, 0x200000, 0x800), elf + TEST_ELF_DATA, 0x800);
	for (gpa_t at = 0x200800; at < 0x203001; at++)
		assert_int_equal(*(uint8_t *)memory_at(&mem, at, 1), 0);

	/* A virtual entry, through the second segment. */
	test_ehdr(elf)->e_entry = 0xffffffff81000020;
	assert_int_equal(test_load(&mem, elf, TEST_ELF, &in, &entry, NULL), 0);
	assert_int_equal(entry.rip, 0x200020);

	assert_int_equal(test_open(&k, elf, TEST_ELF, NULL), 0);
	assert_null(boot_kernel_version(k));
	assert_int_equal(boot_memory_needed(k, 0x200000), 0x404000);
	boot_kernel_close(k);
	free(elf);
}

static void elf_header_refused(void **state)
{
	static const struct {
		uint16_t machine;
		const char *words;
	} machines[] = { { EM_AARCH64, "for arm64" }, { EM_RISCV, "for RISC-V" },
		{ 9999, "another" } };
	uint8_t *elf = test_elf();
	Elf64_Ehdr good = *test_ehdr(elf);
	Elf64_Ehdr *e = test_ehdr(elf);

	e->e_ident[EI_CLASS] = ELFCLASS32;
	e->e_machine = EM_386;
	refused(elf, TEST_ELF, "32-bit ELF");
	*e = good;
	e->e_ident[EI_DATA] = ELFDATA2MSB;
	refused(elf, TEST_ELF, "built for x86-64");
	for (unsigned i = 0; i < 3; i++) {
		*e = good;
		e->e_machine = machines[i].machine;
		refused(elf, TEST_ELF, machines[i].words);
	}
	*e = good;
	e->e_type = ET_REL;
	refused(elf, TEST_ELF, "object or module");
	e->e_type = ET_CORE;
	refused(elf, TEST_ELF, "core dump");
	e->e_type = 77;
	refused(elf, TEST_ELF, "unknown type");
	*e = good;
	e->e_phnum = 0;
	refused(elf, TEST_ELF, "program headers");
	e->e_phnum = 65;
	refused(elf, TEST_ELF, "program headers");
	*e = good;
	e->e_phoff = UINT64_MAX - 8;
	refused(elf, TEST_ELF, "truncated");
	e->e_phoff = TEST_ELF;
	refused(elf, TEST_ELF, "truncated");
	*e = good;
	e->e_entry = 0x101000;
	refused(elf, TEST_ELF, "lies in no segment");
	free(elf);
}

static void elf_segments_refused(void **state)
{
	uint8_t *elf = test_elf();
	Elf64_Phdr *p = test_phdr(elf, 1);
	Elf64_Phdr good = *p;

	p->p_type = PT_INTERP;
	refused(elf, TEST_ELF, "dynamically linked");
	*p = good;
	p->p_offset = UINT64_MAX - 1;
	refused(elf, TEST_ELF, "truncated");
	*p = good;
	p->p_filesz = UINT64_MAX - TEST_ELF_DATA + 2; /* offset + filesz wraps */
	refused(elf, TEST_ELF, "truncated");
	*p = good;
	p->p_memsz = p->p_filesz - 1;
	refused(elf, TEST_ELF, "more bytes in the file");
	*p = good;
	p->p_paddr = LAYOUT_ZERO_PAGE;
	refused(elf, TEST_ELF, "below 1 MiB");
	p->p_paddr = LAYOUT_HOLE_START - p->p_memsz + 1;
	refused(elf, TEST_ELF, "ends at 3 GiB");
	p->p_paddr = UINT64_MAX - 0x1000;
	refused(elf, TEST_ELF, "ends at 3 GiB");
	*p = good;
	p->p_memsz = UINT64_MAX;
	refused(elf, TEST_ELF, "ends at 3 GiB");
	test_phdr(elf, 0)->p_type = PT_NOTE;
	p->p_type = PT_NOTE;
	refused(elf, TEST_ELF, "without a segment");
	free(elf);
}

static void too_big_for_memory(void **state)
{
	struct boot_params_in in = test_params();
	uint8_t *image = test_bzimage();
	uint8_t *elf = test_elf();
	struct boot_entry entry;
	struct error err = { 0 };

	/* Ends exactly at the end of RAM, then a page above. */
	test_setup(image)->init_size = 7 * 1024 * 1024;
	assert_int_equal(test_load(&mem, image, TEST_BZIMAGE, &in, &entry, &err), 0);
	test_setup(image)->init_size += 1;
	assert_int_equal(test_load(&mem, image, TEST_BZIMAGE, &in, &entry, &err), -ENOMEM);
	ASSERT_CONTAINS(err.msg, "needs at least 9 MiB of memory to be loaded, the machine has 8");
	test_phdr(elf, 1)->p_paddr = 0x800000 - 0x3001;
	assert_int_equal(test_load(&mem, elf, TEST_ELF, &in, &entry, &err), 0);
	test_phdr(elf, 1)->p_paddr++;
	assert_int_equal(test_load(&mem, elf, TEST_ELF, &in, &entry, &err), -ENOMEM);
	free(image);
	free(elf);
}

static void other_files_named(void **state)
{
	static const struct {
		unsigned offset;
		const char *magic;
		unsigned len;
		const char *words;
	} files[] = {
		{ 0, "\x1f\x8b\x08", 3, "gzip" },
		{ 56, "ARM\x64", 4, "arm64 Image" },
		{ 56, "RSC\x05", 4, "RISC-V" },
		{ 0, "MZ", 2, "EFI program" },
		{ 0, "\x28\xb5\x2f\xfd", 4, "zstd" },
		{ 0, "070701", 6, "--initrd" },
		{ 0, "QFI\xfb", 4, "qcow2" },
		{ 0x438, "\x53\xef", 2, "--rootfs" },
		{ 0, "#!/bin/sh", 9, "script" },
		{ 0, "hello", 5, "not a kernel" },
	};
	uint8_t bytes[2048];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		memset(bytes, 0, sizeof(bytes));
		memcpy(bytes + files[i].offset, files[i].magic, files[i].len);
		refused(bytes, sizeof(bytes), files[i].words);
	}
	refused("MZ", 2, "truncated");
	refused("", 0, "empty");
}

static void paths(void **state)
{
	struct error err = { 0 };
	struct boot_kernel *k;
	char fifo[] = "/tmp/microvm-test-XXXXXX";

	assert_int_equal(boot_kernel_open(&k, "/nonexistent/vmlinuz", &err), -ENOENT);
	ASSERT_CONTAINS(err.msg, "kernel /nonexistent/vmlinuz: no such file");
	assert_int_equal(boot_kernel_open(&k, "/tmp", &err), -EISDIR);
	ASSERT_CONTAINS(err.msg, "is a directory");
	assert_int_equal(boot_kernel_open(&k, "/dev/null", &err), -EINVAL);
	ASSERT_CONTAINS(err.msg, "not a regular file");
	assert_non_null(mkdtemp(fifo));
	rmdir(fifo);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(boot_kernel_open(&k, fifo, &err), -EINVAL);
	ASSERT_CONTAINS(err.msg, "not a regular file");
	unlink(fifo);
	boot_kernel_close(NULL);
}

/* Whatever is taken must enter at an address that is RAM. */
static void try_image(const void *bytes, size_t n, bool may_load)
{
	struct boot_params_in in = test_params();
	struct error err = { 0 };
	struct boot_entry entry;
	int r = test_load(&mem, bytes, n, &in, &entry, &err);

	if (r < 0) {
		assert_true(err.kind == ERROR_IMAGE);
		assert_true(strlen(err.msg) > 10);
		return;
	}
	assert_true(may_load);
	assert_true(entry.rip >= LAYOUT_HIGH_RAM);
	assert_non_null(memory_at(&mem, entry.rip, 1));
}

static void truncated_anywhere(void **state)
{
	uint8_t *image = test_bzimage();
	uint8_t *elf = test_elf();

	for (size_t n = 0; n < TEST_BZIMAGE; n++)
		try_image(image, n, false);
	for (size_t n = 0; n < TEST_ELF; n++)
		try_image(elf, n, false);
	free(image);
	free(elf);
}

static void any_bit_flipped(void **state)
{
	uint8_t *image = test_bzimage();
	uint8_t *elf = test_elf();

	for (size_t bit = 0; bit < 2048 * 8; bit++) {
		image[bit / 8] ^= 1 << bit % 8;
		try_image(image, TEST_BZIMAGE, true);
		image[bit / 8] ^= 1 << bit % 8;
	}
	for (size_t bit = 0; bit < 512 * 8; bit++) {
		elf[bit / 8] ^= 1 << bit % 8;
		try_image(elf, TEST_ELF, true);
		elf[bit / 8] ^= 1 << bit % 8;
	}
	free(image);
	free(elf);
}

/* The file loses its end between opening and loading. */
static void shortened_after_opening(void **state)
{
	struct boot_params_in in = test_params();
	uint8_t *image = test_bzimage();
	int fd = test_file(image, TEST_BZIMAGE);
	struct error err = { 0 };
	struct boot_entry entry;
	struct boot_kernel *k;

	assert_int_equal(boot_kernel_from_fd(&k, dup(fd), "test", &err), 0);
	assert_int_equal(ftruncate(fd, TEST_SETUP_SIZE + 100), 0);
	in.kernel = k;
	assert_int_equal(boot_load(&mem, &in, &entry, &err), -EIO);
	ASSERT_CONTAINS(err.msg, "became shorter");
	boot_kernel_close(k);
	close(fd);
	free(image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bzimage_taken),
		cmocka_unit_test(bzimage_load_address),
		cmocka_unit_test(bzimage_refused),
		cmocka_unit_test(version_is_only_a_name),
		cmocka_unit_test(elf_taken),
		cmocka_unit_test(elf_header_refused),
		cmocka_unit_test(elf_segments_refused),
		cmocka_unit_test(too_big_for_memory),
		cmocka_unit_test(other_files_named),
		cmocka_unit_test(paths),
		cmocka_unit_test(truncated_anywhere),
		cmocka_unit_test(any_bit_flipped),
		cmocka_unit_test(shortened_after_opening),
	};

	return cmocka_run_group_tests(tests, memory_setup, memory_teardown);
}
