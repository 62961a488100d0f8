/*
 * The config file and the values in it: any bytes as a file. What is accepted must hold what a
 * machine may be; what is refused must say so in one line.
 */
#include "cli/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static bool is_guest_path(const char *path)
{
	return path[0] == '/' && !strstr(path, "/../") && !strstr(path, "/./");
}

/* What a file that was taken may have made of a machine. (A kernel may be missing: one is found.) */
static void check_accepted(const struct options *o)
{
	const struct vm_config *c = &o->config;
	const struct job_options *job = &o->job;

	must(c->cpus && c->cpus <= VM_CPUS_MAX);
	must(c->memory && c->memory % 4096 == 0);
	must(c->workers && c->workers <= VM_WORKERS_MAX);
	must(c->disks <= VM_DISKS_MAX && c->nets <= VM_NETS_MAX);
	for (unsigned i = 0; i < c->disks; i++)
		must(c->disk[i].path[0]);
	must(!job->words == !job->command);
	must(job->volumes <= JOB_VOLUMES_MAX && job->tmpfses <= JOB_TMPFS_MAX);
	for (unsigned i = 0; i < job->volumes; i++)
		must(is_guest_path(job->volume[i].target));
	for (unsigned i = 0; i < job->tmpfses; i++)
		must(is_guest_path(job->tmpfs[i].target));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[64], *argv[] = { (char[]){ "--config" }, path };
	int fd = memfd_create("config", MFD_CLOEXEC);
	struct error err = { 0 };
	struct options o;
	int r;

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	options_init(&o);
	r = options_parse(&o, 2, argv, &err);
	if (r < 0 && (!err.kind || !err.msg[0]))
		abort();
	if (r == 0)
		check_accepted(&o);
	options_release(&o);
	close(fd);
	return 0;
}
