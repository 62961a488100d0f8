#include "agent/internal.h"

#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int hello(struct agent *agent)
{
	struct wire_writer w;
	int r = agent_begin_message(agent, AGENT_HELLO, 4, &w);

	if (r < 0)
		return r;
	wire_put_u32(&w, AGENT_VERSION);
	agent_end_message(agent, &w);
	return 0;
}

int agent_create(
	struct agent **out, int fd, const struct agent_events *events, void *ctx, struct error *err)
{
	_cleanup_close_ int own = fd;
	struct agent *agent = calloc(1, sizeof(*agent));
	int flags = fcntl(fd, F_GETFL);

	*out = NULL;
	if (!agent || !(agent->in = malloc(AGENT_IN_MAX))) {
		free(agent);
		return error_set(err, ERROR_HOST, ENOMEM, "no memory for a guest session");
	}
	agent->fd = -1;
	agent->events = events;
	agent->ctx = ctx;
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		agent_destroy(agent);
		return error_set(err, ERROR_HOST, errno, "guest session's socket: %m");
	}
	if (hello(agent) < 0) {
		agent_destroy(agent);
		return error_set(err, ERROR_HOST, ENOMEM, "no memory for a guest session");
	}
	agent->fd = take_fd(&own);
	*out = agent;
	return 0;
}

void agent_destroy(struct agent *agent)
{
	if (!agent)
		return;
	if (agent->fd >= 0)
		close(agent->fd);
	free(agent->in);
	free(agent->out);
	free(agent);
}

int agent_fd(const struct agent *agent)
{
	return agent->fd;
}

bool agent_over(const struct agent *agent)
{
	return agent->over;
}

short agent_poll_events(const struct agent *agent)
{
	short events = 0;

	if (agent->over)
		return 0;
	if (!agent->held && !agent->ended)
		events |= POLLIN;
	if (agent->out_len)
		events |= POLLOUT;
	return events;
}

static int reserve(struct agent *agent, size_t more)
{
	size_t size = agent->out_size ? agent->out_size : 4096;
	uint8_t *bigger;

	if (more > AGENT_QUEUE_MAX - agent->out_len)
		return -ENOBUFS;
	if (agent->out_at) {
		memmove(agent->out, agent->out + agent->out_at, agent->out_len);
		agent->out_at = 0;
	}
	while (size < agent->out_len + more)
		size *= 2;
	if (size == agent->out_size)
		return 0;
	bigger = realloc(agent->out, size);
	if (!bigger)
		return -ENOMEM;
	agent->out = bigger;
	agent->out_size = size;
	return 0;
}

int agent_begin_message(struct agent *agent, unsigned type, size_t len, struct wire_writer *w)
{
	int r;

	if (agent->over)
		return -EPIPE;
	if (len > wire_limit(type))
		return -E2BIG;
	r = reserve(agent, AGENT_HEADER + len);
	if (r < 0)
		return r;
	*w = (struct wire_writer){ .at = agent->out + agent->out_at + agent->out_len };
	w->end = w->at + AGENT_HEADER + len;
	wire_put_header(w, (uint32_t)len, type, 0);
	return 0;
}

void agent_end_message(struct agent *agent, const struct wire_writer *w)
{
	agent->out_len = (size_t)(w->at - agent->out) - agent->out_at;
}

/* 0, also where the socket takes no more now; a negative errno if it is broken. */
static int write_queue(struct agent *agent)
{
	while (agent->out_len) {
		ssize_t n = send(agent->fd, agent->out + agent->out_at, agent->out_len,
			MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
		agent->out_at += (size_t)n;
		agent->out_len -= (size_t)n;
	}
	agent->out_at = 0;
	return 0;
}

/* What is still queued was for a process that is no more; the guest takes the end for BYE as well. */
void agent_bye(struct agent *agent)
{
	uint8_t bytes[AGENT_HEADER];
	struct wire_writer w = { .at = bytes, .end = bytes + sizeof(bytes) };

	if (!agent->over || agent->fd < 0)
		return;
	wire_put_header(&w, 0, AGENT_BYE, 0);
	if (!agent->out_len)
		(void)!send(agent->fd, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT);
	close(agent->fd);
	agent->fd = -1;
}

void agent_lose(struct agent *agent, const char *text)
{
	if (agent->over)
		return;
	agent->over = true;
	if (agent->events->on_lost)
		agent->events->on_lost(agent->ctx, text);
}

static void read_some(struct agent *agent)
{
	size_t room;
	uint8_t *to = agent_feed_space(agent, &room);
	ssize_t n = recv(agent->fd, to, room, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return;
	if (n <= 0)
		agent->ended = true;
	agent_feed(agent, n > 0 ? (size_t)n : 0);
}

int agent_step(struct agent *agent, short revents)
{
	if (agent->over)
		return -EPIPE;
	/* A broken connection may still hold what the guest said before: reading tells. */
	if (revents & POLLOUT && write_queue(agent) < 0) {
		agent->out_len = 0;
		revents |= POLLIN;
	}
	if (revents & ~POLLOUT && !agent->held && !agent->ended)
		read_some(agent);
	return agent->over ? -EPIPE : 0;
}

void agent_resume(struct agent *agent)
{
	if (!agent->held || agent->dispatching || agent->over)
		return;
	agent->held = false;
	agent_feed(agent, 0);
}
