/*
 * Kernels and their modules as they lie on the disk: plain, or compressed with xz, zstd, gzip or (as
 * the kernel's build packs its images) lz4. The bytes decide, not the name. The libraries are loaded when the first such file comes by: most runs need
 * none.
 */
#pragma once

#include "util/error.h"

#include <stddef.h>
#include <stdint.h>

struct unpack; /* the libraries loaded so far; one thread at a time */

int unpack_open(struct unpack **out, struct error *err);
void unpack_close(struct unpack *unpack); /* NULL is allowed */

/*
 * The whole of the file @fd (regular; @path is its name for messages) unpacked to @out, of at most
 * @room bytes; *@len is its size. ERROR_IMAGE for damaged or truncated data, ERROR_HOST where a
 * library is missing. -EFBIG if it does not fit.
 */
int unpack_file(struct unpack *unpack, int fd, const char *path, uint8_t *out, size_t room,
	size_t *len, struct error *err);

/* The same of @in_len bytes in memory, which @path is the name of. -ENOEXEC: not compressed. */
int unpack_bytes(struct unpack *unpack, const uint8_t *in, size_t in_len, const char *path,
	uint8_t *out, size_t room, size_t *len, struct error *err);
