/*
 * Machines that share a network, such as the containers of a pod: what listens in one is reached in
 * the others. In the guest that is a process of its own, a child of the guest program. It tells the
 * host which ports of TCP somebody listens at, listens at those of the others in their place, and
 * carries what is said (guest/protocol.h, enum agent_ports).
 */
#pragma once

/*
 * Serve the host's connections to @listener (of AGENT_PORTS_PORT; non-blocking), in the child, which
 * has closed all else. Does not return.
 */
void ports_run(int listener) __attribute__((noreturn));
