/* Which kernel is found, in directories made up for it. */
#include "rootfs/kernel.h"

#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static char top[64], own[80], boot[80], modules[80];
static struct rootfs_kernel_places places;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int setup(void **state)
{
	strcpy(top, "/tmp/microvm-test-kernel-XXXXXX");
	if (!mkdtemp(top))
		return -1;
	snprintf(own, sizeof(own), "%s/own", top);
	snprintf(boot, sizeof(boot), "%s/boot", top);
	snprintf(modules, sizeof(modules), "%s/modules", top);
	mkdir(own, 0755);
	mkdir(boot, 0755);
	mkdir(modules, 0755);
	chmod(top, 0755);
	places = (struct rootfs_kernel_places){
		.own_dir = own, .boot_dir = boot, .modules_root = modules
	};
	return 0;
}

static int teardown(void **state)
{
	nftw(top, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	return 0;
}

static void make_file(const char *where, const char *name)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", where, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "kernel", 6), 6);
	close(fd);
}

static void make_modules(const char *version)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", modules, version);
	mkdir(path, 0755);
	make_file(path, "modules.dep");
}

static void make_stock(const char *version)
{
	char name[128];

	snprintf(name, sizeof(name), "vmlinuz-%s", version);
	make_file(boot, name);
	make_modules(version);
}

static void expect_with(const char *modules_dir, const char *where, const char *name)
{
	char path[512], wanted[512];
	struct error err = { 0 };

	snprintf(wanted, sizeof(wanted), "%s/%s", where, name);
	if (rootfs_find_kernel_in(path, sizeof(path), modules_dir, &places, &err) != 0)
		fail_msg("%s", err.msg);
	assert_string_equal(path, wanted);
}

static void expect(const char *where, const char *name)
{
	expect_with(NULL, where, name);
}

static void refuse_with(const char *modules_dir, int ret, const char *words)
{
	struct error err = { 0 };
	char path[512];

	assert_int_equal(
		rootfs_find_kernel_in(path, sizeof(path), modules_dir, &places, &err), ret);
	assert_int_equal(err.kind, ERROR_IMAGE);
	assert_null(strchr(err.msg, '\n'));
	if (!strstr(err.msg, words))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, words);
}

static void refuse(int ret, const char *words)
{
	refuse_with(NULL, ret, words);
}

static void test_none(void **state)
{
	refuse(-ENOENT, own);
	refuse(-ENOENT, boot);
	refuse(-ENOENT, "linux-image-cloud-amd64");
	refuse(-ENOENT, "--kernel");
	refuse(-ENOENT, "MICROVM_KERNEL");
	places = (struct rootfs_kernel_places){ 0 };
	refuse(-ENOENT, "/boot");
	places.boot_dir = "/nonexistent";
	refuse(-ENOENT, "/nonexistent/vmlinuz-*");
}

static void test_newest(void **state)
{
	make_stock("6.1.0-9-cloud-amd64");
	expect(boot, "vmlinuz-6.1.0-9-cloud-amd64");
	make_stock("6.1.0-44-cloud-amd64");
	expect(boot, "vmlinuz-6.1.0-44-cloud-amd64");
	make_stock("6.1.0-44-amd64"); /* the same; the smaller one is the better guest */
	expect(boot, "vmlinuz-6.1.0-44-cloud-amd64");
	make_stock("6.12.9-amd64");
	make_stock("6.9.12-amd64");
	expect(boot, "vmlinuz-6.12.9-amd64");
	make_file(boot, "vmlinuz-6.13.0"); /* no modules */
	expect(boot, "vmlinuz-6.12.9-amd64");
	make_file(boot, "vmlinuz");
	make_file(boot, "initrd.img-6.14");
	make_file(boot, "vmlinux-6.14");
	make_modules("6.14");
	expect(boot, "vmlinuz-6.12.9-amd64");
}

static void test_own(void **state)
{
	make_stock("6.12.9-amd64");
	make_file(own, "readme");
	expect(boot, "vmlinuz-6.12.9-amd64");
	make_file(own, "bzImage");
	expect(own, "bzImage");
	make_file(own, "vmlinuz-6.6");
	expect(own, "vmlinuz-6.6");
	make_file(own, "vmlinux-6.6");
	expect(own, "vmlinux-6.6");
	make_file(own, "bzImage-6.10");
	expect(own, "bzImage-6.10");
}

