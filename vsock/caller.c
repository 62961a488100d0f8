/*
 * Programs of the host that call the guest: each is let in and writes one line, "CONNECT PORT\n".
 * Just that line is read here, whatever follows it is for the guest.
 */
#include "vsock/internal.h"

#include "util/macros.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	CALLERS_MAX = 128,
	LINE_MAX_BYTES = 32 /* "CONNECT 4294967295\n" has 19 */
};

static const char verb[] = "CONNECT ";

static struct vsock_caller *caller_of(struct vsock_socket *sock)
{
	return container_of(sock, struct vsock_caller, sock);
}

static void forget(struct vsock_caller *caller)
{
	struct vsock_host *host = caller->host;

	TAILQ_REMOVE(&host->caller, caller, link);
	host->callers--;
	vsock_socket_close(host, &caller->sock);
	free(caller);
	vsock_host_retry(host);
}

/* The port in a line of @len bytes, its newline included. False if it is no such line. */
static bool parse(const char *line, size_t len, uint32_t *port)
{
	size_t at = sizeof(verb) - 1;
	uint64_t value = 0;

	if (len < at + 2 || memcmp(line, verb, at) != 0)
		return false;
	for (; at < len - 1; at++) {
		if (line[at] < '0' || line[at] > '9')
			return false;
		value = value * 10 + (uint64_t)(line[at] - '0');
		if (value > UINT32_MAX)
			return false;
	}
	*port = (uint32_t)value;
	return true;
}

/* The line is there: the call goes to the device, with whatever else was written behind it. */
static void put_through(struct vsock_caller *caller, const char *line, size_t len)
{
	struct vsock_host *host = caller->host;
	char gone[LINE_MAX_BYTES];
	uint32_t port;
	int fd;

	if (!parse(line, len, &port) ||
		recv(caller->sock.fd, gone, len, MSG_DONTWAIT) != (ssize_t)len) {
		forget(caller);
		return;
	}
	fd = vsock_socket_release(host, &caller->sock);
	forget(caller);
	host->user->call(host->user, fd, port);
}

static void on_line(struct vsock_socket *sock, uint32_t events)
{
	struct vsock_caller *caller = caller_of(sock);
	char line[LINE_MAX_BYTES];
	ssize_t n = recv(sock->fd, line, sizeof(line), MSG_PEEK | MSG_DONTWAIT);
	const char *end = n > 0 ? memchr(line, '\n', (size_t)n) : NULL;

	if (end)
		put_through(caller, line, (size_t)(end - line) + 1);
	else if (n == sizeof(line) || n == 0 || (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
		forget(caller);
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		forget(caller);
}

/* False: not now. */
static bool let_in(struct vsock_host *host)
{
	struct vsock_caller *caller;
	int fd = accept4(host->door.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		/* With too few descriptors they wait until a stream ends: vsock_host_retry(). */
		host->waiting = errno != EAGAIN;
		return errno == ECONNABORTED || errno == EINTR;
	}
	caller = calloc(1, sizeof(*caller));
	if (!caller) {
		close(fd);
		return false;
	}
	caller->host = host;
	caller->sock = (struct vsock_socket){ .fd = fd, .ready = on_line };
	TAILQ_INSERT_TAIL(&host->caller, caller, link);
	host->callers++;
	/* If the line is there already, that is an event, too. */
	if (vsock_socket_watch(host, &caller->sock) < 0)
		forget(caller);
	return true;
}

void vsock_callers_take(struct vsock_host *host)
{
	while (host->waiting && host->accepting && host->callers < CALLERS_MAX && let_in(host))
		;
}

static void on_door(struct vsock_socket *sock, uint32_t events)
{
	container_of(sock, struct vsock_host, door)->waiting = true;
}

void vsock_callers_init(struct vsock_host *host, int listen_fd)
{
	TAILQ_INIT(&host->caller);
	host->door = (struct vsock_socket){ .fd = listen_fd, .ready = on_door };
}

void vsock_callers_drop(struct vsock_host *host)
{
	while (!TAILQ_EMPTY(&host->caller))
		forget(TAILQ_FIRST(&host->caller));
}

void vsock_host_accept(struct vsock_host *host, bool on)
{
	host->accepting = on;
	if (!on)
		vsock_callers_drop(host);
	vsock_host_retry(host);
}
