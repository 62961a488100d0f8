#include "oci/share.h"

#include "oci/beside.h"
#include "oci/network_netlink.h"
#include "oci/network_share.h"

#include "agent/ports.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READY_MS = 3000 };

struct share {
	int unready; /* closed when what listens was seen and told of once; -1 */
	uint16_t who;
	int netlink; /* hears of interfaces that come */
	uint16_t port[AGENT_PORTS_MAX];
	unsigned ports;
};

uint16_t oci_share_number(const char *id)
{
	uint32_t n = 2166136261U;

	while (*id)
		n = (n ^ (uint8_t)*id++) * 16777619U;
	return (uint16_t)(n ^ n >> 16);
}

/* ---- before the start ---- */

/* The way back into our own network may be closed: it is a child that goes. */
int oci_share_prepare(const struct oci_state *s, struct error *err)
{
	struct error *said = mmap(
		NULL, sizeof(*said), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	_cleanup_close_ int fd = -1;
	char path[64];
	int status = 0;
	pid_t pid;

	if (said == MAP_FAILED)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	error_set(said, ERROR_HOST, EIO, "the container's network was not looked at");
	snprintf(path, sizeof(path), "/proc/%d/ns/net", s->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	pid = fork();
	if (pid == 0) {
		if (fd < 0 || setns(fd, CLONE_NEWNET) < 0) {
			error_set(said, ERROR_HOST, errno,
				"cannot enter the container's network: %m");
			_exit(1);
		}
		_exit(network_share_begin(said) < 0);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pid < 0 || status)
		*err = *said;
	munmap(said, sizeof(*said));
	return pid < 0 || status ? -EIO : 0;
}

/* ---- the process beside a container ---- */

static void set_ports(void *ctx, const uint16_t *ports, unsigned count)
{
	struct share *share = ctx;

	memcpy(share->port, ports, count * sizeof(*ports));
	share->ports = count;
	network_share_ports(share->who, ports, count);
}

/* Interfaces have come, or a machine that has them: they get the same filters. */
static void follow(void *ctx)
{
	struct share *share = ctx;
	struct error ignored;
	char drop[8192];

	while (recv(share->netlink, drop, sizeof(drop), MSG_DONTWAIT) >= 0 || errno == ENOBUFS)
		;
	network_share_begin(&ignored);
	network_share_ports(share->who, share->port, share->ports);
}

static int listen_for_interfaces(void)
{
	struct sockaddr_nl links = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&links, sizeof(links)) < 0)
		_exit(1);
	return fd;
}

/* One for each container: who has the lock is it. */
static int take_lock(const struct oci_state *s)
{
	int fd = openat(s->dir, "share", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void on_ready(void *ctx)
{
	struct share *share = ctx;

	cleanup_close_fd(&share->unready);
	share->unready = -1;
}

/* What it hears first is in its place, or it has not come so far in time. */
static void wait_for(int fd)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };

	poll(&ready, 1, READY_MS); /* POLLHUP */
}

static void begin(const struct oci_state *s, bool wait)
{
	struct share share = { .who = oci_share_number(s->id), .netlink = -1 };
	struct ports_relay relay = { .also = -1, .ready = on_ready, .ctx = &share };
	uint32_t rights = 1U << CAP_NET_BIND_SERVICE;
	int lock, ends[2];
	char path[64];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return;
	share.unready = ends[1];
	if (!beside_fork(s, &relay.end)) {
		close(ends[1]);
		if (wait)
			wait_for(ends[0]);
		close(ends[0]);
		return;
	}
	lock = take_lock(s);
	if (lock < 0)
		_exit(0);
	if (s->shares) {
		rights |= 1U << CAP_NET_ADMIN;
		relay.also = share.netlink = listen_for_interfaces();
		relay.attend = follow;
		relay.changed = set_ports;
	}
	beside_settle((int[]){ s->dir, relay.end, lock, share.netlink, share.unready }, 5, rights);
	snprintf(path, sizeof(path), "/proc/self/fd/%d/vsock", s->dir);
	relay.path = path;
	ports_relay_run(&relay);
	_exit(0);
}

/* ---- who is in one namespace ---- */

struct neighbours {
	const struct oci_state *self;
	struct stat network;
	bool begin, wait; /* for each that is found: begin() */
	bool found;
};

static bool is_in(const struct stat *network, pid_t pid)
{
	struct stat theirs;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	return stat(path, &theirs) == 0 && theirs.st_ino == network->st_ino &&
	       theirs.st_dev == network->st_dev;
}

static void look(void *ctx, struct oci_state *s)
{
	struct neighbours *n = ctx;

	if (!s->started || !s->pid || !strcmp(s->id, n->self->id) || !is_in(&n->network, s->pid) ||
		oci_state_status(s) == OCI_STOPPED)
		return;
	n->found = true;
	if (n->begin)
		begin(s, n->wait);
}

/* False: it has none that others could be in. */
static bool find(struct neighbours *n, enum oci_network_kind kind)
{
	struct error ignored;
	char path[64];

	if (kind == OCI_NETWORK_NONE || kind == OCI_NETWORK_FRESH)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/ns/net", n->self->pid);
	if (kind == OCI_NETWORK_INTERFACES && stat(path, &n->network) == 0)
		oci_state_list(n->self->root, look, n, &ignored);
	return n->found || kind == OCI_NETWORK_USER;
}

bool oci_share_wanted(const struct oci_state *s, enum oci_network_kind kind)
{
	return find(&(struct neighbours){ .self = s }, kind);
}

void oci_share(const struct oci_state *s, enum oci_network_kind kind, bool wait)
{
	if (find(&(struct neighbours){ .self = s, .begin = true, .wait = wait }, kind))
		begin(s, wait);
}
