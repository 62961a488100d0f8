/*
 * The JSON config file: json-c reads it, and only values of the right kind get out of here. json-c
 * keeps no positions, so that of a wrong key is looked up again in the text.
 */
#include "cli/options.h"

#include "util/cleanup.h"
#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <json.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 1024 * 1024, DEPTH_MAX = 8 };

/* Where something is: both count from 1, the column in bytes. */
struct position {
	unsigned line, column;
};

struct reading {
	struct options *o;
	const char *path;
	const char *text;
	size_t len;
	struct setting *settings;
	unsigned count, room;
};

static struct position position_at(const char *text, size_t offset)
{
	struct position p = { 1, 1 };

	for (size_t i = 0; i < offset; i++) {
		p.column++;
		if (text[i] == '\n')
			p = (struct position){ p.line + 1, 1 };
	}
	return p;
}

/* The end of the string that begins at @i, one behind its closing quote. */
static size_t string_end(const struct reading *in, size_t i)
{
	for (i++; i < in->len && in->text[i] != '"'; i++)
		if (in->text[i] == '\\')
			i++;
	return MIN(i + 1, in->len);
}

/* Where @key stands in the (valid) text: the last one of that name counts, as for json-c. */
static struct position position_of_key(const struct reading *in, const char *key)
{
	size_t key_len = strlen(key), found = 0, end;
	int depth = 0;

	for (size_t i = 0; i < in->len; i = end) {
		char c = in->text[i];

		end = i + 1;
		depth += (c == '{' || c == '[') - (c == '}' || c == ']');
		if (c != '"')
			continue;
		end = string_end(in, i);
		if (depth == 1 && end - i == key_len + 2 &&
			!memcmp(in->text + i + 1, key, key_len) &&
			in->text[end + strspn(in->text + end, " \t\r\n")] == ':')
			found = i;
	}
	return position_at(in->text, found);
}

static int complain(const struct reading *in, struct position at, struct error *err)
{
	error_prefix(err, "%s:%u:%u", in->path, at.line, at.column);
	return -EINVAL;
}

static int wrong_type(const struct reading *in, const struct option_def *def,
	struct json_object *value, struct error *err)
{
	static const char *const wanted[] = {
		[OPTION_STRING] = "a string",
		[OPTION_NUMBER] = "a whole number or a string",
		[OPTION_SWITCH] = "true or false",
		[OPTION_LIST] = "a string or an array of strings",
		[OPTION_COMMAND] = "an array of strings",
	};
	static const char *const got[] = {
		[json_type_null] = "null",
		[json_type_boolean] = "a boolean",
		[json_type_double] = "a fraction",
		[json_type_int] = "a number",
		[json_type_object] = "an object",
		[json_type_array] = "an array",
		[json_type_string] = "a string with a NUL in it",
	};

	error_set(err, ERROR_USAGE, EINVAL, "'%s' must be %s, not %s", def->name, wanted[def->type],
		got[json_object_get_type(value)]);
	return complain(in, position_of_key(in, def->name), err);
}

static int add(
	struct reading *in, const struct option_def *def, const char *value, struct error *err)
{
	if (in->count == in->room) {
		unsigned room = in->room ? 2 * in->room : 32;
		struct setting *more = reallocarray(in->settings, room, sizeof(*more));

		if (!more)
			return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
		in->settings = more;
		in->room = room;
	}
	in->settings[in->count++] = (struct setting){ def, value };
	return 0;
}

/* The text of a string without a NUL inside, else NULL. */
static const char *plain_string(struct json_object *value)
{
	const char *text;

	if (!json_object_is_type(value, json_type_string))
		return NULL;
	text = json_object_get_string(value);
	return strlen(text) == (size_t)json_object_get_string_len(value) ? text : NULL;
}

static int add_number(struct reading *in, const struct option_def *def, struct json_object *value,
	struct error *err)
{
	/* json-c writes an integer as it was read, so one parser serves both. */
	const char *text = json_object_to_json_string(value);

	text = options_keep(in->o, text, strlen(text));
	if (!text)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	return add(in, def, text, err);
}

static int add_list(struct reading *in, const struct option_def *def, struct json_object *value,
	struct error *err)
{
	size_t n = json_object_array_length(value);

