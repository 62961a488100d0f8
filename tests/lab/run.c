/*
 * The host's end of the lab: starts QEMU, freezes the lab once or resumes it
 * and has it run one command (see README.md). ./lab calls it; the frozen files
 * are in the folder --state.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "run.h"

#define START_LIMIT_S	90 /* from the start of QEMU to the start of the command */
#define SILENCE_LIMIT_S 90 /* the lab sends a frame every few seconds */
#define FREEZE_LIMIT_S	180

enum outcome { LAB_ALIVE, COMMAND_ENDED, LAB_DIED, TIMED_OUT };

static struct termios saved_termios;
static bool termios_changed;
static volatile sig_atomic_t window_changed;
volatile sig_atomic_t got_signal;

int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static void restore_terminal(void)
{
	if (termios_changed)
		tcsetattr(0, TCSADRAIN, &saved_termios);
	termios_changed = false;
}

void die(const char *fmt, ...)
{
	va_list ap;

	restore_terminal();
	va_start(ap, fmt);
	fputs("lab: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(EXIT_LAB);
}

void say(const char *text)
{
	fprintf(stderr, "lab: %s\n", text);
}

/* Is there a reason not to wait for the lab any longer? */
static bool given_up(const struct lab *l, enum outcome *outcome)
{
	int64_t now = now_ms();

	*outcome = LAB_DIED;
	if (got_signal)
		return true;
	if (l->timeout_s && now - l->begin_ms > l->timeout_s * 1000LL) {
		*outcome = TIMED_OUT;
		return true;
	}
	if (now - l->last_ms <= (l->started ? SILENCE_LIMIT_S : START_LIMIT_S) * 1000LL)
		return false;
	say("no sign of life");
	return true;
}

/* Returns LAB_ALIVE, or what to make of it that not all of the bytes came. */
static enum outcome read_port(struct lab *l, void *data, size_t len)
{
	enum outcome outcome;
	char *p = data;

	while (len) {
		struct pollfd pfd = { .fd = l->port, .events = POLLIN };
		ssize_t n;

		if (given_up(l, &outcome))
			return outcome;
		if (poll(&pfd, 1, 500) <= 0)
			continue;
		n = read(l->port, p, len);
		if (n <= 0)
			return LAB_DIED;
		p += n;
		len -= n;
	}
	return LAB_ALIVE;
}

static bool write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EAGAIN) {
			struct pollfd pfd = { .fd = fd, .events = POLLOUT };

			poll(&pfd, 1, -1);
			continue;
		}
		if (n < 0 && errno == EINTR && !got_signal)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= n;
	}
	return true;
}

static enum outcome read_frame(struct lab *l, struct lab_frame *f, char *data)
{
	enum outcome outcome = read_port(l, f, sizeof(*f));

	if (outcome == LAB_ALIVE)
		outcome = f->len > LAB_FRAME_MAX ? LAB_DIED : read_port(l, data, f->len);
	if (outcome == LAB_ALIVE) {
		data[f->len] = 0;
		l->last_ms = now_ms();
	}
	return outcome;
}

static void put_string(char *frame, size_t *len, const char *s)
{
	size_t n = strlen(s) + 1;

	if (*len + n > LAB_FRAME_MAX)
		die("the command and its environment are over %d bytes", LAB_FRAME_MAX);
	memcpy(frame + *len, s, n);
	*len += n;
}

static struct lab_winsize window(void)
{
	struct winsize ws = { .ws_row = 24, .ws_col = 80 };

	ioctl(0, TIOCGWINSZ, &ws);
	return (struct lab_winsize){ .rows = ws.ws_row, .cols = ws.ws_col };
}

