/*
 * `microvm run -- CMD`: options become a machine and a job in it, and the job's end an exit status.
 */
#include "cli/commands.h"
#include "cli/environment.h"
#include "cli/image.h"
#include "cli/run.h"
#include "cli/rundir.h"
#include "cli/status.h"

#include "job/job.h"
#include "job/sockets.h"
#include "rootfs/probe.h"
#include "rootfs/rootfs.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/macros.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static_assert((int)VM_AGENT_PORT == AGENT_PORT, "where the guest program connects to");

enum { BOOT_LIMIT_MS = 60 * 1000, SIGNAL_PATIENCE = 3, TAIL_BYTES = 2048 };

/* libslirp's own network, as net/slirp.c sets it up. */
#define USER_ADDRESS "10.0.2.15"
#define USER_PREFIX  24
#define USER_GATEWAY "10.0.2.2"
#define USER_DNS     "10.0.2.3"

/* All that lives as long as the run. */
struct run {
	struct options *o;
	struct vm_config *c;
	struct job_config job;
	struct job_sockets sockets;
	struct image *image;
	struct rundir *dir;
	char **env;
	char resolv_conf[64];
	struct probe_root probed;
	char device[24];
	struct agent_address address[VM_NETS_MAX];
	struct agent_route route[VM_NETS_MAX];
	char interface[VM_NETS_MAX][16];
	int our_end; /* of the connection to the guest program */
};

/* ---- the root and the volumes ---- */

static struct vm_share *add_share(struct run *run, const char *source, bool read_only)
{
	struct vm_config *c = run->c;
	struct vm_share *share = &c->share[c->shares];

	*share = (struct vm_share){
		.source = source, .read_only = read_only, .cache = run->o->job.cache
	};
	snprintf(share->tag, sizeof(share->tag), "share%u", c->shares++);
	return share;
}

/* An image: its file system is looked up here, for the guest need not guess. */
static int block_root(struct run *run, struct error *err)
{
	struct vm_disk *disk = &run->c->disk[0];
	struct agent_root *root = &run->job.root;
	int r;

	disk->read_only |= !run->o->job.keep || run->o->job.read_only;
	r = probe_root(&run->probed, disk->path, err);
	if (r < 0) {
		error_prefix(err, "--rootfs");
		return r;
	}
	if (run->probed.partition)
		snprintf(run->device, sizeof(run->device), "/dev/vda%u", run->probed.partition);
	else
		strcpy(run->device, "/dev/vda");
	root->kind = AGENT_ROOT_BLOCK;
	root->source = run->device;
	root->types = run->probed.fstype;
	return 0;
}

static int add_root(struct run *run, struct error *err)
{
	const struct job_options *j = &run->o->job;
	const char *dir = run->image ? image_path(run->image) : run->o->root;
	struct agent_root *root = &run->job.root;

	run->c->has_root = false; /* no root=: the guest program is told */
	root->flags = j->keep ? 0 : AGENT_ROOT_OVERLAY;
	if (j->read_only || run->o->root_read_only)
		root->flags |= AGENT_ROOT_READ_ONLY;
	run->job.keep = j->keep;
	if (!run->image && !run->o->root_is_dir)
		return block_root(run, err);
	root->kind = AGENT_ROOT_VIRTIOFS;
	root->source = add_share(run, dir, !j->keep || (root->flags & AGENT_ROOT_READ_ONLY))->tag;
	return 0;
}

static struct agent_mount *add_mount(struct run *run, const char *type, const char *target)
{
	struct agent_mount *m = &run->job.mount[run->job.mounts++];

	*m = (struct agent_mount){ .type = type, .source = type, .target = target };
	return m;
}

static int add_socket(struct run *run, const struct volume *v, struct error *err)
{
	int r = job_sockets_add(&run->sockets, v->source, v->target, &run->c->vsock, err);

	if (r < 0)
		error_prefix(err, "--volume");
	run->job.sockets = run->sockets.count;
	run->job.socket = run->sockets.socket;
	run->job.lasting = true; /* what is on its way to the host arrives */
	return r;
}

