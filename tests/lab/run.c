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
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "proto.h"

#define START_LIMIT_S	90 /* from the start of QEMU to the start of the command */
#define SILENCE_LIMIT_S 90 /* the lab sends a frame every few seconds */
#define FREEZE_LIMIT_S	180
#define QMP_LIMIT_MS	60000

enum { EXIT_LAB = 125, EXIT_TIMEOUT = 124 };
enum outcome { COMMAND_ENDED, LAB_DIED, TIMED_OUT };

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

static struct termios saved_termios;
static bool termios_changed;
static volatile sig_atomic_t got_signal, window_changed;

static int64_t now_ms(void)
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

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
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

static void say(const char *text)
{
	fprintf(stderr, "lab: %s\n", text);
}

/* QEMU */

struct args {
	char *v[96];
	int n;
};

static void __attribute__((format(printf, 2, 3))) add(struct args *a, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (a->n + 1 >= (int)(sizeof(a->v) / sizeof(a->v[0])) ||
		vasprintf(&a->v[a->n++], fmt, ap) < 0)
		die("too many arguments for QEMU");
	va_end(ap);
	a->v[a->n] = NULL;
}

static void add_words(struct args *a, const char *words)
{
	char *copy = strdup(words);

	for (char *w = strtok(copy, " "); w; w = strtok(NULL, " "))
		add(a, "%s", w);
	free(copy);
}

/* The same machine for freezing and resuming, but for how its memory is mapped. */
static void qemu_args(const struct lab *l, struct args *a, bool freeze, int qmp, int port)
{
	add_words(a, "qemu-system-x86_64 -M q35 -accel tcg,thread=multi,tb-size=1024 "
		     "-cpu max,+svm,-pku -smp 1 -bios qboot.rom "
		     "-nodefaults -no-user-config -display none -no-reboot "
		     "-machine memory-backend=mem,hpet=off,smm=off,vmport=off "
		     "-device isa-debug-exit,iobase=0xf4,iosize=4 "
		     "-device virtio-serial-pci,max_ports=2,ioeventfd=off "
		     "-device virtserialport,chardev=port,nr=1 "
		     "-device virtio-blk-pci,drive=scratch "
		     "-device virtio-9p-pci,fsdev=root,mount_tag=root "
		     "-device virtio-9p-pci,fsdev=work,mount_tag=work");
	add(a, "-m");
	add(a, "%s", l->memory);
	add(a, "-kernel");
	add(a, "%s/vmlinux", l->state);
	add(a, "-initrd");
	add(a, "%s/lab.cpio", l->state);
	add(a, "-append");
	add(a, "console=ttyS0 panic=-1 nohz=off highres=off mitigations=off nokaslr "
	       "init_on_alloc=0 audit=0 tsc=reliable no_timer_check noreplace-smp "
	       "cryptomgr.notests rcupdate.rcu_expedited=1 random.trust_cpu=on nowatchdog "
	       "quiet");
	add(a, "-object");
	add(a, "memory-backend-file,id=mem,size=%s,mem-path=%s/ram-%s%s,share=%s", l->memory,
		l->state, l->memory, freeze ? ".new" : "", freeze ? "on" : "off");
	add(a, "-chardev");
	add(a, "socket,id=qmp,fd=%d", qmp);
	add(a, "-mon");
	add(a, "chardev=qmp,mode=control");
	add(a, "-chardev");
	add(a, "socket,id=port,fd=%d", port);
	add(a, "-serial");
	add(a, "file:%s", l->console);
	add(a, "-drive");
	add(a, "file=%s/scratch,if=none,id=scratch,format=raw,snapshot=on,cache=unsafe", l->state);
	add(a, "-fsdev");
	add(a, "local,id=root,path=/,readonly=on,security_model=none,multidevs=remap");
	add(a, "-fsdev");
	add(a, "local,id=work,path=%s,security_model=none,multidevs=remap", l->work);
	if (!freeze)
		add_words(a, "-incoming defer -S");
}

static void exec_qemu(const struct lab *l, bool freeze, int qmp, int port, pid_t parent)
{
	struct args a = { .n = 0 };
	sigset_t none;
	int null = open("/dev/null", O_RDWR);

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setpgid(0, 0); /* a terminal's Ctrl-C is for run.c to judge */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	dup2(null, 0);
	dup2(null, 1);
	dup2(qmp, 3);
	dup2(port, 4);
	close_range(5, ~0U, 0);
	qemu_args(l, &a, freeze, 3, 4);
	execvp(a.v[0], a.v);
	dprintf(2, "lab: %s: %s\n", a.v[0], strerror(errno));
	_exit(EXIT_LAB);
}

/* Moves a descriptor out of the way of the numbers that exec_qemu gives out. */
static int high(int fd)
{
	int up = fcntl(fd, F_DUPFD_CLOEXEC, 10);

	if (up < 0)
		die("dup: %s", strerror(errno));
	close(fd);
	return up;
}

