/*
 * The escape key of an interactive console: Ctrl-A, then a letter. Pure: bytes in, bytes out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum escape_action {
	ESCAPE_LEAVE = 1 << 0, /* Ctrl-A x */
	ESCAPE_HELP = 1 << 1   /* Ctrl-A h */
};

/* Zero-initialise. */
struct escape {
	bool pending; /* Ctrl-A was seen, what it means comes with the next byte */
};

/*
 * Take the escapes out of the @len bytes at @data, in place. Returns how many bytes are left for the
 * guest and sets in *@actions what was asked for. Nothing after a "leave" is left.
 */
size_t escape_filter(struct escape *escape, uint8_t *data, size_t len, unsigned *actions);
