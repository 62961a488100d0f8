/*
 * What the configuration makes of the machine, and of the job in it.
 */
#include "oci/container.h"
#include "oci/process.h"

#include "rootfs/kernel.h"
#include "rootfs/rootfs.h"
#include "util/cleanup.h"
#include "util/macros.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	BOOT_LIMIT_MS = 60 * 1000,
	CPUS_USUAL =
		4 /* at most so many where nobody says how many; each costs time at the start */
};

#define MEMORY_USUAL (1024 * MIB)
#define MEMORY_LEAST (64 * MIB)

/* ---- the size ---- */

static unsigned host_cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

/* A quota of so many CPUs' time is a machine of so many, rounded up. */
static unsigned wanted_cpus(const struct oci_config *o)
{
	const struct oci_resources *r = &o->resources;
	uint64_t period = r->has_cpu_period && r->cpu_period ? r->cpu_period : 100000;
	uint64_t n = MIN(host_cpus(), (unsigned)CPUS_USUAL);

	if (o->vm.cpus)
		n = o->vm.cpus;
	else if (r->has_cpu_quota && r->cpu_quota > 0)
		n = ((uint64_t)r->cpu_quota + period - 1) / period;
	n = MAX(n, (uint64_t)1);
	return (unsigned)MIN(n, (uint64_t)VM_CPUS_MAX);
}

uint64_t container_memory(const struct oci_config *o)
{
	const struct oci_resources *r = &o->resources;
	uint64_t bytes = MEMORY_USUAL;

	if (o->vm.memory)
		bytes = o->vm.memory;
	else if (r->has_memory_limit && r->memory_limit > 0)
		bytes = (uint64_t)r->memory_limit;
	return align_up(MAX(bytes, (uint64_t)MEMORY_LEAST), 2 * MIB);
}

/* ---- what it boots ---- */

static int find_kernel(struct container *c, struct error *err)
{
	static char found[4096];
	const char *wanted = c->config->vm.kernel;
	int r;

	c->vm.modules = c->config->vm.modules;
	c->vm.kernel = wanted ? wanted : found;
	r = wanted ? 0 : rootfs_find_kernel(found, sizeof(found), c->vm.modules, err);
	c->vm.append = c->config->vm.kernel_parameters;
	return r;
}

static int make_initrd(struct container *c, struct error *err)
{
	char version[128];
	struct rootfs_needs needs = {
		.modules_dir = c->vm.modules, .net = c->vm.nets > 0, .supervise = true, .fs = true
	};
	int r = machine_kernel_version(c->vm.kernel, version, sizeof(version), err);

	needs.kernel_version = r >= 0 && *version ? version : NULL;
	return r < 0 ? r : rootfs_initramfs(&c->vm.initrd_fd, &needs, err);
}

/* ---- its devices ---- */

static void add_share(struct container *c, const char *source, bool read_only)
{
	struct vm_share *share = &c->vm.share[c->vm.shares];

	*share = (struct vm_share){ .source = source, .read_only = read_only };
	snprintf(share->tag, sizeof(share->tag), "share%u", c->vm.shares++);
}

static int add_shares(struct container *c, struct error *err)
{
	static char binds[64];
	int r = mounts_collect(c, err);

	if (r < 0)
		return r;
	snprintf(binds, sizeof(binds), "/proc/self/fd/%d", c->binds_tree);
	add_share(c, c->rootfs, c->config->root_read_only);
	add_share(c, binds, false);
	c->job_config.root = (struct agent_root){ .kind = AGENT_ROOT_VIRTIOFS,
		.source = c->vm.share[0].tag,
		.flags = c->config->root_read_only ? AGENT_ROOT_READ_ONLY : 0 };
	return mounts_tell(c, err);
}

/* The guest program's connection, and the socket that `exec` dials. Returns our end of the first. */
static int add_vsock(struct container *c, struct error *err)
{
	struct vm_vsock *v = &c->vm.vsock;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int pair[2];

	v->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/vsock", c->state->dir);
	if (v->listen_fd < 0 || bind(v->listen_fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
		listen(v->listen_fd, 64) < 0)
		return error_set(err, ERROR_HOST, errno, "cannot make the container's socket: %m");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return error_set(err, ERROR_HOST, errno, "cannot make a pair of sockets: %m");
	v->present = true;
	v->agent_fd = pair[1];
	return pair[0];
}

static void add_sysctls(struct container *c)
{
	const struct oci_config *o = c->config;
	struct job_config *j = &c->job_config;

	for (size_t i = 0; i < o->sysctl.count && j->sysctls < ARRAY_SIZE(c->sysctl) - 1; i++)
		c->sysctl[j->sysctls++] =
			(struct job_sysctl){ o->sysctl.list[i].key, o->sysctl.list[i].value };
	if (o->domainname)
		c->sysctl[j->sysctls++] = (struct job_sysctl){ "kernel.domainname", o->domainname };
	j->sysctl = c->sysctl;
}

static int add_process(struct container *c, struct error *err)
{
	struct agent_process *p = &c->job_config.process;
	static struct oci_agent_extra extra; /* for as long as the process lives */
	int r = oci_process_to_agent(&c->config->process, c->config->seccomp, p, &extra, err);

	p->flags |= AGENT_START_STDIN | AGENT_START_MAKE_CWD;
	return r;
}

int container_build(struct container *c, struct error *err)
{
	const struct oci_config *o = c->config;
	struct job_config *j = &c->job_config;
	int r, fd = -1;

	c->vm.cpus = wanted_cpus(o);
	c->vm.memory = container_memory(o);
	c->vm.console = VM_CONSOLE_KEEP;
	c->vm.violation_status = 125;
	c->vm.all_signals = true;
	if (o->vm.workers)
		c->vm.workers = o->vm.workers;
	r = find_kernel(c, err);
	if (r == 0)
		r = add_shares(c, err);
	if (r == 0)
		r = add_process(c, err);
	if (r == 0)
		r = make_initrd(c, err);
	if (r == 0)
		r = fd = add_vsock(c, err);
	if (r < 0)
		return r;
	add_sysctls(c);
	j->held = j->lasting = j->own_files = true;
	j->hostname = o->hostname ? o->hostname : "microvm";
	j->boot_limit_ms = BOOT_LIMIT_MS;
	j->signals_to = AGENT_SIGNAL_PROCESS;
	r = job_create(&c->job, j, fd, err);
	if (r == 0)
		r = machine_create(&c->machine, &c->vm, err);
	cleanup_close_fd(&c->vm.initrd_fd);
	return r;
}
