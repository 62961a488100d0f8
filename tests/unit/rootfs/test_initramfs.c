/* The whole: a made-up tree of modules and a made-up root image in, an archive out. */
#include "guest/initramfs.h"
#include "rootfs/rootfs.h"

#include "archive.h"
#include "util/cleanup.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "util/log.h"

#define VERSION "6.1.0-test"

static const char dep[] = "kernel/virtio.ko:\n"
			  "kernel/virtio_mmio.ko: kernel/virtio.ko\n"
			  "kernel/virtio_blk.ko: kernel/virtio.ko\n"
			  "kernel/virtio_net.ko: kernel/failover.ko kernel/virtio.ko\n"
			  "kernel/failover.ko:\n"
			  "kernel/virtio_console.ko: kernel/virtio.ko\n"
			  "kernel/virtio-rng.ko: kernel/virtio.ko\n"
			  "kernel/ext4.ko: kernel/jbd2.ko\n"
			  "kernel/jbd2.ko:\n"
			  "kernel/crc32c-intel.ko:\n"
			  "kernel/vsock.ko:\n"
			  "kernel/vmw_vsock_virtio_transport.ko: kernel/vsock.ko kernel/virtio.ko\n"
			  "kernel/fuse.ko:\n"
			  "kernel/virtiofs.ko: kernel/fuse.ko kernel/virtio.ko\n"
			  "kernel/overlay.ko:\n";

struct fixture {
	char dir[64]; /* holds m/VERSION with the modules, and root.img */
	char modules[128], image[128];
};

/* printf for paths. */
static const char *path_of(struct fixture *f, const char *fmt, ...)
{
	static char path[4 * PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/", f->modules);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path + n, sizeof(path) - (size_t)n, fmt, ap);
	va_end(ap);
	return path;
}

static void write_file(const char *path, const void *data, size_t len)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
}

static void write_text(const char *path, const char *text)
{
	write_file(path, text, strlen(text));
}

/* Something that passes for a module: an ELF header, a version, and the name to tell it by. */
static void write_module(struct fixture *f, const char *name, const char *version)
{
	struct {
		Elf64_Ehdr elf;
		char info[192];
	} module = { .elf = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64 },
			     .e_type = ET_REL,
			     .e_machine = EM_X86_64 } };

	snprintf(module.info, sizeof(module.info), "name=%s vermagic=%s SMP", name, version);
	write_file(path_of(f, "kernel/%s.ko", name), &module, sizeof(module));
}

static void write_ext4(struct fixture *f)
{
	static uint8_t bytes[8192];

	memcpy(bytes + 0x438, "\x53\xef", 2);
	write_file(f->image, bytes, sizeof(bytes));
}

