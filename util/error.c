#include "util/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *err, enum error_kind kind, int errnum, const char *fmt, ...)
{
	if (err) {
		va_list ap;

		err->kind = kind;
		errno = errnum; /* for %m */
		va_start(ap, fmt);
		vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
		va_end(ap);
	}
	return errnum ? -errnum : -EINVAL;
}

void error_prefix(struct error *err, const char *fmt, ...)
{
	char old[sizeof(err->msg)];
	va_list ap;
	int n;

	if (!err)
		return;
	memcpy(old, err->msg, sizeof(old));
	va_start(ap, fmt);
	n = vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(err->msg))
		snprintf(err->msg + n, sizeof(err->msg) - (size_t)n, ": %.*s",
			(int)(sizeof(err->msg) - (size_t)n - 3), old);
}
