/*
 * The options of `microvm run`. One table (options.c) is the command line, the keys of the config
 * file, and the help.
 */
#pragma once

#include "machine/config.h"
#include "util/error.h"
#include "util/log.h"

#include <stdbool.h>
#include <stddef.h>

struct json_object;

/* What the options came to. Zero-initialised by options_init(). */
struct options {
	struct vm_config config; /* points into argv, and at what `string` and `file` keep */
	enum log_level log_level;
	enum log_format log_format;
	bool help;    /* --help was among them; nothing else was looked at */
	bool version; /* so was --version */

	/* Kept for config; options_release() frees them. */
	const char *root; /* --rootfs, as it was said */
	bool root_read_only;
	unsigned strings;
	char **string;
	struct json_object *file; /* the parsed config file */
};

enum option_type {
	OPTION_STRING,
	OPTION_NUMBER, /* in the file: a number, or a string such as "512M" */
	OPTION_SWITCH, /* no value; in the file: true or false */
	OPTION_LIST    /* may be said several times; in the file: a string or an array of strings */
};

struct option_def {
	const char *name;  /* "--name" on the command line, "name" in the file */
	const char *value; /* what stands for the value in the help; NULL for a switch */
	enum option_type type;
	bool not_in_file;
	/* @value is NULL for a switch. The message says what is wrong with the value. */
	int (*set)(struct options *o, const char *value, struct error *err);
	const char *help; /* lines are separated by \n */
};

extern const struct option_def option_table[];
extern const unsigned option_table_count;

/* An option with its value, from wherever. */
struct setting {
	const struct option_def *def;
	const char *value;
};

void options_init(struct options *o);
void options_release(struct options *o);

/*
 * Main. Read the arguments behind "run" (@argv[0] is the first of them) and the file they name: first
 * the file, then the command line over it, of single values the last. -EINVAL with ERROR_USAGE, or
 * the file's -errno. What @o points to lives as long as @argv and until options_release().
 */
int options_parse(struct options *o, int argc, char **argv, struct error *err);

/* The option called @name (without dashes, @len bytes), or NULL. */
const struct option_def *option_find(const char *name, size_t len);
/* ": did you mean 'cpus'?" in @buf, or nothing. Returns @buf. */
const char *option_hint(const char *name, bool in_file, char *buf, size_t size);

/* A copy of the first @len bytes of @text that lives until options_release(). NULL: no memory. */
char *options_keep(struct options *o, const char *text, size_t len);

/* The options as lines of help on standard output. */
void options_print_help(void);

/*
 * config_file.c: read the JSON file at @path. Every key becomes one or more settings in *@settings
 * (the caller frees the array; values live until options_release()). Messages begin with
 * "PATH:LINE:COLUMN: ".
 */
int config_file_read(struct options *o, const char *path, struct setting **settings,
	unsigned *count, struct error *err);
void config_file_release(struct options *o);
