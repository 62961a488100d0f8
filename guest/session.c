#include "guest/session.h"

#include "guest/supervise.h"
#include "guest/sys.h"

#include <asm/ioctls.h>

enum {
	IN_MAX = AGENT_HEADER + AGENT_START_MAX,
	READ_STEP = 2 * AGENT_DATA_MAX, /* at a time, where no longer message is on its way */
	OUT_MAX = AGENT_HEADER + AGENT_DATA_MAX,
	BUFFERS = IN_MAX + OUT_MAX + AGENT_STDIN_WINDOW,
	GRACE_MS = 250,		   /* for output that others than the process keep open */
	BYE_MS = 10000,		   /* for the host to answer the last message */
	TERMINAL_LEFT = 256 << 10, /* more than a terminal ever holds */
	NOTES_LEFT = 16,
};

bool session_open(struct session *s, int fd, bool first)
{
	long at = sys_map(BUFFERS);

	if (at < 0 && at > -4096)
		return false;
	*s = (struct session){ .state = SESSION_NEW,
		.first = first,
		.fd = fd,
		.report = -1,
		.notify = -1,
		.say = SAY_HELLO,
		.buffers = (uint8_t *)at };
	s->io = (struct process_io){ .in = -1, .out = { -1, -1 }, .theirs = { -1, -1, -1 } };
	s->in = s->buffers;
	s->out = s->in + IN_MAX;
	s->input.ring = s->out + OUT_MAX;
	return true;
}

/* To the process group, or to the process where it has not made one yet. */
static void kill_group(const struct session *s, int number)
{
	if (sys_kill(-s->pid, number) == -ESRCH)
		sys_kill(s->pid, number);
}

void session_close(struct session *s)
{
	if (s->pid)
		kill_group(s, SIGHUP);
	process_close_io(&s->io);
	if (s->report >= 0)
		sys_close(s->report);
	if (s->notify >= 0)
		sys_close(s->notify);
	sys_close(s->fd);
	sys_unmap(s->buffers, BUFFERS);
	*s = (struct session){ .state = SESSION_FREE };
}

/* How long the first one's host takes is its own affair: the machine is there for nobody else. */
void session_to_state(struct session *s, enum session_state state)
{
	s->state = state;
	s->deadline_ms = state == SESSION_ENDED && !s->first ? sys_now_ms() + BYE_MS : 0;
}

void session_fail(struct session *s, uint32_t why, long err, const char *text)
{
	if (s->state == SESSION_ENDED)
		return;
	s->failed_why = why;
	s->failed_err = (uint32_t)-err;
	s->failed.len = 0;
	text_add(&s->failed, text);
	s->say |= SAY_FAILED;
	process_close_io(&s->io);
	session_to_state(s, SESSION_ENDED);
}

static void broken(struct session *s, const char *what)
{
	session_fail(s, AGENT_FAILED_PROTOCOL, 0, what);
}

static void on_hello(struct session *s, const struct wire_message *m)
{
	uint32_t version;

	if (m->type != AGENT_HELLO || !message_hello(m, &version))
		broken(s, "the host's first message is not HELLO");
	else if (version != AGENT_VERSION)
		broken(s, "host and guest program are of different versions");
	else
		session_to_state(s, s->first ? SESSION_SETUP : SESSION_IDLE);
}

static void on_setup(struct session *s, struct supervisor *all, const struct wire_message *m)
{
	struct text why = { 0 };
	long err = 0;

	if (m->type != AGENT_SETUP_DONE) {
		if (!all->setup(all->setup_ctx, m, &why, &err))
			session_fail(
				s, err ? AGENT_FAILED_SETUP : AGENT_FAILED_PROTOCOL, err, why.buf);
		return;
	}
	if (m->len) {
		broken(s, "SETUP_DONE with a payload");
		return;
	}
	if (!all->setup(all->setup_ctx, m, &why, &err)) {
		session_fail(s, AGENT_FAILED_SETUP, err, why.buf);
		return;
	}
	all->listener = (int)all->listen(AGENT_EXEC_PORT);
	all->ports = (int)all->listen(AGENT_PORTS_PORT);
	s->say |= SAY_READY;
	session_to_state(s, SESSION_IDLE);
}

