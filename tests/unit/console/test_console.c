/*
 * The console at pipes, files and terminals. Each test forks a child whose standard input and output
 * are what is to be tested; a worker thread there serves a console, and the child's "guest" says back
 * in brackets what it reads.
 */
#include "console/console.h"

#include "util/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { STATUS_QUIT = 10, STATUS_LEFT = 11, STATUS_PIPE = 12, STATUS_BROKEN = 99 };

/* What the child does. */
struct scene {
	const char *greeting; /* written as the serial port would, one byte at a time */
	size_t flood;	      /* so many bytes of 'x' are written before it quits */
	bool impatient;
	bool crash;
	const char *file; /* CONSOLE_FILE */
	size_t sip; /* the guest takes so many bytes at a time, and asks again later; 0: all */
};

struct guest {
	struct console *console;
	const struct scene *scene;
	int end_fd;
	_Atomic int status;
	size_t sipped;
};

static void end(struct guest *g, int status)
{
	uint64_t one = 1;
	int none = 0;

	atomic_compare_exchange_strong(&g->status, &none, status);
	if (write(g->end_fd, &one, sizeof(one)) < 0)
		abort();
}

static void on_leave(void *ctx, int signal)
{
	end(ctx, signal == SIGPIPE ? STATUS_PIPE : STATUS_LEFT);
}

/* Worker thread. A 'q' ends the child. */
static size_t on_input(void *ctx, const uint8_t *data, size_t len)
{
	struct guest *g = ctx;
	size_t n = len;
	struct iovec iov[3];

	if (g->scene->sip && len > g->scene->sip) {
		n = g->scene->sip;
		console_input_wanted(g->console);
	}
	iov[0] = (struct iovec){ (char[]){ "[" }, 1 };
	iov[1] = (struct iovec){ (void *)data, n };
	iov[2] = (struct iovec){ (char[]){ "]" }, 1 };
	console_put(g->console, iov, 3, 0);
	if (memchr(data, 'q', n))
		end(g, STATUS_QUIT);
	return n;
}

static void talk(struct guest *g)
{
	const struct scene *scene = g->scene;
	char block[1000];

	for (const char *c = scene->greeting; c && *c; c++)
		console_write(g->console, c, 1);
	memset(block, 'x', sizeof(block));
	for (size_t done = 0; done < scene->flood && !atomic_load(&g->status);
		done += sizeof(block))
		console_write(g->console, block, sizeof(block));
	if (scene->flood)
		end(g, STATUS_QUIT);
	if (scene->crash)
		abort();
}

static int child(const struct scene *scene)
{
	struct guest g = { .scene = scene, .end_fd = eventfd(0, 0) };
	struct worker_params p = { .name = "worker" };
	struct worker *worker;
	struct error err;
	uint64_t count;

	signal(SIGPIPE, SIG_IGN);
	log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	if (worker_create(&worker, &p, &err) < 0 ||
		console_open(&g.console, scene->file ? CONSOLE_FILE : CONSOLE_STDIO, scene->file,
			&err) < 0 ||
		console_attach(g.console, worker, on_leave, &g, &err) < 0)
		return STATUS_BROKEN;
	console_set_sink(g.console, &(struct console_sink){ on_input, &g });
	if (worker_start(worker, &err) < 0)
		return STATUS_BROKEN;
	console_begin(g.console);
	talk(&g);
	if (read(g.end_fd, &count, sizeof(count)) < 0)
		return STATUS_BROKEN;
	console_stop(g.console);
	console_drain(g.console, !scene->impatient);
	worker_stop(worker);
	worker_destroy(worker);
	console_close(g.console);
	close(g.end_fd);
	return atomic_load(&g.status);
}

/* ---- the other end ---- */

struct host {
	pid_t pid;
	int in, out;  /* ours: to the child's input, from its output */
	int terminal; /* the child's side of the pty, kept to look at its settings; -1: none */
	char seen[256 * 1024];
	size_t len;
};

static void start(struct host *h, const struct scene *scene, int child_in, int child_out)
{
	h->len = 0;
	h->pid = fork();
	assert_true(h->pid >= 0);
	if (h->pid)
		return;
	if (isatty(child_in) && (setsid() < 0 || ioctl(child_in, TIOCSCTTY, 0) < 0))
		_exit(STATUS_BROKEN);
	dup2(child_in, 0);
	dup2(child_out, 1);
	close_range(3, ~0U, 0);
	_exit(child(scene));
}

static void start_pipes(struct host *h, const struct scene *scene)
{
	int in[2], out[2];

	h->terminal = -1;
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	start(h, scene, in[0], out[1]);
	close(in[0]);
	close(out[1]);
	h->in = in[1];
	h->out = out[0];
}

static void start_pty(struct host *h, const struct scene *scene)
{
	struct winsize ws = { .ws_col = 132, .ws_row = 43 };
	int ours, theirs;

	assert_int_equal(openpty(&ours, &theirs, NULL, NULL, &ws), 0);
	start(h, scene, theirs, theirs);
	h->in = ours;
	h->out = dup(ours);
	h->terminal = theirs;
}

