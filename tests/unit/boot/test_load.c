/* What boot_load() leaves in guest memory: zero page, e820, command line, initrd, page tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "images.h"

#include "util/macros.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ASSERT_CONTAINS(text, part)                                         \
	do {                                                                \
		if (!strstr(text, part))                                    \
			fail_msg("\"%s\" does not say \"%s\"", text, part); \
	} while (0)

static struct guest_memory mem;

static void machine(uint64_t bytes)
{
	memory_destroy(&mem);
	assert_int_equal(memory_create(&mem, bytes, NULL), 0);
}

static const struct boot_params *zero_page(void)
{
	return memory_at(&mem, LAYOUT_ZERO_PAGE, 4096);
}

static const char *cmdline(void)
{
	return memory_at(&mem, zero_page()->hdr.cmd_line_ptr, 1);
}

static int load(struct boot_params_in *in, struct error *err)
{
	uint8_t *image = test_bzimage();
	struct boot_entry entry;
	int r = test_load(&mem, image, TEST_BZIMAGE, in, &entry, err);

	free(image);
	return r;
}

static void entry_state(void **state)
{
	struct boot_params_in in = test_params();
	uint8_t *image = test_bzimage();
	struct boot_entry e;
	uint64_t *gdt, *pml4, *pdpt;

	machine(8 * MIB);
	assert_int_equal(test_load(&mem, image, TEST_BZIMAGE, &in, &e, NULL), 0);
	assert_int_equal(e.rip, TEST_LOAD + 0x200);
	assert_int_equal(e.rsi, LAYOUT_ZERO_PAGE);
	assert_int_equal(e.cr3, LAYOUT_PAGE_TABLES);
	assert_int_equal(e.gdt_limit, 6 * 8 - 1);
	assert_true(e.rsp > e.gdt + e.gdt_limit && !(e.rsp & 15));
	gdt = memory_at(&mem, e.gdt, 48);
	assert_int_equal(gdt[0], 0);
	assert_int_equal(gdt[2] >> 53 & 1, 1);	     /* 0x10: long mode */
	assert_int_equal(gdt[2] >> 40 & 0x9b, 0x9b); /* present code */
	assert_int_equal(gdt[3] >> 40 & 0xff, 0x93); /* 0x18: present, writable data */

	/* Every 2 MiB of the first 4 GiB maps to itself. */
	pml4 = memory_at(&mem, e.cr3, 4096);
	assert_int_equal(pml4[1], 0);
	pdpt = memory_at(&mem, pml4[0] & ~0xfffULL, 4096);
	assert_int_equal(pdpt[4], 0);
	for (uint64_t at = 0; at < 4 * GIB; at += 2 * MIB) {
		uint64_t *pd = memory_at(&mem, pdpt[at >> 30] & ~0xfffULL, 4096);

		assert_int_equal(pd[at >> 21 & 511], at | 0x83);
	}
	free(image);
}

static void zero_page_header(void **state)
{
	struct boot_params_in in = test_params();
	const struct boot_params *bp;

	machine(8 * MIB);
	assert_int_equal(load(&in, NULL), 0);
	bp = zero_page();
	assert_int_equal(bp->hdr.header, 0x53726448);
	assert_int_equal(bp->hdr.boot_flag, 0xaa55);
	assert_int_equal(bp->hdr.type_of_loader, 0xff);
	assert_int_equal(bp->hdr.code32_start, TEST_LOAD);
	assert_int_equal(bp->hdr.init_size, TEST_INIT_SIZE);
	assert_int_equal(bp->hdr.ramdisk_size, 0);
	assert_int_equal(bp->hdr.ramdisk_image, 0);
	assert_int_equal(bp->acpi_rsdp_addr, LAYOUT_ACPI);
	assert_int_equal(bp->sentinel, 0);
	assert_string_equal(cmdline(), "quiet");
}

static void zero_page_of_elf(void **state)
{
	struct boot_params_in in = test_params();
	uint8_t *elf = test_elf();
	const struct boot_params *bp;
	struct boot_entry entry;

	machine(8 * MIB);
	in.initrd_fd = test_file("initrd", 6);
	assert_int_equal(test_load(&mem, elf, TEST_ELF, &in, &entry, NULL), 0);
	bp = zero_page();
	assert_int_equal(bp->hdr.header, 0x53726448);
	assert_int_equal(bp->hdr.ramdisk_image, 8 * MIB - 4096);
	assert_int_equal(bp->hdr.ramdisk_size, 6);
	assert_string_equal(cmdline(), "quiet");
	close(in.initrd_fd);
	free(elf);
}

struct range {
	uint64_t start, end;
	uint32_t type;
};

static void check_e820(uint64_t memory, const struct range *want, unsigned n)
{
	struct boot_params_in in = test_params();
	const struct boot_params *bp;

	machine(memory);
	assert_int_equal(load(&in, NULL), 0);
	bp = zero_page();
	assert_int_equal(bp->e820_entries, n);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(bp->e820_table[i].addr, want[i].start);
		assert_int_equal(bp->e820_table[i].size, want[i].end - want[i].start);
		assert_int_equal(bp->e820_table[i].type, want[i].type);
	}
}

