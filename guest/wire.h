/*
 * Numbers, strings and lists on the wire, as guest/protocol.h has them: read with checks, from
 * bytes that anybody may have written; written into a buffer of known size. Used by both sides;
 * no system calls, no library but memcpy().
 */
#pragma once

#include "guest/protocol.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* After a first wrong field all further ones are 0 or "", and @bad stays set. */
struct wire_reader {
	const uint8_t *at, *end;
	bool bad;
};

struct wire_bytes {
	const uint8_t *data;
	uint32_t len;
};

/* Fields of a fixed or checked size, one after the other in the message. */
struct wire_list {
	const uint8_t *at;
	uint32_t count;
};

static inline struct wire_reader wire_reader(const void *data, size_t len)
{
	return (struct wire_reader){ .at = data, .end = (const uint8_t *)data + len };
}

static inline const uint8_t *wire_take(struct wire_reader *r, size_t len)
{
	const uint8_t *at = r->at;

	if (r->bad || len > (size_t)(r->end - r->at)) {
		r->bad = true;
		return NULL;
	}
	r->at += len;
	return at;
}

static inline uint64_t wire_number(struct wire_reader *r, unsigned size)
{
	const uint8_t *at = wire_take(r, size);
	uint64_t n = 0;

	for (unsigned i = 0; at && i < size; i++)
		n |= (uint64_t)at[i] << (8 * i);
	return n;
}

static inline uint8_t wire_u8(struct wire_reader *r)
{
	return (uint8_t)wire_number(r, 1);
}

static inline uint16_t wire_u16(struct wire_reader *r)
{
	return (uint16_t)wire_number(r, 2);
}

static inline uint32_t wire_u32(struct wire_reader *r)
{
	return (uint32_t)wire_number(r, 4);
}

static inline uint64_t wire_u64(struct wire_reader *r)
{
	return wire_number(r, 8);
}

static inline struct wire_bytes wire_blob(struct wire_reader *r)
{
	struct wire_bytes b = { .len = wire_u32(r) };

	b.data = wire_take(r, b.len);
	if (r->bad)
		b.len = 0;
	return b;
}

/* Never NULL, and points into the message. */
static inline const char *wire_string(struct wire_reader *r)
{
	uint32_t len = wire_u32(r);
	const uint8_t *at = wire_take(r, (size_t)len + 1);

	for (uint32_t i = 0; at && i < len; i++)
		if (!at[i])
			r->bad = true;
	if (!at || at[len])
		r->bad = true;
	return r->bad ? "" : (const char *)at;
}

/* A list of @max entries of @size bytes each at most. */
static inline struct wire_list wire_entries(struct wire_reader *r, uint32_t max, size_t size)
{
	struct wire_list list = { .count = wire_u32(r) };

	if (list.count > max)
		r->bad = true;
	list.at = wire_take(r, r->bad ? 0 : list.count * size);
	if (r->bad)
		list.count = 0;
	return list;
}

/* A list of @max strings at most, each of them checked. */
static inline struct wire_list wire_strings(struct wire_reader *r, uint32_t max)
{
	struct wire_list list = { .count = wire_u32(r) };

	if (list.count > max)
		r->bad = true;
	list.at = r->at;
	for (uint32_t i = 0; i < list.count && !r->bad; i++)
		wire_string(r);
	if (r->bad)
		list.count = 0;
	return list;
}

/* Nothing was wrong, and nothing is left over. */
static inline bool wire_done(const struct wire_reader *r)
{
	return !r->bad && r->at == r->end;
}

/* What does not fit sets @full and is left out. */
struct wire_writer {
	uint8_t *at, *end;
	bool full;
};

static inline void wire_put(struct wire_writer *w, const void *data, size_t len)
{
	if (w->full || len > (size_t)(w->end - w->at)) {
		w->full = true;
		return;
	}
	if (len)
		memcpy(w->at, data, len);
	w->at += len;
}

static inline void wire_put_number(struct wire_writer *w, uint64_t n, unsigned size)
{
	uint8_t bytes[8];

	for (unsigned i = 0; i < size; i++)
		bytes[i] = (uint8_t)(n >> (8 * i));
	wire_put(w, bytes, size);
}

static inline void wire_put_u32(struct wire_writer *w, uint32_t n)
{
	wire_put_number(w, n, 4);
}

static inline void wire_put_u64(struct wire_writer *w, uint64_t n)
{
	wire_put_number(w, n, 8);
}

static inline void wire_put_blob(struct wire_writer *w, const void *data, size_t len)
{
	wire_put_u32(w, (uint32_t)len);
	wire_put(w, data, len);
}

/* NULL is "". */
static inline void wire_put_string(struct wire_writer *w, const char *s)
{
	if (!s)
		s = "";
	wire_put_blob(w, s, strlen(s));
	wire_put(w, "", 1);
}

struct wire_message {
	uint16_t type, stream;
	uint32_t len;
	const uint8_t *payload;
};

static inline void wire_put_header(
	struct wire_writer *w, uint32_t len, unsigned type, unsigned stream)
{
	wire_put_u32(w, len);
	wire_put_number(w, type, 2);
	wire_put_number(w, stream, 2);
}

/* How long the payload of a message of this type may be. */
static inline uint32_t wire_limit(unsigned type)
{
	return type == AGENT_START || type == AGENT_FILE ? AGENT_START_MAX : AGENT_DATA_MAX;
}

/*
 * The first message of the @len bytes at @data. Returns how long it is with its header, and it is
 * in *@message if so many bytes are there; AGENT_HEADER while the header itself is not all there;
 * 0 for one that breaks its limit.
 */
static inline size_t wire_message(struct wire_message *message, const uint8_t *data, size_t len)
{
	struct wire_reader r = wire_reader(data, len);

	if (len < AGENT_HEADER)
		return AGENT_HEADER;
	message->len = wire_u32(&r);
	message->type = wire_u16(&r);
	message->stream = wire_u16(&r);
	message->payload = r.at;
	if (message->len > wire_limit(message->type) ||
		(message->stream && message->type != AGENT_OUTPUT))
		return 0;
	return AGENT_HEADER + (size_t)message->len;
}