static int add_volume(struct run *run, const struct volume *v, struct error *err)
{
	struct agent_mount *m;
	struct stat st;

	if (stat(v->source, &st) < 0)
		return error_set(err, ERROR_USAGE, errno, "--volume %s: %m: it must be there%s",
			v->source, errno == ENOENT ? ", so make it first" : "");
	if (S_ISSOCK(st.st_mode))
		return add_socket(run, v, err);
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		return error_set(err, ERROR_USAGE, EINVAL,
			"--volume %s: not a directory, a regular file or a socket", v->source);
	m = add_mount(run, "virtiofs", v->target);
	m->source = add_share(run, v->source, v->read_only)->tag;
	m->flags = v->read_only ? AGENT_MOUNT_READ_ONLY : 0;
	if (S_ISREG(st.st_mode)) {
		m->file = VM_SHARE_FILE;
		m->flags |= AGENT_MOUNT_ON_FILE;
	}
	run->job.lasting |= !v->read_only;
	return 0;
}

/* What lies deeper comes later, so that nothing is hidden by what is mounted above it. */
static void sort_mounts(struct job_config *job)
{
	for (unsigned i = 1; i < job->mounts; i++) {
		struct agent_mount m = job->mount[i];
		unsigned k = i;

		for (; k > 0 && strlen(job->mount[k - 1].target) > strlen(m.target); k--)
			job->mount[k] = job->mount[k - 1];
		job->mount[k] = m;
	}
}

static int add_mounts(struct run *run, struct error *err)
{
	const struct job_options *j = &run->o->job;

	for (unsigned i = 0; i < j->volumes; i++) {
		int r = add_volume(run, &j->volume[i], err);

		if (r < 0)
			return r;
	}
	for (unsigned i = 0; i < j->tmpfses; i++) {
		struct agent_mount *m = add_mount(run, "tmpfs", j->tmpfs[i].target);

		m->options = j->tmpfs[i].options;
		m->flags = j->tmpfs[i].flags;
	}
	sort_mounts(&run->job);
	run->job.lasting |= j->keep;
	for (unsigned i = 0; i < run->c->disks; i++)
		run->job.lasting |= !run->c->disk[i].read_only;
	return 0;
}

/* ---- the network ---- */

/* The guest's interfaces are called eth0, eth1 ... in the order of the cards. */
static void add_net(struct run *run, unsigned i)
{
	const struct vm_net *net = &run->c->net[i];
	bool user = net->kind == VM_NET_USER;
	const char *address = user ? USER_ADDRESS : net->address;
	const char *gateway = user ? USER_GATEWAY : net->gateway;
	const char *dns = user ? USER_DNS : net->dns;
	struct agent_net *to = &run->job.net[run->job.nets++];

	snprintf(run->interface[i], sizeof(run->interface[i]), "eth%u", i);
	*to = (struct agent_net){
		.name = run->interface[i], .addresses = &run->address[i], .routes = &run->route[i]
	};
	if (*address) {
		run->address[i] = (struct agent_address){ .family = AGENT_IPV4,
			.prefix = user ? USER_PREFIX : net->prefix };
		environment_ipv4(address, run->address[i].bytes);
		to->address_count = 1;
	}
	if (*gateway && i == 0) {
		run->route[i] = (struct agent_route){ .to.family = AGENT_IPV4 };
		environment_ipv4(gateway, run->route[i].gateway);
		to->route_count = 1;
	}
	if (*dns && !run->job.resolv_conf) {
		snprintf(run->resolv_conf, sizeof(run->resolv_conf), "nameserver %s\n", dns);
		run->job.resolv_conf = run->resolv_conf;
	}
}

/* ---- the process ---- */

