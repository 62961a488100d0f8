#include "rootfs/cache.h"

#include "util/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

/* What a kept file begins with. A change of its meaning wants a new magic. */
struct head {
	char magic[8];
	struct cache_key data; /* of what follows */
};

static const char magic[8] = "mvmko-1\n";

enum { NAME_LEN = 16 + 16 + 1, STALE_SECONDS = 3600 };

static const char *parent_path(char path[PATH_MAX])
{
	const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int n;

	if (base && *base == '/')
		n = snprintf(path, PATH_MAX, "%s", base);
	else if (home && *home == '/')
		n = snprintf(path, PATH_MAX, "%s/.cache", home);
	else
		return NULL;
	return n > 0 && n < PATH_MAX ? path : NULL;
}

/* Enter directory @name of @at (made if need be), or return -1. Takes @at. */
static int enter(int at, const char *name)
{
	int dir;

	if (mkdirat(at, name, 0700) < 0 && errno != EEXIST)
		dir = -1;
	else
		dir = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	close(at);
	return dir;
}

void cache_open(struct cache *cache)
{
	char path[PATH_MAX];
	struct stat st;

	cache->dir = -1;
	if (!parent_path(path))
		return;
	mkdir(path, 0700);
	cache->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (cache->dir >= 0)
		cache->dir = enter(cache->dir, "microvm");
	if (cache->dir >= 0)
		cache->dir = enter(cache->dir, "modules");
	if (cache->dir >= 0 &&
		(fstat(cache->dir, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 022)))
		cache_close(cache);
}

void cache_close(struct cache *cache)
{
	if (cache->dir >= 0)
		close(cache->dir);
	cache->dir = -1;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
	__uint128_t product = (__uint128_t)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/*
 * Two lanes of multiply and fold over words of 8 bytes. Not made against an attacker: whoever can
 * choose a module's bytes needs no collision to have the guest load them.
 */
struct cache_key cache_key(const uint8_t *data, size_t len)
{
	uint64_t a = 0x9e3779b97f4a7c15, b = 0xc2b2ae3d27d4eb4f, word;
	size_t i;

	for (i = 0; i < len; i += sizeof(word)) {
		word = 0;
		memcpy(&word, data + i, len - i < sizeof(word) ? len - i : sizeof(word));
		a = mix(a ^ word, 0xa0761d6478bd642f);
		b = mix(b + word, 0xe7037ed1a0b428db) + a;
	}
	return (struct cache_key){ .hash = { mix(a ^ len, 0x8ebc6af09c88c6e3), mix(b, a | 1) },
		.len = len };
}

static void key_name(char name[NAME_LEN], const struct cache_key *key)
{
	snprintf(name, NAME_LEN, "%016" PRIx64 "%016" PRIx64, key->hash[0], key->hash[1]);
}

bool cache_get(const struct cache *cache, const struct cache_key *key, uint8_t *out, size_t room,
	size_t *len)
{
	_cleanup_close_ int fd = -1;
	struct cache_key found;
	char name[NAME_LEN];
	struct head head;
	struct stat st;

	if (cache->dir < 0)
		return false;
	key_name(name, key);
	fd = openat(cache->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
		(st.st_mode & 022) || st.st_size < (off_t)sizeof(head) ||
		(size_t)st.st_size - sizeof(head) > room)
		return false;
	*len = (size_t)st.st_size - sizeof(head);
	if (read(fd, &head, sizeof(head)) != (ssize_t)sizeof(head) ||
		memcmp(head.magic, magic, sizeof(magic)) != 0 || head.data.len != *len ||
		read(fd, out, *len) != (ssize_t)*len)
		return false;
	found = cache_key(out, *len);
	return memcmp(&found, &head.data, sizeof(found)) == 0;
}

/* Remove the file that was made first; what a killed process left half-made, too. */
static void make_room(const struct cache *cache)
{
	int fd = openat(cache->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	char oldest[NAME_MAX + 1] = "";
	struct timespec oldest_time = { 0 };
	struct dirent *entry;
	unsigned files = 0;
	struct stat st;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((entry = readdir(dir))) {
		if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
			!S_ISREG(st.st_mode))
			continue;
		if (strchr(entry->d_name, '.') && st.st_mtime + STALE_SECONDS < time(NULL))
			unlinkat(fd, entry->d_name, 0);
		files++;
		if (*oldest && (st.st_mtim.tv_sec > oldest_time.tv_sec ||
				       (st.st_mtim.tv_sec == oldest_time.tv_sec &&
					       st.st_mtim.tv_nsec >= oldest_time.tv_nsec)))
			continue;
		oldest_time = st.st_mtim;
		snprintf(oldest, sizeof(oldest), "%s", entry->d_name);
	}
	if (files >= CACHE_FILES_MAX && *oldest)
		unlinkat(fd, oldest, 0);
	closedir(dir);
}

void cache_put(
	const struct cache *cache, const struct cache_key *key, const uint8_t *data, size_t len)
{
	struct head head = { .data = cache_key(data, len) };
	struct iovec iov[2] = { { &head, sizeof(head) }, { (void *)data, len } };
	_cleanup_close_ int fd = -1;
	char name[NAME_LEN], part[NAME_LEN + 32];
	bool whole;

	if (cache->dir < 0)
		return;
	memcpy(head.magic, magic, sizeof(magic));
	make_room(cache);
	key_name(name, key);
	snprintf(part, sizeof(part), "%s.%ld", name, (long)getpid());
	fd = openat(cache->dir, part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return;
	whole = writev(fd, iov, 2) == (ssize_t)(sizeof(head) + len);
	if (!whole || renameat(cache->dir, part, cache->dir, name) < 0)
		unlinkat(cache->dir, part, 0);
}
