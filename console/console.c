#include "console/internal.h"

#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static int open_file(const char *path, struct error *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);

	if (fd < 0)
		return error_set(err, ERROR_HOST, errno,
			"--console file=%s: cannot be opened for writing: %m", path);
	return fd;
}

int console_open(struct console **out, enum console_mode mode, const char *path, struct error *err)
{
	struct console *c = calloc(1, sizeof(*c));
	int r;

	*out = NULL;
	if (!c || output_init(c) < 0) {
		free(c);
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory for the console");
	}
	c->mode = mode;
	c->in_fd = c->out_fd = -1;
	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->wake_fd < 0) {
		r = error_set(err, ERROR_HOST, errno, "cannot make an eventfd: %m");
		goto fail;
	}
	if (mode == CONSOLE_FILE) {
		r = c->out_fd = open_file(path, err);
		if (r < 0)
			goto fail;
	} else if (mode == CONSOLE_STDIO) {
		c->out_fd = STDOUT_FILENO;
		c->terminal = terminal_usable(STDIN_FILENO);
		if (c->terminal || !isatty(STDIN_FILENO))
			c->in_fd = STDIN_FILENO;
		if (c->terminal)
			terminal_catch_faults();
	}
	*out = c;
	return 0;
fail:
	console_close(c);
	return r;
}

void console_close(struct console *c)
{
	if (!c)
		return;
	console_restore_terminal();
	if (c->mode == CONSOLE_FILE && c->out_fd >= 0)
		close(c->out_fd);
	if (c->wake_fd >= 0)
		close(c->wake_fd);
	output_destroy(c);
	free(c);
}

static void on_wake(struct worker_event *event)
{
	struct console *c = container_of(event, struct console, wake);

	output_pump(c);
	input_pump(c);
}

int console_attach(struct console *c, struct worker *worker, console_leave *leave, void *ctx,
	struct error *err)
{
	int r;

	c->worker = worker;
	c->leave = leave;
	c->leave_ctx = ctx;
	c->wake.fire = on_wake;
	output_prepare(c);
	input_prepare(c);
	r = worker_add_event(worker, &c->wake, c->wake_fd);
	if (r >= 0 && c->in_fd >= 0)
		r = c->in_file = worker_add_file(worker, c->in_fd);
	if (r >= 0 && c->out_fd >= 0)
		r = c->out_file = worker_add_file(worker, c->out_fd);
	if (r < 0)
		return error_set(err, ERROR_HOST, -r, "console: cannot register its files: %s",
			strerror(-r));
	worker_allow(worker, IORING_OP_READ);
	worker_allow(worker, IORING_OP_WRITE);
	worker_allow(worker, IORING_OP_POLL_ADD);
	worker_allow(worker, IORING_OP_TIMEOUT);
	return 0;
}

void console_wake(struct console *c)
{
	static const uint64_t one = 1;

	/* Fails only when the count is full, and then the worker is awake. */
	if (write(c->wake_fd, &one, sizeof(one)) < 0)
		return;
}

void console_begin(struct console *c)
{
	if (c->terminal)
		terminal_raw(c->in_fd);
	atomic_store(&c->begun, true);
	console_wake(c);
}

void console_set_sink(struct console *c, const struct console_sink *sink)
{
	c->sink = *sink;
}

void console_set_room(struct console *c, void (*room)(void *ctx), void *ctx)
{
	c->room = room;
	c->room_ctx = ctx;
}

void console_input_wanted(struct console *c)
{
	console_wake(c);
}

/* What console_drain() has the worker do. */
struct console_call {
	struct worker_call call;
	struct console *console;
};

static void quiesce_on_worker(struct worker_call *call)
{
	struct console *c = container_of(call, struct console_call, call)->console;

	c->quiescing = call;
	if (c->reading)
		worker_cancel(c->worker, &c->read_op);
	if (c->timing)
		worker_cancel(c->worker, &c->timer_op);
	if (c->writing)
		worker_cancel(c->worker, &c->write_op);
	console_settle(c);
}

void console_settle(struct console *c)
{
	struct worker_call *call = c->quiescing;

	if (!call || c->reading || c->timing || c->writing)
		return;
	c->quiet = true;
	c->quiescing = NULL;
	worker_call_done(call);
}

void console_stop(struct console *c)
{
	pthread_mutex_lock(&c->lock);
	c->stopped = true;
	pthread_cond_broadcast(&c->drained);
	pthread_mutex_unlock(&c->lock);
}

void console_drain(struct console *c, bool patient)
{
	struct console_call cc = { .call.run = quiesce_on_worker, .console = c };

	if (!atomic_load(&c->begun) || c->quiet)
		return;
	worker_call(c->worker, &cc.call);
	console_restore_terminal();
	output_rest(c, patient);
}

void console_size(const struct console *c, uint16_t *columns, uint16_t *rows)
{
	struct winsize ws = { 0 };

	*columns = *rows = 0;
	if (c->mode != CONSOLE_STDIO)
		return;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) < 0 && ioctl(STDIN_FILENO, TIOCGWINSZ, &ws) < 0)
		return;
	*columns = ws.ws_col;
	*rows = ws.ws_row;
}
