#include "fake_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FILES = 64, EVENTS = 64, SQES = 4096 };

struct entry {
	struct io_uring_sqe sqe;
	struct worker_op *op;
	bool cancelled;
	bool plain; /* the fd is one */
};

struct worker {
	unsigned files, events;
	int file[FILES];
	unsigned signals[FILES];
	struct worker_event *event[EVENTS];
	unsigned head, tail; /* of the queue of operations, free-running */
	struct entry entry[SQES];
	struct worker_task *now, *next;
	struct worker_call *calls;
	fake_worker_hook hook;
	void *hook_ctx;
	bool hold;
	bool allowed[256];
	uint64_t turns;
};

struct worker *fake_worker_new(void)
{
	return calloc(1, sizeof(struct worker));
}

void fake_worker_free(struct worker *w)
{
	free(w);
}

void fake_worker_set_hook(struct worker *w, fake_worker_hook hook, void *ctx)
{
	w->hook = hook;
	w->hook_ctx = ctx;
}

void fake_worker_hold(struct worker *w, bool hold)
{
	w->hold = hold;
}

unsigned fake_worker_signals(struct worker *w, int index)
{
	unsigned n = w->signals[index];

	w->signals[index] = 0;
	return n;
}

int worker_create(struct worker **out, const struct worker_params *params, struct error *err)
{
	*out = fake_worker_new();
	return *out ? 0 : -ENOMEM;
}

void worker_destroy(struct worker *w)
{
	fake_worker_free(w);
}

void worker_set_begin(struct worker *w, int (*begin)(void *ctx), void *ctx)
{
}

int worker_start(struct worker *w, struct error *err)
{
	return 0;
}

void worker_stop(struct worker *w)
{
}

int worker_add_file(struct worker *w, int fd)
{
	for (unsigned i = 0; i < w->files; i++)
		if (w->file[i] == fd)
			return (int)i;
	if (w->files == FILES)
		return -EMFILE;
	w->file[w->files] = fd;
	return (int)w->files++;
}

void worker_allow_plain_files(struct worker *w)
{
}

void worker_allow(struct worker *w, uint8_t opcode)
{
	w->allowed[opcode] = true;
}

bool fake_worker_allows(struct worker *w, uint8_t opcode)
{
	return w->allowed[opcode];
}

unsigned fake_worker_queued(struct worker *w)
{
	return w->tail - w->head;
}

int worker_add_event(struct worker *w, struct worker_event *event, int fd)
{
	if (w->events == EVENTS)
		return -EMFILE;
	event->worker = w;
	event->file = worker_add_file(w, fd);
	w->event[w->events++] = event;
	return 0;
}

/* An entry is in the queue once worker_submit() was said; until then it is scratch. */
struct io_uring_sqe *worker_sqe(struct worker *w)
{
	struct entry *e = &w->entry[w->tail % SQES];

	if (w->tail - w->head == SQES)
		abort();
	memset(e, 0, sizeof(*e));
	return &e->sqe;
}

void worker_submit(struct worker *w, struct io_uring_sqe *sqe, struct worker_op *op)
{
	w->entry[w->tail++ % SQES].op = op;
}

void worker_submit_plain(struct worker *w, struct io_uring_sqe *sqe, struct worker_op *op)
{
	w->entry[w->tail % SQES].plain = true;
	worker_submit(w, sqe, op);
}

unsigned worker_room(struct worker *w)
{
	return SQES - (w->tail - w->head);
}

void worker_signal(struct worker *w, int file)
{
	w->signals[file]++;
}

static void add_task(struct worker_task **list, struct worker_task *task)
{
	if (task->queued)
		return;
	task->queued = true;
	task->next = NULL;
	while (*list)
		list = &(*list)->next;
	*list = task;
}

void worker_defer(struct worker *w, struct worker_task *task)
{
	add_task(&w->now, task);
}

void worker_yield(struct worker *w, struct worker_task *task)
{
	add_task(&w->next, task);
}

uint64_t worker_turn(const struct worker *w)
{
	return w->turns;
}

