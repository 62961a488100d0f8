/*
 * `create` and `run`: the state, the container's process, and the handshake between the two.
 */
#include "oci/cgroup.h"
#include "oci/config.h"
#include "oci/config_check.h"
#include "oci/console.h"
#include "oci/container.h"
#include "oci/lifecycle.h"
#include "oci/process.h"
#include "oci/rootless.h"
#include "oci/state.h"
#include "oci/userns.h"
#include "oci/verbs.h"

#include "util/cleanup.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct create {
	const struct oci_globals *globals;
	const char *id, *bundle, *config_file, *pid_file, *console_socket;
	unsigned preserve_fds, descriptors; /* how many; which are there */
	bool run, detach, keep;		    /* run, and of it: */

	/* In the order they come. */
	char *bundle_path, *config_path, *rootfs;
	struct oci_config *config;
	struct oci_state *state;
	struct oci_cgroup *cgroup;
	struct console_pair terminal;
	struct userns userns;
	struct notify_host notify;
	int sync;
	pid_t pid;
	bool hooked;		       /* its hooks have begun: those of the end are to run, too */
	enum oci_network_kind network; /* told here, where we are not in its namespace yet */
};

/* ---- the command line ---- */

enum { FLAG_PID = 256, FLAG_CONSOLE, FLAG_FDS, FLAG_KEEP, FLAG_IGNORE };

static const struct option flags[] = {
	{ "bundle", required_argument, NULL, 'b' },
	{ "config", required_argument, NULL, 'f' },
	{ "pid-file", required_argument, NULL, FLAG_PID },
	{ "console-socket", required_argument, NULL, FLAG_CONSOLE },
	{ "preserve-fds", required_argument, NULL, FLAG_FDS },
	{ "detach", no_argument, NULL, 'd' },
	{ "keep", no_argument, NULL, FLAG_KEEP },
	{ "no-subreaper", no_argument, NULL, FLAG_IGNORE },   /* we never are one */
	{ "no-pivot", no_argument, NULL, FLAG_IGNORE },	      /* there is nothing that pivots */
	{ "no-new-keyring", no_argument, NULL, FLAG_IGNORE }, /* the guest has its own */
	{ 0 },
};

static const char create_usage[] = "[--bundle DIR] [--config FILE] [--pid-file FILE] "
				   "[--console-socket PATH] ID";

static int parse(struct create *c, int argc, char **argv, struct error *err)
{
	char *end;
	int o;

	c->bundle = ".";
	while ((o = getopt_long(argc, argv, "+b:df:", flags, NULL)) != -1) {
		switch (o) {
		case 'b':
			c->bundle = optarg;
			break;
		case 'd':
			c->detach = true;
			break;
		case 'f':
			c->config_file = optarg;
			break;
		case FLAG_KEEP:
			c->keep = true;
			break;
		case FLAG_PID:
			c->pid_file = optarg;
			break;
		case FLAG_CONSOLE:
			c->console_socket = optarg;
			break;
		case FLAG_FDS:
			c->preserve_fds = (unsigned)strtoul(optarg, &end, 10);
			if (*end || end == optarg)
				return error_set(err, ERROR_USAGE, EINVAL,
					"--preserve-fds %s: is not a number", optarg);
			break;
		case '?':
			return error_set(err, ERROR_USAGE, EINVAL,
				"unknown option: see "
				"`microvm-oci --help`");
		}
	}
	if (argc - optind != 1)
		return error_set(err, ERROR_USAGE, EINVAL, "usage: microvm-oci %s %s", argv[0],
			create_usage);
	c->id = argv[optind];
	return oci_state_check_id(c->id, err);
}

/* ---- what can be said before anything is made ---- */

