#include "guest/initramfs.h"

#include "rootfs/cpio.h"
#include "rootfs/modules.h"
#include "rootfs/probe.h"
#include "rootfs/rootfs.h"
#include "rootfs/unpack.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/macros.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

/* The guest program, put into this library by guest_image.S. */
extern const uint8_t rootfs_guest_image[], rootfs_guest_image_end[];

#define TEXT_MAX (64 * MIB) /* of modules.dep and its like */

/* All that lives while one initramfs is built. */
struct build {
	const struct rootfs_needs *needs;
	char dir[PATH_MAX]; /* where modules.dep is */
	int dir_fd;
	char *dep, *softdep, *builtin, *alias; /* the texts; NULL: no such file */
	struct modules *modules;
	struct unpack *unpack;
	struct probe_root root;
	char plan[INITRAMFS_PLAN_MAX];
	size_t plan_len;
	struct cpio cpio;
};

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

static int need(struct build *b, const char *module, const char *why, struct error *err)
{
	int found = modules_add(b->modules, module, false, err);

	if (found != MODULES_ABSENT)
		return found < 0 ? found : 0;
	return error_set(err, ERROR_IMAGE, ENOENT,
		"the kernel has no driver %s, neither as a module in %s nor built in; it needs it "
		"for %s",
		module, b->dir, why);
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

static int plan_add(
	struct build *b, const char *word, const char *what, size_t len, const char *end)
{
	size_t room = sizeof(b->plan) - b->plan_len - 1;
	int n = snprintf(b->plan + b->plan_len, room, "%s%.*s%s\n", word, (int)len, what, end);

	if (n < 0 || (size_t)n >= room)
		return -EFBIG;
	b->plan_len += (size_t)n;
	return 0;
}

/*
 * Which modules, in which order: the bus and the console first, so that what goes wrong with the
 * rest can be read. Whether a module is optional is known only when all are in the list.
 */
static int choose_modules(struct build *b, size_t *console_at, struct error *err)
{
	int ret = need(b, "virtio_mmio", "every device of this machine", err);

	*console_at = 0;
	if (ret == 0 && b->needs->console) {
		if (modules_add(b->modules, "virtio_console", true, err) == MODULES_ABSENT)
			log_warn("the kernel has no driver virtio_console: expect a silent guest");
		*console_at = modules_count(b->modules);
	}
	if (ret == 0)
		ret = need(b, "virtio_blk", "disks", err);
	if (ret == 0 && b->needs->root_image) {
		ret = probe_root(&b->root, b->needs->root_image, err);
		if (ret == 0 && b->root.fstype)
			ret = need_fs(b, err);
		else if (ret == 0)
			log_warn("root disk %s: no file system that microvm knows; leaving it to "
				 "the kernel's built-in ones",
				b->needs->root_image);
	}
	if (ret == 0 && b->needs->net)
		ret = need(b, "virtio_net", "--net", err);
	if (ret == 0)
		modules_add(b->modules, "virtio_rng", true, NULL);
	return ret;
}

static int write_plan(struct build *b, size_t console_at, struct error *err)
{
	char number[16];
	int ret = 0;

	for (size_t i = 0; i < modules_count(b->modules) && ret == 0; i++) {
		const struct modules_item *item = modules_item(b->modules, i);

		ret = plan_add(
			b, item->optional ? "try " : "need ", item->name, item->name_len, ".ko");
		if (ret == 0 && i + 1 == console_at)
			ret = plan_add(b, "console", "", 0, "");
	}
	snprintf(number, sizeof(number), "%u", b->root.partition);
	if (ret == 0 && b->root.fstype)
		ret = plan_add(b, "type ", b->root.fstype, strlen(b->root.fstype), "");
	if (ret == 0 && b->root.partition)
		ret = plan_add(b, "part ", number, strlen(number), "");
	if (ret == 0 && b->needs->root_read_only)
		ret = plan_add(b, "readonly", "", 0, "");
	if (ret < 0)
		return error_set(err, ERROR_IMAGE, EFBIG, "%s: too many modules to load", b->dir);
	return cpio_file(&b->cpio, INITRAMFS_PLAN, 0600, b->plan, b->plan_len, err);
}

/* An ELF object for this architecture, and (where both say) built for this very version? */
static int check_module(const struct build *b, const uint8_t *data, size_t len, const char *path,
	bool check_version, struct error *err)
{
	static const char key[] = "vermagic=";
	Elf64_Ehdr elf = { 0 };
	const char *version = b->needs->kernel_version;
	const uint8_t *magic, *end;
	size_t n;

	memcpy(&elf, data, MIN(len, sizeof(elf)));
	if (len < sizeof(elf) || memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0 ||
		elf.e_ident[EI_CLASS] != ELFCLASS64 || elf.e_type != ET_REL ||
		elf.e_machine != EM_X86_64)
		return error_set(err, ERROR_IMAGE, ENOEXEC,
			"%s is not an x86-64 kernel module; install the kernel's package again",
			path);
	if (!check_version || !version)
		return 0;
	magic = memmem(data, len, key, sizeof(key) - 1);
	if (!magic)
		return 0;
	magic += sizeof(key) - 1;
	end = memchr(magic, ' ', len - (size_t)(magic - data));
	n = end ? (size_t)(end - magic) : 0;
	if (n && n < 128 && (n != strlen(version) || memcmp(magic, version, n) != 0))
		return error_set(err, ERROR_IMAGE, ENOEXEC,
			"%s is for kernel %.*s, but the kernel is %s; name its own modules with "
			"--modules DIR",
			path, (int)n, magic, version);
	return 0;
}

static int add_module(
	struct build *b, const struct modules_item *item, bool first, struct error *err)
{
	char name[INITRAMFS_MODULE_MAX + sizeof(INITRAMFS_MODULES)], path[2 * PATH_MAX];
	_cleanup_close_ int fd = -1;
	size_t room, len = 0;
	uint8_t *to;
	int ret;

	snprintf(name, sizeof(name), "%s%.*s.ko", INITRAMFS_MODULES, (int)item->name_len,
		item->name);
	snprintf(path, sizeof(path), "%s/%.*s", b->dir, (int)item->path_len, item->path);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return error_set(err, ERROR_IMAGE, errno,
			"%s: %m; modules.dep names it: run depmod, or install the kernel's package "
			"again",
			path);
	to = cpio_room(&b->cpio, name, &room, err);
	if (!to)
		return -EFBIG;
	ret = unpack_file(b->unpack, fd, path, to, room, &len, err);
	if (ret == -EFBIG)
		return error_set(err, ERROR_IMAGE, EFBIG,
			"%s: too big for an initramfs; strip its debug information", path);
	if (ret == 0)
		ret = check_module(b, to, len, path, first, err);
	return ret < 0 ? ret : cpio_commit(&b->cpio, name, 0600, len, err);
}

/* The guest passes over an optional module that is not in the archive. */
static int add_or_skip(
	struct build *b, const struct modules_item *item, bool first, struct error *err)
{
	struct error why;

	if (!item->optional)
		return add_module(b, item, first, err);
	if (add_module(b, item, first, &why) < 0)
		log_warn("left out of the initramfs: %s", why.msg);
	return 0;
}

static int write_archive(struct build *b, size_t console_at, struct error *err)
{
	static const struct {
		const char *name;
		uint32_t mode, major, minor;
	} nodes[] = {
		{ "dev", S_IFDIR | 0755, 0, 0 },
		{ "dev/console", S_IFCHR | 0600, 5, 1 },
		{ "proc", S_IFDIR | 0555, 0, 0 },
		{ "sys", S_IFDIR | 0555, 0, 0 },
		{ "root", S_IFDIR | 0700, 0, 0 },
		{ "modules", S_IFDIR | 0700, 0, 0 },
	};
	int ret = cpio_begin(&b->cpio, err);

	for (size_t i = 0; i < ARRAY_SIZE(nodes) && ret == 0; i++)
		ret = cpio_node(&b->cpio, nodes[i].name, nodes[i].mode, nodes[i].major,
			nodes[i].minor, err);
	if (ret == 0)
		ret = cpio_file(&b->cpio, "init", 0755, rootfs_guest_image,
			(size_t)(rootfs_guest_image_end - rootfs_guest_image), err);
	if (ret == 0)
		ret = unpack_open(&b->unpack, err);
	for (size_t i = 0; i < modules_count(b->modules) && ret == 0; i++)
		ret = add_or_skip(b, modules_item(b->modules, i), i == 0, err);
	if (ret == 0)
		ret = write_plan(b, console_at, err);
	return ret;
}

static int build(struct build *b, int *fd, struct error *err)
{
	size_t console_at;
	int ret = find_dir(b, err);

	if (ret == 0)
		ret = open_modules(b, err);
	if (ret == 0)
		ret = choose_modules(b, &console_at, err);
	if (ret == 0 && modules_count(b->modules) == 0 && !b->root.partition &&
		!b->needs->modules_dir) {
		error_set(err, ERROR_IMAGE, ENOENT,
			"the kernel has every driver that this machine needs built in");
		return 1;
	}
	if (ret == 0)
		ret = write_archive(b, console_at, err);
	return ret == 0 ? cpio_end(&b->cpio, fd, err) : ret;
}

int rootfs_initramfs(int *fd, const struct rootfs_needs *needs, struct error *err)
{
	_cleanup_free_ struct build *b = calloc(1, sizeof(*b));
	int ret;

	*fd = -1;
	if (!b)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	b->needs = needs;
	b->dir_fd = -1;
	b->cpio.fd = -1;
	ret = build(b, fd, err);
	cpio_discard(&b->cpio);
	unpack_close(b->unpack);
	modules_close(b->modules);
	free(b->dep);
	free(b->softdep);
	free(b->builtin);
	free(b->alias);
	if (b->dir_fd >= 0)
		close(b->dir_fd);
	return ret;
}
