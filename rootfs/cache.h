/*
 * What is costly to make, kept from one run to the next in $XDG_CACHE_HOME/microvm/KIND,
 * ~/.cache/microvm/KIND or, for root without a home, /var/cache/microvm/KIND: initramfs archives
 * (initramfs), system call filters of containers (seccomp).
 *
 * A file's name is the key of what the archive was made from, and a hash of its bytes: so it is
 * never stale, and a damaged one is not taken (but thrown out). Only files that belong to this user,
 * and that nobody else may write, are. A file appears whole or not at all, and a killed process
 * leaves none half-made behind where the file system can do that (O_TMPFILE). All failures are
 * quiet: without a cache things are a little slower. Any number of processes may share one.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct cache {
	int dir; /* -1: there is none */
};

/* 128 bits of what was added, in order. Zero-initialise. */
struct cache_key {
	uint64_t hash[2];
};

/* Bytes are added in pieces: the same bytes cut elsewhere give another key. */
void cache_key_add(struct cache_key *key, const void *data, size_t len);

void cache_open(struct cache *cache, const char *kind);
void cache_close(struct cache *cache);

/* An open file, read-only and at its start, with what is kept under @key; or -1. */
int cache_get(const struct cache *cache, const struct cache_key *key);

/* Keep @data under @key; those used longest ago make room for it. */
void cache_put(
	const struct cache *cache, const struct cache_key *key, const void *data, size_t len);

/* An archive is half a megabyte to a few; a machine has a handful of kernels and kinds of guests. */
enum { CACHE_FILES_MAX = 32 };
#define CACHE_BYTES_MAX (128UL << 20)
