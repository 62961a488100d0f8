/*
 * Which modules a machine needs, and where its kernel's modules are.
 */
#include "rootfs/build.h"

#include "util/cleanup.h"
#include "util/log.h"
#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define TEXT_MAX (64 * MIB) /* of modules.dep and its like */

/* Whole file @name of the directory; returns {NULL, 0} where there is none. *@keep owns it. */
static struct modules_text read_text(struct build *b, const char *name, char **keep)
{
	_cleanup_close_ int fd = openat(b->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct modules_text text = { 0 };
	struct stat st;
	ssize_t n = 0;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > (off_t)TEXT_MAX)
		return text;
	*keep = malloc((size_t)st.st_size + 1);
	if (!*keep)
		return text;
	while (text.len < (size_t)st.st_size &&
		(n = read(fd, *keep + text.len, (size_t)st.st_size - text.len)) > 0)
		text.len += (size_t)n;
	text.p = *keep;
	return text;
}

static struct modules_text read_alias(void *ctx)
{
	struct build *b = ctx;

	return read_text(b, "modules.alias", &b->alias);
}

/* May @version be part of a path? */
static bool version_is_tame(const char *version)
{
	return version && *version && *version != '.' && strlen(version) < 128 &&
	       !strchr(version, '/');
}

static bool try_dir(struct build *b, const char *a, const char *between, const char *version)
{
	int n = snprintf(b->dir, sizeof(b->dir), "%s%s%s", a, between, version);

	if (n < 0 || (size_t)n >= sizeof(b->dir) - sizeof("/modules.builtin"))
		return false;
	b->dir_fd = open(b->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->dir_fd < 0)
		return false;
	if (faccessat(b->dir_fd, "modules.dep", F_OK, 0) == 0)
		return true;
	close(b->dir_fd);
	b->dir_fd = -1;
	return false;
}

/* Find the directory of modules. 1: none by default. */
static int find_dir(struct build *b, struct error *err)
{
	const char *version = b->needs->kernel_version, *given = b->needs->modules_dir;
	bool tame = version_is_tame(version);

	if (given) {
		if (try_dir(b, given, "", "") || (tame && try_dir(b, given, "/", version)) ||
			(tame && try_dir(b, given, "/lib/modules/", version)))
			return 0;
		return error_set(err, ERROR_IMAGE, ENOENT,
			"modules directory %s: no modules.dep in it, nor in its %s%s; name the "
			"kernel's own (lib/modules/VERSION), or run depmod",
			given, tame ? "" : "VERSION", tame ? version : "");
	}
	if (!tame) {
		error_set(err, ERROR_IMAGE, ENOENT,
			"the kernel does not say its version, so its modules cannot be found (name "
			"them: --modules DIR)");
		return 1;
	}
	if (try_dir(b, "/lib/modules/", "", version))
		return 0;
	if (access(b->dir, F_OK) == 0)
		return error_set(err, ERROR_IMAGE, ENOENT,
			"%s has no modules.dep: run depmod %s, or install the kernel's package "
			"again",
			b->dir, version);
	error_set(err, ERROR_IMAGE, ENOENT,
		"no modules for kernel %s in %s (name another place: --modules DIR)", version,
		b->dir);
	return 1;
}

static int open_modules(struct build *b, struct error *err)
{
	struct modules_texts texts = { .where = b->dir, .alias = read_alias, .ctx = b };

	texts.dep = read_text(b, "modules.dep", &b->dep);
	if (!texts.dep.p)
		return error_set(err, ERROR_IMAGE, EINVAL, "%s/modules.dep cannot be read", b->dir);
	texts.softdep = read_text(b, "modules.softdep", &b->softdep);
	texts.builtin = read_text(b, "modules.builtin", &b->builtin);
	return modules_open(&b->modules, &texts, err);
}

/* How to call the kernel in a message. */
static const char *version_of(const struct build *b)
{
	return b->needs->kernel_version ? b->needs->kernel_version : "(of unknown version)";
}

static int need(struct build *b, const char *module, const char *who, struct error *err)
{
	int found = modules_add(b->modules, module, false, err);

	if (found != MODULES_ABSENT)
		return found < 0 ? found : 0;
	return error_set(err, ERROR_IMAGE, ENOENT,
		"kernel %s has no driver %s, neither as a module in %s nor built in, and %s it: take "
		"another kernel (such as Debian's linux-image-cloud-amd64)",
		version_of(b), module, b->dir, who);
}

