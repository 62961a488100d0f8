/*
 * Descriptors that the engine passes on to the process (--preserve-fds). A file of the host is shared
 * with the guest as binds are, and the guest opens it in the same way, at the same place. What is no
 * file (a pipe, a socket) cannot be had in another kernel.
 */
#include "oci/container.h"

#include "util/cleanup.h"
#include "util/log.h"
#include "util/macros.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { FIRST = 3 };

/* A device that every kernel has is the guest's own. NULL: it is none of these. */
static const char *device_path(const struct stat *st)
{
	static const char *const paths[] = { [3] = "/dev/null",
		[5] = "/dev/zero",
		[7] = "/dev/full",
		[8] = "/dev/random",
		[9] = "/dev/urandom" };

	if (!S_ISCHR(st->st_mode) || major(st->st_rdev) != 1 ||
		minor(st->st_rdev) >= ARRAY_SIZE(paths))
		return NULL;
	return paths[minor(st->st_rdev)];
}

/* One more than the last that is open, or more: engines may name any number. */
static unsigned end_of_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned end = FIRST;
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		end = MAX(end, (unsigned)strtoul(entry->d_name, NULL, 10) + 1);
	if (dir)
		closedir(dir);
	return dir ? end : (unsigned)getdtablesize();
}

/* Of systemd's sockets (sd_listen_fds(3)): whoever waits at them would wait in vain. */
static void warn_of_listening(void)
{
	const char *count = getenv("LISTEN_FDS");

	if (count && strtol(count, NULL, 10) > 0)
		log_warn("LISTEN_FDS=%s: a socket of the host cannot be passed into a virtual "
			 "machine; the container has none of them",
			count);
}

int descriptors_check(unsigned *which, unsigned count, int own, struct error *err)
{
	const unsigned most = count ? end_of_open() - FIRST : 0;
	struct stat st;

	warn_of_listening();
	*which = 0;
	for (unsigned i = 0; i < MIN(count, most); i++) {
		int fd = (int)(FIRST + i);

		if (fd == own || fstat(fd, &st) < 0)
			continue;
		if (i >= AGENT_DESCRIPTORS_MAX)
			return error_set(err, ERROR_USAGE, E2BIG,
				"--preserve-fds %u: descriptor %d is open, and the last that can be "
				"passed into a virtual machine is %d",
				count, fd, FIRST + AGENT_DESCRIPTORS_MAX - 1);
		if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode) && !device_path(&st))
			return error_set(err, ERROR_USAGE, ENOTSUP,
				"--preserve-fds %u: descriptor %d is no file: a pipe or a socket of "
				"the host cannot be passed into a virtual machine",
				count, fd);
		*which |= 1U << i;
	}
	return 0;
}

/* The file again, by its name, for the descriptor is of a mount in another namespace than ours. */
static int open_again(int fd, const struct stat *st)
{
	_cleanup_close_ int tree = -1;
	char link[64], path[PATH_MAX];
	struct stat found;
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (len < 0)
		return -1;
	path[len] = 0;
	tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0 || fstat(tree, &found) < 0)
		return -1;
	if (found.st_dev != st->st_dev || found.st_ino != st->st_ino) {
		errno = ENOENT;
		return -1;
	}
	return take_fd(&tree);
}

static int share(const struct container *c, int fd, const struct stat *st, const char *name,
	struct error *err)
{
	_cleanup_close_ int tree = open_again(fd, st), place = -1;
	int r;

	if (S_ISDIR(st->st_mode))
		r = mkdirat(c->binds_tree, name, 0700);
	else
		r = place =
			openat(c->binds_tree, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (tree < 0 || r < 0 ||
		move_mount(tree, "", c->binds_tree, name, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return error_set(err, ERROR_HOST, errno,
			"--preserve-fds: descriptor %d cannot be shared with the guest: %m", fd);
	return 0;
}

/* What of it is the guest's to open. */
static int find(const struct container *c, struct agent_descriptor *d, int fd, struct error *err)
{
	const char *device;
	struct stat st;
	char *name;

	if (fstat(fd, &st) < 0)
		return error_set(err, ERROR_HOST, errno, "--preserve-fds: descriptor %d: %m", fd);
	device = device_path(&st);
	if (device) {
		d->file = device;
		return 0;
	}
	if (asprintf(&name, "fd%d", fd) < 0)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	d->source = c->vm.share[0].tag;
	d->file = name; /* for as long as the process lives */
	return share(c, fd, &st, name, err);
}

int descriptors_tell(struct container *c, struct error *err)
{
	for (unsigned i = 0; i < AGENT_DESCRIPTORS_MAX; i++) {
		struct agent_descriptor *d = &c->job_config.descriptor[c->job_config.descriptors];
		int fd = (int)(FIRST + i), r;
		off_t offset;

		if (!(c->preserve_fds >> i & 1))
			continue;
		offset = lseek(fd, 0, SEEK_CUR);
		*d = (struct agent_descriptor){ .number = (unsigned)fd,
			.flags = (unsigned)fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND),
			.offset = offset > 0 ? (uint64_t)offset : 0 };
		r = find(c, d, fd, err);
		if (r < 0)
			return r;
		c->job_config.descriptors++;
		close(fd);
	}
	return 0;
}
