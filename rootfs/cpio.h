/*
 * A newc cpio archive, as Documentation/driver-api/early-userspace/buffer-format.rst of the kernel
 * has it, written into a memfd. Not compressed: unpacking is then a copy.
 */
#pragma once

#include "util/error.h"

#include <stddef.h>
#include <stdint.h>

struct cpio {
	int fd; /* the memfd */
	uint8_t *map;
	size_t room; /* of the mapping */
	size_t len;
	uint32_t inode;
};

/* The most an archive may grow to. */
#define CPIO_MAX      (512UL << 20)
/* The longest name, as the kernel has it: PATH_MAX with its NUL. */
#define CPIO_NAME_MAX 4095

int cpio_begin(struct cpio *cpio, struct error *err);

/* @mode with its file type (S_IFDIR, S_IFCHR ...); @rdev_* for devices. A leading '/' of @name is left out. */
int cpio_node(struct cpio *cpio, const char *name, uint32_t mode, uint32_t rdev_major,
	uint32_t rdev_minor, struct error *err);

int cpio_file(struct cpio *cpio, const char *name, uint32_t mode, const void *data, size_t len,
	struct error *err);

/*
 * A regular file whose bytes the caller puts in place: cpio_room() says where they go and how many
 * fit, cpio_commit() that @len of them are there.
 */
uint8_t *cpio_room(struct cpio *cpio, const char *name, size_t *room, struct error *err);
int cpio_commit(struct cpio *cpio, const char *name, uint32_t mode, size_t len, struct error *err);

/* End the archive, seal it, hand over the descriptor in *@fd. */
int cpio_end(struct cpio *cpio, int *fd, struct error *err);

/* Free what is left, after an error or cpio_end(). */
void cpio_discard(struct cpio *cpio);
