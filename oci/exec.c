/*
 * `exec`: a further process in the guest. Each has a process of the host's for itself, the session,
 * whose exit status is that of the process in the guest and whose signals are passed on to it.
 */
#include "oci/cgroup.h"
#include "oci/console.h"
#include "oci/lifecycle.h"
#include "oci/process.h"
#include "oci/state.h"
#include "oci/verbs.h"

#include "agent/agent.h"
#include "job/job.h"
#include "util/cleanup.h"
#include "util/log.h"

#include <errno.h>
#include <getopt.h>
#include <json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DIAL_MS = 10 * 1000, STATUS_FAILED = 255, STATUS_SIGNAL = 128 };

struct exec {
	const struct oci_globals *globals;
	/* The command line. */
	const char *id, *process_file, *pid_file, *console_socket, *cwd, *user, *group;
	bool detach, tty, no_new_privileges;
	const char **env; /* NULL-terminated */
	size_t envs;
	uint64_t caps; /* more of them: bit N is capability N */
	char **command;

	struct oci_state *state;
	struct oci_config *config;
	struct oci_process *process; /* of process_file, or that of config, changed */
	struct json_object *json;
	struct oci_process own;
	struct oci_agent_extra extra;
	struct console_pair terminal;
	int sync; /* to whoever waits for the start, or -1 */
};

/* ---- the command line ---- */

enum { FLAG_PID = 256, FLAG_CONSOLE, FLAG_FDS, FLAG_CWD, FLAG_NO_PRIVS, FLAG_GROUP, FLAG_IGNORE };

static const struct option flags[] = {
	{ "process", required_argument, NULL, 'p' },
	{ "detach", no_argument, NULL, 'd' },
	{ "tty", no_argument, NULL, 't' },
	{ "pid-file", required_argument, NULL, FLAG_PID },
	{ "console-socket", required_argument, NULL, FLAG_CONSOLE },
	{ "cwd", required_argument, NULL, FLAG_CWD },
	{ "env", required_argument, NULL, 'e' },
	{ "user", required_argument, NULL, 'u' },
	{ "preserve-fds", required_argument, NULL, FLAG_FDS },
	{ "cap", required_argument, NULL, 'c' },
	{ "cgroup", required_argument, NULL, FLAG_GROUP },
	{ "no-new-privs", no_argument, NULL, FLAG_NO_PRIVS },
	{ "ignore-paused", no_argument, NULL, FLAG_IGNORE },
	{ "no-subreaper", no_argument, NULL, FLAG_IGNORE },
	{ 0 },
};

static const char usage[] = "[--process FILE] [--detach] [--tty] [--pid-file FILE] "
			    "[--console-socket PATH] [--cwd DIR] [--env NAME=VALUE]... "
			    "[--user UID[:GID]] ID [CMD ARGUMENT...]";

static void add_cap(struct exec *e, const char *name)
{
	int cap = oci_capability(name);

	if (cap < 0)
		log_warn("--cap %s: is no capability that is known here", name);
	else
		e->caps |= UINT64_C(1) << cap;
}

static int take(struct exec *e, int o, struct error *err)
{
	switch (o) {
	case 'p':
		e->process_file = optarg;
		break;
	case 'd':
		e->detach = true;
		break;
	case 't':
		e->tty = true;
		break;
	case 'e':
		e->env[e->envs++] = optarg;
		break;
	case 'u':
		e->user = optarg;
		break;
	case 'c':
		add_cap(e, optarg);
		break;
	case FLAG_GROUP:
		e->group = optarg;
		break;
	case FLAG_NO_PRIVS:
		e->no_new_privileges = true;
		break;
	case FLAG_PID:
		e->pid_file = optarg;
		break;
	case FLAG_CONSOLE:
		e->console_socket = optarg;
		break;
	case FLAG_CWD:
		e->cwd = optarg;
		break;
	case FLAG_FDS:
		if (strcmp(optarg, "0"))
			return error_set(err, ERROR_USAGE, EINVAL,
				"--preserve-fds %s: a descriptor of the host cannot be passed into "
				"a virtual machine that runs",
				optarg);
		break;
	case '?':
		return error_set(err, ERROR_USAGE, EINVAL, "usage: microvm-oci exec %s", usage);
	}
	return 0;
}

