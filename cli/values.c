#include "cli/values.h"

#include "util/macros.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Read digits; returns what follows them, or NULL if there are none or too many. */
static const char *digits(const char *text, uint64_t *out)
{
	uint64_t v = 0;
	const char *c;

	for (c = text; *c >= '0' && *c <= '9'; c++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *c - '0', &v))
			return NULL;
	*out = v;
	return c == text ? NULL : c;
}

int value_number(const char *text, uint64_t min, uint64_t max, uint64_t *out, struct error *err)
{
	const char *rest = digits(text, out);

	if (!rest || *rest || *out < min || *out > max)
		return error_set(err, ERROR_USAGE, EINVAL, "'%s' is not a number from %llu to %llu",
			text, (unsigned long long)min, (unsigned long long)max);
	return 0;
}

int value_size(const char *text, uint64_t *bytes, struct error *err)
{
	static const char units[] = "KMGT";
	uint64_t v;
	const char *rest = digits(text, &v), *unit;
	unsigned shift = 0;

	if (!rest)
		goto bad;
	if (*rest && (unit = strchr(units, toupper((unsigned char)*rest)))) {
		shift = 10 * (unsigned)(unit - units + 1);
		rest++;
		if (!strcasecmp(rest, "ib") || !strcasecmp(rest, "b"))
			rest = "";
	}
	if (*rest)
		goto bad;
	if (v > UINT64_MAX >> shift)
		return error_set(
			err, ERROR_USAGE, ERANGE, "'%s' is more than any machine has", text);
	*bytes = v << shift;
	return 0;
bad:
	return error_set(err, ERROR_USAGE, EINVAL,
		"'%s' is not a size: use whole bytes, or a number with K, M, G or T, such as 512M or 2G",
		text);
}

int value_duration(const char *text, unsigned *ms, struct error *err)
{
	static const struct {
		const char *name;
		unsigned ms;
	} units[] = { { "", 1000 }, { "s", 1000 }, { "ms", 1 }, { "m", 60 * 1000 },
		{ "h", 3600 * 1000 } };
	uint64_t v;
	const char *rest = digits(text, &v);

	for (unsigned i = 0; rest && i < ARRAY_SIZE(units); i++) {
		if (strcmp(rest, units[i].name))
			continue;
		if (v > UINT_MAX / units[i].ms)
			return error_set(err, ERROR_USAGE, ERANGE,
				"'%s' is too long: 49 days at most", text);
		*ms = (unsigned)v * units[i].ms;
		return 0;
	}
	return error_set(err, ERROR_USAGE, EINVAL,
		"'%s' is not a time: use seconds, or a number with ms, s, m or h, such as 500ms or 10s",
		text);
}

int value_mac(const char *text, uint8_t mac[6], struct error *err)
{
	unsigned b[6];
	int end = 0;

	/* %2x would also take spaces and signs. */
	if (strspn(text, "0123456789abcdefABCDEF:") != strlen(text) || strlen(text) != 17 ||
		sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
			&end) != 6 ||
		end != 17)
		return error_set(err, ERROR_USAGE, EINVAL,
			"'%s' is not a MAC address: six pairs of hexadecimal digits, such as "
			"52:54:00:12:34:56",
			text);
	if (b[0] & 1)
		return error_set(err, ERROR_USAGE, EINVAL,
			"'%s' is a group address: the first byte of a MAC address must be even",
			text);
	for (unsigned i = 0; i < 6; i++)
		mac[i] = (uint8_t)b[i];
	return 0;
}

/* Read a port, 1 to 65535, up to @stop; returns what follows @stop, or NULL. */
static const char *port(const char *text, char stop, uint16_t *out)
{
	uint64_t v;
	const char *rest = digits(text, &v);

	if (!rest || *rest != stop || v < 1 || v > 65535)
		return NULL;
	*out = (uint16_t)v;
	return rest + (stop != 0);
}

/* Read an IPv4 address and its colon; nothing before the colon means this host alone. */
static const char *host_address(const char *text, struct vm_forward *forward)
{
	const char *colon = strchr(text, ':'), *dash = strchr(text, '-');
	size_t len = colon ? (size_t)(colon - text) : 0;
	struct in_addr addr;

	strcpy(forward->host_addr, "127.0.0.1");
	if (!colon || (dash && dash < colon))
		return text;
	if (len >= sizeof(forward->host_addr))
		return NULL;
	if (len) {
		memcpy(forward->host_addr, text, len);
		forward->host_addr[len] = 0;
	}
	return inet_pton(AF_INET, forward->host_addr, &addr) == 1 ? colon + 1 : NULL;
}

