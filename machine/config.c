#include "machine/config.h"

#include "util/macros.h"

#include <errno.h>

void vm_config_init(struct vm_config *config)
{
	*config = (struct vm_config){
		.kernel_fd = -1,
		.initrd_fd = -1,
		.vsock = { .agent_fd = -1, .listen_fd = -1 },
		.cpus = 1,
		.memory = 512 * MIB,
		.workers = 1,
		.hw = VM_HW_ACPI,
		.console = VM_CONSOLE_STDIO,
		.sandbox = true,
		.violation_status = 1,
	};
}

int vm_config_check(const struct vm_config *config, struct error *err)
{
	if (config->cpus < 1 || config->cpus > VM_CPUS_MAX)
		return error_set(err, ERROR_USAGE, EINVAL, "--cpus %u: must be 1 to %d",
			config->cpus, VM_CPUS_MAX);
	if (config->workers < 1 || config->workers > VM_WORKERS_MAX)
		return error_set(err, ERROR_USAGE, EINVAL, "--workers %u: must be 1 to %d",
			config->workers, VM_WORKERS_MAX);
	if (config->memory % (4 * KIB))
		return error_set(err, ERROR_USAGE, EINVAL,
			"--memory %llu: must be a multiple of 4096 bytes",
			(unsigned long long)config->memory);
	if (config->console == VM_CONSOLE_FILE && (!config->console_path || !*config->console_path))
		return error_set(err, ERROR_USAGE, EINVAL, "--console file=: no file name");
	return 0;
}