static int add_process(struct run *run, struct error *err)
{
	const struct job_options *j = &run->o->job;
	struct agent_process *p = &run->job.process;

	run->env = environment_make(j, run->image ? image_env(run->image) : NULL, err);
	if (!run->env)
		return -ENOMEM;
	p->env = (const char *const *)run->env;
	p->argv = run->image ? image_command(run->image) : j->command;
	p->cwd = j->workdir ? j->workdir : run->image ? image_workdir(run->image) : NULL;
	p->user = j->user ? j->user : run->image ? image_user(run->image) : NULL;
	p->flags = j->workdir ? 0 : AGENT_START_MAKE_CWD;
	environment_terminal(j, p);
	run->job.hostname = j->hostname ? j->hostname : j->name ? j->name : "microvm";
	run->job.timeout_ms = run->c->timeout_ms;
	run->c->timeout_ms = 0; /* the job's own affair */
	run->job.grace_ms = j->grace_ms;
	run->job.boot_limit_ms = BOOT_LIMIT_MS;
	run->job.standard = AGENT_STANDARD_DEV | AGENT_STANDARD_IPC | AGENT_STANDARD_SYS |
			    AGENT_STANDARD_CGROUP | AGENT_STANDARD_RUN;
	run->job.signals_to = AGENT_SIGNAL_GROUP;
	run->job.patience = SIGNAL_PATIENCE;
	return 0;
}

/* ---- the machine around it ---- */

static int add_initrd(struct run *run, struct error *err)
{
	struct vm_config *c = run->c;
	char version[128];
	struct rootfs_needs needs = {
		.modules_dir = c->modules,
		.root_image = run->job.root.kind == AGENT_ROOT_BLOCK ? c->disk[0].path : NULL,
		.net = c->nets > 0,
		.console = c->console == VM_CONSOLE_STDIO || c->console == VM_CONSOLE_FILE,
		.signatures = run_wants_signatures(c),
		.supervise = true,
		.disk = c->disks > 0,
		.fs = c->shares > 0,
		.overlay = run->job.root.flags & AGENT_ROOT_OVERLAY,
	};
	int r = run_kernel_version(c, version, sizeof(version), err);

	needs.kernel_version = *version ? version : NULL;
	return r < 0 ? r : rootfs_initramfs(&c->initrd_fd, &needs, err);
}

/* A user's own sockets, or those that `microvm exec` needs; the guest program's in any case. */
static int add_vsock(struct run *run, struct error *err)
{
	struct vm_vsock *v = &run->c->vsock;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return error_set(err, ERROR_HOST, errno, "cannot make a pair of sockets: %m");
	run->our_end = pair[0];
	v->present = true;
	v->agent_fd = pair[1];
	v->prefix = run->o->job.vsock;
	v->listen_fd = rundir_listen(run->dir, v->prefix, err);
	return v->listen_fd < 0 ? v->listen_fd : 0;
}

static int prepare(struct run *run, struct error *err)
{
	const struct job_options *j = &run->o->job;
	int r = 0;

	if (j->image)
		r = image_open(&run->image, j->image, j->command, err);
	if (r == 0)
		r = add_root(run, err);
	if (r == 0)
		r = add_mounts(run, err);
	for (unsigned i = 0; i < run->c->nets && r == 0; i++)
		add_net(run, i);
	if (r == 0)
		r = add_process(run, err);
	if (r == 0)
		r = add_initrd(run, err);
	if (r == 0)
		r = rundir_create(&run->dir, j->name, err);
	if (r == 0)
		r = add_vsock(run, err);
	if (r == 0)
		r = job_sockets_look(&run->sockets, err);
	/* Last: whoever finds it finds a machine that can be spoken to. */
	return r == 0 ? rundir_describe(run->dir, j->image ? j->image : run->o->root,
				run->job.process.argv, err)
		      : r;
}

/* ---- the end ---- */

/* The last lines of a guest that did not come so far as to speak for itself. */
static void say_tail(struct machine *machine)
{
	char text[TAIL_BYTES], *line = text, *end;

	if (!machine_console_tail(machine, text, sizeof(text)))
		return;
	if (strlen(text) == sizeof(text) - 1 && (end = strchr(text, '\n')))
		line = end + 1; /* the first is cut */
	for (; line && *line; line = end ? end + 1 : NULL) {
		end = strchr(line, '\n');
		if (end)
			*end = 0;
		if (*line)
			log_error("guest: %s", line);
	}
}

