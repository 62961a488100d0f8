/*
 * Any file as a kernel: refused, or loaded inside guest memory with an entry that is RAM. The first
 * byte chooses the hardware description and whether the file serves as initrd, too; the rest is
 * the file.
 */
#include "boot/boot.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MEMORY (8 * 1024 * 1024)

static const struct boot_device device = { LAYOUT_VIRTIO, LAYOUT_VIRTIO_STRIDE,
	LAYOUT_VIRTIO_GSI_BASE };

static void load(const struct boot_kernel *kernel, uint8_t how, int fd)
{
	struct boot_params_in in = {
		.kernel = kernel,
		.initrd_fd = how & 4 ? fd : -1,
		.cmdline = "quiet -- x",
		.cpus = 1 + how % 64,
		.hw = (how & 3) % 3,
		.devices = 1,
		.device = &device,
	};
	struct guest_memory mem;
	struct boot_entry entry;
	struct error err;

	if (memory_create(&mem, MEMORY, NULL) < 0)
		abort();
	if (!boot_load(&mem, &in, &entry, &err) &&
		(entry.rip < LAYOUT_HIGH_RAM || !memory_at(&mem, entry.rip, 1)))
		abort();
	memory_destroy(&mem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct boot_kernel *kernel;
	struct error err;
	int fd;

	if (!size)
		return 0;
	fd = memfd_create("kernel", MFD_CLOEXEC);
	if (fd < 0 || write(fd, data + 1, size - 1) != (ssize_t)size - 1)
		abort();
	if (!boot_kernel_from_fd(&kernel, dup(fd), "fuzz", &err)) {
		boot_kernel_version(kernel);
		load(kernel, data[0], fd);
		boot_kernel_close(kernel);
	}
	close(fd);
	return 0;
}
