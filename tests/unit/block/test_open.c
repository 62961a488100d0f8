/* Opening and locking images: what is refused, with which words, and what goes together. */
#include "block/block.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/log.h"

enum { SIZE = 1024 * 1024 };

struct fixture {
	char dir[64];
	char path[128];
};

static void make_file(const char *path, off_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/microvm-test-block-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/disk.img", f->dir);
	make_file(f->path, SIZE);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	unlink(f->path);
	rmdir(f->dir);
	free(f);
	return 0;
}

/* It must fail, in this kind, naming @path and saying @words. */
static void refuse(const char *path, bool read_only, enum error_kind kind, const char *words)
{
	struct error err = { 0 };
	struct block *block = NULL;

	assert_true(block_open(&block, path, read_only, &err) < 0);
	assert_null(block);
	assert_int_equal(err.kind, kind);
	if (!strstr(err.msg, path) || !strstr(err.msg, words))
		fail_msg("message is '%s', expected '%s' in it", err.msg, words);
	assert_null(strchr(err.msg, '\n'));
}

static struct block *accept_image(const char *path, bool read_only)
{
	struct error err = { 0 };
	struct block *block = NULL;

	if (block_open(&block, path, read_only, &err) < 0)
		fail_msg("%s", err.msg);
	return block;
}

static void test_good(void **state)
{
	struct fixture *f = *state;
	struct block *block = accept_image(f->path, false);
	unsigned unit = block_size_logical(block);
	struct stat st;

	assert_int_equal(block_size(block), SIZE);
	assert_false(block_read_only(block));
	assert_true(unit >= 512 && !(unit & (unit - 1)));
	block_close(block);
	block = accept_image(f->path, true);
	assert_true(block_read_only(block));
	assert_false(block_can_discard(block));
	block_close(block);
	block_close(NULL);
	/* Looking for holes has not changed the file. */
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_size, SIZE);
}

static void test_sizes(void **state)
{
	static const off_t bad[] = { 1, 511, 513, SIZE + 1 };
	struct fixture *f = *state;
	char command[256];

	assert_int_equal(truncate(f->path, 0), 0);
	refuse(f->path, false, ERROR_IMAGE, "empty");
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(truncate(f->path, bad[i]), 0);
		refuse(f->path, true, ERROR_IMAGE, "not a multiple of 512");
		refuse(f->path, false, ERROR_IMAGE, "truncate -s %512");
	}
	/* The advice works. */
	snprintf(command, sizeof(command), "truncate -s %%512 %s", f->path);
	assert_int_equal(system(command), 0);
	block_close(accept_image(f->path, false));
	assert_int_equal(truncate(f->path, 512), 0);
	block_close(accept_image(f->path, false));
}

static void test_not_an_image(void **state)
{
	struct fixture *f = *state;
	char fifo[160];

	refuse("/tmp/there/is/no/such.img", false, ERROR_IMAGE, "no such disk image");
	refuse(f->dir, false, ERROR_IMAGE, "directory");
	refuse(f->dir, true, ERROR_IMAGE, "directory");
	refuse("/dev/null", true, ERROR_IMAGE, "neither a file nor a block device");
	snprintf(fifo, sizeof(fifo), "%s/fifo", f->dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	refuse(fifo, true, ERROR_IMAGE, "neither a file nor a block device");
	unlink(fifo);
	snprintf(fifo, sizeof(fifo), "%s/file", f->path);
	refuse(fifo, true, ERROR_IMAGE, "cannot open");
}

static void test_permissions(void **state)
{
	struct fixture *f = *state;

	if (geteuid() == 0) {
		/* Root may write anything; an unprivileged child shows it. */
		pid_t pid;
		int status;

		assert_int_equal(chmod(f->dir, 0755), 0);
		assert_int_equal(chmod(f->path, 0444), 0);
		pid = fork();
		if (pid == 0) {
			struct block *block = NULL;
			struct error err = { 0 };

			if (setgid(65534) || setuid(65534))
				_exit(2);
			if (block_open(&block, f->path, false, &err) >= 0 ||
				err.kind != ERROR_IMAGE || !strstr(err.msg, ",ro"))
				_exit(1);
			_exit(block_open(&block, f->path, true, &err) < 0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		return;
	}
	assert_int_equal(chmod(f->path, 0444), 0);
	refuse(f->path, false, ERROR_IMAGE, ",ro");
	block_close(accept_image(f->path, true));
}

/* ---- locks ---- */

static void test_writer_excludes_all(void **state)
{
	struct fixture *f = *state;
	struct block *block = accept_image(f->path, false);

	refuse(f->path, false, ERROR_BUSY, "writing to this image");
	refuse(f->path, true, ERROR_BUSY, "writing to this image");
	/* The refused ones left no locks behind. */
	block_close(block);
	block_close(accept_image(f->path, false));
}

static void test_readers_share(void **state)
{
	struct fixture *f = *state;
	struct block *a = accept_image(f->path, true), *b = accept_image(f->path, true);

	refuse(f->path, false, ERROR_BUSY, "read-only here too");
	block_close(a);
	refuse(f->path, false, ERROR_BUSY, "read-only here too");
	block_close(b);
	block_close(accept_image(f->path, false));
}

static int set_lock(int fd, short type, off_t byte)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	return fcntl(fd, F_OFD_SETLK, &lock);
}

static bool is_locked(int fd, off_t byte)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1
	};

	assert_int_equal(fcntl(fd, F_OFD_GETLK, &lock), 0);
	return lock.l_type != F_UNLCK;
}

