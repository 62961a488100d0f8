/* How the guest program speaks, and how it gives up. */
#pragma once

#include "guest/text.h"

#include <stdbool.h>

/* Make /dev/console the standard input, output and error. False: it cannot be opened (yet). */
bool report_open_console(void);

/* Begin a line in @text with the program's name. */
void report_begin(struct text *text);
/* Add ": " and what @err (a negative errno) means. */
void report_add_error(struct text *text, long err);
/* Write the line to the console; to the kernel's log where there is no console. */
void report_say(struct text *text);

/*
 * Write the line, let the console drain, report INITRAMFS_FAILED through the status port. Where
 * nobody listens there, restart the machine: whatever runs it gets to know, and nothing hangs.
 */
void report_fail(struct text *text) __attribute__((noreturn));
