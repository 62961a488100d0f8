#include "oci/userns.h"

#include "util/cleanup.h"
#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The kernel takes the ranges in one write, which must be shorter than a page. */
enum { MAP_TEXT_MAX = 4096 };

static const struct {
	enum oci_namespace kind;
	int flag;
	const char *file;
} owned[] = {
	{ OCI_NS_NETWORK, CLONE_NEWNET, "net" },
	{ OCI_NS_IPC, CLONE_NEWIPC, "ipc" },
	{ OCI_NS_UTS, CLONE_NEWUTS, "uts" },
};

bool userns_host_root(void)
{
	_cleanup_fclose_ FILE *f = NULL;
	unsigned long long inside, outside, count;

	if (geteuid())
		return false;
	f = fopen("/proc/self/uid_map", "re");
	return !f || fscanf(f, "%llu %llu %llu", &inside, &outside, &count) != 3 ||
	       (!inside && !outside && count == UINT32_MAX);
}

int userns_check_rights(struct error *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	if (syscall(SYS_capget, &header, data) == 0 && data[0].effective >> CAP_SYS_ADMIN & 1)
		return 0;
	return error_set(err, ERROR_HOST, EPERM,
		"namespaces and mounts need root, or root of a user namespace: podman makes one for "
		"its user; by hand, `podman unshare` or `unshare --map-auto --map-root-user --mount`");
}

static bool is_own(int fd)
{
	struct stat it, own;

	return fstat(fd, &it) == 0 && stat("/proc/self/ns/user", &own) == 0 &&
	       it.st_ino == own.st_ino && it.st_dev == own.st_dev;
}

static bool is_new(const struct oci_config *config, enum oci_namespace kind)
{
	return config->ns[kind].present && !config->ns[kind].path;
}

/* ---- the helper: a process that only is, in these namespaces, until its socket closes ---- */

static int make_all(const struct oci_config *config, int joined)
{
	int flags = joined < 0 ? CLONE_NEWUSER : 0;

	for (unsigned i = 0; i < ARRAY_SIZE(owned); i++)
		flags |= is_new(config, owned[i].kind) ? owned[i].flag : 0;
	if (joined >= 0 && setns(joined, CLONE_NEWUSER) < 0)
		return errno;
	return unshare(flags) < 0 ? errno : 0;
}

static void __attribute__((noreturn)) help(const struct oci_config *config, int joined, int sync)
{
	int error = make_all(config, joined);
	char byte;

	if (send(sync, &error, sizeof(error), MSG_NOSIGNAL) == sizeof(error) && !error)
		(void)!recv(sync, &byte, 1, 0); /* until nobody is there */
	_exit(0);
}

static int explain(const char *path, int error, struct error *err)
{
	errno = error;
	if (path)
		return error_set(err, ERROR_HOST, error,
			"linux.namespaces: cannot join the user namespace %s: %m", path);
	if (error == ENOSPC || error == EUSERS)
		return error_set(err, ERROR_HOST, error,
			"linux.namespaces: cannot make a user namespace: there are as many as this "
			"host allows: see the sysctl user.max_user_namespaces");
	if (error == EPERM)
		return error_set(err, ERROR_HOST, error,
			"linux.namespaces: cannot make a user namespace: %m: see the sysctl "
			"kernel.unprivileged_userns_clone, or run as root");
	return error_set(
		err, ERROR_HOST, error, "linux.namespaces: cannot make a user namespace: %m");
}

/* ---- create's side ---- */

static int format_map(char text[MAP_TEXT_MAX], const struct oci_id_map *map, size_t count)
{
	size_t len = 0;

	for (size_t i = 0; i < count; i++) {
		len += (size_t)snprintf(text + len, MAP_TEXT_MAX - len, "%u %u %u\n",
			map[i].container, map[i].host, map[i].size);
		if (len >= MAP_TEXT_MAX)
			return -E2BIG;
	}
	return (int)len;
}

static int write_map(pid_t pid, const char *file, const char *key, const struct oci_id_map *map,
	size_t count, struct error *err)
{
	char text[MAP_TEXT_MAX], path[64];
	_cleanup_close_ int fd = -1;
	int len = format_map(text, map, count);

	if (len < 0)
		return error_set(err, ERROR_USAGE, -len,
			"linux.%s: %zu ranges are more than the kernel takes", key, count);
	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, text, (size_t)len) == len)
		return 0;
	if (fd >= 0 && errno == EPERM)
		return error_set(err, ERROR_HOST, EPERM,
			"linux.%s: the kernel refuses the ranges: ids of the host that this user "
			"has not got (/proc/self/%s says which there are)",
			key, file);
	return error_set(err, ERROR_HOST, errno, "linux.%s: cannot be set: %m", key);
}