static void start_qemu(struct lab *l, bool freeze)
{
	pid_t self = getpid();
	int qmp[2], port[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, qmp) ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, port))
		die("socketpair: %s", strerror(errno));
	for (int i = 0; i < 2; i++) {
		qmp[i] = high(qmp[i]);
		port[i] = high(port[i]);
	}
	l->begin_ms = l->last_ms = now_ms();
	l->started = false;
	l->pos = l->len = 0;
	l->qemu = fork();
	if (l->qemu < 0)
		die("fork: %s", strerror(errno));
	if (l->qemu == 0)
		exec_qemu(l, freeze, qmp[1], port[1], self);
	close(qmp[1]);
	close(port[1]);
	l->qmp = qmp[0];
	l->port = port[0];
}

static void stop_qemu(struct lab *l)
{
	if (l->qemu > 0) {
		kill(l->qemu, SIGKILL);
		while (waitpid(l->qemu, NULL, 0) < 0 && errno == EINTR)
			;
		close(l->qmp);
		close(l->port);
	}
	l->qemu = 0;
}

/* Reads one line from QMP; false at its end or after the time limit. */
static bool qmp_line(struct lab *l, char *line, size_t size)
{
	int64_t limit = now_ms() + QMP_LIMIT_MS;
	size_t n = 0;

	for (;;) {
		struct pollfd p = { .fd = l->qmp, .events = POLLIN };
		char c;

		if (got_signal || now_ms() > limit)
			return false;
		if (poll(&p, 1, 500) <= 0)
			continue;
		if (read(l->qmp, &c, 1) != 1)
			return false;
		if (c == '\n')
			break;
		if (n + 1 < size)
			line[n++] = c;
	}
	line[n] = 0;
	return true;
}

/* Sends a command (if any) and reads until a line that holds WANT. */
static bool qmp(struct lab *l, const char *command, const char *want)
{
	char line[4096];

	if (command && write(l->qmp, command, strlen(command)) < 0)
		return false;
	while (qmp_line(l, line, sizeof(line))) {
		if (strstr(line, "\"error\"") || strstr(line, "\"failed\"")) {
			fprintf(stderr, "lab: QEMU says: %s\n", line);
			return false;
		}
		if (strstr(line, want))
			return true;
	}
	return false;
}

static bool qmp_begin(struct lab *l)
{
	return qmp(l, NULL, "\"QMP\"") &&
	       qmp(l, "{\"execute\":\"qmp_capabilities\"}", "\"return\"") &&
	       qmp(l,
		       "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":["
		       "{\"capability\":\"x-ignore-shared\",\"state\":true},"
		       "{\"capability\":\"events\",\"state\":true}]}}",
		       "\"return\"");
}

static bool resume(struct lab *l)
{
	char command[4400];

	snprintf(command, sizeof(command),
		"{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"exec:cat '%s/state-%s'\"}}",
		l->state, l->memory);
	return qmp_begin(l) && qmp(l, command, "\"completed\"") &&
	       qmp(l, "{\"execute\":\"cont\"}", "\"return\"");
}

/* Frames */

static bool read_all(int fd, void *data, size_t len)
{
	char *p = data;

	while (len) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= n;
	}
	return true;
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
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= n;
	}
	return true;
}

static bool read_frame(struct lab *l, struct lab_frame *f, char *data)
{
	if (!read_all(l->port, f, sizeof(*f)) || f->len > LAB_FRAME_MAX ||
		!read_all(l->port, data, f->len))
		return false;
	data[f->len] = 0;
	l->last_ms = now_ms();
	return true;
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

/* Handles one frame from the lab; returns false when it was the last. */
static bool take_frame(struct lab *l, enum outcome *outcome)
{
	static char data[LAB_FRAME_MAX + 1];
	struct lab_frame f;

	*outcome = LAB_DIED;
	if (!read_frame(l, &f, data))
		return false;
	switch (f.type) {
	case LAB_STARTED:
		l->started = true;
		return true;
	case LAB_OUT:
		write_all(1, data, f.len);
		return true;
	case LAB_ERR:
		write_all(2, data, f.len);
		return true;
	case LAB_BEAT:
		return true;
	case LAB_STATUS:
		memcpy(&l->status, data, sizeof(l->status));
		*outcome = COMMAND_ENDED;
		return false;
	case LAB_FAULT:
		say(data);
		return false;
	default:
		say("a frame of unknown type");
		return false;
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
		int64_t now = now_ms();

		if (got_signal)
			return LAB_DIED;
		if (l->timeout_s && now - l->begin_ms > l->timeout_s * 1000LL)
			return TIMED_OUT;
		if (now - l->last_ms > (l->started ? SILENCE_LIMIT_S : START_LIMIT_S) * 1000LL) {
			say("no sign of life");
			return LAB_DIED;
		}
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
		if ((p[0].revents & (POLLIN | POLLHUP)) && !take_frame(l, &outcome))
			return outcome;
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
	if (resume(l) && send_job(l))
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
	char command[4400], from[4300], to[4200];
	bool ok;

	start_qemu(l, true);
	p = (struct pollfd){ .fd = l->port, .events = POLLIN };
	ok = qmp_begin(l) && poll(&p, 1, FREEZE_LIMIT_S * 1000) == 1 && read_frame(l, &f, data);
	if (ok && f.type == LAB_FAULT)
		say(data);
	snprintf(command, sizeof(command),
		"{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"exec:cat > '%s/state-%s.new'\"}}",
		l->state, l->memory);
	ok = ok && f.type == LAB_READY && qmp(l, "{\"execute\":\"stop\"}", "\"return\"") &&
	     qmp(l, command, "\"completed\"");
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
