/*
 * Sockets of the host's that have a place in the guest's file system: at each of them listens a child
 * of the guest program's, and who connects is carried to a port of the host's, by a process of his
 * own (guest/pump.h). The place has the mode and the owner that the socket has on the host; so that
 * nobody gets past them by calling the port himself, a key is to be said there that only we know.
 */
#include "guest/pump.h"
#include "guest/setup.h"
#include "guest/sys.h"

#include <linux/vm_sockets.h>
#include <sys/un.h>

enum {
	BACKLOG = 128,
	CALL_SECONDS = 30 /* for the host to answer; the kernel's own 2 are few on a busy one */
};

/* ---- a place ---- */

static long make_socket(const char *name, const void *what)
{
	const struct placed_socket *placed = what;
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	long err;

	memcpy(at.sun_path, name, strlen(name) + 1);
	err = sys_call(__NR_bind, placed->fd, SYS_PTR(&at), sizeof(at), 0, 0);
	if (err == 0)
		err = sys_call(__NR_fchownat, AT_FDCWD, SYS_PTR(name), placed->uid, placed->gid, 0);
	if (err == 0)
		err = sys_call(__NR_fchmodat, AT_FDCWD, SYS_PTR(name), placed->mode, 0, 0);
	return err;
}

long sockets_place(struct setup *setup, const struct placed_socket *placed)
{
	return mounts_hide(setup, placed->path, make_socket, placed);
}

/* ---- who connects there ---- */

static int call_host(const struct message_socket *socket)
{
	const struct __kernel_old_timeval patience = { .tv_sec = CALL_SECONDS };
	struct sockaddr_vm host = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = socket->port
	};
	int fd = (int)sys_socket(AF_VSOCK, SOCK_STREAM, 0);

	if (fd < 0)
		return fd;
	sys_call(__NR_setsockopt, fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD,
		SYS_PTR(&patience), sizeof(patience));
	if (sys_call(__NR_connect, fd, SYS_PTR(&host), sizeof(host), 0, 0) == 0 &&
		sys_send(fd, socket->key, AGENT_KEY) == AGENT_KEY)
		return fd;
	sys_close(fd);
	return -1;
}

static void __attribute__((noreturn)) serve(int listener, const struct message_socket *socket)
{
	int fd, host;

	pump_keep_only(listener, listener);
	sys_ignore_children();
	for (;;) {
		fd = (int)sys_accept(listener);
		if (fd >= 0 && sys_fork() == 0) {
			pump_keep_only(fd, fd);
			host = call_host(socket);
			if (host >= 0)
				pump_run(fd, host);
			sys_exit(0);
		}
		if (fd >= 0)
			sys_close(fd);
	}
}

/* The pipe, with the first of them. */
static long make_pipe(struct setup *setup)
{
	int ends[2];
	long err = setup->sockets.count ? 0 : sys_pipe(ends, 0);

	if (err == 0 && !setup->sockets.count) {
		setup->sockets.there = ends[0];
		setup->sockets.held = ends[1];
	}
	return err;
}

static long begin(struct setup *setup, int listener, const struct message_socket *socket)
{
	long pid = waiting_fork_home(setup->waiting);

	if (pid == 0) {
		/* In the place of its standard input, which is nothing: so it is kept. */
		sys_dup2(setup->sockets.held, 0);
		serve(listener, socket);
	}
	if (pid > 0)
		setup->sockets.listener[setup->sockets.count++] = (int)pid;
	return pid < 0 ? pid : 0;
}

long sockets_open(struct setup *setup, const struct message_socket *socket, struct text *why)
{
	struct placed_socket placed = {
		.path = socket->path, .mode = socket->mode, .uid = socket->uid, .gid = socket->gid
	};
	long err;

	text_add(why, "cannot make the socket ");
	text_add(why, socket->path);
	if (setup->sockets.count == AGENT_SOCKETS_MAX)
		return -EMFILE;
	placed.fd = (int)sys_socket(AF_UNIX, SOCK_STREAM, 0);
	if (placed.fd < 0)
		return placed.fd;
	err = sockets_place(setup, &placed);
	if (err == 0)
		err = sys_call(__NR_listen, placed.fd, BACKLOG, 0, 0, 0);
	if (err == 0)
		err = make_pipe(setup);
	if (err == 0)
		err = begin(setup, placed.fd, socket);
	sys_close(placed.fd);
	return err;
}

void sockets_end(struct setup *setup, int ms)
{
	struct pollfd there = { .fd = setup->sockets.there };

	if (!setup->sockets.count)
		return;
	for (unsigned i = 0; i < setup->sockets.count; i++)
		sys_kill(setup->sockets.listener[i], SIGKILL);
	sys_close(setup->sockets.held);
	sys_poll(&there, 1, ms); /* POLLHUP */
}
