/*
 * The error object that set-up code fills and `main` prints.
 *
 * Rules: a function that can fail for a reason a person should read takes a `struct error *` as
 * its last parameter and returns a negative errno (or NULL). The message names the file or option,
 * says what is wrong, and says what to try. The data path never uses it: it returns -errno.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>

/*
 * What kind of failure it was: decides the exit status of the process (see cli/status.h), so a
 * script can tell a wrong flag from a broken image. Order is not significant.
 */
enum error_kind {
	ERROR_NONE = 0,
	ERROR_USAGE, /* a flag, a config key or a value that cannot be meant */
	ERROR_IMAGE, /* a kernel, initrd, disk or module file that is missing, broken or unsuitable */
	ERROR_BUSY,   /* a disk, tap or port that somebody else is using */
	ERROR_HOST,   /* this host lacks something: KVM, an extension, memory, a permission */
	ERROR_MACHINE /* the running machine failed: KVM_EXIT_INTERNAL_ERROR and its like */
};

struct error {
	enum error_kind kind;
	char msg[1024]; /* one line, no trailing newline */
};

/*
 * Fill @err (which may be NULL) and return -@errnum, so that `return error_set(...)` reads well.
 * @errnum is a positive errno value; 0 is turned into EINVAL. The message is taken as it is: add
 * strerror text with %m or error_errno() where it helps.
 */
int error_set(struct error *err, enum error_kind kind, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Put "PREFIX: " before the message that is already in @err. Returns nothing; keeps the kind. */
void error_prefix(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
