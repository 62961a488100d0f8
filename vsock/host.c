/*
 * Life of the host's end, the epoll instance, and connections to the host's sockets. Programs that
 * call the guest are let in by vsock/caller.c.
 */
#include "vsock/internal.h"

#include "util/cleanup.h"
#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	EVENTS = 64, /* looked at in one call */
	ROUNDS = 8,  /* such calls before others have their turn */
	PORT_DIGITS = 10,
	PATH_MAX_BYTES = sizeof(((struct sockaddr_un *)0)->sun_path) - 1
};

/* ---- the sockets ---- */

static uint32_t interest(const struct vsock_socket *sock)
{
	return EPOLLET | EPOLLIN | EPOLLRDHUP | (sock->want_out ? EPOLLOUT : 0);
}

int vsock_socket_watch(struct vsock_host *host, struct vsock_socket *sock)
{
	struct epoll_event ev = { .events = interest(sock), .data.ptr = sock };

	return epoll_ctl(host->epoll_fd, EPOLL_CTL_ADD, sock->fd, &ev) < 0 ? -errno : 0;
}

void vsock_socket_want_out(struct vsock_host *host, struct vsock_socket *sock, bool want)
{
	struct epoll_event ev = { .data.ptr = sock };

	if (sock->want_out == want || sock->fd < 0)
		return;
	sock->want_out = want;
	ev.events = interest(sock);
	epoll_ctl(host->epoll_fd, EPOLL_CTL_MOD, sock->fd, &ev); /* it is in, so this cannot fail */
}

int vsock_socket_release(struct vsock_host *host, struct vsock_socket *sock)
{
	struct epoll_event ev = { 0 };

	epoll_ctl(host->epoll_fd, EPOLL_CTL_DEL, sock->fd, &ev);
	sock->want_out = false;
	return take_fd(&sock->fd);
}

/* Taken out by name: closing alone would leave it in, if somebody else has a copy of it. */
void vsock_socket_close(struct vsock_host *host, struct vsock_socket *sock)
{
	if (sock->fd >= 0)
		close(vsock_socket_release(host, sock));
}

/* True if all that was ready has been told. A socket comes once in a batch, so it may go in it. */
static bool round_of_events(struct vsock_host *host)
{
	struct epoll_event ev[EVENTS];
	int n = epoll_wait(host->epoll_fd, ev, EVENTS, 0);

	for (int i = 0; i < n; i++) {
		struct vsock_socket *sock = ev[i].data.ptr;

		sock->ready(sock, ev[i].events);
	}
	return n < EVENTS;
}

static void service(struct worker_task *task)
{
	struct vsock_host *host = container_of(task, struct vsock_host, service);
	bool all = false;

	for (unsigned i = 0; i < ROUNDS && !all; i++)
		all = round_of_events(host);
	vsock_callers_take(host);
	/* The ring's poll tells of what becomes ready, not of what still is. */
	if (!all)
		worker_yield(host->worker, &host->service);
	host->user->settled(host->user);
}

static void on_ready(struct worker_event *event)
{
	struct vsock_host *host = container_of(event, struct vsock_host, ready);

	worker_defer(host->worker, &host->service);
}

void vsock_host_retry(struct vsock_host *host)
{
	if (host->waiting)
		worker_defer(host->worker, &host->service);
}

/* ---- to the host's sockets ---- */

static int connect_unix(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -1;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	memcpy(addr.sun_path, path, strlen(path)); /* its length was checked, and zeroes follow */
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	return take_fd(&fd);
}

int vsock_host_connect(struct vsock_host *host, uint32_t port)
{
	char path[PATH_MAX_BYTES + 1];

	for (unsigned i = 0; i < host->listens; i++) {
		struct vsock_listen *l = &host->listen[i];

		if (l->port != port)
			continue;
		if (l->path)
			return connect_unix(l->path);
		return l->fd >= 0 ? take_fd(&l->fd) : -ECONNREFUSED;
	}
	if (!host->prefix)
		return -ECONNREFUSED;
	snprintf(path, sizeof(path), "%s_%u", host->prefix, port);
	return connect_unix(path);
}

const uint8_t *vsock_host_key(const struct vsock_host *host, uint32_t port)
{
	for (unsigned i = 0; i < host->listens; i++)
		if (host->listen[i].port == port)
			return host->listen[i].keyed ? host->listen[i].key : NULL;
	return NULL;
}

/* ---- life ---- */

static int socket_option(int fd, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? -1 : value;
}

