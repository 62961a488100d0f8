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

int namespaces_before_fork(const struct oci_config *config, struct error *err)
{
	return enter(config, OCI_NS_PID, -1, err);
}

void namespaces_after_fork(void)
{
	_cleanup_close_ int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);

	if (own >= 0)
		setns(own, CLONE_NEWPID);
}

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
