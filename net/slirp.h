/* User-mode networking's own structures, shared by slirp.c (life, packets) and slirp_poll.c. */
#pragma once

#include "net/backend.h"
#include "util/log.h"

#include <slirp/libslirp.h>

/* The functions of libslirp that we use, found by name when it was loaded. */
struct slirp_api {
	__typeof__(slirp_new) *new;
	__typeof__(slirp_cleanup) *cleanup;
	__typeof__(slirp_input) *input;
	__typeof__(slirp_pollfds_fill) *fill;
	__typeof__(slirp_pollfds_poll) *poll;
	__typeof__(slirp_add_hostfwd) *add_hostfwd;
};

/* What is known of one of libslirp's sockets; the index is the descriptor. */
struct slirp_watch {
	uint32_t have;	/* SLIRP_POLL_* that the epoll instance looks for; 0: not in there */
	uint32_t ready; /* SLIRP_POLL_* that it reported last */
	uint32_t round; /* the last fill that named the descriptor */
};

/* A packet that the driver had no buffer for yet. */
struct slirp_packet {
	struct slirp_packet *next;
	size_t len;
	uint8_t data[];
};

struct user_net {
	struct net net;
	struct net_port port;
	struct slirp_api api;
	/* Main before the worker starts and after it has ended, else the worker's, as all below. */
	Slirp *slirp;
	struct slirp_packet *backlog, **backlog_end;
	size_t backlog_bytes;
	uint8_t *frame; /* where a packet from the guest is gathered */
	struct log_limit complaints;

	int epoll_fd;
	struct worker_event ready;
	struct worker_task service;
	struct slirp_watch *watch;
	unsigned watches; /* room in watch[] */
	uint32_t round;
	int64_t polled_ms; /* when libslirp last looked at the clock */

	struct worker_op timer;
	struct __kernel_timespec timer_span;
	int64_t timer_ms; /* when it goes off; 0: it is not set */
	bool timer_cancelled;
};

/* Main. The epoll instance; ERROR_HOST. */
int slirp_poll_open(struct user_net *user, struct error *err);
/* Main. No more looking at sockets; before libslirp's end, for main may not change the instance. */
void slirp_poll_close(struct user_net *user);
/* Main. Wires up the worker. Returns 0 or -errno. */
int slirp_poll_attach(struct user_net *user, struct worker *worker);

/* Worker. Do what is due; look at sockets and clock at the end of this turn. */
void slirp_poll_soon(struct user_net *user);
/* Worker. Before packets go in: libslirp's clock stands still while nobody polls. */
void slirp_poll_clock(struct user_net *user);

/* libslirp's callbacks. */
void slirp_poll_register(int fd, void *opaque);
void slirp_poll_unregister(int fd, void *opaque);
void slirp_poll_notify(void *opaque);
int64_t slirp_poll_now_ns(void *opaque);