int value_forward(const char *text, struct vm_forward *forward, struct error *err)
{
	const char *at = text;

	*forward = (struct vm_forward){ 0 };
	if (!strncmp(at, "tcp:", 4)) {
		at += 4;
	} else if (!strncmp(at, "udp:", 4)) {
		at += 4;
		forward->udp = true;
	}
	at = host_address(at, forward);
	at = at ? port(at, '-', &forward->host_port) : NULL;
	at = at ? port(at + (*at == ':'), 0, &forward->guest_port) : NULL;
	if (!at)
		return error_set(err, ERROR_USAGE, EINVAL,
			"hostfwd='%s' is not [tcp:|udp:][ADDRESS:]PORT-:GUESTPORT, such as tcp::2222-:22",
			text);
	return 0;
}

int value_publish(const char *text, struct vm_forward *forward, struct error *err)
{
	const char *at, *slash = strchr(text, '/'), *colon;
	char ports[64] = "";

	*forward = (struct vm_forward){ .udp = slash && !strcmp(slash, "/udp") };
	if ((!slash || forward->udp || !strcmp(slash, "/tcp")) && strlen(text) < sizeof(ports))
		memcpy(ports, text, slash ? (size_t)(slash - text) : strlen(text));
	colon = strchr(ports, ':');
	at = colon && strchr(colon + 1, ':') ? host_address(ports, forward) : ports;
	if (at == ports)
		strcpy(forward->host_addr, "0.0.0.0");
	at = at ? port(at, ':', &forward->host_port) : NULL;
	at = at ? port(at, 0, &forward->guest_port) : NULL;
	if (!at)
		return error_set(err, ERROR_USAGE, EINVAL,
			"'%s' is not [ADDRESS:]PORT:GUESTPORT[/udp], such as 8080:80", text);
	return 0;
}

int value_address(const char *text, char address[16], struct error *err)
{
	struct in_addr addr;

	if (strlen(text) > 15 || inet_pton(AF_INET, text, &addr) != 1)
		return error_set(err, ERROR_USAGE, EINVAL,
			"'%s' is not an IPv4 address, such as 192.168.7.1", text);
	strcpy(address, text);
	return 0;
}

int value_network(const char *text, char address[16], uint8_t *prefix, struct error *err)
{
	const char *slash = strchr(text, '/');
	char copy[16] = "";
	uint64_t bits = 0;

	if (slash && slash - text < (int)sizeof(copy))
		memcpy(copy, text, (size_t)(slash - text));
	if (!*copy || value_number(slash + 1, 1, 32, &bits, err) < 0 ||
		value_address(copy, address, err) < 0)
		return error_set(err, ERROR_USAGE, EINVAL,
			"'%s' is not ADDRESS/BITS, such as 192.168.7.2/24", text);
	*prefix = (uint8_t)bits;
	return 0;
}

int value_guest_path(const char *text, char *out, struct error *err)
{
	const char *at = text;
	size_t len = 0;

	if (*at != '/')
		return error_set(err, ERROR_USAGE, EINVAL,
			"'%s' is not an absolute path: in the guest it must begin with /", text);
	while (*at) {
		size_t word;

		at += strspn(at, "/");
		word = strcspn(at, "/");
		if ((word == 1 && *at == '.') || (word == 2 && !strncmp(at, "..", 2)))
			return error_set(err, ERROR_USAGE, EINVAL,
				"'%s' has a . or .. in it: say the path in the guest without",
				text);
		if (!word)
			break;
		out[len++] = '/';
		memcpy(out + len, at, word);
		len += word;
		at += word;
	}
	out[len] = 0;
	if (!len)
		return error_set(err, ERROR_USAGE, EINVAL,
			"'%s' is the guest's root: that is what --rootfs is for", text);
	return 0;
}

int value_name(const char *text, struct error *err)
{
	size_t len = strlen(text);

	for (const char *c = text; *c; c++)
		if (!isalnum((unsigned char)*c) && (c == text || !strchr("-_.", *c)))
			len = 0;
	if (!len || len > 64)
		return error_set(err, ERROR_USAGE, EINVAL,
			"'%s' is no name: letters, digits and - _ . (not first), at most 64", text);
	return 0;
}

int value_interface(const char *text, struct error *err)
{
	size_t len = strlen(text);

	for (const char *c = text; *c; c++)
		if (*c == '/' || isspace((unsigned char)*c) || iscntrl((unsigned char)*c))
			len = 0;
	if (!len || len >= IFNAMSIZ || !strcmp(text, ".") || !strcmp(text, ".."))
		return error_set(err, ERROR_USAGE, EINVAL,
			"'%s' is no name of a network interface: 1 to %d characters, no slash or space",
			text, IFNAMSIZ - 1);
	return 0;
}
