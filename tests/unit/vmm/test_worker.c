/* Workers on the real io_uring: events, I/O, calls, the end of a batch, walls. */
#include "util/macros.h"
#include "vmm/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	struct worker *w;
	struct worker_event event;
	struct worker_task task;
	struct worker_op op;
	int kick, irq, disk;
	int irq_file, disk_file;
	char buf[16];
	int res;
	unsigned fired, flushed, yielded;
	struct worker_call *waiting;
};

static struct worker *make(bool sandbox)
{
	struct worker_params p = { .name = "worker-test", .sandbox = sandbox };
	struct error err = { 0 };
	struct worker *w;

	if (worker_create(&w, &p, &err) < 0) {
		print_message("%s\n", err.msg);
		skip();
	}
	return w;
}

static void start(struct worker *w)
{
	struct error err = { 0 };

	if (worker_start(w, &err) < 0)
		fail_msg("%s", err.msg);
}

/* A kick: read the disk; when that is done, once for the batch, signal the irqfd. */
static void on_flush(struct worker_task *task)
{
	struct fixture *f = container_of(task, struct fixture, task);

	f->flushed++;
	worker_signal(f->w, f->irq_file);
}

static void on_read(struct worker_op *op, int res, uint32_t flags)
{
	struct fixture *f = container_of(op, struct fixture, op);

	f->res = res;
	worker_defer(f->w, &f->task);
	worker_defer(f->w, &f->task); /* queued already: runs once */
}

static void on_kick(struct worker_event *event)
{
	struct fixture *f = container_of(event, struct fixture, event);
	struct io_uring_sqe *sqe = worker_sqe(f->w);

	f->fired++;
	io_uring_prep_read(sqe, f->disk_file, f->buf, sizeof(f->buf), 4);
	worker_submit(f->w, sqe, &f->op);
}

static void fixture_open(struct fixture *f, bool sandbox)
{
	memset(f, 0, sizeof(*f));
	f->w = make(sandbox);
	f->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->irq = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->disk = memfd_create("disk", MFD_CLOEXEC);
	assert_int_equal(write(f->disk, "0123456789", 10), 10);
	f->irq_file = worker_add_file(f->w, f->irq);
	f->disk_file = worker_add_file(f->w, f->disk);
	assert_int_equal(worker_add_file(f->w, f->disk), f->disk_file);
	f->event.fire = on_kick;
	f->task.run = on_flush;
	f->op.complete = on_read;
	assert_int_equal(worker_add_event(f->w, &f->event, f->kick), 0);
	worker_allow(f->w, IORING_OP_READ);
	start(f->w);
}

static void fixture_close(struct fixture *f)
{
	worker_stop(f->w);
	worker_destroy(f->w);
	close(f->kick);
	close(f->irq);
	close(f->disk);
}

static void kick_and_wait(struct fixture *f)
{
	uint64_t one = 1, count = 0;

	assert_int_equal(write(f->kick, &one, 8), 8);
	for (int i = 0; i < 5000 && read(f->irq, &count, 8) < 0; i++)
		usleep(1000);
	assert_int_equal(count, 1);
}

static void test_kick_to_irq(void **state)
{
	struct fixture f;

	fixture_open(&f, false);
	for (unsigned i = 1; i <= 100; i++) {
		kick_and_wait(&f);
		assert_int_equal(f.fired, i);
		assert_int_equal(f.flushed, i);
	}
	assert_int_equal(f.res, 6);
	assert_memory_equal(f.buf, "456789", 6);
	fixture_close(&f);
}

static struct worker_call *write_call;

static void on_write(struct worker_op *op, int res, uint32_t flags)
{
	struct fixture *f = container_of(op, struct fixture, op);

	f->res = res;
	worker_call_done(write_call);
}

struct write_call {
	struct worker_call call;
	struct fixture *f;
	uint8_t opcode;
	int fd;
	bool fixed;
};

static void run_write(struct worker_call *call)
{
	struct write_call *c = container_of(call, struct write_call, call);
	struct io_uring_sqe *sqe = worker_sqe(c->f->w);

	write_call = call;
	c->f->op.complete = on_write;
	io_uring_prep_rw(c->opcode, sqe, c->fd, c->f->buf, 1, 0);
	worker_submit(c->f->w, sqe, &c->f->op);
	if (!c->fixed)
		sqe->flags &= (uint8_t)~IOSQE_FIXED_FILE;
}

