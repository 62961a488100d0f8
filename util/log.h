/*
 * The log: one line a message on standard error, as text or as JSON. May be called from any
 * thread; a line is written with one write(2). The level and format are globals, set once by
 * main before any thread starts.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

void log_setup(enum log_level level, enum log_format format);
/* Main, before any thread: where lines go; standard error if nothing is said. Not owned. */
void log_to(int fd);
bool log_enabled(enum log_level level);

/*
 * Any thread, async-signal-safe: whether a line must end in a carriage return as well, because
 * standard error is a terminal in raw mode.
 */
void log_carriage_return(bool on);

void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                           \
	do {                                                     \
		if (log_enabled(LOG_LEVEL_DEBUG))                \
			log_write(LOG_LEVEL_DEBUG, __VA_ARGS__); \
	} while (0)

/*
 * A guest must not be able to fill the host's log. One of these sits beside whatever a guest can
 * make us complain about: ten lines in any ten seconds pass, the rest are counted and the count is
 * told with the next line that passes. Zero-initialised; any thread.
 */
struct log_limit {
	_Atomic int64_t window; /* which ten seconds the count is of */
	_Atomic uint32_t count;
};

void log_limited(struct log_limit *limit, enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
