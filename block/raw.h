/* What the files of the raw backend share: raw.c moves data, open.c opens and locks. */
#pragma once

#include "block/block.h"
#include "util/log.h"

#include <stdatomic.h>

struct block {
	/* Constant after block_open() (attachments: after the worker starts). */
	int fd;
	char *path;
	uint64_t size; /* bytes */
	unsigned unit; /* preferred request size, bytes */
	bool read_only;
	bool can_discard;
	unsigned workers;
	struct {
		struct worker *worker;
		int file; /* the image among that worker's registered files */
	} attached[BLOCK_WORKERS_MAX];

	/* Any worker. */
	_Atomic int64_t busy_until; /* CLOCK_MONOTONIC ns: until then writes go to the ring */
	_Atomic bool no_zero_range; /* the file system has no FALLOC_FL_ZERO_RANGE */
	_Atomic bool no_punch_hole;
	struct log_limit complaints;
};

/*
 * Main. Take the byte locks that QEMU's raw driver takes, or -EBUSY with ERROR_BUSY where another
 * program's locks forbid it (see lock.c).
 */
int block_lock(const struct block *block, struct error *err);
void block_unlock(const struct block *block);

/* For tests of the way through the ring: the worker makes no write itself. */
static inline void block_ring_only(struct block *block)
{
	atomic_store(&block->busy_until, INT64_MAX);
}
