#include "rootfs/unpack.h"

#include "util/cleanup.h"
#include "util/macros.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <lz4.h>
#include <lzma.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

/* Memory that an xz file may ask for: modules are packed with dictionaries of 2 MiB or less. */
#define XZ_MEMORY_MAX (256 * MIB)
#define FILE_MAX      (128 * MIB)
#define LZ4_BLOCK     (8 * MIB)

struct unpack {
	void *xz, *zstd, *gzip, *lz4; /* dlopen() handles */
	__typeof__(lzma_stream_decoder) *xz_decoder;
	__typeof__(lzma_code) *xz_code;
	__typeof__(lzma_end) *xz_end;
	__typeof__(ZSTD_decompress) *zstd_decompress;
	__typeof__(ZSTD_isError) *zstd_is_error;
	__typeof__(inflateInit2_) *inflate_init;
	__typeof__(inflate) *inflate;
	__typeof__(inflateEnd) *inflate_end;
	__typeof__(LZ4_decompress_safe) *lz4_decompress;
};

int unpack_open(struct unpack **out, struct error *err)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : error_set(err, ERROR_HOST, ENOMEM, "out of memory");
}

void unpack_close(struct unpack *unpack)
{
	if (!unpack)
		return;
	if (unpack->xz)
		dlclose(unpack->xz);
	if (unpack->zstd)
		dlclose(unpack->zstd);
	if (unpack->gzip)
		dlclose(unpack->gzip);
	if (unpack->lz4)
		dlclose(unpack->lz4);
	free(unpack);
}

/* Load @library unless it is there already. */
static int load(void **handle, const char *library, const char *package, const char *path,
	struct error *err)
{
	if (!*handle)
		*handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
	if (!*handle)
		return error_set(err, ERROR_HOST, ENOENT,
			"%s is compressed, and %s cannot be loaded to unpack it: install %s", path,
			library, package);
	return 0;
}

static int odd_library(const char *library, struct error *err)
{
	return error_set(err, ERROR_HOST, ENOSYS,
		"%s lacks functions that unpack kernels: install another version", library);
}

static int damaged(const char *path, const char *format, struct error *err)
{
	return error_set(err, ERROR_IMAGE, EINVAL,
		"%s: damaged or cut short (%s data); install the kernel's package again", path,
		format);
}

static int unpack_xz(struct unpack *u, const char *path, const uint8_t *in, size_t in_len,
	uint8_t *out, size_t room, size_t *len, struct error *err)
{
	lzma_stream z = LZMA_STREAM_INIT;
	lzma_ret ret;

	if (load(&u->xz, "liblzma.so.5", "liblzma5", path, err) < 0)
		return -ENOENT;
	u->xz_decoder = dlsym(u->xz, "lzma_stream_decoder");
	u->xz_code = dlsym(u->xz, "lzma_code");
	u->xz_end = dlsym(u->xz, "lzma_end");
	if (!u->xz_decoder || !u->xz_code || !u->xz_end)
		return odd_library("liblzma.so.5", err);
	z.next_in = in;
	z.avail_in = in_len;
	z.next_out = out;
	z.avail_out = room;
	if (u->xz_decoder(&z, XZ_MEMORY_MAX, 0) != LZMA_OK)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	ret = u->xz_code(&z, LZMA_FINISH);
	*len = room - z.avail_out;
	u->xz_end(&z);
	if ((ret == LZMA_OK || ret == LZMA_BUF_ERROR) && *len == room)
		return -EFBIG;
	return ret == LZMA_STREAM_END ? 0 : damaged(path, "xz", err);
}

static int unpack_zstd(struct unpack *u, const char *path, const uint8_t *in, size_t in_len,
	uint8_t *out, size_t room, size_t *len, struct error *err)
{
	if (load(&u->zstd, "libzstd.so.1", "libzstd1", path, err) < 0)
		return -ENOENT;
	u->zstd_decompress = dlsym(u->zstd, "ZSTD_decompress");
	u->zstd_is_error = dlsym(u->zstd, "ZSTD_isError");
	if (!u->zstd_decompress || !u->zstd_is_error)
		return odd_library("libzstd.so.1", err);
	*len = u->zstd_decompress(out, room, in, in_len);
	if (u->zstd_is_error(*len))
		return damaged(path, "zstd", err);
	return 0;
}