static int open_one(int *fd, pid_t pid, const char *file, struct error *err)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, file);
	*fd = open(path, O_RDONLY | O_CLOEXEC);
	return *fd < 0 ? error_set(err, ERROR_HOST, errno, "linux.namespaces: %s: %m", path) : 0;
}

/* Which id of ours its root is. */
static int find_root(uint32_t *id, pid_t pid, const char *file, struct error *err)
{
	unsigned long inside, outside, count;
	_cleanup_fclose_ FILE *f = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	f = fopen(path, "re");
	while (f && fscanf(f, "%lu %lu %lu", &inside, &outside, &count) == 3) {
		if (inside || outside == UINT32_MAX)
			continue;
		*id = (uint32_t)outside;
		return 0;
	}
	return error_set(err, ERROR_USAGE, EINVAL,
		"linux.namespaces: the user namespace has no root that is known here: its %s does not "
		"map 0, which the machine's process is to be",
		file);
}

/* While the helper @pid is there. */
static int take_all(struct userns *u, const struct oci_config *config, pid_t pid, struct error *err)
{
	bool joined = u->fd[OCI_NS_USER] >= 0;
	int r = 0;

	if (!joined)
		r = write_map(
			pid, "uid_map", "uidMappings", config->uid_map, config->uid_maps, err);
	if (!joined && r == 0)
		r = write_map(
			pid, "gid_map", "gidMappings", config->gid_map, config->gid_maps, err);
	if (r == 0)
		r = find_root(&u->uid, pid, "uid_map", err);
	if (r == 0)
		r = find_root(&u->gid, pid, "gid_map", err);
	if (!joined && r == 0)
		r = open_one(&u->fd[OCI_NS_USER], pid, "user", err);
	for (unsigned i = 0; i < ARRAY_SIZE(owned) && r == 0; i++)
		if (is_new(config, owned[i].kind))
			r = open_one(&u->fd[owned[i].kind], pid, owned[i].file, err);
	return r;
}

static int use_helper(struct userns *u, const struct oci_config *config, struct error *err)
{
	int pair[2], error = EIO, r = 0;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(err, ERROR_HOST, errno, "cannot make a pair of sockets: %m");
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		help(config, u->fd[OCI_NS_USER], pair[1]);
	}
	close(pair[1]);
	if (pid < 0)
		r = error_set(err, ERROR_HOST, errno, "cannot fork: %m");
	while (r == 0 && recv(pair[0], &error, sizeof(error), 0) < 0 && errno == EINTR)
		;
	if (r == 0 && error)
		r = explain(config->ns[OCI_NS_USER].path, error, err);
	if (r == 0)
		r = take_all(u, config, pid, err);
	close(pair[0]); /* which ends it */
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return r;
}

int userns_open(struct userns *u, const struct oci_config *config, struct error *err)
{
	const char *path = config->ns[OCI_NS_USER].path;
	int fd = -1, r;

	*u = (struct userns){ 0 };
	for (unsigned i = 0; i < OCI_NAMESPACES; i++)
		u->fd[i] = -1;
	if (!config->ns[OCI_NS_USER].present)
		return 0;
	if (path) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return explain(path, errno, err);
		if (is_own(fd)) {
			close(fd);
			return 0;
		}
	}
	u->fd[OCI_NS_USER] = fd;
	r = use_helper(u, config, err);
	if (r < 0)
		userns_close(u);
	return r;
}

void userns_close(struct userns *u)
{
	for (unsigned i = 0; i < OCI_NAMESPACES; i++) {
		cleanup_close_fd(&u->fd[i]);
		u->fd[i] = -1;
	}
}

/* ---- the container's process ---- */

int userns_enter(const struct userns *u, bool keep_groups, struct error *err)
{
	int fd = u->fd[OCI_NS_USER];

	if (fd >= 0 && setns(fd, CLONE_NEWUSER) < 0)
		return error_set(err, ERROR_HOST, errno,
			"linux.namespaces: cannot enter the user namespace: %m");
	/* Groups are rights to the host's files. Not everybody may give his up; then they stay. */
	if (!keep_groups && setgroups(0, NULL) < 0 && errno != EPERM)
		return error_set(err, ERROR_HOST, errno, "cannot give up our groups: %m");
	if (fd >= 0 && (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0))
		return error_set(err, ERROR_HOST, errno,
			"linux.namespaces: cannot become root of the user namespace: %m: are its "
			"users and groups 0 mapped?");
	return 0;
}
