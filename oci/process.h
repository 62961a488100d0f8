/*
 * A process of the configuration as the guest is to be told of it (agent/agent.h).
 */
#pragma once

#include "agent/agent.h"
#include "oci/config.h"
#include "oci/seccomp.h"

/* What an agent_process points at beside the configuration. Freed by oci_agent_extra_free(). */
struct oci_agent_extra {
	struct agent_rlimit *rlimits;
	struct oci_filter filter;
};

/*
 * Fill *@out from @process, with the filter of @seccomp (linux.seccomp, or NULL). It points into
 * @process and *@keep, which must outlive it. Two flags are left to the caller, who knows:
 * AGENT_START_STDIN, and AGENT_START_MAKE_CWD (a container's first process has its directory made
 * if it is missing, that of an exec has not). ERROR_USAGE for what the protocol has no room for;
 * *@keep is empty then.
 */
int oci_process_to_agent(const struct oci_process *process, struct json_object *seccomp,
	struct agent_process *out, struct oci_agent_extra *keep, struct error *err);
/*
 * Is the container to keep the groups of whoever made it (crun's annotation, podman's
 * --group-add keep-groups)? They are rights to files of the host.
 */
bool oci_keeps_groups(const struct oci_config *config);
/*
 * Then add them to those of @process, as the container's ids: a group that is not mapped is nobody's
 * there. What is added lives as long as we do.
 */
int oci_process_add_groups(
	struct oci_process *process, const struct oci_config *config, struct error *err);
void oci_agent_extra_free(struct oci_agent_extra *keep);

/*
 * The guest could not start @process: what it said of it, in the words that container engines look
 * for (they make 127 and 126 of them). Returns a negative errno.
 */
int oci_process_failed(const struct oci_process *process, enum agent_failed why, int errnum,
	const char *text, struct error *err);
