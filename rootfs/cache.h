/*
 * Unpacked kernel modules, kept from one run to the next in $XDG_CACHE_HOME/microvm/modules (or
 * ~/.cache/microvm/modules): unpacking xz is most of what an initramfs costs.
 *
 * A file's name is a hash of the packed bytes, and its head has a hash of the unpacked ones, so it
 * is never stale and a damaged one is not taken. Only files that belong to this user, and that
 * nobody else may write, are. All failures are quiet: without a cache things are a little slower.
 * Several processes may share one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cache {
	int dir; /* -1: there is none */
};

struct cache_key {
	uint64_t hash[2];
	uint64_t len;
};

void cache_open(struct cache *cache);
void cache_close(struct cache *cache);

/* The key of the packed bytes. */
struct cache_key cache_key(const uint8_t *data, size_t len);

/* Copy what is kept under @key to @out, of @room bytes; false if there is none. */
bool cache_get(const struct cache *cache, const struct cache_key *key, uint8_t *out, size_t room,
	size_t *len);

/* Keep @data under @key, and throw out the oldest where there are more than CACHE_FILES_MAX. */
void cache_put(
	const struct cache *cache, const struct cache_key *key, const uint8_t *data, size_t len);

enum { CACHE_FILES_MAX = 256 };
