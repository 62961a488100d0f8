/* What goes out on a session's connection, and the process's input and output. */
#include "guest/session.h"
#include "guest/sys.h"

#include <asm/ioctls.h>

enum {
	CREDIT_STEP = AGENT_STDIN_WINDOW / 4,
	BATCH_MAX = AGENT_HEADER + AGENT_DATA_MAX,
	NOTIFY_EVERY_MS = 20, /* the host bears so many, and drops what is above it */
};

static void close_end(int *fd)
{
	if (*fd >= 0)
		sys_close(*fd);
	*fd = -1;
}

static bool output_open(const struct session *s)
{
	return s->io.out[0] >= 0 || s->io.out[1] >= 0;
}

/* Write the batch. False: the connection is broken. */
static bool flush(struct session *s)
{
	while (s->out_at < s->out_len) {
		long n = sys_write(s->fd, s->out + s->out_at, s->out_len - s->out_at);

		if (n == -EAGAIN)
			return true;
		if (n < 0 && n != -EINTR)
			return false;
		if (n > 0)
			s->out_at += (size_t)n;
	}
	s->out_at = s->out_len = 0;
	return true;
}

static void say_exited(struct session *s, struct wire_writer *w)
{
	wire_put_header(w, 29, AGENT_EXITED, 0);
	wire_put_number(w, s->exit.by_signal, 1);
	wire_put_u32(w, s->exit.status);
	wire_put_u64(w, s->exit.user_us);
	wire_put_u64(w, s->exit.system_us);
	wire_put_u64(w, s->exit.peak_kib);
}

static void say_failed(struct session *s, struct wire_writer *w)
{
	if (s->failed.len > AGENT_TEXT_MAX)
		s->failed.buf[s->failed.len = AGENT_TEXT_MAX] = 0;
	wire_put_header(w, (uint32_t)(4 + 4 + 4 + s->failed.len + 1), AGENT_FAILED, 0);
	wire_put_u32(w, s->failed_why);
	wire_put_u32(w, s->failed_err);
	wire_put_string(w, s->failed.buf);
}

static void say_number(struct wire_writer *w, unsigned type, uint32_t n)
{
	wire_put_header(w, 4, type, 0);
	wire_put_u32(w, n);
}

/* All that is to be said, as a batch: a few hundred bytes at most. */
static void say(struct session *s)
{
	struct wire_writer w = { .at = s->out, .end = s->out + BATCH_MAX };

	if (s->say & SAY_HELLO)
		say_number(&w, AGENT_HELLO, AGENT_VERSION);
	if (s->say & SAY_READY)
		wire_put_header(&w, 0, AGENT_READY, 0);
	if (s->say & SAY_STARTED)
		say_number(&w, AGENT_STARTED, (uint32_t)s->started);
	if (s->input.credit >= CREDIT_STEP && s->io.in >= 0) {
		say_number(&w, AGENT_STDIN_CREDIT, s->input.credit);
		s->input.allowed += s->input.credit;
		s->input.credit = 0;
	}
	if (s->say & SAY_STDIN_CLOSED)
		wire_put_header(&w, 0, AGENT_STDIN_CLOSED, 0);
	if (s->say & SAY_EXITED)
		say_exited(s, &w);
	if (s->say & SAY_FAILED)
		say_failed(s, &w);
	s->say = 0;
	s->out_len = (size_t)(w.at - s->out);
}

void session_output(struct session *s, unsigned i)
{
	struct wire_writer w = { .at = s->out, .end = s->out + AGENT_HEADER };
	size_t max = AGENT_DATA_MAX;
	long n;

	if (s->out_len || s->io.out[i] < 0)
		return;
	if (s->draining && max > s->left[i])
		max = s->left[i];
	n = max ? sys_read(s->io.out[i], s->out + AGENT_HEADER, max) : 0;
	if (n == -EINTR || (n == -EAGAIN && !s->draining))
		return;
	if (n <= 0) { /* a terminal that nobody has open any more says EIO */
		close_end(&s->io.out[i]);
		if (s->state != SESSION_RUNNING || s->terminal)
			return;
		n = 0; /* the end, for whoever reads it there */
	}
	s->left[i] -= s->draining ? (size_t)n : 0;
	wire_put_header(&w, (uint32_t)n, AGENT_OUTPUT, i + 1);
	s->out_len = AGENT_HEADER + (size_t)n;
}

