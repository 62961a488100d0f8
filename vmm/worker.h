/*
 * A worker: one thread, one io_uring, one place to wait.
 *
 * Kicks (ioeventfds), disk and network I/O, interrupts (irqfds) and calls from other threads all
 * arrive as completions of the same ring. One turn of the loop:
 *
 *	1. one io_uring_enter: submit everything queued, wait for at least one completion
 *	2. every completion's handler runs; handlers queue new submissions
 *	3. the tasks that handlers put off to the end of the batch run (publish used rings, notify)
 *	4. again
 *
 * So a batch of requests costs one system call, and an interrupt for the guest rides on the same
 * call as the next reads and writes.
 *
 * Life: worker_create() (main) -> worker_add_file(), worker_allow(), worker_add_event() (main)
 * -> worker_start() (main; after it the ring accepts only the allowed operations on the added
 * files, and the thread wears its seccomp filter) -> worker_stop() (main; joins) ->
 * worker_destroy() (main).
 *
 * Ownership: everything in struct worker belongs to the worker's thread once it has started, but
 * for the list of calls, which has a lock.
 */
#pragma once

#include "util/error.h"

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

struct worker;

/* Something that waits for a completion. Embedded in its owner's request; see container_of(). */
struct worker_op {
	/* Worker thread. @res is the CQE's result (>= 0 or -errno). @op may be reused at once. */
	void (*complete)(struct worker_op *op, int res, uint32_t cqe_flags);
};

/* Something to do once at the end of this turn. Zero-initialise, set run. */
struct worker_task {
	void (*run)(struct worker_task *task);
	struct worker_task *next; /* the worker's */
	bool queued;		  /* the worker's */
};

/* An eventfd (or any pollable file) whose readiness calls fire(). Zero-initialise, set fire. */
struct worker_event {
	/* Worker thread. One call may stand for many signals. */
	void (*fire)(struct worker_event *event);
	struct worker_op op; /* the worker's, as all below */
	struct worker *worker;
	int file;
};

/* A piece of work that another thread wants done on the worker. Lives on the caller's stack. */
struct worker_call {
	/* Worker thread. Must lead to one worker_call_done(), now or from a later completion. */
	void (*run)(struct worker_call *call);
	struct worker_call *next; /* the worker's, as all below */
	struct worker *worker;
	bool done;
};

/* Which seccomp filter the thread wears. */
enum worker_kind {
	WORKER_IO,	      /* io_uring and nothing else */
	WORKER_USER_NET,      /* besides, the sockets of user-mode networking */
	WORKER_VSOCK,	      /* besides, unix sockets that it is given (vsock/host.h) */
	WORKER_VSOCK_CONNECT, /* and it connects to others */
	WORKER_FS	      /* besides, the calls on files and names of a shared directory */
};

struct worker_params {
	const char *name; /* thread name, at most 15 bytes */
	enum worker_kind kind;
	unsigned entries;      /* submission queue size; 0 means 256 */
	bool sandbox;	       /* wear the filter and restrict the ring */
	uint64_t capabilities; /* 1 << CAP_...: what the thread keeps of them then */
};

/* Main. Makes the ring, disabled. -ENOSYS or -EPERM with ERROR_HOST where io_uring is missing. */
int worker_create(struct worker **out, const struct worker_params *params, struct error *err);

/*
 * Main, before start. Register @fd (which stays the caller's; the ring holds its own reference) and
 * return its index for use with IOSQE_FIXED_FILE, >= 0, or -errno. The same fd twice gives the same
 * index.
 */
int worker_add_file(struct worker *w, int fd);

/*
 * Main, before start. The ring takes operations on any descriptor of the process, too, not on
 * registered files alone: for a worker whose thread may use them in calls of its own anyway.
 */
void worker_allow_plain_files(struct worker *w);

/* Main, before start. Let the ring take operations of type @opcode (IORING_OP_...). */
void worker_allow(struct worker *w, uint8_t opcode);

/*
 * Main, before start. From start to stop, call event->fire whenever @fd becomes readable (edge
 * triggered; the eventfd's count is never read). @event is the caller's and must outlive the
 * worker's thread.
 */
int worker_add_event(struct worker *w, struct worker_event *event, int fd);

/*
 * Main, before start. Have the thread call begin(@ctx) before it puts its seccomp filter on: for
 * what it must change of itself. Less than 0 from it (-errno) fails worker_start(). One for each
 * worker; the last one said counts.
 */
void worker_set_begin(struct worker *w, int (*begin)(void *ctx), void *ctx);

int worker_start(struct worker *w, struct error *err);

/*
 * Main. Ends the thread and joins it. Every device must have been quiesced: nothing in flight but
 * event polls. Safe on a worker that never started.
 */
void worker_stop(struct worker *w);
void worker_destroy(struct worker *w);

/*
 * Worker thread. A submission entry, never NULL (a full queue is flushed first). Fill it with an
 * io_uring_prep_*() whose fd is an index from worker_add_file(), then hand it to worker_submit()
 * before taking another:
 *
 *	struct io_uring_sqe *sqe = worker_sqe(w);
 *	io_uring_prep_readv(sqe, file, iov, n, offset);
 *	worker_submit(w, sqe, op);
 *
 * worker_submit() marks the fd as a registered file and @op as the one who waits; with @op NULL
 * nobody does, and only a failure is logged. Flags such as IOSQE_IO_LINK may be set in between.
 * Entries reach the kernel with the next io_uring_enter.
 */
struct io_uring_sqe *worker_sqe(struct worker *w);
void worker_submit(struct worker *w, struct io_uring_sqe *sqe, struct worker_op *op);

/* The same for an entry whose fd is a descriptor, after worker_allow_plain_files(). */
void worker_submit_plain(struct worker *w, struct io_uring_sqe *sqe, struct worker_op *op);

/*
 * Worker thread. How many entries can be taken before the queue has to be flushed: for callers that
 * need several entries in one piece (IOSQE_IO_LINK).
 */
unsigned worker_room(struct worker *w);

/* Worker thread. Add 1 to the eventfd behind @file (an irqfd, say) with the next io_uring_enter. */
void worker_signal(struct worker *w, int file);

/* Worker thread. Run @task at the end of this turn; nothing happens if it is queued already. */
void worker_defer(struct worker *w, struct worker_task *task);

/*
 * Worker thread. As worker_defer(), but in the next turn, which will not wait for a completion:
 * for work that yields to others after its share.
 */
void worker_yield(struct worker *w, struct worker_task *task);

/*
 * Worker thread. The number of this turn. What is submitted in one turn and needs no waiting
 * completes in the next.
 */
uint64_t worker_turn(const struct worker *w);

/*
 * Any thread but a worker's own, while the worker runs. Has the worker run @call and waits until
 * worker_call_done() is said.
 */
void worker_call(struct worker *w, struct worker_call *call);
/* Worker thread. After it, @call is the caller's again: do not touch it. */
void worker_call_done(struct worker_call *call);

/* Worker thread. Cancel what waits under @op; its completion comes as always (-ECANCELED). */
void worker_cancel(struct worker *w, struct worker_op *op);

/*
 * Worker thread. Call op->complete once after @ts (relative) has passed (-ETIME) or when cancelled.
 * @ts must live until then. The owner allows IORING_OP_TIMEOUT (and, to cancel,
 * IORING_OP_TIMEOUT_REMOVE is not needed: worker_cancel() does it).
 */
void worker_timeout(struct worker *w, struct worker_op *op, struct __kernel_timespec *ts);
