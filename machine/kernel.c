#include "machine/machine.h"

#include "boot/boot.h"
#include "vmm/sandbox.h"

#include <stdio.h>

int machine_kernel_version(const char *path, char *buf, size_t size, struct error *err)
{
	struct boot_kernel *kernel;
	const char *version;
	int r = boot_kernel_open(&kernel, path, err);

	if (r < 0) {
		error_prefix(err, "--kernel");
		return r;
	}
	version = boot_kernel_version(kernel);
	snprintf(buf, size, "%s", version ? version : "");
	boot_kernel_close(kernel);
	return buf[0] ? 0 : 1;
}

void machine_close_inherited(void)
{
	sandbox_close_inherited();
}
