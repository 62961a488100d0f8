/*
 * The kernel inside a bzImage, unpacked once on the host instead of at every start in the guest.
 */
#pragma once

#include "util/error.h"

/*
 * Take the vmlinux that bzImage @path holds from the cache (rootfs/cache.h), or unpack it and keep
 * it there. Behind the ELF file is the table that boot/ needs to move it to a random address.
 *
 * Returns 0 and an open read-only descriptor in *@fd; or 1 and *@fd = -1 where the file has to be
 * started as it is, and *@err says why: it is no bzImage (or not one that is understood, or
 * damaged: boot/ says that best), its compression is another, or there is no cache. Main thread,
 * before the walls.
 */
int rootfs_vmlinux(int *fd, const char *path, struct error *err);
