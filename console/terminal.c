/*
 * Raw mode, and the way back. The state is global because a signal handler must reach it; there is
 * one controlling terminal for a process as well.
 */
#include "console/internal.h"

#include "util/macros.h"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

static struct termios saved;	/* written before raw_fd is */
static _Atomic int raw_fd = -1; /* the terminal in raw mode */

bool terminal_usable(int fd)
{
	/* In the background a change of the terminal would stop us, a read would fail. */
	return isatty(fd) && tcgetpgrp(fd) == getpgrp() && tcgetattr(fd, &saved) == 0;
}

void console_restore_terminal(void)
{
	int fd = atomic_exchange(&raw_fd, -1);

	if (fd < 0)
		return;
	tcsetattr(fd, TCSANOW, &saved);
	log_carriage_return(false);
}

static void on_fault(int sig)
{
	console_restore_terminal();
	/* SA_RESETHAND: the default action is back. A fault repeats by itself, abort() does not. */
	raise(sig);
}

void terminal_catch_faults(void)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT };

	for (unsigned i = 0; i < ARRAY_SIZE(faults); i++) {
		struct sigaction sa = { .sa_handler = on_fault, .sa_flags = (int)SA_RESETHAND };
		struct sigaction old;

		/* A sanitizer's handler has more to tell. */
		if (sigaction(faults[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			sigaction(faults[i], &sa, NULL);
	}
}

void terminal_raw(int fd)
{
	struct termios raw = saved;

	cfmakeraw(&raw);
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	atomic_store(&raw_fd, fd);
	/* Lines of our own must return the carriage themselves from now on. */
	log_carriage_return(isatty(STDERR_FILENO));
	tcsetattr(fd, TCSANOW, &raw);
}
