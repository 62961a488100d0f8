/* The host's end of vsock, for the files of vsock/ only. */
#pragma once

#include "vsock/host.h"

#include <sys/queue.h>

/* Somebody who was let in and has not said yet which port of the guest it shall be. */
struct vsock_caller {
	struct vsock_socket sock;
	struct vsock_host *host;
	TAILQ_ENTRY(vsock_caller) link;
};

struct vsock_host {
	/* Constant after attach. */
	struct worker *worker;
	struct vsock_user *user;
	int epoll_fd;
	unsigned listens;
	char *prefix;

	/* Worker only. */
	struct vsock_listen *listen; /* fd: -1 once it was given away */
	struct worker_event ready;
	struct worker_task service;
	struct vsock_socket door; /* the listening one */
	bool accepting;		  /* programs of the host are let in */
	bool waiting;		  /* there may be some at the door */
	unsigned callers;
	TAILQ_HEAD(, vsock_caller) caller;
};

/* vsock/host.c: sock->fd becomes the caller's, and nobody is told about it any more. */
int vsock_socket_release(struct vsock_host *host, struct vsock_socket *sock);

/* vsock/caller.c */
void vsock_callers_init(struct vsock_host *host, int listen_fd);
/* Let in who waits, as far as there is room. */
void vsock_callers_take(struct vsock_host *host);
void vsock_callers_drop(struct vsock_host *host);