static int setup(void **state)
{
	static const char *const names[] = { "virtio", "virtio_mmio", "virtio_blk", "virtio_net",
		"failover", "virtio_console", "virtio-rng", "ext4", "jbd2", "crc32c-intel", "vsock",
		"vmw_vsock_virtio_transport", "fuse", "virtiofs", "overlay" };
	struct fixture *f = calloc(1, sizeof(*f));
	char path[160];

	strcpy(f->dir, "/tmp/microvm-test-initramfs-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->image, sizeof(f->image), "%s/root.img", f->dir);
	snprintf(path, sizeof(path), "%s/m", f->dir);
	mkdir(path, 0755);
	snprintf(f->modules, sizeof(f->modules), "%s/m/" VERSION, f->dir);
	mkdir(f->modules, 0755);
	mkdir(path_of(f, "kernel"), 0755);
	write_text(path_of(f, "modules.dep"), dep);
	write_text(path_of(f, "modules.builtin"), "kernel/fs/xfs.ko\n");
	write_text(path_of(f, "modules.softdep"), "softdep ext4 pre: crc32c\n");
	write_text(path_of(f, "modules.alias"), "alias crc32c crc32c_intel\n");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		write_module(f, names[i], VERSION);
	write_ext4(f);
	log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	*state = f;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	nftw(f->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(f);
	return 0;
}

/* What is to be made, with everything in it. */
static struct rootfs_needs all(struct fixture *f)
{
	return (struct rootfs_needs){ .kernel_version = VERSION,
		.modules_dir = f->modules,
		.root_image = f->image,
		.net = true,
		.console = true };
}

static const struct archive_entry *entry_called(
	const struct archive_entry *e, int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (strcmp(e[i].name, name) == 0)
			return &e[i];
	return NULL;
}

/* Build it, and compare its plan; every module of the plan must be there, and no other. */
static void expect_plan(const struct rootfs_needs *needs, const char *wanted)
{
	_cleanup_close_ int fd = -1;
	struct archive_entry e[64];
	struct error err = { 0 };
	int count, modules = 0;
	struct stat st;
	uint8_t *map;

	if (rootfs_initramfs(&fd, needs, &err) != 0)
		fail_msg("%s", err.msg);
	assert_int_equal(fstat(fd, &st), 0);
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	count = archive_read(map, (size_t)st.st_size, e, 64);
	assert_true(count > 0);
	const struct archive_entry *plan = entry_called(e, count, "plan");

	assert_non_null(plan);
	if (plan->len != strlen(wanted) || memcmp(plan->data, wanted, plan->len) != 0)
		fail_msg("the plan is\n%.*s", (int)plan->len, (const char *)plan->data);
	for (const char *line = wanted; *line; line = strchr(line, '\n') + 1) {
		char file[128], name[160];

		if (sscanf(line, "need %100s", file) != 1 && sscanf(line, "try %100s", file) != 1)
			continue;
		snprintf(name, sizeof(name), "modules/%s", file);
		const struct archive_entry *module = entry_called(e, count, name);

		assert_non_null(module);
		snprintf(name, sizeof(name), "name=%.*s ", (int)strlen(file) - 3, file);
		assert_non_null(memmem(module->data, module->len, name, strlen(name)));
		modules++;
	}
	for (int i = 0; i < count; i++)
		modules -= strncmp(e[i].name, "modules/", 8) == 0;
	assert_int_equal(modules, 0);
	const struct archive_entry *init = entry_called(e, count, "init");
	const struct archive_entry *console = entry_called(e, count, "dev/console");

	assert_int_equal(init->mode, S_IFREG | 0755);
	assert_memory_equal(init->data, ELFMAG, SELFMAG);
	assert_true(init->len < 300000);
	assert_int_equal(console->mode, S_IFCHR | 0600);
	assert_int_equal(console->rdev_major << 8 | console->rdev_minor, 0x501);
	munmap(map, (size_t)st.st_size);
}

static void refuse(const struct rootfs_needs *needs, int ret, const char *words)
{
	struct error err = { 0 };
	int fd = 7;

	assert_int_equal(rootfs_initramfs(&fd, needs, &err), ret);
	assert_int_equal(fd, -1);
	assert_int_equal(err.kind, ERROR_IMAGE);
	assert_null(strchr(err.msg, '\n'));
	if (!strstr(err.msg, words))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, words);
}

static void test_plan(void **state)
{
	struct rootfs_needs needs = all(*state);

	expect_plan(&needs, "need virtio.ko\nneed virtio_mmio.ko\ntry virtio_console.ko\nconsole\n"
			    "need virtio_blk.ko\ntry crc32c-intel.ko\nneed jbd2.ko\nneed ext4.ko\n"
			    "need failover.ko\nneed virtio_net.ko\ntry virtio-rng.ko\ntype ext4\n");
	needs.net = needs.console = false;
	needs.root_read_only = true;
	expect_plan(&needs, "need virtio.ko\nneed virtio_mmio.ko\nneed virtio_blk.ko\n"
			    "try crc32c-intel.ko\nneed jbd2.ko\nneed ext4.ko\ntry virtio-rng.ko\n"
			    "type ext4\nreadonly\n");
	needs.root_image = NULL;
	expect_plan(&needs, "need virtio.ko\nneed virtio_mmio.ko\nneed virtio_blk.ko\n"
			    "try virtio-rng.ko\nreadonly\n");
}

static void test_builtin_fs(void **state)
{
	struct fixture *f = *state;
	struct rootfs_needs needs = all(f);

	write_text(f->image, "XFSB");
	needs.net = needs.console = false;
	expect_plan(&needs, "need virtio.ko\nneed virtio_mmio.ko\nneed virtio_blk.ko\n"
			    "try virtio-rng.ko\ntype xfs\n");
}

/* The console's driver built in, and the bus not: the console is there when the bus is. */
static void test_builtin_console(void **state)
{
	struct fixture *f = *state;
	struct rootfs_needs needs = all(f);

	write_text(path_of(f, "modules.dep"), "kernel/virtio_mmio.ko:\n");
	write_text(path_of(f, "modules.builtin"), "k/virtio_console.ko\nk/virtio_blk.ko\n"
						  "k/ext4.ko\nk/virtio_net.ko\n");
	expect_plan(&needs, "need virtio_mmio.ko\nconsole\ntype ext4\n");
}

/* DIR may be the directory itself, the one above, or a root with lib/modules in it. */
static void test_where(void **state)
{
	struct fixture *f = *state;
	struct rootfs_needs needs = all(f);
	char path[256], to[256];

	needs.net = needs.console = false;
	needs.root_image = NULL;
	snprintf(path, sizeof(path), "%s/m", f->dir);
	needs.modules_dir = path;
	expect_plan(&needs, "need virtio.ko\nneed virtio_mmio.ko\nneed virtio_blk.ko\n"
			    "try virtio-rng.ko\n");
	snprintf(to, sizeof(to), "%s/lib", f->dir);
	mkdir(to, 0755);
	snprintf(to, sizeof(to), "%s/lib/modules", f->dir);
	assert_int_equal(rename(path, to), 0);
	needs.modules_dir = f->dir;
	expect_plan(&needs, "need virtio.ko\nneed virtio_mmio.ko\nneed virtio_blk.ko\n"
			    "try virtio-rng.ko\n");
	needs.modules_dir = to;
	needs.kernel_version = "9.9.9";
	refuse(&needs, -ENOENT, to);
	needs.kernel_version = "../modules/" VERSION;
	refuse(&needs, -ENOENT, "no modules.dep");
	needs.modules_dir = "/nonexistent";
	refuse(&needs, -ENOENT, "/nonexistent");
}

static void test_nothing_to_build(void **state)
{
	struct rootfs_needs needs = all(*state);

	needs.modules_dir = NULL;
	needs.kernel_version = "0.0.0-there-is-no-such-kernel";
	refuse(&needs, 1, "/lib/modules/0.0.0-there-is-no-such-kernel");
	needs.kernel_version = NULL;
	refuse(&needs, 1, "does not say its version");
	needs.kernel_version = "..";
	refuse(&needs, 1, "does not say its version");
	needs.kernel_version = "../../etc";
	refuse(&needs, 1, "does not say its version");
	needs.kernel_version = "";
	refuse(&needs, 1, "does not say its version");
}

static void test_missing_drivers(void **state)
{
	static const char *const drivers[] = { "virtio_mmio", "virtio_blk", "virtio_net", "ext4" };
	struct fixture *f = *state;
	struct rootfs_needs needs = all(f);

	for (unsigned i = 0; i < 4; i++) {
		_cleanup_free_ char *text = strdup(dep);
		char name[64], *line;

		snprintf(name, sizeof(name), "kernel/%s.ko:", drivers[i]);
		line = strstr(text, name);
		memset(line, '#', strlen(name));
		write_text(path_of(f, "modules.dep"), text);
		refuse(&needs, -ENOENT, drivers[i]);
	}
	write_text(path_of(f, "modules.dep"), dep);
	needs.root_image = "/nonexistent.img";
	refuse(&needs, -ENOENT, "/nonexistent.img");
}

static void test_optional_left_out(void **state)
{
	struct fixture *f = *state;
	struct rootfs_needs needs = all(f);

	needs.net = needs.console = false;
	needs.root_image = NULL;
	write_text(path_of(f, "kernel/virtio-rng.ko"), "not a module");
	_cleanup_close_ int fd = -1;
	struct error err = { 0 };

	assert_int_equal(rootfs_initramfs(&fd, &needs, &err), 0);
}

static void test_bad_modules(void **state)
{
	struct fixture *f = *state;
	struct rootfs_needs needs = all(f);

	write_module(f, "virtio", "6.1.0-other");
	refuse(&needs, -ENOEXEC, "is for kernel 6.1.0-other, but the kernel is " VERSION);
	write_text(path_of(f, "kernel/virtio.ko"), "\x7f"
						   "ELF, or so");
	refuse(&needs, -ENOEXEC, "kernel/virtio.ko is not an x86-64 kernel module");
	write_text(path_of(f, "kernel/virtio.ko"), "");
	refuse(&needs, -ENOEXEC, "kernel/virtio.ko");
	write_file(path_of(f, "kernel/virtio.ko"), "\xfd\x37zXZ\0\0\4\1\2\3", 11);
	refuse(&needs, -EINVAL, "kernel/virtio.ko: damaged or cut short");
	assert_int_equal(unlink(path_of(f, "kernel/virtio.ko")), 0);
	refuse(&needs, -ENOENT, "kernel/virtio.ko");
	assert_int_equal(mkdir(path_of(f, "kernel/virtio.ko"), 0755), 0);
	refuse(&needs, -EINVAL, "kernel/virtio.ko: not a regular file");
}

static void test_bad_texts(void **state)
{
	struct fixture *f = *state;
	struct rootfs_needs needs = all(f);

	write_text(path_of(f, "modules.dep"), "/etc/passwd/virtio_mmio.ko:\n");
	refuse(&needs, -EINVAL, "out of the directory");
	write_text(path_of(f, "modules.dep"),
		"a/virtio_mmio.ko: b/virtio.ko\nb/virtio.ko: a/virtio_mmio.ko\n");
	refuse(&needs, -EINVAL, "loop");
	write_text(path_of(f, "modules.dep"), "");
	refuse(&needs, -ENOENT, "virtio_mmio");
	assert_int_equal(unlink(path_of(f, "modules.dep")), 0);
	refuse(&needs, -ENOENT, "no modules.dep");
	assert_int_equal(mkdir(path_of(f, "modules.dep"), 0755), 0);
	refuse(&needs, -EINVAL, "modules.dep cannot be read");
}

static unsigned open_files(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void test_leaks_no_files(void **state)
{
	struct fixture *f = *state;
	struct rootfs_needs needs = all(f);
	unsigned before = open_files();
	struct error err;
	int fd;

	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(rootfs_initramfs(&fd, &needs, &err), 0);
		close(fd);
	}
	unlink(path_of(f, "kernel/ext4.ko"));
	for (unsigned i = 0; i < 20; i++)
		assert_true(rootfs_initramfs(&fd, &needs, &err) < 0);
	assert_int_equal(open_files(), before);
}

/* The guest learns over vsock what its root is; the plan does not say. */
static void test_supervised(void **state)
{
	struct rootfs_needs needs = all(*state);

	needs.supervise = needs.fs = needs.overlay = needs.root_read_only = true;
	expect_plan(&needs, "need virtio.ko\nneed virtio_mmio.ko\ntry virtio_console.ko\nconsole\n"
			    "need virtio_blk.ko\ntry crc32c-intel.ko\nneed jbd2.ko\nneed ext4.ko\n"
			    "need vsock.ko\nneed vmw_vsock_virtio_transport.ko\n"
			    "need fuse.ko\nneed virtiofs.ko\nneed overlay.ko\n"
			    "need failover.ko\nneed virtio_net.ko\ntry virtio-rng.ko\nsupervise\n");
	needs.root_image = NULL;
	needs.net = needs.console = needs.overlay = false;
	expect_plan(&needs, "need virtio.ko\nneed virtio_mmio.ko\nneed vsock.ko\n"
			    "need vmw_vsock_virtio_transport.ko\nneed fuse.ko\nneed virtiofs.ko\n"
			    "try virtio-rng.ko\nsupervise\n");
	needs.fs = false;
	needs.disk = true;
	expect_plan(&needs, "need virtio.ko\nneed virtio_mmio.ko\nneed virtio_blk.ko\n"
			    "need vsock.ko\nneed vmw_vsock_virtio_transport.ko\n"
			    "try virtio-rng.ko\nsupervise\n");
}

/* There is always an initramfs, with the guest program at least. */
static void test_supervised_without_modules(void **state)
{
	struct fixture *f = *state;
	struct rootfs_needs needs = all(f);

	needs.supervise = needs.fs = needs.overlay = true;
	needs.modules_dir = NULL;
	needs.kernel_version = "0.0.0-there-is-no-such-kernel";
	expect_plan(&needs, "supervise\n");
	needs.kernel_version = NULL;
	expect_plan(&needs, "supervise\n");
	write_text(f->image, "QFI\xfb");
	refuse(&needs, -EINVAL, "qcow2");
	/* A version that is not known does not keep anybody from saying where the modules are. */
	needs.root_image = NULL;
	needs.modules_dir = f->modules;
	needs.console = needs.net = false;
	expect_plan(&needs, "need virtio.ko\nneed virtio_mmio.ko\nneed vsock.ko\n"
			    "need vmw_vsock_virtio_transport.ko\nneed fuse.ko\nneed virtiofs.ko\n"
			    "need overlay.ko\ntry virtio-rng.ko\nsupervise\n");
	write_text(path_of(f, "modules.dep"), "");
	write_text(path_of(f, "modules.builtin"),
		"k/virtio_mmio.ko\nk/vmw_vsock_virtio_transport.ko\nk/virtiofs.ko\nk/overlay.ko\n");
	needs.kernel_version = VERSION;
	expect_plan(&needs, "supervise\n");
}

static void test_supervised_missing_drivers(void **state)
{
	static const char *const drivers[] = { "vmw_vsock_virtio_transport", "virtiofs",
		"overlay" };
	struct fixture *f = *state;
	struct rootfs_needs needs = all(f);

	needs.supervise = needs.fs = needs.overlay = true;
	for (unsigned i = 0; i < 3; i++) {
		_cleanup_free_ char *text = strdup(dep);
		char name[64], words[128], *line;

		snprintf(name, sizeof(name), "kernel/%s.ko:", drivers[i]);
		line = strstr(text, name);
		memset(line, '#', strlen(name));
		write_text(path_of(f, "modules.dep"), text);
		snprintf(words, sizeof(words), "kernel " VERSION " has no driver %s", drivers[i]);
		refuse(&needs, -ENOENT, words);
		refuse(&needs, -ENOENT, f->modules);
	}
	write_text(path_of(f, "modules.dep"), dep);
	write_module(f, "virtiofs", "6.1.0-other");
	refuse(&needs, -ENOEXEC, "is for kernel 6.1.0-other, but the kernel is " VERSION);
}

/* ---- the cache ---- */

static void begin_cache(struct fixture *f)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/cache", f->dir);
	setenv("XDG_CACHE_HOME", path, 1);
}

