#include "rootfs/build.h"
#include "rootfs/cache.h"
#include "rootfs/strip.h"

#include "util/cleanup.h"
#include "util/log.h"
#include "util/macros.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* The guest program, put into this library by guest_image.S. */
extern const uint8_t rootfs_guest_image[], rootfs_guest_image_end[];

static size_t guest_image_len(void)
{
	return (size_t)(rootfs_guest_image_end - rootfs_guest_image);
}

static size_t module_count(const struct build *b)
{
	return b->modules ? modules_count(b->modules) : 0;
}

/* ---- the plan ---- */

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

static int plan_modules(struct build *b)
{
	int ret = 0;

	for (size_t i = 0; i < module_count(b) && ret == 0; i++) {
		const struct modules_item *item = modules_item(b->modules, i);

		ret = plan_add(
			b, item->optional ? "try " : "need ", item->name, item->name_len, ".ko");
		if (ret == 0 && i + 1 == b->console_at)
			ret = plan_add(b, "console", "", 0, "");
	}
	return ret;
}

static int plan_root(struct build *b)
{
	char number[16];
	int ret = 0;

	snprintf(number, sizeof(number), "%u", b->root.partition);
	if (b->root.fstype)
		ret = plan_add(b, "type ", b->root.fstype, strlen(b->root.fstype), "");
	if (ret == 0 && b->root.partition)
		ret = plan_add(b, "part ", number, strlen(number), "");
	if (ret == 0 && b->needs->root_read_only)
		ret = plan_add(b, "readonly", "", 0, "");
	return ret;
}

static int make_plan(struct build *b, struct error *err)
{
	int ret = plan_modules(b);

	if (ret == 0)
		ret = b->needs->supervise ? plan_add(b, "supervise", "", 0, "") : plan_root(b);
	if (ret < 0)
		return error_set(err, ERROR_IMAGE, EFBIG, "%s: too many modules to load", b->dir);
	return 0;
}

/* ---- the archive ---- */

/* An ELF object for this architecture, and (where both say) built for this very version? */
static int check_module(
	const struct build *b, const uint8_t *data, size_t len, const char *path, struct error *err)
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
	if (!version)
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

static int add_module(struct build *b, const struct modules_item *item, struct error *err)
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
		ret = check_module(b, to, len, path, err);
	if (ret == 0 && !b->whole)
		len = strip_module(to, len);
	return ret < 0 ? ret : cpio_commit(&b->cpio, name, 0600, len, err);
}

/* Was the kernel built to take signed modules only? Where its configuration is not there: no. */
static bool wants_signatures(const struct build *b)
{
	static const char *const words[] = { "\nCONFIG_MODULE_SIG_FORCE=y\n",
		"\nCONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY=y\n",
		"\nCONFIG_LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY=y\n" };
	char path[PATH_MAX + 64], *text;
	bool found = false;
	struct stat st;

	for (int i = 0; i < 2 && !found; i++) {
		_cleanup_close_ int fd = -1;

		snprintf(path, sizeof(path), "%s%s", i ? b->dir : "/boot/config-",
			i			   ? "/config"
			: b->needs->kernel_version ? b->needs->kernel_version
						   : "");
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !st.st_size)
			continue;
		text = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (text == MAP_FAILED)
			continue;
		for (size_t w = 0; w < ARRAY_SIZE(words); w++)
			found |= memmem(text, (size_t)st.st_size, words[w], strlen(words[w])) !=
				 NULL;
		munmap(text, (size_t)st.st_size);
	}
	return found;
}

/* The guest passes over an optional module that is not in the archive. */
static int add_or_skip(struct build *b, const struct modules_item *item, struct error *err)
{
	struct error why;

	if (!item->optional)
		return add_module(b, item, err);
	if (add_module(b, item, &why) < 0) {
		b->incomplete = true;
		log_warn("left out of the initramfs: %s", why.msg);
	}
	return 0;
}