static int no_block(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

static int check_path(const char *path, unsigned more, struct error *err)
{
	if (!*path || strlen(path) + more > PATH_MAX_BYTES)
		return error_set(err, ERROR_USAGE, ENAMETOOLONG,
			"vsock: \"%s\" cannot be the path of a unix socket: it takes 1 to %u bytes%s",
			path, PATH_MAX_BYTES - more, more ? " before the port's number" : "");
	return 0;
}

static int check_listen(const struct vsock_host_params *params, unsigned i, struct error *err)
{
	const struct vsock_listen *l = &params->listen[i];

	for (unsigned k = 0; k < i; k++) {
		if (params->listen[k].port == l->port)
			return error_set(err, ERROR_USAGE, EEXIST,
				"vsock: port %u is given to two sockets", l->port);
	}
	if (l->path)
		return check_path(l->path, 0, err);
	if (socket_option(l->fd, SO_TYPE) != SOCK_STREAM || no_block(l->fd) < 0)
		return error_set(err, ERROR_USAGE, ENOTSOCK,
			"vsock: descriptor %d for port %u is not a stream socket", l->fd, l->port);
	return 0;
}

static int check(const struct vsock_host_params *params, struct error *err)
{
	int r = 0;

	for (unsigned i = 0; i < params->listens && r == 0; i++)
		r = check_listen(params, i, err);
	if (r == 0 && params->listen_dir_prefix)
		r = check_path(params->listen_dir_prefix, 1 + PORT_DIGITS, err);
	if (r == 0 && params->listen_fd >= 0 &&
		(socket_option(params->listen_fd, SO_ACCEPTCONN) != 1 ||
			no_block(params->listen_fd) < 0))
		r = error_set(err, ERROR_USAGE, EINVAL,
			"vsock: descriptor %d is not a socket that listens", params->listen_fd);
	return r;
}

/* What is released of a copy that was not completed, or is not wanted any more; not descriptors. */
static void free_copy(struct vsock_host *host)
{
	for (unsigned i = 0; i < host->listens; i++)
		free((char *)host->listen[i].path);
	free(host->listen);
	free(host->prefix);
	free(host);
}

static struct vsock_host *copy(const struct vsock_host_params *params)
{
	struct vsock_host *host = calloc(1, sizeof(*host));
	bool ok = host != NULL;

	if (!ok)
		return NULL;
	host->listen = calloc(params->listens ? params->listens : 1, sizeof(host->listen[0]));
	ok = host->listen != NULL;
	for (unsigned i = 0; i < params->listens && ok; i++) {
		struct vsock_listen *l = &host->listen[host->listens++];

		*l = params->listen[i];
		if (!l->path)
			continue;
		l->fd = -1;
		l->path = strdup(l->path);
		ok = l->path != NULL;
	}
	if (ok && params->listen_dir_prefix) {
		host->prefix = strdup(params->listen_dir_prefix);
		ok = host->prefix != NULL;
	}
	if (ok)
		return host;
	free_copy(host);
	return NULL;
}

int vsock_host_open(
	struct vsock_host **out, const struct vsock_host_params *params, struct error *err)
{
	struct vsock_host *host;
	int r = check(params, err);

	if (r < 0)
		return r;
	host = copy(params);
	if (!host)
		return error_set(err, ERROR_HOST, ENOMEM, "vsock: out of memory");
	host->service.run = service;
	host->ready.fire = on_ready;
	vsock_callers_init(host, params->listen_fd);
	host->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (host->epoll_fd < 0)
		r = error_set(err, ERROR_HOST, errno, "vsock: cannot make an epoll instance: %m");
	else if (host->door.fd >= 0 && vsock_socket_watch(host, &host->door) < 0)
		r = error_set(err, ERROR_HOST, errno, "vsock: cannot watch the socket: %m");
	if (r < 0) {
		if (host->epoll_fd >= 0)
			close(host->epoll_fd);
		free_copy(host);
		return r;
	}
	*out = host;
	return 0;
}

int vsock_host_attach(
	struct vsock_host *host, struct worker *worker, struct vsock_user *user, struct error *err)
{
	int r;

	host->worker = worker;
	host->user = user;
	r = worker_add_event(worker, &host->ready, host->epoll_fd);
	if (r < 0)
		return error_set(err, ERROR_HOST, -r, "vsock: cannot register the sockets: %s",
			strerror(-r));
	return 0;
}

void vsock_host_close(struct vsock_host *host)
{
	if (!host)
		return;
	/* There are no callers: those went when the device came to rest. */
	if (host->door.fd >= 0)
		close(host->door.fd);
	for (unsigned i = 0; i < host->listens; i++) {
		if (host->listen[i].fd >= 0)
			close(host->listen[i].fd);
	}
	close(host->epoll_fd);
	free_copy(host);
}
