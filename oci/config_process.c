/* process, of config.json and of process.json (config.md, "Process"). */
#include "oci/config_internal.h"

#include "util/macros.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>

/* By number, as linux/capability.h has them. */
static const char *const capability_names[] = { "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH",
	"FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
	"NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT",
	"SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE",
	"AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM",
	"BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE" };

static const struct {
	const char *name;
	unsigned resource;
} rlimit_names[] = {
	{ "RLIMIT_AS", RLIMIT_AS },
	{ "RLIMIT_CORE", RLIMIT_CORE },
	{ "RLIMIT_CPU", RLIMIT_CPU },
	{ "RLIMIT_DATA", RLIMIT_DATA },
	{ "RLIMIT_FSIZE", RLIMIT_FSIZE },
	{ "RLIMIT_LOCKS", RLIMIT_LOCKS },
	{ "RLIMIT_MEMLOCK", RLIMIT_MEMLOCK },
	{ "RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE },
	{ "RLIMIT_NICE", RLIMIT_NICE },
	{ "RLIMIT_NOFILE", RLIMIT_NOFILE },
	{ "RLIMIT_NPROC", RLIMIT_NPROC },
	{ "RLIMIT_RSS", RLIMIT_RSS },
	{ "RLIMIT_RTPRIO", RLIMIT_RTPRIO },
	{ "RLIMIT_RTTIME", RLIMIT_RTTIME },
	{ "RLIMIT_SIGPENDING", RLIMIT_SIGPENDING },
	{ "RLIMIT_STACK", RLIMIT_STACK },
};

const char *oci_capability_name(unsigned number)
{
	return number < ARRAY_SIZE(capability_names) ? capability_names[number] : NULL;
}

int oci_capability(const char *name)
{
	if (!strncasecmp(name, "CAP_", 4))
		name += 4;
	for (unsigned i = 0; i < ARRAY_SIZE(capability_names); i++)
		if (!strcasecmp(name, capability_names[i]))
			return (int)i;
	return -EINVAL;
}

static int read_user(struct cfg *cfg, struct json_object *in, struct oci_process *out)
{
	struct json_object *user = NULL, *groups = NULL;
	int64_t umask = 0, gid = 0;
	size_t mark, count;
	int r = cfg_object(cfg, in, "user", &user);

	if (r < 0 || !user)
		return r;
	mark = cfg_enter(cfg, "user");
	if ((r = cfg_u32(cfg, user, "uid", &out->uid)) < 0 ||
		(r = cfg_u32(cfg, user, "gid", &out->gid)) < 0 ||
		(r = cfg_int(cfg, user, "umask", 0, 07777, &umask, &out->has_umask)) < 0 ||
		(r = cfg_array(cfg, user, "additionalGids", &groups, &count)) < 0)
		return r;
	out->umask = (uint32_t)umask;
	out->group = cfg_alloc(cfg, count, sizeof(*out->group));
	if (!out->group)
		return -ENOMEM;
	for (; out->groups < count; out->groups++) {
		struct json_object *id = json_object_array_get_idx(groups, out->groups);

		gid = json_object_get_int64(id);
		if (!json_object_is_type(id, json_type_int) || gid < 0 || gid >= UINT32_MAX)
			return cfg_fail(cfg, "additionalGids",
				"item %zu is not the number of a group", out->groups);
		out->group[out->groups] = (uint32_t)gid;
	}
	if (out->uid == UINT32_MAX || out->gid == UINT32_MAX)
		return cfg_fail(cfg, NULL, "%u means nobody", UINT32_MAX);
	cfg_leave(cfg, mark);
	return 0;
}

static int read_set(struct cfg *cfg, struct json_object *in, const char *key, uint64_t *out)
{
	struct oci_strings names = { 0 };
	int r = cfg_strings(cfg, in, key, &names);

	for (size_t i = 0; r == 0 && i < names.count; i++) {
		int cap = oci_capability(names.list[i]);

		/* The specification wants what cannot be granted to be told, not refused. */
		if (cap < 0)
			r = cfg_warn(
				cfg, key, "%s is no capability that is known here", names.list[i]);
		else
			*out |= UINT64_C(1) << cap;
	}
	return r;
}

static int read_caps(struct cfg *cfg, struct json_object *in, struct oci_process *out)
{
	struct oci_caps *caps = &out->caps;
	struct json_object *sets = NULL;
	int r = cfg_object(cfg, in, "capabilities", &sets);
	size_t mark;

	if (r < 0 || !sets)
		return r;
	mark = cfg_enter(cfg, "capabilities");
	if ((r = read_set(cfg, sets, "bounding", &caps->bounding)) < 0 ||
		(r = read_set(cfg, sets, "effective", &caps->effective)) < 0 ||
		(r = read_set(cfg, sets, "inheritable", &caps->inheritable)) < 0 ||
		(r = read_set(cfg, sets, "permitted", &caps->permitted)) < 0 ||
		(r = read_set(cfg, sets, "ambient", &caps->ambient)) < 0)
		return r;
	/* As the kernel would have it, but here with a reason. */
	if (caps->effective & ~caps->permitted)
		return cfg_fail(cfg, "effective", "has capabilities that permitted has not");
	/* Ambient ones that are not in both others cannot be raised; runc passes over them, too. */
	caps->ambient &= caps->permitted & caps->inheritable;
	out->has_caps = true;
	cfg_leave(cfg, mark);
	return 0;
}

static int read_rlimit(struct cfg *cfg, struct json_object *in, struct oci_process *out)
{
	struct oci_rlimit *limit = &out->rlimit[out->rlimits];
	const char *type = "";
	int r;

	if ((r = cfg_need(cfg, in, "type")) < 0 || (r = cfg_need(cfg, in, "soft")) < 0 ||
		(r = cfg_need(cfg, in, "hard")) < 0 ||
		(r = cfg_string(cfg, in, "type", &type)) < 0 ||
		(r = cfg_u64(cfg, in, "soft", &limit->soft, NULL)) < 0 ||
		(r = cfg_u64(cfg, in, "hard", &limit->hard, NULL)) < 0)
		return r;
	limit->resource = RLIM_NLIMITS;
	for (unsigned i = 0; i < ARRAY_SIZE(rlimit_names); i++)
		if (!strcmp(type, rlimit_names[i].name))
			limit->resource = rlimit_names[i].resource;
	if (limit->resource == RLIM_NLIMITS)
		return cfg_fail(cfg, "type", "'%s' is no resource limit that is known here", type);
	if (limit->soft > limit->hard)
		return cfg_fail(cfg, "soft", "is above the hard limit");
	for (size_t i = 0; i < out->rlimits; i++)
		if (out->rlimit[i].resource == limit->resource)
			return cfg_fail(cfg, "type", "%s is there twice", type);
	out->rlimits++;
	return 0;
}

static int read_rlimits(struct cfg *cfg, struct json_object *in, struct oci_process *out)
{
	struct json_object *array = NULL, *item;
	size_t count;
	int r = cfg_array(cfg, in, "rlimits", &array, &count);

	if (r < 0)
		return r;
	out->rlimit = cfg_alloc(cfg, count, sizeof(*out->rlimit));
	if (!out->rlimit)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		size_t mark;

		r = cfg_item(cfg, array, "rlimits", i, &item);
		if (r < 0)
			return r;
		mark = cfg_enter_item(cfg, "rlimits", i);
		r = read_rlimit(cfg, item, out);
		if (r < 0)
			return r;
		cfg_leave(cfg, mark);
	}
	return 0;
}

