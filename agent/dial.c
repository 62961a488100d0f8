/* A connection into the guest, through the unix socket of its vsock. */
#include "agent/agent.h"

#include "util/cleanup.h"
#include "util/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { ANSWER_MAX = 64 };

/* 0 when @fd is ready for @events, -ETIMEDOUT at @end. */
static int wait_for(int fd, short events, int64_t end)
{
	for (;;) {
		int64_t left = end - now_ms();
		struct pollfd p = { .fd = fd, .events = events };
		int n = left > 0 ? poll(&p, 1, (int)left) : 0;

		if (n > 0)
			return 0;
		if (n == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

static int connect_to(const char *path, int64_t end, struct error *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return error_set(err, ERROR_HOST, errno, "cannot make a socket: %m");
	if (strlen(path) >= sizeof(addr.sun_path))
		return error_set(err, ERROR_HOST, ENAMETOOLONG, "%s: too long for a socket", path);
	strcpy(addr.sun_path, path);
	while (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		/* EAGAIN: its backlog is full; there is nothing to poll for. */
		if (errno == EAGAIN && now_ms() < end)
			usleep(1000);
		else if (errno != EINTR)
			return error_set(err, ERROR_MACHINE, errno,
				"cannot reach the machine at %s: %m", path);
	}
	return take_fd(&fd);
}

/* The answer's line, and not a byte more: what follows is the guest's. */
static int read_line(int fd, char *line, int64_t end)
{
	for (size_t len = 0; len < ANSWER_MAX - 1;) {
		int r = wait_for(fd, POLLIN, end);
		ssize_t n;

		if (r < 0)
			return r;
		n = recv(fd, line + len, 1, 0);
		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (n > 0 && line[len++] == '\n') {
			line[len] = 0;
			return 0;
		}
	}
	return -EPROTO;
}

int agent_dial(const char *path, unsigned port, int timeout_ms, struct error *err)
{
	int64_t end = now_ms() + timeout_ms;
	_cleanup_close_ int fd = connect_to(path, end, err);
	char line[ANSWER_MAX];
	int len, r;

	if (fd < 0)
		return fd;
	len = snprintf(line, sizeof(line), "CONNECT %u\n", port);
	if (send(fd, line, (size_t)len, MSG_NOSIGNAL) != len)
		return error_set(
			err, ERROR_MACHINE, EPIPE, "%s: the machine closed the connection", path);
	r = read_line(fd, line, end);
	if (r == -ETIMEDOUT)
		return error_set(
			err, ERROR_MACHINE, ETIMEDOUT, "%s: no answer from the guest", path);
	if (r < 0 || strncmp(line, "OK ", 3) != 0)
		return error_set(err, ERROR_MACHINE, ECONNREFUSED,
			"%s: nobody in the guest listens at port %u (is it a machine with a "
			"command, and has it started?)",
			path, port);
	return take_fd(&fd);
}
