#include "guest/cmdline.h"

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/*
 * The next word from @s: ends at a blank outside double quotes. Returns its first character (NULL:
 * none left), *@end is one past its last.
 */
static const char *next_word(const char *s, const char **end)
{
	bool quoted = false;
	const char *word;

	while (is_space(*s))
		s++;
	if (!*s)
		return NULL;
	for (word = s; *s && (quoted || !is_space(*s)); s++)
		if (*s == '"')
			quoted = !quoted;
	*end = s;
	return word;
}

/* Take off the quotes of "NAME=VALUE" or NAME="VALUE"; returns VALUE, or NULL without a '='. */
static char *split_word(char **name)
{
	char *word = *name, *value = NULL, *end;

	if (*word == '"')
		word++;
	*name = word;
	for (; *word && !value; word++)
		if (*word == '=') {
			*word = 0;
			value = word + 1;
		}
	if (value && *value == '"')
		value++;
	end = value ? value : word;
	while (*end)
		end++;
	if (end > (value ? value : *name) && end[-1] == '"')
		end[-1] = 0;
	return value;
}

static void take_console(struct cmdline *out, char *value)
{
	char *p = value;

	while (*p && *p != ',')
		p++;
	*p = 0;
	out->console = value;
}

static void take_wait(struct cmdline *out, const char *value)
{
	unsigned long seconds;

	if (text_number(value, 0, CMDLINE_WAIT_MAX_S, &seconds) && seconds > out->wait_s)
		out->wait_s = (unsigned)seconds;
}

static void take_word(struct cmdline *out, const char *name, char *value)
{
	if (!value) {
		if (text_equal(name, "ro"))
			out->read_only = true;
		else if (text_equal(name, "rw"))
			out->read_only = false;
	} else if (text_equal(name, "root")) {
		out->root = value;
	} else if (text_equal(name, "rootfstype")) {
		out->rootfstype = value;
	} else if (text_equal(name, "rootflags")) {
		out->rootflags = value;
	} else if (text_equal(name, "init")) {
		out->init = value;
	} else if (text_equal(name, "console")) {
		take_console(out, value);
	} else if (text_equal(name, "rootwait") || text_equal(name, "rootdelay")) {
		take_wait(out, value);
	}
}

void cmdline_parse(struct cmdline *out, char *line)
{
	const char *end;
	char *name;

	*out = (struct cmdline){ .read_only = true, .wait_s = CMDLINE_WAIT_DEFAULT_S };
	while ((name = (char *)next_word(line, &end))) {
		line = (char *)end;
		if (*line)
			*line++ = 0;
		if (text_equal(name, "--"))
			return;
		char *value = split_word(&name);

		take_word(out, name, value);
	}
}

/* Whether @word begins with the name of @file (NAME.ko) and a dot; returns what is behind it. */
static const char *after_module_name(const char *word, const char *end, const char *file)
{
	for (; word < end && *file && *file != '.'; word++, file++) {
		char a = *word == '-' ? '_' : *word;
		char b = *file == '-' ? '_' : *file;

		if (a != b)
			return NULL;
	}
	return *file == '.' && word < end && *word == '.' ? word + 1 : NULL;
}

void cmdline_module_params(struct text *out, const char *line, const char *file)
{
	const char *word, *end, *param;

	while ((word = next_word(line, &end))) {
		line = end;
		if (end - word == 2 && word[0] == '-' && word[1] == '-')
			return;
		param = after_module_name(word, end, file);
		if (!param)
			continue;
		if (out->len)
			text_add(out, " ");
		for (; param < end; param++)
			text_add(out, (char[2]){ *param, 0 });
	}
}
