/*
 * A worker without a thread and without io_uring: vmm/worker.h executed by plain system calls, one
 * turn at a time, when the test says so. Link it in place of the real one.
 */
#pragma once

#include "vmm/worker.h"

struct worker *fake_worker_new(void);
void fake_worker_free(struct worker *w);

/* One turn: kicks, the queued operations, then the deferred tasks. True if there was anything. */
bool fake_worker_turn(struct worker *w);
/* Turns until there is nothing left to do. */
void fake_worker_run(struct worker *w);

/*
 * Looks at every operation before it is executed. Returning true means that the hook did it: *@res
 * is its result. To fail, to shorten or only to watch.
 */
typedef bool (*fake_worker_hook)(void *ctx, const struct io_uring_sqe *sqe, int *res);
void fake_worker_set_hook(struct worker *w, fake_worker_hook hook, void *ctx);

/* While true, queued operations stay queued: they are in flight. */
void fake_worker_hold(struct worker *w, bool hold);

/* How many operations are queued, and whether @opcode was allowed. */
unsigned fake_worker_queued(struct worker *w);
bool fake_worker_allows(struct worker *w, uint8_t opcode);

/* How often the file at @index was signalled since the last time this was asked. */
unsigned fake_worker_signals(struct worker *w, int index);