/* Without room for descriptors: those that come with it are closed. */
void session_notified(struct session *s)
{
	struct wire_writer w = { .at = s->out, .end = s->out + AGENT_HEADER + 4 };
	uint8_t *text = w.end;
	uint32_t len = 0;
	long n;

	if (s->out_len)
		return;
	n = sys_call6(__NR_recvfrom, s->notify, SYS_PTR(text), AGENT_NOTIFY_MAX, MSG_TRUNC, 0, 0);
	if (s->draining)
		s->notes_left = n < 0 ? 0 : s->notes_left - 1;
	if (n <= 0 || n > AGENT_NOTIFY_MAX)
		return;
	while (len < n && text[len])
		len++;
	text[len] = 0;
	wire_put_header(&w, 4 + len + 1, AGENT_NOTIFIED, 0);
	wire_put_u32(&w, len);
	s->out_len = AGENT_HEADER + 4 + len + 1;
	s->notify_ms = sys_now_ms() + NOTIFY_EVERY_MS;
}

/* The process has ended, and so has the time for its output: what there is of it, and no more. */
static void drain(struct session *s)
{
	for (unsigned i = 0; i < 2 && !s->out_len; i++)
		while (s->io.out[i] >= 0 && !s->out_len)
			session_output(s, i);
	while (s->notes_left && !s->out_len)
		session_notified(s);
}

/* The last word, once all output is out. */
static void end(struct session *s)
{
	process_close_io(&s->io);
	s->say |= SAY_EXITED;
	session_to_state(s, SESSION_ENDED);
}

bool session_pump(struct session *s)
{
	for (;;) {
		if (!flush(s))
			return false;
		if (s->out_len)
			return true;
		say(s);
		if (s->out_len)
			continue;
		if (s->state != SESSION_EXITED)
			return true;
		if (s->draining)
			drain(s);
		if (s->out_len)
			continue;
		if (output_open(s))
			return true;
		end(s);
	}
}

static void input_closed(struct session *s)
{
	close_end(&s->io.in);
	s->input.len = 0;
	s->say |= SAY_STDIN_CLOSED;
}

/* All input was given: the end of it. */
static void finish_input(struct session *s)
{
	char keys[2];
	size_t n;

	if (s->terminal) {
		n = process_end_of_file(s->io.in, s->input.line_begun, keys);
		if (n)
			sys_write(s->io.in, keys, n);
	}
	close_end(&s->io.in);
}

static void push_input(struct session *s)
{
	struct session_input *input = &s->input;

	if (s->io.in < 0)
		return;
	while (input->len) {
		size_t len = AGENT_STDIN_WINDOW - input->at;
		long n;

		if (len > input->len)
			len = input->len;
		n = sys_write(s->io.in, input->ring + input->at, len);
		if (n == -EAGAIN || n == 0)
			return;
		if (n < 0 && n != -EINTR) {
			input_closed(s);
			return;
		}
		if (n > 0) {
			input->at = (input->at + (size_t)n) % AGENT_STDIN_WINDOW;
			input->len -= (size_t)n;
			input->credit += (uint32_t)n;
		}
	}
	if (input->end)
		finish_input(s);
}

void session_input_event(struct session *s, short revents)
{
	if (s->io.in < 0)
		return;
	if (!s->input.len && revents & POLLERR)
		input_closed(s);
	else
		push_input(s);
}

bool session_take_input(struct session *s, const uint8_t *bytes, size_t len)
{
	struct session_input *input = &s->input;
	size_t end, part;

	if (len > input->allowed || input->end)
		return false;
	input->allowed -= (uint32_t)len;
	if (!len)
		input->end = true;
	if (s->io.in < 0)
		return true; /* nobody reads it */
	if (len)
		input->line_begun = bytes[len - 1] != '\n';
	end = (input->at + input->len) % AGENT_STDIN_WINDOW;
	part = AGENT_STDIN_WINDOW - end < len ? AGENT_STDIN_WINDOW - end : len;
	memcpy(input->ring + end, bytes, part);
	memcpy(input->ring, bytes + part, len - part);
	input->len += len;
	push_input(s);
	return true;
}
