#include "vmm/worker.h"

#include "util/cleanup.h"
#include "util/log.h"
#include "util/macros.h"
#include "vmm/sandbox.h"
#include "vmm/thread.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { FILES_MAX = 128, EVENTS_MAX = 96, ENTRIES_DEFAULT = 256, CQ_ENTRIES = 4096, OPCODES = 256 };

struct task_list {
	struct worker_task *head;
	struct worker_task **tail;
};

struct worker {
	/* Constant after start. */
	char name[16];
	enum worker_kind kind;
	bool sandbox;
	uint64_t capabilities;
	unsigned files;
	int file[FILES_MAX];
	unsigned events;
	struct worker_event *event[EVENTS_MAX];
	bool allowed[OPCODES];
	bool plain_files;
	int (*begin)(void *ctx);
	void *begin_ctx;
	pthread_t thread;
	bool started; /* main only */
	int call_fd;
	struct worker_event call_event;

	/* The thread's only. */
	struct io_uring ring;
	struct task_list now;  /* to run at the end of this turn */
	struct task_list next; /* to run at the end of the next one */
	uint64_t turns;
	bool stopping;
	struct log_limit complaints;

	/* Start-up handshake and calls: under lock. */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a call is done, or the thread is up */
	struct worker_call *calls;
	int up; /* 0 not yet, 1 running, -errno failed */
};

static const uint64_t one = 1;

static void task_list_init(struct task_list *list)
{
	list->head = NULL;
	list->tail = &list->head;
}

static void task_list_add(struct task_list *list, struct worker_task *task)
{
	if (task->queued)
		return;
	task->queued = true;
	task->next = NULL;
	*list->tail = task;
	list->tail = &task->next;
}

static void calls_fire(struct worker_event *event);

/*
 * The newest flags first: with SINGLE_ISSUER and DEFER_TASKRUN (Linux 6.1) completions are run by
 * this thread at the point where it waits, and nowhere else. Older kernels do without.
 */
static int ring_setup(struct io_uring *ring, unsigned entries)
{
	static const unsigned flags[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
		IORING_SETUP_COOP_TASKRUN,
		0,
	};
	int r = -EINVAL;

	for (unsigned i = 0; i < ARRAY_SIZE(flags) && r == -EINVAL; i++) {
		struct io_uring_params p = {
			.flags = flags[i] | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE |
				 IORING_SETUP_CLAMP,
			.cq_entries = CQ_ENTRIES,
		};

		r = io_uring_queue_init_params(entries, ring, &p);
	}
	return r;
}

int worker_create(struct worker **out, const struct worker_params *params, struct error *err)
{
	struct worker *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory for a worker");
	snprintf(w->name, sizeof(w->name), "%s", params->name);
	w->kind = params->kind;
	w->sandbox = params->sandbox;
	w->capabilities = params->capabilities;
	task_list_init(&w->now);
	task_list_init(&w->next);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, NULL);

	w->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->call_fd < 0) {
		r = error_set(err, ERROR_HOST, errno, "cannot make an eventfd: %m");
		goto fail;
	}
	r = ring_setup(&w->ring, params->entries ? params->entries : ENTRIES_DEFAULT);
	if (r < 0) {
		error_set(err, ERROR_HOST, -r,
			"io_uring is not available (%m): it needs Linux 5.15 or later and "
			"kernel.io_uring_disabled=0; see `microvm doctor`");
		goto fail;
	}
	worker_allow(w, IORING_OP_POLL_ADD);
	worker_allow(w, IORING_OP_ASYNC_CANCEL);
	worker_allow(w, IORING_OP_WRITE); /* worker_signal() */
	w->call_event.fire = calls_fire;
	worker_add_event(w, &w->call_event, w->call_fd);
	*out = w;
	return 0;
fail:
	if (w->call_fd >= 0)
		close(w->call_fd);
	free(w);
	return r;
}

int worker_add_file(struct worker *w, int fd)
{
	for (unsigned i = 0; i < w->files; i++)
		if (w->file[i] == fd)
			return (int)i;
	if (w->files == FILES_MAX)
		return -EMFILE;
	w->file[w->files] = fd;
	return (int)w->files++;
}

void worker_allow(struct worker *w, uint8_t opcode)
{
	w->allowed[opcode] = true;
}

void worker_allow_plain_files(struct worker *w)
{
	w->plain_files = true;
}

int worker_add_event(struct worker *w, struct worker_event *event, int fd)
{
	int file = worker_add_file(w, fd);

	if (file < 0)
		return file;
	if (w->events == EVENTS_MAX)
		return -EMFILE;
	event->worker = w;
	event->file = file;
	w->event[w->events++] = event;
	return 0;
}

void worker_set_begin(struct worker *w, int (*begin)(void *ctx), void *ctx)
{
	w->begin = begin;
	w->begin_ctx = ctx;
}

