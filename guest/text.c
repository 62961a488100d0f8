#include "guest/text.h"

#include <string.h>

void text_add(struct text *text, const char *s)
{
	while (*s && text->len < sizeof(text->buf) - 1)
		text->buf[text->len++] = *s++;
	text->buf[text->len] = 0;
}

void text_add_number(struct text *text, long n)
{
	unsigned long left = n < 0 ? 0 - (unsigned long)n : (unsigned long)n;
	char digits[24];
	size_t at = sizeof(digits) - 1;

	digits[at] = 0;
	do {
		digits[--at] = (char)('0' + left % 10);
		left /= 10;
	} while (left);
	if (n < 0)
		digits[--at] = '-';
	text_add(text, digits + at);
}

char *text_line(char **cursor)
{
	char *line = *cursor;
	char *p = line;

	if (!*line)
		return NULL;
	while (*p && *p != '\n')
		p++;
	if (*p)
		*p++ = 0;
	*cursor = p;
	return line;
}

char *text_after(char *s, const char *prefix)
{
	for (; *prefix; s++, prefix++)
		if (*s != *prefix)
			return NULL;
	return s;
}

bool text_equal(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

const char *text_number(const char *s, char end, unsigned long max, unsigned long *n)
{
	unsigned long value = 0;

	if (*s < '0' || *s > '9')
		return NULL;
	for (; *s >= '0' && *s <= '9'; s++) {
		value = value * 10 + (unsigned long)(*s - '0');
		if (value > max)
			return NULL;
	}
	if (*s != end)
		return NULL;
	*n = value;
	return s + 1;
}
