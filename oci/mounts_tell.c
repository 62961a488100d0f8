/*
 * What the guest is told to mount: the binds that oci/mounts.c has put together for it, file systems
 * of its own kernel, devices; and what it is to hide.
 */
#include "oci/container.h"

#include "util/macros.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

bool mounts_is_own_shm(const struct container *c, const struct oci_mount *m)
{
	return !strcmp(m->destination, "/dev/shm") && !m->socket &&
	       !(m->bind && c->config->ns[OCI_NS_IPC].path);
}

bool mounts_is_shared(const struct container *c, const struct oci_mount *m)
{
	return (m->bind && !m->socket && !mounts_is_own_shm(c, m)) || m->on_host;
}

static unsigned propagation_of(unsigned long flags)
{
	return (flags & MS_SHARED ? AGENT_MOUNT_SHARED : 0) |
	       (flags & MS_SLAVE ? AGENT_MOUNT_SLAVE : 0) |
	       (flags & MS_PRIVATE ? AGENT_MOUNT_PRIVATE : 0) |
	       (flags & MS_UNBINDABLE ? AGENT_MOUNT_UNBINDABLE : 0) |
	       (flags & MS_REC ? AGENT_MOUNT_RECURSIVE : 0);
}

static unsigned flags_of(const struct oci_mount *m)
{
	return (m->read_only ? AGENT_MOUNT_READ_ONLY : 0) | (m->nosuid ? AGENT_MOUNT_NOSUID : 0) |
	       (m->nodev ? AGENT_MOUNT_NODEV : 0) | (m->noexec ? AGENT_MOUNT_NOEXEC : 0) |
	       (m->noatime ? AGENT_MOUNT_NOATIME : 0) |
	       (m->nodiratime ? AGENT_MOUNT_NODIRATIME : 0) |
	       (m->strictatime ? AGENT_MOUNT_STRICTATIME : 0) | (m->sync ? AGENT_MOUNT_SYNC : 0) |
	       (m->dirsync ? AGENT_MOUNT_DIRSYNC : 0) | propagation_of(m->propagation);
}

static struct agent_mount *add(
	struct container *c, const char *type, const char *source, const char *target)
{
	struct job_config *j = &c->job_config;
	struct agent_mount *m = &j->mount[j->mounts++];

	*m = (struct agent_mount){ .type = type, .source = source, .target = target };
	return m;
}

void mounts_name(const struct oci_mount *m, size_t i, char name[MOUNTS_NAME_MAX])
{
	size_t end = strlen(m->source), begin, len;

	while (end && m->source[end - 1] == '/')
		end--;
	for (begin = end; begin && m->source[begin - 1] != '/'; begin--)
		;
	len = end - begin;
	if (!len || len > NAME_MAX || (len <= 2 && !strncmp(m->source + begin, "..", len)))
		snprintf(name, MOUNTS_NAME_MAX, "%zu/bind", i);
	else
		snprintf(name, MOUNTS_NAME_MAX, "%zu/%.*s", i, (int)len, m->source + begin);
}

static int tell_bind(struct container *c, size_t i, const char *tag, struct error *err)
{
	const struct oci_mount *m = &c->config->mount[i];
	struct agent_mount *to = add(c, "virtiofs", tag, m->destination);
	char name[MOUNTS_NAME_MAX];

	mounts_name(m, i, name);
	to->file = strdup(name); /* for as long as the process lives */
	if (!to->file)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	to->flags = flags_of(m) | (m->file ? AGENT_MOUNT_ON_FILE : 0);
	return 0;
}

/* /dev/shm is shared memory of the container's processes, so it is the guest's; its size counts. */
static int tell_shm(struct container *c, const struct oci_mount *m, struct error *err)
{
	struct agent_mount *to = add(c, "tmpfs", "shm", m->destination);
	struct statvfs st;
	char *options;

	to->flags = flags_of(m);
	if (!m->bind) {
		to->options = m->data;
		return 0;
	}
	if (statvfs(m->source, &st) < 0)
		return error_set(err, ERROR_HOST, errno, "mounts: %s: cannot look at %s: %m",
			m->destination, m->source);
	if (asprintf(&options, "mode=1777,size=%llu",
		    (unsigned long long)st.f_blocks * st.f_frsize) < 0)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	to->options = options;
	return 0;
}

static bool is_dev(const struct oci_mount *m)
{
	return !strcmp(m->destination, "/dev") && !strcmp(m->type, "tmpfs");
}

/* It comes with the pid namespace. */
static bool is_namespaces(const struct container *c, const struct oci_mount *m)
{
	return c->job_config.pid_namespace && !strcmp(m->type, "proc") &&
	       !strcmp(m->destination, "/proc");
}

/* --privileged: /dev stays as the guest's kernel has made it, with all its devices. */
static bool stays(const struct container *c, const struct oci_mount *m)
{
	return c->config->resources.all_devices &&
	       (is_dev(m) || !strcmp(m->type, "devpts") || !strcmp(m->type, "mqueue"));
}

/* Whether the configuration mounts all of /dev that the guest program needs itself. */
static bool has_dev(const struct container *c)
{
	bool dev = false, pts = false;

	for (size_t i = 0; i < c->config->mounts; i++) {
		const struct oci_mount *m = &c->config->mount[i];

		dev |= is_dev(m);
		pts |= !strcmp(m->type, "devpts") && !strcmp(m->destination, "/dev/pts");
	}
	return dev && pts && !c->config->resources.all_devices;
}

