#include "cli/suggest.h"

#include "util/macros.h"

#include <stdbool.h>
#include <string.h>

enum { WORD_MAX = 32, SLIPS_MAX = 2 };

/*
 * How many letters must be changed, added, dropped or swapped with their neighbour to make @a of @b
 * (both at most WORD_MAX).
 */
static unsigned slips(const char *a, size_t alen, const char *b, size_t blen)
{
	unsigned d[WORD_MAX + 1][WORD_MAX + 1];

	for (size_t i = 0; i <= alen; i++)
		d[i][0] = (unsigned)i;
	for (size_t j = 0; j <= blen; j++)
		d[0][j] = (unsigned)j;
	for (size_t i = 1; i <= alen; i++) {
		for (size_t j = 1; j <= blen; j++) {
			unsigned best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

			best = MIN(best, d[i - 1][j] + 1);
			best = MIN(best, d[i][j - 1] + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = MIN(best, d[i - 2][j - 2] + 1);
			d[i][j] = best;
		}
	}
	return d[alen][blen];
}

const char *suggest(const char *typed, const char *const *words, size_t count)
{
	size_t len = strlen(typed);
	unsigned best = SLIPS_MAX + 1;
	const char *found = NULL;

	if (!len || len > WORD_MAX)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		size_t wlen = strlen(words[i]);
		bool begins = len >= 2 && !strncmp(words[i], typed, len);
		unsigned n;

		if (wlen > WORD_MAX)
			continue;
		n = begins ? 1 : slips(typed, len, words[i], wlen);
		/* Two slips in a word of three letters are another word. */
		if (n < best && n < MAX(len, wlen) / 2 + 1) {
			best = n;
			found = words[i];
		}
	}
	return found;
}
