/*
 * `microvm run`: options in, an exit status out.
 */
#include "cli/run.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/rundir.h"
#include "cli/status.h"

#include "machine/machine.h"
#include "rootfs/kernel.h"
#include "rootfs/rootfs.h"
#include "rootfs/vmlinux.h"
#include "util/cleanup.h"
#include "util/log.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int print_version(void)
{
	return printf("microvm %s\n", MICROVM_VERSION) < 0 || fflush(stdout) ? EXIT_INTERNAL : 0;
}

int report(const struct error *err)
{
	char line[sizeof(err->msg)];

	/* A file name may hold anything; this is one line all the same. */
	snprintf(line, sizeof(line), "%s", err->msg);
	for (char *c = line; *c; c++)
		if (iscntrl((unsigned char)*c))
			*c = '?';
	log_error("%s", line);
	return status_of_error(err->kind);
}

static int help(void)
{
	printf("usage: microvm run [OPTION]... -- CMD [ARGUMENT]...\n"
	       "       microvm run [OPTION]...\n\n"
	       "Starts a virtual machine and waits for its end: one that runs a command, or one that\n"
	       "starts its root's own init. --OPTION VALUE and --OPTION=VALUE are the same.\n"
	       "On a machine's console Ctrl-A x stops it; Ctrl-A h shows the other keys.\n\n");
	options_print_help(false);
	printf("\nExit status: the command's; without one, that which the guest reports (port 0xf4),\n"
	       "0 when it powers off, and others for other ends: see microvm(1).\n");
	return fflush(stdout) ? EXIT_INTERNAL : 0;
}

int run_kernel_version(const struct vm_config *c, char *buf, size_t size, struct error *err)
{
	int r = machine_kernel_version(c->kernel, buf, size, err);

	return r < 0 ? r : 0;
}

bool run_wants_signatures(const struct vm_config *c)
{
	return c->append && (strstr(c->append, "sig_enforce") || strstr(c->append, "lockdown="));
}

/*
 * A stock kernel has its drivers in modules, so a root disk alone does not boot: make the small
 * initial RAM disk that loads them. A kernel without modules has all it needs built in.
 */
static int make_initrd(struct vm_config *c, struct error *err)
{
	char version[128];
	struct rootfs_needs needs = {
		.kernel_version = version,
		.modules_dir = c->modules,
		.root_image = c->disk[0].path,
		.root_read_only = c->disk[0].read_only,
		.net = c->nets > 0,
		.console = c->console != VM_CONSOLE_NONE,
		.signatures = run_wants_signatures(c),
	};
	struct stat st;
	int r;

	/* A disk that is none: machine_create() says it best. */
	if (stat(c->disk[0].path, &st) < 0 || S_ISDIR(st.st_mode) ||
		(S_ISREG(st.st_mode) && !st.st_size))
		return 0;
	r = run_kernel_version(c, version, sizeof(version), err);
	if (r < 0)
		return r;
	if (!*version) {
		log_debug("%s: says no version: no initial RAM disk is made", c->kernel);
		return 0;
	}
	r = rootfs_initramfs(&c->initrd_fd, &needs, err);
	if (r > 0 && c->modules) { /* they were asked for */
		err->kind = ERROR_IMAGE;
		error_prefix(err, "--modules");
		return -ENOENT;
	}
	if (r > 0)
		log_info("no initial RAM disk is made: %s", err->msg);
	return r < 0 ? r : 0;
}

void run_say_end(const struct vm_config *c, const struct machine_result *result)
{
	switch (result->end) {
	case MACHINE_PANICKED:
		log_warn("the guest's kernel panicked");
		break;
	case MACHINE_TIMED_OUT:
		log_warn("stopped: --timeout ran out after %u.%03u s", c->timeout_ms / 1000,
			c->timeout_ms % 1000);
		break;
	case MACHINE_REBOOTED:
		log_info("the guest asked for a reboot");
		break;
	case MACHINE_REPORTED:
		log_info("the guest reported status %d", result->status);
		break;
	case MACHINE_POWERED_OFF:
		log_info("the guest powered off");
		break;
	case MACHINE_SIGNALLED:
		log_info("stopped by signal %d (%s)", result->status, strsignal(result->status));
		break;
	case MACHINE_LEFT:
	case MACHINE_DISMISSED:
	case MACHINE_FAILED:
		break;
	}
}