static int find_bundle(struct create *c, struct error *err)
{
	struct stat st;

	c->bundle_path = realpath(c->bundle, NULL);
	if (!c->bundle_path)
		return error_set(err, ERROR_IMAGE, errno, "bundle %s: %m", c->bundle);
	if (asprintf(&c->config_path, "%s%s%s",
		    c->config_file && *c->config_file == '/' ? "" : c->bundle_path,
		    c->config_file && *c->config_file == '/' ? "" : "/",
		    c->config_file ? c->config_file : "config.json") < 0) {
		c->config_path = NULL;
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	}
	if (oci_config_read(&c->config, c->config_path, err) < 0 ||
		rootless_translate(c->config, err) < 0 ||
		oci_config_machine(c->config, NULL, err) < 0)
		return -EINVAL;
	for (size_t i = 0; i < c->config->warnings.count; i++)
		log_warn("%s", c->config->warnings.list[i]);
	if (c->config->root[0] == '/')
		c->rootfs = strdup(c->config->root);
	else if (asprintf(&c->rootfs, "%s/%s", c->bundle_path, c->config->root) < 0)
		c->rootfs = NULL;
	if (!c->rootfs)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	if (stat(c->rootfs, &st) < 0 || !S_ISDIR(st.st_mode))
		return error_set(err, ERROR_IMAGE, errno ? errno : ENOTDIR,
			"root.path: %s is no directory", c->rootfs);
	return 0;
}

