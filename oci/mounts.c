/*
 * Mounts. What comes from the host goes into the machine as two shares: the root file system, and one
 * tree in which every bind mount of the configuration stands as a directory or file N. So the number
 * of binds costs no devices, and one that is read-only is so for the host's kernel already. What is
 * no bind (proc, sysfs, tmpfs ...) the guest mounts itself.
 *
 * That tree is the root of our mount namespace, and the container's root is mounted over it: so it
 * is nowhere to be seen, and is in the namespace, where what the host mounts and unmounts below the
 * source of a slave reaches it.
 */
#include "oci/container.h"

#include "util/cleanup.h"
#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char *source_path(const struct container *c, const struct oci_mount *m)
{
	char *path;

	if (m->source[0] == '/')
		return strdup(m->source);
	return asprintf(&path, "%s/%s", c->bundle, m->source) < 0 ? NULL : path;
}

static int bind_failed(const struct oci_mount *m, const char *path, struct error *err)
{
	return error_set(err, ERROR_HOST, errno, "mounts: %s: cannot bind %s: %m", m->destination,
		path ? path : m->source);
}

/* What of @path is below @dir, or NULL. */
static const char *part_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	return len > 1 && !strncmp(path, dir, len) && path[len] == '/' ? path + len + 1 : NULL;
}

/* A directory @name in @at, if there is none, of the container's root. */
static void make_dir(const struct container *c, int at, const char *name)
{
	if (mkdirat(at, name, 0755) == 0)
		(void)!fchownat(at, name, c->userns->uid, c->userns->gid, AT_SYMLINK_NOFOLLOW);
}

/* Make @path below @dir, as a file or a directory. What cannot be made, the guest will tell of. */
static void make_point(const struct container *c, int dir, const char *path, bool file)
{
	_cleanup_close_ int at = fcntl(dir, F_DUPFD_CLOEXEC, 0);
	char part[NAME_MAX + 1];

	for (const char *slash; at >= 0 && (slash = strchr(path, '/')); path = slash + 1) {
		_cleanup_close_ int next = -1;

		if ((size_t)(slash - path) >= sizeof(part))
			return;
		memcpy(part, path, (size_t)(slash - path));
		part[slash - path] = 0;
		make_dir(c, at, part);
		next = openat(at, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		close(at);
		at = take_fd(&next);
	}
	if (at >= 0 && !file) {
		make_dir(c, at, path);
	} else if (at >= 0) {
		int fd = openat(
			at, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);

		if (fd >= 0) {
			(void)!fchown(fd, c->userns->uid, c->userns->gid);
			close(fd);
		}
	}
}

/* What else is mounted below @m: once it is read-only, nobody can make places for that. */
static void make_points(const struct container *c, const struct oci_mount *m, int tree)
{
	for (size_t i = 0; i < c->config->mounts; i++) {
		const struct oci_mount *other = &c->config->mount[i];
		const char *rest = part_below(other->destination, m->destination);

		if (rest)
			make_point(c, tree, rest, other->bind && other->file);
	}
}

/* As a whole: a slave of the host's mount, if it has peers there, or not. */
static int set_apart(const struct oci_mount *m, int tree)
{
	struct mount_attr alone = { .propagation = MS_PRIVATE };

	if (m->propagation & MS_SLAVE)
		return 0; /* as all of our namespace is */
	return mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &alone, sizeof(alone));
}

/* Mount @m's source at @dir/@name. */
static int bind_one(const struct container *c, const struct oci_mount *m, int dir, const char *name,
	struct error *err)
{
	_cleanup_free_ char *path = source_path(c, m);
	_cleanup_close_ int tree = -1;
	unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (m->recursive ? AT_RECURSIVE : 0);
	struct mount_attr ro = { .attr_set = MOUNT_ATTR_RDONLY };
	struct stat st;
	int r;

