/* A pseudo-terminal for a container or an exec, whose master goes to the engine. */
#pragma once

#include "oci/config.h"
#include "util/error.h"

#include <stdbool.h>
#include <termios.h>

struct console_pair {
	int master, slave; /* -1: none */
};

/*
 * Make the pair, of the process's consoleSize, and send the master over the unix socket @path with
 * SCM_RIGHTS, as runc does it. ERROR_HOST if nobody takes it. Both descriptors are the caller's: the
 * master may be closed then, but for as long as the slave is open somebody must have the other end.
 */
int console_open_pair(struct console_pair *pair, const char *path,
	const struct oci_process *process, struct error *err);

/* For `run` in a terminal that is passed on as it is: raw, and as it was. Nothing without one. */
struct foreground {
	bool taken;
	struct termios saved;
};

void console_take_foreground(struct foreground *own);
void console_leave_foreground(const struct foreground *own);

/*
 * A session of our own; with a terminal (@slave >= 0) it becomes the controlling one, so changes of
 * its size are heard of, and standard input, output and error.
 */
int console_take(int slave, struct error *err);