static void end_cache(void)
{
	setenv("XDG_CACHE_HOME", "/dev/null", 1);
}

/* Is it taken from the cache? @where, of 512 bytes: the file. */
static bool from_cache(const struct rootfs_needs *needs, char *where)
{
	_cleanup_close_ int fd = -1;
	struct error err = { 0 };
	char link[64];
	ssize_t n;

	if (rootfs_initramfs(&fd, needs, &err) != 0)
		fail_msg("%s", err.msg);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, where, 511);
	assert_true(n > 0);
	where[n] = 0;
	return strstr(where, "/cache/microvm/initramfs/");
}

static void test_cached(void **state)
{
	static const char plan[] = "need virtio.ko\nneed virtio_mmio.ko\nneed vsock.ko\n"
				   "need vmw_vsock_virtio_transport.ko\nneed overlay.ko\n"
				   "try virtio-rng.ko\nsupervise\n";
	struct fixture *f = *state;
	struct rootfs_needs needs = { .kernel_version = VERSION,
		.modules_dir = f->modules,
		.supervise = true,
		.overlay = true };
	char where[512];

	begin_cache(f);
	expect_plan(&needs, plan); /* makes it */
	assert_true(from_cache(&needs, where));
	expect_plan(&needs, plan);
	/* Damaged: made anew, and kept again. */
	assert_int_equal(truncate(where, 1000), 0);
	assert_false(from_cache(&needs, where));
	assert_true(from_cache(&needs, where));
	/* A module that was built again, without depmod. */
	write_module(f, "overlay", VERSION " again");
	assert_false(from_cache(&needs, where));
	assert_true(from_cache(&needs, where));
	expect_plan(&needs, plan);
	/* One that is gone, or is another version's: the error comes, cache or not. */
	unlink(path_of(f, "kernel/overlay.ko"));
	refuse(&needs, -ENOENT, "overlay.ko");
	write_module(f, "overlay", "6.2");
	refuse(&needs, -ENOEXEC, "is for kernel 6.2");
	needs.overlay = false;
	assert_false(from_cache(&needs, where));
	assert_true(from_cache(&needs, where));
	end_cache();
	assert_false(from_cache(&needs, where));
}

