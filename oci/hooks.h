/*
 * Hooks: programs that a configuration has run at points of a container's life (config.md, "POSIX-
 * platform Hooks"). Each gets the state as JSON on its standard input, its own arguments, and its own
 * environment and nothing else of ours: no descriptor, no signal mask, no ignored signals.
 *
 * Any thread that may fork. Blocks until the last hook has ended.
 */
#pragma once

#include "oci/config.h"
#include "util/error.h"

struct oci_hook_run {
	const char *name;  /* createRuntime and so on, for messages */
	const char *state; /* JSON text */
	/*
	 * NULL, or called in the hook's process before its program is executed: to go to the
	 * container's namespaces. Returns 0 or a negative errno.
	 */
	int (*enter)(void *ctx);
	void *ctx;
};

/*
 * Run them in order. The first that fails ends it, with the hook's path and what it said last on its
 * output: cannot be executed, exits with another status than 0, is killed by a signal, or has not
 * ended after its timeout (it and its process group are then killed). What a hook leaves running is
 * not waited for.
 */
int oci_hooks_run(const struct oci_hooks *hooks, const struct oci_hook_run *run, struct error *err);

/* For poststart and poststop: a hook that fails is a warning in the log, and the next one follows. */
void oci_hooks_run_all(const struct oci_hooks *hooks, const struct oci_hook_run *run);
