/* What is kept is found again, whole or not at all, by any number of processes at a time. */
#include "rootfs/cache.h"

#include "util/cleanup.h"
#include "util/macros.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

enum { SIZE = 200000, FILES_MAX = 32 };
#define BYTES_MAX (128UL << 20)

static const struct cache_kind kind = {
	.name = "initramfs", .files_max = FILES_MAX, .bytes_max = BYTES_MAX
};

static uint8_t data[SIZE], got[SIZE + 1];
static char home[64], dir[128];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int setup(void **state)
{
	for (size_t i = 0; i < SIZE; i++)
		data[i] = (uint8_t)(i * i / 7 + i);
	strcpy(home, "/tmp/microvm-test-cache-XXXXXX");
	if (!mkdtemp(home) || setenv("XDG_CACHE_HOME", home, 1))
		return -1;
	snprintf(dir, sizeof(dir), "%s/microvm/initramfs", home);
	return 0;
}

static int teardown(void **state)
{
	nftw(home, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	return 0;
}

static struct cache_key key_called(const char *name)
{
	struct cache_key key = { 0 };

	cache_key_add(&key, name, strlen(name));
	return key;
}

/* Is something kept as @name, and is it the @len first bytes of data? */
static bool found(const struct cache *cache, const char *name, size_t len)
{
	struct cache_key key = key_called(name);
	_cleanup_close_ int fd = cache_get(cache, &key);

	if (fd < 0)
		return false;
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(read(fd, got, sizeof(got)), len);
	assert_memory_equal(got, data, len);
	return true;
}

static void put(const struct cache *cache, const char *name, size_t len)
{
	struct cache_key key = key_called(name);

	cache_put(cache, &key, data, len);
}

/* How many files there are; @path is one of them. */
static unsigned count(char path[512])
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	unsigned n = 0;

	assert_non_null(d);
	while ((entry = readdir(d))) {
		if (entry->d_name[0] == '.')
			continue;
		n++;
		if (path)
			snprintf(path, 512, "%s/%s", dir, entry->d_name);
	}
	closedir(d);
	return n;
}

static void test_kept(void **state)
{
	struct cache cache;
	struct stat st;
	char path[512];

	cache_open(&cache, &kind);
	assert_true(cache.dir >= 0);
	assert_false(found(&cache, "a", SIZE));
	put(&cache, "a", SIZE);
	assert_true(found(&cache, "a", SIZE));
	assert_false(found(&cache, "b", SIZE));
	put(&cache, "a", SIZE); /* it is there already */
	assert_int_equal(count(path), 1);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	put(&cache, "empty", 0);
	assert_int_equal(count(NULL), 1);
	cache_close(&cache);
	cache_open(&cache, &kind);
	assert_true(found(&cache, "a", SIZE));
	cache_close(&cache);
	cache_close(&cache);
}