/* With the walls up: the same works, another operation or an unregistered file does not. */
static void test_walls(void **state)
{
	struct fixture f;
	struct write_call c = { .call = { .run = run_write }, .f = &f };

	fixture_open(&f, true);
	kick_and_wait(&f);
	c.opcode = IORING_OP_SEND;
	c.fd = f.disk_file;
	c.fixed = true;
	worker_call(f.w, &c.call);
	assert_int_equal(f.res, -EACCES);
	c.opcode = IORING_OP_READ;
	c.fd = f.disk;
	c.fixed = false;
	worker_call(f.w, &c.call);
	assert_int_equal(f.res, -EACCES);
	fixture_close(&f);
}

static void run_now(struct worker_call *call)
{
	worker_call_done(call);
}

static void *caller(void *arg)
{
	struct fixture *f = arg;

	for (unsigned i = 0; i < 1000; i++) {
		struct worker_call call = { .run = run_now };

		worker_call(f->w, &call);
	}
	return NULL;
}

static void test_calls(void **state)
{
	struct fixture f;
	pthread_t t[3];

	fixture_open(&f, false);
	for (unsigned i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, caller, &f);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	kick_and_wait(&f);
	fixture_close(&f);
}

static void on_yield(struct worker_task *task)
{
	struct fixture *f = container_of(task, struct fixture, task);

	if (++f->yielded < 1000)
		worker_yield(f->w, task);
	else
		worker_call_done(f->waiting);
}

struct yield_call {
	struct worker_call call;
	struct fixture *f;
};

static void run_yield(struct worker_call *call)
{
	struct yield_call *c = container_of(call, struct yield_call, call);

	c->f->waiting = call;
	worker_yield(c->f->w, &c->f->task);
}

/* Yielding work goes on although nothing completes. */
static void test_yield(void **state)
{
	struct fixture f;
	struct yield_call c = { .call = { .run = run_yield }, .f = &f };

	fixture_open(&f, false);
	f.task.run = on_yield;
	worker_call(f.w, &c.call);
	assert_int_equal(f.yielded, 1000);
	fixture_close(&f);
}

/* More submissions in one turn than the queue holds. */
static void run_flood(struct worker_call *call)
{
	struct yield_call *c = container_of(call, struct yield_call, call);

	for (unsigned i = 0; i < 2000; i++)
		worker_signal(c->f->w, c->f->irq_file);
	worker_call_done(call);
}

static void test_flood(void **state)
{
	struct fixture f;
	struct yield_call c = { .call = { .run = run_flood }, .f = &f };
	uint64_t sum = 0, count;

	fixture_open(&f, false);
	worker_call(f.w, &c.call);
	for (int i = 0; i < 5000 && sum < 2000; i++) {
		if (read(f.irq, &count, 8) == 8)
			sum += count;
		else
			usleep(1000);
	}
	assert_int_equal(sum, 2000);
	fixture_close(&f);
}

struct timer_call {
	struct worker_call call;
	struct fixture *f;
	struct __kernel_timespec ts;
	struct worker_op op;
	int res;
	bool cancel;
};

static void on_timer(struct worker_op *op, int res, uint32_t flags)
{
	struct timer_call *c = container_of(op, struct timer_call, op);

	c->res = res;
	worker_call_done(&c->call);
}

static void run_timer(struct worker_call *call)
{
	struct timer_call *c = container_of(call, struct timer_call, call);

	c->op.complete = on_timer;
	worker_timeout(c->f->w, &c->op, &c->ts);
	if (c->cancel)
		worker_cancel(c->f->w, &c->op);
}

static void test_timers(void **state)
{
	struct fixture f;
	struct timer_call c = { .call = { .run = run_timer }, .f = &f };

	memset(&f, 0, sizeof(f));
	f.w = make(true);
	f.kick = f.irq = f.disk = -1;
	worker_allow(f.w, IORING_OP_TIMEOUT);
	start(f.w);
	c.ts.tv_nsec = 1000000;
	worker_call(f.w, &c.call);
	assert_int_equal(c.res, -ETIME);
	c.ts.tv_sec = 1000;
	c.cancel = true;
	worker_call(f.w, &c.call);
	assert_int_equal(c.res, -ECANCELED);
	worker_stop(f.w);
	worker_destroy(f.w);
}

static void test_never_started(void **state)
{
	struct worker *w = make(false);

	worker_stop(w);
	worker_destroy(w);
	worker_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kick_to_irq),
		cmocka_unit_test(test_walls),
		cmocka_unit_test(test_calls),
		cmocka_unit_test(test_yield),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_timers),
		cmocka_unit_test(test_never_started),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