static int read_console(struct cfg *cfg, struct json_object *in, struct oci_process *out)
{
	struct json_object *size = NULL;
	int64_t rows = 0, columns = 0;
	int r = cfg_object(cfg, in, "consoleSize", &size);
	size_t mark;

	if (r < 0 || !size)
		return r;
	mark = cfg_enter(cfg, "consoleSize");
	if ((r = cfg_int(cfg, size, "height", 0, UINT16_MAX, &rows, NULL)) < 0 ||
		(r = cfg_int(cfg, size, "width", 0, UINT16_MAX, &columns, NULL)) < 0)
		return r;
	/* Without a terminal it is to be passed over. */
	if (out->terminal) {
		out->rows = (uint16_t)rows;
		out->columns = (uint16_t)columns;
	}
	cfg_leave(cfg, mark);
	return 0;
}

/* What the machine's guest program has no way to set. */
static int refuse_others(struct cfg *cfg, struct json_object *in)
{
	struct json_object *scheduler = NULL;
	const char *policy = "";
	int64_t nice = 0;
	int r;

	if ((r = cfg_object(cfg, in, "scheduler", &scheduler)) < 0)
		return r;
	if (scheduler) {
		if ((r = cfg_string(cfg, scheduler, "policy", &policy)) < 0 ||
			(r = cfg_int(cfg, scheduler, "nice", INT32_MIN, INT32_MAX, &nice, NULL)) <
				0)
			return r;
		if (strcmp(policy, "SCHED_OTHER") || nice)
			return cfg_fail(cfg, "scheduler",
				"only SCHED_OTHER with nice 0: the process has the machine's "
				"processors to itself, and their share of the host's is "
				"linux.resources.cpu");
	}
	if ((r = cfg_refuse(cfg, in, "ioPriority",
		     "the process has the machine's disks to itself; their share of the host's "
		     "is linux.resources.blockIO")) < 0)
		return r;
	return cfg_refuse(cfg, in, "execCPUAffinity",
		"the machine's processors are not the host's; use linux.resources.cpu.cpus");
}

