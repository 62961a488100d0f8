/*
 * The host side of the guest's console: a terminal, a pipe, a file or nothing, behind one handle.
 * Both consoles of the machine (virtio console and 16550 serial port) write here; input goes to the
 * one that asked for it last.
 *
 * Terminal: raw mode while the guest runs, restored on every way out (normal end, error, a caught
 * signal, the seccomp trap). Ctrl-A is the escape key: Ctrl-A x leaves, Ctrl-A Ctrl-A sends one
 * Ctrl-A, Ctrl-A h shows help.
 */
#pragma once

#include "util/error.h"
#include "vmm/worker.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct console;

enum console_mode { CONSOLE_STDIO, CONSOLE_FILE, CONSOLE_NONE };

/* Who takes input. Called on the console's worker thread. */
struct console_sink {
	/*
	 * Room for input, in bytes, right now; 0 stops reading until console_input_wanted(). The
	 * host's terminal or pipe holds the rest: nothing is lost.
	 */
	size_t (*room)(void *ctx);
	void (*input)(void *ctx, const uint8_t *data, size_t len);
	void *ctx;
};

/* Main. @path only for CONSOLE_FILE (created, truncated). */
int console_open(struct console **out, enum console_mode mode, const char *path, struct error *err);
/* Main. Restores the terminal; NULL is allowed. */
void console_close(struct console *console);

/* Main, before the worker starts: where input is read and @leave is called for Ctrl-A x. */
int console_attach(struct console *console, struct worker *worker, void (*leave)(void *ctx),
	void *ctx, struct error *err);

/* Main, just before the first guest instruction: raw mode on (only if standard input is a tty). */
void console_begin(struct console *console);

/* Async-signal-safe: put the terminal back as it was. May be called from anywhere, repeatedly. */
void console_restore_terminal(void);

/* Main, before start (serial and virtio console register in this order); the last to want it wins. */
void console_set_sink(struct console *console, const struct console_sink *sink);
/* Worker thread: there is room again, read on. */
void console_input_wanted(struct console *console);

/*
 * Any thread. Write guest output. Blocks while the reader at the other end is slow (that is what
 * holds a chatty guest back), ends quietly when the reader has gone.
 */
void console_write(struct console *console, const void *data, size_t len);
void console_writev(struct console *console, const struct iovec *iov, unsigned count);

/* Columns and rows of the terminal, 0 and 0 where there is none. Any thread. */
void console_size(const struct console *console, uint16_t *columns, uint16_t *rows);
