/*
 * The life of a job: what the guest program says, what the clock says, what the person says.
 */
#include "job/internal.h"

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/macros.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum {
	FAREWELL_MS = 20000, /* for the guest to write back and power off */
	BOOT_MOVES = 300     /* this part of the limit is more than a guest takes that only waits */
};

/* What this process has had of processors, all its threads and the guest included. */
static int64_t used_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The first reason counts. */
void job_end(struct job *job, enum job_end end, int status)
{
	if (job->over)
		return;
	job->over = true;
	job->outcome.end = end;
	job->outcome.status = status;
}

/* ---- what the guest says ---- */

static void on_ready(void *ctx)
{
	struct job *job = ctx;

	job->ready = true;
}

static void send_size(struct job *job)
{
	uint16_t rows, columns;

	if ((job->config->process.flags & AGENT_START_TERMINAL) && stdio_size(&rows, &columns) &&
		rows && columns)
		agent_resize(job->agent, rows, columns);
}

static void on_started(void *ctx, int pid)
{
	struct job *job = ctx;

	job->started = true;
	send_size(job); /* it may have changed on the way */
	stdio_begin(job);
	if (job->config->on_started)
		job->config->on_started(job->config->ctx);
}

static size_t on_output(void *ctx, int stream, const void *bytes, size_t len)
{
	return stdio_take(ctx, stream, bytes, len);
}

static void on_output_end(void *ctx, int stream)
{
	struct job *job = ctx;

	if (job->config->pass_ends)
		stdio_end(job, stream);
}

static void on_stdin_closed(void *ctx)
{
	struct job *job = ctx;

	job->reading = false;
}

static void on_exited(void *ctx, const struct agent_exit *how)
{
	struct job *job = ctx;

	if (job->timed_out)
		job_end(job, JOB_TIMED_OUT, 0);
	else
		job_end(job, how->signalled ? JOB_KILLED : JOB_EXITED, how->status);
}

static void on_failed(void *ctx, enum agent_failed why, int errnum, const char *text)
{
	struct job *job = ctx;

	if (job->over)
		return;
	job->outcome.why = why;
	snprintf(job->outcome.text, sizeof(job->outcome.text), "%s", text);
	job_end(job, JOB_FAILED, errnum);
}

/* With a machine of our own, its end says more; it is near. */
static void on_lost(void *ctx, const char *text)
{
	struct job *job = ctx;

	snprintf(job->outcome.text, sizeof(job->outcome.text), "%s", text);
	if (job->config->further)
		job_end(job, JOB_LOST, 0);
}

static void on_notified(void *ctx, const char *text)
{
	struct job *job = ctx;

	if (job->config->on_notified)
		job->config->on_notified(job->config->ctx, text);
}

static const struct agent_events events = {
	.on_ready = on_ready,
	.on_started = on_started,
	.on_output = on_output,
	.on_stdin_closed = on_stdin_closed,
	.on_exited = on_exited,
	.on_failed = on_failed,
	.on_lost = on_lost,
	.on_output_end = on_output_end,
	.on_notified = on_notified,
};

/* ---- the main loop ---- */

static unsigned job_prepare(void *ctx, struct pollfd *fds, int *timeout_ms)
{
	struct job *job = ctx;
	int64_t next = MIN(job->deadline, job->farewell), left;
	short wanted = agent_poll_events(job->agent);
	unsigned n = 0;

	if (!job->ready && !job->held)
		next = MIN(next, job->boot_deadline);
	if (next != INT64_MAX) {
		left = MAX(next - now_ms(), (int64_t)0);
		*timeout_ms = (int)MIN(left, (int64_t)3600 * 1000);
	}
	if (wanted)
		fds[n++] = (struct pollfd){ .fd = agent_fd(job->agent), .events = wanted };
	return n + stdio_prepare(job, fds + n);
}

/* The time is up: first SIGTERM, then the end. */
static void time_up(struct job *job, int64_t now)
{
	if (!job->timed_out && job->started) {
		job->timed_out = true;
		agent_signal(job->agent, SIGTERM, AGENT_SIGNAL_GROUP);
		job->deadline = now + job->config->grace_ms;
		return;
	}
	job_end(job, JOB_TIMED_OUT, 0);
	job->farewell = now;
}

static void begin_boot(struct job *job, int64_t now)
{
	job->boot_deadline = now + job->config->boot_limit_ms;
	job->boot_used = used_ms();
}

/*
 * Where a host has more to do than it has processors for, a guest boots as slowly as it is let, and
 * nobody is to blame: what it may take is time of its own. A guest that hangs takes next to none of
 * that, or all there is, in the end.
 */
static bool still_boots(struct job *job, int64_t now)
{
	int64_t used = used_ms(), limit = job->config->boot_limit_ms;
	bool moves = used - job->boot_used >= limit / BOOT_MOVES;

	job->boot_deadline = now + limit;
	job->boot_used = used;
	return moves && used < limit;
}

static void look_at_clock(struct job *job)
{
	int64_t now = now_ms();

	if (!job->over && now >= job->deadline)
		time_up(job, now);
	if (!job->over && !job->ready && !job->held && now >= job->boot_deadline &&
		!still_boots(job, now))
		job_end(job, JOB_NO_GUEST, 0);
}

