#include "oci/beside.h"

#include "oci/cgroup.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FIRST_FD = 3 };

/* Where it is the one that we are in, there may be no right to enter it, and no need. */
static void enter_network(pid_t pid)
{
	struct stat own, theirs;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &theirs) < 0 || stat("/proc/self/ns/net", &own) < 0)
		_exit(1);
	if ((own.st_ino != theirs.st_ino || own.st_dev != theirs.st_dev) &&
		setns(fd, CLONE_NEWNET) < 0)
		_exit(1);
	close(fd);
}

static void enter_cgroup(const struct oci_state *s)
{
	struct oci_cgroup *cgroup;
	struct error err = { 0 };

	if (!s->cgroup || !*s->cgroup ||
		oci_cgroup_open(&cgroup, s->cgroup, s->systemd_cgroup, &err) < 0)
		return;
	oci_cgroup_enter(cgroup, getpid(), &err);
	oci_cgroup_free(cgroup);
}

/* Those of whoever started the container, who would wait for their end. */
static void let_go_of_streams(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; i < 3; i++)
		if (null < 0 || dup2(null, i) < 0)
			close(i);
	if (null >= FIRST_FD)
		close(null);
}

bool beside_fork(const struct oci_state *s, int *process)
{
	if (fork() != 0)
		return false;
	*process = pidfd_open(s->pid, 0);
	if (*process < 0)
		_exit(1);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, 0);
	let_go_of_streams(); /* before: the device rules of a pod's group forbid /dev/null */
	enter_cgroup(s);
	enter_network(s->pid);
	return true;
}

/* Nothing else of theirs is held open, either. */
static void let_go(const int *keep, unsigned count)
{
	int next = FIRST_FD;

	for (;;) {
		int lowest = -1;

		for (unsigned i = 0; i < count; i++)
			if (keep[i] >= next && (lowest < 0 || keep[i] < lowest))
				lowest = keep[i];
		if (lowest < 0)
			break;
		if (lowest > next)
			close_range((unsigned)next, (unsigned)lowest - 1, 0);
		next = lowest + 1;
	}
	close_range((unsigned)next, ~0U, 0);
	setsid();
	(void)!chdir("/");
}

void beside_settle(const int *keep, unsigned count, uint32_t capabilities)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { .effective = capabilities,
		.permitted = capabilities } };

	let_go(keep, count);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (syscall(SYS_capset, &header, data) < 0)
		_exit(1);
}