static int check(struct create *c, struct error *err)
{
	_cleanup_close_ int root = open(c->rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int bundle = open(c->bundle_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	bool terminal = c->config->process.terminal;
	int r;

	if (userns_check_rights(err) < 0)
		return -EPERM;
	if (root < 0 || bundle < 0)
		return error_set(err, ERROR_IMAGE, errno, "root.path: %s: %m", c->rootfs);
	if (terminal && !c->console_socket && (!c->run || c->detach))
		return error_set(err, ERROR_USAGE, EINVAL,
			"process.terminal: use --console-socket to have it sent to whoever is "
			"there when we are gone");
	if (!terminal && c->console_socket)
		return error_set(
			err, ERROR_USAGE, EINVAL, "--console-socket: process.terminal is not set");
	if (oci_network_kind(&c->network, c->config, err) < 0 ||
		oci_config_check_ids(c->config, &c->config->process, err) < 0 ||
		oci_process_add_groups(&c->config->process, c->config, err) < 0)
		return -EINVAL;
	r = oci_check_devices(c->config, err);
	if (r == 0)
		r = oci_check_mounts(c->config, bundle, err);
	if (r == 0 && c->config->has_process)
		r = oci_check_command(c->config, root, err);
	return r == 0 && !c->config->vm.image ? oci_resolve_mounts(c->config, root, err) : r;
}

static int make_state(struct create *c, struct error *err)
{
	int r = oci_state_create(&c->state, c->globals->root, c->id, err);

	if (r < 0)
		return r;
	c->state->bundle = strdup(c->bundle_path);
	c->state->systemd_cgroup = c->globals->systemd_cgroup;
	c->state->annotations = lifecycle_annotations(c->config);
	if (!c->globals->systemd_cgroup) /* systemd says where it is when it is there */
		c->state->cgroup = oci_cgroup_path_wanted(c->config->cgroups_path, c->id);
	r = lifecycle_keep_config(c->state, c->config_path, err);
	return r == 0 ? oci_state_save(c->state, err) : r;
}

/* ---- the container's process ---- */

static void become_container(struct create *c, int sync)
{
	static struct container container;

	container = (struct container){ .config = c->config,
		.state = c->state,
		.bundle = c->bundle_path,
		.rootfs = c->rootfs,
		.sync = sync,
		.preserve_fds = c->descriptors,
		.network_kind = c->network,
		.userns = &c->userns,
		.notify = { .fd = notify_host_end(&c->notify) },
		.terminal = c->terminal.slave };
	cleanup_close_fd(&c->terminal.master);
	cleanup_close_fd(&c->notify.relay[0]);
	/* The lock is create's: it must not outlive it. */
	cleanup_close_fd(&c->state->lock);
	container_main(&container);
}

static int fork_container(struct create *c, struct error *err)
{
	int pair[2];

	if (userns_open(&c->userns, c->config, err) < 0)
		return -EPERM;
	notify_host_open(&c->notify, c->config, c->run && !c->detach);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(err, ERROR_HOST, errno, "cannot make a pair of sockets: %m");
	c->pid = namespaces_fork(c->config, err);
	if (c->pid == 0) {
		close(pair[0]);
		become_container(c, pair[1]);
	}
	close(pair[1]);
	userns_close(&c->userns);
	c->sync = pair[0];
	return c->pid < 0 ? -EPERM : 0;
}

static int ended(struct error *err)
{
	return error_set(err, ERROR_MACHINE, EPIPE, "the container's process ended at once");
}

/* What the container says next; if that is an error, it is ours. */
static int hear(struct create *c, char *byte, struct error *err)
{
	ssize_t n;

	while ((n = recv(c->sync, byte, 1, 0)) < 0 && errno == EINTR)
		;
	if (n == 1 && *byte == CONTAINER_FAILED)
		return recv(c->sync, err, sizeof(*err), MSG_WAITALL) == sizeof(*err) ? -EINVAL
										     : ended(err);
	return n == 1 ? 0 : ended(err);
}

static int expect(struct create *c, char what, struct error *err)
{
	char byte = 0;
	int r = hear(c, &byte, err);

	return r == 0 && byte != what ? ended(err) : r;
}

static int let_go(struct create *c, struct error *err)
{
	const char go = CONTAINER_GO;

	return send(c->sync, &go, 1, MSG_NOSIGNAL) == 1 ? 0 : ended(err);
}

/* It opens what the machine needs, out of its control group where the devices of that are fenced. */
static int await_ready(struct create *c, struct error *err)
{
	char byte = 0;
	int r;

	for (;;) {
		r = hear(c, &byte, err);
		if (r < 0 || byte == CONTAINER_READY)
			return r;
		if (byte == CONTAINER_SHARES) {
			c->state->shares = true;
			continue;
		}
		if (byte == CONTAINER_OUT)
			r = c->cgroup ? oci_cgroup_leave(c->cgroup, c->pid, err) : 0;
		else if (byte == CONTAINER_BACK)
			r = c->cgroup ? oci_cgroup_enter(c->cgroup, c->pid, err) : 0;
		else
			r = ended(err);
		if (r == 0)
			r = let_go(c, err);
		if (r < 0)
			return r;
	}
}

static int make_cgroup(struct create *c, struct error *err)
{
	int r;

	if (c->globals->no_cgroup)
		return 0;
	r = oci_cgroup_create(&c->cgroup, c->config->cgroups_path, c->id,
		c->globals->systemd_cgroup, c->pid, err);
	if (r < 0)
		return r;
	free(c->state->cgroup);
	c->state->cgroup = strdup(oci_cgroup_path(c->cgroup));
	return 0;
}

static int enter_cgroup(struct create *c, struct error *err)
{
	int r = make_cgroup(c, err);

	if (r < 0)
		return r;
	/* From here on there is something to be found, and ended, by whoever comes after us. */
	if (oci_state_set_pid(c->state, c->pid) < 0)
		return error_set(
			err, ERROR_MACHINE, ESRCH, "the container's process ended at once");
	r = oci_state_save(c->state, err);
	if (r < 0 || !c->cgroup)
		return r;
	oci_cgroup_set_guest_memory(c->cgroup, container_memory(c->config));
	return oci_cgroup_apply(c->cgroup, &c->config->resources, err);
}

static int run_hooks(struct create *c, struct error *err)
{
	const struct oci_config *o = c->config;
	int r;

	c->hooked = true;
	r = lifecycle_hooks(&o->prestart, "prestart", c->state, OCI_CREATING, false, err);

	if (r == 0)
		r = lifecycle_hooks(
			&o->create_runtime, "createRuntime", c->state, OCI_CREATING, false, err);
	if (r == 0)
		r = lifecycle_hooks(
			&o->create_container, "createContainer", c->state, OCI_CREATING, true, err);
	return r;
}

static int bring_up(struct create *c, struct error *err)
{
	int r = fork_container(c, err);

	if (r == 0)
		r = enter_cgroup(c, err);
	if (r == 0)
		r = expect(c, CONTAINER_NAMESPACES, err);
	if (r == 0)
		r = run_hooks(c, err);
	if (r == 0)
		r = let_go(c, err);
	return r == 0 ? await_ready(c, err) : r;
}

static void undo(struct create *c)
{
	if (c->pid > 0) {
		kill(c->pid, SIGKILL);
		waitpid(c->pid, NULL, 0);
	}
	if (c->cgroup)
		oci_cgroup_remove(c->cgroup);
	if (c->hooked)
		lifecycle_hooks(
			&c->config->poststop, "poststop", c->state, OCI_STOPPED, false, NULL);
	if (c->state)
		oci_state_remove(c->state);
	if (c->pid_file && c->state)
		unlink(c->pid_file);
}

static void release(struct create *c)
{
	cleanup_close_fd(&c->sync);
	cleanup_close_fd(&c->terminal.master);
	cleanup_close_fd(&c->terminal.slave);
	notify_host_close(&c->notify);
	oci_cgroup_free(c->cgroup);
	oci_state_close(c->state);
	oci_config_free(c->config);
	free(c->bundle_path);
	free(c->config_path);
	free(c->rootfs);
}

static int create(struct create *c, struct error *err)
{
	int r = descriptors_check(&c->descriptors, c->preserve_fds, c->globals->log_fd, err);

	if (r == 0)
		r = find_bundle(c, err);
	if (r == 0)
		r = check(c, err);
	if (r == 0)
		r = make_state(c, err);
	if (r < 0)
		return r; /* a state that was there already is not ours to remove */
	if (c->console_socket)
		r = console_open_pair(&c->terminal, c->console_socket, &c->config->process, err);
	if (r == 0)
		r = bring_up(c, err);
	if (r == 0 && c->pid_file)
		r = lifecycle_write_pid(c->pid_file, c->pid, err);
	c->state->ready = r == 0;
	if (r == 0)
		r = oci_state_save(c->state, err);
	if (r == 0)
		notify_host_leave(&c->notify, c->pid);
	else
		undo(c);
	return r;
}

int oci_create(const struct oci_globals *globals, int argc, char **argv)
{
	struct create c = {
		.globals = globals, .sync = -1, .terminal = { -1, -1 }, .notify = { -1, { -1, -1 } }
	};
	struct error err = { 0 };
	int r = parse(&c, argc, argv, &err);

	if (r == 0)
		r = rootless_begin(&err);
	if (r == 0) {
		lifecycle_close_inherited(globals, c.preserve_fds);
		r = create(&c, &err);
	}
	release(&c);
	return r < 0 ? oci_report(&err) : 0;
}

/* ---- run: create, start, and (unless --detach) wait and delete ---- */

static int wait_for_end(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int oci_run(const struct oci_globals *globals, int argc, char **argv)
{
	struct create c = { .globals = globals,
		.run = true,
		.sync = -1,
		.terminal = { -1, -1 },
		.notify = { -1, { -1, -1 } } };
	struct error err = { 0 };
	int r = parse(&c, argc, argv, &err), status = 0;
	struct foreground own = { 0 };

	if (r == 0)
		r = rootless_begin(&err);
	if (r == 0) {
		lifecycle_close_inherited(globals, c.preserve_fds);
		r = create(&c, &err);
	}
	if (r == 0) {
		r = lifecycle_start(c.state, &err);
		if (r < 0)
			kill(c.pid, SIGKILL);
	}
	if (r == 0 && !c.detach) {
		lifecycle_forward_signals(c.pid);
		if (c.config->process.terminal && !c.console_socket)
			console_take_foreground(&own);
		notify_host_relay(&c.notify, c.pid);
		status = wait_for_end(c.pid);
		console_leave_foreground(&own);
	}
	if (c.state && c.pid && (r < 0 || !(c.detach || c.keep)))
		lifecycle_delete(c.state, true, &(struct error){ 0 });
	release(&c);
	return r < 0 ? oci_report(&err) : status;
}
