#include "oci/config_internal.h"

#include "util/cleanup.h"
#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* What is allocated for a document: a list, so that it can go with the root. */
struct cfg_block {
	struct cfg_block *next;
	_Alignas(16) char bytes[];
};

struct cfg_memory {
	struct cfg_block *first;
};

static void forget(struct json_object *root, void *userdata)
{
	struct cfg_memory *memory = userdata;
	struct cfg_block *block = memory->first, *next;

	for (; block; block = next) {
		next = block->next;
		free(block);
	}
	free(memory);
}

int cfg_scratch(struct cfg *cfg)
{
	cfg->memory = calloc(1, sizeof(*cfg->memory));
	return cfg->memory ? 0 : error_set(cfg->err, ERROR_HOST, ENOMEM, "out of memory");
}

void cfg_scratch_free(struct cfg *cfg)
{
	forget(NULL, cfg->memory);
	cfg->memory = NULL;
}

void *cfg_alloc(struct cfg *cfg, size_t n, size_t size)
{
	struct cfg_block *block;
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes) ||
		!(block = calloc(1, sizeof(*block) + MAX(bytes, 1)))) {
		error_set(cfg->err, ERROR_HOST, ENOMEM, "%s: out of memory", cfg->name);
		return NULL;
	}
	block->next = cfg->memory->first;
	cfg->memory->first = block;
	return block->bytes;
}

char *cfg_text(struct cfg *cfg, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list args;
	char *copy;
	int len;

	va_start(args, fmt);
	len = vasprintf(&text, fmt, args);
	va_end(args);
	if (len < 0) {
		text = NULL;
		error_set(cfg->err, ERROR_HOST, ENOMEM, "%s: out of memory", cfg->name);
		return NULL;
	}
	copy = cfg_alloc(cfg, (size_t)len + 1, 1);
	return copy ? memcpy(copy, text, (size_t)len + 1) : NULL;
}

static size_t enter(struct cfg *cfg, const char *fmt, const char *key, size_t index)
{
	size_t mark = cfg->len, room = sizeof(cfg->where) - mark;
	int len = snprintf(cfg->where + mark, room, fmt, mark ? "." : "", key, index);
	size_t grown = len < 0 ? 0 : (size_t)len;

	cfg->len += MIN(grown, room - 1);
	return mark;
}

size_t cfg_enter(struct cfg *cfg, const char *key)
{
	return enter(cfg, "%s%s", key, 0);
}

size_t cfg_enter_item(struct cfg *cfg, const char *key, size_t index)
{
	return enter(cfg, "%s%s[%zu]", key, index);
}

void cfg_leave(struct cfg *cfg, size_t mark)
{
	cfg->len = mark;
	cfg->where[mark] = 0;
}

/* What a document says may be in a message, but must not break the line or the terminal. */
static void make_plain(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 127)
			*text = '?';
}

static void place(const struct cfg *cfg, const char *key, char *to, size_t size)
{
	snprintf(to, size, "%s%s%s%s", cfg->where, cfg->len && key ? "." : "", key ? key : "",
		cfg->len || key ? ": " : "");
}

