/*
 * What the host hears from a hostile guest: any bytes, in pieces, with output taken as it pleases
 * the host. One end comes, nothing after it, and nothing of the output is lost or made up.
 */
#include "agent/internal.h"

#include "util/macros.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct heard {
	struct agent *agent;
	unsigned appetite; /* output bytes taken before one refusal */
	bool ended;
};

static void need(bool holds)
{
	if (!holds)
		abort();
}

static void on_ready(void *ctx)
{
	need(!((struct heard *)ctx)->ended);
}

static void on_started(void *ctx, int pid)
{
	need(!((struct heard *)ctx)->ended && pid > 0);
}

static size_t on_output(void *ctx, int stream, const void *bytes, size_t len)
{
	struct heard *h = ctx;
	volatile uint8_t sink;

	need(!h->ended && (stream == 1 || stream == 2) && len && len <= AGENT_DATA_MAX);
	sink = ((const uint8_t *)bytes)[0];
	sink = ((const uint8_t *)bytes)[len - 1];
	(void)sink;
	if (h->appetite < 3)
		agent_signal(h->agent, 15, AGENT_SIGNAL_PROCESS);
	return MIN(len, h->appetite++ % 7 * 999);
}

static void on_stdin_room(void *ctx)
{
	struct heard *h = ctx;
	size_t room = agent_stdin_room(h->agent);

	need(!h->ended && room && room <= AGENT_STDIN_WINDOW);
}

static void on_stdin_closed(void *ctx)
{
	struct heard *h = ctx;

	need(!h->ended && !agent_stdin_room(h->agent));
}

static void on_exited(void *ctx, const struct agent_exit *how)
{
	struct heard *h = ctx;

	need(!h->ended && how->status >= 0 && how->status <= 255);
	h->ended = true;
}

static void on_failed(void *ctx, enum agent_failed why, int errnum, const char *text)
{
	struct heard *h = ctx;

	need(!h->ended && why && errnum >= 0 && strlen(text) <= AGENT_TEXT_MAX);
	for (; *text; text++)
		need((unsigned char)*text >= 0x20 && *text != 0x7f);
	h->ended = true;
}

static void on_lost(void *ctx, const char *text)
{
	struct heard *h = ctx;

	need(!h->ended && *text);
	h->ended = true;
}

static void on_notified(void *ctx, const char *text)
{
	struct heard *h = ctx;

	need(!h->ended && strlen(text) <= AGENT_NOTIFY_MAX);
	for (; *text; text++)
		need((unsigned char)*text >= 0x20 ? *text != 0x7f : *text == '\n');
}

static void start(struct agent *agent)
{
	static const char *const argv[] = { "x", NULL };
	static const uint8_t input[AGENT_STDIN_WINDOW];
	struct agent_process process = { .argv = argv, .flags = AGENT_START_STDIN };

	need(agent_setup_notify(agent, "/n") == 0 && agent_setup_done(agent) == 0 &&
		agent_start(agent, &process) == 0);
	need(agent_stdin(agent, input, sizeof(input)) == 0 && !agent_stdin_room(agent));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct agent_events events = { on_ready, on_started, on_output, on_stdin_room,
		on_stdin_closed, on_exited, on_failed, on_lost, NULL, on_notified };
	struct heard heard = { 0 };
	struct agent *agent;
	size_t piece, room;
	uint8_t *to;

	if (size < 2 || agent_create(&agent, dup(0), &events, &heard, NULL) < 0)
		return 0;
	heard.agent = agent;
	piece = data[0] | (size_t)data[1] << 8;
	start(agent);
	for (size_t at = 2; at < size && !agent_over(agent);) {
		if (agent->held) {
			agent_resume(agent);
			continue;
		}
		to = agent_feed_space(agent, &room);
		need(room > 0);
		room = MIN(room, piece + 1);
		room = MIN(room, size - at);
		memcpy(to, data + at, room);
		agent_feed(agent, room);
		at += room;
	}
	agent->ended = true;
	while (agent->held)
		agent_resume(agent);
	if (!agent_over(agent))
		agent_feed(agent, 0);
	need(agent_over(agent) && heard.ended && !agent_poll_events(agent));
	agent_destroy(agent);
	return 0;
}
