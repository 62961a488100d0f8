/*
 * The host's end of the lab: what run.c and qemu.c share.
 */
#ifndef LAB_RUN_H
#define LAB_RUN_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto.h"

enum { EXIT_LAB = 125, EXIT_TIMEOUT = 124 };

struct lab {
	/* options */
	const char *state, *memory, *work, *modules;
	int timeout_s;
	bool tty, no_input;
	char **argv;

	/* one run */
	pid_t qemu;
	int qmp, port;
	char console[4096];
	bool started;
	size_t input_sent;
	int64_t begin_ms, last_ms;
	char pending[sizeof(struct lab_frame) + LAB_CHUNK]; /* to the lab, not yet taken */
	size_t pos, len;
	int32_t status;
};

extern volatile sig_atomic_t got_signal;

/* run.c */
int64_t now_ms(void);
void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...);
void say(const char *text);

/* qemu.c: one QEMU process, its memory file shared for freezing, private for a run */
void start_qemu(struct lab *l, bool freeze);
void stop_qemu(struct lab *l);

/* Talks QMP: loads the frozen state and lets it go on, or stops and saves it. */
bool resume_state(struct lab *l);
bool save_state(struct lab *l);

#endif