static int unpack_gzip(struct unpack *u, const char *path, const uint8_t *in, size_t in_len,
	uint8_t *out, size_t room, size_t *len, struct error *err)
{
	z_stream z = { .next_in = (uint8_t *)in, .next_out = out };
	int ret;

	if (load(&u->gzip, "libz.so.1", "zlib1g", path, err) < 0)
		return -ENOENT;
	u->inflate_init = dlsym(u->gzip, "inflateInit2_");
	u->inflate = dlsym(u->gzip, "inflate");
	u->inflate_end = dlsym(u->gzip, "inflateEnd");
	if (!u->inflate_init || !u->inflate || !u->inflate_end)
		return odd_library("libz.so.1", err);
	z.avail_in = (unsigned)in_len; /* at most FILE_MAX */
	z.avail_out = (unsigned)MIN(room, (size_t)UINT32_MAX);
	if (u->inflate_init(&z, 15 + 16 /* a gzip header */, ZLIB_VERSION, sizeof(z)) != Z_OK)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	ret = u->inflate(&z, Z_FINISH);
	*len = z.total_out;
	u->inflate_end(&z);
	if (ret == Z_BUF_ERROR && z.avail_out == 0)
		return -EFBIG;
	return ret == Z_STREAM_END ? 0 : damaged(path, "gzip", err);
}

/*
 * The frames of `lz4 -l`: a magic number, then blocks, each behind its size and (but for the last)
 * of LZ4_BLOCK unpacked bytes.
 */
static int unpack_lz4(struct unpack *u, const char *path, const uint8_t *in, size_t in_len,
	uint8_t *out, size_t room, size_t *len, struct error *err)
{
	size_t at = 4;

	if (load(&u->lz4, "liblz4.so.1", "liblz4-1", path, err) < 0)
		return -ENOENT;
	u->lz4_decompress = dlsym(u->lz4, "LZ4_decompress_safe");
	if (!u->lz4_decompress)
		return odd_library("liblz4.so.1", err);
	*len = 0;
	while (in_len - at >= sizeof(uint32_t)) {
		uint32_t size;
		int n;

		memcpy(&size, in + at, sizeof(size));
		at += sizeof(size);
		if (size > in_len - at || size > INT_MAX)
			return damaged(path, "lz4", err);
		n = u->lz4_decompress((const char *)in + at, (char *)out + *len, (int)size,
			(int)MIN(room - *len, (size_t)LZ4_BLOCK));
		if (n < 0)
			return damaged(path, "lz4", err);
		at += size;
		*len += (size_t)n;
	}
	return at == in_len && *len ? 0 : damaged(path, "lz4", err);
}

static int read_whole(int fd, const char *path, uint8_t *out, size_t size, struct error *err)
{
	size_t len = 0;

	while (len < size) {
		ssize_t n = pread(fd, out + len, size - len, (off_t)len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_set(err, ERROR_IMAGE, n < 0 ? errno : EIO,
				"%s: cannot be read: %s", path,
				n < 0 ? strerror(errno) : "it shrank");
		len += (size_t)n;
	}
	return 0;
}

typedef int decode_fn(struct unpack *u, const char *path, const uint8_t *in, size_t in_len,
	uint8_t *out, size_t room, size_t *len, struct error *err);

/* NULL: not compressed. */
static decode_fn *choose(const uint8_t magic[6])
{
	if (memcmp(magic, "\xfd\x37zXZ", 6) == 0)
		return unpack_xz;
	if (memcmp(magic, "\x28\xb5\x2f\xfd", 4) == 0)
		return unpack_zstd;
	if (memcmp(magic, "\x1f\x8b", 2) == 0)
		return unpack_gzip;
	if (memcmp(magic, "\x02\x21\x4c\x18", 4) == 0)
		return unpack_lz4;
	return NULL;
}

int unpack_bytes(struct unpack *unpack, const uint8_t *in, size_t in_len, const char *path,
	uint8_t *out, size_t room, size_t *len, struct error *err)
{
	uint8_t magic[6] = { 0 };
	decode_fn *decode;

	memcpy(magic, in, MIN(in_len, sizeof(magic)));
	decode = choose(magic);
	return decode ? decode(unpack, path, in, in_len, out, room, len, err) : -ENOEXEC;
}

int unpack_file(struct unpack *unpack, int fd, const char *path, uint8_t *out, size_t room,
	size_t *len, struct error *err)
{
	_cleanup_free_ uint8_t *in = NULL;
	uint8_t magic[6] = { 0 };
	struct stat st;
	decode_fn *decode;
	size_t size;
	int ret;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_set(err, ERROR_IMAGE, EINVAL, "%s: not a regular file", path);
	if (st.st_size > (off_t)FILE_MAX)
		return error_set(err, ERROR_IMAGE, EFBIG, "%s: too big for a module", path);
	size = (size_t)st.st_size;
	ret = read_whole(fd, path, magic, MIN(size, sizeof(magic)), err);
	if (ret < 0)
		return ret;
	decode = choose(magic);
	if (!decode) {
		*len = size;
		return size > room ? -EFBIG : read_whole(fd, path, out, size, err);
	}
	in = malloc(size);
	if (!in)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	ret = read_whole(fd, path, in, size, err);
	return ret < 0 ? ret : decode(unpack, path, in, size, out, room, len, err);
}
