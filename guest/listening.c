#include "guest/listening.h"

enum { STATE_LISTEN = 0x0a, IPV4_DIGITS = 8, IPV6_DIGITS = 32, ENTRY = 3 };

void listening_add(struct listening *set, uint16_t number, bool any)
{
	uint32_t at = 0;

	while (at < set->count && set->port[at].number < number)
		at++;
	if (at < set->count && set->port[at].number == number) {
		set->port[at].any |= any;
		return;
	}
	if (set->count == AGENT_PORTS_MAX)
		return;
	memmove(&set->port[at + 1], &set->port[at], (set->count - at) * sizeof(set->port[0]));
	set->port[at] = (struct listening_port){ number, any };
	set->count++;
}

const struct listening_port *listening_find(const struct listening *set, uint16_t number)
{
	for (uint32_t i = 0; i < set->count; i++)
		if (set->port[i].number == number)
			return &set->port[i];
	return NULL;
}

bool listening_same(const struct listening *a, const struct listening *b)
{
	if (a->count != b->count)
		return false;
	for (uint32_t i = 0; i < a->count; i++)
		if (a->port[i].number != b->port[i].number || a->port[i].any != b->port[i].any)
			return false;
	return true;
}

/* ---- the kernel's lists ---- */

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Hexadecimal digits up to @end; their number is in *@digits. Returns what comes behind @end. */
static const char *number(const char *s, char end, uint32_t *value, unsigned *digits)
{
	*value = *digits = 0;
	for (; *s && *s != end; s++, ++*digits) {
		if (digit(*s) < 0)
			return NULL;
		*value = *value << 4 | (uint32_t)digit(*s);
	}
	return *s && *digits ? s + 1 : NULL;
}

static bool begins(const char *s, const char *prefix)
{
	for (; *prefix; s++, prefix++)
		if (*s != *prefix)
			return false;
	return true;
}

/* Words of 32 bits, each as this processor has it in memory: little-endian on all that we know. */
static bool is_any(const char *address, unsigned digits)
{
	if (digits == IPV6_DIGITS && begins(address, "0000000000000000FFFF0000"))
		return is_any(address + IPV6_DIGITS - IPV4_DIGITS, IPV4_DIGITS);
	for (; digits; digits--)
		if (*address++ != '0')
			return false;
	return true;
}

static bool is_loopback(const char *address, unsigned digits)
{
	if (digits == IPV4_DIGITS)
		return begins(address + 6, "7F");
	if (begins(address, "0000000000000000FFFF0000"))
		return begins(address + 30, "7F");
	return begins(address, "00000000000000000000000001000000");
}

/* "   0: 0100007F:1F90 00000000:0000 0A ..." */
bool listening_line(struct listening *set, const char *line)
{
	const char *s = line, *address, *rest;
	uint32_t port, state, ignored;
	unsigned digits, address_digits;

	while (*s && *s != ':')
		s++;
	if (begins(s, ": "))
		address = s + 2;
	else
		return true; /* the head of the table */
	rest = number(address, ':', &ignored, &address_digits);
	if (rest)
		rest = number(rest, ' ', &port, &digits);
	while (rest && *rest && *rest != ' ') /* whom it is connected to */
		rest++;
	if (rest && *rest)
		rest = number(rest + 1, ' ', &state, &digits);
	if (!rest || state != STATE_LISTEN ||
		(address_digits != IPV4_DIGITS && address_digits != IPV6_DIGITS))
		return false;
	if (port && port <= UINT16_MAX) {
		if (is_any(address, address_digits))
			listening_add(set, (uint16_t)port, true);
		else if (is_loopback(address, address_digits))
			listening_add(set, (uint16_t)port, false);
	}
	return true;
}

/* ---- the message ---- */

size_t listening_put(uint8_t to[AGENT_PORTS_MESSAGE], const struct listening *set)
{
	struct wire_writer w = { .at = to, .end = to + AGENT_PORTS_MESSAGE };

	wire_put_u32(&w, set->count);
	for (uint32_t i = 0; i < set->count; i++) {
		wire_put_number(&w, set->port[i].number, 2);
		wire_put_number(&w, set->port[i].any, 1);
	}
	return (size_t)(w.at - to);
}

int listening_take(struct listening *set, const uint8_t *data, size_t len)
{
	struct wire_reader r = wire_reader(data, len);
	uint32_t count = wire_u32(&r);
	struct listening heard = { 0 };

	if (r.bad)
		return 0;
	if (count > AGENT_PORTS_MAX)
		return -1;
	if ((size_t)(r.end - r.at) < count * ENTRY)
		return 0;
	for (uint32_t i = 0; i < count; i++) {
		uint16_t port = wire_u16(&r);
		uint8_t any = wire_u8(&r);

		if (!port || any > 1)
			return -1;
		listening_add(&heard, port, any);
	}
	*set = heard;
	return (int)(r.at - data);
}