static void test_chosen(void **state)
{
	char path[128];

	make_stock("6.12.9-amd64");
	make_file(top, "mine");
	snprintf(path, sizeof(path), "%s/mine", top);
	places.chosen = path;
	expect(top, "mine");
	places.chosen = "";
	expect(boot, "vmlinuz-6.12.9-amd64");
	places.chosen = "/nonexistent/vmlinuz";
	refuse(-ENOENT, "MICROVM_KERNEL=/nonexistent/vmlinuz");
	places.chosen = top;
	refuse(-EISDIR, "directory");
	places.chosen = "/dev/null";
	refuse(-ENOEXEC, "not a kernel");
}

/* --modules DIR: the kernel whose modules those are. */
static void test_modules_dir(void **state)
{
	char of_one[160], root[160], of_root[200];

	make_stock("6.1.0-1");
	make_stock("6.1.0-2");
	make_file(boot, "vmlinuz-6.1.0-3");
	snprintf(of_one, sizeof(of_one), "%s/6.1.0-1", modules);
	expect_with(of_one, boot, "vmlinuz-6.1.0-1");
	expect_with(modules, boot, "vmlinuz-6.1.0-2");
	snprintf(root, sizeof(root), "%s/root", top);
	mkdir(root, 0755);
	refuse_with(root, -ENOENT, root);
	snprintf(of_root, sizeof(of_root), "%s/lib", root);
	mkdir(of_root, 0755);
	snprintf(of_root, sizeof(of_root), "%s/lib/modules", root);
	assert_int_equal(symlink(modules, of_root), 0);
	expect_with(root, boot, "vmlinuz-6.1.0-2");
	strcat(of_one, "/");
	expect_with(of_one, boot, "vmlinuz-6.1.0-1");
}

static void test_unsuitable(void **state)
{
	char path[256];

	make_file(boot, "vmlinuz-6.1.0-7");
	make_file(boot, "vmlinuz-6.1.0-8");
	refuse(-ENOENT, "vmlinuz-6.1.0-8 has no modules in");
	refuse(-ENOENT, modules);
	/* A directory, a fifo, an empty file, a link to nowhere: passed over. */
	make_stock("6.1.0-1");
	snprintf(path, sizeof(path), "%s/vmlinuz-6.2", boot);
	make_modules("6.2");
	assert_int_equal(mkdir(path, 0755), 0);
	expect(boot, "vmlinuz-6.1.0-1");
	rmdir(path);
	assert_int_equal(mkfifo(path, 0644), 0);
	expect(boot, "vmlinuz-6.1.0-1");
	unlink(path);
	assert_int_equal(symlink("nowhere", path), 0);
	expect(boot, "vmlinuz-6.1.0-1");
	unlink(path);
	close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	expect(boot, "vmlinuz-6.1.0-1");
}

/* As Ubuntu has them. Root reads anything, so it becomes somebody else for a moment. */
static void test_unreadable(void **state)
{
	bool root = geteuid() == 0;
	char path[256];

	make_stock("6.8.0-1-generic");
	make_stock("6.8.0-2-generic");
	snprintf(path, sizeof(path), "%s/vmlinuz-6.8.0-2-generic", boot);
	chmod(path, 0600);
	if (root)
		assert_int_equal(seteuid(65534), 0);
	else
		chmod(path, 0);
	expect(boot, "vmlinuz-6.8.0-1-generic");
	if (root)
		assert_int_equal(seteuid(0), 0);
	snprintf(path, sizeof(path), "%s/vmlinuz-6.8.0-1-generic", boot);
	chmod(path, root ? 0600 : 0);
	if (root)
		assert_int_equal(seteuid(65534), 0);
	refuse(-EACCES, "vmlinuz-6.8.0-2-generic");
	refuse(-EACCES, "chmod 644");
	if (root)
		assert_int_equal(seteuid(0), 0);
}

static void test_no_room(void **state)
{
	struct error err = { 0 };
	char path[16];

	make_stock("6.1.0-1");
	assert_int_equal(
		rootfs_find_kernel_in(path, sizeof(path), NULL, &places, &err), -ENAMETOOLONG);
	places.chosen = "/bin/../bin/../bin/sh";
	assert_int_equal(
		rootfs_find_kernel_in(path, sizeof(path), NULL, &places, &err), -ENAMETOOLONG);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_none),
		TEST(test_newest),
		TEST(test_own),
		TEST(test_chosen),
		TEST(test_modules_dir),
		TEST(test_unsuitable),
		TEST(test_unreadable),
		TEST(test_no_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
