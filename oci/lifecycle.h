/* What several verbs do to a container. The state is open and locked in all of them. */
#pragma once

#include "oci/config.h"
#include "oci/state.h"
#include "oci/verbs.h"
#include "util/error.h"

struct json_object;

/*
 * First thing of a verb that leaves a process behind: close what we were not meant to have, which is
 * all from 3 on but @preserve of them.
 */
void lifecycle_close_inherited(const struct oci_globals *globals, unsigned preserve);

/* The annotations as the state has them; the caller owns the object, NULL where there are none. */
struct json_object *lifecycle_annotations(const struct oci_config *config);
/* A copy of the configuration at @path for later, when the bundle may be gone. */
int lifecycle_keep_config(const struct oci_state *state, const char *path, struct error *err);
/* What was kept. */
int lifecycle_config(struct oci_config **out, const struct oci_state *state, struct error *err);

/*
 * Run hooks; @inside: in the container's namespaces. With @err NULL a hook that fails is only warned
 * of.
 */
int lifecycle_hooks(const struct oci_hooks *hooks, const char *name, const struct oci_state *state,
	enum oci_status status, bool inside, struct error *err);

/* Whole or not at all. */
int lifecycle_write_pid(const char *path, pid_t pid, struct error *err);

/* Of a created container: hooks, networks, its process. */
int lifecycle_start(struct oci_state *state, struct error *err);
/* Send @number to the container's process, or (@all) to every process in the guest. */
int lifecycle_kill(struct oci_state *state, int number, bool all, struct error *err);
/* Of a stopped one, or (@force) of any: everything that is left of it. */
int lifecycle_delete(struct oci_state *state, bool force, struct error *err);

/* From now on the signals that end us are @pid's. */
void lifecycle_forward_signals(pid_t pid);
