/* A vmlinux with a table of places behind it moves as a whole, by steps, within its room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "images.h"

#include "util/macros.h"

#include <stdlib.h>
#include <string.h>

enum {
	WORDS_MAX = 16,
	PLACE_64 = 0x100100,
	PLACE_INVERSE = 0x100203, /* nothing is aligned */
	PLACE_32 = 0x200010,
	LAST = 0x203001 - 8, /* the last place that the image of test_elf() has */
};

/* What the table calls the place that is loaded at @gpa. */
#define WORD(gpa) (0x80000000U + (gpa))

static struct guest_memory mem;
static uint8_t file[TEST_ELF + WORDS_MAX * 4];
static size_t file_len;

static void table(const uint32_t *word, size_t words)
{
	uint8_t *elf = test_elf();

	memcpy(file, elf, TEST_ELF);
	memcpy(file + TEST_ELF, word, words * sizeof(*word));
	file_len = TEST_ELF + words * sizeof(*word);
	free(elf);
}

static void load(const char *cmdline)
{
	struct boot_params_in in = test_params();
	struct boot_entry entry;

	in.cmdline = cmdline;
	memory_destroy(&mem);
	assert_int_equal(memory_create(&mem, 8 * MIB, NULL), 0);
	assert_int_equal(test_load(&mem, file, file_len, &in, &entry, NULL), 0);
	assert_int_equal(entry.rip, 0x100010); /* physical: it does not move */
}

static bool says_randomized(void)
{
	const struct boot_params *bp = memory_at(&mem, LAYOUT_ZERO_PAGE, sizeof(*bp));

	return bp->hdr.loadflags & KASLR_FLAG;
}

/* How much more the 8 (or 4) bytes at @gpa are than in the file. */
static uint64_t more(gpa_t gpa, size_t size)
{
	size_t offset =
		gpa < 0x200000 ? gpa - 0x100000 + TEST_ELF_TEXT : gpa - 0x200000 + TEST_ELF_DATA;
	uint64_t was = 0, is = 0;

	memcpy(&was, file + offset, size);
	memcpy(&is, memory_at(&mem, gpa, size), size);
	return size == 4 ? (uint32_t)(is - was) : is - was;
}

static bool is_unchanged(void)
{
	return !memcmp(memory_at(&mem, 0x100000, 0x1000), file + TEST_ELF_TEXT, 0x1000) &&
	       !memcmp(memory_at(&mem, 0x200000, 0x800), file + TEST_ELF_DATA, 0x800);
}

static void all_three_lists(void **state)
{
	static const uint32_t words[] = { 0, WORD(PLACE_64), 0, WORD(PLACE_INVERSE), 0,
		WORD(PLACE_32) };
	uint64_t first = 0;
	bool differs = false;

	table(words, ARRAY_SIZE(words));
	for (int i = 0; i < 50; i++) {
		uint64_t delta;

		load("quiet");
		delta = more(PLACE_64, 8);
		assert_int_equal(more(PLACE_INVERSE, 4), (uint32_t)-delta);
		assert_int_equal(more(PLACE_32, 4), delta);
		assert_int_equal(delta % (2 * MIB), 0);
		assert_true(delta + 0x203001 <= 1 * GIB);
		assert_true(delta && says_randomized());
		first = i ? first : delta;
		differs |= delta != first;
	}
	assert_true(differs);
}

static void two_lists(void **state)
{
	static const uint32_t words[] = { 0, WORD(PLACE_64), 0, WORD(PLACE_32), WORD(LAST) };

	table(words, ARRAY_SIZE(words));
	load("quiet");
	assert_true(says_randomized() && more(PLACE_64, 8));
	assert_int_equal(more(PLACE_64, 8), more(PLACE_32, 4));
	assert_int_equal(*(uint32_t *)memory_at(&mem, LAST, 4), more(PLACE_32, 4));
}

static void not_wanted(void **state)
{
	static const uint32_t words[] = { 0, WORD(PLACE_64), 0, WORD(PLACE_32) };
	static const char *const lines[] = { "nokaslr", "quiet nokaslr", "nokaslr quiet",
		"xnokaslr nokaslr\tquiet" };

	table(words, ARRAY_SIZE(words));
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		for (int again = 0; again < 5; again++) {
			load(lines[i]);
			assert_true(is_unchanged() && !says_randomized());
		}
	}
	load("xnokaslr nokaslrx a=nokaslr");
	assert_true(says_randomized());
}

static void not_a_table(void **state)
{
	static const struct {
		size_t words;
		uint32_t word[WORDS_MAX];
	} tables[] = {
		{ 1, { 0 } },
		{ 2, { 0, WORD(PLACE_64) } },
		{ 3, { WORD(PLACE_64), 0, WORD(PLACE_32) } },
		{ 4, { 0, 0, 0, 0 } },
		{ 3, { 0, 0, WORD(0x100000 - 1) } },
		{ 3, { 0, 0, WORD(LAST + 1) } },
		{ 3, { 0, 0, 0xffffffff } },
		{ 3, { 0, 0, 1 } },
		{ 3, { 0, 0, 0x7fffffff } },
		{ 6, { 0, WORD(PLACE_64), 0, WORD(PLACE_INVERSE), 0, 0x464c457f } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		table(tables[i].word, tables[i].words);
		for (int again = 0; again < 3; again++) {
			load("quiet");
			assert_true(is_unchanged() && !says_randomized());
		}
	}
	table(tables[0].word, 3); /* and a byte */
	file[file_len++] = 0;
	load("quiet");
	assert_true(is_unchanged() && !says_randomized());
}

static int teardown(void **state)
{
	memory_destroy(&mem);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_three_lists),
		cmocka_unit_test(two_lists),
		cmocka_unit_test(not_wanted),
		cmocka_unit_test(not_a_table),
	};

	return cmocka_run_group_tests(tests, NULL, teardown);
}