static int machine_status(struct run *run, struct machine *machine,
	const struct machine_result *result, const struct job_outcome *outcome)
{
	struct error err;

	switch (result->end) {
	case MACHINE_SIGNALLED:
	case MACHINE_LEFT:
	case MACHINE_TIMED_OUT:
		run_say_end(run->c, result);
		return status_of_result(result);
	default:
		break;
	}
	error_set(&err, ERROR_MACHINE, EPIPE, "the guest ended before its command: it %s%s%s",
		result->end == MACHINE_PANICKED	     ? "panicked"
		: result->end == MACHINE_REBOOTED    ? "rebooted"
		: result->end == MACHINE_POWERED_OFF ? "powered off"
						     : "gave up",
		*outcome->text ? ": " : "", outcome->text);
	report(&err);
	say_tail(machine);
	return EXIT_JOB;
}

/* What the guest calls by its tag is, for a person, an option's value. */
static void name_share(const struct run *run, const char *text, char *line, size_t size)
{
	const char *at = strstr(text, "share");
	unsigned n = 0;
	int used = 0;

	if (at && sscanf(at, "share%u%n", &n, &used) == 1 && n < run->c->shares)
		snprintf(line, size, "%.*s%s%s", (int)(at - text), text, run->c->share[n].source,
			at + used);
	else
		snprintf(line, size, "%s", text);
}

static int say_failed(const struct run *run, const struct job_outcome *outcome)
{
	char line[900];
	struct error err;

	if (outcome->why != AGENT_FAILED_SETUP)
		snprintf(line, sizeof(line), "%s", outcome->text);
	else
		name_share(run, outcome->text, line, sizeof(line));
	error_set(&err, ERROR_MACHINE, EIO, "%s%s", line,
		outcome->why == AGENT_FAILED_SETUP && outcome->status == ENODEV
			? "; the kernel has no such file system: take another kernel"
			: "");
	report(&err);
	return status_of_failed(outcome->why);
}

static int job_status(struct run *run, struct machine *machine, const struct machine_result *result,
	const struct job_outcome *outcome)
{
	switch (outcome->end) {
	case JOB_EXITED:
		return outcome->status & 0xff;
	case JOB_KILLED:
	case JOB_SIGNALLED:
	case JOB_NO_READER:
		return EXIT_SIGNAL_BASE + outcome->status;
	case JOB_FAILED:
		return say_failed(run, outcome);
	case JOB_TIMED_OUT:
		log_warn("stopped: --timeout ran out after %u.%03u s", run->job.timeout_ms / 1000,
			run->job.timeout_ms % 1000);
		return EXIT_TIMED_OUT;
	case JOB_NO_GUEST:
		log_error(
			"the guest did not start its init within %d s of its own; what its console said last:",
			BOOT_LIMIT_MS / 1000);
		say_tail(machine);
		return EXIT_JOB;
	case JOB_OUTPUT:
		log_error("%s", outcome->text);
		return EXIT_JOB;
	case JOB_NOT_OVER:
	case JOB_LOST:
		break;
	}
	return machine_status(run, machine, result, outcome);
}

static int start(struct run *run, struct error *err)
{
	struct machine_result result = { 0 };
	struct machine *machine = NULL;
	struct job *job = NULL;
	int r, status = EXIT_JOB;

	r = job_create(&job, &run->job, take_fd(&run->our_end), err);
	if (r == 0)
		r = machine_create(&machine, run->c, err);
	run_close_images(run->c);
	if (r == 0)
		r = machine_run(machine, job_attendant(job), &result, err);
	if (r < 0)
		report(err);
	else
		status = job_status(run, machine, &result, job_outcome(job));
	job_destroy(job);
	machine_destroy(machine);
	return status;
}

int run_job(struct options *o, struct error *err)
{
	struct run run = { .o = o, .c = &o->config, .our_end = -1 };
	int status = EXIT_JOB;

	if (run.c->console == VM_CONSOLE_STDIO)
		run.c->console = VM_CONSOLE_KEEP;
	if (prepare(&run, err) < 0)
		report(err);
	else
		status = start(&run, err);
	cleanup_close_fd(&run.our_end);
	rundir_destroy(run.dir);
	environment_free(run.env);
	image_close(run.image);
	return status;
}
