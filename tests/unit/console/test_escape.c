#include "console/escape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Feed @from in pieces of @step bytes; @to gets what is left. Returns all actions. */
static unsigned feed(const char *from, size_t step, char *to)
{
	struct escape e = { 0 };
	size_t len = strlen(from), left = 0;
	unsigned all = 0;

	for (size_t i = 0; i < len && !(all & ESCAPE_LEAVE); i += step) {
		size_t n = len - i < step ? len - i : step;
		uint8_t piece[64];
		unsigned actions;

		memcpy(piece, from + i, n);
		n = escape_filter(&e, piece, n, &actions);
		memcpy(to + left, piece, n);
		left += n;
		all |= actions;
	}
	to[left] = 0;
	return all;
}

static void test_keys(void **state)
{
	static const struct {
		const char *in, *left;
		unsigned actions;
	} cases[] = {
		{ "", "", 0 },
		{ "plain \x03 text\x1a", "plain \x03 text\x1a", 0 },
		{ "ab\001xcd", "ab", ESCAPE_LEAVE },
		{ "\001X", "", ESCAPE_LEAVE },
		{ "a\001\001b", "a\001b", 0 },
		{ "a\001ab", "a\001b", 0 },
		{ "\001\001x", "\001x", 0 },
		{ "\001\001\001x", "\001", ESCAPE_LEAVE },
		{ "a\001hb", "ab", ESCAPE_HELP },
		{ "a\001?b", "ab", ESCAPE_HELP },
		{ "a\001zb", "ab", 0 },
		{ "a\001", "a", 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (size_t step = 1; step < 9; step++) {
			char left[64];

			assert_int_equal(feed(cases[i].in, step, left), cases[i].actions);
			assert_string_equal(left, cases[i].left);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_keys) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
