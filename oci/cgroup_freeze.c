/*
 * Pausing a group.
 */
#include "oci/cgroup_internal.h"

#include "util/cleanup.h"
#include "util/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { FREEZE_WAIT_MS = 10000, PF_KTHREAD = 0x00200000 /* of linux/sched.h, in the kernel */ };

/* proc_pid_stat(5): PID (NAME) STATE PPID PGRP SESSION TTY TPGID FLAGS */
static bool is_kernel_thread(long pid)
{
	char path[64], text[512], *behind;
	_cleanup_close_ int fd = -1;
	unsigned flags;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return false;
	text[n] = 0;
	behind = strrchr(text, ')');
	return behind && sscanf(behind + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) == 1 &&
	       flags & PF_KTHREAD;
}

/*
 * KVM of Linux before 6.13 puts a thread of the kernel's into the group of a machine's maker. It is
 * never frozen, so the group never would be. It does nothing that would have to be accounted: where
 * we may, it goes to the root of all groups.
 */
static void move_kernel_threads(const struct oci_cgroup *cgroup)
{
	_cleanup_close_ int root = -1;
	char path[PATH_MAX], text[4096], *at = text, *end;

	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup->root);
	root = open(path, O_WRONLY | O_CLOEXEC);
	if (root < 0 || cgroup_read(cgroup, "cgroup.procs", text, sizeof(text)) < 0)
		return;
	for (long pid = strtol(at, &end, 10); end > at; at = end, pid = strtol(at, &end, 10))
		if (is_kernel_thread(pid))
			dprintf(root, "%ld", pid);
}

/* Write @state to cgroup.freeze, and wait until cgroup.events says the same. */
static int set_frozen(struct oci_cgroup *cgroup, unsigned state)
{
	_cleanup_close_ int fd = openat(cgroup->dir, "cgroup.events", O_RDONLY | O_CLOEXEC);
	int64_t end = now_ms() + FREEZE_WAIT_MS;
	int r;

	if (state)
		move_kernel_threads(cgroup);
	r = fd < 0 ? -errno : cgroup_write(cgroup, "cgroup.freeze", state ? "1" : "0");

	while (r == 0) {
		struct pollfd changed = { .fd = fd, .events = POLLPRI };
		char text[256];
		ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
		uint64_t is;

		if (n < 0)
			return -errno;
		text[n] = 0;
		if (!cgroup_number(text, "frozen", &is))
			return -EOPNOTSUPP;
		if (is == state)
			return 0;
		if (now_ms() > end)
			r = -ETIMEDOUT;
		else
			poll(&changed, 1, 100);
	}
	return r;
}

static int freeze_error(struct oci_cgroup *cgroup, const char *what, int r, struct error *err)
{
	if (r == 0)
		return 0;
	errno = -r;
	if (cgroup->dir < 0)
		return error_set(err, ERROR_HOST, EOPNOTSUPP,
			"the container has no control group, by which it is %s", what);
	return error_set(
		err, ERROR_HOST, -r, "the group \"%s\" cannot be %s: %m", cgroup->path, what);
}

int oci_cgroup_freeze(struct oci_cgroup *cgroup, struct error *err)
{
	int r = set_frozen(cgroup, 1);

	if (r < 0)
		(void)cgroup_write(cgroup, "cgroup.freeze", "0");
	return freeze_error(cgroup, "paused", r, err);
}

int oci_cgroup_thaw(struct oci_cgroup *cgroup, struct error *err)
{
	return freeze_error(cgroup, "resumed", set_frozen(cgroup, 0), err);
}
