#include "guest/supervise.h"

#include "guest/ports.h"
#include "guest/pump.h"
#include "guest/sys.h"

#include <linux/signalfd.h>

enum { FDS_SIGNALS, FDS_LISTENER, FDS_PORTS, FDS_SESSIONS };

static uint64_t signal_bit(int number)
{
	return 1ULL << (number - 1);
}

struct supervisor *supervise_create(int fd)
{
	/* The others are what somebody in the guest asks process 1 for: its process is to know. */
	uint64_t heard = signal_bit(SIGCHLD) | signal_bit(SIGHUP) | signal_bit(SIGINT) |
			 signal_bit(SIGQUIT) | signal_bit(SIGUSR1) | signal_bit(SIGUSR2) |
			 signal_bit(SIGTERM);
	long at = sys_map(sizeof(struct supervisor));
	struct supervisor *all = (struct supervisor *)at;

	if (at < 0 && at > -4096)
		return NULL;
	sys_sigmask(~0ULL);
	all->listener = all->ports = all->group = -1;
	all->signals = (int)sys_signalfd(heard);
	if (all->signals < 0 || !session_open(&all->sessions[0], fd, true)) {
		sys_unmap(all, sizeof(*all));
		return NULL;
	}
	return all;
}

static void reap(struct supervisor *all)
{
	struct rusage usage;
	int status;
	long pid;

	while ((pid = sys_wait(&status, &usage)) > 0)
		for (unsigned i = 0; i < AGENT_SESSIONS_MAX; i++) {
			struct session *s = &all->sessions[i];

			if (s->state == SESSION_FREE || s->pid != pid)
				continue;
			session_reaped(s, status, &usage);
			if (!session_pump(s))
				session_close(s);
		}
}

static void take_signals(struct supervisor *all)
{
	struct signalfd_siginfo infos[8];
	const struct session *first = &all->sessions[0];
	bool children = false;
	long n;

	while ((n = sys_read(all->signals, infos, sizeof(infos))) > 0)
		for (size_t i = 0; i < (size_t)n / sizeof(infos[0]); i++) {
			if (infos[i].ssi_signo == SIGCHLD)
				children = true;
			else if (first->pid)
				sys_kill(first->pid, (int)infos[i].ssi_signo);
		}
	if (children)
		reap(all);
}

/* One too many: say so and be done with it. What does not fit into the socket is not said. */
static void turn_away(int fd)
{
	struct session s = { .state = SESSION_NEW,
		.say = SAY_HELLO,
		.fd = fd,
		.report = -1,
		.notify = -1,
		.io = { .in = -1, .out = { -1, -1 }, .theirs = { -1, -1, -1 } } };
	uint8_t batch[AGENT_HEADER + AGENT_TEXT_MAX + 64];

	s.out = batch;
	session_fail(&s, AGENT_FAILED_BUSY, -EBUSY, "the guest has too many sessions already");
	session_pump(&s);
	sys_close(fd);
}

static void accept_one(struct supervisor *all)
{
	long fd = sys_accept(all->listener);

	if (fd < 0)
		return;
	for (unsigned i = 1; i < AGENT_SESSIONS_MAX; i++) {
		struct session *s = &all->sessions[i];

		if (s->state != SESSION_FREE)
			continue;
		if (!session_open(s, (int)fd, false))
			break;
		if (!session_pump(s))
			session_close(s);
		return;
	}
	turn_away((int)fd);
}

/* Is it time to hear the next, or when will it be? */
static void wait_for_notes(struct session *s, uint64_t *deadline)
{
	if (s->notify_ms && s->notify_ms <= sys_now_ms())
		s->notify_ms = 0;
	if (s->notify_ms && s->notify_ms < *deadline)
		*deadline = s->notify_ms;
}

/* The host wants to know who listens here: most never do, so it is begun when it is asked for. */
static void begin_ports(struct supervisor *all)
{
	if (waiting_fork_home(&all->waiting) == 0) {
		pump_keep_only(all->ports, all->ports);
		ports_run(all->ports);
	}
	sys_close(all->ports);
	all->ports = -1;
}

/* Fill all->fds; returns how many, and *@timeout_ms until the first deadline. */
static unsigned prepare(struct supervisor *all, int *timeout_ms)
{
	unsigned count = FDS_SESSIONS;
	uint64_t deadline = UINT64_MAX, now;

	all->fds[FDS_SIGNALS] = (struct pollfd){ .fd = all->signals, .events = POLLIN };
	all->fds[FDS_LISTENER] = (struct pollfd){ .fd = all->listener, .events = POLLIN };
	all->fds[FDS_PORTS] = (struct pollfd){ .fd = all->ports, .events = POLLIN };
	for (unsigned i = 0; i < AGENT_SESSIONS_MAX; i++) {
		struct session *s = &all->sessions[i];
		struct pollfd *fds = &all->fds[FDS_SESSIONS + i * WAIT_COUNT];

		if (s->state == SESSION_FREE) {
			for (unsigned j = 0; j < WAIT_COUNT; j++)
				fds[j] = (struct pollfd){ .fd = -1 };
			continue;
		}
		wait_for_notes(s, &deadline);
		session_poll(s, fds);
		count = FDS_SESSIONS + (i + 1) * WAIT_COUNT;
		if (s->deadline_ms && s->deadline_ms < deadline)
			deadline = s->deadline_ms;
	}
	*timeout_ms = -1;
	if (deadline != UINT64_MAX) {
		now = sys_now_ms();
		*timeout_ms = deadline > now ? (int)(deadline - now) : 0;
	}
	return count;
}

static void serve(struct supervisor *all, unsigned i)
{
	const struct pollfd *fds = &all->fds[FDS_SESSIONS + i * WAIT_COUNT];
	struct session *s = &all->sessions[i];
	bool ready = false;

	for (unsigned j = 0; j < WAIT_COUNT; j++)
		ready |= fds[j].fd >= 0 && fds[j].revents;
	if (s->state == SESSION_FREE)
		return;
	if (ready && !session_step(s, all, fds)) {
		session_close(s);
		return;
	}
	if (!s->deadline_ms)
		return;
	if (!session_tick(s, sys_now_ms()) || !session_pump(s))
		session_close(s);
}

void supervise_loop(struct supervisor *all)
{
	if (!session_pump(&all->sessions[0]))
		session_close(&all->sessions[0]);
	while (all->sessions[0].state != SESSION_FREE) {
		int timeout_ms;
		unsigned count = prepare(all, &timeout_ms);
		long n = sys_poll(all->fds, count, timeout_ms);

		if (n < 0)
			continue; /* EINTR; nothing else can be */
		for (unsigned i = 0; i < (count - FDS_SESSIONS) / WAIT_COUNT; i++)
			serve(all, i);
		/* After the sessions: what a child said before it ended is known by now. */
		if (all->fds[FDS_SIGNALS].revents)
			take_signals(all);
		if (all->fds[FDS_LISTENER].revents)
			accept_one(all);
		if (all->fds[FDS_PORTS].revents)
			begin_ports(all);
	}
}
