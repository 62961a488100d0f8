/*
 * The short verbs: start, state, kill, delete, list.
 */
#include "oci/verbs.h"

#include "oci/lifecycle.h"
#include "oci/rootless.h"
#include "oci/state.h"

#include "util/cleanup.h"
#include "util/macros.h"

#include <errno.h>
#include <getopt.h>
#include <json.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The state of the one container that the command line names; locked. */
static int open_named(struct oci_state **out, const struct oci_globals *globals, int argc,
	char **argv, struct error *err)
{
	int r;

	if (optind >= argc)
		return error_set(err, ERROR_USAGE, EINVAL, "usage: microvm-oci %s ID", argv[0]);
	r = oci_state_open(out, globals->root, argv[optind], true, err);
	if (r == 0)
		rootless_join(*out);
	return r;
}

int oci_start(const struct oci_globals *globals, int argc, char **argv)
{
	struct error err = { 0 };
	struct oci_state *s;
	int r = open_named(&s, globals, argc, argv, &err);

	if (r == 0) {
		signal(SIGPIPE, SIG_IGN);
		r = lifecycle_start(s, &err);
		oci_state_close(s);
	}
	return r < 0 ? oci_report(&err) : 0;
}

int oci_state_verb(const struct oci_globals *globals, int argc, char **argv)
{
	_cleanup_free_ char *text = NULL;
	struct error err = { 0 };
	struct oci_state *s;

	if (argc < 2)
		return oci_usage("state", "ID");
	if (oci_state_open(&s, globals->root, argv[1], false, &err) < 0)
		return oci_report(&err);
	text = oci_state_json(s, oci_state_status(s));
	oci_state_close(s);
	puts(text ? text : "{}");
	return fflush(stdout) ? 1 : 0;
}

/* "TERM", "SIGTERM", "15", "RTMIN+3"; -1 if it is none. 0 asks whether somebody is there. */
static int signal_number(const char *text)
{
	const char *name = strncasecmp(text, "SIG", 3) ? text : text + 3;
	char *end;
	long n = strtol(text, &end, 10);

	if (*text && !*end)
		return n >= 0 && n <= SIGRTMAX ? (int)n : -1;
	if (!strncasecmp(name, "RTMIN", 5)) {
		n = name[5] ? strtol(name + 5, &end, 10) : 0;
		return n >= 0 && SIGRTMIN + n <= SIGRTMAX ? SIGRTMIN + (int)n : -1;
	}
	for (int i = 1; i < NSIG; i++)
		if (sigabbrev_np(i) && !strcasecmp(sigabbrev_np(i), name))
			return i;
	return -1;
}

static const struct option kill_flags[] = {
	{ "all", no_argument, NULL, 'a' },
	{ "regex", no_argument, NULL, 'r' },
	{ 0 },
};

int oci_kill(const struct oci_globals *globals, int argc, char **argv)
{
	struct error err = { 0 };
	struct oci_state *s;
	bool all = false;
	int o, r, number = SIGTERM;

	while ((o = getopt_long(argc, argv, "a", kill_flags, NULL)) != -1) {
		if (o != 'a')
			return oci_usage("kill", "[--all] ID [SIGNAL]");
		all = true;
	}
	if (optind + 1 < argc)
		number = signal_number(argv[optind + 1]);
	if (number < 0) {
		error_set(&err, ERROR_USAGE, EINVAL, "'%s' is no signal", argv[optind + 1]);
		return oci_report(&err);
	}
	r = open_named(&s, globals, argc, argv, &err);
	if (r == 0) {
		r = lifecycle_kill(s, number, all, &err);
		oci_state_close(s);
	}
	return r < 0 ? oci_report(&err) : 0;
}

static const struct option delete_flags[] = {
	{ "force", no_argument, NULL, 'f' },
	{ "regex", no_argument, NULL, 'r' },
	{ 0 },
};

static int delete_one(
	const struct oci_globals *globals, const char *id, bool force, struct error *err)
{
	struct oci_state *s;
	int r = oci_state_open(&s, globals->root, id, true, err);

	if (r < 0)
		return r == -ENOENT && force ? 0 : r;
	rootless_join(s);
	r = lifecycle_delete(s, force, err);
	oci_state_close(s);
	return r;
}

