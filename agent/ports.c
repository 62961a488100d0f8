#include "agent/ports.h"

#include "agent/agent.h"
#include "guest/places.h"
#include "guest/pump.h"
#include "util/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	LOOK_MS = 200, /* how often it is looked who listens here */
	DIAL_MS = 5000,
	LINES = 4 /* connections that wait in the guest for a caller there */
};

struct relay {
	const struct ports_relay *config;
	int control;
	int line[LINES]; /* -1: there is none at present */
	int64_t mend;	 /* when lines that are none are dialled again */
	int table[PLACES_FAMILIES];
	struct places places;	 /* of the guest */
	struct listening theirs; /* what listens there */
	struct listening said;	 /* what listens here, as the guest was told */
	bool has_said;
	uint8_t heard[AGENT_PORTS_MESSAGE];
	size_t heard_len;
};

/* A connection to the guest that begins with @first; -1: it cannot be had. */
static int dial(const struct relay *r, const uint8_t *first, size_t len)
{
	struct error ignored;
	int fd = agent_dial(r->config->path, AGENT_PORTS_PORT, DIAL_MS, &ignored);

	if (fd >= 0 && send(fd, first, len, MSG_NOSIGNAL) != (ssize_t)len) {
		close(fd);
		fd = -1;
	}
	return fd < 0 ? -1 : fd;
}

/* A child that carries, and ends with us: also when we had ended before it could say so. */
static bool fork_carrier(void)
{
	pid_t parent = getpid(), pid = fork();

	if (pid == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent))
		_exit(1);
	return pid == 0;
}

/* ---- from here to the guest ---- */

static void take_caller(struct relay *r, const struct place *place, int listener)
{
	const uint8_t call[] = { AGENT_PORTS_CALL, (uint8_t)place->port.number,
		(uint8_t)(place->port.number >> 8) };
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), guest;

	if (fd < 0)
		return;
	if (fork_carrier()) {
		places_close(&r->places); /* dialling takes its time, and a place may be given up */
		guest = dial(r, call, sizeof(call));
		pump_keep_only(fd, guest);
		if (guest >= 0)
			pump_run(fd, guest);
		_exit(0);
	}
	close(fd);
}

/* ---- from the guest to here ---- */

/* The guest may name what it was told of, and nothing else. */
static void carry_line(const struct relay *r, int fd)
{
	uint8_t bytes[2];
	uint16_t port;
	int here;

	if (!places_read(fd, bytes, sizeof(bytes)))
		return;
	port = (uint16_t)(bytes[0] | bytes[1] << 8);
	if (!listening_find(&r->said, port))
		return;
	here = places_call(port);
	if (here >= 0)
		pump_run(fd, here);
}

static void dial_line(struct relay *r, unsigned i)
{
	const uint8_t wait = AGENT_PORTS_WAIT;

	r->line[i] = dial(r, &wait, 1);
}

/* One at a time, and not at once again: the guest decides whether it wants them. */
static void mend_lines(struct relay *r)
{
	if (now_ms() < r->mend)
		return;
	for (unsigned i = 0; i < LINES; i++) {
		if (r->line[i] >= 0)
			continue;
		r->mend = now_ms() + LOOK_MS;
		dial_line(r, i);
		return;
	}
}

