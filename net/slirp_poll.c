/*
 * User-mode networking: libslirp's sockets and clock on a worker.
 *
 * libslirp wants a poll() loop: pollfds_fill() names the sockets and what to look for, and how long
 * to wait at most; pollfds_poll() then is told what was found. Here the sockets sit in an epoll
 * instance, whose own descriptor is the one file that the worker's ring watches. A round is
 *
 *	epoll_wait(0) -> pollfds_poll() -> pollfds_fill(), the epoll instance brought up to date
 *
 * and follows whatever may have changed something: a socket, a packet of the guest, the timer. The
 * ring's poll is edge triggered, so rounds go on, one each turn, until epoll_wait() finds nothing;
 * from then on whatever becomes ready is an edge.
 */
#include "net/slirp.h"

#include "util/macros.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum {
	EVENTS = 64, /* found in one round */
	CLOCK_STALE_MS = 50,
	TIMER_SLACK_MS = 1
};

int64_t slirp_poll_now_ns(void *opaque)
{
	struct timespec ts;

	(void)opaque;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static int64_t now_ms(void)
{
	return slirp_poll_now_ns(NULL) / 1000000;
}

/* ---- the sockets ---- */

static const struct {
	uint32_t slirp;
	uint32_t epoll;
} event_bits[] = {
	{ SLIRP_POLL_IN, EPOLLIN },
	{ SLIRP_POLL_OUT, EPOLLOUT },
	{ SLIRP_POLL_PRI, EPOLLPRI },
	{ SLIRP_POLL_ERR, EPOLLERR },
	{ SLIRP_POLL_HUP, EPOLLHUP },
};

static uint32_t to_epoll(uint32_t slirp)
{
	uint32_t epoll = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(event_bits); i++)
		epoll |= slirp & event_bits[i].slirp ? event_bits[i].epoll : 0;
	return epoll;
}

static uint32_t to_slirp(uint32_t epoll)
{
	uint32_t slirp = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(event_bits); i++)
		slirp |= epoll & event_bits[i].epoll ? event_bits[i].slirp : 0;
	return slirp;
}

static struct slirp_watch *watch_of(struct user_net *user, int fd)
{
	return fd >= 0 && (unsigned)fd < user->watches ? &user->watch[fd] : NULL;
}

/* Room for @fd in the table. False if memory is short: the socket then is not looked at. */
static bool grow(struct user_net *user, int fd)
{
	unsigned watches = (unsigned)align_up((uint64_t)fd + 1, 64);
	struct slirp_watch *watch;

	if (fd < 0)
		return false;
	if ((unsigned)fd < user->watches)
		return true;
	watch = realloc(user->watch, watches * sizeof(*watch));
	if (!watch)
		return false;
	memset(watch + user->watches, 0, (watches - user->watches) * sizeof(*watch));
	user->watch = watch;
	user->watches = watches;
	return true;
}

