/*
 * Machines that share a network (docs/PROTOCOL.md, "Ports"): the host's end, in the network namespace
 * that a machine stands in. Whatever listens in the guest is listened for here, by the same port, and
 * what listens here is told to the guest, which listens for it. So several machines in one namespace,
 * each with such a relay, see each other's services at localhost, and the namespace sees them all.
 * TCP only.
 */
#pragma once

#include <stdint.h>

struct ports_relay {
	const char *path; /* the unix socket of the machine's vsock, as in agent_dial() */
	int end;	  /* readable: it is over. A pidfd of the machine's process */
	/* The guest has been told who listens, has taken that up, and has told who listens there. May be NULL. */
	void (*ready)(void *ctx);
	/*
	 * After what is listened for here has changed: all the ports that are, at all addresses, in
	 * order. May be NULL.
	 */
	void (*changed)(void *ctx, const uint16_t *ports, unsigned count);
	/* A descriptor of the owner's that is polled as well, or -1; and what to do when it is readable. */
	int also;
	void (*attend)(void *ctx);
	void *ctx;
};

/*
 * Run until the end, in a process with one thread that is already where it belongs and has nothing
 * open but what the relay needs. It forks for each connection; those children end with it. A guest
 * that cannot be reached, or says what cannot be, is called again.
 */
void ports_relay_run(const struct ports_relay *relay);
