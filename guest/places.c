#include "guest/places.h"

#include "guest/sys.h"

#include <linux/in.h>
#include <linux/in6.h>

enum {
	BACKLOG = 64,
	READ_MS = 10000,
	TAKEN = -2, /* somebody listens there already */
	V6ONLY = 26 /* IPV6_V6ONLY, which linux/in6.h hides where glibc has been included */
};

/* ---- sockets ---- */

struct address {
	uint32_t len;
	union {
		struct sockaddr_in ipv4;
		struct sockaddr_in6 ipv6;
	};
};

static uint16_t network_order(uint16_t n)
{
	return (uint16_t)(n << 8 | n >> 8);
}

/* Of all addresses, or of the loopback interface. */
static struct address address_of(unsigned family, uint16_t port, bool any)
{
	static const uint8_t ipv4[4] = { 127, 0, 0, 1 }, ipv6[16] = { [15] = 1 };
	struct address a = { 0 };

	if (family == 0) {
		a.len = sizeof(a.ipv4);
		a.ipv4.sin_family = AF_INET;
		a.ipv4.sin_port = network_order(port);
		if (!any)
			memcpy(&a.ipv4.sin_addr, ipv4, sizeof(ipv4));
	} else {
		a.len = sizeof(a.ipv6);
		a.ipv6.sin6_family = AF_INET6;
		a.ipv6.sin6_port = network_order(port);
		if (!any)
			memcpy(&a.ipv6.sin6_addr, ipv6, sizeof(ipv6));
	}
	return a;
}

static long tcp_socket(unsigned family, int flags)
{
	return sys_socket(family ? AF_INET6 : AF_INET, SOCK_STREAM | flags, 0);
}

static void set_option(int fd, int level, int option)
{
	int one = 1;

	sys_call(__NR_setsockopt, fd, level, option, SYS_PTR(&one), sizeof(one));
}

static int listen_at(unsigned family, const struct listening_port *port)
{
	struct address a = address_of(family, port->number, port->any);
	long fd = tcp_socket(family, SOCK_NONBLOCK), err;

	if (fd < 0)
		return -1;
	set_option((int)fd, SOL_SOCKET, SO_REUSEADDR);
	if (family)
		set_option((int)fd, IPPROTO_IPV6, V6ONLY);
	err = sys_call(__NR_bind, fd, SYS_PTR(&a.ipv4), a.len, 0, 0);
	if (err == 0)
		err = sys_call(__NR_listen, fd, BACKLOG, 0, 0, 0);
	if (err == 0)
		return (int)fd;
	sys_close((int)fd);
	return err == -EADDRINUSE ? TAKEN : -1;
}

int places_call(uint16_t port)
{
	for (unsigned family = 0; family < PLACES_FAMILIES; family++) {
		struct address a = address_of(family, port, false);
		long fd = tcp_socket(family, 0);

		if (fd >= 0 && sys_call(__NR_connect, fd, SYS_PTR(&a.ipv4), a.len, 0, 0) == 0)
			return (int)fd;
		if (fd >= 0)
			sys_close((int)fd);
	}
	return -1;
}

/* ---- places ---- */

static void close_place(struct place *place)
{
	for (unsigned family = 0; family < PLACES_FAMILIES; family++)
		if (place->fd[family] >= 0)
			sys_close(place->fd[family]);
}

void places_close(struct places *places)
{
	for (unsigned i = 0; i < places->count; i++)
		close_place(&places->place[i]);
	places->count = 0;
}

static bool has(const struct places *places, uint16_t number)
{
	for (unsigned i = 0; i < places->count; i++)
		if (places->place[i].port.number == number)
			return true;
	return false;
}

static bool open_place(struct places *places, const struct listening_port *port)
{
	struct place place = { .port = *port };

	for (unsigned family = 0; family < PLACES_FAMILIES; family++)
		place.fd[family] = listen_at(family, port);
	if (place.fd[0] == TAKEN || place.fd[1] == TAKEN) {
		close_place(&place);
		return false;
	}
	if (place.fd[0] < 0 && place.fd[1] < 0)
		return false;
	places->place[places->count++] = place;
	return true;
}

bool places_update(struct places *places, const struct listening *wanted)
{
	unsigned kept = 0;
	bool changed = false;

	for (unsigned i = 0; i < places->count; i++) {
		struct place *place = &places->place[i];
		const struct listening_port *port = listening_find(wanted, place->port.number);

		if (port && port->any == place->port.any) {
			places->place[kept++] = *place;
			continue;
		}
		close_place(place);
		changed = true;
	}
	places->count = kept;
	for (uint32_t i = 0; i < wanted->count; i++)
		if (!has(places, wanted->port[i].number))
			changed |= open_place(places, &wanted->port[i]);
	return changed;
}

unsigned places_poll(const struct places *places, struct pollfd *fds)
{
	unsigned count = 0;

	for (unsigned i = 0; i < places->count; i++)
		for (unsigned family = 0; family < PLACES_FAMILIES; family++)
			fds[count++] = (struct pollfd){ .fd = places->place[i].fd[family],
				.events = POLLIN };
	return count;
}

const struct place *places_at(const struct places *places, unsigned i)
{
	return &places->place[i / PLACES_FAMILIES];
}

/* ---- who listens ---- */

static void look_at(struct listening *set, int table)
{
	char buf[1024];
	size_t len = 0;
	long n;

	if (table < 0 || sys_call(__NR_lseek, table, 0, 0 /* SEEK_SET */, 0, 0) < 0)
		return;
	while ((n = sys_read(table, buf + len, sizeof(buf) - len)) > 0) {
		char *line = buf;

		len += (size_t)n;
		for (char *at = buf; at < buf + len; at++) {
			if (*at != '\n')
				continue;
			*at = 0;
			if (!listening_line(set, line))
				return;
			line = at + 1;
		}
		len = (size_t)(buf + len - line);
		memmove(buf, line, len);
	}
}

void places_look(
	const struct places *places, struct listening *found, const int table[PLACES_FAMILIES])
{
	struct listening all = { 0 };

	*found = (struct listening){ 0 };
	for (unsigned family = 0; family < PLACES_FAMILIES; family++)
		look_at(&all, table[family]);
	for (uint32_t i = 0; i < all.count; i++)
		if (!has(places, all.port[i].number))
			listening_add(found, all.port[i].number, all.port[i].any);
}

/* ---- in a child ---- */

bool places_read(int fd, uint8_t *to, size_t len)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	long n;

	for (; len; to += n, len -= (size_t)n)
		if (sys_poll(&p, 1, READ_MS) <= 0 || (n = sys_read(fd, to, len)) <= 0)
			return false;
	return true;
}
