#include "oci/lifecycle.h"

#include "oci/cgroup.h"
#include "oci/control.h"
#include "oci/hooks.h"
#include "oci/network.h"
#include "oci/share.h"
#include "oci/watch.h"

#include "machine/machine.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <json.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { END_MS = 10 * 1000, INHERITED_FROM = 3 };

/* All but 0, 1, 2, those and the log: sockets of published ports and such are none of the VMM's. */
void lifecycle_close_inherited(const struct oci_globals *globals, unsigned preserve)
{
	unsigned first = INHERITED_FROM + MIN(preserve, (unsigned)AGENT_DESCRIPTORS_MAX);

	if (globals->log_fd > (int)first)
		close_range(first, (unsigned)globals->log_fd - 1, 0);
	close_range(MAX((unsigned)globals->log_fd + 1, first), ~0U, 0);
	signal(SIGPIPE, SIG_IGN);
}

struct json_object *lifecycle_annotations(const struct oci_config *config)
{
	struct json_object *o;

	if (!config->annotations.count)
		return NULL;
	o = json_object_new_object();
	for (size_t i = 0; i < config->annotations.count; i++)
		json_object_object_add(o, config->annotations.list[i].key,
			json_object_new_string(config->annotations.list[i].value));
	return o;
}

int lifecycle_keep_config(const struct oci_state *s, const char *path, struct error *err)
{
	_cleanup_close_ int from = -1, to = -1;
	ssize_t n = 0;

	from = open(path, O_RDONLY | O_CLOEXEC);
	to = openat(s->dir, "config.json", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (from >= 0 && to >= 0)
		while ((n = sendfile(to, from, NULL, 1 << 20)) > 0)
			;
	if (from < 0 || to < 0 || n < 0)
		return error_set(err, ERROR_HOST, errno, "cannot keep a copy of %s: %m", path);
	return 0;
}

int lifecycle_config(struct oci_config **out, const struct oci_state *s, struct error *err)
{
	_cleanup_free_ char *path = NULL;

	if (asprintf(&path, "%s/%s/config.json", s->root, s->id) < 0) {
		path = NULL;
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	}
	return oci_config_read(out, path, err);
}

int lifecycle_write_pid(const char *path, pid_t pid, struct error *err)
{
	_cleanup_free_ char *temporary = NULL;
	int fd, n;

	if (asprintf(&temporary, "%s.%d", path, getpid()) < 0) {
		temporary = NULL;
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	}
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	n = fd < 0 ? -1 : dprintf(fd, "%d", pid);
	if (fd >= 0 && close(fd) < 0)
		n = -1;
	if (n < 0 || rename(temporary, path) < 0) {
		error_set(err, ERROR_HOST, errno, "--pid-file %s: %m", path);
		unlink(temporary);
		return -EIO;
	}
	return 0;
}

/* ---- its process ---- */

/* A pidfd for the container's process, which cannot become somebody else's. */
static int open_process(const struct oci_state *s)
{
	int fd = s->pid ? pidfd_open(s->pid, 0) : -1;

	if (fd >= 0 && oci_state_status(s) == OCI_STOPPED) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static int end_process(const struct oci_state *s, struct error *err)
{
	_cleanup_close_ int fd = open_process(s);
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	if (fd < 0)
		return 0;
	pidfd_send_signal(fd, SIGKILL, NULL, 0);
	if (poll(&pfd, 1, END_MS) > 0 || oci_state_status(s) == OCI_STOPPED)
		return 0;
	return error_set(err, ERROR_MACHINE, EBUSY, "container %s does not end", s->id);
}

/* ---- start ---- */

/* What a child has read; in memory of both. */
struct reading {
	int result;
	struct error err;
	struct oci_interfaces found;
};

static void read_there(const struct oci_state *s, struct reading *out)
{
	_cleanup_close_ int theirs = -1;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", s->pid);
	theirs = open(path, O_RDONLY | O_CLOEXEC);
	if (theirs < 0 || setns(theirs, CLONE_NEWNET) < 0)
		out->result = error_set(
			&out->err, ERROR_HOST, errno, "cannot enter the container's network: %m");
	else
		out->result = oci_network_read(&out->found, &out->err);
}

/*
 * In the container's network namespace. The way back may be closed (in a user namespace the host's
 * network is not ours), so it is a child that goes.
 */
static int read_interfaces(
	const struct oci_state *s, struct oci_interfaces *found, struct error *err)
{
	struct reading *reading = mmap(
		NULL, sizeof(*reading), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int r, status = 0;
	pid_t pid;

	if (reading == MAP_FAILED)
		return error_set(err, ERROR_HOST, errno, "out of memory");
	reading->result = error_set(
		&reading->err, ERROR_HOST, EIO, "the container's network was not looked at");
	pid = fork();
	if (pid == 0) {
		read_there(s, reading);
		_exit(0);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	r = pid < 0 ? -EAGAIN : reading->result;
	if (r < 0 && err)
		*err = reading->err;
	*found = reading->found;
	munmap(reading, sizeof(*reading));
	return r;
}

/* A hook's process goes where the container's is. */
static int enter_container(void *ctx)
{
	const pid_t *pid = ctx;
	_cleanup_close_ int fd = pidfd_open(*pid, 0);

	if (fd < 0 || setns(fd, CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC) < 0 ||
		chdir("/") < 0)
		return -errno;
	return 0;
}

int lifecycle_hooks(const struct oci_hooks *hooks, const char *name, const struct oci_state *s,
	enum oci_status status, bool inside, struct error *err)
{
	_cleanup_free_ char *json = NULL;
	pid_t pid = s->pid;
	struct oci_hook_run run = { .name = name };

	if (!hooks->count)
		return 0;
	run.state = json = oci_state_json(s, status);
	if (!json)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	if (inside) {
		run.enter = enter_container;
		run.ctx = &pid;
	}
	if (err)
		return oci_hooks_run(hooks, &run, err);
	oci_hooks_run_all(hooks, &run);
	return 0;
}

/* Whether this container's cards are those of interfaces, or it has others, or none. */
static int find_networks(const struct oci_state *s, enum oci_network_kind kind,
	struct oci_interfaces *found, struct error *err)
{
	*found = (struct oci_interfaces){ 0 };
	if (s->shares)
		return oci_share_prepare(s, err);
	if (kind != OCI_NETWORK_INTERFACES && kind != OCI_NETWORK_FRESH)
		return 0;
	return read_interfaces(s, found, err);
}

/* Where others are in its network, the process finds what they serve from its beginning. */
static int ask_for_start(const struct oci_state *s, enum oci_network_kind kind,
	struct control_request *request, struct error *err)
{
	int r = 0;

	if (oci_share_wanted(s, kind)) {
		request->what = CONTROL_SET_UP;
		r = control_ask(s->dir, request, err);
		request->what = CONTROL_START;
		if (r == 0)
			oci_share(s, kind, true);
	}
	return r == 0 ? control_ask(s->dir, request, err) : r;
}

static int start(struct oci_state *s, const struct oci_config *config, struct error *err)
{
	struct control_request request = { .what = CONTROL_START };
	enum oci_network_kind kind;
	int r = oci_network_kind(&kind, config, err);

	if (r == 0)
		r = find_networks(s, kind, &request.found, err);
	if (r < 0)
		return r;
	r = lifecycle_hooks(&config->start_container, "startContainer", s, OCI_CREATED, true, err);
	/* The specification wants it to be stopped then. */
	if (r < 0)
		end_process(s, &(struct error){ 0 });
	else
		r = ask_for_start(s, kind, &request, err);
	if (r < 0)
		return r;
	s->started = true;
	r = oci_state_save(s, err);
	if (request.found.count)
		oci_watch(s, &request.found);
	oci_share(s, kind, false); /* who started at the same time has not been seen before */
	if (r == 0)
		lifecycle_hooks(&config->poststart, "poststart", s, OCI_RUNNING, false, NULL);
	return r;
}

int lifecycle_start(struct oci_state *s, struct error *err)
{
	enum oci_status status = oci_state_status(s);
	struct oci_config *config;
	int r;

	if (status != OCI_CREATED)
		return error_set(err, ERROR_USAGE, EINVAL,
			"cannot start container %s: it is %s, not created", s->id,
			oci_status_name(status));
	r = lifecycle_config(&config, s, err);
	if (r < 0)
		return r;
	/* It may be made without one (only its namespaces and mounts are wanted), but not started. */
	if (config->has_process)
		r = start(s, config, err);
	else
		r = error_set(err, ERROR_USAGE, EINVAL,
			"cannot start container %s: its config.json has no process", s->id);
	oci_config_free(config);
	return r;
}

/* ---- kill ---- */

int lifecycle_kill(struct oci_state *s, int number, bool all, struct error *err)
{
	struct control_request request = { .what = CONTROL_KILL_ALL, .number = number };
	_cleanup_close_ int fd = open_process(s);

	if (fd < 0)
		return error_set(err, ERROR_USAGE, ESRCH, "container %s is not running", s->id);
	/* The machine's end is the end of all that is in it. */
	if (all && number != SIGKILL && s->started)
		return control_ask(s->dir, &request, err);
	if (pidfd_send_signal(fd, number, NULL, 0) < 0)
		return error_set(err, ERROR_HOST, errno, "cannot signal container %s: %m", s->id);
	return 0;
}

/* ---- delete ---- */

static void undo_network(const struct oci_state *s, const struct oci_config *config)
{
	const char *path = config->ns[OCI_NS_NETWORK].path;
	_cleanup_close_ int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	struct error err = { 0 };

	if (fd >= 0 && oci_network_undo(fd, oci_share_number(s->id), &err) < 0)
		log_warn("%s", err.msg);
}

static void remove_cgroup(const struct oci_state *s)
{
	struct oci_cgroup *cgroup;
	struct error err = { 0 };

	if (!s->cgroup || !*s->cgroup ||
		oci_cgroup_open(&cgroup, s->cgroup, s->systemd_cgroup, &err) < 0)
		return;
	oci_cgroup_thaw(cgroup, &err);
	oci_cgroup_remove(cgroup);
	oci_cgroup_free(cgroup);
}

int lifecycle_delete(struct oci_state *s, bool force, struct error *err)
{
	enum oci_status status = oci_state_status(s);
	struct error ignored = { 0 };
	struct oci_config *config = NULL;
	int r;

	/* One whose process has not begun may go, as with other runtimes. */
	if ((status == OCI_RUNNING || status == OCI_PAUSED) && !force)
		return error_set(err, ERROR_USAGE, EBUSY,
			"cannot delete container %s: it is %s; stop it first, or use --force",
			s->id, oci_status_name(status));
	r = end_process(s, err);
	if (r < 0)
		return r;
	remove_cgroup(s);
	if (lifecycle_config(&config, s, &ignored) == 0) {
		undo_network(s, config);
		lifecycle_hooks(&config->poststop, "poststop", s, OCI_STOPPED, false, NULL);
		oci_config_free(config);
	}
	oci_state_remove(s);
	return 0;
}

/* ---- signals, for run ---- */

static volatile sig_atomic_t forward_to;

static void forward(int number)
{
	kill(forward_to, number);
}

void lifecycle_forward_signals(pid_t pid)
{
	static const int some[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH };
	struct sigaction sa = { .sa_handler = forward };

	forward_to = pid;
	for (unsigned i = 0; i < ARRAY_SIZE(some); i++)
		sigaction(some[i], &sa, NULL);
}