/* May the machine go? Where something lasts, its guest first writes back and powers off. */
static bool done(struct job *job)
{
	switch (job->outcome.end) {
	case JOB_EXITED:
	case JOB_KILLED:
	case JOB_TIMED_OUT:
		break;
	case JOB_NOT_OVER:
		return false;
	default:
		return true;
	}
	if (!stdio_drained(job))
		return false;
	if (!job->config->lasting)
		return true;
	/* Not earlier: when the guest goes, the machine ends, whatever is still to be written. */
	agent_bye(job->agent);
	if (job->farewell == INT64_MAX)
		job->farewell = now_ms() + FAREWELL_MS;
	return now_ms() >= job->farewell;
}

static bool job_attend(void *ctx, const struct pollfd *fds, unsigned count)
{
	struct job *job = ctx;

	for (unsigned i = 0; i < count; i++)
		if (fds[i].fd == agent_fd(job->agent) && fds[i].revents)
			agent_step(job->agent, fds[i].revents);
	stdio_step(job, fds, count);
	look_at_clock(job);
	return done(job);
}

static bool job_signal(void *ctx, int number, bool sent)
{
	struct job *job = ctx;

	if (number == SIGWINCH) {
		if (job->started)
			send_size(job);
		if (job->started && sent) /* there are servers to which it means an end */
			agent_signal(job->agent, number, job->config->signals_to);
		return true;
	}
	if (job->over && job->farewell == INT64_MAX)
		return false; /* output waits for a reader who may never come */
	if (!job->started || ++job->asked == job->config->patience) {
		job_end(job, JOB_SIGNALLED, number);
		return false;
	}
	agent_signal(job->agent, number, job->config->signals_to);
	return true;
}

/* ---- without a machine ---- */

static int open_signals(struct error *err)
{
	static const int wanted[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGUSR1,
		SIGUSR2 };
	sigset_t set;
	int fd;

	sigemptyset(&set);
	for (unsigned i = 0; i < ARRAY_SIZE(wanted); i++)
		sigaddset(&set, wanted[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? error_set(err, ERROR_HOST, errno, "cannot make a signalfd: %m") : fd;
}

int job_wait(struct job *job, struct error *err)
{
	struct pollfd fds[1 + MACHINE_ATTENDANT_FDS];
	_cleanup_close_ int signals = open_signals(err);
	struct signalfd_siginfo info;
	bool over = false;

	if (signals < 0)
		return signals;
	fds[0] = (struct pollfd){ .fd = signals, .events = POLLIN };
	while (!over) {
		int timeout = -1;
		unsigned n = job_prepare(job, fds + 1, &timeout);

		if (poll(fds, 1 + n, timeout) < 0) {
			if (errno == EINTR)
				continue;
			return error_set(err, ERROR_HOST, errno, "poll: %m");
		}
		over = job_attend(job, fds + 1, n);
		while (fds[0].revents && !over &&
			read(signals, &info, sizeof(info)) == sizeof(info)) {
			int number = (int)info.ssi_signo;

			if (!job_signal(job, number, info.ssi_code <= 0)) {
				job_end(job, JOB_SIGNALLED, number);
				over = true;
			}
		}
	}
	return 0;
}

/* ---- life ---- */

int job_create(struct job **out, const struct job_config *config, int fd, struct error *err)
{
	struct job *job = calloc(1, sizeof(*job));
	int64_t now = now_ms();
	int r;

	*out = NULL;
	if (!job)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory for the job");
	job->config = config;
	job->null = -1;
	begin_boot(job, now);
	job->deadline = config->timeout_ms && !config->held ? now + config->timeout_ms : INT64_MAX;
	job->farewell = INT64_MAX;
	job->held = config->held;
	job->attendant = (struct machine_attendant){ job, job_prepare, job_attend, job_signal };
	r = agent_create(&job->agent, fd, &events, job, err);
	if (r == 0)
		r = stdio_open(job, err);
	if (r == 0)
		r = setup_queue(job, err);
	if (r == 0 && config->further)
		job->ready = true;
	if (r < 0) {
		job_destroy(job);
		return r;
	}
	*out = job;
	return 0;
}

void job_destroy(struct job *job)
{
	if (!job)
		return;
	stdio_close(job);
	agent_destroy(job->agent);
	free(job);
}

const struct machine_attendant *job_attendant(struct job *job)
{
	return &job->attendant;
}

int job_release(struct job *job, struct error *err)
{
	int64_t now = now_ms();

	job->held = false;
	begin_boot(job, now);
	if (job->config->timeout_ms)
		job->deadline = now + job->config->timeout_ms;
	return setup_finish(job, err);
}

bool job_ready(const struct job *job)
{
	return job->ready;
}

int job_start(struct job *job, struct error *err)
{
	return setup_start(job, err);
}

bool job_started(const struct job *job)
{
	return job->started;
}

void job_change_net(struct job *job, const struct agent_net *net)
{
	if (job->started)
		agent_setup_net(job->agent, net);
}

void job_signal_all(struct job *job, int number)
{
	agent_signal(job->agent, number, AGENT_SIGNAL_EVERYBODY);
}

const struct job_outcome *job_outcome(const struct job *job)
{
	return &job->outcome;
}