static bool send_job(struct lab *l)
{
	static char frame[sizeof(struct lab_frame) + LAB_FRAME_MAX];
	struct lab_frame *f = (void *)frame;
	struct lab_job *job = (void *)(f + 1);
	size_t len = sizeof(*f) + sizeof(*job);
	struct timespec ts;
	char *dir = getcwd(NULL, 0);

	memset(job, 0, sizeof(*job));
	clock_gettime(CLOCK_REALTIME, &ts);
	job->sec = ts.tv_sec;
	job->nsec = ts.tv_nsec;
	job->tty = l->tty;
	job->win = window();
	if (getrandom(job->seed, sizeof(job->seed), 0) != sizeof(job->seed))
		die("getrandom: %s", strerror(errno));
	put_string(frame, &len, dir ? dir : "/");
	put_string(frame, &len, l->work);
	put_string(frame, &len, l->modules);
	for (char **v = l->argv; *v; v++, job->argc++)
		put_string(frame, &len, *v);
	for (char **v = environ; *v; v++, job->envc++)
		put_string(frame, &len, *v);
	put_string(frame, &len, "MICROVM_LAB=1");
	job->envc++;
	f->type = LAB_JOB;
	f->len = len - sizeof(*f);
	free(dir);
	return write_all(l->port, frame, len);
}

static void queue_frame(struct lab *l, uint32_t type, const void *data, size_t len)
{
	struct lab_frame f = { .type = type, .len = len };

	memcpy(l->pending, &f, sizeof(f));
	memmove(l->pending + sizeof(f), data, len);
	l->pos = 0;
	l->len = sizeof(f) + len;
}

/* Reads some standard input into the frame for the lab; an empty one is its end. */
static void take_input(struct lab *l)
{
	char *data = l->pending + sizeof(struct lab_frame);
	ssize_t n = l->no_input ? 0 : read(0, data, LAB_CHUNK);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		n = 0;
		l->no_input = true;
	}
	queue_frame(l, LAB_STDIN, data, n);
	l->input_sent += n;
}

static bool pass_pending(struct lab *l)
{
	ssize_t n =
		send(l->port, l->pending + l->pos, l->len - l->pos, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n > 0)
		l->pos += n;
	return n > 0 || errno == EAGAIN || errno == EINTR;
}

/* Handles one frame from the lab; returns LAB_ALIVE unless it was the last. */
static enum outcome take_frame(struct lab *l)
{
	static char data[LAB_FRAME_MAX + 1];
	struct lab_frame f;
	enum outcome outcome = read_frame(l, &f, data);

	if (outcome != LAB_ALIVE)
		return outcome;
	switch (f.type) {
	case LAB_STARTED:
		l->started = true;
		return LAB_ALIVE;
	case LAB_OUT:
	case LAB_ERR:
		if (!write_all(f.type == LAB_OUT ? 1 : 2, data, f.len) && errno == EPIPE)
			got_signal = SIGPIPE; /* nobody reads on */
		return LAB_ALIVE;
	case LAB_BEAT:
		return LAB_ALIVE;
	case LAB_STATUS:
		memcpy(&l->status, data, sizeof(l->status));
		return COMMAND_ENDED;
	case LAB_FAULT:
		say(data);
		return LAB_DIED;
	default:
		say("a frame of unknown type");
		return LAB_DIED;
	}
}

static void on_signal(int sig)
{
	if (sig == SIGWINCH)
		window_changed = 1;
	else
		got_signal = sig;
}

static enum outcome carry(struct lab *l)
{
	bool input_done = false;
	enum outcome outcome;

	for (;;) {
		bool full = l->pos < l->len;
		bool want_input = l->started && !full && !input_done;
		struct pollfd p[] = {
			{ .fd = l->port, .events = POLLIN | (full ? POLLOUT : 0) },
			{ .fd = want_input && !l->no_input ? 0 : -1, .events = POLLIN },
		};

		if (given_up(l, &outcome))
			return outcome;
		if (window_changed && !full && l->started) {
			struct lab_winsize win = window();

			window_changed = 0;
			queue_frame(l, LAB_WINSIZE, &win, sizeof(win));
			continue;
		}
		if (want_input && l->no_input) {
			input_done = true;
			take_input(l);
			continue;
		}
		if (poll(p, 2, 500) <= 0)
			continue;
		if ((p[0].revents & POLLOUT) && !pass_pending(l))
			return LAB_DIED;
		if (p[0].revents & (POLLIN | POLLHUP)) {
			outcome = take_frame(l);
			if (outcome != LAB_ALIVE)
				return outcome;
		}
		if (p[1].revents)
			take_input(l);
		if (l->no_input && p[1].revents)
			input_done = true;
	}
}

static void show_console(const struct lab *l)
{
	char command[4200];

	fflush(stderr);
	snprintf(command, sizeof(command), "tail -n 25 '%s' | sed 's/^/lab console: /' >&2",
		l->console);
	if (system(command))
		say("no console output");
}

