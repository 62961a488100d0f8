/*
 * The host's end of vsock: unix stream sockets. Programs that connect to the machine's socket are
 * asked which port of the guest they want; ports that the guest connects to become connections to
 * sockets of the host. What flows through them is the device's (virtio/vsock.c).
 *
 * The sockets sit in an epoll instance, edge triggered, whose own descriptor is the one file that
 * the worker's ring watches: the ring takes registered files only, and these come and go. They are
 * read and written with plain calls that never block.
 *
 * All of it is the worker's once it has started; vsock_host_open(), vsock_host_attach() and
 * vsock_host_close() are main's.
 */
#pragma once

#include "util/error.h"
#include "vmm/worker.h"

#include <stdbool.h>
#include <stdint.h>

enum { VSOCK_KEY_BYTES = 16 };

/* A port of the host (CID 2) that the guest may connect to. Either path or fd. */
struct vsock_listen {
	uint32_t port;
	const char *path; /* a unix stream socket that somebody listens on; copied */
	/*
	 * With path NULL: one connected stream socket, which the first connection to this port is
	 * given; later ones are refused. Taken over when the opening succeeds, and closed with the
	 * connection (or, if there was none, with the device): then the other end reads its end.
	 */
	int fd;
	/*
	 * The first packet of data must be these bytes and no others, or the stream is reset; they go
	 * no further, and only then is there a connection on the host. So who may call is for the
	 * guest program to say, which knows them, and not for all who can open a vsock socket.
	 */
	bool keyed;
	uint8_t key[VSOCK_KEY_BYTES];
};

struct vsock_host_params {
	int listen_fd; /* see struct vsock_params; taken over when the opening succeeds */
	unsigned listens;
	const struct vsock_listen *listen;
	const char *listen_dir_prefix; /* or NULL; copied */
};

/* A connected socket. Embedded in the stream that it belongs to; zero-initialise, fd -1. */
struct vsock_socket {
	int fd; /* owned; -1: none */
	/*
	 * Worker thread. EPOLL bits that are so now. Edge triggered: said once when it becomes so.
	 * May close @sock and free what it is embedded in.
	 */
	void (*ready)(struct vsock_socket *sock, uint32_t events);
	bool want_out;
};

/* Who uses the sockets: the device. Constant after attach. */
struct vsock_user {
	/* Worker thread. A program of the host wants @port of the guest: @fd is the callee's. */
	void (*call)(struct vsock_user *user, int fd, uint32_t port);
	/* Worker thread. A round of ready() and call() is over: act on what they noted. */
	void (*settled)(struct vsock_user *user);
};

struct vsock_host;

/*
 * Main. ERROR_USAGE for a path that no socket address can hold, a port that is given twice, or a
 * descriptor that is no stream socket.
 */
int vsock_host_open(
	struct vsock_host **out, const struct vsock_host_params *params, struct error *err);
/* Main, before @worker (of kind WORKER_VSOCK or WORKER_VSOCK_CONNECT) starts. @user must outlive the worker's thread. */
int vsock_host_attach(
	struct vsock_host *host, struct worker *worker, struct vsock_user *user, struct error *err);
/* Main, after the worker has stopped and no socket is used any more. NULL is allowed. */
void vsock_host_close(struct vsock_host *host);

/*
 * Worker. Whether programs of the host are let in; while not, they wait in the kernel's queue. Those
 * that have not said yet what they want are sent away when it ends.
 */
void vsock_host_accept(struct vsock_host *host, bool on);
/* Worker. There may be room (descriptors, streams) again for somebody who had to wait. */
void vsock_host_retry(struct vsock_host *host);

/*
 * Worker. A connection to what serves @port on the host: a non-blocking descriptor, or -errno
 * (-ECONNREFUSED: nobody does; -EAGAIN: it is too busy).
 */
int vsock_host_connect(struct vsock_host *host, uint32_t port);
/* Worker. The key of that port, or NULL: it has none. */
const uint8_t *vsock_host_key(const struct vsock_host *host, uint32_t port);

/* Worker. Begin to tell sock->ready() about sock->fd. 0 or -errno. */
int vsock_socket_watch(struct vsock_host *host, struct vsock_socket *sock);
/* Worker. Whether EPOLLOUT is of interest: once a write found no room. */
void vsock_socket_want_out(struct vsock_host *host, struct vsock_socket *sock, bool want);
/* Worker. Closes sock->fd, if there is one. (When the worker has stopped, main just closes it.) */
void vsock_socket_close(struct vsock_host *host, struct vsock_socket *sock);
