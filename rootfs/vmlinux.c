#include "rootfs/vmlinux.h"
#include "rootfs/cache.h"
#include "rootfs/unpack.h"

#include "util/cleanup.h"
#include "util/macros.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	HEAD = 1024, /* bytes of the file that hold the boot header */
	SECTOR = 512,
	SIZE_BYTES = 4 /* of the size that the payload ends with */
};

#define HDR_OFFSET   offsetof(struct boot_params, hdr)
#define HDR_MAGIC    0x53726448 /* "HdrS" */
#define HDR_VERSION  0x020c	/* boot/ takes no older ones */
#define GZIP_MAGIC   0x8b1f
#define UNPACKED_MAX (256 * MIB)

/* A few kernels of some 50 MB, of which most is on the disk. */
static const struct cache_kind kernels = {
	.name = "kernel", .files_max = 8, .bytes_max = 2 * UNPACKED_MAX, .check_once = true
};

/* The compressed kernel ("payload_offset" and "payload_length" in the kernel's boot.rst). */
struct payload {
	int fd;
	const char *path;
	uint64_t offset;
	size_t size;
};

/* Not an error: the file is to be started as it is. */
static int as_it_is(struct error *err, const char *path, const char *why)
{
	error_set(err, ERROR_IMAGE, ENOEXEC, "%s is not unpacked: %s", path, why);
	return 1;
}

static int find_payload(
	struct payload *p, const uint8_t head[HEAD], const struct stat *st, struct error *err)
{
	struct setup_header hdr;
	uint64_t setup, end;

	memcpy(&hdr, head + HDR_OFFSET, sizeof(hdr));
	if (hdr.header != HDR_MAGIC || hdr.version < HDR_VERSION ||
		!(hdr.xloadflags & XLF_KERNEL_64))
		return as_it_is(err, p->path, "not a bzImage");
	setup = ((hdr.setup_sects ? hdr.setup_sects : 4) + 1ULL) * SECTOR;
	end = setup + hdr.syssize * 16ULL;
	p->offset = setup + hdr.payload_offset;
	p->size = hdr.payload_length;
	if ((uint64_t)st->st_size < end)
		return as_it_is(err, p->path, "it is not whole");
	if (p->size <= SIZE_BYTES || p->offset > end || p->size > end - p->offset)
		return as_it_is(err, p->path, "its payload is not in it");
	return 0;
}

/* The file is what it is by where it lies, its inode, size and times, and its header. */
static struct cache_key key_of(const uint8_t head[HEAD], const struct stat *st)
{
	const uint64_t file[] = { st->st_dev, st->st_ino, (uint64_t)st->st_size,
		(uint64_t)st->st_mtim.tv_sec, (uint64_t)st->st_mtim.tv_nsec,
		(uint64_t)st->st_ctim.tv_sec, (uint64_t)st->st_ctim.tv_nsec };
	struct cache_key key = { 0 };

	cache_key_add(&key, file, sizeof(file));
	cache_key_add(&key, head, HEAD);
	return key;
}

static bool is_kernel(const uint8_t *data, size_t len)
{
	Elf64_Ehdr elf;

	if (len < sizeof(elf))
		return false;
	memcpy(&elf, data, sizeof(elf));
	return !memcmp(elf.e_ident, ELFMAG, SELFMAG) && elf.e_ident[EI_CLASS] == ELFCLASS64 &&
	       elf.e_machine == EM_X86_64;
}

/* Unpack @packed into @room bytes at @out, all of which it must fill. */
static int unpack(const struct payload *p, const uint8_t *packed, uint8_t *out, size_t room,
	struct error *err)
{
	bool gzip = packed[0] == (GZIP_MAGIC & 0xff) && packed[1] == GZIP_MAGIC >> 8;
	struct unpack *libraries;
	size_t len = 0;
	int r = unpack_open(&libraries, err);

	if (r < 0)
		return 1;
	/* The size is a part of gzip's format; behind the others the build put it. */
	r = unpack_bytes(libraries, packed, p->size - (gzip ? 0 : SIZE_BYTES), p->path, out, room,
		&len, err);
	unpack_close(libraries);
	if (r == -ENOEXEC)
		return as_it_is(err, p->path, "its compression is not known");
	if (r == 0 && (len != room || !is_kernel(out, len)))
		return as_it_is(err, p->path, "what is in it is no x86-64 kernel");
	return r < 0 ? 1 : 0;
}

static int unpack_and_keep(const struct payload *p, const struct cache *cache,
	const struct cache_key *key, struct error *err)
{
	_cleanup_free_ uint8_t *packed = malloc(p->size);
	uint32_t size;
	uint8_t *out;
	int r;

	if (!packed || pread(p->fd, packed, p->size, (off_t)p->offset) != (ssize_t)p->size)
		return as_it_is(err, p->path, "it cannot be read");
	memcpy(&size, packed + p->size - SIZE_BYTES, sizeof(size));
	if (!size || size > UNPACKED_MAX)
		return as_it_is(err, p->path, "no kernel has such a size");
	out = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (out == MAP_FAILED)
		return as_it_is(err, p->path, "no memory for that");
	r = unpack(p, packed, out, size, err);
	if (r == 0)
		cache_put(cache, key, out, size);
	munmap(out, size);
	return r;
}

static int take_or_make(
	int *fd, const struct payload *p, const struct cache_key *key, struct error *err)
{
	struct cache cache;
	int r = 0;

	cache_open(&cache, &kernels);
	if (cache.dir < 0)
		return as_it_is(err, p->path, "there is no cache");
	*fd = cache_get(&cache, key);
	if (*fd < 0)
		r = unpack_and_keep(p, &cache, key, err);
	if (*fd < 0 && r == 0) {
		*fd = cache_get(&cache, key);
		if (*fd < 0)
			r = as_it_is(err, p->path, "the cache takes nothing");
	}
	cache_close(&cache);
	return r;
}

int rootfs_vmlinux(int *fd, const char *path, struct error *err)
{
	_cleanup_close_ int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct payload p = { .fd = file, .path = path };
	uint8_t head[HEAD];
	struct cache_key key;
	struct stat st;
	int r;

	*fd = -1;
	if (file < 0 || fstat(file, &st) < 0 || !S_ISREG(st.st_mode) ||
		pread(file, head, HEAD, 0) != HEAD)
		return as_it_is(err, path, "it cannot be read");
	r = find_payload(&p, head, &st, err);
	if (r != 0)
		return r;
	key = key_of(head, &st);
	return take_or_make(fd, &p, &key, err);
}
