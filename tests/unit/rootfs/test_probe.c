/* Superblocks and partition tables: right ones, cut ones, and ones that lie. */
#include "rootfs/probe.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static uint8_t image[PROBE_BYTES];

static void put(size_t offset, const void *bytes, size_t len)
{
	memcpy(image + offset, bytes, len);
}

static void put32(size_t offset, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		image[offset + i] = (uint8_t)(v >> 8 * i);
}

static void put64(size_t offset, uint64_t v)
{
	put32(offset, (uint32_t)v);
	put32(offset + 4, (uint32_t)(v >> 32));
}

static void blank(void)
{
	memset(image, 0, sizeof(image));
}

static const struct {
	size_t offset;
	const char *bytes;
	size_t len;
	enum probe_kind kind;
	const char *name;
} samples[] = {
	{ 0x438, "\x53\xef", 2, PROBE_FILESYSTEM, "ext4" },
	{ 0, "XFSB", 4, PROBE_FILESYSTEM, "xfs" },
	{ 0x10040, "_BHRfS_M", 8, PROBE_FILESYSTEM, "btrfs" },
	{ 0, "hsqs", 4, PROBE_FILESYSTEM, "squashfs" },
	{ 0x400, "\xe2\xe1\xf5\xe0", 4, PROBE_FILESYSTEM, "erofs" },
	{ 0x400, "\x10\x20\xf5\xf2", 4, PROBE_FILESYSTEM, "f2fs" },
	{ 0x8001, "CD001", 5, PROBE_FILESYSTEM, "iso9660" },
	{ 0, "QFI\xfb", 4, PROBE_FOREIGN, "a qcow2 image" },
	{ 257, "ustar", 5, PROBE_FOREIGN, "a tar archive, not a disk image" },
	{ 0, "LUKS\xba\xbe", 6, PROBE_UNKNOWN, "an encrypted disk (LUKS)" },
};

static void test_magics(void **state)
{
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		size_t end = samples[i].offset + samples[i].len;
		struct probe probe;

		blank();
		put(samples[i].offset, samples[i].bytes, samples[i].len);
		probe = probe_bytes(image, sizeof(image));
		assert_int_equal(probe.kind, samples[i].kind);
		assert_string_equal(probe.name, samples[i].name);
		/* An image that ends with the magic number's last byte, and one byte earlier. */
		assert_int_equal(probe_bytes(image, end).kind, samples[i].kind);
		probe = probe_bytes(image, end - 1);
		assert_int_equal(probe.kind, PROBE_UNKNOWN);
		assert_null(probe.name);
	}
	assert_int_equal(probe_bytes(NULL, 0).kind, PROBE_UNKNOWN);
}

static void test_fat(void **state)
{
	blank();
	put(510, "\x55\xaa", 2);
	put(82, "FAT32   ", 8);
	assert_string_equal(probe_bytes(image, sizeof(image)).name, "vfat");
	assert_int_equal(probe_bytes(image, 511).kind, PROBE_UNKNOWN);
	blank();
	put(54, "FAT16   ", 8);
	assert_int_equal(probe_bytes(image, sizeof(image)).kind, PROBE_UNKNOWN);
}

static void put_mbr(unsigned i, uint8_t type, uint32_t start, uint32_t sectors)
{
	put(510, "\x55\xaa", 2);
	image[446 + 16 * i + 4] = type;
	put32(446 + 16 * i + 8, start);
	put32(446 + 16 * i + 12, sectors);
}

static void test_mbr(void **state)
{
	struct probe_partition part[PROBE_PARTITIONS_MAX];

	blank();
	put_mbr(1, 0x83, 2048, 4096);
	put_mbr(3, 0x82, 0xffffffff, 0xffffffff);
	assert_int_equal(probe_bytes(image, sizeof(image)).kind, PROBE_PARTITIONED);
	assert_int_equal(probe_partitions(image, sizeof(image), part), 2);
	assert_int_equal(part[0].number, 2);
	assert_int_equal(part[0].start, 2048 * 512);
	assert_int_equal(part[0].size, 4096 * 512);
	assert_int_equal(part[1].number, 4);
	assert_int_equal(probe_partitions(image, 511, part), 0);
	image[446] = 0x55; /* code, no table */
	assert_int_equal(probe_partitions(image, sizeof(image), part), 0);
}

static void put_gpt(uint64_t entries_lba, uint32_t count, uint32_t size)
{
	blank();
	put_mbr(0, 0xee, 1, 0xffffffff);
	put(512, "EFI PART", 8);
	put64(512 + 72, entries_lba);
	put32(512 + 80, count);
	put32(512 + 84, size);
}

static void put_gpt_entry(size_t at, uint8_t type, uint64_t first, uint64_t last)
{
	memset(image + at, type, 16);
	put64(at + 32, first);
	put64(at + 40, last);
}

