/* What the files of this folder share. */
#pragma once

#include "agent/agent.h"
#include "guest/wire.h"

enum {
	/* Two messages: one that is complete and held back, and what was read behind it. */
	AGENT_IN_MAX = 2 * (AGENT_HEADER + AGENT_DATA_MAX),
};

/* All of it belongs to the thread that calls. */
struct agent {
	int fd;
	const struct agent_events *events;
	void *ctx;

	/* What was heard, and so may come next. */
	bool greeted, ready, started, over;
	bool setup_sent, start_sent, notify_sent; /* what may be answered */
	bool dispatching; /* in a callback: agent_resume() has nothing to do */
	bool held;	  /* output was not taken */
	bool ended;	  /* the guest says no more: the end of the stream was read */

	uint8_t *in; /* AGENT_IN_MAX */
	size_t in_at, in_len;
	size_t taken; /* of the OUTPUT message at in_at */

	uint8_t *out; /* to be written; grows */
	size_t out_at, out_len, out_size;

	bool stdin_open;
	uint32_t stdin_allowed;
};

/* The session is over, and on_lost says why. */
void agent_lose(struct agent *agent, const char *text);
/* Where the next *@room bytes (never 0) from the guest are to be put, unless output is held. */
uint8_t *agent_feed_space(struct agent *agent, size_t *room);
/*
 * @len bytes were put there. Calls back for each message that is complete, until output is not
 * taken. With 0: goes on with what was left.
 */
void agent_feed(struct agent *agent, size_t len);

/*
 * Room for a message with a payload of @len bytes behind the queued ones; its header is written,
 * @w is for the payload. Call agent_end_message() when it is filled.
 */
int agent_begin_message(struct agent *agent, unsigned type, size_t len, struct wire_writer *w);
void agent_end_message(struct agent *agent, const struct wire_writer *w);
