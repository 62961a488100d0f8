/*
 * Input and output of the job: between this process's own descriptors and the agent.
 *
 * Our descriptors are shared with whoever started us, so they are never made non-blocking. What polls
 * as readable can be read from once; what polls as writable takes a page at least (a pipe says so
 * only then), a regular file takes everything.
 */
#include "job/internal.h"

#include "console/console.h"
#include "console/terminal.h"
#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 4096, PIECES = 32, INPUT_PIECE = 32768 };

static bool is_file(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

int stdio_open(struct job *job, struct error *err)
{
	unsigned flags = job->config->process.flags;

	for (int i = 0; i < 2; i++) {
		job->out[i] = (struct job_stream){ .fd = STDOUT_FILENO + i,
			.whole = is_file(STDOUT_FILENO + i),
			.bytes = malloc(JOB_BUFFER) };
		if (!job->out[i].bytes)
			return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	}
	/* What is no null device anywhere is at least nobody else's. */
	job->null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (job->null < 0)
		job->null = memfd_create("null", MFD_CLOEXEC);
	if (job->null < 0)
		return error_set(err, ERROR_HOST, errno, "cannot open /dev/null: %m");
	job->reading = flags & AGENT_START_STDIN;
	job->terminal =
		job->reading && (flags & AGENT_START_TERMINAL) && terminal_usable(STDIN_FILENO);
	if (job->terminal)
		terminal_catch_faults();
	return 0;
}

void stdio_close(struct job *job)
{
	if (job->terminal)
		console_restore_terminal();
	for (int i = 0; i < 2; i++)
		free(job->out[i].bytes);
	if (job->null >= 0)
		close(job->null);
}

void stdio_begin(struct job *job)
{
	if (job->terminal)
		terminal_raw(STDIN_FILENO);
}

bool stdio_size(uint16_t *rows, uint16_t *columns)
{
	struct winsize ws;

	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &ws) < 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) < 0)
		return false;
	*rows = ws.ws_row;
	*columns = ws.ws_col;
	return true;
}

size_t stdio_take(struct job *job, int stream, const void *bytes, size_t len)
{
	struct job_stream *s = &job->out[stream == 2];
	size_t n;

	if (s->gone)
		return len;
	if (s->from && JOB_BUFFER - s->to < len) {
		memmove(s->bytes, s->bytes + s->from, s->to - s->from);
		s->to -= s->from;
		s->from = 0;
	}
	n = MIN(len, JOB_BUFFER - s->to);
	memcpy(s->bytes + s->to, bytes, n);
	s->to += n;
	job->stuck |= n < len;
	return n;
}

/* Whoever waits for its end at the other side of a pipe has it; here the number stays in use. */
static void close_ended(struct job *job, struct job_stream *s)
{
	if (!s->ended || s->from < s->to)
		return;
	s->ended = false;
	s->whole = dup3(job->null, s->fd, 0) >= 0;
}

void stdio_end(struct job *job, int stream)
{
	struct job_stream *s = &job->out[stream == 2];

	s->ended = true;
	close_ended(job, s);
}

bool stdio_drained(const struct job *job)
{
	return job->out[0].from == job->out[0].to && job->out[1].from == job->out[1].to;
}

unsigned stdio_prepare(struct job *job, struct pollfd *fds)
{
	unsigned n = 0;

	for (int i = 0; i < 2; i++)
		if (job->out[i].from < job->out[i].to)
			fds[n++] = (struct pollfd){ .fd = job->out[i].fd, .events = POLLOUT };
	if (job->reading && job->started && agent_stdin_room(job->agent))
		fds[n++] = (struct pollfd){ .fd = STDIN_FILENO, .events = POLLIN };
	return n;
}

static void lose(struct job *job, struct job_stream *s, int errnum)
{
	s->gone = true;
	s->from = s->to = 0;
	if (errnum == EPIPE) {
		job_end(job, JOB_NO_READER, SIGPIPE);
		return;
	}
	snprintf(job->outcome.text, sizeof(job->outcome.text), "cannot write to standard %s: %s",
		s->fd == STDOUT_FILENO ? "output" : "error", strerror(errnum));
	job_end(job, JOB_OUTPUT, 0);
}

/* One write that does not wait. False where there is no use in another just now. */
static bool write_piece(struct job *job, struct job_stream *s)
{
	size_t len = s->to - s->from;
	ssize_t n = write(s->fd, s->bytes + s->from, s->whole ? len : MIN(len, (size_t)PIECE));

	if (n < 0) {
		if (errno != EINTR && errno != EAGAIN)
			lose(job, s, errno);
		return false;
	}
	s->from += (size_t)n;
	if (s->from == s->to)
		s->from = s->to = 0;
	return s->to > 0;
}

/* A share of what there is, while the reader keeps up; then others have their turn. */
static void write_out(struct job *job, struct job_stream *s)
{
	struct pollfd pfd = { .fd = s->fd, .events = POLLOUT };

	if (s->from == s->to)
		return;
	for (unsigned i = 0; i < PIECES && write_piece(job, s); i++)
		if (poll(&pfd, 1, 0) <= 0 || !(pfd.revents & POLLOUT))
			return;
}

static void read_in(struct job *job)
{
	char buf[INPUT_PIECE];
	size_t room = MIN(agent_stdin_room(job->agent), sizeof(buf));
	ssize_t n = room ? read(STDIN_FILENO, buf, room) : -1;

	if (!room || (n < 0 && (errno == EINTR || errno == EAGAIN)))
		return;
	if (n > 0) {
		agent_stdin(job->agent, buf, (size_t)n);
		return;
	}
	/* The end; a terminal that is gone reads as an error. */
	job->reading = false;
	agent_stdin_end(job->agent);
}

void stdio_step(struct job *job, const struct pollfd *fds, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (!fds[i].revents)
			continue;
		if (fds[i].fd == STDIN_FILENO)
			read_in(job);
		else
			write_out(job, &job->out[fds[i].fd == STDERR_FILENO]);
	}
	for (int i = 0; i < 2; i++)
		close_ended(job, &job->out[i]);
	if (job->stuck) {
		job->stuck = false;
		agent_resume(job->agent);
	}
}
