/* A process as START describes it: its input and output, and the way from fork to exec. */
#pragma once

#include "guest/messages.h"

/* The ends that this program keeps: non-blocking. -1: none. */
struct process_io {
	int in;	    /* to write its input to; a terminal's master */
	int out[2]; /* to read its output from; a terminal's master is [0] alone, another descriptor */
	int theirs[3];	      /* what the process gets as 0, 1 and 2 */
	bool theirs_owned[3]; /* made for it, and so given to its user; /dev/null is not */
};

/* What the child sends through its pipe if it does not get to exec. At most PIPE_BUF bytes. */
struct process_failure {
	uint32_t why; /* enum agent_failed */
	int32_t err;
	char text[AGENT_TEXT_MAX];
};

/* Make pipes or a terminal. 0, or a negative errno and nothing is open. */
long process_open_io(struct process_io *io, const struct message_start *start);
/*
 * The process has them now. @keep_terminal: but one of a terminal stays open here, so that the
 * terminal does not end when the process closes its own and opens it again.
 */
void process_close_theirs(struct process_io *io, bool keep_terminal);
void process_close_io(struct process_io *io);

/*
 * Start it, in the control group @group (-1: ours). Returns its pid, and *@report is to be read: the end without a word once it executes,
 * a struct process_failure if it cannot. Or a negative errno.
 */
long process_start(
	const struct message_start *start, const struct process_io *io, int group, int *report);

/* The way from fork to exec, in the child; what keeps it from exec goes to @report, and it exits. */
void process_become(const struct message_start *start, const struct process_io *io, int report)
	__attribute__((noreturn));

/* Try argv[0] (in @path, where it has no slash). Returns what must be said, and *@why. */
long process_exec(const char **argv, const char **env, const char *path, uint32_t *why);

/* The terminal is what /dev/console is from now on, in the whole guest. What fails is left. */
void process_be_console(const struct process_io *io);
void process_resize(int terminal, uint16_t rows, uint16_t columns);
/* The end of the input, typed. @line_begun: something was typed since the last end of a line. */
size_t process_end_of_file(int terminal, bool line_begun, char keys[2]);
