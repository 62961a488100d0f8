/* linux (config-linux.md), without its devices and resources. */
#include "oci/config_internal.h"

#include "util/macros.h"

#include <errno.h>
#include <string.h>

static const char *const namespace_names[OCI_NAMESPACES] = {
	[OCI_NS_PID] = "pid",
	[OCI_NS_NETWORK] = "network",
	[OCI_NS_MOUNT] = "mount",
	[OCI_NS_IPC] = "ipc",
	[OCI_NS_UTS] = "uts",
	[OCI_NS_USER] = "user",
	[OCI_NS_CGROUP] = "cgroup",
	[OCI_NS_TIME] = "time",
};

const char *oci_namespace_name(enum oci_namespace ns)
{
	return namespace_names[ns];
}

static int read_namespace(struct cfg *cfg, struct json_object *in, struct oci_config *out)
{
	const char *type = "", *path = NULL;
	unsigned i = 0;
	int r;

	if ((r = cfg_need(cfg, in, "type")) < 0 || (r = cfg_string(cfg, in, "type", &type)) < 0 ||
		(r = cfg_string(cfg, in, "path", &path)) < 0)
		return r;
	while (i < OCI_NAMESPACES && strcmp(type, namespace_names[i]))
		i++;
	if (i == OCI_NAMESPACES)
		return cfg_fail(cfg, "type", "'%s' is no namespace that is known here", type);
	if (out->ns[i].present)
		return cfg_fail(cfg, "type", "'%s' is there twice", type);
	if (path && *path && *path != '/')
		return cfg_fail(cfg, "path", "'%s' is not an absolute path", path);
	out->ns[i].present = true;
	out->ns[i].path = path && *path ? path : NULL;
	if (out->ns[i].path && i == OCI_NS_PID)
		return cfg_warn(cfg, "path",
			"a machine has processes of its own, which are not among those of the "
			"namespace");
	if (out->ns[i].path && i == OCI_NS_TIME)
		return cfg_fail(cfg, "path", "a machine has clocks of its own");
	/* Containers of one pod are told to share it, and most never use it: no reason to refuse. */
	if (out->ns[i].path && i == OCI_NS_IPC)
		return cfg_warn(cfg, "path",
			"System V IPC and message queues are not shared between machines");
	return 0;
}

/* What it means that a namespace is not there: the host's own. */
static int check_absent(struct cfg *cfg, const struct oci_config *out)
{
	if (!out->ns[OCI_NS_PID].present &&
		cfg_warn(cfg, "namespaces",
			"no pid namespace: a machine has processes of its own, which are not among "
			"the host's (--pid=host)") < 0)
		return -ENOMEM;
	if (!out->ns[OCI_NS_IPC].present &&
		cfg_warn(cfg, "namespaces",
			"no ipc namespace: System V IPC and message queues of the host cannot be "
			"reached from a machine (--ipc=host)") < 0)
		return -ENOMEM;
	if (!out->ns[OCI_NS_NETWORK].present)
		return cfg_warn(cfg, "namespaces",
			"no network namespace: the guest has a network of its own behind the "
			"host's; of the ports that it listens on those of TCP are the host's as "
			"well, others are not (--network=host)");
	return 0;
}

static int read_namespaces(struct cfg *cfg, struct json_object *in, struct oci_config *out)
{
	struct json_object *array = NULL, *item;
	size_t count;
	int r = cfg_array(cfg, in, "namespaces", &array, &count);

	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++) {
		size_t mark;

		r = cfg_item(cfg, array, "namespaces", i, &item);
		if (r < 0)
			return r;
		mark = cfg_enter_item(cfg, "namespaces", i);
		r = read_namespace(cfg, item, out);
		if (r < 0)
			return r;
		cfg_leave(cfg, mark);
	}
	return check_absent(cfg, out);
}

/* Whether @name, with dots or slashes in it, is @setting, or below it where that ends with a dot. */
static bool is_setting(const char *name, const char *setting)
{
	for (; *name && *setting; name++, setting++)
		if (*name != *setting && !(*name == '/' && *setting == '.'))
			return false;
	return !*setting && (!*name || setting[-1] == '.');
}

/*
 * A setting of a namespace that is not the container's own is meant for somebody else, too, who would
 * not get it from a machine. What belongs to no namespace is the machine's.
 */
static int check_sysctl(struct cfg *cfg, const struct oci_config *out, const char *name)
{
	static const struct {
		const char *setting;
		enum oci_namespace ns;
	} settings[] = {
		{ "net.", OCI_NS_NETWORK },
		{ "fs.mqueue.", OCI_NS_IPC },
		{ "kernel.msgmax", OCI_NS_IPC },
		{ "kernel.msgmnb", OCI_NS_IPC },
		{ "kernel.msgmni", OCI_NS_IPC },
		{ "kernel.sem", OCI_NS_IPC },
		{ "kernel.shmall", OCI_NS_IPC },
		{ "kernel.shmmax", OCI_NS_IPC },
		{ "kernel.shmmni", OCI_NS_IPC },
		{ "kernel.shm_rmid_forced", OCI_NS_IPC },
		{ "kernel.domainname", OCI_NS_UTS },
	};

	if (!*name || strspn(name, "./") || strstr(name, "..") || strstr(name, "/.") ||
		strstr(name, "./") || strstr(name, "//"))
		return cfg_fail(cfg, "sysctl", "'%s' is not the name of a setting", name);
	if (is_setting(name, "kernel.hostname"))
		return cfg_fail(cfg, "sysctl", "'%s' is set by hostname", name);
	for (unsigned i = 0; i < ARRAY_SIZE(settings); i++)
		if (is_setting(name, settings[i].setting) && !out->ns[settings[i].ns].present)
			return cfg_fail(cfg, "sysctl",
				"'%s' is a setting of the host's %s namespace: there is none in "
				"linux.namespaces",
				name, namespace_names[settings[i].ns]);
	return 0;
}

