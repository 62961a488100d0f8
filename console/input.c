/*
 * From the host to the guest: one read at a time, through the escape key's filter if a person types,
 * to the sink as fast as it takes it.
 */
#include "console/internal.h"

#include "util/macros.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

static const char help[] = "\r\n"
			   "Ctrl-A x       stop the machine and leave\r\n"
			   "Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n"
			   "Ctrl-A h       this help\r\n";

/* Hand over what was read. Not while a read is in flight: the bytes may move. */
static void deliver(struct console *c)
{
	while (c->in_from < c->in_to && c->sink.input) {
		size_t len = c->in_to - c->in_from;
		size_t n = c->sink.input(c->sink.ctx, c->in + c->in_from, len);

		c->in_from += MIN(n, len);
		if (n < len)
			break;
	}
	if (c->in_from && !c->reading) {
		memmove(c->in, c->in + c->in_from, c->in_to - c->in_from);
		c->in_to -= c->in_from;
		c->in_from = 0;
	}
}

static void submit_read(struct console *c)
{
	struct io_uring_sqe *sqe = worker_sqe(c->worker);

	io_uring_prep_read(sqe, c->in_file, c->in + c->in_to, (unsigned)(sizeof(c->in) - c->in_to),
		(uint64_t)-1);
	c->reading = true;
	c->read_polls = false;
	worker_submit(c->worker, sqe, &c->read_op);
}

/* Somebody made the file non-blocking (it is shared with who started us): wait for it ourselves. */
static void submit_poll(struct console *c)
{
	struct io_uring_sqe *sqe = worker_sqe(c->worker);

	io_uring_prep_poll_add(sqe, c->in_file, POLLIN);
	c->reading = true;
	c->read_polls = true;
	worker_submit(c->worker, sqe, &c->read_op);
}

void input_pump(struct console *c)
{
	if (c->in_fd < 0 || !c->sink.input || !atomic_load(&c->begun) || c->quiescing || c->quiet)
		return;
	deliver(c);
	if (!c->reading && !c->input_ended && c->in_to < sizeof(c->in))
		submit_read(c);
}

static void take(struct console *c, size_t len)
{
	unsigned actions = 0;

	if (c->terminal)
		len = escape_filter(&c->escape, c->in + c->in_to, len, &actions);
	c->in_to += len;
	if (actions & ESCAPE_HELP)
		output_text(c, help);
	if (actions & ESCAPE_LEAVE) {
		c->input_ended = true;
		c->leave(c->leave_ctx, 0);
	}
}

static void on_read(struct worker_op *op, int res, uint32_t cqe_flags)
{
	struct console *c = container_of(op, struct console, read_op);
	bool polled = c->read_polls;

	c->reading = false;
	if (c->quiescing || c->quiet) {
		console_settle(c);
		return;
	}
	if (res > 0 && !polled)
		take(c, (size_t)res);
	else if (res == -EAGAIN)
		submit_poll(c);
	else if (!polled && res != -EINTR)
		c->input_ended = true; /* its end, or nothing that can be read */
	else if (polled && res < 0)
		c->input_ended = true;
	input_pump(c);
}

void input_prepare(struct console *c)
{
	c->read_op.complete = on_read;
}
