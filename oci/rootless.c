#include "oci/rootless.h"

#include "oci/userns.h"
#include "util/cleanup.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <pwd.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the environment of the command that begins once more, until it has seen it. */
#define MARK "_MICROVM_OCI_USERNS"

enum { RANGES_MAX = 32, FILE_MAX = 1 << 20, DEPTH_MAX = 32 /* of user namespaces; the kernel's */ };

static bool made; /* the namespace that we are in, by us */

/* ---- which ids ---- */

/* NAME:START:COUNT. */
static bool read_line(const char *line, const char *name, unsigned id, struct rootless_range *range)
{
	char number[16];
	size_t len = strcspn(line, ":\n");

	snprintf(number, sizeof(number), "%u", id);
	if (line[len] != ':' || ((len != strlen(name) || memcmp(line, name, len)) &&
					(len != strlen(number) || memcmp(line, number, len))))
		return false;
	return sscanf(line + len + 1, "%llu:%llu", &range->outside, &range->count) == 2 &&
	       range->count && range->count <= UINT32_MAX && range->outside <= UINT32_MAX;
}

unsigned rootless_ranges(
	struct rootless_range *out, unsigned max, const char *text, const char *name, unsigned id)
{
	unsigned count = 0;

	out[count++] = (struct rootless_range){ 0, id, 1 };
	for (; *text && count < max; text += strcspn(text, "\n"), text += *text == '\n') {
		struct rootless_range *next = &out[count];

		if (!read_line(text, name, id, next))
			continue;
		next->inside = out[count - 1].inside + out[count - 1].count;
		count++;
	}
	return count;
}

static char *read_file(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = fd < 0 ? NULL : malloc(FILE_MAX);
	size_t len = 0;
	ssize_t n;

	while (text && len < FILE_MAX - 1 && (n = read(fd, text + len, FILE_MAX - 1 - len)) != 0)
		if (n > 0)
			len += (size_t)n;
		else if (errno != EINTR)
			break;
	if (text)
		text[len] = 0;
	return text;
}

/* Of this user; 1 where he has none but his own. */
static unsigned find_ranges(struct rootless_range *out, const char *path, unsigned id)
{
	const struct passwd *user = getpwuid(getuid());
	_cleanup_free_ char *text = read_file(path);

	return rootless_ranges(out, RANGES_MAX, text ? text : "", user ? user->pw_name : "", id);
}

/* ---- the mapping ---- */

