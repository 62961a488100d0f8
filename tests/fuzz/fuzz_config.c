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
	if (r == 0) {
		const struct vm_config *c = &o.config;

		if (!c->kernel || !c->cpus || c->cpus > VM_CPUS_MAX || !c->memory ||
			c->memory % 4096 || c->disks > VM_DISKS_MAX || c->nets > VM_NETS_MAX ||
			!c->workers || c->workers > VM_WORKERS_MAX)
			abort();
		for (unsigned i = 0; i < c->disks; i++)
			if (!strlen(c->disk[i].path))
				abort();
	}
	options_release(&o);
	close(fd);
	return 0;
}
