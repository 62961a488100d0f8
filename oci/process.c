#include "oci/process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NOBODY = 65534 /* what the kernel makes of an id that is not mapped */ };

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
	r = oci_seccomp_get(&keep->filter, seccomp, "config.json", err);
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

bool oci_keeps_groups(const struct oci_config *config)
{
	for (size_t i = 0; i < config->annotations.count; i++)
		if (!strcmp(config->annotations.list[i].key, "run.oci.keep_original_groups"))
			return !strcmp(config->annotations.list[i].value, "1");
	return false;
}

/* Our own id @host, as the container has it. */
static uint32_t to_container(const struct oci_config *config, uint32_t host)
{
	if (!config->ns[OCI_NS_USER].present)
		return host;
	for (size_t i = 0; i < config->gid_maps && !config->ns[OCI_NS_USER].path; i++) {
		const struct oci_id_map *map = &config->gid_map[i];

		if (host >= map->host && host - map->host < map->size)
			return map->container + (host - map->host);
	}
	return NOBODY;
}

int oci_process_add_groups(
	struct oci_process *process, const struct oci_config *config, struct error *err)
{
	gid_t own[AGENT_GROUPS_MAX];
	uint32_t *all;
	int n;

	if (!oci_keeps_groups(config))
		return 0;
	n = getgroups(AGENT_GROUPS_MAX, own);
	if (n < 0)
		return error_set(err, ERROR_HOST, errno,
			"annotations: run.oci.keep_original_groups: cannot list our groups: %m");
	all = calloc(process->groups + (size_t)n + 1, sizeof(*all));
	if (!all)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	for (size_t i = 0; i < process->groups; i++)
		all[i] = process->group[i];
	for (int i = 0; i < n; i++)
		all[process->groups++] = to_container(config, own[i]);
	process->group = all;
	return 0;
}
