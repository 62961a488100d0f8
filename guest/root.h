/* The root file system: wait for its device, mount it, make it the root. */
#pragma once

#include "guest/cmdline.h"

/* What the host's plan says of the root disk. */
struct root_hints {
	const char *type; /* NULL: not known */
	const char *part; /* partition number; NULL: the whole disk */
	bool read_only;
};

/* Mount the root file system at INITRAMFS_ROOT; does not return if that fails. */
void root_mount(const struct cmdline *cmdline, const struct root_hints *hints);

/*
 * Mount the file system on @device at @where, once the device is there (@wait_s seconds at most).
 * @types: separated by commas; NULL: whatever the kernel knows. Where it cannot be written, it is
 * mounted read-only. Returns 0, or the error that tells most (-ENXIO: no device).
 */
long root_mount_device(const char *device, const char *where, const char *types, bool read_only,
	const char *data, unsigned wait_s);

/*
 * Make what is mounted there the root. /dev comes along (as the kernel does it without an
 * initramfs: CONFIG_DEVTMPFS_MOUNT), /proc does not. Does not return if it fails.
 */
void root_switch(void);