static void e820_contents(void **state)
{
	struct range r[] = {
		{ 0, LAYOUT_EBDA, 1 },
		{ LAYOUT_EBDA, LAYOUT_EBDA_END, 2 },
		{ LAYOUT_ACPI, 0x100000, 2 },
		{ 0x100000, 0, 1 },
		{ 4 * GIB, 0, 1 },
	};

	r[3].end = 4 * MIB;
	check_e820(4 * MIB, r, 4);
	r[3].end = 3 * GIB - 4096;
	check_e820(3 * GIB - 4096, r, 4);
	r[3].end = 3 * GIB;
	check_e820(3 * GIB, r, 4);
	r[4].end = 4 * GIB + 4096;
	check_e820(3 * GIB + 4096, r, 5);
	r[4].end = 6 * GIB;
	check_e820(5 * GIB, r, 5);
}

static void cmdline_limits(void **state)
{
	struct boot_params_in in = test_params();
	char text[LAYOUT_CMDLINE_MAX + 16];
	struct error err = { 0 };

	machine(8 * MIB);
	memset(text, 'a', sizeof(text));
	text[2047] = 0;
	in.cmdline = text;
	assert_int_equal(load(&in, &err), 0);
	assert_string_equal(cmdline(), text);
	text[2047] = 'a';
	text[2048] = 0;
	assert_int_equal(load(&in, &err), -E2BIG);
	ASSERT_CONTAINS(err.msg, "is 2048 bytes, kernel test takes at most 2047");
	text[2048] = 'a';
	text[sizeof(text) - 1] = 0;
	assert_int_equal(load(&in, &err), -E2BIG);
	ASSERT_CONTAINS(err.msg, "--append");
	in.cmdline = NULL;
	assert_int_equal(load(&in, &err), 0);
	assert_string_equal(cmdline(), "");
}

static void cmdline_devices(void **state)
{
#define V0 "virtio_mmio.device=4096@0xd0000000:5"
#define V1 "virtio_mmio.device=4096@0xd0001000:6"
	static const struct {
		const char *in, *out;
	} c[] = {
		{ "quiet", "quiet " V0 " " V1 },
		{ "", V0 " " V1 },
		{ "a -- b c", "a " V0 " " V1 " -- b c" },
		{ "a  --", "a " V0 " " V1 " --" },
		{ "-- b", V0 " " V1 " -- b" },
		{ "--", V0 " " V1 " --" },
		{ "a --b --c=-- d--", "a --b --c=-- d-- " V0 " " V1 },
		{ "x=\"1 -- 2\" -- y", "x=\"1 -- 2\" " V0 " " V1 " -- y" },
		{ "x=\"1 -- 2", "x=\"1 -- 2 " V0 " " V1 },
	};
	struct boot_params_in in = test_params();

	machine(8 * MIB);
	in.hw = BOOT_HW_CMDLINE;
	in.devices = 2;
	in.device = test_devices;
	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		in.cmdline = c[i].in;
		assert_int_equal(load(&in, NULL), 0);
		assert_string_equal(cmdline(), c[i].out);
	}
	assert_int_equal(zero_page()->acpi_rsdp_addr, 0);
	in.devices = 0;
	in.cmdline = "a -- b";
	assert_int_equal(load(&in, NULL), 0);
	assert_string_equal(cmdline(), "a -- b");
	/* What we add counts, too. */
	in.devices = LAYOUT_VIRTIO_MAX;
	assert_int_equal(load(&in, NULL), 0);
}

/* Place an initrd of @size pattern bytes; returns what boot_load() said. */
static int place(uint64_t size, uint32_t addr_max, struct error *err)
{
	struct boot_params_in in = test_params();
	uint8_t *bytes = malloc(size ? size : 1);
	uint8_t *image = test_bzimage();
	struct boot_entry entry;
	gpa_t at;
	int r;

	for (size_t i = 0; i < size; i++)
		bytes[i] = test_pattern(i);
	in.initrd_fd = test_file(bytes, size);
	in.initrd_name = "ramdisk";
	test_setup(image)->initrd_addr_max = addr_max;
	r = test_load(&mem, image, TEST_BZIMAGE, &in, &entry, err);
	close(in.initrd_fd);
	free(image);
	at = zero_page()->hdr.ramdisk_image;
	if (!r) {
		assert_int_equal(zero_page()->hdr.ramdisk_size, size);
		assert_memory_equal(memory_at(&mem, at, size), bytes, size);
		assert_int_equal(at % 4096, 0);
		assert_true(at >= TEST_LOAD + TEST_INIT_SIZE);
		assert_true(at + size <= memory_low_end(&mem));
		assert_true(at + size - 1 <= addr_max);
	}
	free(bytes);
	return r;
}

