/* mounts (config.md, "Mounts"; config-linux.md, "Default Filesystems") and their options. */
#include "oci/config_internal.h"

#include "util/macros.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mount.h>

/* Options that set or clear one of the flags in struct oci_mount. */
static const struct {
	const char *name;
	size_t offset;
	bool value;
} switches[] = {
#define FLAG(flag) offsetof(struct oci_mount, flag)
	{ "ro", FLAG(read_only), true },
	{ "rro", FLAG(read_only), true },
	{ "rw", FLAG(read_only), false },
	{ "rrw", FLAG(read_only), false },
	{ "nosuid", FLAG(nosuid), true },
	{ "rnosuid", FLAG(nosuid), true },
	{ "suid", FLAG(nosuid), false },
	{ "rsuid", FLAG(nosuid), false },
	{ "nodev", FLAG(nodev), true },
	{ "rnodev", FLAG(nodev), true },
	{ "dev", FLAG(nodev), false },
	{ "rdev", FLAG(nodev), false },
	{ "noexec", FLAG(noexec), true },
	{ "rnoexec", FLAG(noexec), true },
	{ "exec", FLAG(noexec), false },
	{ "rexec", FLAG(noexec), false },
	{ "noatime", FLAG(noatime), true },
	{ "rnoatime", FLAG(noatime), true },
	{ "atime", FLAG(noatime), false },
	{ "ratime", FLAG(noatime), false },
	{ "nodiratime", FLAG(nodiratime), true },
	{ "rnodiratime", FLAG(nodiratime), true },
	{ "diratime", FLAG(nodiratime), false },
	{ "rdiratime", FLAG(nodiratime), false },
	{ "strictatime", FLAG(strictatime), true },
	{ "rstrictatime", FLAG(strictatime), true },
	{ "nostrictatime", FLAG(strictatime), false },
	{ "rnostrictatime", FLAG(strictatime), false },
	{ "relatime", FLAG(strictatime), false },
	{ "rrelatime", FLAG(strictatime), false },
	{ "sync", FLAG(sync), true },
	{ "async", FLAG(sync), false },
	{ "dirsync", FLAG(dirsync), true },
	{ "tmpcopyup", FLAG(tmpcopyup), true },
	{ "notmpcopyup", FLAG(tmpcopyup), false },
	{ "bind", FLAG(bind), true },
#undef FLAG
};

/*
 * Options that change nothing here: the file systems of the guest are its own, with relatime, and
 * how often the host's are written back is the host's affair. docs/oci.md says so.
 */
static const char *const passed_over[] = { "defaults", "norelatime", "rnorelatime", "lazytime",
	"nolazytime", "mand", "nomand", "iversion", "noiversion", "silent", "loud", "symfollow",
	"rsymfollow", "acl", "noacl", "nofail" };

static const struct {
	const char *name;
	unsigned long flags;
} propagations[] = {
	{ "private", MS_PRIVATE },
	{ "rprivate", MS_PRIVATE | MS_REC },
	{ "slave", MS_SLAVE },
	{ "rslave", MS_SLAVE | MS_REC },
	{ "unbindable", MS_UNBINDABLE },
	{ "runbindable", MS_UNBINDABLE | MS_REC },
	{ "shared", MS_SHARED },
	{ "rshared", MS_SHARED | MS_REC },
};

static const struct {
	const char *name, *why;
} refused[] = {
	{ "remount", "there is nothing yet that could be mounted again" },
	{ "idmap", "ids cannot be mapped for a single mount" },
	{ "ridmap", "ids cannot be mapped for a single mount" },
	{ "nosymfollow", "symbolic links cannot be switched off for a mount in the guest" },
	{ "rnosymfollow", "symbolic links cannot be switched off for a mount in the guest" },
	{ "copy-symlink", "the guest follows symbolic links on the way to a mount" },
	{ "src-nofollow", "the source's symbolic links are followed" },
	{ "dest-nofollow", "the guest follows symbolic links on the way to a mount" },
};

/* File systems that the guest's kernel makes from nothing. */
static const char *const guest_types[] = { "proc", "sysfs", "tmpfs", "ramfs", "devpts", "mqueue",
	"cgroup", "cgroup2", "devtmpfs", "debugfs", "tracefs", "securityfs", "bpf", "hugetlbfs",
	"configfs", "fusectl" };

