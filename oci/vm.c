/*
 * What the configuration makes of the machine, and of the job in it.
 */
#include "oci/container.h"
#include "oci/devices.h"
#include "oci/process.h"

#include "rootfs/kernel.h"
#include "rootfs/probe.h"
#include "rootfs/rootfs.h"
#include "rootfs/vmlinux.h"
#include "util/cleanup.h"
#include "util/log.h"
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

/* ---- the size ---- */

static unsigned host_cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

/* Annotations, limits and the like were looked at by oci_config_machine(). */
static unsigned wanted_cpus(const struct oci_config *o)
{
	return o->vm.cpus ? o->vm.cpus : MIN(host_cpus(), (unsigned)CPUS_USUAL);
}

uint64_t container_memory(const struct oci_config *o)
{
	return o->vm.memory ? o->vm.memory : MEMORY_USUAL;
}

/* ---- what it boots ---- */

/* The words of the configuration were checked when it was read. */
static enum vm_hw hw_of(const char *word)
{
	return !word || !strcmp(word, "acpi") ? VM_HW_ACPI
	       : !strcmp(word, "fdt")	      ? VM_HW_FDT
					      : VM_HW_CMDLINE;
}

static enum vm_cache cache_of(const char *word)
{
	return !word || !strcmp(word, "auto") ? VM_CACHE_AUTO
	       : !strcmp(word, "none")	      ? VM_CACHE_NONE
					      : VM_CACHE_ALWAYS;
}

static int find_kernel(struct container *c, struct error *err)
{
	static char found[4096];
	const struct oci_vm *vm = &c->config->vm;
	struct error why;

	c->vm.modules = vm->modules;
	c->vm.kernel = vm->kernel ? vm->kernel : found;
	c->vm.append = vm->kernel_parameters;
	c->vm.hw = hw_of(vm->hw);
	c->vm.initrd = vm->initrd;
	if (!vm->kernel && rootfs_find_kernel(found, sizeof(found), vm->modules, err) < 0)
		return -ENOENT;
	if (rootfs_vmlinux(&c->vm.kernel_fd, c->vm.kernel, &why) != 0)
		log_debug("%s", why.msg);
	return 0;
}

static int make_initrd(struct container *c, struct error *err)
{
	char version[128];
	struct rootfs_needs needs = { .modules_dir = c->vm.modules,
		.root_image = c->config->vm.image,
		.net = c->vm.nets > 0,
		.supervise = true,
		.disk = c->vm.disks > 0,
		.fs = true,
		.tun = oci_config_has_device(c->config, 10, 200) };
	int r;

	if (c->vm.initrd)
		return 0;
	r = machine_kernel_version(c->vm.kernel, version, sizeof(version), err);
	needs.kernel_version = r >= 0 && *version ? version : NULL;
	return r < 0 ? r : rootfs_initramfs(&c->vm.initrd_fd, &needs, err);
}

/* ---- its devices ---- */

static void add_share(struct container *c, const char *source, bool read_only)
{
	struct vm_share *share = &c->vm.share[c->vm.shares];

	*share = (struct vm_share){
		.source = source, .read_only = read_only, .cache = cache_of(c->config->vm.cache)
	};
	snprintf(share->tag, sizeof(share->tag), "share%u", c->vm.shares++);
}

/* vm.image: a raw image of a file system in the place of the directory. */
static int image_root(struct container *c, struct error *err)
{
	static char device[24];
	struct probe_root probed;
	int r = probe_root(&probed, c->config->vm.image, err);

	if (r < 0) {
		error_prefix(err, "vm.image");
		return r;
	}
	snprintf(device, sizeof(device), probed.partition ? "/dev/vda%u" : "/dev/vda",
		probed.partition);
	c->vm.disk[c->vm.disks++] =
		(struct vm_disk){ c->config->vm.image, c->config->root_read_only };
	c->job_config.root = (struct agent_root){
		.kind = AGENT_ROOT_BLOCK, .source = device, .types = probed.fstype
	};
	return 0;
}

