#include "boot/aml.h"

#include <string.h>

/* ACPI 6.4, 20.3: AML byte stream byte values. */
enum {
	AML_ZERO = 0x00,
	AML_ONE = 0x01,
	AML_NAME = 0x08,
	AML_BYTE = 0x0a,
	AML_WORD = 0x0b,
	AML_DWORD = 0x0c,
	AML_STRING = 0x0d,
	AML_QWORD = 0x0e,
	AML_SCOPE = 0x10,
	AML_BUFFER = 0x11,
	AML_PACKAGE = 0x12,
	AML_EXT = 0x5b,
	AML_EXT_DEVICE = 0x82
};

void aml_bytes(struct aml *a, const void *bytes, size_t n)
{
	if (a->full || n > a->size - a->len) {
		a->full = true;
		return;
	}
	memcpy(a->out + a->len, bytes, n);
	a->len += n;
}

void aml_byte(struct aml *a, uint8_t byte)
{
	aml_bytes(a, &byte, 1);
}

size_t aml_open(struct aml *a)
{
	return a->len;
}

/*
 * PkgLength (20.2.4): one byte up to 63, else the low four bits in the first byte, whose top two
 * say how many bytes follow. It counts itself.
 */
void aml_close(struct aml *a, size_t mark)
{
	static const uint8_t room[4];
	size_t content = a->len - mark;
	size_t bytes = 1;
	size_t len;

	if (content + 1 > 0x3f)
		bytes = content + 2 <= 0xfff ? 2 : content + 3 <= 0xfffff ? 3 : 4;
	len = content + bytes;
	aml_bytes(a, room, bytes);
	if (a->full)
		return;
	memmove(a->out + mark + bytes, a->out + mark, content);
	if (bytes == 1) {
		a->out[mark] = (uint8_t)len;
		return;
	}
	a->out[mark] = (uint8_t)((bytes - 1) << 6 | (len & 0xf));
	for (size_t i = 1; i < bytes; i++)
		a->out[mark + i] = (uint8_t)(len >> (8 * i - 4));
}

void aml_name(struct aml *a, const char *name)
{
	aml_bytes(a, name, name[0] == '\\' ? 5 : 4);
}

size_t aml_scope(struct aml *a, const char *name)
{
	size_t mark;

	aml_byte(a, AML_SCOPE);
	mark = aml_open(a);
	aml_name(a, name);
	return mark;
}

size_t aml_device(struct aml *a, const char *name)
{
	size_t mark;

	aml_byte(a, AML_EXT);
	aml_byte(a, AML_EXT_DEVICE);
	mark = aml_open(a);
	aml_name(a, name);
	return mark;
}

void aml_integer(struct aml *a, uint64_t value)
{
	unsigned bytes;

	if (value <= 1) {
		aml_byte(a, value ? AML_ONE : AML_ZERO);
		return;
	}
	if (value <= UINT8_MAX) {
		aml_byte(a, AML_BYTE);
		bytes = 1;
	} else if (value <= UINT16_MAX) {
		aml_byte(a, AML_WORD);
		bytes = 2;
	} else if (value <= UINT32_MAX) {
		aml_byte(a, AML_DWORD);
		bytes = 4;
	} else {
		aml_byte(a, AML_QWORD);
		bytes = 8;
	}
	for (unsigned i = 0; i < bytes; i++)
		aml_byte(a, (uint8_t)(value >> 8 * i));
}

void aml_name_integer(struct aml *a, const char *name, uint64_t value)
{
	aml_byte(a, AML_NAME);
	aml_name(a, name);
	aml_integer(a, value);
}

void aml_name_string(struct aml *a, const char *name, const char *value)
{
	aml_byte(a, AML_NAME);
	aml_name(a, name);
	aml_byte(a, AML_STRING);
	aml_bytes(a, value, strlen(value) + 1);
}

static unsigned hex(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10) & 0xf;
}

/* Three letters of five bits and four hexadecimal digits, most significant byte first (19.3.4). */
void aml_name_eisaid(struct aml *a, const char *name, const char *id)
{
	unsigned letters = 0;
	unsigned digits = 0;
	uint8_t bytes[4];

	for (unsigned i = 0; i < 3; i++)
		letters = letters << 5 | ((unsigned)(id[i] - '@') & 0x1f);
	for (unsigned i = 3; i < 7; i++)
		digits = digits << 4 | hex(id[i]);
	bytes[0] = (uint8_t)(letters >> 8);
	bytes[1] = (uint8_t)letters;
	bytes[2] = (uint8_t)(digits >> 8);
	bytes[3] = (uint8_t)digits;
	aml_byte(a, AML_NAME);
	aml_name(a, name);
	aml_byte(a, AML_DWORD);
	aml_bytes(a, bytes, sizeof(bytes));
}

void aml_name_buffer(struct aml *a, const char *name, const void *bytes, size_t n)
{
	size_t mark;

	aml_byte(a, AML_NAME);
	aml_name(a, name);
	aml_byte(a, AML_BUFFER);
	mark = aml_open(a);
	aml_integer(a, n);
	aml_bytes(a, bytes, n);
	aml_close(a, mark);
}

void aml_name_package(struct aml *a, const char *name, const uint8_t *values, uint8_t n)
{
	size_t mark;

	aml_byte(a, AML_NAME);
	aml_name(a, name);
	aml_byte(a, AML_PACKAGE);
	mark = aml_open(a);
	aml_byte(a, n);
	for (unsigned i = 0; i < n; i++)
		aml_integer(a, values[i]);
	aml_close(a, mark);
}