	for (size_t i = 0; i < n; i++) {
		struct json_object *item = json_object_array_get_idx(value, i);
		const char *text = plain_string(item);
		int r;

		if (!text)
			return wrong_type(in, def, item, err);
		r = add(in, def, text, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_key(
	struct reading *in, const char *key, struct json_object *value, struct error *err)
{
	const struct option_def *def = option_find(key, strlen(key));
	const char *text = plain_string(value);
	char hint[96];

	if (!def || def->not_in_file) {
		error_set(err, ERROR_USAGE, EINVAL, "unknown key '%s'%s", key,
			def ? " (it is for the command line only)"
			    : option_hint(key, true, hint, sizeof(hint)));
		return complain(in, position_of_key(in, key), err);
	}
	if (def->type == OPTION_SWITCH) {
		if (!json_object_is_type(value, json_type_boolean))
			return wrong_type(in, def, value, err);
		return json_object_get_boolean(value) ? add(in, def, NULL, err) : 0;
	}
	if (text && def->type != OPTION_COMMAND)
		return add(in, def, text, err);
	if (def->type == OPTION_NUMBER && json_object_is_type(value, json_type_int))
		return add_number(in, def, value, err);
	if ((def->type == OPTION_LIST || def->type == OPTION_COMMAND) &&
		json_object_is_type(value, json_type_array))
		return add_list(in, def, value, err);
	return wrong_type(in, def, value, err);
}

static int parse(struct reading *in, struct error *err)
{
	struct json_tokener *tok = json_tokener_new_ex(DEPTH_MAX);
	struct json_object *root;
	enum json_tokener_error e;
	size_t at;

	if (!tok)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	root = json_tokener_parse_ex(tok, in->text, (int)in->len);
	e = json_tokener_get_error(tok);
	at = MIN(json_tokener_get_parse_end(tok), in->len);
	json_tokener_free(tok);
	in->o->file = root;
	if (e == json_tokener_continue) {
		error_set(err, ERROR_USAGE, EINVAL, "the file ends too early");
		return complain(in, position_at(in->text, in->len), err);
	}
	if (e != json_tokener_success) {
		error_set(err, ERROR_USAGE, EINVAL, "%s", json_tokener_error_desc(e));
		return complain(in, position_at(in->text, at), err);
	}
	if (!json_object_is_type(root, json_type_object)) {
		error_set(err, ERROR_USAGE, EINVAL,
			"not an object: it must look like { \"kernel\": \"FILE\", ... }");
		return complain(in, position_at(in->text, strspn(in->text, " \t\r\n")), err);
	}
	return 0;
}

/* All of the file and a NUL. */
static char *read_all(const char *path, size_t *len, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	_cleanup_free_ char *text = malloc(FILE_BYTES_MAX + 2);
	ssize_t n = 1;

	if (fd < 0) {
		error_set(err, ERROR_USAGE, errno, "--config %s: cannot be opened: %m", path);
		return NULL;
	}
	if (!text) {
		error_set(err, ERROR_HOST, ENOMEM, "out of memory");
		return NULL;
	}
	for (*len = 0; n > 0 && *len <= FILE_BYTES_MAX; *len += (size_t)n) {
		n = read(fd, text + *len, FILE_BYTES_MAX + 1 - *len);
		if (n < 0) {
			error_set(err, ERROR_USAGE, errno, "--config %s: cannot be read: %m", path);
			return NULL;
		}
	}
	if (*len > FILE_BYTES_MAX) {
		error_set(err, ERROR_USAGE, EFBIG, "--config %s: longer than %d bytes", path,
			FILE_BYTES_MAX);
		return NULL;
	}
	text[*len] = 0;
	return take_ptr(text);
}

int config_file_read(struct options *o, const char *path, struct setting **settings,
	unsigned *count, struct error *err)
{
	struct reading in = { .o = o, .path = path };
	_cleanup_free_ char *text = read_all(path, &in.len, err);
	int r;

	if (!text)
		return -EINVAL;
	in.text = text;
	config_file_release(o);
	r = parse(&in, err);
	if (r == 0) {
		json_object_object_foreach(o->file, key, value)
		{
			r = add_key(&in, key, value, err);
			if (r < 0)
				break;
		}
	}
	*settings = in.settings;
	*count = in.count;
	return r;
}

void config_file_release(struct options *o)
{
	json_object_put(o->file);
	o->file = NULL;
}