/* Read until @text was seen, or the end of output if it is NULL. False after five quiet seconds. */
static bool wait_for(struct host *h, const char *text)
{
	for (;;) {
		struct pollfd pfd = { .fd = h->out, .events = POLLIN };
		ssize_t n;

		h->seen[h->len] = 0;
		if (text && strstr(h->seen, text))
			return true;
		if (poll(&pfd, 1, 5000) <= 0 || h->len + 1 >= sizeof(h->seen))
			return false;
		n = read(h->out, h->seen + h->len, sizeof(h->seen) - 1 - h->len);
		if (n <= 0)
			return !text;
		h->len += (size_t)n;
	}
}

static void say(struct host *h, const char *text)
{
	assert_int_equal(write(h->in, text, strlen(text)), (ssize_t)strlen(text));
}

static int finish(struct host *h)
{
	int status;

	assert_int_equal(waitpid(h->pid, &status, 0), h->pid);
	if (h->in >= 0)
		close(h->in);
	if (h->out >= 0)
		close(h->out);
	if (h->terminal >= 0)
		close(h->terminal);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static bool is_raw(struct host *h)
{
	struct termios t;

	assert_int_equal(tcgetattr(h->terminal, &t), 0);
	return !(t.c_lflag & ICANON);
}

static void test_pipes(void **state)
{
	struct host h;

	start_pipes(&h, &(struct scene){ .greeting = "login: " });
	assert_true(wait_for(&h, "login: ")); /* no newline, and yet it comes */
	say(&h, "abc\001xd");		      /* no terminal: no escape key */
	assert_true(wait_for(&h, "[abc\001xd]"));
	say(&h, "q");
	assert_true(wait_for(&h, "[q]"));
	assert_int_equal(finish(&h), STATUS_QUIT);
}

static void test_input_ends(void **state)
{
	struct host h;

	start_pipes(&h, &(struct scene){ 0 });
	say(&h, "last");
	close(h.in);
	h.in = -1;
	assert_true(wait_for(&h, "[last]"));
	usleep(50 * 1000);
	assert_int_equal(waitpid(h.pid, NULL, WNOHANG), 0); /* lives on */
	kill(h.pid, SIGKILL);
	assert_int_equal(finish(&h), 128 + SIGKILL);
}

/* A guest that takes three bytes at a time gets all of them, in order. */
static void test_slow_guest(void **state)
{
	static char text[20001], got[20001];
	struct host h;
	size_t n = 0;

	for (size_t i = 0; i < 20000; i++)
		text[i] = (char)('0' + i % 10);
	start_pipes(&h, &(struct scene){ .sip = 3 });
	say(&h, text);
	say(&h, "q");
	assert_true(wait_for(&h, "q]"));
	for (size_t i = 0; i < h.len; i++)
		if (h.seen[i] >= '0' && h.seen[i] <= '9')
			got[n++] = h.seen[i];
	assert_int_equal(n, 20000);
	assert_memory_equal(got, text, n);
	assert_int_equal(finish(&h), STATUS_QUIT);
}

/* Much more than fits into the buffer and the pipe: the guest waits, nothing is lost. */
static void test_flood(void **state)
{
	struct host h;

	start_pipes(&h, &(struct scene){ .flood = 250 * 1000 });
	usleep(100 * 1000);
	assert_int_equal(waitpid(h.pid, NULL, WNOHANG), 0);
	assert_true(wait_for(&h, NULL));
	assert_int_equal(h.len, 250 * 1000);
	assert_int_equal(finish(&h), STATUS_QUIT);
}

/*
 * Told to end, and nobody reads: it does not wait for long. What is written is more than a pipe holds
 * (64 KiB, or half of that in pieces that leave its pages half empty), and fits with the console's
 * buffer.
 */
static void test_impatient(void **state)
{
	struct host h;

	start_pipes(&h, &(struct scene){ .flood = 90 * 1000, .impatient = true });
	assert_int_equal(finish(&h), STATUS_QUIT);
}

static void test_reader_goes(void **state)
{
	struct host h;

	start_pipes(&h, &(struct scene){ .greeting = "one\n" });
	assert_true(wait_for(&h, "one\n"));
	close(h.out);
	h.out = -1;
	say(&h, "two");
	assert_int_equal(finish(&h), STATUS_PIPE);
}

/* Whoever started us has made the descriptors non-blocking. */
static void test_nonblocking(void **state)
{
	int in[2], out[2];
	struct host h = { .terminal = -1 };

	assert_int_equal(pipe2(in, O_NONBLOCK), 0);
	assert_int_equal(pipe2(out, O_NONBLOCK), 0);
	start(&h, &(struct scene){ .flood = 200 * 1000 }, in[0], out[1]);
	close(in[0]);
	close(out[1]);
	h.in = in[1];
	h.out = out[0];
	usleep(100 * 1000);
	assert_true(wait_for(&h, NULL));
	assert_int_equal(h.len, 200 * 1000);
	assert_int_equal(finish(&h), STATUS_QUIT);

	assert_int_equal(pipe2(in, O_NONBLOCK), 0);
	assert_int_equal(pipe2(out, O_NONBLOCK), 0);
	start(&h, &(struct scene){ 0 }, in[0], out[1]);
	close(in[0]);
	close(out[1]);
	h.in = in[1];
	h.out = out[0];
	usleep(100 * 1000);
	say(&h, "later q");
	assert_true(wait_for(&h, "[later q]"));
	assert_int_equal(finish(&h), STATUS_QUIT);
}

static void test_files(void **state)
{
	char in_name[] = "/tmp/console-in-XXXXXX", out_name[] = "/tmp/console-out-XXXXXX";
	int in = mkstemp(in_name), out = mkstemp(out_name);
	struct host h = { .in = -1, .out = -1, .terminal = -1 };
	char buf[64] = { 0 };

	assert_true(in >= 0 && out >= 0);
	assert_int_equal(write(in, "skipped from a file q", 21), 21);
	lseek(in, 8, SEEK_SET); /* a shared position is respected */
	start(&h, &(struct scene){ .greeting = "hello\n" }, in, out);
	assert_int_equal(finish(&h), STATUS_QUIT);
	assert_true(pread(out, buf, sizeof(buf) - 1, 0) > 0);
	assert_non_null(strstr(buf, "hello\n"));
	assert_non_null(strstr(buf, "[from a file q]"));

	/* --console file=: there is no input. */
	h.in = h.out = -1;
	start(&h, &(struct scene){ .greeting = "to a file\n", .flood = 3000, .file = out_name }, in,
		STDERR_FILENO);
	assert_int_equal(finish(&h), STATUS_QUIT);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(pread(out, buf, 12, 0), 12);
	assert_memory_equal(buf, "to a file\nxx", 12);
	unlink(in_name);
	unlink(out_name);
	close(in);
	close(out);
}

static void test_dev_null(void **state)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct host h = { .in = -1, .out = -1, .terminal = -1 };

	start(&h, &(struct scene){ .flood = 200 * 1000 }, null, null);
	assert_int_equal(finish(&h), STATUS_QUIT);
	close(null);
}

