/* The kernel command line. */
#include "boot/describe.h"

#include "util/macros.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/*
 * Where the words for init begin: the "--" that stands alone and outside double quotes, as the
 * kernel's parse_args() sees it; or the end.
 */
static size_t init_words(const char *s)
{
	bool quoted = false;
	bool start = true;
	size_t i;

	for (i = 0; s[i]; i++) {
		if (start && !strncmp(s + i, "--", 2) &&
			(!s[i + 2] || isspace((unsigned char)s[i + 2])))
			return i;
		if (s[i] == '"')
			quoted = !quoted;
		start = !quoted && isspace((unsigned char)s[i]);
	}
	return i;
}

struct text {
	char *out;
	size_t size;
	size_t len; /* wanted so far; beyond size: it did not fit */
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *fmt, ...)
{
	size_t at = MIN(t->len, t->size);
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->out + at, t->size - at, fmt, ap);
	va_end(ap);
	t->len += (size_t)MAX(n, 0);
}

int boot_cmdline(const struct boot_params_in *in, char *out, size_t size)
{
	const char *base = in->cmdline ? in->cmdline : "";
	size_t split = init_words(base);
	struct text t = { .out = out, .size = size };

	if (in->hw != BOOT_HW_CMDLINE || !in->devices) {
		put(&t, "%s", base);
		return t.len < size ? 0 : -ENOSPC;
	}
	/* The words are put back with one blank between them and ours. */
	put(&t, "%.*s", (int)split, base);
	while (t.len && t.len < size && isspace((unsigned char)out[t.len - 1]))
		t.len--;
	for (unsigned i = 0; i < in->devices; i++)
		put(&t, "%svirtio_mmio.device=%llu@%#llx:%u", t.len ? " " : "",
			(unsigned long long)in->device[i].size,
			(unsigned long long)in->device[i].base, in->device[i].gsi);
	if (base[split])
		put(&t, " %s", base + split);
	return t.len < size ? 0 : -ENOSPC;
}