struct io_uring_sqe *worker_sqe(struct worker *w)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);

	while (!sqe) { /* full: hand over what is there */
		int r = io_uring_submit_and_get_events(&w->ring);

		if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY)
			log_limited(&w->complaints, LOG_LEVEL_ERROR, "%s: io_uring: %s", w->name,
				strerror(-r));
		sqe = io_uring_get_sqe(&w->ring);
	}
	return sqe;
}

void worker_submit(struct worker *w, struct io_uring_sqe *sqe, struct worker_op *op)
{
	sqe->flags |= IOSQE_FIXED_FILE;
	if (!op)
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	io_uring_sqe_set_data(sqe, op);
}

void worker_submit_plain(struct worker *w, struct io_uring_sqe *sqe, struct worker_op *op)
{
	io_uring_sqe_set_data(sqe, op);
}

unsigned worker_room(struct worker *w)
{
	return io_uring_sq_space_left(&w->ring);
}

void worker_signal(struct worker *w, int file)
{
	struct io_uring_sqe *sqe = worker_sqe(w);

	io_uring_prep_write(sqe, file, &one, sizeof(one), 0);
	worker_submit(w, sqe, NULL);
}

void worker_defer(struct worker *w, struct worker_task *task)
{
	task_list_add(&w->now, task);
}

void worker_yield(struct worker *w, struct worker_task *task)
{
	task_list_add(&w->next, task);
}

uint64_t worker_turn(const struct worker *w)
{
	return w->turns;
}

void worker_cancel(struct worker *w, struct worker_op *op)
{
	struct io_uring_sqe *sqe = worker_sqe(w);

	io_uring_prep_cancel(sqe, op, 0);
	worker_submit(w, sqe, NULL);
}

void worker_timeout(struct worker *w, struct worker_op *op, struct __kernel_timespec *ts)
{
	struct io_uring_sqe *sqe = worker_sqe(w);

	io_uring_prep_timeout(sqe, ts, 0, 0);
	worker_submit(w, sqe, op);
}

/* ---- events ---- */

/*
 * A multishot poll: one submission serves every later signal of the eventfd. It is edge triggered,
 * so the count need not be read back. The kernel ends it (no F_MORE) when completions overflow;
 * arming it anew reports at once if there was a signal since, so none is lost.
 */
static void event_arm(struct worker_event *event)
{
	struct io_uring_sqe *sqe = worker_sqe(event->worker);

	io_uring_prep_poll_multishot(sqe, event->file, POLLIN);
	worker_submit(event->worker, sqe, &event->op);
}

static void event_complete(struct worker_op *op, int res, uint32_t cqe_flags)
{
	struct worker_event *event = container_of(op, struct worker_event, op);

	if (res < 0) {
		if (res != -ECANCELED)
			log_error("%s: cannot poll file %d: %s", event->worker->name, event->file,
				strerror(-res));
		return;
	}
	if (!(cqe_flags & IORING_CQE_F_MORE))
		event_arm(event);
	event->fire(event);
}

/* ---- calls from other threads ---- */

static void calls_fire(struct worker_event *event)
{
	struct worker *w = container_of(event, struct worker, call_event);
	struct worker_call *list, *next;

	pthread_mutex_lock(&w->lock);
	list = w->calls;
	w->calls = NULL;
	pthread_mutex_unlock(&w->lock);
	for (; list; list = next) {
		next = list->next; /* run() may give the call back to its owner */
		list->run(list);
	}
}

