#include "harness.h"

#include "guest/supervise.h"
#include "util/clock.h"
#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { KEEP_MAX = 1 << 20, LIMIT_MS = 60000 };

static struct sockaddr_un listen_at;

/* In the guest's process. */
static long guest_listen(unsigned port)
{
	int fd;

	if (port != AGENT_EXEC_PORT) /* test_ports.c has the other */
		return -EINVAL;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (bind(fd, (struct sockaddr *)&listen_at, sizeof(listen_at)) < 0 || listen(fd, 100) < 0)
		return -errno;
	return fd;
}

/* As the guest program does it, but for the mount. */
static long guest_notify(struct supervisor *all, const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	strcpy(at.sun_path, path);
	all->sessions[0].notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return bind(all->sessions[0].notify, (struct sockaddr *)&at, sizeof(at)) < 0 ? -errno : 0;
}

static bool guest_setup(void *ctx, const struct wire_message *m, struct text *why, long *err)
{
	struct message_mount mount;
	struct message_file file;
	const char *path;

	if (m->type == AGENT_SETUP_DONE)
		return true;
	*err = 0;
	text_add(why, "not now");
	if (m->type == AGENT_NOTIFY && message_notify(m, &path)) {
		*err = guest_notify(ctx, path);
		return *err == 0;
	}
	if (m->type == AGENT_MOUNT && message_mount(m, &mount)) {
		why->len = 0;
		text_add(why, mount.target);
		*err = -ENOENT;
		return false;
	}
	return m->type == AGENT_FILE && message_file(m, &file);
}

void guest_start(struct guest *g)
{
	static unsigned count;
	int ends[2];

	snprintf(g->socket, sizeof(g->socket), "/tmp/test-agent-%d-%u", (int)getpid(), count++);
	listen_at = (struct sockaddr_un){ .sun_family = AF_UNIX };
	strcpy(listen_at.sun_path, g->socket);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	fcntl(ends[1], F_SETFL, O_NONBLOCK);
	g->pid = fork();
	assert_true(g->pid >= 0);
	if (g->pid == 0) {
		struct supervisor *all;

		close(ends[0]);
		all = supervise_create(ends[1]);
		if (!all)
			_exit(99);
		all->listen = guest_listen;
		all->setup = guest_setup;
		all->setup_ctx = all;
		supervise_loop(all);
		unlink(listen_at.sun_path);
		_exit(0);
	}
	close(ends[1]);
	g->fd = ends[0];
}