const char *oci_mount_option(unsigned i)
{
	if (i < ARRAY_SIZE(switches))
		return switches[i].name;
	i -= ARRAY_SIZE(switches);
	if (i < ARRAY_SIZE(passed_over))
		return passed_over[i];
	i -= ARRAY_SIZE(passed_over);
	if (i < ARRAY_SIZE(propagations))
		return propagations[i].name;
	return i == ARRAY_SIZE(propagations) ? "rbind" : NULL;
}

static bool is_among(const char *text, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(text, list[i]))
			return true;
	return false;
}

/* Whether @option was understood; else it is for the file system. */
static int take_option(struct cfg *cfg, struct oci_mount *mount, const char *option)
{
	for (size_t i = 0; i < ARRAY_SIZE(switches); i++)
		if (!strcmp(option, switches[i].name)) {
			*(bool *)((char *)mount + switches[i].offset) = switches[i].value;
			return 1;
		}
	if (!strcmp(option, "rbind")) {
		mount->bind = mount->recursive = true;
		return 1;
	}
	for (size_t i = 0; i < ARRAY_SIZE(propagations); i++)
		if (!strcmp(option, propagations[i].name)) {
			mount->propagation = propagations[i].flags;
			return 1;
		}
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		if (!strcmp(option, refused[i].name))
			return cfg_fail(cfg, "options", "'%s': %s", option, refused[i].why);
	return is_among(option, passed_over, ARRAY_SIZE(passed_over));
}

static int read_options(struct cfg *cfg, struct json_object *in, struct oci_mount *mount)
{
	struct oci_strings options = { 0 };
	size_t len = 1;
	char *data;
	int r = cfg_strings(cfg, in, "options", &options);

	if (r < 0)
		return r;
	for (size_t i = 0; i < options.count; i++)
		len += strlen(options.list[i]) + 1;
	mount->data = data = cfg_alloc(cfg, len, 1);
	if (!data)
		return -ENOMEM;
	for (size_t i = 0; i < options.count; i++) {
		const char *option = options.list[i];

		r = take_option(cfg, mount, option);
		if (r < 0)
			return r;
		if (r || !*option)
			continue;
		if (strchr(option, ','))
			return cfg_fail(cfg, "options", "'%s' is more than one option", option);
		if (mount->data[0])
			*data++ = ',';
		data = stpcpy(data, option);
	}
	return 0;
}

static int check_type(struct cfg *cfg, struct oci_mount *mount)
{
	if (!strcmp(mount->type, "rbind"))
		mount->recursive = true;
	if (!strcmp(mount->type, "bind") || !strcmp(mount->type, "rbind"))
		mount->bind = true;
	if (mount->bind) {
		if (!*mount->source)
			return cfg_fail(cfg, "source", "is missing: a bind mount needs one");
		mount->type = "bind";
		/* As everybody's mount(2) does it. */
		if (mount->data[0] &&
			cfg_warn(cfg, "options", "'%s' means nothing for a bind mount",
				mount->data) < 0)
			return -ENOMEM;
		mount->data = "";
		return 0;
	}
	if (!*mount->type || !strcmp(mount->type, "none"))
		return cfg_fail(cfg, "type", "is missing, and there is no option bind or rbind");
	/* Layers are directories of the host: only its kernel can put them together. */
	mount->on_host = !strcmp(mount->type, "overlay");
	if (!mount->on_host && !is_among(mount->type, guest_types, ARRAY_SIZE(guest_types)))
		return cfg_fail(cfg, "type",
			"'%s' cannot be mounted in a machine: mount it on the host, and bind it",
			mount->type);
	return 0;
}