static void on_start(struct session *s, struct supervisor *all, const struct wire_message *m)
{
	struct message_start start;
	long err;

	if (!message_start(m, &start)) {
		broken(s, "a malformed START");
		return;
	}
	err = process_open_io(&s->io, &start);
	if (err < 0) {
		session_fail(s, AGENT_FAILED_START, err,
			start.flags & AGENT_START_TERMINAL ? "cannot make a terminal"
							   : "cannot make pipes");
		return;
	}
	s->terminal = start.flags & AGENT_START_TERMINAL;
	if (s->terminal && s->first && sys_getpid() == 1)
		process_be_console(&s->io);
	if (start.flags & AGENT_START_STDIN)
		s->input.allowed = AGENT_STDIN_WINDOW;
	else
		s->input.end = true;
	err = s->first && all->waiting.pid ? waiting_start(&all->waiting, m, &s->io, &s->report)
					   : process_start(&start, &s->io, all->group, &s->report);
	process_close_theirs(&s->io, s->terminal);
	if (err < 0) {
		session_fail(s, AGENT_FAILED_START, err, "cannot make a process");
		return;
	}
	s->pid = s->started = (int)err;
	session_to_state(s, SESSION_STARTING);
}

static void on_signal(struct session *s, const struct wire_message *m)
{
	uint32_t number;
	uint8_t to;

	if (!message_signal(m, &number, &to))
		broken(s, "a malformed SIGNAL");
	else if (!s->pid)
		return;
	else if (to == AGENT_SIGNAL_PROCESS)
		sys_kill(s->pid, (int)number);
	else if (to == AGENT_SIGNAL_EVERYBODY && sys_getpid() == 1)
		sys_kill(-1, (int)number); /* all but process 1 */
	else
		kill_group(s, (int)number);
}

static void on_resize(struct session *s, const struct wire_message *m)
{
	uint16_t rows, columns;

	if (!message_resize(m, &rows, &columns))
		broken(s, "a malformed RESIZE");
	else if (s->terminal && s->io.out[0] >= 0)
		process_resize(s->io.out[0], rows, columns);
}

static void change_network(struct session *s, struct supervisor *all, const struct wire_message *m)
{
	struct text why = { 0 };
	long err = 0;

	if (!all->setup(all->setup_ctx, m, &why, &err) && !err)
		broken(s, "a malformed NET");
}

static void on_process(struct session *s, struct supervisor *all, const struct wire_message *m)
{
	if (m->type == AGENT_STDIN) {
		if (!session_take_input(s, m->payload, m->len))
			broken(s, "more STDIN than was granted");
	} else if (m->type == AGENT_SIGNAL) {
		on_signal(s, m);
	} else if (m->type == AGENT_RESIZE) {
		on_resize(s, m);
	} else if (m->type == AGENT_NET && s->first) {
		change_network(s, all, m);
	} else {
		broken(s, "a message that cannot be, or not now");
	}
}

/* A further session that changes a limit, and starts nothing. */
static void on_limit(struct session *s, struct supervisor *all, const struct wire_message *m)
{
	struct text why = { 0 };
	long err = 0;

	if (m->type == AGENT_SETUP_DONE && !m->len)
		s->say |= SAY_READY;
	else if (m->type != AGENT_PIDS || !all->setup(all->setup_ctx, m, &why, &err))
		session_fail(s, err ? AGENT_FAILED_SETUP : AGENT_FAILED_PROTOCOL, err, why.buf);
}

/* False: the session is over. */
static bool on_message(struct session *s, struct supervisor *all, const struct wire_message *m)
{
	if (m->type == AGENT_BYE && !m->len)
		return false;
	if (s->state == SESSION_NEW)
		on_hello(s, m);
	else if (s->state == SESSION_SETUP)
		on_setup(s, all, m);
	else if (s->state == SESSION_IDLE && m->type == AGENT_START)
		on_start(s, all, m);
	else if (s->state == SESSION_IDLE && !s->first &&
		 (m->type == AGENT_PIDS || m->type == AGENT_SETUP_DONE))
		on_limit(s, all, m);
	else if (s->state == SESSION_IDLE)
		broken(s, "a message that cannot be, or not now");
	else if (s->state < SESSION_ENDED)
		on_process(s, all, m);
	return true;
}

static bool receive(struct session *s, struct supervisor *all)
{
	struct wire_message m;
	size_t at = 0, want = wire_message(&m, s->in, s->in_len), size;
	long n;

	if (want < READ_STEP)
		want = READ_STEP;
	n = sys_read(s->fd, s->in + s->in_len, want - s->in_len);
	if (n == -EAGAIN || n == -EINTR)
		return true;
	if (n <= 0)
		return false;
	s->in_len += (size_t)n;
	for (;; at += size) {
		size = wire_message(&m, s->in + at, s->in_len - at);
		if (!size) {
			broken(s, "a message over its limit");
			at = s->in_len;
			break;
		}
		if (size > s->in_len - at)
			break;
		if (!on_message(s, all, &m))
			return false;
	}
	s->in_len -= at;
	memmove(s->in, s->in + at, s->in_len);
	return true;
}

