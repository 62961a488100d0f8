/*
 * What main does while the guest runs: wait for the first reason to stop.
 */
#include "machine/internal.h"

#include "util/log.h"
#include "util/macros.h"
#include "virtio/console.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* A fault that is blocked ends the process as it would without a handler: so where there is one. */
static bool is_handled(int number)
{
	struct sigaction sa;

	return sigaction(number, NULL, &sa) == 0 && sa.sa_handler != SIG_DFL &&
	       sa.sa_handler != SIG_IGN;
}

/*
 * What main takes from a descriptor. With @all even what tells of faults, for it can be sent, too;
 * but for SIGSYS, whose handler says which system call it was.
 */
static void loop_signals(sigset_t *set, bool all)
{
	static const int some[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGUSR1, SIGUSR2 };
	static const int faults[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP };

	sigemptyset(set);
	for (unsigned i = 0; i < ARRAY_SIZE(some); i++)
		sigaddset(set, some[i]);
	if (!all)
		return;
	/* But for that with which vCPUs are woken, SIGRTMIN, and the C library's own below it. */
	for (int n = 1; n <= SIGRTMAX; n++)
		if (n < __SIGRTMIN || n > SIGRTMIN)
			sigaddset(set, n);
	sigdelset(set, SIGSYS);
	for (unsigned i = 0; i < ARRAY_SIZE(faults); i++)
		if (is_handled(faults[i])) /* by a sanitizer, say */
			sigdelset(set, faults[i]);
}

void machine_block_signals(const struct vm_config *config)
{
	sigset_t set;

	loop_signals(&set, config->all_signals);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	/* A reader that went away is an error of that write; one that is sent is for the guest. */
	if (!config->all_signals)
		signal(SIGPIPE, SIG_IGN);
}

int machine_loop_create(struct machine *m, struct error *err)
{
	sigset_t set;

	loop_signals(&set, m->config->all_signals);
	m->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (m->signal_fd < 0)
		return error_set(err, ERROR_HOST, errno, "cannot make a signalfd: %m");
	m->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (m->timer_fd < 0)
		return error_set(err, ERROR_HOST, errno, "cannot make a timerfd: %m");
	if (m->config->timeout_ms) {
		struct itimerspec t = { .it_value = { m->config->timeout_ms / 1000,
						m->config->timeout_ms % 1000 * 1000000L } };

		timerfd_settime(m->timer_fd, 0, &t, NULL);
	}
	return 0;
}

void machine_loop_destroy(struct machine *m)
{
	if (m->signal_fd >= 0)
		close(m->signal_fd);
	if (m->timer_fd >= 0)
		close(m->timer_fd);
	m->signal_fd = m->timer_fd = -1;
}

static void result_of_stop(struct machine *m, struct machine_result *result)
{
	static const enum machine_end ends[] = {
		[VM_STOP_POWEROFF] = MACHINE_POWERED_OFF,
		[VM_STOP_RESET] = MACHINE_REBOOTED,
		[VM_STOP_STATUS] = MACHINE_REPORTED,
		[VM_STOP_PANIC] = MACHINE_PANICKED,
		[VM_STOP_FAULT] = MACHINE_PANICKED,
		[VM_STOP_FAILED] = MACHINE_FAILED,
		[VM_STOP_HOST] = MACHINE_LEFT,
	};

	result->end = ends[atomic_load(&m->vm.stop_reason)];
	result->status = atomic_load(&m->vm.stop_value);
	/* The console's reader went away: as if SIGPIPE had ended us. */
	if (result->end == MACHINE_LEFT && result->status)
		result->end = MACHINE_SIGNALLED;
}

/* True if a signal arrived that ends the machine. */
static bool take_signals(
	struct machine *m, const struct machine_attendant *attendant, struct machine_result *result)
{
	struct signalfd_siginfo info;

	while (read(m->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		int number = (int)info.ssi_signo;

		if (attendant && attendant->signal(attendant->ctx, number, info.ssi_code <= 0))
			continue;
		if (number == SIGWINCH) {
			if (m->console_device)
				virtio_console_resized(m->console_device);
			continue;
		}
		*result = (struct machine_result){ MACHINE_SIGNALLED, number };
		return true;
	}
	return false;
}

enum { OWN_FDS = 3 };

void machine_loop(
	struct machine *m, const struct machine_attendant *attendant, struct machine_result *result)
{
	struct pollfd fds[OWN_FDS + MACHINE_ATTENDANT_FDS] = {
		{ .fd = m->vm.stop_fd, .events = POLLIN },
		{ .fd = m->signal_fd, .events = POLLIN },
		{ .fd = m->timer_fd, .events = POLLIN },
	};

	for (;;) {
		unsigned others = 0;
		int timeout = -1;

		if (attendant)
			others = attendant->prepare(attendant->ctx, fds + OWN_FDS, &timeout);
		if (poll(fds, OWN_FDS + others, timeout) < 0) {
			if (errno == EINTR)
				continue;
			vm_fail(&m->vm, "poll: %s", strerror(errno));
			result_of_stop(m, result);
			return;
		}
		/* Before the end of the machine is looked at: what its guest said before counts. */
		if (attendant && attendant->attend(attendant->ctx, fds + OWN_FDS, others)) {
			*result = (struct machine_result){ .end = MACHINE_DISMISSED };
			return;
		}
		if (fds[0].revents) {
			result_of_stop(m, result);
			return;
		}
		if (fds[1].revents && take_signals(m, attendant, result))
			return;
		if (fds[2].revents) {
			*result = (struct machine_result){ .end = MACHINE_TIMED_OUT };
			return;
		}
	}
}