int cfg_fail(struct cfg *cfg, const char *key, const char *fmt, ...)
{
	char what[512], where[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	make_plain(what);
	place(cfg, key, where, sizeof(where));
	make_plain(where);
	return error_set(cfg->err, ERROR_USAGE, EINVAL, "%s: %s%s", cfg->name, where, what);
}

int cfg_warn(struct cfg *cfg, const char *key, const char *fmt, ...)
{
	char what[512], where[256];
	const char **more;
	va_list args;
	char *text;

	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	place(cfg, key, where, sizeof(where));
	text = cfg_text(cfg, "%s: %s%s", cfg->name, where, what);
	more = cfg_alloc(cfg, cfg->warnings + 2, sizeof(*more));
	if (!text || !more)
		return -ENOMEM;
	make_plain(text);
	if (cfg->warnings)
		memcpy(more, cfg->warning, cfg->warnings * sizeof(*more));
	more[cfg->warnings++] = text;
	cfg->warning = more;
	return 0;
}

/* Which line of the text byte @at is in. */
static unsigned line_of(const char *text, size_t at)
{
	unsigned line = 1;

	while (at--)
		line += *text++ == '\n';
	return line;
}

/* Whether the number at @p, as far as its digits go to @end, is more than 64 bits hold. */
static bool is_huge(const char *text, const char *p, const char *end)
{
	static const char most[] = "18446744073709551615";
	size_t len = (size_t)(end - p);

	if (len != sizeof(most) - 1)
		return len >= sizeof(most);
	return memcmp(p, most, len) > 0 || (p > text && p[-1] == '-');
}

/*
 * What json-c would let pass: a number that does not fit (it gives the nearest that does), control
 * characters in a string, keys in single quotes, NaN and Infinity. Returns what is wrong at *@at, or
 * NULL.
 */
static const char *find_fault(const char *text, size_t len, size_t *at)
{
	const char *end = text + len, *p = text, *digits;
	bool quoted = false;

	for (; p < end; p++) {
		*at = (size_t)(p - text);
		if (quoted) {
			if ((unsigned char)*p < ' ')
				return "a control character in a string";
			if (*p == '\\')
				p++;
			else
				quoted = *p != '"';
		} else if (*p == '"') {
			quoted = true;
		} else if (*p == '\'' || *p == 'N' || *p == 'I') {
			return "neither a string nor a number";
		} else if (*p >= '0' && *p <= '9') {
			for (digits = p; p < end && *p >= '0' && *p <= '9'; p++)
				;
			if (is_huge(text, digits, p--))
				return "a number is too large";
		}
	}
	return NULL;
}

int cfg_parse(struct cfg *cfg, const char *text, size_t len)
{
	const char *fault;
	enum json_tokener_error e;
	struct json_tokener *tok;
	size_t at;

	if (len > CFG_TEXT_MAX)
		return cfg_fail(cfg, NULL, "longer than %d bytes", CFG_TEXT_MAX);
	if (memchr(text, 0, len))
		return cfg_fail(cfg, NULL, "not JSON: it has a NUL byte in it");
	fault = find_fault(text, len, &at);
	if (fault)
		return cfg_fail(cfg, NULL, "not JSON: line %u: %s", line_of(text, at), fault);
	tok = json_tokener_new_ex(CFG_DEPTH_MAX);
	cfg->memory = calloc(1, sizeof(*cfg->memory));
	if (!tok || !cfg->memory) {
		json_tokener_free(tok);
		free(cfg->memory);
		return error_set(cfg->err, ERROR_HOST, ENOMEM, "%s: out of memory", cfg->name);
	}
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT);
	cfg->root = json_tokener_parse_ex(tok, text, (int)len);
	e = json_tokener_get_error(tok);
	at = MIN(json_tokener_get_parse_end(tok), len);
	json_tokener_free(tok);
	if (e == json_tokener_success && json_object_is_type(cfg->root, json_type_object)) {
		json_object_set_userdata(cfg->root, cfg->memory, forget);
		return 0;
	}
	json_object_put(cfg->root);
	cfg->root = NULL;
	free(cfg->memory);
	cfg->memory = NULL;
	if (e == json_tokener_continue)
		return cfg_fail(cfg, NULL, "not JSON: the text ends too early");
	if (e != json_tokener_success)
		return cfg_fail(cfg, NULL, "not JSON: line %u: %s", line_of(text, at),
			json_tokener_error_desc(e));
	return cfg_fail(cfg, NULL, "not a JSON object");
}

char *cfg_read(const char *name, const char *path, size_t *len, struct error *err)
{
	bool own = strcmp(path, "-") != 0;
	_cleanup_close_ int opened =
		own ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK) : -1;
	int fd = own ? opened : STDIN_FILENO;
	_cleanup_free_ char *text = NULL;
	size_t room = 0;
	struct stat st;

	*len = 0;
	if (fd < 0 || fstat(fd, &st) < 0) {
		error_set(err, ERROR_IMAGE, errno, "%s: cannot be opened: %m", name);
		return NULL;
	}
	if (S_ISDIR(st.st_mode)) {
		error_set(err, ERROR_IMAGE, EISDIR, "%s: is a directory", name);
		return NULL;
	}
	for (;;) {
		ssize_t n;

		if (room - *len < 2) {
			char *more = realloc(text, room = room ? 2 * room : 65536);

			if (!more) {
				error_set(err, ERROR_HOST, ENOMEM, "%s: out of memory", name);
				return NULL;
			}
			text = more;
		}
		n = read(fd, text + *len, room - *len - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			error_set(err, ERROR_IMAGE, errno, "%s: cannot be read: %m", name);
			return NULL;
		}
		*len += (size_t)n;
		if (!n || *len > CFG_TEXT_MAX)
			break;
	}
	text[*len] = 0;
	return take_ptr(text);
}

const char *cfg_clean_path(struct cfg *cfg, const char *path)
{
	char *clean = cfg_alloc(cfg, strlen(path) + 2, 1);
	size_t len = 0, part;

	if (!clean)
		return NULL;
	for (; *path; path += part) {
		part = strcspn(path, "/");
		if (!part) {
			part = 1;
		} else if (part == 2 && !memcmp(path, "..", 2)) {
			while (len && clean[--len] != '/')
				;
		} else if (part != 1 || *path != '.') {
			clean[len++] = '/';
			memcpy(clean + len, path, part);
			len += part;
		}
	}
	if (!len)
		clean[len++] = '/';
	clean[len] = 0;
	return clean;
}

bool cfg_size(const char *text, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	const char *unit;
	unsigned shift = 0;
	uint64_t v = 0;

	if (*text < '0' || *text > '9')
		return false;
	for (; *text >= '0' && *text <= '9'; text++)
		if (__builtin_mul_overflow(v, 10, &v) ||
			__builtin_add_overflow(v, (uint64_t)(*text - '0'), &v))
			return false;
	if (*text && (unit = strchr(units, *text & ~0x20))) {
		shift = 10 * (unsigned)(unit - units + 1);
		text++;
		if (!strcasecmp(text, "ib") || !strcasecmp(text, "b"))
			text = "";
	}
	if (*text || v > UINT64_MAX >> shift)
		return false;
	*bytes = v << shift;
	return true;
}