/* So that others find it: `microvm ps`, and whoever wants to speak with it over vsock. */
static int announce(struct options *o, struct rundir **dir, struct error *err)
{
	struct vm_config *c = &o->config;
	int r = rundir_create(dir, o->job.name, err);

	if (r == 0)
		r = rundir_describe(*dir, o->root ? o->root : c->kernel, NULL, err);
	if (r == 0 && o->job.vsock) {
		c->vsock.present = true;
		c->vsock.prefix = o->job.vsock;
		r = c->vsock.listen_fd = rundir_listen(*dir, o->job.vsock, err);
	}
	return r < 0 ? r : 0;
}

static int run_machine(struct options *o, struct error *err)
{
	struct vm_config *c = &o->config;
	struct machine_result result = { 0 };
	struct machine *machine = NULL;
	struct rundir *dir = NULL;
	int r = 0;

	if (c->make_initrd)
		r = make_initrd(c, err);
	if (r == 0)
		r = announce(o, &dir, err);
	if (r == 0)
		r = machine_create(&machine, c, err);
	run_close_images(c);
	if (r == 0)
		r = machine_run(machine, NULL, &result, err);
	machine_destroy(machine);
	rundir_destroy(dir);
	if (r < 0)
		return report(err);
	run_say_end(c, &result);
	return status_of_result(&result);
}

void run_close_images(struct vm_config *c)
{
	cleanup_close_fd(&c->kernel_fd);
	cleanup_close_fd(&c->initrd_fd);
	c->kernel_fd = c->initrd_fd = -1;
}

/* Find a kernel where none was named; unpack it where that can be done. */
static int find_kernel(struct vm_config *c, char *found, size_t size, struct error *err)
{
	struct error why;

	if (!c->kernel) {
		int r = rootfs_find_kernel(found, size, c->modules, err);

		if (r < 0)
			return r;
		c->kernel = found;
		log_debug("kernel: %s", found);
	}
	if (rootfs_vmlinux(&c->kernel_fd, c->kernel, &why) != 0)
		log_debug("%s", why.msg);
	return 0;
}

static int run(struct options *o, struct error *err)
{
	struct vm_config *c = &o->config;
	bool job = o->job.command || o->job.image;
	char kernel[4096];
	int status;

	c->violation_status = job ? EXIT_JOB : EXIT_MACHINE;
	if (!c->sandbox)
		log_warn("--no-sandbox: all privileges are kept, no system call is filtered");
	if (find_kernel(c, kernel, sizeof(kernel), err) < 0) {
		status = report(err);
		return job ? EXIT_JOB : status;
	}
	status = job ? run_job(o, err) : run_machine(o, err);
	run_close_images(c);
	return status;
}

/* As far as can be told where the options could not be read. */
static bool is_job(const struct options *o, int argc, char **argv)
{
	bool job = o->job.command || o->job.image;

	for (int i = 0; i < argc && !job; i++)
		job = !strcmp(argv[i], "--");
	return job;
}

int command_run(int argc, char **argv)
{
	struct error err = { 0 };
	struct options o;
	int r, status;

	options_init(&o);
	r = options_parse(&o, argc, argv, &err);
	log_setup(o.log_level, o.log_format);
	if (r < 0) {
		status = report(&err);
		if (is_job(&o, argc, argv))
			status = EXIT_JOB;
	} else if (o.help) {
		status = help();
	} else if (o.version) {
		status = print_version();
	} else {
		/* Not before: the config file may be /dev/fd/63, a shell's way to pass a text. */
		machine_close_inherited();
		status = run(&o, &err);
	}
	options_release(&o);
	return status;
}
