#include "oci/watch.h"

#include "oci/beside.h"
#include "oci/control.h"
#include "oci/network_netlink.h"
#include "util/macros.h"

#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* An interface is made in many steps: it is looked at when there was none for so long. */
enum { QUIET_MS = 150 };

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

	if (!beside_fork(s, &w.process))
		return;
	w.netlink = listen_to_changes();
	beside_settle((int[]){ s->dir, w.process, w.netlink }, 3, 1U << CAP_NET_ADMIN);
	watch(&w);
}
