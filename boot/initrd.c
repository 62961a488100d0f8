/* The initial RAM disk: one regular file, read whole. */
#include "boot/describe.h"
#include "boot/image.h"

#include "util/macros.h"

#include <errno.h>
#include <sys/stat.h>

uint64_t boot_memory_needed(const struct boot_kernel *k, uint64_t initrd_size)
{
	uint64_t kernel = align_up(k->end, 4096);

	if (initrd_size > UINT64_MAX / 2)
		return UINT64_MAX;
	return MAX(kernel + align_up(initrd_size, 4096), MEMORY_MIN);
}

static int check_size(const char *name, const struct boot_params_in *in,
	const struct guest_memory *mem, uint64_t size, struct error *err)
{
	uint64_t need = boot_memory_needed(in->kernel, size);

	if (need > LAYOUT_HOLE_START)
		return error_set(err, ERROR_IMAGE, EFBIG,
			"initrd %s: %llu MiB is more than fits below 3 GiB beside the kernel", name,
			(unsigned long long)(size / MIB));
	if (need > memory_low_end(mem))
		return error_set(err, ERROR_IMAGE, ENOMEM,
			"initrd %s: kernel and initrd need at least %llu MiB of memory to be loaded, "
			"the machine has %llu MiB: give more --memory",
			name, (unsigned long long)(align_up(need, MIB) / MIB),
			(unsigned long long)(mem->bytes / MIB));
	return 0;
}

/* @size is not 0 and fits above the kernel. */
static int place(const char *name, const struct boot_params_in *in, const struct guest_memory *mem,
	struct boot_placed *placed, struct error *err)
{
	uint64_t size = placed->initrd_size;
	gpa_t limit = MIN(memory_low_end(mem), in->kernel->setup.initrd_addr_max + 1ULL);
	void *to;
	int r;

	if (limit < size || align_down(limit - size, 4096) < in->kernel->end)
		return error_set(err, ERROR_IMAGE, EFBIG,
			"initrd %s: does not fit between the kernel and %#llx, the highest address "
			"this kernel takes an initrd at",
			name, (unsigned long long)limit);
	placed->initrd = align_down(limit - size, 4096);
	to = memory_at(mem, placed->initrd, size);
	r = to ? image_read(in->initrd_fd, to, size, 0) : -EFAULT;
	if (r == -ENODATA)
		return error_set(err, ERROR_IMAGE, EIO,
			"initrd %s: the file became shorter while it was read", name);
	if (r < 0)
		return error_set(err, ERROR_IMAGE, -r, "initrd %s: cannot read it: %m", name);
	return 0;
}

int boot_initrd(const struct guest_memory *mem, const struct boot_params_in *in,
	struct boot_placed *placed, struct error *err)
{
	const char *name = in->initrd_name ? in->initrd_name : "(built)";
	struct stat st;
	int r;

	if (in->initrd_fd < 0)
		return 0;
	if (fstat(in->initrd_fd, &st) < 0)
		return error_set(err, ERROR_IMAGE, errno, "initrd %s: %m", name);
	if (!S_ISREG(st.st_mode))
		return error_set(err, ERROR_IMAGE, S_ISDIR(st.st_mode) ? EISDIR : EINVAL,
			"initrd %s: %s: give a cpio archive", name,
			S_ISDIR(st.st_mode) ? "is a directory" : "not a regular file");
	if (!st.st_size)
		return error_set(err, ERROR_IMAGE, ENOEXEC, "initrd %s: the file is empty", name);
	placed->initrd_size = (uint64_t)st.st_size;
	r = check_size(name, in, mem, placed->initrd_size, err);
	if (r < 0)
		return r;
	return place(name, in, mem, placed, err);
}