static int read_mount(struct cfg *cfg, struct json_object *in, struct oci_mount *mount)
{
	int r;

	mount->type = mount->source = mount->destination = mount->data = "";
	if ((r = cfg_need(cfg, in, "destination")) < 0 ||
		(r = cfg_string(cfg, in, "destination", &mount->destination)) < 0 ||
		(r = cfg_string(cfg, in, "type", &mount->type)) < 0 ||
		(r = cfg_string(cfg, in, "source", &mount->source)) < 0 ||
		(r = read_options(cfg, in, mount)) < 0)
		return r;
	if (!*mount->destination)
		return cfg_fail(cfg, "destination", "is empty");
	mount->destination = cfg_clean_path(cfg, mount->destination);
	if (!mount->destination)
		return -ENOMEM;
	if (!strcmp(mount->destination, "/"))
		return cfg_fail(cfg, "destination", "is the root itself; use root.path");
	if ((r = check_type(cfg, mount)) < 0 ||
		(r = cfg_refuse(
			 cfg, in, "uidMappings", "ids cannot be mapped for a single mount")) < 0 ||
		(r = cfg_refuse(
			 cfg, in, "gidMappings", "ids cannot be mapped for a single mount")) < 0)
		return r;
	if (mount->tmpcopyup && strcmp(mount->type, "tmpfs"))
		return cfg_fail(cfg, "options", "tmpcopyup is for tmpfs");
	if (mount->bind && mount->propagation & MS_SHARED)
		return cfg_warn(cfg, "options",
			"shared: what is mounted in a machine cannot be seen on the host");
	return 0;
}

int config_mounts(struct cfg *cfg, struct json_object *in, struct oci_config *out)
{
	struct json_object *array = NULL, *item;
	size_t count;
	int r = cfg_array(cfg, in, "mounts", &array, &count);

	if (r < 0)
		return r;
	out->mount = cfg_alloc(cfg, count, sizeof(*out->mount));
	if (!out->mount)
		return -ENOMEM;
	for (; out->mounts < count; out->mounts++) {
		size_t mark;

		r = cfg_item(cfg, array, "mounts", out->mounts, &item);
		if (r < 0)
			return r;
		mark = cfg_enter_item(cfg, "mounts", out->mounts);
		r = read_mount(cfg, item, &out->mount[out->mounts]);
		if (r < 0)
			return r;
		cfg_leave(cfg, mark);
	}
	return 0;
}

static int read_hook(struct cfg *cfg, struct json_object *in, struct oci_hook *hook)
{
	int64_t timeout = 0;
	bool has;
	int r;

	if ((r = cfg_need(cfg, in, "path")) < 0 ||
		(r = cfg_string(cfg, in, "path", &hook->path)) < 0 ||
		(r = cfg_strings(cfg, in, "args", &hook->args)) < 0 ||
		(r = cfg_strings(cfg, in, "env", &hook->env)) < 0 ||
		(r = cfg_int(cfg, in, "timeout", INT32_MIN, INT32_MAX, &timeout, &has)) < 0)
		return r;
	if (hook->path[0] != '/')
		return cfg_fail(cfg, "path", "'%s' is not an absolute path", hook->path);
	if (has && timeout <= 0)
		return cfg_fail(cfg, "timeout", "must be more than 0 seconds");
	hook->timeout_s = (int)timeout;
	return 0;
}

static int read_hooks(
	struct cfg *cfg, struct json_object *in, const char *key, struct oci_hooks *out)
{
	struct json_object *array = NULL, *item;
	size_t count;
	int r = cfg_array(cfg, in, key, &array, &count);

	if (r < 0)
		return r;
	out->list = cfg_alloc(cfg, count, sizeof(*out->list));
	if (!out->list)
		return -ENOMEM;
	for (; out->count < count; out->count++) {
		size_t mark;

		r = cfg_item(cfg, array, key, out->count, &item);
		if (r < 0)
			return r;
		mark = cfg_enter_item(cfg, key, out->count);
		r = read_hook(cfg, item, &out->list[out->count]);
		if (r < 0)
			return r;
		cfg_leave(cfg, mark);
	}
	return 0;
}

int config_hooks(struct cfg *cfg, struct json_object *in, struct oci_config *out)
{
	struct json_object *hooks = NULL;
	size_t mark;
	int r = cfg_object(cfg, in, "hooks", &hooks);

	if (r < 0 || !hooks)
		return r;
	mark = cfg_enter(cfg, "hooks");
	if ((r = read_hooks(cfg, hooks, "prestart", &out->prestart)) < 0 ||
		(r = read_hooks(cfg, hooks, "createRuntime", &out->create_runtime)) < 0 ||
		(r = read_hooks(cfg, hooks, "createContainer", &out->create_container)) < 0 ||
		(r = read_hooks(cfg, hooks, "startContainer", &out->start_container)) < 0 ||
		(r = read_hooks(cfg, hooks, "poststart", &out->poststart)) < 0 ||
		(r = read_hooks(cfg, hooks, "poststop", &out->poststop)) < 0)
		return r;
	cfg_leave(cfg, mark);
	return 0;
}