/* What differs in anything does not share. */
static void test_cached_separately(void **state)
{
	struct fixture *f = *state;
	struct rootfs_needs needs = all(f);
	char where[512], first[512];

	begin_cache(f);
	assert_false(from_cache(&needs, where));
	assert_true(from_cache(&needs, first));
	needs.net = false;
	assert_false(from_cache(&needs, where));
	needs.root_read_only = true;
	assert_false(from_cache(&needs, where));
	needs.supervise = true;
	assert_false(from_cache(&needs, where));
	needs.root_read_only = false; /* that is the host's to say now */
	assert_true(from_cache(&needs, where));
	needs.kernel_version = NULL;
	assert_false(from_cache(&needs, where));
	needs = all(f);
	assert_true(from_cache(&needs, where));
	assert_string_equal(where, first);
	end_cache();
}

static void test_left_out_is_not_cached(void **state)
{
	struct fixture *f = *state;
	struct rootfs_needs needs = all(f);
	char where[512];

	begin_cache(f);
	write_text(path_of(f, "kernel/virtio-rng.ko"), "not a module");
	assert_false(from_cache(&needs, where));
	assert_false(from_cache(&needs, where));
	write_module(f, "virtio-rng", VERSION);
	assert_false(from_cache(&needs, where));
	assert_true(from_cache(&needs, where));
	end_cache();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_plan),
		TEST(test_builtin_fs),
		TEST(test_builtin_console),
		TEST(test_where),
		TEST(test_nothing_to_build),
		TEST(test_missing_drivers),
		TEST(test_optional_left_out),
		TEST(test_bad_modules),
		TEST(test_bad_texts),
		TEST(test_leaks_no_files),
		TEST(test_supervised),
		TEST(test_supervised_without_modules),
		TEST(test_supervised_missing_drivers),
		TEST(test_cached),
		TEST(test_cached_separately),
		TEST(test_left_out_is_not_cached),
	};

	setenv("XDG_CACHE_HOME", "/dev/null", 1); /* no cache, but where a test has one */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
