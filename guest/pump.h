/*
 * What one stream socket says, the other hears, both ways, until both are at their end. Used by the
 * guest program and by the host.
 */
#pragma once

/*
 * Carry until both ways are at their end, or either socket is broken. Blocks for so long; both sockets
 * are made non-blocking, and stay open. Needs 64 KiB of memory, and does nothing without.
 */
void pump_run(int a, int b);

/*
 * In a child: of all that is open, standard streams aside, only @a and @b are kept (-1: no such). Or
 * what listens would do so for as long as the child is there.
 */
void pump_keep_only(int a, int b);
