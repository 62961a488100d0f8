/*
 * The lab's command: started with pipes or a terminal, and carried to its end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init.h"

#define BEAT_MS 3000

struct task {
	pid_t pid;
	int in;	    /* to the command's standard input; -1 once closed */
	int out[2]; /* from its standard output and error; out[1] is -1 on a terminal */
	bool tty;
	char pending[LAB_CHUNK]; /* input that the command has not taken yet */
	size_t pos, len;
};

static void open_terminal(struct task *t, int child[3], struct lab_winsize win)
{
	struct winsize ws = { .ws_row = win.rows, .ws_col = win.cols };
	int slave;

	t->in = t->out[0] = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	t->out[1] = -1;
	ioctl(t->in, TIOCSPTLCK, &(int){ 0 });
	slave = ioctl(t->in, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		fault("open a terminal");
	ioctl(slave, TIOCSWINSZ, &ws);
	child[0] = child[1] = child[2] = slave;
}

static void open_pipes(struct task *t, int child[3])
{
	int in[2], out[2], err[2];

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
		fault("make pipes");
	t->in = in[1];
	t->out[0] = out[0];
	t->out[1] = err[0];
	fcntl(in[1], F_SETFL, O_NONBLOCK);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(err[0], F_SETFL, O_NONBLOCK);
	child[0] = in[0];
	child[1] = out[1];
	child[2] = err[1];
}

static void __attribute__((noreturn))
exec_command(int child[3], bool tty, const char *dir, char **argv, char **envp)
{
	sigset_t none;

	setsid();
	if (tty)
		ioctl(child[0], TIOCSCTTY, 0);
	for (int i = 0; i < 3; i++)
		dup2(child[i], i);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (chdir(dir)) {
		dprintf(2, "lab: cd %s: %s\n", dir, strerror(errno));
		_exit(126);
	}
	environ = envp;
	execvp(argv[0], argv);
	dprintf(2, "lab: %s: %s\n", argv[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static void start_command(
	struct task *t, const struct lab_job *job, const char *dir, char **argv, char **envp)
{
	int child[3];

	t->tty = job->tty;
	if (t->tty)
		open_terminal(t, child, job->win);
	else
		open_pipes(t, child);
	t->pid = fork();
	if (t->pid < 0)
		fault("fork");
	if (t->pid == 0)
		exec_command(child, t->tty, dir, argv, envp);
	for (int i = 0; i < (t->tty ? 1 : 3); i++)
		close(child[i]);
}

static void close_input(struct task *t)
{
	if (t->tty)
		write_all(t->in, "\004", 1); /* what a terminal takes as the end */
	else if (t->in >= 0)
		close(t->in);
	t->in = -1;
}

static void pass_input(struct task *t)
{
	ssize_t n = write(t->in, t->pending + t->pos, t->len - t->pos);

	if (n > 0)
		t->pos += n;
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		t->pos = t->len; /* nobody reads it */
}

static void take_frame(struct task *t)
{
	struct lab_frame f;

	read_all(port, &f, sizeof(f));
	if (f.len > sizeof(t->pending))
		fault("a frame of %u bytes", f.len);
	t->pos = t->len = 0;
	read_all(port, t->pending, f.len);
	if (f.type == LAB_WINSIZE && t->tty) {
		struct lab_winsize *win = (void *)t->pending;
		struct winsize ws = { .ws_row = win->rows, .ws_col = win->cols };

		ioctl(t->out[0], TIOCSWINSZ, &ws);
	} else if (f.type == LAB_STDIN && f.len == 0) {
		close_input(t);
	} else if (f.type == LAB_STDIN && t->in >= 0) {
		t->len = f.len;
		pass_input(t);
	}
}

/* Returns false at the end, or when there is nothing at the moment. */
static bool pass_output(struct task *t, int which)
{
	static char buf[LAB_CHUNK];
	ssize_t n = t->out[which] < 0 ? 0 : read(t->out[which], buf, sizeof(buf));

	if (n > 0) {
		send_frame(which ? LAB_ERR : LAB_OUT, buf, n);
		return true;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		if (t->out[which] != t->in)
			close(t->out[which]);
		t->out[which] = -1;
	}
	return false;
}

/* Reaps everything; returns true once the command itself has ended. */
static bool reap(pid_t command, int *status)
{
	bool ended = false;
	pid_t pid;
	int st;

	while ((pid = waitpid(-1, &st, WNOHANG)) > 0) {
		if (pid == command) {
			*status = WIFSIGNALED(st) ? 128 + WTERMSIG(st) : WEXITSTATUS(st);
			ended = true;
		}
	}
	return ended;
}

static void on_child(int sig)
{
	(void)sig;
}

static int supervise(struct task *t)
{
	struct timespec beat = { .tv_sec = BEAT_MS / 1000 };
	sigset_t during;
	int status = 0;

	sigemptyset(&during); /* SIGCHLD interrupts ppoll, and nothing else */
	while (!reap(t->pid, &status)) {
		bool waiting = t->pos < t->len;
		struct pollfd p[] = {
			{ .fd = waiting ? -1 : port, .events = POLLIN },
			{ .fd = waiting ? t->in : -1, .events = POLLOUT },
			{ .fd = t->out[0], .events = POLLIN },
			{ .fd = t->out[1], .events = POLLIN },
		};
		int n = ppoll(p, 4, &beat, &during);

		if (n == 0)
			send_frame(LAB_BEAT, NULL, 0);
		if (n <= 0)
			continue;
		if (p[1].revents)
			pass_input(t);
		if (p[0].revents & POLLIN)
			take_frame(t);
		for (int i = 0; i < 2; i++)
			if (p[2 + i].revents)
				pass_output(t, i);
	}
	for (int i = 0; i < 2; i++)
		while (pass_output(t, i))
			;
	return status;
}

int run_command(const struct lab_job *job, const char *dir, char **argv, char **envp)
{
	static struct task task;
	struct sigaction chld = { .sa_handler = on_child };
	sigset_t block;

	sigemptyset(&block);
	sigaddset(&block, SIGCHLD);
	sigprocmask(SIG_BLOCK, &block, NULL);
	sigaction(SIGCHLD, &chld, NULL);
	start_command(&task, job, dir, argv, envp);
	send_frame(LAB_STARTED, NULL, 0);
	return supervise(&task);
}
