/* What is in a bzImage comes out, once, and is found again; whatever else is left as it is. */
#include "rootfs/vmlinux.h"

#include "util/cleanup.h"
#include "util/macros.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cmocka.h>

enum { SIZE = 3 * 1024 * 1024 + 12, ROOM = 4 * 1024 * 1024, AT = 1024, PAYLOAD = 0x100 };

static uint8_t kernel[SIZE], image[ROOM], got[SIZE];
static size_t image_len;
static char home[64], path[128], kept[128];

static int remove_one(const char *name, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(name);
}

/* A kernel with a long run of zeros in it. */
static int setup(void **state)
{
	Elf64_Ehdr elf = { .e_machine = EM_X86_64 };

	memcpy(elf.e_ident, ELFMAG, SELFMAG);
	elf.e_ident[EI_CLASS] = ELFCLASS64;
	for (size_t i = 0; i < SIZE; i++)
		kernel[i] = i > 100000 && i < 2000000 ? 0 : (uint8_t)(i * i / 7 + i / 1000);
	memcpy(kernel, &elf, sizeof(elf));
	strcpy(home, "/tmp/microvm-test-vmlinux-XXXXXX");
	if (!mkdtemp(home) || setenv("XDG_CACHE_HOME", home, 1))
		return -1;
	snprintf(path, sizeof(path), "%s/bzImage", home);
	snprintf(kept, sizeof(kept), "%s/microvm/kernel", home);
	return 0;
}

static int teardown(void **state)
{
	nftw(home, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	return 0;
}

static struct setup_header *header(void)
{
	return (void *)(image + offsetof(struct boot_params, hdr));
}

/* Around @len bytes of payload, which lie at their place already. */
static void wrap(size_t len)
{
	struct setup_header *hdr = header();

	memset(image, 0, AT);
	hdr->setup_sects = 1;
	hdr->header = 0x53726448;
	hdr->version = 0x020f;
	hdr->xloadflags = XLF_KERNEL_64;
	hdr->payload_offset = PAYLOAD;
	hdr->payload_length = (uint32_t)len;
	hdr->syssize = (uint32_t)(PAYLOAD + len + 100) / 16;
	image_len = AT + hdr->syssize * 16;
}

static void pack_zstd(void)
{
	uint8_t *to = image + AT + PAYLOAD;
	const uint32_t size = SIZE;
	size_t n = ZSTD_compress(to, ROOM - AT - PAYLOAD - 200, kernel, SIZE, 1);

	assert_false(ZSTD_isError(n));
	memcpy(to + n, &size, sizeof(size));
	wrap(n + sizeof(size));
}

static void pack_gzip(void)
{
	z_stream z = { .next_in = kernel,
		.avail_in = SIZE,
		.next_out = image + AT + PAYLOAD,
		.avail_out = ROOM - AT - PAYLOAD - 200 };

	assert_int_equal(deflateInit2(&z, 1, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	wrap(z.total_out);
	deflateEnd(&z);
}

static void write_image(void)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_int_equal(write(fd, image, image_len), image_len);
}

static bool comes_out(void)
{
	_cleanup_close_ int fd = -1;
	struct error err = { 0 };
	struct stat st;
	int r = rootfs_vmlinux(&fd, path, &err);

	if (r == 1) {
		assert_int_equal(fd, -1);
		assert_true(err.msg[0]);
		return false;
	}
	assert_int_equal(r, 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, SIZE);
	assert_int_equal(pread(fd, got, SIZE, 0), SIZE);
	assert_memory_equal(got, kernel, SIZE);
	assert_true(st.st_blocks * 512 < SIZE - 1500000); /* the zeros are a hole */
	return true;
}

/* The one file that is kept. */
static void find_kept(char name[512])
{
	char command[256];
	FILE *list;

	snprintf(command, sizeof(command), "ls %s/*", kept);
	list = popen(command, "r");
	assert_non_null(fgets(name, 512, list));
	name[strcspn(name, "\n")] = 0;
	assert_int_equal(fgetc(list), EOF);
	pclose(list);
}

static void each_way(void **state)
{
	pack_zstd();
	write_image();
	assert_true(comes_out());
	assert_true(comes_out());
	remove(path);
	assert_false(comes_out());
	nftw(kept, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	pack_gzip();
	write_image();
	assert_true(comes_out());
}

/* Found again rather than made again; made again when the file is another. */
static void once(void **state)
{
	char first[512], second[512];
	struct stat before, after;

	pack_zstd();
	write_image();
	assert_true(comes_out());
	find_kept(first);
	assert_int_equal(stat(first, &before), 0);
	assert_true(comes_out());
	find_kept(second);
	assert_string_equal(first, second);
	assert_int_equal(stat(second, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	kernel[500]++;
	pack_zstd();
	write_image();
	assert_true(comes_out());
}

static void refused(void **state)
{
	pack_zstd();
	header()->header = 0;
	write_image();
	assert_false(comes_out());
	pack_zstd();
	header()->version = 0x0207;
	write_image();
	assert_false(comes_out());
	pack_zstd();
	header()->payload_length = 0xffffffff;
	write_image();
	assert_false(comes_out());
	pack_zstd();
	header()->payload_offset = 0xfffffff0;
	write_image();
	assert_false(comes_out());
	pack_gzip(); /* which has a checksum */
	image[AT + PAYLOAD + 2000] ^= 0x55;
	write_image();
	assert_false(comes_out());
	pack_zstd();
	memcpy(image + AT + PAYLOAD, "LZO?", 4);
	write_image();
	assert_false(comes_out());
	for (uint32_t size = SIZE - 1; size <= SIZE + 1; size += 2) {
		pack_zstd();
		memcpy(image + AT + PAYLOAD + header()->payload_length - 4, &size, 4);
		write_image();
		assert_false(comes_out());
	}
	pack_zstd();
	header()->syssize = PAYLOAD / 16;
	write_image();
	assert_false(comes_out());
	pack_zstd();
	for (image_len--; image_len > 10; image_len /= 3) {
		write_image();
		assert_false(comes_out());
	}
}

static void no_cache(void **state)
{
	pack_zstd();
	write_image();
	setenv("XDG_CACHE_HOME", "/dev/null", 1);
	assert_false(comes_out());
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(each_way),
		TEST(once),
		TEST(refused),
		TEST(no_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
