#include "oci/control.h"

#include "util/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Through /proc/self/fd: the path may be longer than a socket's address. */
static struct sockaddr_un address_in(int dir)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/control", dir);
	return addr;
}

int control_listen(int dir, struct error *err)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un addr = address_in(dir);

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 16) < 0)
		return error_set(err, ERROR_HOST, errno, "cannot make the control socket: %m");
	return take_fd(&fd);
}

int control_ask(int dir, const struct control_request *request, struct error *err)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr = address_in(dir);
	struct control_reply reply;
	ssize_t n = -1;

	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
		send(fd, request, sizeof(*request), MSG_NOSIGNAL) != sizeof(*request))
		return error_set(
			err, ERROR_MACHINE, errno, "the container's process does not listen: %m");
	while ((n = recv(fd, &reply, sizeof(reply), 0)) < 0 && errno == EINTR)
		;
	if (n != sizeof(reply))
		return error_set(err, ERROR_MACHINE, EPIPE, "the container's process has ended");
	reply.text[sizeof(reply.text) - 1] = 0;
	if (reply.failed)
		return error_set(err, ERROR_MACHINE, reply.failed, "%s", reply.text);
	return 0;
}

int control_read(int fd, struct control_request *request)
{
	ssize_t n = recv(fd, request, sizeof(*request), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	return n == sizeof(*request) ? 1 : -EPIPE;
}

void control_answer(int fd, int failed, const char *text)
{
	struct control_reply reply = { .failed = failed };

	snprintf(reply.text, sizeof(reply.text), "%s", text ? text : "");
	/* Nobody there any more: then nobody needs to know. */
	(void)!send(fd, &reply, sizeof(reply), MSG_NOSIGNAL | MSG_DONTWAIT);
}
