/*
 * A machine that runs what its host says (guest/protocol.h): the loop over all sessions, and the
 * reaping of processes. What process 1 does around it is in guest/machine.c.
 */
#pragma once

#include "guest/session.h"
#include "guest/waiting.h"

struct supervisor {
	struct session sessions[AGENT_SESSIONS_MAX]; /* the first is [0] */
	struct pollfd fds[3 + WAIT_COUNT * AGENT_SESSIONS_MAX];
	struct waiting waiting; /* for the START of the first */
	int group;    /* control group of all their processes; O_PATH, or -1: this program's */
	int signals;  /* a signalfd */
	int listener; /* for further sessions; -1 before SETUP_DONE, or where that failed */
	int ports;    /* the same for guest/ports.h, until it is served by a child */
	/* Opens one at a port of vsock: a listening, non-blocking descriptor, or a negative errno. */
	long (*listen)(unsigned port);
	/*
	 * Carries out a message of the setup, SETUP_DONE included. False: *@why says what failed;
	 * *@err is 0 if the message was malformed, else a negative errno.
	 */
	bool (*setup)(void *ctx, const struct wire_message *m, struct text *why, long *err);
	void *setup_ctx;
};

/*
 * One in memory of its own, with @fd (connected, non-blocking) as the first session; the caller
 * sets the callbacks. All signals of this program are blocked from here on. NULL: no memory.
 */
struct supervisor *supervise_create(int fd);

/* Until the first session is over: its host said BYE, or is gone. */
void supervise_loop(struct supervisor *all);