static enum outcome run_once(struct lab *l)
{
	enum outcome outcome = LAB_DIED;

	start_qemu(l, false);
	if (resume_state(l) && send_job(l))
		outcome = carry(l);
	stop_qemu(l);
	if (outcome == LAB_DIED && !got_signal)
		show_console(l);
	unlink(l->console);
	return outcome;
}

static int run(struct lab *l)
{
	enum outcome outcome;

	for (int attempt = 0;; attempt++) {
		outcome = run_once(l);
		if (outcome != LAB_DIED || got_signal)
			break;
		if (attempt || l->input_sent) {
			say("the lab itself died");
			break;
		}
		say("the lab itself died; repeating the command once in a new one");
	}
	restore_terminal();
	if (got_signal)
		return 128 + got_signal;
	if (outcome == COMMAND_ENDED)
		return l->status;
	if (outcome == LAB_DIED)
		return EXIT_LAB;
	fprintf(stderr, "lab: stopped: the command took longer than %d s (--timeout)\n",
		l->timeout_s);
	return EXIT_TIMEOUT;
}

/* Boots the lab, waits for READY and saves it: ram-SIZE and state-SIZE. */
static int freeze(struct lab *l)
{
	static char data[LAB_FRAME_MAX + 1];
	struct pollfd p;
	struct lab_frame f = { 0 };
	char from[4300], to[4200];
	bool ok;

	start_qemu(l, true);
	p = (struct pollfd){ .fd = l->port, .events = POLLIN };
	ok = poll(&p, 1, FREEZE_LIMIT_S * 1000) == 1;
	l->last_ms = now_ms();
	ok = ok && read_frame(l, &f, data) == LAB_ALIVE;
	if (ok && f.type == LAB_FAULT)
		say(data);
	ok = ok && f.type == LAB_READY && save_state(l);
	stop_qemu(l);
	if (!ok) {
		show_console(l);
		die("could not boot the lab to its ready state");
	}
	unlink(l->console);
	for (int i = 0; i < 2; i++) {
		snprintf(to, sizeof(to), "%s/%s-%s", l->state, i ? "state" : "ram", l->memory);
		snprintf(from, sizeof(from), "%s.new", to);
		if (rename(from, to))
			die("rename %s: %s", from, strerror(errno));
	}
	return 0;
}

static void raw_terminal(void)
{
	struct termios raw;

	if (tcgetattr(0, &saved_termios))
		return;
	raw = saved_termios;
	cfmakeraw(&raw);
	termios_changed = tcsetattr(0, TCSADRAIN, &raw) == 0;
}

static void catch_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH };
	struct sigaction sa = { .sa_handler = on_signal };

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
	struct lab l = { .memory = "3G", .modules = "", .timeout_s = 0 };
	bool make = false, no_tty = false;
	int i;

	for (i = 1; i < argc && strcmp(argv[i], "--"); i++) {
		const char *name = argv[i];

		if (!strcmp(name, "--freeze"))
			make = true;
		else if (!strcmp(name, "--no-tty"))
			no_tty = true;
		else if (!strcmp(name, "--no-input"))
			l.no_input = true;
		else if (i + 1 >= argc)
			die("%s needs a value", name);
		else if (!strcmp(name, "--state"))
			l.state = argv[++i];
		else if (!strcmp(name, "--memory"))
			l.memory = argv[++i];
		else if (!strcmp(name, "--work"))
			l.work = argv[++i];
		else if (!strcmp(name, "--modules"))
			l.modules = argv[++i];
		else if (!strcmp(name, "--timeout"))
			l.timeout_s = atoi(argv[++i]);
		else
			die("unknown option %s", name);
	}
	l.argv = argv + i + (i < argc);
	if (!l.state || !l.work || (!make && !*l.argv))
		die("usage: run --state DIR --work DIR [--memory SIZE] -- COMMAND");
	snprintf(l.console, sizeof(l.console), "%s/console.%d", l.state, getpid());
	catch_signals();
	if (make)
		return freeze(&l);
	if (fcntl(0, F_GETFD) < 0)
		l.no_input = true;
	l.tty = !no_tty && !l.no_input && isatty(0) && isatty(1);
	if (l.tty)
		raw_terminal();
	return run(&l);
}