/* The bytes of QEMU's protocol, played by hand: 100 + n "I use", 200 + n "I forbid". */
static void test_locks_as_qemu_has_them(void **state)
{
	struct fixture *f = *state;
	int fd = open(f->path, O_RDWR | O_CLOEXEC);
	struct block *block;

	/* Ours, as QEMU would see them. */
	block = accept_image(f->path, false);
	assert_true(is_locked(fd, 100) && is_locked(fd, 101));
	assert_true(is_locked(fd, 201) && is_locked(fd, 203));
	assert_false(is_locked(fd, 200) || is_locked(fd, 103));
	block_close(block);
	block = accept_image(f->path, true);
	assert_true(is_locked(fd, 100) && is_locked(fd, 201) && is_locked(fd, 203));
	assert_false(is_locked(fd, 101));
	block_close(block);
	assert_false(is_locked(fd, 100) || is_locked(fd, 201));

	/* QEMU writes. */
	assert_int_equal(set_lock(fd, F_RDLCK, 101), 0);
	refuse(f->path, true, ERROR_BUSY, "writing");
	refuse(f->path, false, ERROR_BUSY, "writing");
	assert_int_equal(set_lock(fd, F_UNLCK, 101), 0);
	/* QEMU reads, and wants nobody to write. */
	assert_int_equal(set_lock(fd, F_RDLCK, 100), 0);
	assert_int_equal(set_lock(fd, F_RDLCK, 201), 0);
	refuse(f->path, false, ERROR_BUSY, "reading");
	block_close(accept_image(f->path, true));
	/* QEMU reads and does not mind (qemu-img -U). */
	assert_int_equal(set_lock(fd, F_UNLCK, 201), 0);
	block_close(accept_image(f->path, false));
	/* Somebody locks the whole file in the ordinary way. */
	assert_int_equal(set_lock(fd, F_WRLCK, 100), 0);
	refuse(f->path, false, ERROR_BUSY, "another VM");
	close(fd);
}

static bool have(const char *program)
{
	char command[128];

	snprintf(command, sizeof(command), "command -v %s >/dev/null 2>&1", program);
	return system(command) == 0;
}

static void test_qemu_itself(void **state)
{
	struct fixture *f = *state;
	struct block *block;
	char info[256], write[256];

	if (!have("qemu-io") || !have("qemu-img")) {
		print_message("skip: no qemu-io or qemu-img here\n");
		skip();
	}
	snprintf(info, sizeof(info), "qemu-img info -f raw %s >/dev/null 2>&1", f->path);
	snprintf(write, sizeof(write), "qemu-io -f raw -c 'write 0 512' %s >/dev/null 2>&1",
		f->path);
	assert_int_equal(system(info), 0);
	assert_int_equal(system(write), 0);
	block = accept_image(f->path, false);
	assert_int_equal(system(info), 0); /* of a raw image it asks nothing that could change */
	assert_int_not_equal(system(write), 0);
	block_close(block);
	block = accept_image(f->path, true);
	assert_int_equal(system(info), 0);
	assert_int_not_equal(system(write), 0);
	block_close(block);
	assert_int_equal(system(write), 0);
}

static void test_locks_die_with_the_process(void **state)
{
	struct fixture *f = *state;
	int ready[2], status;
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		struct error err;
		struct block *block;

		if (block_open(&block, f->path, false, &err) < 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	refuse(f->path, true, ERROR_BUSY, "writing");
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	block_close(accept_image(f->path, false));
	close(ready[0]);
	close(ready[1]);
}

static void test_no_descriptor_is_left(void **state)
{
	struct fixture *f = *state;
	int before = dup(0), after;

	close(before);
	for (unsigned i = 0; i < 100; i++) {
		struct block *block = accept_image(f->path, false);

		refuse(f->path, false, ERROR_BUSY, "writing");
		refuse(f->dir, true, ERROR_IMAGE, "directory");
		block_close(block);
	}
	after = dup(0);
	close(after);
	assert_int_equal(before, after);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(test_good),
		T(test_sizes),
		T(test_not_an_image),
		T(test_permissions),
		T(test_writer_excludes_all),
		T(test_readers_share),
		T(test_locks_as_qemu_has_them),
		T(test_qemu_itself),
		T(test_locks_die_with_the_process),
		T(test_no_descriptor_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
