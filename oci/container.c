#include "oci/container.h"

#include "oci/console.h"
#include "oci/process.h"
#include "oci/title.h"
#include "util/cleanup.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STATUS_FAILED = 125, STATUS_SIGNAL = 128 };

/* ---- commands, while it runs ---- */

static void answer(struct container *c, int i, int failed, const char *text)
{
	control_answer(c->connection[i], failed, text);
	close(c->connection[i]);
	c->connection[i] = -1;
	if (c->starting == i)
		c->starting = -1;
}

/* The networks, as the command saw them. False: answered. */
static bool give_networks(struct container *c, int i, const struct control_request *request)
{
	struct job_config *j = &c->job_config;
	struct error err = { 0 };
	int n;

	if (c->starting >= 0 || c->process) {
		answer(c, i, EALREADY, "the container was started already");
		return false;
	}
	if (c->networks)
		return true;
	c->found = request->found;
	n = oci_network_guest(j->net, &c->network, &c->found);
	if (n < 0) {
		answer(c, i, -n, "the interfaces cannot be passed on to the guest");
		return false;
	}
	j->nets = (unsigned)n;
	c->networks = true;
	if (job_release(c->job, &err) == 0)
		return true;
	answer(c, i, EIO, err.msg);
	return false;
}

static void start(struct container *c, int i)
{
	struct error err = { 0 };

	c->process = true;
	if (job_start(c->job, &err) < 0)
		answer(c, i, EIO, err.msg);
}

static void change_network(struct container *c, int i, const struct control_request *request)
{
	struct agent_net net[VM_NETS_MAX];
	int n = oci_network_guest_again(net, &request->found);

	for (int at = 0; at < n; at++)
		job_change_net(c->job, &net[at]);
	answer(c, i, n < 0 ? -n : 0, "the interfaces cannot be passed on to the guest");
}

static void serve(struct container *c, int i)
{
	struct control_request request;
	int r = control_read(c->connection[i], &request);

	if (r == 0)
		return;
	if (r < 0) { /* gone; a start goes on all the same */
		close(c->connection[i]);
		c->connection[i] = -1;
		if (c->starting == i)
			c->starting = -1;
		return;
	}
	switch (request.what) {
	case CONTROL_SET_UP:
	case CONTROL_START:
		if (!give_networks(c, i, &request))
			break;
		c->starting = i; /* tell_start() answers */
		if (request.what == CONTROL_START)
			start(c, i);
		break;
	case CONTROL_KILL_ALL:
		job_signal_all(c->job, request.number);
		answer(c, i, 0, NULL);
		break;
	case CONTROL_NETWORK:
		change_network(c, i, &request);
		break;
	default:
		answer(c, i, EINVAL, "an unknown command");
	}
}