static void initrd_placed(void **state)
{
	struct error err = { 0 };

	machine(8 * MIB); /* the kernel takes 1 to 3 MiB */
	assert_int_equal(place(1, 0x7fffffff, &err), 0);
	assert_int_equal(zero_page()->hdr.ramdisk_image, 8 * MIB - 4096);
	assert_int_equal(place(4096, 0x7fffffff, &err), 0);
	assert_int_equal(zero_page()->hdr.ramdisk_image, 8 * MIB - 4096);
	assert_int_equal(place(4097, 0x7fffffff, &err), 0);
	assert_int_equal(zero_page()->hdr.ramdisk_image, 8 * MIB - 8192);
	assert_int_equal(place(5 * MIB, 0x7fffffff, &err), 0);
	assert_int_equal(zero_page()->hdr.ramdisk_image, 3 * MIB);
	assert_int_equal(place(5 * MIB + 1, 0x7fffffff, &err), -ENOMEM);
	ASSERT_CONTAINS(err.msg, "initrd ramdisk: kernel and initrd need at least 9 MiB");
	/* The header's limit is the highest byte. */
	assert_int_equal(place(4096, 0x400fff, &err), 0);
	assert_int_equal(zero_page()->hdr.ramdisk_image, 0x400000);
	assert_int_equal(place(4096, 0x400ffe, &err), 0);
	assert_int_equal(zero_page()->hdr.ramdisk_image, 0x3ff000);
	assert_int_equal(place(4096, 0x300fff, &err), 0);
	assert_int_equal(place(4096, 0x300ffe, &err), -EFBIG);
	assert_int_equal(place(4096, 0, &err), -EFBIG);
	assert_int_equal(place(4096, UINT32_MAX, &err), 0);
	assert_int_equal(place(0, 0x7fffffff, &err), -ENOEXEC);
	ASSERT_CONTAINS(err.msg, "empty");
	machine(5 * GIB);
	assert_int_equal(place(4096, 0x7fffffff, &err), 0);
	assert_int_equal(zero_page()->hdr.ramdisk_image, 0x7ffff000);
	assert_int_equal(place(4096, UINT32_MAX, &err), 0);
	assert_int_equal(zero_page()->hdr.ramdisk_image, 3 * GIB - 4096);
}

static void initrd_refused(void **state)
{
	struct boot_params_in in = test_params();
	struct error err = { 0 };
	int pipes[2];

	machine(8 * MIB);
	assert_int_equal(pipe(pipes), 0);
	in.initrd_fd = pipes[0];
	in.initrd_name = "p";
	assert_int_equal(load(&in, &err), -EINVAL);
	ASSERT_CONTAINS(err.msg, "initrd p: not a regular file");
	close(pipes[0]);
	close(pipes[1]);
	/* Larger than anything, but only in its length. */
	in.initrd_fd = test_file("x", 1);
	assert_int_equal(ftruncate(in.initrd_fd, 1LL << 40), 0);
	assert_int_equal(load(&in, &err), -EFBIG);
	ASSERT_CONTAINS(err.msg, "below 3 GiB");
	close(in.initrd_fd);
}

static void wrong_machine(void **state)
{
	struct boot_params_in in = test_params();
	struct boot_device device = test_devices[0];
	struct error err = { 0 };

	machine(8 * MIB);
	in.cpus = 0;
	assert_int_equal(load(&in, &err), -EINVAL);
	assert_int_equal(err.kind, ERROR_USAGE);
	in.cpus = BOOT_CPUS_MAX + 1;
	assert_int_equal(load(&in, &err), -EINVAL);
	in.cpus = 1;
	in.devices = BOOT_DEVICES_MAX + 1;
	in.device = test_devices;
	assert_int_equal(load(&in, &err), -EINVAL);
	in.devices = 1;
	in.device = &device;
	device.gsi = LAYOUT_IOAPIC_PINS;
	assert_int_equal(load(&in, &err), -EINVAL);
	device = test_devices[0];
	device.size = UINT64_MAX;
	assert_int_equal(load(&in, &err), -EINVAL);
}

/* The list of setup_data: each type at most once, each node in reserved-by-the-kernel low memory. */
static void setup_data_list(void **state)
{
	struct boot_params_in in = test_params();
	unsigned seeds = 0;
	unsigned trees = 0;

	machine(8 * MIB);
	in.hw = BOOT_HW_FDT;
	assert_int_equal(load(&in, NULL), 0);
	for (gpa_t at = zero_page()->hdr.setup_data; at;) {
		const struct setup_data *node = memory_at(&mem, at, sizeof(*node));

		assert_non_null(node);
		assert_true(at + sizeof(*node) + node->len <= LAYOUT_EBDA);
		seeds += node->type == SETUP_RNG_SEED;
		trees += node->type == SETUP_DTB;
		at = node->next;
	}
	assert_int_equal(seeds, 1);
	assert_int_equal(trees, 1);
}

static int teardown(void **state)
{
	memory_destroy(&mem);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entry_state),
		cmocka_unit_test(zero_page_header),
		cmocka_unit_test(zero_page_of_elf),
		cmocka_unit_test(e820_contents),
		cmocka_unit_test(cmdline_limits),
		cmocka_unit_test(cmdline_devices),
		cmocka_unit_test(initrd_placed),
		cmocka_unit_test(initrd_refused),
		cmocka_unit_test(wrong_machine),
		cmocka_unit_test(setup_data_list),
	};

	return cmocka_run_group_tests(tests, NULL, teardown);
}
