/*
 * What the guest boots from, on the host's side: the small initramfs for kernels whose drivers are
 * modules.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>

/* What the initramfs must bring to life. */
struct rootfs_needs {
	const char *kernel_version; /* as in the bzImage header; NULL: not known */
	/*
	 * The directory with modules.dep, or one that has it in VERSION/ or lib/modules/VERSION/.
	 * NULL: /lib/modules/VERSION.
	 */
	const char *modules_dir;
	/*
	 * Raw image whose file system decides a module, and whose partition table (if it has one)
	 * decides which partition root=/dev/vda means. NULL: no root disk.
	 */
	const char *root_image;
	bool root_read_only; /* the disk is attached read-only: the guest mounts it so */
	bool net;	     /* virtio_net */
	bool console;	     /* virtio_console */
	/*
	 * The guest's kernel was told to load signed modules only (module.sig_enforce, lockdown=).
	 * Otherwise they come without signature and type information (rootfs/strip.h), unless the
	 * kernel's config-VERSION says that it takes no others.
	 */
	bool signatures;
	/*
	 * The host says over vsock what to mount and to start (guest/protocol.h). Such a guest gets an
	 * initramfs in any case, and nothing about its root is in it: root_image then decides a module
	 * only, and what to mount is the caller's to say (probe_root()).
	 */
	bool supervise;
	bool disk;    /* with supervise: virtio_blk, even without a root_image */
	bool fs;      /* virtiofs */
	bool overlay; /* overlay */
	bool tun;     /* tun: /dev/net/tun */
};

/*
 * Build the initramfs, or take it from the cache (rootfs/cache.h), and return an open read-only
 * descriptor of a regular file in *@fd, ready for boot/, with
 * the modules this machine's devices and root file system need, in dependency order, unpacked
 * (.ko, .ko.xz, .ko.zst, .ko.gz), and the guest program as /init (guest/initramfs.h says what is
 * in it). The root image is only read, and only its first few hundred KiB.
 *
 * Returns 0 on success; 1 and *@fd = -1 if there is nothing to build, and *@err says why (never
 * with @supervise): there are no modules for this kernel in /lib/modules, or (with modules_dir
 * NULL, too) the kernel has everything that this machine needs built in; or -errno with ERROR_IMAGE
 * for modules or a root image that are missing where they were said to be, broken, of another
 * kernel's version, or not suitable. Main thread, before the walls.
 */
int rootfs_initramfs(int *fd, const struct rootfs_needs *needs, struct error *err);
