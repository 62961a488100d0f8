#include "util/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 2048, LIMIT_LINES = 10, LIMIT_SECONDS = 10 };

static enum log_level log_level_now = LOG_LEVEL_WARN;
static enum log_format log_format_now = LOG_FORMAT_TEXT;
static _Atomic bool log_returns;
static int log_fd = STDERR_FILENO;

static const char *const level_names[] = { "error", "warning", "info", "debug" };

void log_setup(enum log_level level, enum log_format format)
{
	log_level_now = level;
	log_format_now = format;
}

void log_to(int fd)
{
	log_fd = fd;
}

bool log_enabled(enum log_level level)
{
	return level <= log_level_now;
}

void log_carriage_return(bool on)
{
	atomic_store(&log_returns, on);
}

/* Append @msg to @out as the inside of a JSON string; always leaves room for a closing quote. */
static size_t json_escape(char *out, size_t cap, const char *msg)
{
	size_t n = 0;

	for (; *msg && n + 8 < cap; msg++) {
		unsigned char c = (unsigned char)*msg;

		if (c == '"' || c == '\\') {
			out[n++] = '\\';
			out[n++] = (char)c;
		} else if (c < 0x20) {
			n += (size_t)snprintf(out + n, cap - n, "\\u%04x", c);
		} else {
			out[n++] = (char)c;
		}
	}
	return n;
}

static void emit(enum log_level level, const char *msg)
{
	char line[LINE_MAX_BYTES + 160];
	size_t n;

	if (log_format_now == LOG_FORMAT_JSON) {
		struct timespec ts;
		struct tm tm;

		clock_gettime(CLOCK_REALTIME, &ts);
		gmtime_r(&ts.tv_sec, &tm);
		n = strftime(line, sizeof(line), "{\"time\":\"%Y-%m-%dT%H:%M:%S", &tm);
		n += (size_t)snprintf(line + n, sizeof(line) - n,
			".%06ldZ\",\"level\":\"%s\",\"msg\":\"", ts.tv_nsec / 1000,
			level_names[level]);
		n += json_escape(line + n, sizeof(line) - n - 4, msg);
		n += (size_t)snprintf(line + n, sizeof(line) - n, "\"}\n");
	} else {
		n = (size_t)snprintf(line, sizeof(line), "microvm: %s: %.*s\n", level_names[level],
			LINE_MAX_BYTES, msg);
	}
	if (atomic_load(&log_returns)) {
		line[n - 1] = '\r';
		line[n++] = '\n';
	}
	/* A log that cannot be written has nowhere to say so. */
	if (write(log_fd, line, n) < 0)
		return;
}

void log_write(enum log_level level, const char *fmt, ...)
{
	char msg[LINE_MAX_BYTES];
	va_list ap;

	if (!log_enabled(level))
		return;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	emit(level, msg);
}

void log_limited(struct log_limit *limit, enum log_level level, const char *fmt, ...)
{
	char msg[LINE_MAX_BYTES];
	struct timespec ts;
	uint32_t seen, dropped = 0;
	int64_t window;
	va_list ap;

	if (!log_enabled(level))
		return;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	window = ts.tv_sec / LIMIT_SECONDS + 1;
	if (atomic_exchange(&limit->window, window) != window) {
		seen = atomic_exchange(&limit->count, 1);
		dropped = seen > LIMIT_LINES ? seen - LIMIT_LINES : 0;
	} else if (atomic_fetch_add(&limit->count, 1) >= LIMIT_LINES) {
		return;
	}
	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	if (dropped) {
		size_t n = strlen(msg);

		snprintf(msg + n, sizeof(msg) - n, " (and %u such lines not shown)", dropped);
	}
	emit(level, msg);
}
