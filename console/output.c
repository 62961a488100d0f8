/*
 * From the guest to the host: a ring buffer that any thread fills and the worker empties.
 */
#include "console/internal.h"

#include "util/macros.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { IMPATIENCE_MS = 1000 };

int output_init(struct console *c)
{
	c->out = malloc(CONSOLE_OUT_BYTES);
	if (!c->out)
		return -ENOMEM;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->drained, NULL);
	return 0;
}

void output_destroy(struct console *c)
{
	pthread_cond_destroy(&c->drained);
	pthread_mutex_destroy(&c->lock);
	free(c->out);
}

/* Under lock. */
static size_t filled(const struct console *c)
{
	return c->head - c->tail;
}

/* Under lock. Copy as much of @data as there is room for. */
static size_t fill(struct console *c, const uint8_t *data, size_t len)
{
	size_t n = MIN(len, CONSOLE_OUT_BYTES - filled(c));
	size_t at = c->head % CONSOLE_OUT_BYTES;
	size_t first = MIN(n, CONSOLE_OUT_BYTES - at);

	memcpy(c->out + at, data, first);
	memcpy(c->out, data + first, n - first);
	c->head += n;
	return n;
}

/* Nobody reads on: only the last bytes are of interest. */
static void keep(struct console *c, const uint8_t *data, size_t len)
{
	if (c->mode != CONSOLE_KEEP)
		return;
	pthread_mutex_lock(&c->lock);
	if (len > CONSOLE_OUT_BYTES) {
		data += len - CONSOLE_OUT_BYTES;
		len = CONSOLE_OUT_BYTES;
	}
	if (filled(c) + len > CONSOLE_OUT_BYTES)
		c->tail = c->head + len - CONSOLE_OUT_BYTES;
	fill(c, data, len);
	pthread_mutex_unlock(&c->lock);
}

size_t console_tail(struct console *c, char *text, size_t size)
{
	size_t n = 0;

	pthread_mutex_lock(&c->lock);
	for (size_t at = c->head - MIN(filled(c), size - 1); at != c->head; at++) {
		uint8_t byte = c->out[at % CONSOLE_OUT_BYTES];

		if (byte == '\r')
			continue;
		if (byte != '\n' && byte != '\t' && (byte < ' ' || byte == 0x7f))
			byte = '?';
		text[n++] = (char)byte;
	}
	pthread_mutex_unlock(&c->lock);
	text[n] = 0;
	return n;
}

/* Under lock. The longest piece that can be written at once. */
static size_t piece(const struct console *c, const uint8_t **at)
{
	size_t from = c->tail % CONSOLE_OUT_BYTES;

	*at = c->out + from;
	return MIN(filled(c), CONSOLE_OUT_BYTES - from);
}

/* Under lock. Is there something for the worker to do, now that there is more than @before? */
static bool worth_waking(const struct console *c, size_t before, bool was_urgent)
{
	if (c->writing) /* its end looks again */
		return false;
	if (before < CONSOLE_ENOUGH && filled(c) >= CONSOLE_ENOUGH)
		return true;
	return !c->timing && (!before || (c->urgent && !was_urgent));
}

void console_write(struct console *c, const void *data, size_t len)
{
	const uint8_t *from = data;

	if (c->out_fd < 0) {
		keep(c, data, len);
		return;
	}
	pthread_mutex_lock(&c->lock);
	while (len && !c->gone) {
		size_t before = filled(c), n = fill(c, from, len);
		bool was_urgent = c->urgent;

		if (!n) {
			if (c->stopped)
				break;
			pthread_cond_wait(&c->drained, &c->lock);
			continue;
		}
		if (memchr(from, '\n', n))
			c->urgent = true;
		if (worth_waking(c, before, was_urgent))
			console_wake(c);
		from += n;
		len -= n;
	}
	pthread_mutex_unlock(&c->lock);
}

size_t console_put(struct console *c, const struct iovec *iov, unsigned count, size_t offset)
{
	size_t taken = 0;

	if (c->out_fd < 0) {
		for (unsigned i = 0; i < count; i++) {
			size_t skip = MIN(offset, iov[i].iov_len), len = iov[i].iov_len - skip;

			keep(c, (uint8_t *)iov[i].iov_base + skip, len);
			offset -= skip;
			taken += len;
		}
		return taken;
	}
	pthread_mutex_lock(&c->lock);
	for (unsigned i = 0; i < count; i++) {
		size_t skip = MIN(offset, iov[i].iov_len), len = iov[i].iov_len - skip, n;

		offset -= skip;
		n = c->gone ? len : fill(c, (uint8_t *)iov[i].iov_base + skip, len);
		taken += n;
		if (n < len) {
			c->starved = true;
			break;
		}
	}
	c->urgent = true;
	pthread_mutex_unlock(&c->lock);
	worker_defer(c->worker, &c->flush);
	return taken;
}

void output_text(struct console *c, const char *text)
{
	struct iovec iov = { .iov_base = (void *)text, .iov_len = strlen(text) };

	console_put(c, &iov, 1, 0);
}

/* ---- the worker's part ---- */

static void submit_write(struct console *c, const uint8_t *at, size_t len)
{
	struct io_uring_sqe *sqe = worker_sqe(c->worker);

	io_uring_prep_write(sqe, c->out_file, at, (unsigned)len, (uint64_t)-1);
	c->write_polls = false;
	worker_submit(c->worker, sqe, &c->write_op);
}

