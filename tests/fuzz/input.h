/* A fuzzer's input, taken from the front; when it runs out, zeroes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct input {
	const uint8_t *data;
	size_t left;
};

static inline void take_bytes(struct input *in, void *to, size_t n)
{
	size_t have = n < in->left ? n : in->left;

	memset(to, 0, n);
	if (have)
		memcpy(to, in->data, have);
	in->data += have;
	in->left -= have;
}

static inline uint8_t take8(struct input *in)
{
	uint8_t v;

	take_bytes(in, &v, sizeof(v));
	return v;
}

static inline uint16_t take16(struct input *in)
{
	uint16_t v;

	take_bytes(in, &v, sizeof(v));
	return v;
}

static inline uint32_t take32(struct input *in)
{
	uint32_t v;

	take_bytes(in, &v, sizeof(v));
	return v;
}

static inline uint64_t take64(struct input *in)
{
	uint64_t v;

	take_bytes(in, &v, sizeof(v));
	return v;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
