/*
 * Which modules of a kernel must be loaded for a driver, in order: modules.dep, modules.softdep,
 * modules.alias and modules.builtin, as depmod(8) leaves them in /lib/modules/VERSION.
 *
 * Nothing in these files is trusted: they may loop, point anywhere and be of any length.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>

struct modules;

/* A whole file. Not ended by a NUL. */
struct modules_text {
	const char *p; /* NULL: there is no such file */
	size_t len;
};

struct modules_texts {
	const char *where; /* the directory, for messages */
	struct modules_text dep, softdep, builtin;
	/* modules.alias is the biggest by far and seldom needed: asked for once, when it is. */
	struct modules_text (*alias)(void *ctx);
	void *ctx;
};

/* A module to load. Strings are valid until modules_close(). */
struct modules_item {
	const char *path; /* as in modules.dep: below the directory, "kernel/fs/xfs/xfs.ko.xz" */
	size_t path_len;  /* @path is not NUL-terminated */
	const char *name; /* "xfs" */
	size_t name_len;
	bool optional; /* the rest works without it */
};

/*
 * The texts are the caller's and must outlive *@out. Nothing but modules.dep is needed; without
 * modules.builtin every driver that is no module passes for built in.
 */
int modules_open(struct modules **out, const struct modules_texts *texts, struct error *err);
void modules_close(struct modules *modules); /* NULL is allowed */

enum modules_found {
	MODULES_ABSENT, /* neither a module nor built in; or, with @optional, not usable */
	MODULES_BUILTIN,
	MODULES_LISTED /* it and what it needs are in the list */
};

/*
 * Put module @name (- and _ are the same) into the list, with everything that it needs before it.
 * Returns an enum modules_found, or -EINVAL with ERROR_IMAGE for texts that are wrong.
 */
int modules_add(struct modules *modules, const char *name, bool optional, struct error *err);

size_t modules_count(const struct modules *modules);
const struct modules_item *modules_item(const struct modules *modules, size_t i);
