/*
 * `microvm ps` and `microvm kill`: the machines of this user.
 */
#include "cli/commands.h"
#include "cli/rundir.h"
#include "cli/status.h"

#include "util/macros.h"

#include <ctype.h>
#include <errno.h>
#include <json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/pidfd.h>
#include <time.h>
#include <unistd.h>

/* ---- ps ---- */

static void print_row(void *ctx, const struct rundir_info *info)
{
	struct json_object *words = json_tokener_parse(info->command);
	time_t started = (time_t)info->started;
	char when[32] = "";
	struct tm tm;

	if (localtime_r(&started, &tm))
		strftime(when, sizeof(when), "%F %T", &tm);
	printf("%-20s %8d  %-19s  %s  ", info->name, info->pid, when, info->root);
	for (size_t i = 0; words && i < json_object_array_length(words); i++) {
		const char *word = json_object_get_string(json_object_array_get_idx(words, i));

		if (i)
			putchar(' ');
		for (const char *c = word; *c; c++)
			putchar(iscntrl((unsigned char)*c) ? '?' : *c);
	}
	putchar('\n');
	json_object_put(words);
}

static void print_name(void *ctx, const struct rundir_info *info)
{
	puts(info->name);
}

static void add_object(void *ctx, const struct rundir_info *info)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "name", json_object_new_string(info->name));
	json_object_object_add(o, "pid", json_object_new_int64(info->pid));
	json_object_object_add(o, "started", json_object_new_int64(info->started));
	json_object_object_add(o, "root", json_object_new_string(info->root));
	json_object_object_add(o, "command", json_tokener_parse(info->command));
	json_object_array_add(ctx, o);
}

static int print_json(struct error *err)
{
	struct json_object *list = json_object_new_array();
	int r = rundir_list(add_object, list, err);

	if (r == 0)
		puts(json_object_to_json_string_ext(list, JSON_C_TO_STRING_PRETTY));
	json_object_put(list);
	return r;
}

static const char ps_usage[] = "usage: microvm ps [--json | -q]\n\n"
			       "Lists the running machines; -q: only their names.\n";

int command_ps(int argc, char **argv)
{
	const char *arg = argc == 1 ? argv[0] : "";
	struct error err = { 0 };
	int r;

	if (!strcmp(arg, "--help") || !strcmp(arg, "-h"))
		return fputs(ps_usage, stdout) < 0 || fflush(stdout) ? EXIT_INTERNAL : 0;
	if (!strcmp(arg, "--json")) {
		r = print_json(&err);
	} else if (!strcmp(arg, "-q")) {
		r = rundir_list(print_name, NULL, &err);
	} else if (argc == 0) {
		printf("%-20s %8s  %-19s  %s  %s\n", "NAME", "PID", "STARTED", "ROOT", "COMMAND");
		r = rundir_list(print_row, NULL, &err);
	} else {
		r = error_set(&err, ERROR_USAGE, EINVAL,
			"unexpected argument '%s': see `microvm ps --help`", argv[argc > 1]);
	}
	if (r < 0)
		return report(&err);
	return fflush(stdout) ? EXIT_INTERNAL : 0;
}

/* ---- kill ---- */

static const char kill_usage[] =
	"usage: microvm kill [-s SIGNAL] NAME...\n\n"
	"Sends SIGTERM, or the one given by name or number, to what runs in the machines. KILL ends\n"
	"the machine itself, at once. A machine without a command ends by any of them.\n";

/* "TERM", "SIGTERM", "15"; 0 if it is none that a machine passes on. */
static int signal_number(const char *text)
{
	static const int known[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGKILL };
	const char *name = strncasecmp(text, "SIG", 3) ? text : text + 3;

	for (unsigned i = 0; i < ARRAY_SIZE(known); i++) {
		char number[8];

		snprintf(number, sizeof(number), "%d", known[i]);
		if (!strcasecmp(name, sigabbrev_np(known[i])) || !strcmp(text, number))
			return known[i];
	}
	return 0;
}

static int kill_one(const char *name, int number, struct error *err)
{
	struct rundir_info info;
	int r = rundir_find(&info, name, err);

	if (r < 0)
		return r;
	if (pidfd_send_signal(info.pidfd, number, NULL, 0) < 0)
		r = error_set(err, ERROR_HOST, errno, "%s: %m", name);
	close(info.pidfd);
	return r;
}

int command_kill(int argc, char **argv)
{
	struct error err = { 0 };
	int number = SIGTERM, at = 0, status = 0;

	if (argc && (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h")))
		return fputs(kill_usage, stdout) < 0 || fflush(stdout) ? EXIT_INTERNAL : 0;
	if (argc > 1 && (!strcmp(argv[0], "-s") || !strcmp(argv[0], "--signal"))) {
		number = signal_number(argv[1]);
		at = 2;
	}
	if (!number || at >= argc) {
		error_set(&err, ERROR_USAGE, EINVAL,
			number ? "no machine: `microvm kill NAME`; `microvm ps` lists them"
			       : "'%s' is not one of HUP, INT, QUIT, TERM, USR1, USR2, KILL",
			argv[at > 0]);
		return report(&err);
	}
	for (; at < argc; at++)
		if (kill_one(argv[at], number, &err) < 0)
			status = report(&err);
	return status;
}