struct pattern {
	regex_t regex;
	size_t count;
	char **id; /* of those that match */
};

static void take_match(void *ctx, struct oci_state *s)
{
	struct pattern *p = ctx;
	char **more;

	if (regexec(&p->regex, s->id, 0, NULL, 0) != 0)
		return;
	more = realloc(p->id, (p->count + 1) * sizeof(*more));
	if (!more)
		return;
	p->id = more;
	p->id[p->count] = strdup(s->id);
	p->count += p->id[p->count] != NULL;
}

/* All whose id has something in it that matches. The first that cannot go is the error. */
static int delete_matching(
	const struct oci_globals *globals, const char *text, bool force, struct error *err)
{
	struct pattern p = { 0 };
	int r = 0;

	if (regcomp(&p.regex, text, REG_EXTENDED | REG_NOSUB) != 0)
		return error_set(err, ERROR_USAGE, EINVAL, "'%s' is no regular expression", text);
	r = oci_state_list(globals->root, take_match, &p, err);
	regfree(&p.regex);
	for (size_t i = 0; i < p.count; i++) {
		if (r == 0)
			r = delete_one(globals, p.id[i], force, err);
		else
			delete_one(globals, p.id[i], force, &(struct error){ 0 });
		free(p.id[i]);
	}
	free(p.id);
	return r;
}

int oci_delete(const struct oci_globals *globals, int argc, char **argv)
{
	struct error err = { 0 };
	bool force = false, regex = false;
	int o, r;

	while ((o = getopt_long(argc, argv, "f", delete_flags, NULL)) != -1) {
		force |= o == 'f';
		regex |= o == 'r';
		if (o == '?')
			return oci_usage("delete", "[--force] [--regex] ID");
	}
	if (optind >= argc)
		return oci_usage("delete", "[--force] [--regex] ID");
	r = regex ? delete_matching(globals, argv[optind], force, &err)
		  : delete_one(globals, argv[optind], force, &err);
	return r < 0 ? oci_report(&err) : 0;
}

/* ---- list ---- */

static void print_row(void *ctx, struct oci_state *s)
{
	enum oci_status status = oci_state_status(s);

	printf("%-12s %-9d %-10s %s %s\n", s->id, status == OCI_STOPPED ? 0 : s->pid,
		oci_status_name(status), s->bundle, s->created);
}

static void print_id(void *ctx, struct oci_state *s)
{
	puts(s->id);
}

static void add_json(void *ctx, struct oci_state *s)
{
	_cleanup_free_ char *text = oci_state_json(s, oci_state_status(s));

	json_object_array_add(ctx, json_tokener_parse(text));
}

static int list_json(const char *root, struct error *err)
{
	struct json_object *list = json_object_new_array();
	int r = oci_state_list(root, add_json, list, err);

	if (r == 0)
		puts(json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN));
	json_object_put(list);
	return r;
}

static const struct option list_flags[] = {
	{ "format", required_argument, NULL, 'f' },
	{ "quiet", no_argument, NULL, 'q' },
	{ 0 },
};

int oci_list(const struct oci_globals *globals, int argc, char **argv)
{
	struct error err = { 0 };
	bool json = false, quiet = false;
	int o, r;

	while ((o = getopt_long(argc, argv, "f:q", list_flags, NULL)) != -1) {
		if (o == '?')
			return oci_usage("list", "[--format table|json] [--quiet]");
		json |= o == 'f' && !strcmp(optarg, "json");
		quiet |= o == 'q';
	}
	if (json) {
		r = list_json(globals->root, &err);
	} else if (quiet) {
		r = oci_state_list(globals->root, print_id, NULL, &err);
	} else {
		printf("%-12s %-9s %-10s %s %s\n", "ID", "PID", "STATUS", "BUNDLE", "CREATED");
		r = oci_state_list(globals->root, print_row, NULL, &err);
	}
	if (r < 0)
		return oci_report(&err);
	return fflush(stdout) ? 1 : 0;
}
