/* rootfs/strip.c: what is taken out, what stays, and modules that are none. */
#include "rootfs/strip.h"

#include "util/macros.h"

#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TEXT = 1, TYPES, DATA, BSS, NAMES, COUNT };

static const char names[] = "\0.text\0.BTF\0.data\0.bss\0.shstrtab\0.BTF_ids";

static uint32_t name_at(const char *name)
{
	for (size_t i = 1; i < sizeof(names); i += strlen(names + i) + 1)
		if (strcmp(names + i, name) == 0)
			return (uint32_t)i;
	return 0;
}

static void section(uint8_t *elf, size_t *end, Elf64_Shdr *h, const char *name, const void *bytes,
	size_t len, size_t align)
{
	*end = align_up(*end, align);
	*h = (Elf64_Shdr){ .sh_name = name_at(name),
		.sh_type = SHT_PROGBITS,
		.sh_offset = *end,
		.sh_size = len,
		.sh_addralign = align };
	memcpy(elf + *end, bytes, len);
	*end += len;
}

/* A module of four sections, with @third as the name of the one after the types. */
static size_t make(uint8_t *elf, const char *third)
{
	Elf64_Ehdr e = { .e_ident = ELFMAG,
		.e_type = ET_REL,
		.e_ehsize = sizeof(e),
		.e_shentsize = sizeof(Elf64_Shdr),
		.e_shnum = COUNT,
		.e_shstrndx = NAMES };
	Elf64_Shdr h[COUNT] = { 0 };
	uint8_t types[1001];
	size_t end = sizeof(e);

	memset(types, 0x55, sizeof(types));
	section(elf, &end, &h[TEXT], ".text", "some text", 9, 16);
	section(elf, &end, &h[TYPES], ".BTF", types, sizeof(types), 4);
	section(elf, &end, &h[DATA], third, "data", 4, 32);
	h[BSS] = (Elf64_Shdr){ .sh_name = name_at(".bss"),
		.sh_type = SHT_NOBITS,
		.sh_offset = end,
		.sh_size = 1 << 20,
		.sh_addralign = 32 };
	section(elf, &end, &h[NAMES], ".shstrtab", names, sizeof(names), 1);
	h[NAMES].sh_type = SHT_STRTAB;
	end = align_up(end, 8);
	e.e_shoff = end;
	memcpy(elf, &e, sizeof(e));
	memcpy(elf + end, h, sizeof(h));
	return end + sizeof(h);
}

static size_t sign(uint8_t *elf, size_t len, uint32_t claimed)
{
	const uint8_t tail[12] = { 0, 0, 2, 0, 0, 0, 0, 0, (uint8_t)(claimed >> 24),
		(uint8_t)(claimed >> 16), (uint8_t)(claimed >> 8), (uint8_t)claimed };
	const char *magic = "~Module signature appended~\n";

	memset(elf + len, 0xaa, 500);
	memcpy(elf + len + 500, tail, sizeof(tail));
	memcpy(elf + len + 512, magic, strlen(magic));
	return len + 512 + strlen(magic);
}

static void test_types_go(void **state)
{
	uint8_t elf[8192] = { 0 };
	size_t len = make(elf, ".data"), now = strip_module(elf, sign(elf, len, 500));
	const Elf64_Ehdr *e = (const void *)elf;
	Elf64_Shdr h[COUNT];

	assert_true(now < len - 900);
	assert_int_equal(now, e->e_shoff + sizeof(h));
	memcpy(h, elf + e->e_shoff, sizeof(h));
	assert_memory_equal(elf + h[TEXT].sh_offset, "some text", 9);
	assert_memory_equal(elf + h[DATA].sh_offset, "data", 4);
	assert_int_equal(h[DATA].sh_offset % 32, 0);
	assert_memory_equal(elf + h[NAMES].sh_offset, names, sizeof(names));
	assert_int_equal(h[BSS].sh_size, 1 << 20);
	assert_int_equal(h[TYPES].sh_type, SHT_NULL);
	assert_int_equal(h[TYPES].sh_size, 0);
	/* Nothing more to take. */
	assert_int_equal(strip_module(elf, now), now);
}

static void test_types_stay_where_needed(void **state)
{
	uint8_t elf[8192] = { 0 }, before[8192];
	size_t len = make(elf, ".BTF_ids");

	memcpy(before, elf, sizeof(elf));
	assert_int_equal(strip_module(elf, len), len);
	assert_memory_equal(elf, before, sizeof(elf));
	assert_int_equal(strip_module(elf, sign(elf, len, 500)), len);
}

static void test_signature_that_lies(void **state)
{
	uint8_t elf[8192] = { 0 };
	size_t len = make(elf, ".BTF_ids"), signed_len = sign(elf, len, 0xffffffff);

	assert_int_equal(strip_module(elf, signed_len), signed_len);
	signed_len = sign(elf, len, 0);
	assert_int_equal(strip_module(elf, signed_len), signed_len - 40);
}

/* Cut anywhere, or with any byte changed: nothing is written or read outside (for the sanitizers). */
static void test_damage(void **state)
{
	uint8_t good[8192] = { 0 };
	size_t len = make(good, ".data");

	for (size_t n = 0; n < len; n++) {
		uint8_t *elf = malloc(len);

		memcpy(elf, good, len);
		elf[n] ^= 0xff;
		assert_true(strip_module(elf, len) <= len);
		free(elf);
		elf = malloc(n + 1);
		memcpy(elf, good, n);
		assert_int_equal(strip_module(elf, n), n);
		free(elf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types_go),
		cmocka_unit_test(test_types_stay_where_needed),
		cmocka_unit_test(test_signature_that_lies),
		cmocka_unit_test(test_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
