/*
 * What the runtime remembers of a container, in ROOT/ID: written whole or not at all, so a crash of
 * anybody leaves either the old state or the new one. ROOT is --root, or /run/microvm-oci (root), or
 * $XDG_RUNTIME_DIR/microvm-oci (others, and root of a user namespace).
 *
 *	ROOT/ID/state.json	the record below
 *	ROOT/ID/config.json	a copy of the bundle's, as it was at create
 *	ROOT/ID/control		unix socket of the container's process: oci/control.h
 *	ROOT/ID/vsock		unix socket: connections to the guest
 *	ROOT/ID/lock		flock: one command at a time changes the container
 *	ROOT/ID/share		flock: held by the process of oci/share.h
 *
 * The record says what was done; whether the container runs is asked of the process: its pid, and
 * when that process began, so a pid that was given away again is not taken for it.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum oci_status { OCI_CREATING, OCI_CREATED, OCI_RUNNING, OCI_PAUSED, OCI_STOPPED };

struct oci_state {
	char *root; /* the directory above */
	char *id;
	int dir;  /* ROOT/ID, or -1 */
	int lock; /* held, or -1 */

	/* The record. Strings are owned. */
	char *bundle;
	pid_t pid;	    /* 0: there was none yet */
	uint64_t pid_start; /* in /proc/PID/stat, field 22 */
	bool ready;	    /* create has come to its end */
	bool started;	    /* start was said */
	bool paused;
	bool systemd_cgroup;
	bool shares;   /* its network with a machine that has the interfaces there */
	char *cgroup;  /* path below /sys/fs/cgroup, "" for none */
	char *created; /* RFC 3339 */
	struct json_object *annotations; /* or NULL */
};

/* The directory that holds all: @given (--root) or the usual one. The caller frees it. */
char *oci_state_root(const char *given);

/* Is @id one that the specification and a file system allow? ERROR_USAGE with the reason. */
int oci_state_check_id(const char *id, struct error *err);

/* Make ROOT/ID, locked. ERROR_BUSY if there is a container called so already. */
int oci_state_create(struct oci_state **out, const char *root, const char *id, struct error *err);

/* Open ROOT/ID; with @lock, wait for and hold its lock. -ENOENT with ERROR_USAGE: no such container. */
int oci_state_open(
	struct oci_state **out, const char *root, const char *id, bool lock, struct error *err);
void oci_state_close(struct oci_state *state); /* NULL is allowed */

/* Write the record. */
int oci_state_save(struct oci_state *state, struct error *err);
/* Remove ROOT/ID and all in it; the state must still be closed. */
void oci_state_remove(struct oci_state *state);

/* Ask the process: what the container is now. */
enum oci_status oci_state_status(const struct oci_state *state);
const char *oci_status_name(enum oci_status status);
/* Take down the beginning of process @pid into the record. 0 or -ESRCH. */
int oci_state_set_pid(struct oci_state *state, pid_t pid);

/* The state as the specification has it, as JSON text on one line; the caller frees it. */
char *oci_state_json(const struct oci_state *state, enum oci_status status);

/* Call @each for every container, by name. */
int oci_state_list(const char *root, void (*each)(void *ctx, struct oci_state *state), void *ctx,
	struct error *err);