void worker_call(struct worker *w, struct worker_call *call)
{
	struct worker_call **at;

	call->worker = w;
	call->next = NULL;
	call->done = false;
	pthread_mutex_lock(&w->lock);
	for (at = &w->calls; *at; at = &(*at)->next)
		;
	*at = call;
	/* Cannot fail: the count is far from its end, and the descriptor is ours. */
	if (write(w->call_fd, &one, sizeof(one)) < 0)
		log_error("%s: cannot be woken: %m", w->name);
	while (!call->done)
		pthread_cond_wait(&w->changed, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

void worker_call_done(struct worker_call *call)
{
	struct worker *w = call->worker;

	pthread_mutex_lock(&w->lock);
	call->done = true;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

/* ---- the thread ---- */

static void run_completions(struct worker *w)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_for_each_cqe(&w->ring, head, cqe)
	{
		struct worker_op *op = io_uring_cqe_get_data(cqe);
		int res = cqe->res;
		uint32_t flags = cqe->flags;

		n++;
		if (op)
			op->complete(op, res, flags);
		else if (res < 0 && res != -ENOENT && res != -EALREADY) /* a cancel too late */
			log_limited(&w->complaints, LOG_LEVEL_WARN, "%s: unattended operation: %s",
				w->name, strerror(-res));
	}
	io_uring_cq_advance(&w->ring, n);
}

static void run_tasks(struct worker *w)
{
	while (w->now.head) {
		struct worker_task *task = w->now.head;

		w->now.head = task->next;
		if (!w->now.head)
			w->now.tail = &w->now.head;
		task->queued = false;
		task->run(task);
	}
}

/* Move what yielded in the last turn to this one. True if there was anything. */
static bool take_yielded(struct worker *w)
{
	if (!w->next.head)
		return false;
	*w->now.tail = w->next.head;
	w->now.tail = w->next.tail;
	task_list_init(&w->next);
	return true;
}

static void turn(struct worker *w)
{
	bool busy = take_yielded(w);
	int r;

	w->turns++;
	r = busy ? io_uring_submit_and_get_events(&w->ring) : io_uring_submit_and_wait(&w->ring, 1);
	if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY)
		log_limited(&w->complaints, LOG_LEVEL_ERROR, "%s: io_uring_enter: %s", w->name,
			strerror(-r));
	run_completions(w);
	run_tasks(w);
}

/*
 * What the ring may do from now on: the allowed operations, on registered files only. A kernel
 * without restrictions (before 5.10) runs without, and says so.
 */
static int ring_restrict(struct worker *w)
{
	struct io_uring_restriction res[OPCODES + 2] = { 0 };
	unsigned n = 0;

	for (unsigned op = 0; op < OPCODES; op++) {
		if (!w->allowed[op])
			continue;
		res[n].opcode = IORING_RESTRICTION_SQE_OP;
		res[n++].sqe_op = (uint8_t)op;
	}
	res[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	res[n++].sqe_flags = IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS | IOSQE_IO_LINK |
			     IOSQE_IO_HARDLINK | IOSQE_ASYNC;
	if (!w->plain_files) {
		res[n].opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
		res[n++].sqe_flags = IOSQE_FIXED_FILE;
	}
	return io_uring_register_restrictions(&w->ring, res, n);
}

/* On the worker's thread: the ring belongs to whoever enables it (SINGLE_ISSUER). */
static int thread_begin(struct worker *w)
{
	static const enum sandbox_thread filter[] = {
		[WORKER_IO] = SANDBOX_WORKER,
		[WORKER_USER_NET] = SANDBOX_USER_NET,
		[WORKER_VSOCK] = SANDBOX_VSOCK,
		[WORKER_VSOCK_CONNECT] = SANDBOX_VSOCK_CONNECT,
		[WORKER_FS] = SANDBOX_FS,
	};
	int r = 0;

	pthread_setname_np(pthread_self(), w->name);
	r = io_uring_enable_rings(&w->ring);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < w->events; i++) {
		w->event[i]->op.complete = event_complete;
		event_arm(w->event[i]);
	}
	if (w->begin)
		r = w->begin(w->begin_ctx);
	if (r < 0)
		return r;
	return w->sandbox ? sandbox_thread(filter[w->kind], w->capabilities) : 0;
}

static void *thread_main(void *arg)
{
	struct worker *w = arg;
	int r = thread_begin(w);

	pthread_mutex_lock(&w->lock);
	w->up = r < 0 ? r : 1;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	while (r >= 0 && !w->stopping)
		turn(w);
	return NULL;
}

/*
 * Main. A thread with an arena of its own would, when much of it becomes free, have malloc open a
 * file of /proc to learn how to shrink it, which its filter does not allow. The main arena, which
 * all then share, shrinks without a look at anything.
 */
static void one_arena(void)
{
#ifdef M_ARENA_MAX
	mallopt(M_ARENA_MAX, 1);
#endif
}

int worker_start(struct worker *w, struct error *err)
{
	int r;

	one_arena();
	r = io_uring_register_files(&w->ring, w->file, w->files);
	if (r < 0)
		return error_set(err, ERROR_HOST, -r, "%s: io_uring cannot register %u files: %m",
			w->name, w->files);
	if (w->sandbox) {
		r = ring_restrict(w);
		if (r < 0)
			return error_set(err, ERROR_HOST, -r,
				"%s: io_uring cannot be restricted: %m; --no-sandbox runs without",
				w->name);
	}
	r = thread_start(&w->thread, thread_main, w, 0);
	if (r < 0)
		return error_set(err, ERROR_HOST, -r, "%s: cannot start a thread: %m", w->name);
	w->started = true;

	pthread_mutex_lock(&w->lock);
	while (!w->up)
		pthread_cond_wait(&w->changed, &w->lock);
	r = w->up;
	pthread_mutex_unlock(&w->lock);
	if (r < 0) {
		pthread_join(w->thread, NULL);
		w->started = false;
		return error_set(err, ERROR_HOST, -r, "%s: cannot start: %m", w->name);
	}
	return 0;
}

static void stop_run(struct worker_call *call)
{
	call->worker->stopping = true;
	worker_call_done(call);
}

void worker_stop(struct worker *w)
{
	struct worker_call call = { .run = stop_run };

	if (!w || !w->started)
		return;
	worker_call(w, &call);
	pthread_join(w->thread, NULL);
	w->started = false;
}

void worker_destroy(struct worker *w)
{
	if (!w)
		return;
	worker_stop(w);
	io_uring_queue_exit(&w->ring);
	close(w->call_fd);
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
	free(w);
}
