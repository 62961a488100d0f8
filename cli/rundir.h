/*
 * What the host knows of running machines: a directory for each in /run/microvm (root) or
 * $XDG_RUNTIME_DIR/microvm (others; else /tmp/microvm-UID):
 *
 *	NAME/lock	locked (flock) by the machine's process for as long as it lives
 *	NAME/info	JSON: name, pid, started, root, command
 *	NAME/vsock	unix socket: connections to the guest, "CONNECT PORT"
 *
 * The lock is the truth: a directory whose lock nobody holds was left behind by a process that was
 * killed, and the next start removes it. Making and removing directories goes on under .lock of the
 * directory above, so two starts do not meet.
 *
 * Main thread, all of it.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <sys/types.h>

struct rundir;

enum { RUNDIR_NAME_MAX = 64, RUNDIR_PATH_MAX = 108 };

/*
 * A directory for a new machine called @name; NULL: it gets a name (rundir_name()). ERROR_BUSY if
 * a running machine has that name.
 */
int rundir_create(struct rundir **out, const char *name, struct error *err);
/* Whether behind the walls or not: remove what is there, and let go of the lock. NULL is allowed. */
void rundir_destroy(struct rundir *dir);

const char *rundir_name(const struct rundir *dir);
/*
 * The listening socket, there or (with @path, --vsock) at @path; the descriptor is handed over. What
 * is at @path already must be a socket that nobody listens at any more.
 */
int rundir_listen(struct rundir *dir, const char *path, struct error *err);
/* Write the info file. @words is NULL-terminated. */
int rundir_describe(
	struct rundir *dir, const char *root, const char *const *words, struct error *err);

/* What is known of a running machine. */
struct rundir_info {
	char name[RUNDIR_NAME_MAX + 1];
	char socket[RUNDIR_PATH_MAX];
	pid_t pid;
	int pidfd;		    /* -1 in rundir_list(); else the caller closes it */
	long long started;	    /* seconds since 1970 */
	const char *root, *command; /* command: its words as JSON text. Valid during the call */
};

/* ERROR_USAGE if no machine called @name runs. root and command are not given. */
int rundir_find(struct rundir_info *out, const char *name, struct error *err);

/* Call @each for every running machine, in the order of their names. */
int rundir_list(
	void (*each)(void *ctx, const struct rundir_info *info), void *ctx, struct error *err);
