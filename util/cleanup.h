/*
 * Cleanup attributes for set-up code: what is declared with one of these is released on every way
 * out of the scope. Hand the thing over with take_fd() / take_ptr().
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_free_ptr(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_fclose(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define _cleanup_close_	 __attribute__((cleanup(cleanup_close_fd)))
#define _cleanup_free_	 __attribute__((cleanup(cleanup_free_ptr)))
#define _cleanup_fclose_ __attribute__((cleanup(cleanup_fclose)))

static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

#define take_ptr(p)                         \
	({                                  \
		__typeof__(p) taken_ = (p); \
		(p) = NULL;                 \
		taken_;                     \
	})