int config_process(struct cfg *cfg, struct json_object *in, struct oci_process *out)
{
	int64_t score = 0;
	int r;

	if ((r = cfg_need(cfg, in, "args")) < 0 || (r = cfg_need(cfg, in, "cwd")) < 0 ||
		(r = cfg_bool(cfg, in, "terminal", &out->terminal)) < 0 ||
		(r = read_console(cfg, in, out)) < 0 ||
		(r = cfg_strings(cfg, in, "args", &out->args)) < 0 ||
		(r = cfg_strings(cfg, in, "env", &out->env)) < 0 ||
		(r = cfg_string(cfg, in, "cwd", &out->cwd)) < 0 ||
		(r = read_user(cfg, in, out)) < 0 || (r = read_caps(cfg, in, out)) < 0 ||
		(r = read_rlimits(cfg, in, out)) < 0 ||
		(r = cfg_bool(cfg, in, "noNewPrivileges", &out->no_new_privileges)) < 0 ||
		(r = cfg_int(cfg, in, "oomScoreAdj", -1000, 1000, &score,
			 &out->has_oom_score_adj)) < 0 ||
		(r = cfg_string(cfg, in, "apparmorProfile", &out->apparmor)) < 0 ||
		(r = cfg_string(cfg, in, "selinuxLabel", &out->selinux)) < 0 ||
		(r = refuse_others(cfg, in)) < 0)
		return r;
	out->oom_score_adj = (int32_t)score;
	if (!out->args.count)
		return cfg_fail(cfg, "args", "is empty: there is nothing to run");
	if (out->cwd[0] != '/')
		return cfg_fail(cfg, "cwd", "'%s' is not an absolute path", out->cwd);
	for (size_t i = 0; i < out->env.count; i++)
		if (!strchr(out->env.list[i], '=') || out->env.list[i][0] == '=')
			return cfg_fail(cfg, "env", "item %zu is not NAME=VALUE", i);
	if (out->apparmor && !*out->apparmor)
		out->apparmor = NULL;
	if (out->selinux && !*out->selinux)
		out->selinux = NULL;
	return 0;
}
