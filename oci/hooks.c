#include "oci/hooks.h"

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/macros.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

/* What is kept of a hook's output: its end. */
enum { TAIL = 400 };

struct tail {
	size_t len;
	char text[TAIL + 1];
};

/* What a child says that did not get as far as its program. */
struct setback {
	int errnum;
	bool entering; /* it was in enter() */
};

/* ---- in the hook's process ---- */

static void reset_signals(void)
{
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* A file rather than a pipe: whoever does not read it does not keep us waiting. */
static int state_file(const char *state)
{
	_cleanup_close_ int fd = memfd_create("state", MFD_CLOEXEC);
	size_t len = strlen(state), done = 0;

	if (fd < 0)
		return -errno;
	while (done < len) {
		ssize_t n = write(fd, state + done, len - done);

		if (n < 0 && errno != EINTR)
			return -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	return take_fd(&fd);
}

static void become(
	const struct oci_hook *hook, const struct oci_hook_run *run, int input, int output, int say)
{
	const char *const just_path[] = { hook->path, NULL };
	struct setback setback = { 0 };

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	reset_signals();
	if (run->enter) {
		setback.errnum = -run->enter(run->ctx);
		setback.entering = setback.errnum != 0;
	}
	if (!setback.errnum && (dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0))
		setback.errnum = errno;
	if (!setback.errnum) {
		syscall(SYS_close_range, 3U, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */);
		execve(hook->path, (char *const *)(hook->args.count ? hook->args.list : just_path),
			hook->env.count ? (char *const *)hook->env.list : environ);
		setback.errnum = errno;
	}
	if (write(say, &setback, sizeof(setback)) < 0)
		_exit(126);
	_exit(127);
}

/* ---- here ---- */

static void keep(struct tail *tail, const char *bytes, size_t len)
{
	if (len > TAIL) {
		bytes += len - TAIL;
		len = TAIL;
	}
	if (tail->len + len > TAIL) {
		size_t drop = tail->len + len - TAIL;

		memmove(tail->text, tail->text + drop, tail->len - drop);
		tail->len -= drop;
	}
	memcpy(tail->text + tail->len, bytes, len);
	tail->len += len;
	tail->text[tail->len] = 0;
}

/* The last line with something in it, fit to be printed. */
static const char *last_line(struct tail *tail)
{
	char *line;

	while (tail->len && isspace((unsigned char)tail->text[tail->len - 1]))
		tail->text[--tail->len] = 0;
	line = strrchr(tail->text, '\n');
	line = line ? line + 1 : tail->text;
	for (char *p = line; *p; p++) {
		if (iscntrl((unsigned char)*p))
			*p = ' ';
	}
	return line;
}

/* All that is there now. False: it is at its end. */
static bool drain(int fd, struct tail *tail)
{
	char bytes[4096];
	ssize_t n;

	while ((n = read(fd, bytes, sizeof(bytes))) > 0 || (n < 0 && errno == EINTR)) {
		if (n > 0)
			keep(tail, bytes, (size_t)n);
	}
	return n < 0;
}

/* Wait for process @child, reading what it says. -ETIMEDOUT: it was killed for that. */
static int await(pid_t child, int pidfd, int output, int timeout_s, struct tail *tail, int *status)
{
	int64_t end = now_ms() + (int64_t)timeout_s * 1000;
	struct pollfd p[] = { { .fd = pidfd, .events = POLLIN },
		{ .fd = output, .events = POLLIN } };
	int r = 0;

	if (pidfd < 0) {
		r = -errno;
		kill(child, SIGKILL);
	}
	while (r == 0 && !p[0].revents) {
		int64_t left = timeout_s > 0 ? end - now_ms() : -1;

		if (timeout_s > 0 && left <= 0) {
			r = -ETIMEDOUT;
			kill(-child, SIGKILL);
			kill(child, SIGKILL);
			break;
		}
		if (poll(p, 2, (int)MIN(left, 60000)) < 0 && errno != EINTR)
			break;
		if (p[1].revents && !drain(output, tail))
			p[1].fd = -1;
	}
	while (waitpid(child, status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	drain(output, tail);
	return r;
}

static int failure(const struct oci_hook *hook, const struct oci_hook_run *run, const char *what,
	const char *said, struct error *err)
{
	return error_set(err, ERROR_USAGE, EINVAL, "hooks.%s: \"%s\" %s%s%s", run->name, hook->path,
		what, *said ? ": " : "", said);
}

static int not_executed(const struct oci_hook *hook, const struct oci_hook_run *run,
	const struct setback *setback, struct error *err)
{
	const char *why = setback->errnum == ENOENT   ? "is not there"
			  : setback->errnum == EACCES ? "is not executable"
						      : "cannot be executed";

	if (setback->entering)
		return failure(
			hook, run, "cannot enter the container", strerror(setback->errnum), err);
	return failure(hook, run, why,
		setback->errnum == ENOENT || setback->errnum == EACCES ? ""
								       : strerror(setback->errnum),
		err);
}

static int judge(const struct oci_hook *hook, const struct oci_hook_run *run, int waited,
	int status, struct tail *tail, struct error *err)
{
	char what[80];

	if (waited == -ETIMEDOUT)
		snprintf(what, sizeof(what), "did not end within %d s", hook->timeout_s);
	else if (waited < 0)
		snprintf(what, sizeof(what), "was lost");
	else if (WIFSIGNALED(status))
		snprintf(what, sizeof(what), "was killed by signal %d", WTERMSIG(status));
	else if (WEXITSTATUS(status))
		snprintf(what, sizeof(what), "failed with status %d", WEXITSTATUS(status));
	else
		return 0;
	return failure(hook, run, what, last_line(tail), err);
}

static int run_one(const struct oci_hook *hook, const struct oci_hook_run *run, struct error *err)
{
	_cleanup_close_ int input = state_file(run->state);
	_cleanup_close_ int output = -1, output_end = -1, setback_fd = -1, say = -1, pidfd = -1;
	struct setback setback;
	struct tail tail = { 0 };
	int pipes[2], status = 0, r;
	pid_t child;

	if (input < 0)
		return failure(hook, run, "cannot be told the state", strerror(-input), err);
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return failure(hook, run, "cannot be run", strerror(errno), err);
	output = pipes[0];
	output_end = pipes[1];
	fcntl(output, F_SETFL, O_NONBLOCK);
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return failure(hook, run, "cannot be run", strerror(errno), err);
	setback_fd = pipes[0];
	say = pipes[1];
	child = fork();
	if (child == 0)
		become(hook, run, input, output_end, say);
	if (child < 0)
		return failure(hook, run, "cannot be run", strerror(errno), err);
	close(take_fd(&output_end));
	close(take_fd(&say));
	pidfd = (int)syscall(SYS_pidfd_open, child, 0U);
	r = await(child, pidfd, output, hook->timeout_s, &tail, &status);
	/* Closed by execve(): a hook's own children hold it no more than the hook does. */
	if (r == 0 && read(setback_fd, &setback, sizeof(setback)) == sizeof(setback))
		return not_executed(hook, run, &setback, err);
	return judge(hook, run, r, status, &tail, err);
}

int oci_hooks_run(const struct oci_hooks *hooks, const struct oci_hook_run *run, struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < hooks->count && r == 0; i++)
		r = run_one(&hooks->list[i], run, err);
	return r;
}

void oci_hooks_run_all(const struct oci_hooks *hooks, const struct oci_hook_run *run)
{
	for (size_t i = 0; i < hooks->count; i++) {
		struct error err = { 0 };

		if (run_one(&hooks->list[i], run, &err) < 0)
			log_warn("%s", err.msg);
	}
}