static int parse(struct exec *e, int argc, char **argv, struct error *err)
{
	int o;

	e->env = calloc((size_t)argc + 1, sizeof(*e->env));
	if (!e->env)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	while ((o = getopt_long(argc, argv, "+p:dte:u:c:", flags, NULL)) != -1) {
		int r = take(e, o, err);

		if (r < 0)
			return r;
	}
	if (optind >= argc || (!e->process_file && optind + 1 >= argc))
		return error_set(err, ERROR_USAGE, EINVAL, "usage: microvm-oci exec %s", usage);
	e->id = argv[optind];
	e->command = argv + optind + 1;
	return 0;
}

/* ---- the process ---- */

static int set_user(struct oci_process *p, const char *user, struct error *err)
{
	char *end;
	unsigned long uid = strtoul(user, &end, 10), gid = p->gid;

	if (*end == ':')
		gid = strtoul(end + 1, &end, 10);
	if (*end || end == user || uid >= UINT32_MAX || gid >= UINT32_MAX)
		return error_set(err, ERROR_USAGE, EINVAL, "--user %s: is not UID[:GID]", user);
	p->uid = (uint32_t)uid;
	p->gid = (uint32_t)gid;
	p->groups = 0;
	return 0;
}

/* In the place of one of the same name; the first of two would be what programs find. */
static void set_variable(const char **env, size_t *count, const char *variable)
{
	size_t len = strcspn(variable, "=");

	for (size_t i = 0; i < *count; i++)
		if (!strncmp(env[i], variable, len) && env[i][len] == '=') {
			env[i] = variable;
			return;
		}
	env[(*count)++] = variable;
}

/* The container's own process with another command, and what else was said. */
static int compose(struct exec *e, struct error *err)
{
	struct oci_process *p = &e->own;
	size_t n = 0;
	const char **env;

	*p = e->config->process;
	env = calloc(p->env.count + e->envs + 1, sizeof(*env));
	if (!env)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	for (size_t i = 0; i < p->env.count; i++)
		env[n++] = p->env.list[i];
	for (size_t i = 0; i < e->envs; i++)
		set_variable(env, &n, e->env[i]);
	p->env.list = env; /* for as long as the process lives */
	p->env.count = n;
	p->args.list = (const char **)e->command;
	for (p->args.count = 0; e->command[p->args.count];)
		p->args.count++;
	p->terminal = e->tty;
	p->no_new_privileges |= e->no_new_privileges;
	p->caps.bounding |= e->caps;
	p->caps.effective |= e->caps;
	p->caps.permitted |= e->caps;
	if (e->cwd)
		p->cwd = e->cwd;
	e->process = p;
	return e->user ? set_user(p, e->user, err) : 0;
}

static int find(struct exec *e, struct error *err)
{
	enum oci_status status;
	int r = oci_state_open(&e->state, e->globals->root, e->id, false, err);

	if (r < 0)
		return r;
	status = oci_state_status(e->state);
	if (status != OCI_RUNNING && status != OCI_CREATED)
		return error_set(err, ERROR_USAGE, EINVAL,
			"cannot exec in container %s: it is %s, not running", e->id,
			oci_status_name(status));
	r = lifecycle_config(&e->config, e->state, err);
	if (r == 0 && e->process_file)
		r = oci_process_read(&e->process, &e->json, e->process_file, err);
	else if (r == 0)
		r = compose(e, err);
	if (r == 0)
		r = oci_config_check_ids(e->config, e->process, err);
	if (r == 0)
		r = oci_process_add_groups(e->process, e->config, err);
	if (r == 0 && e->process_file)
		oci_process_inherit(e->process, &e->config->process);
	if (r == 0 && e->console_socket)
		r = console_open_pair(&e->terminal, e->console_socket, e->process, err);
	return r;
}

/* ---- the session ---- */

static void on_started(void *ctx)
{
	struct exec *e = ctx;
	char byte = 's';

	if (e->sync >= 0)
		(void)!send(e->sync, &byte, 1, MSG_NOSIGNAL);
	cleanup_close_fd(&e->sync);
	e->sync = -1;
}