static void take_connection(struct container *c)
{
	int fd = accept4(c->control, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	for (int i = 0; i < CONTAINER_CONNECTIONS && fd >= 0; i++) {
		if (c->connection[i] >= 0)
			continue;
		c->connection[i] = fd;
		return;
	}
	cleanup_close_fd(&fd);
}

/* Tell whoever waits for the start what came of it. */
static void tell_start(struct container *c)
{
	const struct job_outcome *outcome = job_outcome(c->job);
	struct error err = { 0 };

	if (c->starting < 0)
		return;
	if (outcome->end == JOB_FAILED) {
		oci_process_failed(
			&c->config->process, outcome->why, outcome->status, outcome->text, &err);
		answer(c, c->starting, EIO, err.msg);
	} else if (c->process ? job_started(c->job) : job_ready(c->job))
		answer(c, c->starting, 0, NULL);
	else if (outcome->end == JOB_NO_GUEST)
		answer(c, c->starting, EIO, "the guest did not start within a minute of its own");
	else if (outcome->end != JOB_NOT_OVER)
		answer(c, c->starting, EIO, "the container ended before its process began");
}

static unsigned prepare(void *ctx, struct pollfd *fds, int *timeout_ms)
{
	struct container *c = ctx;
	const struct machine_attendant *job = job_attendant(c->job);
	unsigned n = 0;

	fds[n++] = (struct pollfd){ .fd = c->control, .events = POLLIN };
	for (int i = 0; i < CONTAINER_CONNECTIONS; i++) /* poll() passes over -1 */
		fds[n++] = (struct pollfd){ .fd = c->connection[i], .events = POLLIN };
	return n + job->prepare(job->ctx, fds + n, timeout_ms);
}

static bool attend(void *ctx, const struct pollfd *fds, unsigned count)
{
	struct container *c = ctx;
	const struct machine_attendant *job = job_attendant(c->job);
	const unsigned own = 1 + CONTAINER_CONNECTIONS;
	bool over = job->attend(job->ctx, fds + own, count - own);

	tell_start(c);
	for (int i = 0; i < CONTAINER_CONNECTIONS; i++)
		if (c->connection[i] >= 0 && fds[1 + i].revents)
			serve(c, i);
	if (fds[0].revents)
		take_connection(c);
	return over;
}

static bool on_signal(void *ctx, int number, bool sent)
{
	struct container *c = ctx;
	const struct machine_attendant *job = job_attendant(c->job);

	return job->signal(job->ctx, number, sent);
}

/* ---- its making ---- */

static void say(const struct container *c, char what)
{
	(void)!send(c->sync, &what, 1, MSG_NOSIGNAL);
}

static void __attribute__((noreturn)) fail(const struct container *c, const struct error *err)
{
	say(c, CONTAINER_FAILED);
	(void)!send(c->sync, err, sizeof(*err), MSG_NOSIGNAL);
	_exit(STATUS_FAILED);
}

/* The hooks of the runtime run in between. Whoever made us being gone is a reason to go, too. */
static void wait_for_go(const struct container *c)
{
	char byte = 0;

	if (recv(c->sync, &byte, 1, 0) != 1 || byte != CONTAINER_GO)
		_exit(STATUS_FAILED);
}

static void ask(const struct container *c, char what)
{
	say(c, what);
	wait_for_go(c);
}

/*
 * Are the machine's devices out of reach, by the device rules of a group above (as those of podman's
 * pods are)? They are rules for what the container may open, and it gets none of them.
 */
static bool is_fenced(void)
{
	_cleanup_close_ int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	return fd < 0 && errno == EPERM;
}

static int make_network(struct container *c, struct error *err)
{
	int r = oci_network_prepare(&c->network, c->network_kind, err);

	if (r == 0)
		oci_network_config(&c->network, &c->vm);
	if (r == 0 && c->network.shares)
		say(c, CONTAINER_SHARES);
	return r;
}

/*
 * The configuration's labels are for the process that the host sees: this one. Where they are written
 * is found while /proc is the host's; with several security modules "current" is the first one's.
 */
static int open_label(const struct oci_process *p)
{
	int fd = -1;

	if (!p->apparmor && !p->selinux)
		return -1;
	if (p->apparmor)
		fd = open("/proc/self/attr/apparmor/current", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		fd = open("/proc/self/attr/current", O_WRONLY | O_CLOEXEC);
	return fd;
}

static int take_label(const struct oci_process *p, int fd, struct error *err)
{
	if (p->apparmor && dprintf(fd, "changeprofile %s", p->apparmor) < 0)
		return error_set(err, ERROR_HOST, errno,
			"process.apparmorProfile: the label %s cannot be taken on: %m",
			p->apparmor);
	if (p->selinux && dprintf(fd, "%s", p->selinux) < 0)
		return error_set(err, ERROR_HOST, errno,
			"process.selinuxLabel: the label %s cannot be taken on: %m", p->selinux);
	return 0;
}

/*
 * `podman top` and `ps` show us, for the container's processes are out of their sight: by the words
 * of its command, as they would be there. The name (comm) stays our own.
 */
static void take_title(const struct container *c)
{
	const struct oci_strings *args = &c->config->process.args;
	size_t len = 0;
	char *title;

	for (size_t i = 0; i < args->count; i++)
		len += strlen(args->list[i]) + 1;
	title = len ? mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
		    : MAP_FAILED;
	if (title == MAP_FAILED)
		return;
	for (size_t i = 0, at = 0; i < args->count; i++, at += strlen(title + at) + 1)
		strcpy(title + at, args->list[i]);
	title_set(title, len);
}

static int make(struct container *c, struct error *err)
{
	_cleanup_close_ int label = -1;
	int r = console_take(c->terminal, err);
	bool fenced;

	if (r == 0)
		r = namespaces_enter(c, err);
	if (r < 0)
		return r;
	ask(c, CONTAINER_NAMESPACES);
	fenced = is_fenced();
	if (fenced)
		ask(c, CONTAINER_OUT);
	label = open_label(&c->config->process);
	r = make_network(c, err);
	if (r == 0)
		r = c->control = control_listen(c->state->dir, err);
	if (r >= 0)
		r = container_build(c, err);
	if (r >= 0)
		r = mounts_pivot(c, err);
	if (r >= 0 && fenced)
		ask(c, CONTAINER_BACK);
	if (r >= 0)
		r = userns_enter(c->userns, oci_keeps_groups(c->config), err);
	userns_close(c->userns);
	close(c->state->dir); /* it leads out of our root, and we are done with it */
	if (r >= 0)
		r = job_sockets_look(&c->sockets, err);
	return r < 0 ? r : take_label(&c->config->process, label, err); /* last: we need no more */
}

/* The machine has ended before the process began: what its console said last tells why. */
static void tell_end(struct container *c, const struct machine_result *result)
{
	char tail[400], text[512], *line = tail, *end;

	if (c->starting < 0)
		return;
	machine_console_tail(c->machine, tail, sizeof(tail));
	for (end = tail + strlen(tail); end > tail && end[-1] == '\n';)
		*--end = 0;
	if (strrchr(tail, '\n'))
		line = strrchr(tail, '\n') + 1;
	snprintf(text, sizeof(text), "the guest %s before its process began%s%s",
		result->end == MACHINE_PANICKED	  ? "panicked"
		: result->end == MACHINE_REBOOTED ? "rebooted"
						  : "ended",
		*line ? ": " : "", line);
	answer(c, c->starting, EIO, text);
}

static int status_of(struct container *c, const struct machine_result *result)
{
	const struct job_outcome *outcome = job_outcome(c->job);
	char text[1024];

	switch (outcome->end) {
	case JOB_EXITED:
		return outcome->status & 0xff;
	case JOB_KILLED:
	case JOB_SIGNALLED:
		return STATUS_SIGNAL + outcome->status;
	case JOB_NO_READER:
		return STATUS_SIGNAL + SIGPIPE;
	default:
		break;
	}
	if (result->end == MACHINE_SIGNALLED)
		return STATUS_SIGNAL + result->status;
	log_error("container %s: the guest failed: %s", c->state->id, outcome->text);
	if (machine_console_tail(c->machine, text, sizeof(text)))
		log_error("container %s: its console said last: %s", c->state->id, text);
	return STATUS_FAILED;
}

void container_main(struct container *c)
{
	struct machine_result result = { 0 };
	struct error err = { 0 };

	vm_config_init(&c->vm);
	c->mounts_home = c->binds_tree = c->control = c->starting = -1;
	for (int i = 0; i < CONTAINER_CONNECTIONS; i++)
		c->connection[i] = -1;
	c->attendant = (struct machine_attendant){ c, prepare, attend, on_signal };
	take_title(c); /* while /proc is the host's */
	/* Until we are made, we go with our maker. If it went before this, wait_for_go() sees it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (make(c, &err) < 0)
		fail(c, &err);
	prctl(PR_SET_PDEATHSIG, 0);
	say(c, CONTAINER_READY);
	cleanup_close_fd(&c->sync);
	if (machine_run(c->machine, &c->attendant, &result, &err) < 0) {
		log_error("container %s: %s", c->state->id, err.msg);
		_exit(STATUS_FAILED);
	}
	tell_start(c);
	tell_end(c, &result);
	/* The kernel takes down what is left, faster than we could. */
	_exit(status_of(c, &result));
}
