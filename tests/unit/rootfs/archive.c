#include "archive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER = 110, FIELDS = 13 };

static int wrong(const char *what, size_t at)
{
	fprintf(stderr, "archive: %s at %zu\n", what, at);
	return -1;
}

static int read_header(const uint8_t *p, uint32_t field[FIELDS])
{
	char digits[9] = { 0 }, *end;

	if (memcmp(p, "070701", 6) != 0)
		return -1;
	for (unsigned i = 0; i < FIELDS; i++) {
		memcpy(digits, p + 6 + 8 * i, 8);
		field[i] = (uint32_t)strtoul(digits, &end, 16);
		if (*end)
			return -1;
	}
	return 0;
}

int archive_read(const uint8_t *bytes, size_t len, struct archive_entry *out, unsigned max)
{
	uint32_t f[FIELDS];
	size_t at = 0;

	for (unsigned count = 0; count <= max; count++) {
		if (at + HEADER > len || read_header(bytes + at, f) < 0)
			return wrong("no header", at);
		uint32_t name_len = f[11], size = f[6];
		const char *name = (const char *)bytes + at + HEADER;
		size_t data = (at + HEADER + name_len + 3) & ~(size_t)3;

		if (name_len < 2 || data + size > len || name[name_len - 1] ||
			strlen(name) != name_len - 1)
			return wrong("a bad name or size", at);
		for (size_t i = at + HEADER + name_len; i < data; i++)
			if (bytes[i])
				return wrong("padding that is not zero", i);
		at = (data + size + 3) & ~(size_t)3;
		for (size_t i = data + size; i < at; i++)
			if (i >= len || bytes[i])
				return wrong("padding that is not zero", i);
		if (strcmp(name, "TRAILER!!!") == 0)
			return at == len ? (int)count : wrong("bytes behind the trailer", at);
		if (count < max)
			out[count] = (struct archive_entry){ name, f[1], f[9], f[10], f[4],
				bytes + data, size };
	}
	return wrong("too many entries", at);
}
