#include "fs/internal.h"

#include <string.h>

size_t fs_iov_read(const struct iovec *iov, unsigned count, void *to, size_t len)
{
	size_t done = 0;

	for (unsigned i = 0; i < count && done < len; i++) {
		size_t n = MIN(iov[i].iov_len, len - done);

		memcpy((uint8_t *)to + done, iov[i].iov_base, n);
		done += n;
	}
	return done;
}

size_t fs_iov_write(const struct iovec *iov, unsigned count, const void *from, size_t len)
{
	size_t done = 0;

	for (unsigned i = 0; i < count && done < len; i++) {
		size_t n = MIN(iov[i].iov_len, len - done);

		memcpy(iov[i].iov_base, (const uint8_t *)from + done, n);
		done += n;
	}
	return done;
}

static void change(struct fs_window *w, unsigned which, struct iovec *v)
{
	w->changed[which] = v;
	w->was[which] = *v;
}

void fs_iov_open(struct fs_window *w, struct iovec *iov, unsigned count, size_t skip, size_t len)
{
	size_t left = len;

	w->changed[0] = w->changed[1] = NULL;
	while (count && skip >= iov->iov_len) {
		skip -= iov->iov_len;
		iov++;
		count--;
	}
	w->iov = iov;
	w->count = 0;
	if (!count)
		return;
	if (skip) {
		change(w, 0, iov);
		iov->iov_base = (uint8_t *)iov->iov_base + skip;
		iov->iov_len -= skip;
	}
	for (; w->count < count && left; w->count++) {
		struct iovec *v = &iov[w->count];

		if (v->iov_len > left) {
			change(w, 1, v);
			v->iov_len = left;
		}
		left -= v->iov_len;
	}
}

void fs_iov_close(struct fs_window *w)
{
	/* The last change first: both may be of the same one. */
	for (int i = 1; i >= 0; i--)
		if (w->changed[i])
			*w->changed[i] = w->was[i];
}