/* The drivers of a file system: the first that there is. */
static const struct fs_driver {
	const char *fstype;
	const char *module[3];
	const char *helpers[4]; /* what the kernel asks for when it mounts one */
} fs_drivers[] = {
	{ "ext4", { "ext4", "ext3", "ext2" }, { 0 } },
	{ "iso9660", { "isofs" }, { 0 } },
	{ "vfat", { "vfat" }, { "nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8" } },
};

static const struct fs_driver *fs_driver(const char *fstype)
{
	for (size_t i = 0; i < ARRAY_SIZE(fs_drivers); i++)
		if (strcmp(fs_drivers[i].fstype, fstype) == 0)
			return &fs_drivers[i];
	return NULL;
}

static int need_fs(struct build *b, struct error *err)
{
	const char *fstype = b->root.fstype, *module = fstype;
	const struct fs_driver *driver = fs_driver(fstype);
	int found = MODULES_ABSENT;

	for (unsigned i = 0; i < (driver ? ARRAY_SIZE(driver->module) : 1); i++) {
		module = driver ? driver->module[i] : fstype;
		if (!module || found != MODULES_ABSENT)
			break;
		found = modules_add(b->modules, module, false, err);
	}
	if (found == MODULES_ABSENT)
		return error_set(err, ERROR_IMAGE, ENOENT,
			"root disk %s is %s, and the kernel has no driver for it, neither as a "
			"module in %s nor built in; take another kernel or file system",
			b->needs->root_image, fstype, b->dir);
	for (unsigned i = 0; driver && i < ARRAY_SIZE(driver->helpers) && driver->helpers[i]; i++)
		modules_add(b->modules, driver->helpers[i], true, NULL);
	return found < 0 ? found : 0;
}

/* A root disk: its file system, and what drives that. */
static int choose_root(struct build *b, struct error *err)
{
	int ret = probe_root(&b->root, b->needs->root_image, err);

	if (ret < 0 || !b->modules)
		return ret;
	if (b->root.fstype)
		return need_fs(b, err);
	log_warn("root disk %s: no file system that microvm knows; leaving it to the kernel's "
		 "built-in ones",
		b->needs->root_image);
	return 0;
}

/*
 * Which modules, in which order: the bus and the console first, so that what goes wrong with the
 * rest can be read. Whether a module is optional is known only when all are in the list.
 */
static int choose_modules(struct build *b, struct error *err)
{
	const struct rootfs_needs *needs = b->needs;
	int ret = need(b, "virtio_mmio", "every device of this machine needs", err);

	if (ret == 0 && needs->console) {
		if (modules_add(b->modules, "virtio_console", true, err) == MODULES_ABSENT)
			log_warn("kernel %s has no driver virtio_console: expect a silent guest",
				version_of(b));
		b->console_at = modules_count(b->modules);
	}
	if (ret == 0 && (!needs->supervise || needs->disk || needs->root_image))
		ret = need(b, "virtio_blk", "disks need", err);
	if (ret == 0 && needs->root_image)
		ret = choose_root(b, err);
	if (ret == 0 && needs->supervise)
		ret = need(b, "vmw_vsock_virtio_transport", "running a command needs", err);
	if (ret == 0 && needs->fs)
		ret = need(b, "virtiofs", "a directory as root or volume needs", err);
	if (ret == 0 && needs->overlay)
		ret = need(b, "overlay", "a root whose changes are thrown away needs", err);
	if (ret == 0 && needs->net)
		ret = need(b, "virtio_net", "--net needs", err);
	if (ret == 0 && needs->tun && modules_add(b->modules, "tun", true, err) == MODULES_ABSENT)
		log_warn("kernel %s has no driver tun: /dev/net/tun will not work", version_of(b));
	if (ret == 0)
		modules_add(b->modules, "virtio_rng", true, NULL);
	return ret;
}

int drivers_choose(struct build *b, struct error *err)
{
	int ret = find_dir(b, err);

	if (ret == 1 && b->needs->supervise) {
		log_info("%s; taking every driver for built in", err->msg);
		return b->needs->root_image ? choose_root(b, err) : 0;
	}
	if (ret == 0)
		ret = open_modules(b, err);
	if (ret == 0)
		ret = choose_modules(b, err);
	if (ret == 0 && modules_count(b->modules) == 0 && !b->root.partition &&
		!b->needs->modules_dir && !b->needs->supervise) {
		error_set(err, ERROR_IMAGE, ENOENT,
			"the kernel has every driver that this machine needs built in");
		return 1;
	}
	return ret;
}

void drivers_release(struct build *b)
{
	modules_close(b->modules);
	free(b->dep);
	free(b->softdep);
	free(b->builtin);
	free(b->alias);
	if (b->dir_fd >= 0)
		close(b->dir_fd);
}
