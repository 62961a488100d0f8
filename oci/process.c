#include "oci/process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What agent_start() would refuse, with the reason. */
static int check(const struct oci_process *process, struct error *err)
{
	size_t bytes = 4096;

	if (process->args.count > AGENT_ARGS_MAX || process->env.count > AGENT_ARGS_MAX)
		return error_set(err, ERROR_USAGE, E2BIG, "process.%s: more than %d strings",
			process->args.count > AGENT_ARGS_MAX ? "args" : "env", AGENT_ARGS_MAX);
	if (process->groups > AGENT_GROUPS_MAX)
		return error_set(err, ERROR_USAGE, E2BIG,
			"process.user.additionalGids: more than %d groups", AGENT_GROUPS_MAX);
	for (size_t i = 0; i < process->args.count; i++)
		bytes += strlen(process->args.list[i]) + 5;
	for (size_t i = 0; i < process->env.count; i++)
		bytes += strlen(process->env.list[i]) + 5;
	bytes += 4 * process->groups + AGENT_SECCOMP_MAX + strlen(process->cwd);
	if (bytes > AGENT_START_MAX)
		return error_set(err, ERROR_USAGE, E2BIG,
			"process: args and env have more than %d bytes", AGENT_START_MAX);
	return 0;
}

static int copy_rlimits(const struct oci_process *process, struct oci_agent_extra *keep)
{
	keep->rlimits = calloc(process->rlimits + 1, sizeof(*keep->rlimits));
	if (!keep->rlimits)
		return -ENOMEM;
	for (size_t i = 0; i < process->rlimits; i++)
		keep->rlimits[i] = (struct agent_rlimit){
			.resource = process->rlimit[i].resource,
			.soft = process->rlimit[i].soft,
			.hard = process->rlimit[i].hard,
		};
	return 0;
}

static void fill(const struct oci_process *process, struct agent_process *out,
	const struct oci_agent_extra *keep)
{
	*out = (struct agent_process){
		/* Without a section there are no capabilities at all, as for other runtimes. */
		.flags = AGENT_START_CAPS,
		.argv = process->args.list,
		.env = process->env.list,
		.cwd = process->cwd,
		.uid = process->uid,
		.gid = process->gid,
		.groups = process->group,
		.group_count = process->groups,
		.rows = process->rows,
		.columns = process->columns,
		.umask = process->umask & 0777,
		.oom_score_adj = process->oom_score_adj,
		.caps = {
			.bounding = process->caps.bounding,
			.effective = process->caps.effective,
			.inheritable = process->caps.inheritable,
			.permitted = process->caps.permitted,
			.ambient = process->caps.ambient,
		},
		.rlimits = keep->rlimits,
		.rlimit_count = process->rlimits,
		.seccomp = keep->filter.program,
		.seccomp_bytes = keep->filter.bytes,
		.seccomp_flags = keep->filter.flags,
	};
	if (process->terminal)
		out->flags |= AGENT_START_TERMINAL;
	if (process->has_umask)
		out->flags |= AGENT_START_UMASK;
	if (process->has_oom_score_adj)
		out->flags |= AGENT_START_OOM;
	if (process->no_new_privileges)
		out->flags |= AGENT_START_NO_NEW_PRIVS;
}

int oci_process_to_agent(const struct oci_process *process, struct json_object *seccomp,
	struct agent_process *out, struct oci_agent_extra *keep, struct error *err)
{
	int r = check(process, err);

	*keep = (struct oci_agent_extra){ 0 };
	if (r < 0)
		return r;
	r = oci_seccomp_compile(&keep->filter, seccomp, "config.json", err);
	if (r < 0)
		return r;
	r = copy_rlimits(process, keep);
	if (r < 0) {
		oci_agent_extra_free(keep);
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	}
	fill(process, out, keep);
	return 0;
}

void oci_agent_extra_free(struct oci_agent_extra *keep)
{
	free(keep->rlimits);
	oci_seccomp_free(&keep->filter);
	*keep = (struct oci_agent_extra){ 0 };
}

int oci_process_failed(const struct oci_process *process, enum agent_failed why, int errnum,
	const char *text, struct error *err)
{
	const char *command = process->args.list[0];

	if (why == AGENT_FAILED_NOT_FOUND && !strchr(command, '/'))
		return error_set(err, ERROR_USAGE, ENOENT,
			"exec \"%s\": executable file not found in $PATH", command);
	if (why == AGENT_FAILED_NOT_FOUND && errnum == ENOENT)
		return error_set(err, ERROR_USAGE, ENOENT, "exec \"%s\": no such file or directory",
			command);
	if (why == AGENT_FAILED_NOT_EXECUTABLE)
		return error_set(err, ERROR_USAGE, EACCES, "exec \"%s\": permission denied (%s)",
			command, text);
	return error_set(err, ERROR_MACHINE, EIO, "%s", text);
}