void worker_cancel(struct worker *w, struct worker_op *op)
{
	for (unsigned i = w->head; i != w->tail; i++)
		if (w->entry[i % SQES].op == op)
			w->entry[i % SQES].cancelled = true;
}

void worker_timeout(struct worker *w, struct worker_op *op, struct __kernel_timespec *ts)
{
	io_uring_prep_timeout(worker_sqe(w), ts, 0, 0);
	worker_submit(w, NULL, op);
}

void worker_call_done(struct worker_call *call)
{
	call->done = true;
}

void worker_call(struct worker *w, struct worker_call *call)
{
	bool hold = w->hold;

	call->worker = w;
	call->done = false;
	call->run(call);
	/* Whoever calls waits until it is done, so what is held back has to go on. */
	w->hold = false;
	while (!call->done)
		if (!fake_worker_turn(w))
			abort(); /* it would wait for ever */
	w->hold = hold;
}

static int result(ssize_t n)
{
	return n < 0 ? -errno : (int)n;
}

/* The operations that devices use. */
static int execute(struct worker *w, const struct io_uring_sqe *sqe, bool plain)
{
	void *addr = (void *)(uintptr_t)sqe->addr;
	int fd;

	if (sqe->opcode == IORING_OP_TIMEOUT)
		return -ETIME;
	if (!plain && (sqe->fd < 0 || (unsigned)sqe->fd >= w->files))
		return -EBADF;
	fd = plain ? sqe->fd : w->file[sqe->fd];
	switch (sqe->opcode) {
	case IORING_OP_READ:
		return result(pread(fd, addr, sqe->len, (off_t)sqe->off));
	case IORING_OP_WRITE:
		return result(pwrite(fd, addr, sqe->len, (off_t)sqe->off));
	case IORING_OP_READV:
		return result(preadv(fd, addr, (int)sqe->len, (off_t)sqe->off));
	case IORING_OP_WRITEV:
		return result(pwritev(fd, addr, (int)sqe->len, (off_t)sqe->off));
	case IORING_OP_FSYNC:
		return result(sqe->fsync_flags & IORING_FSYNC_DATASYNC ? fdatasync(fd) : fsync(fd));
	case IORING_OP_FALLOCATE:
		return result(fallocate(fd, (int)sqe->len, (off_t)sqe->off, (off_t)sqe->addr));
	default:
		return -EINVAL;
	}
}

static bool run_events(struct worker *w)
{
	bool any = false;

	for (unsigned i = 0; i < w->events; i++) {
		struct worker_event *event = w->event[i];
		struct pollfd p = { .fd = w->file[event->file], .events = POLLIN };
		uint64_t count;

		/*
		 * The real one is edge triggered and leaves the count alone; here it is the edge.
		 * An epoll instance has none (EINVAL): whoever is told empties it.
		 */
		if (poll(&p, 1, 0) != 1 ||
			(read(p.fd, &count, sizeof(count)) != sizeof(count) && errno != EINVAL))
			continue;
		event->fire(event);
		any = true;
	}
	return any;
}

static bool run_entries(struct worker *w)
{
	unsigned end = w->tail;
	bool any = false;

	/* Only what was queued before this turn: completions queue the next. */
	while (!w->hold && w->head != end) {
		struct entry e = w->entry[w->head++ % SQES];
		int res = -ECANCELED;

		if (!e.cancelled && !(w->hook && w->hook(w->hook_ctx, &e.sqe, &res)))
			res = execute(w, &e.sqe, e.plain);
		if (e.op)
			e.op->complete(e.op, res, 0);
		any = true;
	}
	return any;
}

bool fake_worker_turn(struct worker *w)
{
	struct worker_task *yielded = w->next;
	bool any;

	w->turns++;
	w->next = NULL;
	any = run_events(w);
	any |= run_entries(w);
	while (yielded) {
		struct worker_task *task = yielded;

		yielded = task->next;
		task->queued = false;
		add_task(&w->now, task);
	}
	while (w->now) {
		struct worker_task *task = w->now;

		w->now = task->next;
		task->queued = false;
		task->run(task);
		any = true;
	}
	return any;
}

void fake_worker_run(struct worker *w)
{
	while (fake_worker_turn(w))
		;
}
