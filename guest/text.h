/* Text without a C library: lines put together in a buffer of fixed size. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Always ends with a NUL; what does not fit is left out. Zero-initialised. */
struct text {
	size_t len;
	char buf[1024];
};

void text_add(struct text *text, const char *s);
void text_add_number(struct text *text, long n);

/* The next line of *@cursor, its newline replaced by a NUL; NULL at the end. */
char *text_line(char **cursor);

/* If @s begins with @prefix, what comes behind it; else NULL. */
char *text_after(char *s, const char *prefix);

bool text_equal(const char *a, const char *b);

/*
 * Decimal digits up to @end (a character, such as 0 or ':'), at most @max: stored in *@n. Returns
 * what comes behind @end, or NULL where @s is not such a number.
 */
const char *text_number(const char *s, char end, unsigned long max, unsigned long *n);