static int add_shares(struct container *c, struct error *err)
{
	static char binds[64];
	int r = mounts_collect(c, err);

	if (r < 0)
		return r;
	snprintf(binds, sizeof(binds), "/proc/self/fd/%d", c->binds_tree);
	add_share(c, binds, false);
	if (c->config->vm.image) {
		r = image_root(c, err);
	} else {
		/* Mount points may have to be made; then the guest makes it read-only. */
		add_share(c, c->rootfs, false);
		c->job_config.root = (struct agent_root){ .kind = AGENT_ROOT_VIRTIOFS,
			.source = c->vm.share[1].tag };
	}
	if (c->config->root_read_only)
		c->job_config.root.flags |= AGENT_ROOT_READ_ONLY;
	if (r == 0)
		r = descriptors_tell(c, err);
	return r == 0 ? mounts_tell(c, err) : r;
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

static int add_sysctls(struct container *c, struct error *err)
{
	const struct oci_config *o = c->config;
	struct job_config *j = &c->job_config;

	if (o->sysctl.count >= ARRAY_SIZE(c->sysctl))
		return error_set(err, ERROR_USAGE, E2BIG, "linux.sysctl: %zu of them: at most %zu",
			o->sysctl.count, ARRAY_SIZE(c->sysctl) - 1);
	for (size_t i = 0; i < o->sysctl.count; i++)
		c->sysctl[j->sysctls++] =
			(struct job_sysctl){ o->sysctl.list[i].key, o->sysctl.list[i].value };
	if (o->domainname)
		c->sysctl[j->sysctls++] = (struct job_sysctl){ "kernel.domainname", o->domainname };
	j->sysctl = c->sysctl;
	return 0;
}

/*
 * What is set around the machine is set within as well, as far as it means something there: for
 * whoever looks at his own group.
 */
static void add_group(struct container *c)
{
	const struct oci_pairs *unified = &c->config->resources.unified;
	struct job_config *j = &c->job_config;

	j->grouped = true;
	j->group_file = c->group_file;
	for (size_t i = 0; i < MIN(unified->count, ARRAY_SIZE(c->group_file)); i++)
		c->group_file[j->group_files++] =
			(struct job_sysctl){ unified->list[i].key, unified->list[i].value };
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
	struct oci_device_filter devices;
	int r, fd = -1;

	j->pid_namespace = o->ns[OCI_NS_PID].present && !o->ns[OCI_NS_PID].path;
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
		r = notify_tell(c, err);
	if (r == 0)
		r = make_initrd(c, err);
	if (r == 0)
		r = add_sysctls(c, err);
	if (r == 0)
		r = fd = add_vsock(c, err);
	if (r < 0)
		return r;
	add_group(c);
	r = oci_device_filter(&devices, &o->resources);
	if (r < 0)
		return error_set(err, ERROR_USAGE, -r,
			"linux.resources.devices: %zu rules are too many: %s",
			o->resources.device_rules, strerror(-r));
	j->device_filter = devices.program; /* for as long as the process lives */
	j->device_filter_bytes = devices.bytes;
	if (o->resources.has_pids && o->resources.pids > 0)
		j->pids = (uint64_t)o->resources.pids;
	j->held = j->lasting = j->own_files = j->pass_ends = true;
	/* Without one, that of the namespace: another's, as in a pod, or what the host's was. */
	if (gethostname(c->hostname, sizeof(c->hostname)) < 0 || !*c->hostname)
		strcpy(c->hostname, "microvm");
	j->hostname = o->hostname ? o->hostname : c->hostname;
	j->boot_limit_ms = BOOT_LIMIT_MS;
	j->signals_to = AGENT_SIGNAL_PROCESS;
	r = job_create(&c->job, j, fd, err);
	if (r == 0)
		r = machine_create(&c->machine, &c->vm, err);
	cleanup_close_fd(&c->vm.kernel_fd);
	cleanup_close_fd(&c->vm.initrd_fd);
	return r;
}