static int read_sysctl(struct cfg *cfg, struct json_object *in, struct oci_config *out)
{
	int r = cfg_pairs(cfg, in, "sysctl", &out->sysctl);

	for (size_t i = 0; r == 0 && i < out->sysctl.count; i++)
		r = check_sysctl(cfg, out, out->sysctl.list[i].key);
	return r;
}

static int read_paths(
	struct cfg *cfg, struct json_object *in, const char *key, struct oci_strings *out)
{
	int r = cfg_strings(cfg, in, key, out);

	for (size_t i = 0; r == 0 && i < out->count; i++)
		if (out->list[i][0] != '/')
			r = cfg_fail(cfg, key, "'%s' is not an absolute path", out->list[i]);
	return r;
}

static int read_propagation(struct cfg *cfg, struct json_object *in, struct oci_config *out)
{
	static const char *const names[] = { "private", "rprivate", "slave", "rslave", "shared",
		"rshared", "unbindable", "runbindable" };
	int r = cfg_string(cfg, in, "rootfsPropagation", &out->rootfs_propagation);

	if (r < 0 || !out->rootfs_propagation)
		return r;
	if (!*out->rootfs_propagation) {
		out->rootfs_propagation = NULL;
		return 0;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(out->rootfs_propagation, names[i]))
			return 0;
	return cfg_fail(cfg, "rootfsPropagation", "'%s' is not a way of propagation",
		out->rootfs_propagation);
}

static int check_personality(struct cfg *cfg, struct json_object *in)
{
	struct json_object *personality = NULL;
	struct oci_strings flags = { 0 };
	const char *domain = "";
	int r;

	if ((r = cfg_object(cfg, in, "personality", &personality)) < 0 || !personality)
		return r;
	if ((r = cfg_string(cfg, personality, "domain", &domain)) < 0 ||
		(r = cfg_strings(cfg, personality, "flags", &flags)) < 0)
		return r;
	if (strcmp(domain, "LINUX"))
		return cfg_fail(cfg, "personality.domain",
			"'%s': the machine's kernel runs programs as LINUX only", domain);
	return flags.count ? cfg_fail(cfg, "personality.flags", "no flags are known") : 0;
}

/* What cannot be, or is not done by this runtime. */
static int refuse_others(struct cfg *cfg, struct json_object *in)
{
	struct json_object *offsets = NULL;
	int r;

	if ((r = check_personality(cfg, in)) < 0 ||
		(r = cfg_object(cfg, in, "timeOffsets", &offsets)) < 0)
		return r;
	if (offsets && json_object_object_length(offsets))
		return cfg_fail(cfg, "timeOffsets",
			"a machine's clocks begin when it boots and cannot be shifted");
	if ((r = cfg_refuse(cfg, in, "intelRdt",
		     "shares of the processor's cache are not set up for machines")) < 0 ||
		(r = cfg_refuse(cfg, in, "memoryPolicy",
			 "the machine has one memory node; use linux.resources.cpu.mems")) < 0)
		return r;
	return cfg_refuse(cfg, in, "netDevices",
		"a network interface of the host cannot be moved into a machine");
}

int config_linux(struct cfg *cfg, struct json_object *in, struct oci_config *out)
{
	struct json_object *section = NULL, *resources = NULL;
	size_t mark, resources_mark;
	int r = cfg_object(cfg, in, "linux", &section);

	if (r < 0)
		return r;
	mark = cfg_enter(cfg, "linux");
	if ((r = read_namespaces(cfg, section, out)) < 0 ||
		(r = config_ids(cfg, section, out)) < 0 ||
		(r = cfg_string(cfg, section, "cgroupsPath", &out->cgroups_path)) < 0 ||
		(r = cfg_object(cfg, section, "resources", &resources)) < 0)
		return r;
	resources_mark = cfg_enter(cfg, "resources");
	if ((r = config_resources(cfg, resources, &out->resources)) < 0)
		return r;
	cfg_leave(cfg, resources_mark);
	if ((r = config_devices(cfg, section, out)) < 0 ||
		(r = read_sysctl(cfg, section, out)) < 0 ||
		(r = read_paths(cfg, section, "maskedPaths", &out->masked_paths)) < 0 ||
		(r = read_paths(cfg, section, "readonlyPaths", &out->readonly_paths)) < 0 ||
		(r = read_propagation(cfg, section, out)) < 0 ||
		(r = cfg_object(cfg, section, "seccomp", &out->seccomp)) < 0 ||
		(r = cfg_string(cfg, section, "mountLabel", &out->mount_label)) < 0 ||
		(r = refuse_others(cfg, section)) < 0)
		return r;
	if (out->cgroups_path && !*out->cgroups_path)
		out->cgroups_path = NULL;
	if (out->mount_label && !*out->mount_label)
		out->mount_label = NULL;
	cfg_leave(cfg, mark);
	return 0;
}