/* A closed descriptor leaves the epoll instance by itself; a number that comes again is new. */
static void forget(struct user_net *user, int fd)
{
	struct slirp_watch *watch = watch_of(user, fd);

	if (!watch || !watch->have || user->epoll_fd < 0)
		return;
	epoll_ctl(user->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	*watch = (struct slirp_watch){ 0 };
}

void slirp_poll_register(int fd, void *opaque)
{
	forget(opaque, fd);
}

void slirp_poll_unregister(int fd, void *opaque)
{
	forget(opaque, fd);
}

void slirp_poll_notify(void *opaque)
{
	slirp_poll_soon(opaque);
}

/* From pollfds_fill(): look for @events on @fd. The index it asks for is the descriptor. */
static int add_poll(int fd, int events, void *opaque)
{
	struct user_net *user = opaque;
	struct epoll_event ev = { .events = to_epoll((uint32_t)events), .data.fd = fd };
	struct slirp_watch *watch;
	int r;

	if (!grow(user, fd))
		return -1;
	watch = &user->watch[fd];
	watch->round = user->round;
	watch->ready = 0;
	if (watch->have == (uint32_t)events)
		return fd;
	r = epoll_ctl(user->epoll_fd, watch->have ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev);
	if (r < 0 && errno == ENOENT)
		r = epoll_ctl(user->epoll_fd, EPOLL_CTL_ADD, fd, &ev);
	else if (r < 0 && errno == EEXIST)
		r = epoll_ctl(user->epoll_fd, EPOLL_CTL_MOD, fd, &ev);
	watch->have = r < 0 ? 0 : (uint32_t)events;
	return fd;
}

static int get_revents(int index, void *opaque)
{
	struct slirp_watch *watch = watch_of(opaque, index);

	return watch ? (int)watch->ready : 0;
}

/* Bring the epoll instance up to date. Returns how many milliseconds there are until something is due. */
static uint32_t refill(struct user_net *user)
{
	uint32_t timeout = UINT32_MAX;

	user->round++;
	user->api.fill(user->slirp, &timeout, add_poll, user);
	for (unsigned fd = 0; fd < user->watches; fd++) {
		if (user->watch[fd].have && user->watch[fd].round != user->round)
			forget(user, (int)fd);
	}
	return timeout;
}

/* Note what is ready. True if anything is. */
static bool look(struct user_net *user)
{
	struct epoll_event ev[EVENTS];
	int n = epoll_wait(user->epoll_fd, ev, EVENTS, 0);

	for (int i = 0; i < n; i++) {
		struct slirp_watch *watch = watch_of(user, ev[i].data.fd);

		if (watch)
			watch->ready = to_slirp(ev[i].events);
	}
	return n > 0;
}

/* ---- the clock ---- */

static void timer_set(struct user_net *user, int64_t due, int64_t now)
{
	int64_t span = MAX(due - now, (int64_t)1);

	user->timer_span.tv_sec = span / 1000;
	user->timer_span.tv_nsec = span % 1000 * 1000000;
	user->timer_ms = due;
	user->timer_cancelled = false;
	worker_timeout(user->port.worker, &user->timer, &user->timer_span);
}

/* A timer that goes off too early costs a round; only one that is too late is set anew. */
static void timer_want(struct user_net *user, uint32_t timeout)
{
	int64_t now = now_ms(), due = now + timeout;

	if (!user->timer_ms) {
		timer_set(user, due, now);
	} else if (due + TIMER_SLACK_MS < user->timer_ms && !user->timer_cancelled) {
		user->timer_cancelled = true;
		worker_cancel(user->port.worker, &user->timer);
	}
}

static void on_timer(struct worker_op *op, int res, uint32_t cqe_flags)
{
	struct user_net *user = container_of(op, struct user_net, timer);

	user->timer_ms = 0;
	slirp_poll_soon(user);
}

/* ---- rounds ---- */

/*
 * While packets wait for the driver's buffers nothing is taken from the sockets: whoever sends
 * there is held back by TCP.
 */
static void service(struct worker_task *task)
{
	struct user_net *user = container_of(task, struct user_net, service);
	uint32_t timeout;
	bool any;

	if (!user->port.receiving || user->backlog)
		return;
	any = look(user);
	user->polled_ms = now_ms();
	user->api.poll(user->slirp, 0, get_revents, user);
	timeout = refill(user);
	if (any)
		worker_yield(user->port.worker, &user->service);
	else
		timer_want(user, timeout);
}

static void on_ready(struct worker_event *event)
{
	slirp_poll_soon(container_of(event, struct user_net, ready));
}

void slirp_poll_soon(struct user_net *user)
{
	/* Before the worker runs, libslirp is called by main. */
	if (user->port.receiving)
		worker_defer(user->port.worker, &user->service);
}

void slirp_poll_clock(struct user_net *user)
{
	int64_t now = now_ms();

	if (now - user->polled_ms < CLOCK_STALE_MS)
		return;
	user->polled_ms = now;
	user->api.poll(user->slirp, 1, get_revents, user); /* 1: only the clock */
}

/* ---- life ---- */

int slirp_poll_open(struct user_net *user, struct error *err)
{
	user->ready.fire = on_ready;
	user->service.run = service;
	user->timer.complete = on_timer;
	user->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (user->epoll_fd < 0)
		return error_set(err, ERROR_HOST, errno, "cannot make an epoll instance: %m");
	return 0;
}

int slirp_poll_attach(struct user_net *user, struct worker *worker)
{
	worker_allow(worker, IORING_OP_TIMEOUT);
	return worker_add_event(worker, &user->ready, user->epoll_fd);
}

void slirp_poll_close(struct user_net *user)
{
	if (user->epoll_fd >= 0)
		close(user->epoll_fd);
	user->epoll_fd = -1;
}
