#include "guest/ports.h"

#include "guest/places.h"
#include "guest/pump.h"
#include "guest/sys.h"

enum {
	LOOK_MS = 200, /* how often it is looked who listens */
	LINES = 8      /* connections of the host's that wait for a caller */
};

struct board {
	int listener, control; /* the latter: -1 while the host has not begun */
	int line[LINES];
	unsigned lines;
	int table[PLACES_FAMILIES];
	struct places places;	 /* of other machines */
	struct listening theirs; /* what those are to be */
	struct listening said;	 /* who listens here, as the host was told */
	bool has_heard, has_said;
	uint8_t heard[AGENT_PORTS_MESSAGE];
	size_t heard_len;
};

static void forget_control(struct board *b)
{
	if (b->control >= 0)
		sys_close(b->control);
	b->control = -1;
	while (b->lines)
		sys_close(b->line[--b->lines]);
	b->heard_len = 0;
	b->has_heard = b->has_said = false;
	b->theirs.count = 0;
	places_close(&b->places);
}

/* ---- what is carried, each in a process of its own ---- */

static void answer_call(int fd)
{
	uint8_t port[2];
	int own;

	if (sys_fork() != 0)
		return;
	pump_keep_only(fd, fd);
	if (places_read(fd, port, sizeof(port))) {
		own = places_call((uint16_t)(port[0] | port[1] << 8));
		if (own >= 0)
			pump_run(fd, own);
	}
	sys_exit(0);
}

/* Somebody has connected to a place: it goes out by a line of the host's. */
static void take_caller(struct board *b, const struct place *place, int listener)
{
	const uint8_t port[2] = { (uint8_t)place->port.number, (uint8_t)(place->port.number >> 8) };
	int fd = (int)sys_accept(listener), line;

	if (fd < 0)
		return;
	line = b->line[--b->lines];
	if (sys_fork() == 0) {
		pump_keep_only(fd, line);
		if (sys_send(line, port, sizeof(port)) == (long)sizeof(port))
			pump_run(fd, line);
		sys_exit(0);
	}
	sys_close(line);
	sys_close(fd);
}

/* ---- what the host says ---- */

static void take_connection(struct board *b)
{
	int fd = (int)sys_accept(b->listener);
	uint8_t what = 0;

	if (fd < 0)
		return;
	if (places_read(fd, &what, 1) && what == AGENT_PORTS_LISTEN) {
		forget_control(b);
		b->control = fd;
		return;
	}
	if (what == AGENT_PORTS_WAIT && b->lines < LINES) {
		b->line[b->lines++] = fd;
		return;
	}
	if (what == AGENT_PORTS_CALL)
		answer_call(fd);
	sys_close(fd);
}

static void hear(struct board *b)
{
	long n = sys_read(b->control, b->heard + b->heard_len, sizeof(b->heard) - b->heard_len);
	int len;

	if (n == -EAGAIN || n == -EINTR)
		return;
	if (n <= 0) {
		forget_control(b);
		return;
	}
	b->heard_len += (size_t)n;
	while ((len = listening_take(&b->theirs, b->heard, b->heard_len)) > 0) {
		b->heard_len -= (size_t)len;
		memmove(b->heard, b->heard + len, b->heard_len);
		places_update(&b->places, &b->theirs);
		b->has_heard = true;
	}
	if (len < 0)
		forget_control(b);
}

/* ---- what the host is told ---- */

static void look(struct board *b)
{
	uint8_t message[AGENT_PORTS_MESSAGE];
	struct listening own;
	size_t len;

	places_look(&b->places, &own, b->table);
	/* What is said first tells as well that what was heard first is in its place. */
	if (!b->has_heard || (b->has_said && listening_same(&own, &b->said)))
		return;
	len = listening_put(message, &own);
	/* It is small, and the host reads: either it goes whole, or nobody is there. */
	if (sys_send(b->control, message, len) != (long)len) {
		forget_control(b);
		return;
	}
	b->said = own;
	b->has_said = true;
	places_update(&b->places, &b->theirs); /* one that was taken may be free now */
}

/* /proc in here may be another's, or hidden: it is looked at through one of our own. */
static void open_tables(struct board *b)
{
	int proc = (int)sys_mount_detached("proc");

	b->table[0] = proc < 0 ? proc : (int)sys_open_at(proc, "self/net/tcp", O_RDONLY);
	b->table[1] = proc < 0 ? proc : (int)sys_open_at(proc, "self/net/tcp6", O_RDONLY);
}

/* ---- the loop ---- */

static void turn(struct board *b)
{
	struct pollfd fds[2 + PLACES_FDS] = { { .fd = b->listener, .events = POLLIN },
		{ .fd = b->control, .events = POLLIN } };
	/* Without a line callers wait in the backlog. */
	unsigned places = b->lines ? places_poll(&b->places, fds + 2) : 0;

	if (sys_poll(fds, 2 + places, b->control >= 0 ? LOOK_MS : -1) < 0)
		return;
	for (unsigned i = 0; i < places && b->lines; i++)
		if (fds[2 + i].revents)
			take_caller(b, places_at(&b->places, i), fds[2 + i].fd);
	if (b->control >= 0 && fds[1].revents)
		hear(b);
	if (fds[0].revents)
		take_connection(b);
	if (b->control >= 0)
		look(b);
}

void ports_run(int listener)
{
	long at = sys_map(sizeof(struct board));
	struct board *b = (struct board *)at;

	if (at < 0 && at > -4096)
		sys_exit(1);
	b->listener = listener;
	b->control = -1;
	sys_ignore_children();
	open_tables(b);
	for (;;)
		turn(b);
}
