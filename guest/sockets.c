/*
 * Sockets of the host's that have a place in the guest's file system: at each of them listens a child
 * of the guest program's, and who connects is carried to a port of the host's, by a process of his
 * own (guest/pump.h). The place has the mode and the owner that the socket has on the host; so that
 * nobody gets past them by calling the port himself, the host takes calls from reserved ports only.
 */
#include "guest/pump.h"
#include "guest/setup.h"
#include "guest/sys.h"

#include <linux/vm_sockets.h>
#include <sys/un.h>

enum {
	BACKLOG = 128,
	CALL_SECONDS = 30, /* for the host to answer; the kernel's own 2 are few on a busy one */
	RESERVED_FIRST = 24,
	RESERVED_COUNT = 1000
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

/* From a port that only root has. Which one is tried first changes: one may not be free at once. */
static long take_reserved(int fd, unsigned number)
{
	struct sockaddr_vm here = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY };
	long err = -EADDRINUSE;

	for (unsigned i = 0; i < RESERVED_COUNT && err == -EADDRINUSE; i++) {
		here.svm_port = RESERVED_FIRST + (number + i) % RESERVED_COUNT;
		err = sys_call(__NR_bind, fd, SYS_PTR(&here), sizeof(here), 0, 0);
	}
	return err;
}

static int call_host(unsigned port, unsigned number)
{
	const struct __kernel_old_timeval patience = { .tv_sec = CALL_SECONDS };
	struct sockaddr_vm host = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port
	};
	int fd = (int)sys_socket(AF_VSOCK, SOCK_STREAM, 0);

	if (fd < 0)
		return fd;
	sys_call(__NR_setsockopt, fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD,
		SYS_PTR(&patience), sizeof(patience));
	if (take_reserved(fd, number) == 0 &&
		sys_call(__NR_connect, fd, SYS_PTR(&host), sizeof(host), 0, 0) == 0)
		return fd;
	sys_close(fd);
	return -1;
}

static void __attribute__((noreturn)) serve(int listener, unsigned port)
{
	int fd, host;

	pump_keep_only(listener, listener);
	sys_ignore_children();
	for (unsigned number = 0;; number++) {
		fd = (int)sys_accept(listener);
		if (fd >= 0 && sys_fork() == 0) {
			pump_keep_only(fd, fd);
			host = call_host(port, number);
			if (host >= 0)
				pump_run(fd, host);
			sys_exit(0);
		}
		if (fd >= 0)
			sys_close(fd);
	}
}

long sockets_open(struct setup *setup, const struct message_socket *socket, struct text *why)
{
	struct placed_socket placed = {
		.path = socket->path, .mode = socket->mode, .uid = socket->uid, .gid = socket->gid
	};
	long err, pid = 0;

	text_add(why, "cannot make the socket ");
	text_add(why, socket->path);
	placed.fd = (int)sys_socket(AF_UNIX, SOCK_STREAM, 0);
	if (placed.fd < 0)
		return placed.fd;
	err = sockets_place(setup, &placed);
	if (err == 0)
		err = sys_call(__NR_listen, placed.fd, BACKLOG, 0, 0, 0);
	if (err == 0) {
		pid = sys_fork();
		if (pid == 0)
			serve(placed.fd, socket->port);
	}
	sys_close(placed.fd);
	return err < 0 ? err : pid < 0 ? pid : 0;
}
