/*
 * Places: sockets that listen in this network for somebody in another one, to whom what comes is
 * carried. The guest program has them for what listens in other machines, the host for what listens
 * in the guest (docs/PROTOCOL.md, "Ports"). Used by both, each in a process with one thread.
 */
#pragma once

#include "guest/listening.h"

#include <poll.h>

enum { PLACES_FAMILIES = 2, PLACES_FDS = AGENT_PORTS_MAX * PLACES_FAMILIES };

struct places {
	unsigned count;
	struct place {
		struct listening_port port;
		int fd[PLACES_FAMILIES]; /* IPv4 and IPv6; negative: not with that */
	} place[AGENT_PORTS_MAX];
};

/*
 * Listen at @wanted, and at nothing else any more. Where somebody listens himself, it is his, and
 * there is no place; that can be tried again. Returns whether anything was opened or closed.
 */
bool places_update(struct places *places, const struct listening *wanted);
void places_close(struct places *places);

/* What is to be polled: PLACES_FDS entries at most, in the order of the places. Returns how many. */
unsigned places_poll(const struct places *places, struct pollfd *fds);
/* Which place the entry @i of them is of. */
const struct place *places_at(const struct places *places, unsigned i);

/*
 * Who listens in this network, but at the places, by the kernel's lists of sockets: /proc/net/tcp and
 * tcp6, open for reading (negative: there is none).
 */
void places_look(
	const struct places *places, struct listening *found, const int table[PLACES_FAMILIES]);

/* Connect to @port of the loopback interface: a descriptor, or -1 where nobody listens. */
int places_call(uint16_t port);

/* So much from @fd, from somebody who keeps nobody waiting. False: he did, or is gone. */
bool places_read(int fd, uint8_t *to, size_t len);
