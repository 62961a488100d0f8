#include "rootfs/cache.h"

#include "util/cleanup.h"
#include "util/macros.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

enum {
	HASH_LEN = 32,		     /* of a key or a content hash, in hexadecimal */
	NAME_LEN = 2 * HASH_LEN + 1, /* KEY-CONTENT */
	PIECE_BYTES = 64 * 1024,     /* content is hashed in such */
	STALE_SECONDS = 3600,	     /* when a half-made file is nobody's any more */
	TOUCH_SECONDS = 3600,	     /* how exactly "used longest ago" is known */
	HOLE_BYTES = 4096,	     /* zeros of this size, aligned, become holes */
	ENTRIES_MAX = 128	     /* looked at in one go */
};

/* ---- where ---- */

static const char *parent_path(char path[PATH_MAX])
{
	const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int n;

	if (base && *base == '/')
		n = snprintf(path, PATH_MAX, "%s", base);
	else if (home && *home == '/')
		n = snprintf(path, PATH_MAX, "%s/.cache", home);
	else if (geteuid() == 0)
		n = snprintf(path, PATH_MAX, "/var/cache");
	else
		return NULL;
	return n > 0 && n < PATH_MAX ? path : NULL;
}

/* Only ours: nobody else may put, take away or change anything. */
static bool is_private(const struct stat *st)
{
	return st->st_uid == geteuid() && !(st->st_mode & 022);
}

/* Enter directory @name of @at (made if need be), or return -1. Takes @at. */
static int enter(int at, const char *name)
{
	struct stat st;
	int dir = -1;

	if (at >= 0 && (mkdirat(at, name, 0700) == 0 || errno == EEXIST))
		dir = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (at >= 0)
		close(at);
	if (dir >= 0 && (fstat(dir, &st) < 0 || !is_private(&st))) {
		close(dir);
		return -1;
	}
	return dir;
}

void cache_open(struct cache *cache, const struct cache_kind *kind)
{
	char path[PATH_MAX];

	cache->kind = kind;
	cache->dir = -1;
	if (!parent_path(path))
		return;
	mkdir(path, 0700);
	cache->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cache->dir = enter(cache->dir, "microvm");
	cache->dir = enter(cache->dir, kind->name);
}

void cache_close(struct cache *cache)
{
	if (cache->dir >= 0)
		close(cache->dir);
	cache->dir = -1;
}

/* ---- keys ---- */