static void test_gpt(void **state)
{
	struct probe_partition part[PROBE_PARTITIONS_MAX];

	put_gpt(2, 128, 128);
	put_gpt_entry(1024, 1, 2048, 4095);
	put_gpt_entry(1024 + 256, 2, 4096, 4096);
	put_gpt_entry(1024 + 384, 3, 10, 9);		       /* ends before it begins */
	put_gpt_entry(1024 + 512, 3, 1, UINT64_MAX);	       /* more bytes than there are */
	put_gpt_entry(1024 + 640, 3, 1, UINT64_MAX / 512 / 2); /* just so */
	assert_int_equal(probe_partitions(image, sizeof(image), part), 2);
	assert_int_equal(part[0].number, 1);
	assert_int_equal(part[0].size, 2048 * 512);
	assert_int_equal(part[1].number, 3);
	assert_int_equal(part[1].size, 512);
	assert_int_equal(probe_partitions(image, 1024 + 256 + 128, part), 2);
	assert_int_equal(probe_partitions(image, 1024 + 256 + 127, part), 1);
	assert_int_equal(
		probe_partitions(image, 1023, part), 1); /* no room for a header: the MBR */
}

static void test_gpt_that_lies(void **state)
{
	static const uint64_t lba[] = { 0, 1, 135, 136, 137, 1 << 20, UINT64_MAX / 512,
		UINT64_MAX };
	static const uint32_t sizes[] = { 0, 1, 127, 128, 4096, 4097, UINT32_MAX };
	struct probe_partition part[PROBE_PARTITIONS_MAX];

	for (size_t i = 0; i < sizeof(lba) / sizeof(lba[0]); i++)
		for (size_t j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++) {
			put_gpt(lba[i], UINT32_MAX, sizes[j]);
			for (size_t at = 1024; at + 128 <= sizeof(image); at += 128)
				put_gpt_entry(at, 7, 100 + at, 200 + at);
			assert_true(probe_partitions(image, sizeof(image), part) <=
				    PROBE_PARTITIONS_MAX);
		}
}

/* A file of @size with what is in image[] at its start and @magic (ext4's) at each of @at. */
static void make_file(const char *path, off_t size, const off_t *at, unsigned count)
{
	_cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	assert_true(pwrite(fd, image, size < 32768 ? (size_t)size : 32768, 0) > 0);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(pwrite(fd, "\x53\xef", 2, at[i] + 0x438), 2);
}

static void test_root(void **state)
{
	char path[] = "/tmp/microvm-test-probe-XXXXXX";
	struct probe_root root;
	struct error err;

	close(mkstemp(path));
	/* The largest partition with a file system is the root... */
	put_gpt(2, 128, 128);
	put_gpt_entry(1024, 1, 2048, 4095);
	put_gpt_entry(1024 + 128, 1, 4096, 8191);
	put_gpt_entry(1024 + 256, 1, 8192, 20000); /* nothing on it */
	make_file(path, 16 << 20, (off_t[]){ 2048 * 512, 4096 * 512 }, 2);
	assert_int_equal(probe_root(&root, path, &err), 0);
	assert_string_equal(root.fstype, "ext4");
	assert_int_equal(root.partition, 2);
	/* ... but for one that says it is. */
	memcpy(image + 1024, "\xe3\xbc\x68\x4f\xcd\xe8\xb1\x4d\x96\xe7\xfb\xca\xf9\x84\xb7\x09",
		16);
	make_file(path, 16 << 20, (off_t[]){ 2048 * 512, 4096 * 512 }, 2);
	assert_int_equal(probe_root(&root, path, &err), 0);
	assert_int_equal(root.partition, 1);
	/* Partitions beyond the end of the image, or with nothing on them, are passed over. */
	make_file(path, 1 << 20, NULL, 0);
	assert_int_equal(probe_root(&root, path, &err), 0);
	assert_null(root.fstype);
	assert_int_equal(root.partition, 0);
	blank();
	make_file(path, 512, NULL, 0);
	assert_int_equal(probe_root(&root, path, &err), 0);
	assert_null(root.fstype);
	unlink(path);
}

static void test_root_refused(void **state)
{
	char path[] = "/tmp/microvm-test-probe-XXXXXX";
	struct probe_root root;
	struct error err;

	close(mkstemp(path));
	blank();
	put(0, "QFI\xfb", 4);
	make_file(path, 65536, NULL, 0);
	assert_int_equal(probe_root(&root, path, &err), -EINVAL);
	assert_int_equal(err.kind, ERROR_IMAGE);
	assert_non_null(strstr(err.msg, path));
	assert_non_null(strstr(err.msg, "qemu-img convert"));
	unlink(path);
	assert_int_equal(probe_root(&root, path, &err), -ENOENT);
	assert_non_null(strstr(err.msg, path));
	assert_int_equal(probe_root(&root, "/tmp", &err), -EISDIR);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_true(probe_root(&root, path, &err) < 0);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_magics),
		cmocka_unit_test(test_fat),
		cmocka_unit_test(test_mbr),
		cmocka_unit_test(test_gpt),
		cmocka_unit_test(test_gpt_that_lies),
		cmocka_unit_test(test_root),
		cmocka_unit_test(test_root_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
