#include "oci/config_check.h"

#include "job/sockets.h"
#include "oci/config_internal.h"
#include "util/cleanup.h"
#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define USUAL_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum { LINKS_MAX = 40 };

/* The container's tree as it will be: the root, with the first @mounts of the mounts over it. */
struct tree {
	const struct oci_config *config;
	int rootfs_fd;
	size_t mounts;
	char **target; /* of each mount: its destination, with the tree's symbolic links followed */
};

/* Whether @path is @dir or below; then *@rest is what follows it, without a slash. */
static bool is_in(const char *path, const char *dir, const char **rest)
{
	size_t len = strlen(dir);

	if (strncmp(path, dir, len) || (path[len] && path[len] != '/'))
		return false;
	*rest = path + len + (path[len] == '/');
	return true;
}

static int open_below(int dir, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
	};
	int fd = *path ? (int)syscall(SYS_openat2, dir, path, &how, sizeof(how))
		       : fcntl(dir, F_DUPFD_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

/* Something is mounted below @path, so that a directory is made there if there is none. */
static bool leads_to_mount(const struct tree *tree, const char *path)
{
	const char *rest;

	for (size_t i = 0; i < tree->mounts; i++)
		if (is_in(tree->target[i], path, &rest))
			return true;
	return false;
}

/*
 * What stands at @path, whose directories are no symbolic links: an O_PATH descriptor, -ENOENT,
 * -EISDIR for a directory that is not there yet, or -EAGAIN: only the guest knows.
 */
static int look_at(const struct tree *tree, const char *path)
{
	const char *rest = path + 1, *below;
	_cleanup_close_ int source = -1;
	int base = tree->rootfs_fd, fd;

	/* The last that was mounted is on top. */
	for (size_t i = tree->mounts; i-- > 0;) {
		const struct oci_mount *mount = &tree->config->mount[i];

		if (!is_in(path, tree->target[i], &below))
			continue;
		if (!mount->bind)
			return *below ? -EAGAIN : -EISDIR;
		source = *mount->source == '/' ? open(mount->source, O_PATH | O_CLOEXEC) : -1;
		if (source < 0)
			return -EAGAIN;
		base = source;
		rest = below;
		break;
	}
	fd = open_below(base, rest);
	if (fd == -ENOENT || fd == -ENOTDIR)
		return leads_to_mount(tree, path) ? -EISDIR : -ENOENT;
	return fd < 0 ? -EAGAIN : fd;
}

/* A way through the tree: what was gone (without symbolic links), and what is still to go. */
struct walk {
	char at[PATH_MAX], todo[PATH_MAX];
	unsigned links;
};

static void step_up(char *at)
{
	char *slash = strrchr(at, '/');

	if (slash)
		*slash = 0;
}

/* Put the symbolic link @fd in the place of what was gone last. */
static int follow(struct walk *walk, int fd)
{
	char target[PATH_MAX], more[2 * PATH_MAX];
	ssize_t len = readlinkat(fd, "", target, sizeof(target) - 1);

	if (len < 0)
		return -EAGAIN;
	if (walk->links++ == LINKS_MAX)
		return -ELOOP;
	target[len] = 0;
	snprintf(more, sizeof(more), "%s/%s", target, walk->todo);
	if (strlen(more) >= sizeof(walk->todo))
		return -ENAMETOOLONG;
	strcpy(walk->todo, more);
	if (*target == '/')
		walk->at[0] = 0;
	else
		step_up(walk->at);
	return 0;
}

/* One part of the way further. 1: *@st is of what stands there; 0: a directory, maybe not there yet. */
static int step(const struct tree *tree, struct walk *walk, struct stat *st)
{
	size_t skip = strspn(walk->todo, "/"), len = strcspn(walk->todo + skip, "/");
	_cleanup_close_ int fd = -1;
	char part[NAME_MAX + 1];

	if (len > NAME_MAX || strlen(walk->at) + len + 2 > sizeof(walk->at))
		return -ENAMETOOLONG;
	memcpy(part, walk->todo + skip, len);
	part[len] = 0;
	memmove(walk->todo, walk->todo + skip + len, strlen(walk->todo + skip + len) + 1);
	if (!len || !strcmp(part, "."))
		return 0;
	if (!strcmp(part, "..")) {
		step_up(walk->at);
		return 0;
	}
	strcat(strcat(walk->at, "/"), part);
	fd = look_at(tree, walk->at);
	if (fd == -EISDIR)
		st->st_mode = S_IFDIR | 0755;
	else if (fd < 0)
		return fd;
	else if (fstat(fd, st) < 0)
		return -EAGAIN;
	if (S_ISLNK(st->st_mode))
		return follow(walk, fd);
	if (!S_ISDIR(st->st_mode) && walk->todo[strspn(walk->todo, "/")])
		return -ENOTDIR;
	return S_ISDIR(st->st_mode) ? 0 : 1;
}

/* Go to @path: 0 with *@st, or -ENOENT, -ENOTDIR, -ELOOP, -ENAMETOOLONG, -EAGAIN (cannot be told). */
static int go(const struct tree *tree, struct walk *walk, const char *path, struct stat *st)
{
	int r = 0;

	*walk = (struct walk){ 0 };
	*st = (struct stat){ .st_mode = S_IFDIR | 0755 };
	if (strlen(path) >= sizeof(walk->todo))
		return -ENAMETOOLONG;
	strcpy(walk->todo, path);
	while (r >= 0 && walk->todo[strspn(walk->todo, "/")]) {
		r = step(tree, walk, st);
		if (r == 0)
			st->st_mode = S_IFDIR | 0755;
	}
	return MIN(r, 0);
}

/* Mounts are made in their order, each in the tree that those before it have made. */
static int place_mounts(struct tree *tree)
{
	size_t count = tree->config->mounts;

	tree->target = calloc(count + 1, sizeof(*tree->target));
	if (!tree->target)
		return -ENOMEM;
	for (; tree->mounts < count; tree->mounts++) {
		const char *rest;
		struct walk walk;
		struct stat st;
		size_t len;

		go(tree, &walk, tree->config->mount[tree->mounts].destination, &st);
		rest = walk.todo + strspn(walk.todo, "/");
		for (len = strlen(rest); len && rest[len - 1] == '/'; len--)
			;
		if (asprintf(&tree->target[tree->mounts], "%s%s%.*s", walk.at, len ? "/" : "",
			    (int)len, rest) < 0) {
			tree->target[tree->mounts] = NULL;
			return -ENOMEM;
		}
	}
	return 0;
}

static int check_file(const struct tree *tree, const char *path)
{
	struct walk walk;
	struct stat st;
	int r = go(tree, &walk, path, &st);

	if (r == -EAGAIN)
		return 0;
	if (r < 0)
		return r;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	return S_ISREG(st.st_mode) && (st.st_mode & 0111) ? 0 : -EACCES;
}

static const char *path_of(const struct oci_process *process)
{
	for (size_t i = 0; i < process->env.count; i++)
		if (!strncmp(process->env.list[i], "PATH=", 5))
			return process->env.list[i] + 5;
	return USUAL_PATH;
}

/* Join @dir (@len bytes; none: the working directory) and @name. */
static int check_in(const struct tree *tree, const char *dir, size_t len, const char *name)
{
	const char *cwd = tree->config->process.cwd;
	_cleanup_free_ char *path = NULL;

	if (asprintf(&path, "%s/%.*s/%s", len && *dir == '/' ? "" : cwd, (int)len, dir, name) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	return check_file(tree, path);
}

static int search(const struct tree *tree, const char *name, struct error *err)
{
	const char *dir = path_of(&tree->config->process);
	size_t len;

	for (;; dir += len + 1) {
		len = strcspn(dir, ":");
		if (check_in(tree, dir, len, name) == 0)
			return 0;
		if (!dir[len])
			return error_set(err, ERROR_USAGE, ENOENT,
				"exec \"%s\": executable file not found in $PATH", name);
	}
}

static int check(const struct tree *tree, struct error *err)
{
	const char *name = tree->config->process.args.list[0];
	int r;

	if (!*name)
		return error_set(
			err, ERROR_USAGE, ENOENT, "exec \"\": executable file not found in $PATH");
	if (!strchr(name, '/'))
		return search(tree, name, err);
	r = *name == '/' ? check_file(tree, name) : check_in(tree, "", 0, name);
	switch (r) {
	case 0:
		return 0;
	case -ENOENT:
		return error_set(
			err, ERROR_USAGE, ENOENT, "exec \"%s\": no such file or directory", name);
	case -EISDIR:
		return error_set(err, ERROR_USAGE, EACCES,
			"exec \"%s\": permission denied: it is a directory", name);
	case -EACCES:
		return error_set(err, ERROR_USAGE, EACCES,
			"exec \"%s\": permission denied: it is not executable", name);
	default:
		return error_set(err, ERROR_USAGE, -r, "exec \"%s\": %s", name, strerror(-r));
	}
}

int oci_check_devices(const struct oci_config *config, struct error *err)
{
	for (size_t i = 0; i < config->devices; i++) {
		const struct oci_device *device = &config->device[i];
		char path[64];

		snprintf(path, sizeof(path), "/sys/dev/%s/%lld:%lld",
			device->type == 'b' ? "block" : "char", (long long)device->major,
			(long long)device->minor);
		if (device->type == 'p' || oci_device_guest_path(device) || access(path, F_OK) < 0)
			continue;
		return error_set(err, ERROR_USAGE, ENODEV,
			"config.json: linux.devices[%zu].path: %s: a device of the host cannot be "
			"passed into a machine",
			i, device->path);
	}
	return 0;
}

static void free_tree(struct tree *tree)
{
	for (size_t i = 0; tree->target && i < tree->config->mounts; i++)
		free(tree->target[i]);
	free(tree->target);
}

int oci_resolve_mounts(struct oci_config *config, int rootfs_fd, struct error *err)
{
	struct tree tree = { .config = config, .rootfs_fd = rootfs_fd };
	struct cfg cfg = {
		.name = "config.json",
		.err = err,
		.memory = json_object_get_userdata(config->json),
	};
	int r = place_mounts(&tree);

	if (r < 0)
		error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	for (size_t i = 0; r == 0 && i < config->mounts; i++) {
		const char *place = *tree.target[i] ? cfg_clean_path(&cfg, tree.target[i]) : NULL;

		if (place)
			config->mount[i].destination = place;
		else if (*tree.target[i])
			r = -ENOMEM;
	}
	free_tree(&tree);
	return r;
}

int oci_check_command(const struct oci_config *config, int rootfs_fd, struct error *err)
{
	struct tree tree = { .config = config, .rootfs_fd = rootfs_fd };
	int r;

	if (!config->process.args.count)
		return error_set(err, ERROR_USAGE, EINVAL, "process.args: there is nothing to run");
	r = place_mounts(&tree);
	r = r < 0 ? error_set(err, ERROR_HOST, ENOMEM, "out of memory") : check(&tree, err);
	free_tree(&tree);
	return r;
}

/*
 * --privileged lists all that the host has: as devices, with rules that allow all; or, without root,
 * where there are no rules, as mounts.
 */
static bool is_privileged(const struct oci_config *config)
{
	for (size_t i = 0; i < config->annotations.count; i++)
		if (!strcmp(config->annotations.list[i].key, "io.podman.annotations.privileged"))
			return !strcmp(config->annotations.list[i].value, "TRUE");
	return false;
}

/* Move the device at the end of mount @i's path among the devices. */
static int make_device(struct cfg *cfg, struct oci_config *config, const struct oci_mount *mount,
	const struct stat *st)
{
	struct oci_device device = {
		.path = mount->destination,
		.type = S_ISCHR(st->st_mode) ? 'c' : 'b',
		.major = major(st->st_rdev),
		.minor = minor(st->st_rdev),
		.has_mode = true,
		.mode = st->st_mode & 07777,
		.uid = st->st_uid,
		.gid = st->st_gid,
	};
	struct oci_device *more;

	if (!oci_device_guest_path(&device)) {
		if (config->resources.all_devices || is_privileged(config))
			return 0;
		return cfg_fail(cfg, "source",
			"%s: a device of the host cannot be passed into a machine", mount->source);
	}
	more = cfg_alloc(cfg, config->devices + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	if (config->devices)
		memcpy(more, config->device, config->devices * sizeof(*more));
	more[config->devices++] = device;
	config->device = more;
	return 0;
}

/* 1: the mount stays. 0: it does not, and is a device. */
static int check_source(
	struct cfg *cfg, struct oci_config *config, struct oci_mount *mount, int bundle_fd)
{
	struct stat st;
	int r;

	if (!mount->bind)
		return 1;
	if (fstatat(bundle_fd, mount->source, &st, 0) < 0) {
		r = -errno;
		/* In the words that engines look for. */
		error_set(cfg->err, ERROR_USAGE, -r, "%s: %s.source: %s: %s", cfg->name, cfg->where,
			mount->source, r == -ENOENT ? "no such file or directory" : strerror(-r));
		return r;
	}
	if (S_ISSOCK(st.st_mode)) {
		_cleanup_close_ int fd = openat(bundle_fd, mount->source, O_PATH | O_CLOEXEC);

		if (job_sockets_is_datagram(fd))
			return cfg_fail(cfg, "source",
				"%s: a socket for datagrams: only streams are carried into a "
				"machine",
				mount->source);
		mount->socket = true;
	}
	if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
		return make_device(cfg, config, mount, &st);
	mount->file = !S_ISDIR(st.st_mode);
	return 1;
}

int oci_check_mounts(struct oci_config *config, int bundle_fd, struct error *err)
{
	struct cfg cfg = {
		.name = "config.json",
		.err = err,
		.memory = json_object_get_userdata(config->json),
	};
	size_t kept = 0;

	for (size_t i = 0; i < config->mounts; i++) {
		size_t mark = cfg_enter_item(&cfg, "mounts", i);
		int r = check_source(&cfg, config, &config->mount[i], bundle_fd);

		if (r < 0)
			return r;
		cfg_leave(&cfg, mark);
		if (r)
			config->mount[kept++] = config->mount[i];
	}
	config->mounts = kept;
	return 0;
}