/* Cut, changed, lengthened, replaced by something else: not taken, thrown out, made anew. */
static void test_damaged(void **state)
{
	static const off_t sizes[] = { 0, 1, 4096, 65535, 65536, SIZE - 1, SIZE + 1, SIZE + 65536 };
	char path[512];
	struct cache cache;
	int fd;

	cache_open(&cache, &kind);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		put(&cache, "a", SIZE);
		assert_int_equal(count(path), 1);
		assert_int_equal(truncate(path, sizes[i]), 0);
		assert_false(found(&cache, "a", SIZE));
		assert_int_equal(count(NULL), 0);
	}
	for (off_t at = 0; at < SIZE; at += SIZE / 17) {
		uint8_t byte = data[at] ^ 1 << at % 8;

		put(&cache, "a", SIZE);
		assert_int_equal(count(path), 1);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		close(fd);
		assert_false(found(&cache, "a", SIZE));
	}
	put(&cache, "a", SIZE);
	count(path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_false(found(&cache, "a", SIZE));
	assert_int_equal(count(NULL), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_false(found(&cache, "a", SIZE));
	assert_int_equal(mkdir(path, 0700), 0);
	assert_false(found(&cache, "a", SIZE));
	assert_int_equal(rmdir(path), 0);
	put(&cache, "a", SIZE);
	assert_true(found(&cache, "a", SIZE));
	cache_close(&cache);
}

/* Nobody else may have had a hand in it. */
static void test_private(void **state)
{
	char path[512], above[128];
	struct cache cache;

	cache_open(&cache, &kind);
	put(&cache, "a", SIZE);
	count(path);
	assert_int_equal(chmod(path, 0620), 0);
	assert_false(found(&cache, "a", SIZE));
	if (geteuid() == 0) {
		put(&cache, "a", SIZE);
		count(path);
		assert_int_equal(chown(path, 12345, 0), 0);
		assert_false(found(&cache, "a", SIZE));
	}
	cache_close(&cache);
	snprintf(above, sizeof(above), "%s/microvm", home);
	for (unsigned i = 0; i < 2; i++) {
		const char *which = i ? above : dir;

		assert_int_equal(chmod(which, 0777), 0);
		cache_open(&cache, &kind);
		assert_int_equal(cache.dir, -1);
		put(&cache, "b", SIZE); /* quietly nothing */
		assert_false(found(&cache, "b", SIZE));
		assert_int_equal(chmod(which, 0700), 0);
	}
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(symlink("/tmp", dir), 0);
	cache_open(&cache, &kind);
	assert_int_equal(cache.dir, -1);
	assert_int_equal(unlink(dir), 0);
}

static void age(const char *path, time_t seconds)
{
	struct timespec times[2] = { { time(NULL) - seconds, 0 }, { time(NULL) - seconds, 0 } };

	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* Those used longest ago go; what is used is not among them. */
static void test_bounded(void **state)
{
	char path[512], name[16];
	struct cache cache;
	struct stat st;

	cache_open(&cache, &kind);
	put(&cache, "old", 10);
	count(path);
	age(path, 100000);
	put(&cache, "used", 20);
	DIR *d = opendir(dir);
	struct dirent *entry;

	while ((entry = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
			age(path, st.st_size == 20 ? 200000 : 100000);
	}
	closedir(d);
	assert_true(found(&cache, "used", 20));
	for (unsigned i = 0; i < FILES_MAX - 1; i++) {
		snprintf(name, sizeof(name), "%u", i);
		put(&cache, name, 30);
	}
	assert_int_equal(count(NULL), FILES_MAX);
	assert_false(found(&cache, "old", 10));
	assert_true(found(&cache, "used", 20));
	for (unsigned i = 0; i < 3 * FILES_MAX; i++) {
		snprintf(name, sizeof(name), "more %u", i);
		put(&cache, name, 40);
		assert_true(found(&cache, name, 40));
	}
	assert_int_equal(count(NULL), FILES_MAX);
	cache_close(&cache);
}

static void test_bounded_bytes(void **state)
{
	static const size_t big = BYTES_MAX / 2;
	_cleanup_free_ uint8_t *zeros = calloc(1, big + 1);
	struct cache_key key = { 0 };
	struct cache cache;
	struct stat st;
	char path[512];
	int fd;

	cache_open(&cache, &kind);
	cache_put(&cache, &key, zeros, big + 1); /* too big to be kept */
	assert_int_equal(count(NULL), 0);
	cache_put(&cache, &key, zeros, big);
	fd = cache_get(&cache, &key);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, big);
	close(fd);
	count(path);
	age(path, 100000);
	put(&cache, "a", SIZE);
	assert_int_equal(count(NULL), 2);
	key.hash[0] = 1;
	cache_put(&cache, &key, zeros, big);
	assert_int_equal(count(NULL), 2);
	assert_true(found(&cache, "a", SIZE));
	cache_close(&cache);
}

/* What a killed process left goes, but not what one is just writing. */
static void test_leftovers(void **state)
{
	char fresh[256], stale[256];
	struct cache cache;

	cache_open(&cache, &kind);
	snprintf(fresh, sizeof(fresh), "%s/part.1", dir);
	snprintf(stale, sizeof(stale), "%s/part.2", dir);
	close(open(fresh, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	close(open(stale, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	age(stale, 7200);
	put(&cache, "a", SIZE);
	assert_int_equal(access(fresh, F_OK), 0);
	assert_int_not_equal(access(stale, F_OK), 0);
	cache_close(&cache);
}

/* Some write, some read, one throws out, all the time: whoever finds something finds all of it. */
static void test_concurrent(void **state)
{
	enum { PROCESSES = 6, ROUNDS = 60 };
	int status, fine = 0;

	for (unsigned p = 0; p < PROCESSES; p++) {
		if (fork())
			continue;
		struct cache cache;
		char name[16];

		cache_open(&cache, &kind);
		for (unsigned i = 0; i < ROUNDS; i++) {
			snprintf(name, sizeof(name), "%u", (i + p) % (FILES_MAX + 4));
			if (!found(&cache, name, SIZE))
				put(&cache, name, SIZE);
		}
		_exit(cache.dir >= 0 ? 0 : 1);
	}
	while (wait(&status) > 0)
		fine += status == 0;
	assert_int_equal(fine, PROCESSES);
	/* Each makes room for its own: together they may be a few too many for a moment. */
	assert_true(count(NULL) <= FILES_MAX + PROCESSES);
}

static void test_nowhere(void **state)
{
	struct cache cache;

	setenv("XDG_CACHE_HOME", "/dev/null", 1);
	cache_open(&cache, &kind);
	assert_int_equal(cache.dir, -1);
	put(&cache, "a", 1);
	setenv("XDG_CACHE_HOME", "relative", 1); /* as its specification says: not taken */
	setenv("HOME", home, 1);
	cache_open(&cache, &kind);
	assert_true(cache.dir >= 0);
	cache_close(&cache);
	snprintf(dir, sizeof(dir), "%s/.cache/microvm/initramfs", home);
	assert_int_equal(count(NULL), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_kept),
		TEST(test_damaged),
		TEST(test_private),
		TEST(test_bounded),
		TEST(test_bounded_bytes),
		TEST(test_leftovers),
		TEST(test_concurrent),
		TEST(test_nowhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
