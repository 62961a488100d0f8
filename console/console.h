/*
 * The host side of the guest's console: a terminal, a pipe, a file or nothing, behind one handle.
 * Both consoles of the machine (virtio console and 16550 serial port) write here; input goes to
 * whichever was made the sink.
 *
 * Output is gathered in a buffer of the console's own and written by its worker, one write at a
 * time, so that neither a slow terminal nor a full pipe holds up anything else the worker does, and
 * that many small pieces (Linux prints 16 bytes at a time) become one system call. The first of them
 * is written at once, what follows within 2 ms in one piece after that; bytes from the serial port at
 * the end of a line, or 2 ms after the first, so that a prompt without a newline shows, too. When the
 * buffer is full the guest is held back, and nothing is lost.
 *
 * Input is read only while there is room for it: the host's terminal or pipe holds the rest. The end
 * of the input is just that; the guest is not told.
 *
 * Terminal: raw mode while the guest runs, restored on every way out (normal end, error, a caught
 * signal, a fault, the seccomp trap). Ctrl-A is the escape key: Ctrl-A x leaves, Ctrl-A Ctrl-A sends
 * one Ctrl-A, Ctrl-A h shows help. A process in the background leaves the terminal alone. When
 * standard input is no terminal every byte of it is the guest's.
 */
#pragma once

#include "util/error.h"
#include "vmm/worker.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct console;

enum console_mode {
	CONSOLE_STDIO,
	CONSOLE_FILE,
	CONSOLE_NONE,
	CONSOLE_KEEP /* nothing is shown; the last of it is kept for console_tail() */
};

/* Who takes input. */
struct console_sink {
	/*
	 * The console's worker thread. Take up to @len bytes; returns how many were taken. Who takes
	 * fewer says console_input_wanted() when there is room again.
	 */
	size_t (*input)(void *ctx, const uint8_t *data, size_t len);
	void *ctx;
};

/*
 * Called on the worker thread when the person or program at the other end wants the machine to stop:
 * @signal is 0 for Ctrl-A x and SIGPIPE when whoever read the output has gone.
 */
typedef void console_leave(void *ctx, int signal);

/* Main. @path only for CONSOLE_FILE (created, truncated). */
int console_open(struct console **out, enum console_mode mode, const char *path, struct error *err);
/* Main, after the worker has stopped. Restores the terminal; NULL is allowed. */
void console_close(struct console *console);

/* Main, before the worker starts: who reads and writes from then on. */
int console_attach(struct console *console, struct worker *worker, console_leave *leave, void *ctx,
	struct error *err);

/*
 * Main, the worker running, just before the first guest instruction: raw mode on (only if standard
 * input is a terminal), and input is read from now on.
 */
void console_begin(struct console *console);

/* Async-signal-safe: put the terminal back as it was. May be called from anywhere, repeatedly. */
void console_restore_terminal(void);

/* Main, before start. The last one set takes the input. @sink is copied. */
void console_set_sink(struct console *console, const struct console_sink *sink);
/* Any thread. The sink has room again. */
void console_input_wanted(struct console *console);

/*
 * Any thread but the worker's. Write guest output. Waits while the buffer is full (that is what
 * holds a chatty guest back), until console_stop(); ends quietly when the reader has gone.
 */
void console_write(struct console *console, const void *data, size_t len);

/*
 * Worker thread. Take guest output from byte @offset of @iov on; returns how many bytes fitted. When
 * that was not all of them, the function of console_set_room() is called once there is room again.
 */
size_t console_put(struct console *console, const struct iovec *iov, unsigned count, size_t offset);

/* Main, before start. @room is called on the worker thread; see console_put(). */
void console_set_room(struct console *console, void (*room)(void *ctx), void *ctx);

/* Main, before the vCPUs are stopped: console_write() does not wait any more. */
void console_stop(struct console *console);

/*
 * Main, vCPUs stopped, devices quiesced, worker running. Input ends, the terminal is restored, and
 * what is still in the buffer is written out: with @patient for as long as the reader takes (signals
 * have their default effect meanwhile, so Ctrl-C ends the process), else for a second at most.
 */
void console_drain(struct console *console, bool patient);

/*
 * Any thread. The last lines that the guest wrote, of a console of the mode CONSOLE_KEEP: at most
 * @size - 1 bytes of text and a NUL, control characters as '?'. Returns the length.
 */
size_t console_tail(struct console *console, char *text, size_t size);

/* Main. Columns and rows of the terminal, 0 and 0 where there is none. */
void console_size(const struct console *console, uint16_t *columns, uint16_t *rows);
