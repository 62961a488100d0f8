/*
 * A session with the guest program that starts nothing (docs/PROTOCOL.md, "Further sessions").
 */
#include "oci/guest_limits.h"

#include "agent/agent.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>

enum { WAIT_MS = 10 * 1000 };

struct talk {
	bool done;
	struct error *err;
};

static void on_ready(void *ctx)
{
	((struct talk *)ctx)->done = true;
}

static void on_failed(void *ctx, enum agent_failed why, int errnum, const char *text)
{
	struct talk *talk = ctx;

	(void)why;
	error_set(talk->err, ERROR_MACHINE, errnum ? errnum : EPROTO, "pids.limit: %s", text);
}

static void on_lost(void *ctx, const char *text)
{
	error_set(((struct talk *)ctx)->err, ERROR_MACHINE, EPIPE, "pids.limit: %s", text);
}

/* Until the guest has said how it went. */
static int converse(struct agent *agent, struct talk *talk)
{
	struct pollfd fd = { .fd = agent_fd(agent) };

	while (!talk->done && !agent_over(agent)) {
		int n;

		fd.events = agent_poll_events(agent);
		n = poll(&fd, 1, WAIT_MS);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_set(talk->err, ERROR_MACHINE, ETIMEDOUT,
				"pids.limit: the guest does not answer");
		agent_step(agent, fd.revents);
	}
	return talk->done ? 0 : -EIO;
}

int oci_guest_pids(const struct oci_state *state, int64_t limit, struct error *err)
{
	static const struct agent_events events = {
		.on_ready = on_ready, .on_failed = on_failed, .on_lost = on_lost
	};
	enum oci_status status = oci_state_status(state);
	struct talk talk = { .err = err };
	struct agent *agent;
	char path[64];
	int fd, r;

	if (status != OCI_RUNNING)
		return error_set(err, ERROR_USAGE, EINVAL,
			"pids.limit: the guest's kernel keeps it, and container %s is %s, not "
			"running",
			state->id, oci_status_name(status));
	snprintf(path, sizeof(path), "/proc/self/fd/%d/vsock", state->dir);
	fd = agent_dial(path, AGENT_EXEC_PORT, WAIT_MS, err);
	r = fd < 0 ? fd : agent_create(&agent, fd, &events, &talk, err);
	if (r < 0)
		return r;
	r = agent_setup_pids(agent, limit > 0 ? (uint64_t)limit : 0);
	if (r == 0)
		r = agent_setup_done(agent);
	r = r == 0 ? converse(agent, &talk)
		   : error_set(err, ERROR_HOST, -r, "pids.limit: out of memory");
	agent_destroy(agent);
	return r;
}
