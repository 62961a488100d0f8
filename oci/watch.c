#include "oci/watch.h"

#include "oci/cgroup.h"
#include "oci/control.h"
#include "oci/network_netlink.h"
#include "util/cleanup.h"
#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* An interface is made in many steps: it is looked at when there was none for so long. */
enum { QUIET_MS = 150, FIRST_FD = 3 };

struct watch {
	const struct oci_state *state;
	struct oci_follow follow;
	int process; /* pidfd */
	int netlink; /* hears of all changes */
};

static int listen_to_changes(void)
{
	struct sockaddr_nl all = { .nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
			     RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&all, sizeof(all)) < 0)
		_exit(1);
	return fd;
}

static void enter_network(pid_t pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
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

/* Nothing of whoever started the container is held open, or they would wait for us. */
static void let_go(const int keep[3])
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), next = FIRST_FD;

	for (int i = 0; i < 3; i++)
		dup2(null, i);
	for (int left = 3; left; left--) {
		int lowest = -1;

		for (int i = 0; i < 3; i++)
			if (keep[i] >= next && (lowest < 0 || keep[i] < lowest))
				lowest = keep[i];
		if (lowest > next)
			close_range((unsigned)next, (unsigned)lowest - 1, 0);
		next = lowest + 1;
	}
	close_range((unsigned)next, ~0U, 0);
	setsid();
	(void)!chdir("/");
}

static void keep_net_admin(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { .effective = 1U << CAP_NET_ADMIN,
		.permitted = 1U << CAP_NET_ADMIN } };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (syscall(SYS_capset, &header, data) < 0)
		_exit(1);
}

/* All that was said is read away; what it was is seen by looking. */
static void wait_for_quiet(int netlink)
{
	struct pollfd fd = { .fd = netlink, .events = POLLIN };
	char drop[8192];

	do {
		while (recv(netlink, drop, sizeof(drop), 0) >= 0 || errno == ENOBUFS)
			;
	} while (poll(&fd, 1, QUIET_MS) > 0);
}

static void look(struct watch *w)
{
	struct control_request request = { .what = CONTROL_NETWORK };
	struct error err = { 0 };

	if (oci_network_follow(&w->follow, &request.found, &err) == 0 && request.found.count)
		control_ask(w->state->dir, &request, &err);
}

static void __attribute__((noreturn)) watch(struct watch *w)
{
	struct pollfd fds[] = { { .fd = w->process, .events = POLLIN },
		{ .fd = w->netlink, .events = POLLIN } };

	look(w);
	for (;;) {
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
			_exit(1);
		if (fds[0].revents)
			_exit(0);
		if (!fds[1].revents)
			continue;
		wait_for_quiet(w->netlink);
		look(w);
	}
}

void oci_watch(const struct oci_state *s, const struct oci_interfaces *found)
{
	struct watch w = { .state = s, .follow.known = *found };
	int pid = fork();

	if (pid != 0)
		return; /* nobody waits for it: whoever started us has an end soon */
	w.process = pidfd_open(s->pid, 0);
	if (w.process < 0)
		_exit(1);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, 0);
	enter_cgroup(s);
	enter_network(s->pid);
	w.netlink = listen_to_changes();
	let_go((int[]){ s->dir, w.process, w.netlink });
	keep_net_admin();
	watch(&w);
}
