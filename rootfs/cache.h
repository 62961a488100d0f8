/*
 * What was made once and is wanted again by later runs, such as initramfs archives, kept in
 * $XDG_CACHE_HOME/microvm/KIND, ~/.cache/microvm/KIND or, for root without a home,
 * /var/cache/microvm/KIND.
 *
 * A file's name is the key of what it was made from, and a hash of its bytes: so it is never
 * stale, and a damaged one is not taken (but thrown out). Only files that belong to this user,
 * and that nobody else may write, are. A file appears whole or not at all, and a killed process
 * leaves none half-made behind where the file system can do that (O_TMPFILE). All failures are
 * quiet: without a cache things are a little slower. Any number of processes may share one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cache_kind {
	const char *name;
	unsigned files_max;
	uint64_t bytes_max; /* of all together; one may have half of it */
	/*
	 * Too big to be read twice every time: its hash is compared once after the host booted (only
	 * then can a file be there whose bytes never reached the disk).
	 */
	bool check_once;
};

struct cache {
	const struct cache_kind *kind;
	int dir; /* -1: there is none */
};

/* 128 bits of what was added, in order. Zero-initialise. */
struct cache_key {
	uint64_t hash[2];
};

/* Bytes are added in pieces: the same bytes cut elsewhere give another key. */
void cache_key_add(struct cache_key *key, const void *data, size_t len);

void cache_open(struct cache *cache, const struct cache_kind *kind);
void cache_close(struct cache *cache);

/* An open file, read-only and at its start, with what is kept under @key; or -1. */
int cache_get(const struct cache *cache, const struct cache_key *key);

/* Keep @data under @key; those used longest ago make room for it. Pages of zeros become holes. */
void cache_put(
	const struct cache *cache, const struct cache_key *key, const void *data, size_t len);
