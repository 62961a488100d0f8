/*
 * The socket ROOT/ID/control, by which commands speak with the container's process: one message
 * (SOCK_SEQPACKET) there and one back on each connection. Both sides are the same program.
 */
#pragma once

#include "oci/network.h"
#include "util/error.h"

enum { CONTROL_TEXT = 512 };

enum control_what {
	/* found: these networks are there. Answered when the guest is set up with them. */
	CONTROL_SET_UP = 1,
	/* The same, where that was not said before, and the process; answered when it is there. */
	CONTROL_START,
	CONTROL_KILL_ALL, /* number: a signal for every process in the guest */
	CONTROL_NETWORK	  /* found: interfaces that changed since the start */
};

struct control_request {
	uint32_t what;
	int32_t number;
	struct oci_interfaces found;
};

struct control_reply {
	int32_t failed; /* 0, or an errno */
	char text[CONTROL_TEXT];
};

/* The listening socket in the state directory @dir. Returns it, or -errno with the error. */
int control_listen(int dir, struct error *err);

/* Ask, and wait for the answer, however long it takes. The reply's failure is the error. */
int control_ask(int dir, const struct control_request *request, struct error *err);

/* ---- the container's side; none of it blocks ---- */

/* One message of the connection @fd: 1 (request is filled), 0 (not yet), -EPIPE (nobody there). */
int control_read(int fd, struct control_request *request);
void control_answer(int fd, int failed, const char *text);
