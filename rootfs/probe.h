/*
 * Which file system, or which partitions, a raw image holds, by the magic numbers of their
 * superblocks. Nothing in an image is trusted: all of this is reads inside the bytes given.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum probe_kind {
	PROBE_UNKNOWN,	   /* empty, encrypted, or something that this program does not know */
	PROBE_FILESYSTEM,  /* name: as mount(8) has it */
	PROBE_PARTITIONED, /* GPT or MBR */
	PROBE_FOREIGN	   /* no raw image or no root: name says what */
};

struct probe {
	enum probe_kind kind;
	const char *name; /* constant; "ext4" stands for ext2 and ext3, too */
};

/* The bytes from the image's start that decide; less is looked at as far as it goes. */
#define PROBE_BYTES (0x10000UL + 0x1000UL)

struct probe probe_bytes(const uint8_t *bytes, size_t len);

enum { PROBE_PARTITIONS_MAX = 32 };

struct probe_partition {
	unsigned number; /* from 1, as in /dev/vda1 */
	uint64_t start;	 /* bytes */
	uint64_t size;	 /* bytes */
	bool is_root;	 /* its GPT type says: root of this architecture */
};

/*
 * The partitions of a GPT (sectors of 512 bytes) or of an MBR (primary ones) in @bytes; returns
 * how many were stored in @out, at most PROBE_PARTITIONS_MAX.
 */
unsigned probe_partitions(const uint8_t *bytes, size_t len, struct probe_partition *out);

/* What the root image says: */
struct probe_root {
	const char *fstype; /* NULL: not known */
	unsigned partition; /* 0: the whole image */
};

/*
 * Look into the image at @path, in its partitions too: the partition marked as root is taken,
 * else the largest one that holds a file system a root may be on. ERROR_IMAGE where @path cannot
 * be read, or is not a raw image (qcow2 and such), or holds nothing to boot from for sure.
 */
int probe_root(struct probe_root *out, const char *path, struct error *err);
