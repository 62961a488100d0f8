/* What the process in the guest starts with. */
#pragma once

#include "agent/agent.h"
#include "cli/options.h"
#include "util/error.h"

/*
 * The environment, NULL-terminated: the usual one, over it @base ("NAME=VALUE"; NULL: none; an
 * image's), over that --env. NULL when out of memory. environment_free() frees it.
 */
char **environment_make(const struct job_options *job, const char *const *base, struct error *err);
void environment_free(char **env);

/* Flags and size for -i and -t, on top of what @process has. */
void environment_terminal(const struct job_options *job, struct agent_process *process);

/* The four bytes of a dotted quad that was checked before. */
void environment_ipv4(const char *text, uint8_t bytes[16]);
