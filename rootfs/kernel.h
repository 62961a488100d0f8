/*
 * Which kernel a machine starts that was not told one.
 */
#pragma once

#include "util/error.h"

#include <stddef.h>

/* Where kernels are looked for, in this order. NULL: not there. */
struct rootfs_kernel_places {
	const char *chosen; /* a file, taken as it is: $MICROVM_KERNEL */
	/*
	 * Kernels made for microvm: vmlinux*, vmlinuz* and bzImage*, with or without modules; the
	 * newest by the version in the name (strverscmp(3)), and of several the uncompressed one.
	 */
	const char *own_dir;
	const char *boot_dir;	  /* vmlinuz-VERSION: the newest whose modules are there */
	const char *modules_root; /* VERSION/modules.dep */
};

/*
 * Put the path of a kernel that this user can read into @path of @size bytes. With @modules_dir
 * (--modules; NULL: not given) a kernel of boot_dir must have its modules there: the directory
 * itself, its VERSION or its lib/modules/VERSION.
 *
 * Returns 0, or -errno with ERROR_IMAGE: none was found; one line says where it looked, what was
 * there all the same and why that will not do, and what to try. Main thread, before the walls.
 */
int rootfs_find_kernel(char *path, size_t size, const char *modules_dir, struct error *err);

/* The same, elsewhere. */
int rootfs_find_kernel_in(char *path, size_t size, const char *modules_dir,
	const struct rootfs_kernel_places *places, struct error *err);
