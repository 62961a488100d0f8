/* Files packed each way, cut short and changed. */
#include "rootfs/unpack.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <lz4.h>
#include <lzma.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

#include <cmocka.h>

enum { SIZE = 40000, ROOM = 100000 };

struct packed {
	const char *name;
	uint8_t data[ROOM];
	size_t len;
};

static uint8_t plain[SIZE];

static int setup(void **state)
{
	uint32_t x = 1;

	for (size_t i = 0; i < SIZE; i++) {
		x = x * 1664525 + 1013904223;
		plain[i] = i % 3 ? (uint8_t)(i / 100) : (uint8_t)(x >> 24);
	}
	return 0;
}

static void pack(struct packed *p, unsigned how)
{
	z_stream z = { .next_in = plain, .avail_in = SIZE, .next_out = p->data, .avail_out = ROOM };
	uint32_t size;

	p->len = 0;
	switch (how) {
	case 0:
		p->name = "xz";
		assert_int_equal(lzma_easy_buffer_encode(6, LZMA_CHECK_CRC32, NULL, plain, SIZE,
					 p->data, &p->len, ROOM),
			LZMA_OK);
		break;
	case 1:
		p->name = "zstd";
		p->len = ZSTD_compress(p->data, ROOM, plain, SIZE, 3);
		assert_false(ZSTD_isError(p->len));
		break;
	case 2:
		p->name = "gzip";
		assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
		assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
		p->len = z.total_out;
		deflateEnd(&z);
		break;
	case 3:
		p->name = "lz4";
		size = (uint32_t)LZ4_compress_default(
			(char *)plain, (char *)p->data + 8, SIZE, ROOM - 8);
		assert_true(size);
		memcpy(p->data, "\x02\x21\x4c\x18", 4);
		memcpy(p->data + 4, &size, 4);
		p->len = size + 8;
		break;
	default:
		p->name = "plain";
		memcpy(p->data, plain, SIZE);
		p->len = SIZE;
	}
}

static int unpack_data(const uint8_t *data, size_t len, uint8_t *out, size_t room, size_t *out_len,
	struct error *err)
{
	_cleanup_close_ int fd = memfd_create("packed", MFD_CLOEXEC);
	struct unpack *unpack;
	int ret;

	assert_int_equal(write(fd, data, len), len);
	assert_int_equal(unpack_open(&unpack, err), 0);
	ret = unpack_file(unpack, fd, "/m/a.ko.xz", out, room, out_len, err);
	unpack_close(unpack);
	return ret;
}

static void test_each(void **state)
{
	static uint8_t out[ROOM];
	struct packed p;
	struct error err;
	size_t len;

	for (unsigned how = 0; how < 5; how++) {
		pack(&p, how);
		memset(out, 0xaa, sizeof(out));
		assert_int_equal(unpack_data(p.data, p.len, out, ROOM, &len, &err), 0);
		assert_int_equal(len, SIZE);
		assert_memory_equal(out, plain, SIZE);
		/* Room for all of it, and for one byte less. */
		assert_int_equal(unpack_data(p.data, p.len, out, SIZE, &len, &err), 0);
		assert_int_equal(len, SIZE);
		if (how != 1 && how != 3) /* those do not tell this from damage */
			assert_int_equal(
				unpack_data(p.data, p.len, out, SIZE - 1, &len, &err), -EFBIG);
		else
			assert_true(unpack_data(p.data, p.len, out, SIZE - 1, &len, &err) < 0);
	}
}

static void test_cut_short(void **state)
{
	static uint8_t out[ROOM];
	struct packed p;
	size_t len;

	for (unsigned how = 0; how < 4; how++) {
		pack(&p, how);
		for (size_t cut = 5; cut < p.len; cut += cut < 64 || p.len - cut < 64 ? 1 : 977) {
			struct error err = { 0 };

			assert_int_equal(unpack_data(p.data, cut, out, ROOM, &len, &err), -EINVAL);
			assert_int_equal(err.kind, ERROR_IMAGE);
			assert_non_null(strstr(err.msg, "/m/a.ko.xz: damaged or cut short"));
		}
	}
	for (size_t cut = 0; cut < 5; cut++) { /* no magic number left: taken as it is */
		struct error err;

		pack(&p, 0);
		assert_int_equal(unpack_data(p.data, cut, out, ROOM, &len, &err), 0);
		assert_int_equal(len, cut);
	}
}

static void test_changed(void **state)
{
	static uint8_t out[ROOM];
	struct packed p;
	struct error err;
	size_t len;

	for (unsigned how = 0; how < 4; how++) {
		pack(&p, how);
		for (size_t at = 6; at < p.len; at += at < 100 ? 1 : 499) {
			int ret;

			p.data[at] ^= 1 << at % 8;
			ret = unpack_data(p.data, p.len, out, ROOM, &len, &err);
			assert_true(ret < 0 || len <= ROOM);
			p.data[at] ^= 1 << at % 8;
		}
	}
}

static void test_not_a_file(void **state)
{
	_cleanup_close_ int fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct unpack *unpack;
	struct error err;
	uint8_t out[16];
	size_t len;

	assert_int_equal(unpack_open(&unpack, &err), 0);
	assert_int_equal(unpack_file(unpack, fd, "/tmp", out, sizeof(out), &len, &err), -EINVAL);
	unpack_close(unpack);
	unpack_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each),
		cmocka_unit_test(test_cut_short),
		cmocka_unit_test(test_changed),
		cmocka_unit_test(test_not_a_file),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