static int write_archive(struct build *b, struct error *err)
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

	b->whole = b->needs->signatures || (b->dir_fd >= 0 && wants_signatures(b));
	for (size_t i = 0; i < ARRAY_SIZE(nodes) && ret == 0; i++)
		ret = cpio_node(&b->cpio, nodes[i].name, nodes[i].mode, nodes[i].major,
			nodes[i].minor, err);
	if (ret == 0)
		ret = cpio_file(&b->cpio, "init", 0755, rootfs_guest_image, guest_image_len(), err);
	if (ret == 0)
		ret = unpack_open(&b->unpack, err);
	for (size_t i = 0; i < module_count(b) && ret == 0; i++)
		ret = add_or_skip(b, modules_item(b->modules, i), err);
	if (ret == 0)
		ret = cpio_file(&b->cpio, INITRAMFS_PLAN, 0600, b->plan, b->plan_len, err);
	return ret;
}

/* ---- the whole ---- */

/*
 * All that decides the archive's bytes: the plan, the guest program, and the modules' files, which
 * are what they are by where they lie, their inodes, sizes and times (a kernel that is being worked
 * on has new modules under the old names, and depmod need not have been run).
 */
static struct cache_key key_of(const struct build *b)
{
	struct cache_key key = { 0 };
	char path[PATH_MAX];

	cache_key_add(&key, rootfs_guest_image, guest_image_len());
	cache_key_add(&key, b->plan, b->plan_len);
	cache_key_add(&key, b->dir, strlen(b->dir));
	cache_key_add(&key, &b->needs->signatures, sizeof(b->needs->signatures));
	if (b->needs->kernel_version)
		cache_key_add(&key, b->needs->kernel_version, strlen(b->needs->kernel_version));
	for (size_t i = 0; i < module_count(b); i++) {
		const struct modules_item *item = modules_item(b->modules, i);
		struct stat st = { 0 };
		uint64_t file[6];

		snprintf(path, sizeof(path), "%.*s", (int)item->path_len, item->path);
		if (fstatat(b->dir_fd, path, &st, 0) < 0)
			st.st_size = -1;
		file[0] = st.st_ino;
		file[1] = (uint64_t)st.st_size;
		file[2] = (uint64_t)st.st_mtim.tv_sec;
		file[3] = (uint64_t)st.st_mtim.tv_nsec;
		file[4] = (uint64_t)st.st_ctim.tv_sec;
		file[5] = (uint64_t)st.st_ctim.tv_nsec;
		cache_key_add(&key, path, strlen(path));
		cache_key_add(&key, file, sizeof(file));
	}
	return key;
}

/* @fd is sealed: it can be mapped, and stays as it is. */
static void keep(const struct cache *cache, const struct cache_key *key, int fd, size_t len)
{
	void *map = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);

	if (map == MAP_FAILED)
		return;
	cache_put(cache, key, map, len);
	munmap(map, len);
}

/* Half a megabyte to a few; a machine has a handful of kernels and kinds of guests. */
static const struct cache_kind archives = {
	.name = "initramfs", .files_max = 32, .bytes_max = 128 * MIB
};

static int take_or_make(struct build *b, int *fd, struct error *err)
{
	struct cache_key key = key_of(b);
	struct cache cache;
	int ret = 0;

	cache_open(&cache, &archives);
	*fd = cache_get(&cache, &key);
	if (*fd < 0)
		ret = write_archive(b, err);
	if (*fd < 0 && ret == 0) {
		ret = cpio_end(&b->cpio, fd, err);
		/* What was left out is to be said every time. */
		if (ret == 0 && !b->incomplete)
			keep(&cache, &key, *fd, b->cpio.len);
	}
	cache_close(&cache);
	return ret;
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
	ret = drivers_choose(b, err);
	if (ret == 0)
		ret = make_plan(b, err);
	if (ret == 0)
		ret = take_or_make(b, fd, err);
	cpio_discard(&b->cpio);
	unpack_close(b->unpack);
	drivers_release(b);
	return ret;
}