static void take_line(struct relay *r, unsigned i)
{
	uint8_t byte;
	bool called = recv(r->line[i], &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;

	if (called && fork_carrier()) {
		pump_keep_only(r->line[i], r->line[i]);
		carry_line(r, r->line[i]);
		_exit(0);
	}
	close(r->line[i]);
	r->line[i] = -1;
	if (called)
		dial_line(r, i);
}

/* ---- who listens ---- */

static bool tell(struct relay *r)
{
	uint8_t message[AGENT_PORTS_MESSAGE];
	struct listening here;
	size_t len;

	places_look(&r->places, &here, r->table);
	if (r->has_said && listening_same(&here, &r->said))
		return true;
	len = listening_put(message, &here);
	r->said = here;
	r->has_said = true;
	return send(r->control, message, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len;
}

static void update(struct relay *r)
{
	uint16_t ports[AGENT_PORTS_MAX];
	struct listening here = { 0 };
	unsigned count = 0;

	if (!places_update(&r->places, &r->theirs) || !r->config->changed)
		return;
	for (unsigned i = 0; i < r->places.count; i++) {
		const struct listening_port *port = &r->places.place[i].port;

		if (port->any)
			listening_add(&here, port->number, true);
	}
	for (; count < here.count; count++)
		ports[count] = here.port[count].number;
	r->config->changed(r->config->ctx, ports, count);
}

static bool hear(struct relay *r)
{
	ssize_t n = recv(
		r->control, r->heard + r->heard_len, sizeof(r->heard) - r->heard_len, MSG_DONTWAIT);
	int len;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false;
	r->heard_len += (size_t)n;
	while ((len = listening_take(&r->theirs, r->heard, r->heard_len)) > 0) {
		r->heard_len -= (size_t)len;
		memmove(r->heard, r->heard + len, r->heard_len);
		update(r);
		if (r->config->ready)
			r->config->ready(r->config->ctx);
	}
	return len == 0;
}

/* ---- the loop ---- */

static bool turn(struct relay *r)
{
	enum { END, CONTROL, ALSO, FIRST_LINE, FIRST_PLACE = FIRST_LINE + LINES };
	struct pollfd fds[FIRST_PLACE + PLACES_FDS] = {
		[END] = { .fd = r->config->end, .events = POLLIN },
		[CONTROL] = { .fd = r->control, .events = POLLIN },
		[ALSO] = { .fd = r->config->also, .events = POLLIN },
	};
	unsigned places = places_poll(&r->places, fds + FIRST_PLACE);

	for (unsigned i = 0; i < LINES; i++)
		fds[FIRST_LINE + i] = (struct pollfd){ .fd = r->line[i], .events = POLLIN };
	if (poll(fds, FIRST_PLACE + places, LOOK_MS) < 0)
		return errno == EINTR;
	if (fds[END].revents)
		return false;
	for (unsigned i = 0; i < LINES; i++)
		if (fds[FIRST_LINE + i].revents)
			take_line(r, i);
	for (unsigned i = 0; i < places; i++)
		if (fds[FIRST_PLACE + i].revents)
			take_caller(r, places_at(&r->places, i), fds[FIRST_PLACE + i].fd);
	if (fds[ALSO].revents)
		r->config->attend(r->config->ctx);
	if (fds[CONTROL].revents && !hear(r))
		return false;
	mend_lines(r);
	update(r); /* one that was taken may be free now */
	return tell(r);
}

static bool begin_session(struct relay *r)
{
	const uint8_t begin = AGENT_PORTS_LISTEN;

	r->control = dial(r, &begin, 1);
	if (r->control < 0)
		return false;
	tell(r);
	for (unsigned i = 0; i < LINES; i++)
		dial_line(r, i);
	return true;
}

static void end_session(struct relay *r)
{
	for (unsigned i = 0; i < LINES; i++)
		if (r->line[i] >= 0)
			close(r->line[i]);
	close(r->control);
	r->theirs.count = 0;
	update(r);
	r->has_said = false;
	r->heard_len = 0;
}

static bool is_over(const struct relay *r, int wait_ms)
{
	struct pollfd end = { .fd = r->config->end, .events = POLLIN };

	return poll(&end, 1, wait_ms) > 0;
}

void ports_relay_run(const struct ports_relay *config)
{
	static struct relay relay; /* large, and there is one in a process */
	struct relay *r = &relay;

	*r = (struct relay){ .config = config };
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	r->table[0] = open("/proc/self/net/tcp", O_RDONLY | O_CLOEXEC);
	r->table[1] = open("/proc/self/net/tcp6", O_RDONLY | O_CLOEXEC);
	do {
		if (!begin_session(r))
			continue;
		while (turn(r))
			;
		end_session(r);
	} while (!is_over(r, LOOK_MS));
}
