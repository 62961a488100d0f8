/*
 * Ports of TCP at which somebody listens: what the kernel says of them, and what host and guest tell
 * each other (docs/PROTOCOL.md, "Ports"). Used by both sides; no system calls.
 */
#pragma once

#include "guest/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sorted by number, each once. What does not fit is left out. Zero-initialised. */
struct listening {
	uint32_t count;
	struct listening_port {
		uint16_t number;
		bool any; /* at all addresses; else at those of the loopback interface */
	} port[AGENT_PORTS_MAX];
};

/* If it is there already, at all addresses if one of the two is. */
void listening_add(struct listening *set, uint16_t number, bool any);
/* NULL: it is not there. */
const struct listening_port *listening_find(const struct listening *set, uint16_t number);
bool listening_same(const struct listening *a, const struct listening *b);

/*
 * A line of /proc/net/tcp or tcp6 (Documentation/networking/proc_net_tcp.rst) without its newline:
 * add what listens at all addresses or at the loopback interface's. False: the socket does not
 * listen. The kernel lists those that do before all others, so no more come.
 */
bool listening_line(struct listening *set, const char *line);

/* The message: whole, whatever was said before. Returns its length. */
size_t listening_put(uint8_t to[AGENT_PORTS_MESSAGE], const struct listening *set);
/*
 * What @len bytes at @data begin with: the length of that message, which is in *@set; 0: it is not
 * all there; -1: it cannot be. *@set is as it was in both cases.
 */
int listening_take(struct listening *set, const uint8_t *data, size_t len);
