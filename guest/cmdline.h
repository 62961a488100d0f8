/* The kernel command line, by the kernel's own rules (lib/cmdline.c, init/do_mounts.c). */
#pragma once

#include "guest/text.h"

#include <stdbool.h>
#include <stddef.h>

enum { CMDLINE_MAX = 8192, CMDLINE_WAIT_DEFAULT_S = 5, CMDLINE_WAIT_MAX_S = 3600 };

/* Strings point into the caller's copy of the command line. NULL: not given. */
struct cmdline {
	const char *root;
	const char *rootfstype;
	const char *rootflags;
	const char *init;
	const char *console; /* the last console=, options cut off */
	bool read_only;	     /* as the kernel has it: unless rw was said last */
	unsigned wait_s;     /* how long to wait for the root device; rootwait=N, rootdelay=N */
};

/* Take @line apart in place. Words behind a lone "--" are init's and not looked at. */
void cmdline_parse(struct cmdline *out, char *line);

/*
 * The parameters for the module in file @file (NAME.ko): each "NAME.PARAM=VALUE" of the command
 * line @line, which is left as it is, as "PARAM=VALUE"; - and _ are the same in NAME.
 */
void cmdline_module_params(struct text *out, const char *line, const char *file);