void guest_wait(struct guest *g)
{
	int status;

	if (g->fd >= 0)
		close(g->fd);
	assert_int_equal(waitpid(g->pid, &status, 0), g->pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

uint32_t checksum(uint32_t sum, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	if (!sum)
		sum = 2166136261U;
	for (size_t i = 0; i < len; i++)
		sum = (sum ^ p[i]) * 16777619U;
	return sum;
}

static bool over(const struct result *r)
{
	return r->exited || r->failed || r->lost;
}

static void on_ready(void *ctx)
{
	struct result *r = ctx;

	assert_false(r->ready || over(r));
	r->ready = true;
}

void send_pattern(struct result *r)
{
	uint8_t bytes[50000];
	size_t n;

	while (r->sent < r->to_send && (n = agent_stdin_room(r->agent))) {
		n = MIN(n, sizeof(bytes));
		n = MIN(n, r->to_send - r->sent);
		for (size_t i = 0; i < n; i++)
			bytes[i] = (uint8_t)((r->sent + i) * 2654435761U >> 13);
		assert_int_equal(agent_stdin(r->agent, bytes, n), 0);
		r->sent_sum = checksum(r->sent_sum, bytes, n);
		r->sent += n;
		if (r->sent == r->to_send)
			assert_int_equal(agent_stdin_end(r->agent), 0);
	}
}

static void on_started(void *ctx, int pid)
{
	struct result *r = ctx;

	assert_false(r->pid || over(r));
	r->pid = pid;
	send_pattern(r);
}

static size_t on_output(void *ctx, int stream, const void *bytes, size_t len)
{
	struct result *r = ctx;
	unsigned i = (unsigned)stream - 1;
	size_t keep;

	assert_false(over(r));
	assert_true(i < 2 && len);
	if (r->stalled)
		return 0;
	if (r->taken_at_a_time && len > r->taken_at_a_time)
		len = r->taken_at_a_time;
	r->total[i] += len;
	r->sum[i] = checksum(r->sum[i], bytes, len);
	keep = MIN(len, KEEP_MAX - r->out_len[i]);
	r->out[i] = realloc(r->out[i], r->out_len[i] + keep + 1);
	memcpy(r->out[i] + r->out_len[i], bytes, keep);
	r->out_len[i] += keep;
	r->out[i][r->out_len[i]] = 0;
	if (r->say && strstr(r->out[i], r->say_when)) {
		void (*say)(struct result *) = r->say;

		r->say = NULL;
		say(r);
	}
	return len;
}

static void on_stdin_room(void *ctx)
{
	send_pattern(ctx);
}

static void on_stdin_closed(void *ctx)
{
	((struct result *)ctx)->stdin_closed = true;
}

static void on_exited(void *ctx, const struct agent_exit *how)
{
	struct result *r = ctx;

	assert_false(over(r));
	r->exited = true;
	r->how = *how;
}

static void on_failed(void *ctx, enum agent_failed why, int errnum, const char *text)
{
	struct result *r = ctx;

	assert_false(over(r));
	r->failed = true;
	r->why = why;
	r->errnum = errnum;
	snprintf(r->text, sizeof(r->text), "%s", text);
}

static void on_lost(void *ctx, const char *text)
{
	struct result *r = ctx;

	assert_false(over(r));
	r->lost = true;
	snprintf(r->text, sizeof(r->text), "%s", text);
}

static void on_notified(void *ctx, const char *text)
{
	struct result *r = ctx;
	size_t len = strlen(r->notes);

	assert_false(over(r));
	snprintf(r->notes + len, sizeof(r->notes) - len, "%s;", text);
	r->noted++;
}

void session_begin(struct result *r, int fd)
{
	static const struct agent_events events = { on_ready, on_started, on_output, on_stdin_room,
		on_stdin_closed, on_exited, on_failed, on_lost, NULL, on_notified };
	struct error err = { 0 };

	assert_int_equal(agent_create(&r->agent, fd, &events, r, &err), 0);
	for (int i = 0; i < 2; i++)
		r->out[i] = calloc(1, 1);
}

void session_dial(struct result *r, const struct guest *g)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(at.sun_path, g->socket);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	session_begin(r, fd);
}

void session_run(struct result *r, const struct agent_process *process)
{
	assert_int_equal(agent_start(r->agent, process), 0);
	session_go_on(r, -1);
}

bool session_go_on(struct result *r, int limit_ms)
{
	int64_t end = now_ms() + (limit_ms < 0 ? LIMIT_MS : limit_ms);

	while (!agent_over(r->agent)) {
		struct pollfd p = { .fd = agent_fd(r->agent),
			.events = agent_poll_events(r->agent) };
		int64_t left = end - now_ms();

		if (left <= 0) {
			assert_true(limit_ms >= 0);
			return false;
		}
		if (!p.events && r->taken_at_a_time && !r->stalled) {
			agent_resume(r->agent);
			continue;
		}
		if (!p.events)
			p.fd = -1;
		poll(&p, 1, (int)left);
		if (p.fd >= 0 && p.revents)
			agent_step(r->agent, p.revents);
	}
	assert_true(over(r));
	assert_int_equal(agent_step(r->agent, POLLIN), -EPIPE);
	return true;
}

void session_free(struct result *r)
{
	agent_destroy(r->agent);
	r->agent = NULL;
}

void result_free(struct result *r)
{
	session_free(r);
	free(r->out[0]);
	free(r->out[1]);
	*r = (struct result){ 0 };
}

void run(struct result *r, const char *const *argv, unsigned flags)
{
	static const char *const env[] = { "PATH=/usr/bin:/bin", "LC_ALL=C", "HOME=/", NULL };
	struct agent_process process = { .argv = argv, .env = env, .flags = flags };
	struct guest g;

	guest_start(&g);
	session_begin(r, g.fd);
	g.fd = -1;
	assert_int_equal(agent_setup_done(r->agent), 0);
	session_run(r, &process);
	session_free(r);
	guest_wait(&g);
}
