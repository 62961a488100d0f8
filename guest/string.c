/*
 * The functions of the C library that a compiler may call on its own, and that this program uses.
 * Built for size, with -fno-builtin so that none of them becomes a call to itself.
 */
#include "guest/sys.h"

#include <stddef.h>
#include <string.h>

void *memcpy(void *restrict to, const void *restrict from, size_t len)
{
	sys_copy(to, from, len);
	return to;
}

void *memmove(void *to, const void *from, size_t len)
{
	char *t = to;
	const char *f = from;

	if (t <= f)
		return memcpy(to, from, len);
	while (len--)
		t[len] = f[len];
	return to;
}

void *memset(void *to, int byte, size_t len)
{
	sys_fill(to, byte, len);
	return to;
}

int memcmp(const void *a, const void *b, size_t len)
{
	const unsigned char *x = a, *y = b;

	for (; len; len--, x++, y++)
		if (*x != *y)
			return *x < *y ? -1 : 1;
	return 0;
}

size_t strlen(const char *s)
{
	const char *p = s;

	while (*p)
		p++;
	return (size_t)(p - s);
}

int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return (unsigned char)*a - (unsigned char)*b;
}
