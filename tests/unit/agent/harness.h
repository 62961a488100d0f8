/*
 * Both ends of the protocol in one test: the guest program's sessions run in a child process, an
 * ordinary one with this machine's own files, and the agent in the test talks to it.
 */
#pragma once

#include "agent/agent.h"

#include <sys/types.h>

struct guest {
	pid_t pid;
	int fd;		 /* the first session's; -1 once an agent has it */
	char socket[64]; /* where it listens for further sessions */
};

void guest_start(struct guest *g);
/* Its first session is over, or closed: it ends. */
void guest_wait(struct guest *g);

/* What came out of a session. Zero it; @agent is made by session_begin(). */
struct result {
	struct agent *agent;
	bool ready, exited, failed, lost, stdin_closed;
	int pid;
	struct agent_exit how;
	enum agent_failed why;
	int errnum;
	char text[1024];
	unsigned noted; /* datagrams, and their texts, each with a ; behind it */
	char notes[8192];
	char *out[2]; /* NUL-terminated, as far as it is kept */
	size_t out_len[2];
	uint64_t total[2]; /* all of it, kept or not, and its sum */
	uint32_t sum[2];
	unsigned taken_at_a_time; /* 0: all. Else output is taken so many bytes at a time */
	bool stalled;		  /* take nothing */
	uint64_t to_send, sent;	  /* input made of a pattern */
	uint32_t sent_sum;
	const char *say_when; /* when this stands in the output: */
	void (*say)(struct result *r);
};

/* Send what r->to_send asks for and what there is room for; on_started and on_stdin_room do it. */
void send_pattern(struct result *r);

/* FNV-1a, going on from @sum (0: begin). */
uint32_t checksum(uint32_t sum, const void *bytes, size_t len);

void session_begin(struct result *r, int fd);
/* A further session with this guest. */
void session_dial(struct result *r, const struct guest *g);
void session_run(struct result *r, const struct agent_process *process);
/* Until it is over; @limit_ms with -1 is 60 s, after which the test fails. False: not over yet. */
bool session_go_on(struct result *r, int limit_ms);
/* Close the agent; what it brought stays. */
void session_free(struct result *r);
void result_free(struct result *r);

/* A guest of its own, one process in it: the whole way. Words up to a NULL. */
void run(struct result *r, const char *const *argv, unsigned flags);
#define run_words(r, flags, ...) run(r, (const char *const[]){ __VA_ARGS__, NULL }, flags)
