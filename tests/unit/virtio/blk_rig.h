/*
 * The block device on a worker without a thread, turn by turn, with a host that fails as it is told.
 */
#pragma once

#include "disk.h"
#include "fake_worker.h"

#define OK     VIRTIO_BLK_S_OK
#define IOERR  VIRTIO_BLK_S_IOERR
#define UNSUPP VIRTIO_BLK_S_UNSUPP

/* What the hook below does to the operations that the backend asks for. */
struct script {
	unsigned seen[IORING_OP_LAST]; /* by opcode */
	unsigned shorten;	       /* bytes moved by one read or write at most; 0: all */
	uint8_t fail_op;
	int fail_with; /* 0: nothing fails */
	unsigned fail_times;
	int modes;   /* of all fallocate() calls, together */
	int no_mode; /* fallocate() modes that the file system lacks */
};

struct fixture {
	struct disk disk;
	struct worker *w;
	struct script script;
};

int setup(void **state);
int setup_read_only(void **state);
int setup_unstarted(void **state);
int teardown(void **state);

/* Bytes that are never 0. */
void fill(struct fixture *f, gpa_t gpa, size_t len, uint32_t seed);
/* The image holds the bytes that guest memory has at @gpa. */
void expect_on_disk(struct fixture *f, uint64_t sector, gpa_t gpa, size_t len);
void expect_zero(struct fixture *f, uint64_t sector, size_t len);
/* Exactly one chain came back; returns how many bytes the device says it wrote. */
uint32_t expect_one(struct fixture *f, unsigned queue);
/* One request from beginning to end; it must come back once, with this status. */
uint32_t run(struct fixture *f, uint32_t type, uint64_t sector, uint32_t len, uint8_t status);
/* Offer a chain made by hand, and run until nothing happens any more. */
void run_chain(struct fixture *f, const struct driver_buf *bufs, unsigned count);
bool needs_reset(struct fixture *f);
/* Ranges for a discard, at DISK_DATA; returns their length. */
uint32_t put_ranges(struct fixture *f, const struct virtio_blk_discard_write_zeroes *r, unsigned n);
/* Every byte of the image is 0x5a; this sector still is. */
void dirty_image(struct fixture *f);
void expect_dirty(struct fixture *f, uint64_t sector);