static int tell_one(struct container *c, size_t i, const char *tag, struct error *err)
{
	const struct oci_mount *m = &c->config->mount[i];
	struct agent_mount *to;

	if (mounts_is_own_shm(c, m))
		return tell_shm(c, m, err);
	if (mounts_is_shared(c, m))
		return tell_bind(c, i, tag, err);
	if (m->socket || stays(c, m) || is_namespaces(c, m))
		return 0;
	if (!strcmp(m->type, "cgroup") || !strcmp(m->type, "cgroup2")) {
		to = add(c, "cgroup2", "cgroup2", m->destination);
		to->flags = flags_of(m);
		return 0;
	}
	to = add(c, m->type, m->source ? m->source : m->type, m->destination);
	to->flags = flags_of(m) | (m->tmpcopyup ? AGENT_MOUNT_COPY_UP : 0);
	if (is_dev(m))
		to->flags |= AGENT_MOUNT_DEVICES;
	if (!strcmp(m->type, "mqueue")) /* engines ask for it whether or not anybody needs it */
		to->flags |= AGENT_MOUNT_TRY;
	to->options = *m->data ? m->data : NULL;
	return 0;
}

/* A path may be a file or a directory of the guest's: one of the two fits. */
static void mask(struct container *c, const char *path)
{
	add(c, "bind", "/dev/null", path)->flags = AGENT_MOUNT_TRY | AGENT_MOUNT_ON_FILE;
	add(c, "tmpfs", "tmpfs", path)->flags = AGENT_MOUNT_TRY | AGENT_MOUNT_READ_ONLY;
}

static struct agent_node node_of(const struct oci_device *device)
{
	static const struct {
		char type;
		uint32_t mode;
	} types[] = { { 'b', S_IFBLK }, { 'p', S_IFIFO }, { 'c', S_IFCHR }, { 'u', S_IFCHR } };
	struct agent_node node = { .path = device->path,
		.mode = device->has_mode ? device->mode : 0666,
		.uid = device->uid,
		.gid = device->gid };

	for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
		if (types[i].type == device->type)
			node.mode |= types[i].mode;
	if (device->type != 'p') {
		node.major = (uint32_t)device->major;
		node.minor = (uint32_t)device->minor;
	}
	return node;
}

static int tell_devices(struct container *c, struct error *err)
{
	const struct oci_config *o = c->config;
	struct agent_node *nodes = calloc(o->devices + 1, sizeof(*nodes));

	if (!nodes)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	c->job_config.node = nodes; /* for as long as the process lives */
	for (size_t i = 0; i < o->devices; i++) {
		const struct oci_device *device = &o->device[i];
		const char *there = oci_device_guest_path(device);

		if (!o->resources.all_devices || !there || strcmp(there, device->path) != 0)
			nodes[c->job_config.nodes++] = node_of(device);
	}
	return 0;
}

/* Last of all: what is bound from a root that is unbindable must have been. */
static void tell_propagation(struct container *c)
{
	static const struct {
		const char *name;
		unsigned flags;
	} ways[] = {
		{ "shared", AGENT_MOUNT_SHARED },
		{ "slave", AGENT_MOUNT_SLAVE },
		{ "private", AGENT_MOUNT_PRIVATE },
		{ "unbindable", AGENT_MOUNT_UNBINDABLE },
	};
	const char *name = c->config->rootfs_propagation;
	bool recursive = name && *name == 'r';

	for (unsigned i = 0; name && i < ARRAY_SIZE(ways); i++)
		if (!strcmp(name + recursive, ways[i].name))
			add(c, "none", "", "/")->flags =
				ways[i].flags | (recursive ? AGENT_MOUNT_RECURSIVE : 0);
}

int mounts_tell(struct container *c, struct error *err)
{
	const struct oci_config *o = c->config;
	size_t n = o->mounts + 2 * o->masked_paths.count + o->readonly_paths.count + 2;
	const char *tag = c->vm.share[0].tag;
	int r = 0;

	if (n > JOB_MOUNTS_MAX)
		return error_set(err, ERROR_USAGE, E2BIG,
			"mounts: %zu with masked and read-only paths: at most %d", n,
			JOB_MOUNTS_MAX);
	c->job_config.standard = (has_dev(c) ? 0 : AGENT_STANDARD_DEV) |
				 (o->resources.no_terminals ? AGENT_STANDARD_NO_TERMINALS : 0);
	for (size_t i = 0; i < o->mounts && r == 0; i++)
		r = tell_one(c, i, tag, err);
	if (r == 0)
		r = tell_devices(c, err);
	c->job_config.sockets = c->sockets.count;
	c->job_config.socket = c->sockets.socket;
	for (size_t i = 0; i < o->readonly_paths.count; i++)
		add(c, "bind", o->readonly_paths.list[i], o->readonly_paths.list[i])->flags =
			AGENT_MOUNT_TRY | AGENT_MOUNT_READ_ONLY | AGENT_MOUNT_RECURSIVE;
	for (size_t i = 0; i < o->masked_paths.count; i++)
		mask(c, o->masked_paths.list[i]);
	/* Made while the root still takes writes. */
	if (o->process.cwd[1])
		add(c, "none", "", o->process.cwd)->flags = AGENT_MOUNT_TRY;
	tell_propagation(c);
	return r;
}
