/* The verbs of microvm-oci. Each is given what stands behind its name and returns the exit status. */
#pragma once

#include "util/error.h"

#include <stdbool.h>

/* The global flags. */
struct oci_globals {
	char *root; /* where states are; never NULL */
	bool systemd_cgroup;
	bool no_cgroup; /* podman --cgroups=disabled */
	int log_fd;	/* of --log, or -1 */
};

typedef int oci_verb(const struct oci_globals *globals, int argc, char **argv);

oci_verb oci_create, oci_run, oci_start, oci_state_verb, oci_kill, oci_delete, oci_list, oci_exec,
	oci_ps, oci_pause, oci_resume, oci_update, oci_events;

/* Log @err as an error; returns 1. */
int oci_report(const struct error *err);
/* The same for a wrong command line: prints "see microvm-oci VERB --help", too. */
int oci_usage(const char *verb, const char *usage);

/* ---- verbs that know nothing of containers: 0, or a negative errno with one line in @err ---- */

/* Write a config.json to begin with, as others' `spec` does: spec [--bundle DIR] [--rootless]. */
int oci_spec(int argc, char **argv, struct error *err);

/* Say on standard output, as JSON, what of the specification is done here (features.md). */
int oci_features(int argc, char **argv, struct error *err);
