/*
 * What the guest boots from, on the host's side: the small initramfs for kernels whose drivers are
 * modules.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>

/* What the initramfs must bring to life. */
struct rootfs_needs {
	const char *kernel_version; /* as in the bzImage header */
	const char *modules_dir;    /* NULL: /lib/modules/VERSION */
	const char
		*root_image; /* raw image whose file system decides a module; NULL: no root disk */
	bool root_read_only;
	bool net;     /* virtio_net */
	bool console; /* virtio_console */
};

/*
 * Build the initramfs and return an open, sealed descriptor (memfd) in *@fd, ready for boot/, with
 * the modules this machine's devices and root file system need, in dependency order, unpacked
 * (.ko, .ko.xz, .ko.zst), and the guest program as /init.
 * Returns 1 and *@fd = -1 if there are no modules for this kernel (nothing to build; *@err says
 * where it looked), 0 on success, or -errno with ERROR_IMAGE for broken or unsuitable modules.
 */
int rootfs_initramfs(int *fd, const struct rootfs_needs *needs, struct error *err);
