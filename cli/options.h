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

enum { JOB_VOLUMES_MAX = VM_SHARES_MAX - 1, JOB_TMPFS_MAX = 16 };

struct volume {
	const char *source; /* on the host */
	const char *target; /* in the guest: absolute, without . and .. */
	bool read_only;
};

struct tmpfs {
	const char *target;
	const char *options; /* as tmpfs(5) has them, or NULL */
	unsigned flags;	     /* AGENT_MOUNT_* */
};

/* What is to be run in the guest, and how. */
struct job_options {
	unsigned words;
	const char **command; /* NULL-terminated; words of them. NULL: none was given */
	unsigned volumes;
	struct volume volume[JOB_VOLUMES_MAX];
	unsigned tmpfses;
	struct tmpfs tmpfs[JOB_TMPFS_MAX];
	unsigned envs;
	const char **env; /* NAME=VALUE, or NAME: with this process's value */
	const char *workdir, *user, *hostname, *name, *image, *vsock;
	bool interactive, tty, read_only, keep;
	enum vm_cache cache;
	unsigned grace_ms;
	unsigned published;
	struct vm_forward publish[VM_FORWARDS_MAX];
};

/* What the options came to. Zero-initialised by options_init(). */
struct options {
	struct vm_config config; /* points into argv, and at what `string` and `file` keep */
	struct job_options job;
	enum log_level log_level;
	enum log_format log_format;
	bool exec;    /* `microvm exec` */
	bool help;    /* --help was among them; nothing else was looked at */
	bool version; /* so was --version */

	/* Kept for config; options_release() frees them. */
	const char *root; /* --rootfs, as it was said */
	bool root_read_only;
	bool root_is_dir;
	unsigned strings;
	char **string;
	struct json_object *file; /* the parsed config file */
};

enum option_type {
	OPTION_STRING,
	OPTION_NUMBER, /* in the file: a number, or a string such as "512M" */
	OPTION_SWITCH, /* no value; in the file: true or false */
	OPTION_LIST,   /* may be said several times; in the file: a string or an array of strings */
	OPTION_COMMAND /* what stands behind --; in the file: an array of strings */
};

struct option_def {
	const char *name;  /* "--name" on the command line, "name" in the file */
	char letter;	   /* "-l" as well; 0: no such */
	const char *value; /* what stands for the value in the help; NULL for a switch */
	enum option_type type;
	bool not_in_file;
	bool for_exec; /* `microvm exec` has it, too */
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

/*
 * Main. The same for the arguments behind "exec": fewer options, and one argument that is none, the
 * machine's name, which becomes o->job.name.
 */
int options_parse_exec(struct options *o, int argc, char **argv, struct error *err);

/* The option called @name (without dashes, @len bytes), or NULL. */
const struct option_def *option_find(const char *name, size_t len);
/* One more word of the command. */
int options_add_word(struct options *o, const char *word, struct error *err);

/*
 * check.c: what the options are together: a command without a root, a network for published ports,
 * two things at one place in the guest. -EINVAL with ERROR_USAGE.
 */
int options_check(struct options *o, struct error *err);

/* ": did you mean 'cpus'?" in @buf, or nothing. Returns @buf. */
const char *option_hint(const char *name, bool in_file, char *buf, size_t size);

/* A copy of the first @len bytes of @text that lives until options_release(). NULL: no memory. */
char *options_keep(struct options *o, const char *text, size_t len);

/* The options as lines of help on standard output; those of exec only, or all. */
void options_print_help(bool exec);

/*
 * config_file.c: read the JSON file at @path. Every key becomes one or more settings in *@settings
 * (the caller frees the array; values live until options_release()). Messages begin with
 * "PATH:LINE:COLUMN: ".
 */
int config_file_read(struct options *o, const char *path, struct setting **settings,
	unsigned *count, struct error *err);
void config_file_release(struct options *o);