	if (!path || stat(path, &st) < 0)
		return bind_failed(m, path, err);
	tree = open_tree(AT_FDCWD, path, flags);
	if (tree < 0 || set_apart(m, tree) < 0)
		return bind_failed(m, path, err);
	if (m->read_only && S_ISDIR(st.st_mode))
		make_points(c, m, tree);
	if (m->read_only &&
		mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &ro, sizeof(ro)) < 0)
		return bind_failed(m, path, err);
	if (S_ISDIR(st.st_mode)) {
		r = mkdirat(dir, name, 0700);
	} else {
		r = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (r >= 0)
			close(r);
	}
	if (r < 0 || move_mount(tree, "", dir, name, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return bind_failed(m, path, err);
	return 0;
}

/* @data of a mount, and linux.mountLabel. To be freed; NULL: no memory. */
static char *labelled(const struct container *c, const char *data)
{
	const char *label = c->config->mount_label;
	char *both;

	if (!label || access("/sys/fs/selinux/enforce", F_OK) < 0)
		return strdup(data);
	return asprintf(&both, "%s%scontext=\"%s\"", data, *data ? "," : "", label) < 0 ? NULL
											: both;
}

/* What only the host's kernel can mount, such as an overlay of directories of the host's. */
static int mount_one(const struct container *c, const struct oci_mount *m, int dir,
	const char *name, struct error *err)
{
	_cleanup_free_ char *data = labelled(c, m->data);
	char path[MOUNTS_NAME_MAX + 32];

	if (!data || mkdirat(dir, name, 0700) < 0)
		return bind_failed(m, NULL, err);
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
	if (mount(m->source, path, m->type, m->read_only ? MS_RDONLY : 0, data) < 0)
		return error_set(err, ERROR_HOST, errno, "mounts: %s: cannot mount %s: %m",
			m->destination, m->type);
	return 0;
}

/* An empty directory for the binds, in memory; nothing of it is on a disk. */
static int open_stage(const struct container *c, struct error *err)
{
	_cleanup_free_ char *data = labelled(c, "mode=755,size=1m");
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s/binds", c->state->root, c->state->id);
	/* Unbindable: it is no part of a bind of what it happens to be mounted in. */
	if (!data || (mkdir(path, 0700) < 0 && errno != EEXIST) ||
		mount("tmpfs", path, "tmpfs", 0, data) < 0 ||
		mount(NULL, path, NULL, MS_UNBINDABLE, NULL) < 0)
		return error_set(err, ERROR_HOST, errno, "cannot prepare %s: %m", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? error_set(err, ERROR_HOST, errno, "cannot open %s: %m", path) : fd;
}

/* A socket is no file that could be shared: who connects to it in the guest is connected to it. */
static int add_socket(struct container *c, const struct oci_mount *m, struct error *err)
{
	_cleanup_free_ char *path = source_path(c, m);
	int r;

	if (!path)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	r = job_sockets_add(&c->sockets, path, m->destination, &c->vm.vsock, err);
	if (r < 0)
		error_prefix(err, "mounts");
	return r;
}

int mounts_collect(struct container *c, struct error *err)
{
	char name[MOUNTS_NAME_MAX], number[24];
	int r = 0;

	c->binds_tree = open_stage(c, err);
	if (c->binds_tree < 0)
		return c->binds_tree;
	for (size_t i = 0; i < c->config->mounts && r == 0; i++) {
		const struct oci_mount *m = &c->config->mount[i];

		if (m->socket)
			r = add_socket(c, m, err);
		if (!mounts_is_shared(c, m))
			continue;
		mounts_name(m, i, name);
		snprintf(number, sizeof(number), "%zu", i);
		/* The guest's files are served by the container's root. */
		if (mkdirat(c->binds_tree, number, 0700) < 0 ||
			fchownat(c->binds_tree, number, c->userns->uid, c->userns->gid,
				AT_SYMLINK_NOFOLLOW) < 0)
			return bind_failed(m, NULL, err);
		r = m->on_host ? mount_one(c, m, c->binds_tree, name, err)
			       : bind_one(c, m, c->binds_tree, name, err);
	}
	return r;
}

/* ---- our own root ---- */

/* The place of mount @m below @root, made where there is none. */
static int open_place(const struct container *c, int root, const struct oci_mount *m)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	int fd = (int)syscall(SYS_openat2, root, m->destination, &how, sizeof(how));

	if (fd >= 0 || errno != ENOENT || m->destination[0] != '/')
		return fd;
	make_point(c, root, m->destination + 1, m->bind && m->file);
	return (int)syscall(SYS_openat2, root, m->destination, &how, sizeof(how));
}

static bool is_below(const char *path, const char *dir)
{
	return !strcmp(path, dir) || part_below(path, dir);
}

/* Mount once more what is bind @i. */
static void show_bind(const struct container *c, size_t i, int place)
{
	_cleanup_close_ int tree = -1;
	char name[MOUNTS_NAME_MAX];

	mounts_name(&c->config->mount[i], i, name);
	tree = open_tree(c->binds_tree, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (tree >= 0)
		move_mount(tree, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

/*
 * Engines copy files (podman cp) in our mount namespace, so what is mounted in the guest stands here
 * as well. What is in the guest's own memory cannot: there nobody shall write by mistake. Whatever
 * fails is only missed by such a copy.
 */
static void show_mounts(const struct container *c, int root)
{
	char path[64];

	for (size_t i = 0; i < c->config->mounts; i++) {
		const struct oci_mount *m = &c->config->mount[i];
		_cleanup_close_ int place = -1;

		if (is_below(m->destination, "/proc") || is_below(m->destination, "/sys"))
			continue;
		place = open_place(c, root, m);
		if (place >= 0 && mounts_is_shared(c, m))
			show_bind(c, i, place);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", place);
		if (place >= 0 && !strcmp(m->type, "tmpfs") && !m->bind)
			mount("tmpfs", path, "tmpfs", MS_RDONLY, "size=4k");
	}
}

/*
 * For whoever looks for processes by our pid, and for ourselves. What an image has in the place of the
 * directory (a link to somewhere) stays as it is, and there is none.
 */
static void mount_proc(const struct container *c)
{
	_cleanup_close_ int place = -1;
	char path[32];

	make_dir(c, AT_FDCWD, "proc");
	place = open("proc", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", place);
	if (place >= 0)
		(void)mount("proc", path, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

int mounts_pivot(const struct container *c, struct error *err)
{
	const char *path = c->rootfs;
	_cleanup_close_ int root = -1;

	if (c->mounts_home >= 0) {
		/* Never closed: the binds are in that namespace, which lasts as long as this. */
		if (open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC) < 0 ||
			setns(c->mounts_home, CLONE_NEWNS) < 0 || chroot(path) < 0 ||
			chdir("/") < 0)
			return error_set(
				err, ERROR_HOST, errno, "root.path: cannot move to %s: %m", path);
		return 0;
	}
	if (mount(path, path, NULL, MS_BIND | MS_REC, NULL) < 0 || chdir(path) < 0)
		return error_set(err, ERROR_HOST, errno, "root.path: %s: %m", path);
	mount_proc(c);
	root = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	show_mounts(c, root);
	/* Over the binds, then both of them to the bottom: the old root lies on top, and goes. */
	if (move_mount(root, "", c->binds_tree, "",
		    MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0 ||
		fchdir(c->binds_tree) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
		umount2(".", MNT_DETACH) < 0 || fchdir(root) < 0 || chroot(".") < 0)
		return error_set(err, ERROR_HOST, errno, "root.path: cannot move to %s: %m", path);
	return 0;
}
