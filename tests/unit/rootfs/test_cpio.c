/* The archive writer, read back by a reader of our own and by cpio(1). */
#include "rootfs/cpio.h"

#include "archive.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>

static int make(struct error *err)
{
	struct cpio cpio;
	uint8_t *to;
	size_t room;
	int fd;

	assert_int_equal(cpio_begin(&cpio, err), 0);
	assert_int_equal(cpio_node(&cpio, "dev", S_IFDIR | 0755, 0, 0, err), 0);
	assert_int_equal(cpio_node(&cpio, "dev/console", S_IFCHR | 0600, 5, 1, err), 0);
	assert_int_equal(cpio_file(&cpio, "/init", 0755, "abc", 3, err), 0);
	assert_int_equal(cpio_file(&cpio, "empty", 0644, "", 0, err), 0);
	to = cpio_room(&cpio, "scribbled", &room, err);
	assert_true(room > 1 << 20);
	memset(to, 0xff, 1 << 16); /* as a decompressor may do that wants less in the end */
	assert_int_equal(cpio_commit(&cpio, "scribbled", 0600, 5, err), 0);
	assert_int_equal(cpio_file(&cpio, "last", 0600, "12345678", 8, err), 0);
	assert_int_equal(cpio_end(&cpio, &fd, err), 0);
	cpio_discard(&cpio);
	return fd;
}

static void test_read_back(void **state)
{
	struct archive_entry e[16];
	struct error err;
	_cleanup_close_ int fd = make(&err);
	struct stat st;
	uint8_t *map;

	assert_int_equal(fstat(fd, &st), 0);
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_int_equal(archive_read(map, (size_t)st.st_size, e, 16), 6);
	assert_string_equal(e[0].name, "dev");
	assert_int_equal(e[0].mode, S_IFDIR | 0755);
	assert_int_equal(e[1].mode, S_IFCHR | 0600);
	assert_int_equal(e[1].rdev_major, 5);
	assert_int_equal(e[1].rdev_minor, 1);
	assert_string_equal(e[2].name, "init");
	assert_int_equal(e[2].mode, S_IFREG | 0755);
	assert_int_equal(e[2].len, 3);
	assert_memory_equal(e[2].data, "abc", 3);
	assert_int_equal(e[3].len, 0);
	assert_int_equal(e[4].len, 5);
	assert_memory_equal(e[4].data, "\xff\xff\xff\xff\xff", 5);
	assert_memory_equal(e[5].data, "12345678", 8);
	munmap(map, (size_t)st.st_size);
}

static void test_sealed(void **state)
{
	struct error err;
	_cleanup_close_ int fd = make(&err);

	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(ftruncate(fd, 1 << 20), -1);
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void test_cpio_reads_it(void **state)
{
	static const char *const wanted[] = { "drwxr-xr-x", "crw-------", " 5,   1 ",
		" dev/console\n", "-rwxr-xr-x", " init\n", " scribbled\n", " last\n" };
	struct error err;
	_cleanup_close_ int fd = make(&err);
	char command[64], out[4096];
	size_t len;
	FILE *pipe;

	if (system("command -v cpio >/dev/null") != 0) {
		skip();
		return;
	}
	assert_int_equal(fcntl(fd, F_SETFD, 0), 0);
	snprintf(command, sizeof(command), "cpio -itv --quiet <&%d 2>&1", fd);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	pipe = popen(command, "r");
	len = fread(out, 1, sizeof(out) - 1, pipe);
	out[len] = 0;
	assert_int_equal(pclose(pipe), 0);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (!strstr(out, wanted[i]))
			fail_msg("cpio does not say \"%s\":\n%s", wanted[i], out);
}

static void test_limits(void **state)
{
	static char name[CPIO_NAME_MAX + 2];
	struct error err;
	struct cpio cpio;
	size_t room;

	assert_int_equal(cpio_begin(&cpio, &err), 0);
	assert_int_equal(cpio_node(&cpio, "", S_IFDIR, 0, 0, &err), -ENAMETOOLONG);
	memset(name, 'n', CPIO_NAME_MAX);
	assert_int_equal(cpio_node(&cpio, name, S_IFDIR, 0, 0, &err), 0);
	name[CPIO_NAME_MAX] = 'n';
	assert_int_equal(cpio_node(&cpio, name, S_IFDIR, 0, 0, &err), -ENAMETOOLONG);
	assert_non_null(cpio_room(&cpio, "big", &room, &err));
	assert_int_equal(cpio_file(&cpio, "big", 0600, "", room + 1, &err), -EFBIG);
	assert_non_null(strstr(err.msg, "512 MiB"));
	assert_int_equal(cpio_commit(&cpio, "big", 0600, room, &err), 0);
	/* Full, but there is room to end it. */
	while (cpio_node(&cpio, "more", S_IFDIR, 0, 0, &err) == 0)
		;
	assert_null(cpio_room(&cpio, "x", &room, &err));
	cpio_discard(&cpio);
	cpio_discard(&cpio);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_back),
		cmocka_unit_test(test_sealed),
		cmocka_unit_test(test_cpio_reads_it),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
