/* Reading a newc archive back, for tests. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct archive_entry {
	const char *name; /* in the archive */
	uint32_t mode, rdev_major, rdev_minor, links;
	const uint8_t *data;
	size_t len;
};

/*
 * All entries of the archive @bytes up to its trailer, at most @max; returns how many, or -1 with
 * a message on standard error if it is not as the kernel wants it.
 */
int archive_read(const uint8_t *bytes, size_t len, struct archive_entry *out, unsigned max);
