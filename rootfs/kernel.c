#include "rootfs/kernel.h"

#include "util/cleanup.h"
#include "util/macros.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* A search, and the best found so far. Strings are file names in the directory being searched. */
struct search {
	const struct rootfs_kernel_places *places;
	const char *modules_dir;
	char best[NAME_MAX + 1]; /* empty: none */
	/* The newest of those that will not do, for the message. */
	char closed[NAME_MAX + 1]; /* may not be read */
	char lonely[NAME_MAX + 1]; /* its modules are not there */
};

static const char *const prefixes[] = { "bzImage", "vmlinuz", "vmlinux" }; /* the best last */

/* The number of @name's prefix, and behind it the version ("" for none), or -1. */
static int take_apart(const char *name, const char **version)
{
	for (int i = 0; i < (int)ARRAY_SIZE(prefixes); i++) {
		size_t len = strlen(prefixes[i]);

		if (strncmp(name, prefixes[i], len) != 0)
			continue;
		*version = name + len;
		if (**version == '-')
			++*version;
		return i;
	}
	return -1;
}

/* Is @name, a kernel's, newer (or of the same version and quicker to load) than @than? */
static bool better(const char *name, const char *than)
{
	const char *version, *than_version;
	int kind = take_apart(name, &version), than_kind = take_apart(than, &than_version), order;

	if (than_kind < 0)
		return true;
	order = strverscmp(version, than_version);
	return order > 0 || (order == 0 && kind > than_kind);
}

static void keep_better(char best[NAME_MAX + 1], const char *name)
{
	if (better(name, best))
		snprintf(best, NAME_MAX + 1, "%s", name);
}

/* 0 if @name is a file that can be read, else -errno. */
static int try_file(int at, const char *name)
{
	_cleanup_close_ int fd = openat(at, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	return S_ISREG(st.st_mode) && st.st_size ? 0 : -ENOEXEC;
}

static bool has_dep(const char *a, const char *between, const char *version)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s%s%s/modules.dep", a, between, version);

	return n > 0 && n < (int)sizeof(path) && access(path, F_OK) == 0;
}

static bool has_modules(const struct search *s, const char *version)
{
	_cleanup_free_ char *real = NULL;
	const char *slash;

	if (!*version || strchr(version, '/') || *version == '.')
		return false;
	if (!s->modules_dir)
		return s->places->modules_root && has_dep(s->places->modules_root, "/", version);
	if (has_dep(s->modules_dir, "/", version) ||
		has_dep(s->modules_dir, "/lib/modules/", version))
		return true;
	/* The directory of one kernel: its name says of which. */
	real = has_dep(s->modules_dir, "", "") ? realpath(s->modules_dir, NULL) : NULL;
	slash = real ? strrchr(real, '/') : NULL;
	return slash && strcmp(slash + 1, version) == 0;
}

static void consider(struct search *s, int at, const char *name, bool stock)
{
	const char *version;
	int kind = take_apart(name, &version), r;

	if (kind < 0 || (stock && strncmp(name, "vmlinuz-", 8) != 0))
		return;
	if (!better(name, s->best)) /* spare the rest */
		return;
	if (stock && !has_modules(s, version)) {
		keep_better(s->lonely, name);
		return;
	}
	r = try_file(at, name);
	if (r == 0)
		snprintf(s->best, sizeof(s->best), "%s", name);
	else if (r == -EACCES || r == -EPERM)
		keep_better(s->closed, name);
}

/* 1: found. */
static int search_dir(
	struct search *s, const char *where, bool stock, char *path, size_t size, struct error *err)
{
	DIR *dir = where ? opendir(where) : NULL;
	struct dirent *entry;
	int n;

	if (!dir)
		return 0;
	while ((entry = readdir(dir)))
		consider(s, dirfd(dir), entry->d_name, stock);
	closedir(dir);
	if (!*s->best)
		return 0;
	n = snprintf(path, size, "%s/%s", where, s->best);
	if (n < 0 || (size_t)n >= size)
		return error_set(err, ERROR_IMAGE, ENAMETOOLONG,
			"the kernel's path %s/%s is too long", where, s->best);
	return 1;
}

static int take_chosen(char *path, size_t size, const char *chosen, struct error *err)
{
	int r = try_file(AT_FDCWD, chosen);

	if (r < 0)
		return error_set(err, ERROR_IMAGE, -r,
			"MICROVM_KERNEL=%s: %s: name a kernel, or unset it", chosen,
			r == -ENOEXEC ? "not a kernel" : strerror(-r));
	if (strlen(chosen) >= size)
		return error_set(
			err, ERROR_IMAGE, ENAMETOOLONG, "MICROVM_KERNEL=%s: too long", chosen);
	memcpy(path, chosen, strlen(chosen) + 1);
	return 0;
}

/* What there is, and will not do. @boot: what was found in places->boot_dir. */
static int none(const struct search *own, const struct search *boot, struct error *err)
{
	const struct rootfs_kernel_places *p = boot->places;
	const char *modules = boot->modules_dir ? boot->modules_dir : p->modules_root;
	bool in_own = *own->closed;
	const char *dir = in_own ? p->own_dir : p->boot_dir;
	const char *closed = in_own ? own->closed : boot->closed;

	if (*closed)
		return error_set(err, ERROR_IMAGE, EACCES,
			"no kernel to start: %s/%s may be read by root only (as on Ubuntu; Debian "
			"leaves it open): chmod 644 it, or name a copy of it with --kernel FILE",
			dir, closed);
	if (*boot->lonely)
		return error_set(err, ERROR_IMAGE, ENOENT,
			"no kernel to start: %s/%s has no modules in %s: install its package again, "
			"or name a kernel with --kernel FILE (and --modules DIR)",
			p->boot_dir, boot->lonely, modules ? modules : "/lib/modules");
	return error_set(err, ERROR_IMAGE, ENOENT,
		"no kernel to start, neither in %s nor as %s/vmlinuz-*: install one (apt install "
		"linux-image-cloud-amd64), or name one with --kernel FILE or MICROVM_KERNEL",
		p->own_dir ? p->own_dir : "/usr/lib/microvm", p->boot_dir ? p->boot_dir : "/boot");
}

int rootfs_find_kernel_in(char *path, size_t size, const char *modules_dir,
	const struct rootfs_kernel_places *places, struct error *err)
{
	struct search own = { .places = places, .modules_dir = modules_dir }, boot = own;
	int r;

	if (places->chosen && *places->chosen)
		return take_chosen(path, size, places->chosen, err);
	r = search_dir(&own, places->own_dir, false, path, size, err);
	if (r == 0)
		r = search_dir(&boot, places->boot_dir, true, path, size, err);
	if (r == 0)
		return none(&own, &boot, err);
	return r < 0 ? r : 0;
}

int rootfs_find_kernel(char *path, size_t size, const char *modules_dir, struct error *err)
{
	const struct rootfs_kernel_places places = {
		.chosen = getenv("MICROVM_KERNEL"),
		.own_dir = "/usr/lib/microvm",
		.boot_dir = "/boot",
		.modules_root = "/lib/modules",
	};

	return rootfs_find_kernel_in(path, size, modules_dir, &places, err);
}