/* What the child says before exec, or the end of its pipe at exec. */
static void read_report(struct session *s)
{
	struct process_failure failure = { 0 };
	long n = sys_read(s->report, &failure, sizeof(failure));

	if (n == -EINTR)
		return;
	sys_close(s->report);
	s->report = -1;
	if (n == (long)sizeof(failure)) {
		failure.text[sizeof(failure.text) - 1] = 0;
		session_fail(s, failure.why, -(long)failure.err, failure.text);
		return;
	}
	s->say |= SAY_STARTED;
	if (s->state == SESSION_STARTING)
		session_to_state(s, SESSION_RUNNING);
}

static void begin_draining(struct session *s)
{
	s->draining = true;
	s->notes_left = s->notify >= 0 ? NOTES_LEFT : 0;
	s->deadline_ms = 0;
	for (int i = 0; i < 2; i++) {
		int waiting = 0;

		s->left[i] = TERMINAL_LEFT;
		if (s->terminal || s->io.out[i] < 0)
			continue;
		sys_ioctl(s->io.out[i], FIONREAD, SYS_PTR(&waiting));
		s->left[i] = (size_t)waiting;
	}
}

void session_reaped(struct session *s, int status, const struct rusage *usage)
{
	if (s->state == SESSION_STARTING)
		read_report(s);
	if (s->state == SESSION_RUNNING) {
		s->exit = (struct session_exit){
			.by_signal = WIFSIGNALED(status),
			.status = (uint32_t)(WIFSIGNALED(status) ? WTERMSIG(status)
								 : WEXITSTATUS(status)),
			.user_us = (uint64_t)usage->ru_utime.tv_sec * 1000000 +
				   (uint64_t)usage->ru_utime.tv_usec,
			.system_us = (uint64_t)usage->ru_stime.tv_sec * 1000000 +
				     (uint64_t)usage->ru_stime.tv_usec,
			.peak_kib = (uint64_t)usage->ru_maxrss,
		};
		session_to_state(s, SESSION_EXITED);
		/* The machine ends with the first one: nobody is left who could say more. */
		if (s->first)
			begin_draining(s);
		else
			s->deadline_ms = sys_now_ms() + GRACE_MS;
	}
	s->pid = 0;
	process_close_theirs(&s->io, false);
}

bool session_tick(struct session *s, uint64_t now_ms)
{
	if (!s->deadline_ms || now_ms < s->deadline_ms)
		return true;
	if (s->state != SESSION_ENDED) {
		begin_draining(s);
		return true;
	}
	/* A host whose reader is slow has not been told everything yet. */
	s->deadline_ms = now_ms + BYE_MS;
	return s->out_len > 0;
}

void session_poll(const struct session *s, struct pollfd *fds)
{
	bool listening = !s->out_len && !s->draining &&
			 (s->state == SESSION_RUNNING || s->state == SESSION_EXITED);

	fds[WAIT_SOCKET] = (struct pollfd){ .fd = s->fd,
		.events = (short)(POLLIN | (s->out_len ? POLLOUT : 0)) };
	fds[WAIT_REPORT] = (struct pollfd){ .fd = s->report, .events = POLLIN };
	/* Without input to give, a pipe still tells that nobody reads it; a terminal may be closed
	 * and opened again. */
	fds[WAIT_IN] = (struct pollfd){ .fd = s->input.len || !s->terminal ? s->io.in : -1,
		.events = s->input.len ? POLLOUT : 0 };
	fds[WAIT_NOTIFY] = (struct pollfd){ .fd = listening && !s->notify_ms ? s->notify : -1,
		.events = POLLIN };
	for (int i = 0; i < 2; i++)
		fds[WAIT_OUT + i] =
			(struct pollfd){ .fd = listening ? s->io.out[i] : -1, .events = POLLIN };
}

bool session_step(struct session *s, struct supervisor *all, const struct pollfd *fds)
{
	if (fds[WAIT_SOCKET].revents & ~POLLOUT && !receive(s, all))
		return false;
	if (fds[WAIT_REPORT].revents && s->report >= 0 && fds[WAIT_REPORT].fd == s->report)
		read_report(s);
	if (fds[WAIT_IN].revents)
		session_input_event(s, fds[WAIT_IN].revents);
	for (unsigned i = 0; i < 2; i++)
		if (fds[WAIT_OUT + i].revents) {
			session_output(s, i);
			if (!session_pump(s))
				return false;
		}
	if (fds[WAIT_NOTIFY].revents)
		session_notified(s);
	return session_pump(s);
}
