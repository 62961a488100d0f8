/*
 * Namespaces. The guest has its own of everything; these are those of its VMM. The network one
 * matters, for the machine's cards are in it; the others are joined or made as the configuration
 * says, for engines look into them by the pid.
 */
#include "oci/container.h"

#include "util/cleanup.h"
#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
	const char *name;
	int flag;
} kinds[OCI_NAMESPACES] = {
	[OCI_NS_PID] = { "pid", CLONE_NEWPID },
	[OCI_NS_NETWORK] = { "network", CLONE_NEWNET },
	[OCI_NS_MOUNT] = { "mount", CLONE_NEWNS },
	[OCI_NS_IPC] = { "ipc", CLONE_NEWIPC },
	[OCI_NS_UTS] = { "uts", CLONE_NEWUTS },
	[OCI_NS_CGROUP] = { "cgroup", CLONE_NEWCGROUP },
};

/* @made: one that was made for us, or -1. */
static int enter(
	const struct oci_config *config, enum oci_namespace kind, int made, struct error *err)
{
	const char *path = config->ns[kind].path;
	_cleanup_close_ int fd = -1;

	if (!config->ns[kind].present || !kinds[kind].flag)
		return 0;
	if (made >= 0)
		return setns(made, kinds[kind].flag) == 0
			       ? 0
			       : error_set(err, ERROR_HOST, errno,
					 "linux.namespaces: cannot join the new %s namespace: %m",
					 kinds[kind].name);
	if (!path)
		return unshare(kinds[kind].flag) == 0
			       ? 0
			       : error_set(err, ERROR_HOST, errno,
					 "linux.namespaces: cannot make a %s namespace: %m",
					 kinds[kind].name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, kinds[kind].flag) < 0)
		return error_set(err, ERROR_HOST, errno,
			"linux.namespaces: cannot join the %s namespace %s: %m", kinds[kind].name,
			path);
	return 0;
}

/* ---- the fork ---- */

/* What the helper says. */
struct born {
	pid_t pid; /* of the container's process; -1: there is none */
	struct error err;
};

/* Where the container's process waits until the helper is gone, and what the helper says comes. */
struct birth {
	int said[2], gone[2];
};

/* In the helper. Returns in the container's process only. */
static void bear(const struct oci_config *config, const struct birth *b)
{
	struct born born = { -1, { 0 } };
	char byte;

	close(b->said[0]);
	if (enter(config, OCI_NS_PID, -1, &born.err) == 0 && (born.pid = fork()) < 0)
		error_set(&born.err, ERROR_HOST, errno, "cannot fork: %m");
	if (born.pid != 0) {
		(void)!write(b->said[1], &born, sizeof(born));
		_exit(0);
	}
	close(b->said[1]);
	close(b->gone[1]);
	/* From then on our parent is create. */
	while (read(b->gone[0], &byte, 1) < 0 && errno == EINTR)
		;
	close(b->gone[0]);
}

static void await(pid_t helper, struct birth *b, struct born *born)
{
	ssize_t n;

	close(take_fd(&b->said[1]));
	while ((n = read(b->said[0], born, sizeof(*born))) < 0 && errno == EINTR)
		;
	if (n != sizeof(*born)) {
		born->pid = -1;
		error_set(&born->err, ERROR_HOST, EPIPE, "cannot make the container's process");
	}
	while (waitpid(helper, NULL, 0) < 0 && errno == EINTR)
		;
}

static pid_t fork_twice(const struct oci_config *config, struct birth *b, struct error *err)
{
	struct born born = { -1, { 0 } };
	pid_t helper = fork();

	if (helper == 0) {
		bear(config, b);
		return 0;
	}
	if (helper < 0)
		return error_set(err, ERROR_HOST, errno, "cannot fork: %m");
	await(helper, b, &born);
	if (born.pid < 0)
		*err = born.err;
	return born.pid;
}

/*
 * A pid namespace is for children, and in a user namespace there is no way back: our hooks would be
 * in it for good. So it is a helper that goes there and forks; when it is gone, its child is ours.
 */
pid_t namespaces_fork(const struct oci_config *config, struct error *err)
{
	struct birth b;
	int reaper = 0;
	pid_t pid;

	if (!config->ns[OCI_NS_PID].present) {
		pid = fork();
		return pid < 0 ? error_set(err, ERROR_HOST, errno, "cannot fork: %m") : pid;
	}
	if (pipe2(b.said, O_CLOEXEC) < 0)
		return error_set(err, ERROR_HOST, errno, "cannot make a pipe: %m");
	if (pipe2(b.gone, O_CLOEXEC) < 0) {
		close(b.said[0]);
		close(b.said[1]);
		return error_set(err, ERROR_HOST, errno, "cannot make a pipe: %m");
	}
	prctl(PR_GET_CHILD_SUBREAPER, &reaper);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pid = fork_twice(config, &b, err);
	if (pid == 0)
		return 0;
	prctl(PR_SET_CHILD_SUBREAPER, reaper);
	for (unsigned i = 0; i < 2; i++) {
		cleanup_close_fd(&b.said[i]);
		cleanup_close_fd(&b.gone[i]);
	}
	return pid;
}

/* ---- the container's process ---- */

/* One of our own in any case: mounts are made in it that nobody else shall see. */
static int enter_mounts(struct container *c, struct error *err)
{
	const struct oci_config *config = c->config;
	const char *path = config->ns[OCI_NS_MOUNT].path;
	int r = path ? enter(config, OCI_NS_MOUNT, -1, err) : 0;

	if (r < 0)
		return r;
	/* From a user namespace there is no way back into one that others own. */
	if ((path || !config->ns[OCI_NS_MOUNT].present) && !config->ns[OCI_NS_USER].present) {
		c->mounts_home = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
		if (c->mounts_home < 0)
			return error_set(
				err, ERROR_HOST, errno, "cannot open the mount namespace: %m");
	}
	if (unshare(CLONE_NEWNS) < 0)
		return error_set(err, ERROR_HOST, errno, "cannot make a mount namespace: %m");
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return error_set(err, ERROR_HOST, errno, "cannot set the mounts apart: %m");
	return 0;
}

int namespaces_enter(struct container *c, struct error *err)
{
	const struct oci_config *config = c->config;
	static const enum oci_namespace order[] = { OCI_NS_NETWORK, OCI_NS_IPC, OCI_NS_UTS,
		OCI_NS_CGROUP };
	int r = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(order) && r == 0; i++)
		r = enter(config, order[i], c->userns->fd[order[i]], err);
	if (r == 0)
		r = enter_mounts(c, err);
	if (r < 0)
		return r;
	if (config->hostname && config->ns[OCI_NS_UTS].present &&
		sethostname(config->hostname, strlen(config->hostname)) < 0)
		return error_set(err, ERROR_HOST, errno, "hostname: '%s': %m", config->hostname);
	return 0;
}
