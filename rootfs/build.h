/* What the files that make an initramfs share; nobody else's. */
#pragma once

#include "guest/initramfs.h"

#include "rootfs/cpio.h"
#include "rootfs/modules.h"
#include "rootfs/probe.h"
#include "rootfs/rootfs.h"
#include "rootfs/unpack.h"

#include <limits.h>

/* All that lives while one initramfs is built. */
struct build {
	const struct rootfs_needs *needs;
	char dir[PATH_MAX];		       /* where modules.dep is */
	int dir_fd;			       /* -1: there are no modules */
	char *dep, *softdep, *builtin, *alias; /* the texts; NULL: no such file */
	struct modules *modules;	       /* NULL: there are none */
	size_t console_at; /* so many modules in the list, and the console is there */
	struct unpack *unpack;
	struct probe_root root;
	char plan[INITRAMFS_PLAN_MAX];
	size_t plan_len;
	bool incomplete; /* an optional module was left out */
	bool whole;	 /* modules stay as they are */
	struct cpio cpio;
};

/*
 * Find the kernel's modules, and fill in what this machine needs of them: b->modules, b->root,
 * b->console_at. Returns as rootfs_initramfs() does.
 */
int drivers_choose(struct build *b, struct error *err);
void drivers_release(struct build *b);