static void test_terminal(void **state)
{
	struct termios before, after;
	struct host h;

	start_pty(&h, &(struct scene){ .greeting = "hi\n" });
	tcgetattr(h.terminal, &before);
	assert_true(wait_for(&h, "hi\n")); /* no carriage return is added */
	assert_true(is_raw(&h));
	say(&h, "\003\032\001\001"); /* Ctrl-C, Ctrl-Z and one Ctrl-A are the guest's */
	assert_true(wait_for(&h, "\001]"));
	assert_non_null(strchr(h.seen, '\003'));
	assert_non_null(strchr(h.seen, '\032'));
	say(&h, "\001h");
	assert_true(wait_for(&h, "Ctrl-A x"));
	assert_true(wait_for(&h, "this help"));
	say(&h, "\001x");
	assert_int_equal(finish(&h), STATUS_LEFT);
	(void)after;
}

static void test_terminal_restored(void **state)
{
	struct termios before, after;
	struct host h;
	int status;

	start_pty(&h, &(struct scene){ .greeting = "up\n" });
	assert_true(wait_for(&h, "up\n"));
	assert_true(is_raw(&h));
	say(&h, "q");
	assert_int_equal(waitpid(h.pid, &status, 0), h.pid);
	assert_int_equal(WEXITSTATUS(status), STATUS_QUIT);
	assert_false(is_raw(&h));
	tcgetattr(h.terminal, &before);
	assert_true(before.c_oflag & OPOST);
	close(h.in);
	close(h.out);
	close(h.terminal);

	/* A fault of our own: the signal still kills, the terminal is as it was. */
	start_pty(&h, &(struct scene){ .greeting = "up\n", .crash = true });
	tcgetattr(h.terminal, &before);
	assert_int_equal(waitpid(h.pid, &status, 0), h.pid);
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status)); /* a sanitizer exits */
	tcgetattr(h.terminal, &after);
	assert_int_equal(before.c_lflag, after.c_lflag);
	close(h.in);
	close(h.out);
	close(h.terminal);
}

/* A guest that hears nothing cannot keep anybody from leaving. */
static void test_leave_deaf_guest(void **state)
{
	struct host h;

	start_pty(&h, &(struct scene){ .greeting = "deaf\n", .sip = 1 });
	assert_true(wait_for(&h, "deaf\n"));
	say(&h, "some typing, and then\001x");
	assert_int_equal(finish(&h), STATUS_LEFT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pipes),
		cmocka_unit_test(test_input_ends),
		cmocka_unit_test(test_slow_guest),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_impatient),
		cmocka_unit_test(test_reader_goes),
		cmocka_unit_test(test_nonblocking),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_dev_null),
		cmocka_unit_test(test_terminal),
		cmocka_unit_test(test_terminal_restored),
		cmocka_unit_test(test_leave_deaf_guest),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
