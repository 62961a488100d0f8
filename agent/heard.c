/* What the guest says, which may be anything: taken apart, checked, and passed on. */
#include "agent/internal.h"

#include <string.h>

uint8_t *agent_feed_space(struct agent *agent, size_t *room)
{
	if (agent->in_at) {
		memmove(agent->in, agent->in + agent->in_at, agent->in_len);
		agent->in_at = 0;
	}
	*room = AGENT_IN_MAX - agent->in_len;
	return agent->in + agent->in_len;
}

static void broken(struct agent *agent)
{
	agent_lose(agent, "the guest does not keep to the protocol");
}

/* For a person's terminal: nothing in it may control it, but for the byte @but. */
static void make_printable(char *text, unsigned char but)
{
	for (unsigned char *p = (unsigned char *)text; *p; p++)
		if ((*p < 0x20 && *p != but) || *p == 0x7f ||
			(*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0))
			*p = '?';
}

static void on_hello(struct agent *agent, const struct wire_message *m)
{
	struct wire_reader r = wire_reader(m->payload, m->len);
	uint32_t version = wire_u32(&r);

	if (m->type != AGENT_HELLO || !wire_done(&r))
		broken(agent);
	else if (version != AGENT_VERSION)
		agent_lose(agent, "the program in the guest is of another version than this one");
	else
		agent->greeted = true;
}

static void on_started(struct agent *agent, struct wire_reader *r)
{
	uint32_t pid = wire_u32(r);

	if (!wire_done(r) || agent->started || !agent->start_sent || !pid || pid > INT32_MAX) {
		broken(agent);
		return;
	}
	agent->started = true;
	if (agent->events->on_started)
		agent->events->on_started(agent->ctx, (int)pid);
}

/* Some of the output may have been offered before. */
static void on_output(struct agent *agent, const struct wire_message *m)
{
	size_t len = m->len - agent->taken, n = len;

	if (!agent->started || m->stream < 1 || m->stream > 2) {
		broken(agent);
		return;
	}
	if (!m->len) {
		if (agent->events->on_output_end)
			agent->events->on_output_end(agent->ctx, m->stream);
		return;
	}
	if (agent->events->on_output)
		n = agent->events->on_output(agent->ctx, m->stream, m->payload + agent->taken, len);
	agent->held = n < len;
	agent->taken = agent->held ? agent->taken + n : 0;
}

static void on_credit(struct agent *agent, struct wire_reader *r)
{
	uint32_t n = wire_u32(r);
	bool was_empty = !agent->stdin_allowed;

	if (!wire_done(r) || !agent->start_sent || n > AGENT_STDIN_WINDOW - agent->stdin_allowed) {
		broken(agent);
		return;
	}
	agent->stdin_allowed += n;
	if (was_empty && n && agent->stdin_open && agent->events->on_stdin_room)
		agent->events->on_stdin_room(agent->ctx);
}

static void on_stdin_closed(struct agent *agent, struct wire_reader *r)
{
	bool was_open = agent->stdin_open;

	if (!wire_done(r) || !agent->started) {
		broken(agent);
		return;
	}
	agent->stdin_open = false;
	if (was_open && agent->events->on_stdin_closed)
		agent->events->on_stdin_closed(agent->ctx);
}

static void on_exited(struct agent *agent, struct wire_reader *r)
{
	struct agent_exit how = { 0 };
	uint8_t signalled = wire_u8(r);
	uint32_t status = wire_u32(r);

	how.signalled = signalled;
	how.status = (int)status;
	how.user_us = wire_u64(r);
	how.system_us = wire_u64(r);
	how.peak_kib = wire_u64(r);
	if (!wire_done(r) || !agent->started || signalled > 1 || status > (signalled ? 64 : 255) ||
		(signalled && !status)) {
		broken(agent);
		return;
	}
	agent->over = true;
	if (agent->events->on_exited)
		agent->events->on_exited(agent->ctx, &how);
}

static void on_failed(struct agent *agent, struct wire_reader *r)
{
	uint32_t why = wire_u32(r), errnum = wire_u32(r);
	const char *s = wire_string(r);
	char text[AGENT_TEXT_MAX + 1];

	if (!wire_done(r) || errnum > 4095) {
		broken(agent);
		return;
	}
	if (why < AGENT_FAILED_PROTOCOL || why > AGENT_FAILED_BUSY)
		why = AGENT_FAILED_START;
	text[0] = 0;
	strncat(text, s, AGENT_TEXT_MAX);
	make_printable(text, 0);
	agent->over = true;
	if (agent->events->on_failed)
		agent->events->on_failed(agent->ctx, (enum agent_failed)why, (int)errnum, text);
}

static void on_notified(struct agent *agent, struct wire_reader *r)
{
	const char *s = wire_string(r);
	char text[AGENT_NOTIFY_MAX + 1];

	if (!wire_done(r) || !agent->started || !agent->notify_sent ||
		strlen(s) > AGENT_NOTIFY_MAX) {
		broken(agent);
		return;
	}
	strcpy(text, s);
	make_printable(text, '\n');
	if (agent->events->on_notified)
		agent->events->on_notified(agent->ctx, text);
}

static void on_message(struct agent *agent, const struct wire_message *m)
{
	struct wire_reader r = wire_reader(m->payload, m->len);

	if (!agent->greeted) {
		on_hello(agent, m);
		return;
	}
	switch (m->type) {
	case AGENT_READY:
		if (!wire_done(&r) || agent->ready || !agent->setup_sent) {
			broken(agent);
			return;
		}
		agent->ready = true;
		if (agent->events->on_ready)
			agent->events->on_ready(agent->ctx);
		return;
	case AGENT_STARTED:
		on_started(agent, &r);
		return;
	case AGENT_OUTPUT:
		on_output(agent, m);
		return;
	case AGENT_STDIN_CREDIT:
		on_credit(agent, &r);
		return;
	case AGENT_STDIN_CLOSED:
		on_stdin_closed(agent, &r);
		return;
	case AGENT_EXITED:
		on_exited(agent, &r);
		return;
	case AGENT_FAILED:
		on_failed(agent, &r);
		return;
	case AGENT_NOTIFIED:
		on_notified(agent, &r);
		return;
	default:
		broken(agent);
	}
}

void agent_feed(struct agent *agent, size_t len)
{
	struct wire_message m;
	size_t size;

	agent->in_len += len;
	agent->dispatching = true;
	while (!agent->over && !agent->held) {
		size = wire_message(&m, agent->in + agent->in_at, agent->in_len);
		if (!size || size > AGENT_HEADER + AGENT_DATA_MAX) {
			broken(agent);
			break;
		}
		if (size > agent->in_len)
			break;
		on_message(agent, &m);
		if (agent->held)
			break;
		agent->in_at += size;
		agent->in_len -= size;
	}
	agent->dispatching = false;
	if (agent->ended && !agent->held)
		agent_lose(agent, "the guest has closed the connection");
}
