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