/* newuidmap PID INSIDE OUTSIDE COUNT ..., whose caller must be outside. */
static bool map_by(
	const char *program, pid_t pid, const struct rootless_range *range, unsigned count)
{
	char text[1 + 3 * RANGES_MAX][24], *argv[3 + 3 * RANGES_MAX] = { (char *)program };
	unsigned n = 0;
	int status;
	pid_t child;

	snprintf(text[n++], sizeof(text[0]), "%d", pid);
	for (unsigned i = 0; i < count; i++) {
		snprintf(text[n++], sizeof(text[0]), "%llu", range[i].inside);
		snprintf(text[n++], sizeof(text[0]), "%llu", range[i].outside);
		snprintf(text[n++], sizeof(text[0]), "%llu", range[i].count);
	}
	for (unsigned i = 0; i < n; i++)
		argv[1 + i] = text[i];
	child = fork();
	if (child == 0) {
		execvp(program, argv);
		_exit(127);
	}
	return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

/* In a child that stays outside, once @sync says that there is something to be mapped. */
static void __attribute__((noreturn)) map_from_outside(pid_t pid, int sync)
{
	struct rootless_range uids[RANGES_MAX], gids[RANGES_MAX];
	unsigned nuids = find_ranges(uids, "/etc/subuid", geteuid());
	unsigned ngids = find_ranges(gids, "/etc/subgid", getegid());
	char byte;

	if (recv(sync, &byte, 1, 0) != 1 || nuids < 2 || ngids < 2)
		_exit(1);
	_exit(!map_by("newuidmap", pid, uids, nuids) || !map_by("newgidmap", pid, gids, ngids));
}

static bool write_text(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* Nobody but this user himself; he need ask nobody for that. */
static int map_own(unsigned uid, unsigned gid, struct error *err)
{
	char uids[64], gids[64];

	snprintf(uids, sizeof(uids), "0 %u 1", uid);
	snprintf(gids, sizeof(gids), "0 %u 1", gid);
	if (write_text("/proc/self/uid_map", uids) && write_text("/proc/self/setgroups", "deny") &&
		write_text("/proc/self/gid_map", gids))
		return 0;
	return error_set(err, ERROR_HOST, errno,
		"this user cannot become root of a user namespace: %m: run as root, or see whether "
		"newuidmap (package uidmap) has failed");
}

/* The namespaces, with @helper outside, who hears from us over @sync. */
static int enter_new(pid_t helper, int sync, struct error *err)
{
	unsigned uid = geteuid(), gid = getegid();
	int status = 1;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return error_set(err, ERROR_HOST, errno,
			"a container of an ordinary user needs a user namespace, and this host lets "
			"him make none: %m: see the sysctls user.max_user_namespaces and "
			"kernel.unprivileged_userns_clone, or run as root");
	(void)!send(sync, "m", 1, MSG_NOSIGNAL);
	while (waitpid(helper, &status, 0) < 0 && errno == EINTR)
		;
	if (status && map_own(uid, gid, err) < 0)
		return -EPERM;
	if (status)
		log_debug("no ids but this user's own: see /etc/subuid, /etc/subgid, newuidmap");
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return error_set(err, ERROR_HOST, errno, "cannot set the mounts apart: %m");
	return 0;
}

static int make(struct error *err)
{
	pid_t own = getpid(), helper;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(err, ERROR_HOST, errno, "cannot make a pair of sockets: %m");
	helper = fork();
	if (helper == 0) {
		close(pair[0]);
		map_from_outside(own, pair[1]);
	}
	close(pair[1]);
	r = helper < 0 ? error_set(err, ERROR_HOST, errno, "cannot fork: %m")
		       : enter_new(helper, pair[0], err);
	close(pair[0]);
	while (r < 0 && helper > 0 && waitpid(helper, NULL, 0) < 0 && errno == EINTR)
		;
	return r;
}

/*
 * Executing makes the memory of all that we fork the namespace's: else its root could not look at
 * its own processes, where these are not to be looked at by others.
 */
static int begin_again(struct error *err)
{
	_cleanup_free_ char *text = NULL, **argv = NULL;
	_cleanup_close_ int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	size_t len = 0, count = 0, size = 1 << 22;
	ssize_t n;

	text = calloc(1, size + 1);
	while (text && fd >= 0 && (n = read(fd, text + len, size - len)) > 0)
		len += (size_t)n;
	for (size_t i = 0; i < len; i++)
		count += !text[i];
	argv = calloc(count + 1, sizeof(*argv));
	if (!text || !argv || fd < 0 || len == size)
		return error_set(err, ERROR_HOST, ENOMEM, "cannot begin in the user namespace");
	for (size_t i = 0, at = 0; i < count; i++, at += strlen(text + at) + 1)
		argv[i] = text + at;
	setenv(MARK, "1", 1);
	execv("/proc/self/exe", argv);
	return error_set(err, ERROR_HOST, errno, "cannot begin in the user namespace: %m");
}

int rootless_begin(struct error *err)
{
	int r;

	made |= getenv(MARK) != NULL;
	unsetenv(MARK);
	/* Root who lacks rights has been kept from them by somebody. */
	if (made || geteuid() == 0 || userns_check_rights(NULL) == 0)
		return 0;
	r = make(err);
	return r < 0 ? r : begin_again(err);
}

/* ---- what the configuration says ---- */

static int translate(
	struct oci_id_map *map, size_t count, const char *path, const char *key, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		unsigned long long inside, outside, size;
		_cleanup_fclose_ FILE *f = fopen(path, "re");
		bool found = false;

		while (f && !found && fscanf(f, "%llu %llu %llu", &inside, &outside, &size) == 3)
			found = map[i].host >= outside && map[i].host - outside < size &&
				map[i].size <= size - (map[i].host - outside);
		if (!found)
			return error_set(err, ERROR_USAGE, EPERM,
				"linux.%s: %u of the host's ids from %u on: this user has but his "
				"own, and those that /etc/sub%s says and newuidmap has mapped",
				key, map[i].size, map[i].host, *key == 'u' ? "uid" : "gid");
		map[i].host = (uint32_t)(inside + (map[i].host - outside));
	}
	return 0;
}

int rootless_translate(struct oci_config *config, struct error *err)
{
	int r;

	if (!made || !config->ns[OCI_NS_USER].present || config->ns[OCI_NS_USER].path)
		return 0;
	r = translate(config->uid_map, config->uid_maps, "/proc/self/uid_map", "uidMappings", err);
	return r < 0 ? r
		     : translate(config->gid_map, config->gid_maps, "/proc/self/gid_map",
			       "gidMappings", err);
}

/* ---- a container that runs ---- */

static bool same(int a, int b)
{
	struct stat one, other;

	return fstat(a, &one) == 0 && fstat(b, &other) == 0 && one.st_ino == other.st_ino &&
	       one.st_dev == other.st_dev;
}

/* Of the namespaces that @fd lies in, the one right below our own; -1: it does not. Takes @fd. */
static int below_own(int fd, int own)
{
	for (int i = 0; i < DEPTH_MAX && fd >= 0 && !same(fd, own); i++) {
		int parent = ioctl(fd, NS_GET_PARENT);

		if (parent >= 0 && same(parent, own)) {
			close(parent);
			return fd;
		}
		close(fd);
		fd = parent;
	}
	cleanup_close_fd(&fd);
	return -1;
}

void rootless_join(const struct oci_state *state)
{
	_cleanup_close_ int own = -1, there = -1;
	char path[64];

	if (geteuid() == 0 || oci_state_status(state) == OCI_STOPPED || !state->pid ||
		userns_check_rights(NULL) == 0)
		return;
	snprintf(path, sizeof(path), "/proc/%d/ns/user", state->pid);
	own = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
	there = below_own(open(path, O_RDONLY | O_CLOEXEC), own);
	if (there < 0 || setns(there, CLONE_NEWUSER) < 0)
		log_debug("container %s: its user namespace cannot be joined: %s", state->id,
			strerror(errno));
}
