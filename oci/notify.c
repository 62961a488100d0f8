#include "oci/container.h"

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* More than the guest program passes on in a second: who sends more is no guest program. */
enum { NOTES_A_SECOND = 64 };

/* ---- what may be said ---- */

static bool may_pass(const char *line, size_t len)
{
	static const char *const all[] = { "READY=1", "RELOADING=1", "STOPPING=1", "WATCHDOG=1",
		"WATCHDOG=trigger" };
	static const char *const begin[] = { "STATUS=", "ERRNO=", "EXTEND_TIMEOUT_USEC=" };

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		if (len == strlen(all[i]) && !memcmp(line, all[i], len))
			return true;
	for (unsigned i = 0; i < ARRAY_SIZE(begin); i++)
		if (len >= strlen(begin[i]) && !memcmp(line, begin[i], strlen(begin[i])))
			return true;
	return false;
}

size_t notify_filter(char out[NOTIFY_TEXT_MAX], const char *text)
{
	size_t len = 0, part;

	for (;; text += part + 1) {
		part = strcspn(text, "\n");
		if (may_pass(text, part) && len + (len > 0) + part < NOTIFY_TEXT_MAX) {
			if (len)
				out[len++] = '\n';
			memcpy(out + len, text, part);
			len += part;
		}
		if (!text[part])
			break;
	}
	out[len] = 0;
	return len;
}

/* ---- sockets of the host ---- */

static int connect_to(const struct sockaddr_un *at, socklen_t len)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)at, len) < 0)
		return -1;
	return take_fd(&fd);
}

/* A path, or @NAME. */
static int connect_named(const char *name)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	size_t len = strlen(name);

	if ((*name != '/' && *name != '@') || len >= sizeof(at.sun_path))
		return -1;
	memcpy(at.sun_path, name, len);
	if (*name == '/')
		return connect_to(&at, sizeof(at));
	at.sun_path[0] = 0;
	return connect_to(&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
}

/* The socket @path below @dir, and no link: the container may have written there. */
static int connect_below(int dir, const char *path)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC | O_NOFOLLOW,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
	_cleanup_close_ int fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode))
		return -1;
	snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d", fd);
	return connect_to(&at, sizeof(at));
}

/* ---- create ---- */

static const char *wanted(const struct oci_strings *env)
{
	for (size_t i = env->count; i-- > 0;)
		if (!strncmp(env->list[i], "NOTIFY_SOCKET=", 14))
			return env->list[i] + 14;
	return NULL;
}

void notify_host_open(struct notify_host *n, const struct oci_config *config, bool relay)
{
	const char *name = getenv("NOTIFY_SOCKET");

	*n = (struct notify_host){ -1, { -1, -1 } };
	if (!name || !config->has_process || wanted(&config->process.env))
		return;
	n->manager = connect_named(name);
	if (relay && n->manager >= 0 &&
		socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, n->relay) < 0)
		n->relay[0] = n->relay[1] = -1;
}

void notify_host_close(struct notify_host *n)
{
	cleanup_close_fd(&n->manager);
	cleanup_close_fd(&n->relay[0]);
	cleanup_close_fd(&n->relay[1]);
	*n = (struct notify_host){ -1, { -1, -1 } };
}

int notify_host_end(const struct notify_host *n)
{
	return n->relay[1] >= 0 ? n->relay[1] : n->manager;
}

void notify_host_leave(const struct notify_host *n, pid_t pid)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "MAINPID=%d", pid);

	if (n->manager >= 0 && n->relay[0] < 0)
		(void)!send(n->manager, text, (size_t)len, MSG_NOSIGNAL);
}

static void relay(const struct notify_host *n)
{
	char text[NOTIFY_TEXT_MAX + 1], out[NOTIFY_TEXT_MAX];
	ssize_t got;
	size_t len;

	while ((got = recv(n->relay[0], text, NOTIFY_TEXT_MAX, MSG_DONTWAIT)) >= 0) {
		text[got] = 0;
		len = notify_filter(out, text);
		if (len)
			(void)!send(n->manager, out, len, MSG_NOSIGNAL);
	}
}

void notify_host_relay(const struct notify_host *n, pid_t pid)
{
	_cleanup_close_ int process = n->relay[0] < 0 ? -1 : pidfd_open(pid, 0);
	struct pollfd fds[] = { { .fd = process, .events = POLLIN },
		{ .fd = n->relay[0], .events = POLLIN } };

	while (process >= 0 && !fds[0].revents) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return;
		relay(n); /* what it said last as well */
	}
}

/* ---- the container's process ---- */

/* What is mounted last at or above @path hides all that is there; @rest: what is below it. */
static const struct oci_mount *find_mount(
	const struct container *c, const char *path, const char **rest)
{
	for (size_t i = c->config->mounts; i-- > 0;) {
		const struct oci_mount *m = &c->config->mount[i];
		size_t len = strlen(m->destination);

		if (strncmp(path, m->destination, len) || path[len] != '/')
			continue;
		*rest = path + len + 1;
		return m;
	}
	return NULL;
}

/* The host's end of the socket that the container's environment names, if there is one. */
static int connect_engine(const struct container *c, const char *path)
{
	const char *rest = NULL;
	const struct oci_mount *m = find_mount(c, path, &rest);
	_cleanup_close_ int dir = -1;
	char name[MOUNTS_NAME_MAX];

	if (!m || !m->bind || m->file || !mounts_is_shared(c, m))
		return -1;
	mounts_name(m, (size_t)(m - c->config->mount), name);
	dir = openat(c->binds_tree, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return dir < 0 ? -1 : connect_below(dir, rest);
}

/* NOTIFY_SOCKET in the process's environment, which the configuration does not have. */
static int add_variable(struct container *c, struct error *err)
{
	const struct oci_strings *env = &c->config->process.env;
	const char **all = calloc(env->count + 2, sizeof(*all)); /* as long as the process lives */

	if (!all)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	memcpy(all, env->list, env->count * sizeof(*all));
	all[env->count] = "NOTIFY_SOCKET=" NOTIFY_OWN_PATH;
	c->job_config.process.env = all;
	return 0;
}

static void on_notified(void *ctx, const char *text)
{
	struct container *c = ctx;

	notify_pass(&c->notify, text);
}

int notify_tell(struct container *c, struct error *err)
{
	const char *path = wanted(&c->config->process.env);
	int r = 0;

	if (c->notify.fd >= 0) {
		path = NOTIFY_OWN_PATH;
		r = add_variable(c, err);
	} else if (path && *path == '/') {
		c->notify.fd = connect_engine(c, path);
	}
	if (r < 0 || c->notify.fd < 0)
		return r;
	c->job_config.notify = path;
	c->job_config.on_notified = on_notified;
	c->job_config.ctx = c;
	return 0;
}

void notify_pass(struct notify *n, const char *text)
{
	char out[NOTIFY_TEXT_MAX];
	int64_t now = now_ms();
	size_t len;

	if (now - n->since_ms >= 1000) {
		n->since_ms = now;
		n->left = NOTES_A_SECOND;
	}
	if (n->fd < 0 || !n->left)
		return;
	n->left--;
	len = notify_filter(out, text);
	if (len)
		(void)!send(n->fd, out, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}
