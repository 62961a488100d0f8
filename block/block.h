/*
 * A disk behind one opaque handle: requests in as SQEs, completions out, no bounce buffer.
 *
 * The frontend embeds a struct block_request in each of its own requests, fills it and calls
 * block_submit() on the worker thread; request->done() comes on the same thread, exactly once:
 * later, or from inside block_submit() when nothing had to be done, the request is wrong, or it was a
 * small write that the page cache took. Data moves straight between the file and request->iov, which
 * points into guest memory.
 */
#pragma once

#include "util/error.h"
#include "vmm/worker.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct block;

enum { BLOCK_SECTOR = 512, BLOCK_WORKERS_MAX = 16 };

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES };

struct block_request {
	/* Worker thread. @res is 0 or -errno; all of the request was done when it is 0. */
	void (*done)(struct block_request *request, int res);
	enum block_op op;
	bool unmap;	   /* WRITE_ZEROES: may punch a hole */
	uint64_t offset;   /* bytes */
	uint64_t len;	   /* bytes; for READ and WRITE the sum of iov */
	struct iovec *iov; /* READ and WRITE; must live until done() */
	unsigned iov_count;

	/* The backend's; it changes offset, len, iov and what iov points to as it goes on. */
	struct worker_op io;
	struct block *block;
	struct worker *worker;
	int file;
	uint8_t how;	 /* which way a range is cleared */
	uint8_t retries; /* in a row, of a call that the kernel asked to repeat */
};

/*
 * Main. Open the raw image at @path and lock it: shared when @read_only, else exclusive, by the
 * byte ranges that QEMU uses (open file description locks), so that neither opens what the other
 * writes. Errors: missing, a directory, empty, size not a multiple of 512 (ERROR_IMAGE); locked
 * (ERROR_BUSY). Each message names @path and says what to try.
 */
int block_open(struct block **out, const char *path, bool read_only, struct error *err);
void block_close(struct block *block); /* NULL is allowed; drops the locks */

/* Main, before the worker starts: register the file and allow the operations on @worker. */
int block_attach(struct block *block, struct worker *worker, struct error *err);

/* Worker thread (one that was attached). Out-of-range requests end with -EINVAL, never short. */
void block_submit(struct block *block, struct worker *worker, struct block_request *request);

/* Constant after block_open(). */
uint64_t block_size(const struct block *block); /* bytes, a multiple of BLOCK_SECTOR */
bool block_read_only(const struct block *block);
bool block_can_discard(const struct block *block);
unsigned block_size_logical(const struct block *block); /* preferred request unit, bytes, 2^n */