static uint64_t mix(uint64_t a, uint64_t b)
{
	__uint128_t product = (__uint128_t)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/*
 * Two lanes of multiply and fold over words of 8 bytes. Not made against an attacker: whoever can
 * choose these bytes needs no collision to have the guest take them.
 */
void cache_key_add(struct cache_key *key, const void *data, size_t len)
{
	uint64_t a = key->hash[0] ^ 0x9e3779b97f4a7c15, b = key->hash[1] ^ 0xc2b2ae3d27d4eb4f;
	const uint8_t *from = data;
	uint64_t word;

	for (size_t i = 0; i < len; i += sizeof(word)) {
		word = 0;
		memcpy(&word, from + i, MIN(len - i, sizeof(word)));
		a = mix(a ^ word, 0xa0761d6478bd642f);
		b = mix(b + word, 0xe7037ed1a0b428db) + a;
	}
	key->hash[0] = mix(a ^ len, 0x8ebc6af09c88c6e3);
	key->hash[1] = mix(b, a | 1);
}

static void put_hash(char text[HASH_LEN + 1], const struct cache_key *key)
{
	snprintf(text, HASH_LEN + 1, "%016" PRIx64 "%016" PRIx64, key->hash[0], key->hash[1]);
}

static struct cache_key content_of(const uint8_t *data, size_t len)
{
	struct cache_key content = { 0 };

	for (size_t at = 0; at < len; at += PIECE_BYTES)
		cache_key_add(&content, data + at, MIN(len - at, (size_t)PIECE_BYTES));
	return content;
}

/* The same of a file, by reading it: it may become shorter, or its disk fail, at any moment. */
static bool content_of_file(struct cache_key *content, int fd, size_t len)
{
	_cleanup_free_ uint8_t *piece = malloc(PIECE_BYTES);

	*content = (struct cache_key){ 0 };
	for (size_t at = 0, n; piece && at < len; at += n) {
		n = MIN(len - at, (size_t)PIECE_BYTES);
		if (pread(fd, piece, n, (off_t)at) != (ssize_t)n)
			return false;
		cache_key_add(content, piece, n);
	}
	return piece;
}

/* ---- the directory ---- */

struct entry {
	char name[NAME_MAX + 1];
	struct timespec used;
	uint64_t bytes;
};

/* A stream of our own of the directory: @cache->dir has a position that is shared. */
static DIR *list(const struct cache *cache)
{
	int fd = openat(cache->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir && fd >= 0)
		close(fd);
	return dir;
}

/*
 * Was the file changed (linked into the directory, or marked by take()) since the host booted? Then
 * what it holds is what was written to it.
 */
static bool is_of_this_boot(const struct stat *st)
{
	struct timespec up, now;

	return clock_gettime(CLOCK_BOOTTIME, &up) == 0 &&
	       clock_gettime(CLOCK_REALTIME, &now) == 0 &&
	       st->st_ctim.tv_sec > now.tv_sec - up.tv_sec;
}

static bool has_content(int fd, const struct stat *st, const char *hash)
{
	struct cache_key content;
	char text[HASH_LEN + 1];

	if (!content_of_file(&content, fd, (size_t)st->st_size))
		return false;
	put_hash(text, &content);
	return strcmp(text, hash) == 0;
}

/* Open @name if it is a whole, unchanged file of ours; else throw it out. */
static int take(const struct cache *cache, const char *name)
{
	_cleanup_close_ int fd =
		openat(cache->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	const struct cache_kind *kind = cache->kind;
	struct stat st;
	bool trusted;

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && is_private(&st) &&
		st.st_size > 0 && st.st_size <= (off_t)kind->bytes_max) {
		trusted = kind->check_once && is_of_this_boot(&st);
		if (trusted || has_content(fd, &st, name + HASH_LEN + 1)) {
			if (st.st_mtime + TOUCH_SECONDS < time(NULL) ||
				(kind->check_once && !trusted))
				futimens(fd, NULL);
			return take_fd(&fd);
		}
	}
	unlinkat(cache->dir, name, 0);
	return -1;
}

int cache_get(const struct cache *cache, const struct cache_key *key)
{
	DIR *dir = cache->dir < 0 ? NULL : list(cache);
	char text[HASH_LEN + 1];
	struct dirent *entry;
	int fd = -1;

	if (!dir)
		return -1;
	put_hash(text, key);
	while (fd < 0 && (entry = readdir(dir)))
		if (strlen(entry->d_name) == NAME_LEN &&
			strncmp(entry->d_name, text, HASH_LEN) == 0)
			fd = take(cache, entry->d_name);
	closedir(dir);
	return fd;
}

static int by_use(const void *a, const void *b)
{
	const struct timespec *x = &((const struct entry *)a)->used;
	const struct timespec *y = &((const struct entry *)b)->used;

	if (x->tv_sec != y->tv_sec)
		return x->tv_sec < y->tv_sec ? -1 : 1;
	return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

/* What there is, up to ENTRIES_MAX; what a killed process left half-made is removed. */
static size_t look(const struct cache *cache, DIR *dir, struct entry *entries)
{
	struct dirent *entry;
	struct stat st;
	size_t n = 0;

	while (n < ENTRIES_MAX && (entry = readdir(dir))) {
		if (fstatat(cache->dir, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
			S_ISDIR(st.st_mode))
			continue;
		if (strlen(entry->d_name) != NAME_LEN) {
			if (st.st_mtime + STALE_SECONDS < time(NULL))
				unlinkat(cache->dir, entry->d_name, 0);
			continue;
		}
		snprintf(entries[n].name, sizeof(entries[n].name), "%s", entry->d_name);
		entries[n].used = st.st_mtim;
		entries[n].bytes = (uint64_t)MAX(st.st_size, 0);
		n++;
	}
	return n;
}

/* Remove those used longest ago, until there is room for one more of @len bytes. */
static void make_room(const struct cache *cache, size_t len)
{
	_cleanup_free_ struct entry *entries = calloc(ENTRIES_MAX, sizeof(*entries));
	DIR *dir = entries ? list(cache) : NULL;
	uint64_t bytes = len;
	size_t n;

	if (!dir)
		return;
	n = look(cache, dir, entries);
	closedir(dir);
	for (size_t i = 0; i < n; i++)
		bytes += entries[i].bytes;
	qsort(entries, n, sizeof(*entries), by_use);
	for (size_t i = 0; i < n; i++) {
		if (n - i < cache->kind->files_max && bytes <= cache->kind->bytes_max)
			break;
		unlinkat(cache->dir, entries[i].name, 0);
		bytes -= entries[i].bytes;
	}
}

static bool is_zero(const uint8_t *data, size_t len)
{
	return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

/* How far from @data on it is all zeros, or (@zero false) not: in steps of HOLE_BYTES. */
static size_t stretch(const uint8_t *data, size_t len, bool zero)
{
	size_t n = 0;

	while (n < len && is_zero(data + n, MIN(len - n, (size_t)HOLE_BYTES)) == zero)
		n += MIN(len - n, (size_t)HOLE_BYTES);
	return n;
}

/* Into a new file. */
static bool write_all(int fd, const uint8_t *data, size_t len)
{
	size_t at = stretch(data, len, true);

	while (at < len) {
		size_t end = at + stretch(data + at, len - at, false);

		while (at < end) {
			ssize_t n = pwrite(fd, data + at, end - at, (off_t)at);

			if (n <= 0)
				return false;
			at += (size_t)n;
		}
		at += stretch(data + at, len - at, true);
	}
	return ftruncate(fd, (off_t)len) == 0;
}

/* A file without a name gets one when it is whole. False where the file system has no such. */
static bool put_unnamed(
	const struct cache *cache, const char *name, const uint8_t *data, size_t len)
{
	_cleanup_close_ int fd = openat(cache->dir, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);
	char path[64];

	if (fd < 0)
		return false;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (!write_all(fd, data, len))
		return true; /* the disk is full: no other way will do */
	return linkat(AT_FDCWD, path, cache->dir, name, AT_SYMLINK_FOLLOW) == 0 || errno == EEXIST;
}

static void put_renamed(
	const struct cache *cache, const char *name, const uint8_t *data, size_t len)
{
	_cleanup_close_ int fd = -1;
	char part[32];
	uint64_t any;

	if (getrandom(&any, sizeof(any), GRND_NONBLOCK) != sizeof(any))
		return;
	snprintf(part, sizeof(part), "part.%016" PRIx64, any);
	fd = openat(cache->dir, part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return;
	if (!write_all(fd, data, len) || renameat(cache->dir, part, cache->dir, name) < 0)
		unlinkat(cache->dir, part, 0);
}

void cache_put(const struct cache *cache, const struct cache_key *key, const void *data, size_t len)
{
	struct cache_key content;
	char name[NAME_LEN + 1];

	if (cache->dir < 0 || !len || len > cache->kind->bytes_max / 2)
		return;
	content = content_of(data, len);
	put_hash(name, key);
	name[HASH_LEN] = '-';
	put_hash(name + HASH_LEN + 1, &content);
	make_room(cache, len);
	if (!put_unnamed(cache, name, data, len))
		put_renamed(cache, name, data, len);
}