static int status_of(struct exec *e, const struct job_outcome *outcome, struct error *err)
{
	switch (outcome->end) {
	case JOB_EXITED:
		return outcome->status & 0xff;
	case JOB_KILLED:
	case JOB_SIGNALLED:
	case JOB_NO_READER:
		return STATUS_SIGNAL + outcome->status;
	default:
		break;
	}
	if (outcome->end == JOB_FAILED)
		oci_process_failed(e->process, outcome->why, outcome->status, outcome->text, err);
	else
		error_set(err, ERROR_MACHINE, EIO, "%s", outcome->text);
	return -1;
}

/* Returns the exit status, or -1 with the error where the process never was. */
static int session(struct exec *e, struct error *err)
{
	struct job_config config = { .further = true,
		.signals_to = AGENT_SIGNAL_PROCESS,
		.pass_ends = true,
		.on_started = on_started,
		.ctx = e };
	char path[64];
	struct job *job;
	int fd, r, status = -1;

	snprintf(path, sizeof(path), "/proc/self/fd/%d/vsock", e->state->dir);
	r = console_take(e->terminal.slave, err);
	if (r == 0)
		r = oci_process_to_agent(
			e->process, e->config->seccomp, &config.process, &e->extra, err);
	if (r < 0)
		return -1;
	config.process.flags |= AGENT_START_STDIN;
	config.process.group = e->group;
	fd = agent_dial(path, AGENT_EXEC_PORT, DIAL_MS, err);
	if (fd < 0)
		return -1;
	r = job_create(&job, &config, fd, err);
	if (r == 0)
		r = job_wait(job, err);
	if (r == 0)
		status = status_of(e, job_outcome(job), err);
	job_destroy(job);
	return status;
}

/* In the forked child. */
static void __attribute__((noreturn)) detached(struct exec *e, int sync)
{
	struct error err = { 0 };
	int status;

	cleanup_close_fd(&e->terminal.master);
	e->sync = sync;
	status = session(e, &err);
	if (status < 0 && e->sync >= 0)
		(void)!send(e->sync, &err, sizeof(err), MSG_NOSIGNAL);
	_exit(status < 0 ? STATUS_FAILED : status);
}

/* Leave when the process is there; what keeps it from being so is our error. */
static int detach(struct exec *e, struct error *err)
{
	int pair[2], r = 0;
	struct error said;
	ssize_t n;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(err, ERROR_HOST, errno, "cannot make a pair of sockets: %m");
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		detached(e, pair[1]);
	}
	close(pair[1]);
	if (pid > 0 && e->pid_file)
		r = lifecycle_write_pid(e->pid_file, pid, err);
	while ((n = recv(pair[0], &said, sizeof(said), 0)) < 0 && errno == EINTR)
		;
	close(pair[0]);
	if (pid < 0)
		return error_set(err, ERROR_HOST, errno, "cannot fork: %m");
	if (r == 0 && n == sizeof(said)) {
		*err = said;
		r = -EIO;
	} else if (r == 0 && n != 1) {
		r = error_set(err, ERROR_MACHINE, EPIPE, "the session ended at once");
	}
	if (r < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return r;
}

static void release(struct exec *e)
{
	cleanup_close_fd(&e->terminal.master);
	cleanup_close_fd(&e->terminal.slave);
	if (e->process != &e->own)
		oci_process_free(e->process, e->json);
	oci_config_free(e->config);
	oci_state_close(e->state);
	free(e->env);
}

int oci_exec(const struct oci_globals *globals, int argc, char **argv)
{
	struct exec e = { .globals = globals, .terminal = { -1, -1 }, .sync = -1 };
	struct error err = { 0 };
	int r = parse(&e, argc, argv, &err), status = 0;

	if (r == 0) {
		lifecycle_close_inherited(globals, 0);
		r = find(&e, &err);
	}
	if (r == 0 && e.detach) {
		r = detach(&e, &err);
	} else if (r == 0) {
		if (e.pid_file)
			r = lifecycle_write_pid(e.pid_file, getpid(), &err);
		if (r == 0)
			r = status = session(&e, &err);
	}
	release(&e);
	if (r < 0) {
		oci_report(&err);
		return STATUS_FAILED;
	}
	return status;
}
