/* struct job, shared by the files of job/ only. Main thread, all of it. */
#pragma once

#include "job/job.h"

#include <stddef.h>
#include <stdint.h>

enum { JOB_BUFFER = 256 * 1024 };

/* Output on its way to one of our own descriptors. */
struct job_stream {
	int fd;
	bool whole; /* a regular file: takes everything at once */
	bool ended; /* nothing more comes, and our own end is to be closed when it is written */
	bool gone;  /* nothing can be written any more: drop it */
	uint8_t *bytes;
	size_t from, to;
};

struct job {
	const struct job_config *config;
	struct agent *agent;
	struct machine_attendant attendant;
	struct job_outcome outcome;
	bool over;				   /* the outcome is known */
	bool ready;				   /* the guest program has set everything up */
	bool held;				   /* job_release() is awaited */
	bool started;				   /* the process is there */
	bool timed_out;				   /* SIGTERM was sent */
	unsigned asked;				   /* signals that were to end it */
	int64_t boot_deadline, deadline, farewell; /* CLOCK_MONOTONIC, ms; INT64_MAX: never */
	int64_t boot_used; /* ms of processors when the first of them was set */

	/* stdio.c */
	struct job_stream out[2];
	int null;      /* /dev/null, or -1 */
	bool reading;  /* there is input to carry */
	bool terminal; /* ours is raw */
	bool stuck;    /* a stream was full: agent_resume() when it is not */
};

/* job.c */
void job_end(struct job *job, enum job_end end, int status);

/* stdio.c */
int stdio_open(struct job *job, struct error *err);
void stdio_close(struct job *job);
void stdio_begin(struct job *job);
unsigned stdio_prepare(struct job *job, struct pollfd *fds);
void stdio_step(struct job *job, const struct pollfd *fds, unsigned count);
/* Take output of the guest's process. Returns how much there was room for. */
size_t stdio_take(struct job *job, int stream, const void *bytes, size_t len);
/* Nothing more comes of it. */
void stdio_end(struct job *job, int stream);
/* Has everything been written? */
bool stdio_drained(const struct job *job);
/* The size of our terminal; false where there is none. */
bool stdio_size(uint16_t *rows, uint16_t *columns);

/* setup.c: queue all that the guest is to do. */
int setup_queue(struct job *job, struct error *err);
/* setup.c: what setup_queue() left for the end of a held job: the networks; the process. */
int setup_finish(struct job *job, struct error *err);
int setup_start(struct job *job, struct error *err);