/* Somebody made the file non-blocking (it is shared with who started us): wait for it ourselves. */
static void submit_poll(struct console *c)
{
	struct io_uring_sqe *sqe = worker_sqe(c->worker);

	io_uring_prep_poll_add(sqe, c->out_file, POLLOUT);
	c->write_polls = true;
	worker_submit(c->worker, sqe, &c->write_op);
}

/*
 * What is urgent is written at once, unless there was a write just before: then it gathers for the
 * length of the timer, so that a chatty guest costs a few hundred writes a second and no more. What
 * is not urgent, the beginning of a line, gathers in any case.
 */
void output_pump(struct console *c)
{
	const uint8_t *at;
	bool write, wait;
	size_t len;

	if (c->quiescing || c->quiet)
		return;
	pthread_mutex_lock(&c->lock);
	len = c->writing ? 0 : piece(c, &at);
	write = len && (filled(c) >= CONSOLE_ENOUGH || (c->urgent && !c->timing));
	wait = len && !write && !c->timing;
	if (write) {
		c->urgent = len < filled(c);
		c->writing = true;
	}
	c->timing |= wait;
	pthread_mutex_unlock(&c->lock);
	if (write)
		submit_write(c, at, len);
	if (wait)
		worker_timeout(c->worker, &c->timer_op, &c->gather);
}

static void on_timer(struct worker_op *op, int res, uint32_t cqe_flags)
{
	struct console *c = container_of(op, struct console, timer_op);

	pthread_mutex_lock(&c->lock);
	c->timing = false;
	c->urgent = filled(c) > 0;
	pthread_mutex_unlock(&c->lock);
	output_pump(c);
	console_settle(c);
}

/* There was a write: what comes now may gather. */
static void hold_off(struct console *c)
{
	bool start;

	if (c->quiescing || c->quiet)
		return;
	pthread_mutex_lock(&c->lock);
	start = !c->timing;
	c->timing = true;
	pthread_mutex_unlock(&c->lock);
	if (start)
		worker_timeout(c->worker, &c->timer_op, &c->gather);
}

/* Under lock: nothing can be written any more. */
static void give_up(struct console *c)
{
	c->gone = true;
	c->tail = c->head;
}

/* Take note of a write's result; true if somebody in front of the console waits for room. */
static bool account(struct console *c, int res)
{
	bool starved;

	pthread_mutex_lock(&c->lock);
	c->writing = false;
	if (res > 0)
		c->tail += (size_t)res;
	else if (res != -EINTR && res != -EAGAIN && res != -ECANCELED)
		give_up(c);
	c->urgent = filled(c) > 0;
	starved = c->starved && filled(c) < CONSOLE_OUT_BYTES;
	if (starved)
		c->starved = false;
	pthread_cond_broadcast(&c->drained);
	pthread_mutex_unlock(&c->lock);
	return starved;
}

static void on_written(struct worker_op *op, int res, uint32_t cqe_flags)
{
	struct console *c = container_of(op, struct console, write_op);
	bool polled = c->write_polls;

	if (polled) /* whatever it says: the write will tell */
		res = -EINTR;
	else if (res == 0)
		res = -EIO;
	if (account(c, res) && c->room)
		c->room(c->room_ctx);
	if (res == -EPIPE) {
		c->leave(c->leave_ctx, SIGPIPE);
	} else if (res < 0 && res != -EINTR && res != -EAGAIN && res != -ECANCELED) {
		log_warn("console: cannot write: %s; further output is dropped", strerror(-res));
	} else if (res == -EAGAIN && !c->quiescing && !c->quiet) {
		pthread_mutex_lock(&c->lock);
		c->writing = true;
		pthread_mutex_unlock(&c->lock);
		submit_poll(c);
		return;
	}
	if (res > 0)
		hold_off(c);
	output_pump(c);
	console_settle(c);
}

static void on_flush(struct worker_task *task)
{
	output_pump(container_of(task, struct console, flush));
}

void output_prepare(struct console *c)
{
	c->write_op.complete = on_written;
	c->timer_op.complete = on_timer;
	c->flush.run = on_flush;
	c->gather.tv_nsec = CONSOLE_GATHER_NS;
}

/* ---- the end ---- */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static void write_rest(struct console *c, bool patient)
{
	int64_t until = now_ms() + IMPATIENCE_MS;
	const uint8_t *at;
	size_t len;

	while ((len = MIN(piece(c, &at), (size_t)CONSOLE_ENOUGH))) {
		struct pollfd pfd = { .fd = c->out_fd, .events = POLLOUT };
		int64_t left = until - now_ms();
		ssize_t n;

		n = poll(&pfd, 1, patient ? -1 : (int)MAX(left, 0));
		if (n == 0)
			return;
		n = n < 0 ? n : write(c->out_fd, at, len);
		if (n >= 0)
			c->tail += (size_t)n;
		else if (errno != EINTR && errno != EAGAIN)
			return;
	}
}

void output_rest(struct console *c, bool patient)
{
	sigset_t set, old;

	if (c->out_fd < 0 || c->gone)
		return;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	pthread_sigmask(SIG_UNBLOCK, &set, &old);
	write_rest(c, patient);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}
