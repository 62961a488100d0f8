/* struct console, shared by the files of console/ only. */
#pragma once

#include "console/console.h"
#include "console/escape.h"
#include "console/terminal.h"
#include "util/log.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
	CONSOLE_OUT_BYTES = 64 * 1024, /* a power of two */
	CONSOLE_IN_BYTES = 4096,
	CONSOLE_ENOUGH =
		4096, /* so much is written at once; a pipe that polls as writable takes it */
	CONSOLE_GATHER_NS = 2 * 1000 * 1000
};

struct console {
	/* Constant after start. */
	enum console_mode mode;
	int in_fd;     /* -1: no input. Not owned */
	int out_fd;    /* -1: output goes nowhere. Owned for CONSOLE_FILE */
	bool terminal; /* in_fd is a terminal, and ours to use */
	struct worker *worker;
	int in_file, out_file; /* on the worker */
	console_leave *leave;
	void *leave_ctx;
	struct console_sink sink;
	void (*room)(void *ctx);
	void *room_ctx;
	int wake_fd; /* eventfd: other threads have something for the worker */

	/* Any thread. */
	_Atomic bool begun; /* input may be read */

	/* Output: under lock. */
	pthread_mutex_t lock;
	pthread_cond_t drained; /* there is room, or no use in waiting */
	uint8_t *out;		/* ring of CONSOLE_OUT_BYTES; owned */
	size_t head, tail;	/* free-running: filled to head, written to tail */
	bool urgent;		/* to be written as soon as the timer allows */
	bool timing;		/* timer_op is in flight: small pieces gather until it is over */
	bool writing;		/* a write, or the wait for its file, is in flight */
	bool gone;		/* nobody reads: output is dropped */
	bool stopped;		/* nobody waits for room any more */
	bool starved;		/* console_put() came too short */

	/* Worker only. */
	struct worker_event wake;
	struct worker_task flush;
	struct worker_op write_op, timer_op, read_op;
	struct __kernel_timespec gather;
	bool reading;
	bool write_polls, read_polls; /* what is in flight is a poll, not the thing itself */
	bool input_ended;
	struct escape escape;
	uint8_t in[CONSOLE_IN_BYTES];
	size_t in_from, in_to; /* read, not yet taken by the sink */
	struct worker_call *quiescing;
	bool quiet; /* quiesced: nothing is in flight and nothing will be */
};

/* output.c */
int output_init(struct console *c);
void output_destroy(struct console *c);
void output_prepare(struct console *c); /* main, in console_attach() */
void output_pump(struct console *c);	/* worker: write what is there, or wait a little for more */
void output_text(struct console *c, const char *text); /* worker: our own words */
void output_rest(struct console *c, bool patient);     /* main, the worker being quiet */

/* input.c */
void input_prepare(struct console *c);
void input_pump(struct console *c); /* worker: hand over what was read, read more */

/* console.c */
void console_wake(struct console *c);	/* any thread: make the worker look */
void console_settle(struct console *c); /* worker: one thing less is in flight */
