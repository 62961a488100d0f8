/*
 * A session: one connection and its one process. Driven by the loop of guest/supervise.c: it says
 * which descriptors it waits for, and is told which are ready. Never blocks.
 */
#pragma once

#include "guest/process.h"
#include "guest/text.h"

#include <poll.h>
#include <sys/resource.h>

struct supervisor;

/* In this order; never back. */
enum session_state {
	SESSION_FREE = 0,
	SESSION_NEW,	  /* HELLO is awaited */
	SESSION_SETUP,	  /* the first one, before SETUP_DONE */
	SESSION_IDLE,	  /* START is awaited */
	SESSION_STARTING, /* forked; whether it executes is not known */
	SESSION_RUNNING,
	SESSION_EXITED, /* how it ended is known; its output is still passed on */
	SESSION_ENDED,	/* the last message is said, or about to be; BYE is awaited */
};

/* What is to be said as soon as the connection takes it; said in this order. */
enum {
	SAY_HELLO = 1,
	SAY_READY = 2,
	SAY_STARTED = 4,
	SAY_STDIN_CLOSED = 8,
	SAY_EXITED = 16,
	SAY_FAILED = 32,
};

/* What is polled for a session, in this order. */
enum { WAIT_SOCKET, WAIT_REPORT, WAIT_IN, WAIT_OUT, WAIT_ERR, WAIT_NOTIFY, WAIT_COUNT };

/* STDIN that the process did not read yet: a ring of AGENT_STDIN_WINDOW bytes. */
struct session_input {
	uint8_t *ring;
	size_t at, len;
	bool end;	  /* no more will come */
	bool line_begun;  /* behind the last byte of it, a terminal is within a line */
	uint32_t allowed; /* so much may still come */
	uint32_t credit;  /* so much more can be granted */
};

struct session_exit {
	bool by_signal;
	uint32_t status;
	uint64_t user_us, system_us, peak_kib;
};

struct session {
	enum session_state state;
	bool first;
	int fd;	     /* the connection */
	int pid;     /* 0: there is no process, or it was reaped */
	int started; /* its pid, for STARTED */
	int report;  /* the child's word about exec; -1 */
	struct process_io io;
	bool terminal;
	unsigned say;

	uint8_t *buffers; /* one mapping, in which the next two and the ring lie */
	uint8_t *in;	  /* messages from the host */
	size_t in_len;
	uint8_t *out; /* to the host: nothing, or one batch of messages */
	size_t out_at, out_len;
	struct session_input input;

	/* What the container has to say to its manager, of the first session; -1. Not read before: */
	int notify;
	uint64_t notify_ms; /* 0: at any time */

	uint64_t deadline_ms; /* EXITED: no longer than this for output; ENDED: for BYE. 0: none */
	bool draining;	      /* EXITED, and only what there is now is passed on: */
	size_t left[2];	      /* so many bytes at most */
	unsigned notes_left;  /* and so many datagrams */
	struct session_exit exit;
	uint32_t failed_why, failed_err;
	struct text failed;
};

/* Take over the connected, non-blocking @fd. False: no memory; the descriptor is left alone. */
bool session_open(struct session *s, int fd, bool first);
/* Everything is closed. A process that is still there is hung up on: SIGHUP to its group. */
void session_close(struct session *s);

/* Fill WAIT_COUNT entries at @fds; -1 where nothing is waited for. */
void session_poll(const struct session *s, struct pollfd *fds);
/* Go on with what poll() said. False: the host is gone, or has said BYE. */
bool session_step(struct session *s, struct supervisor *all, const struct pollfd *fds);
/* wait4() has returned its process. */
void session_reaped(struct session *s, int status, const struct rusage *usage);
/* It is @now_ms: its deadline may have come. False: nothing more is waited for. */
bool session_tick(struct session *s, uint64_t now_ms);

/* The session cannot go on; FAILED is the last that it says. @err: 0 or a negative errno. */
void session_fail(struct session *s, uint32_t why, long err, const char *text);

void session_to_state(struct session *s, enum session_state state);

/* guest/session_io.c */

/* Say what is to be said, as far as the connection takes it. False: it is broken. */
bool session_pump(struct session *s);
/* Pass on some output of stream @i (0, 1), if nothing waits before it. */
void session_output(struct session *s, unsigned i);
/* Pass on a datagram of the notify socket, if nothing waits before it. */
void session_notified(struct session *s);
/* The process can take input, or (@revents with POLLERR) nobody is there to read it. */
void session_input_event(struct session *s, short revents);
/* STDIN. False: more than was allowed. */
bool session_take_input(struct session *s, const uint8_t *bytes, size_t len);
