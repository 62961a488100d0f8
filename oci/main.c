/*
 * `microvm-oci`: the command line of an OCI runtime. Global flags, a verb, the verb's own.
 */
#include "oci/verbs.h"

#include "oci/state.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int spec(const struct oci_globals *globals, int argc, char **argv)
{
	struct error err = { 0 };

	return oci_spec(argc, argv, &err) < 0 ? oci_report(&err) : 0;
}

static int features(const struct oci_globals *globals, int argc, char **argv)
{
	struct error err = { 0 };

	return oci_features(argc, argv, &err) < 0 ? oci_report(&err) : 0;
}

/* Engines ask by `checkpoint --help` whether it can be done. */
static int refuse(const struct oci_globals *globals, int argc, char **argv)
{
	struct error err;

	error_set(&err, ERROR_USAGE, ENOTSUP,
		"%s: containers in virtual machines are not checkpointed: there is no state of "
		"theirs that could be restored",
		argv[0]);
	if (globals->log_fd >= 0) /* containerd passes on what stands here, and not in the log */
		fprintf(stderr, "%s\n", err.msg);
	return oci_report(&err);
}

static const struct {
	const char *name;
	oci_verb *run;
} verbs[] = {
	{ "create", oci_create },
	{ "start", oci_start },
	{ "state", oci_state_verb },
	{ "kill", oci_kill },
	{ "delete", oci_delete },
	{ "exec", oci_exec },
	{ "run", oci_run },
	{ "list", oci_list },
	{ "ps", oci_ps },
	{ "pause", oci_pause },
	{ "resume", oci_resume },
	{ "update", oci_update },
	{ "events", oci_events },
	{ "spec", spec },
	{ "features", features },
	{ "checkpoint", refuse },
	{ "restore", refuse },
};

static const char usage[] =
	"usage: microvm-oci [--root DIR] [--log FILE] [--log-format text|json] [--debug]\n"
	"                   [--systemd-cgroup | --cgroup-manager cgroupfs|systemd|disabled]\n"
	"                   VERB ...\n"
	"\n"
	"An OCI runtime that puts every container in a virtual machine of its own.\n"
	"\n"
	"  create [--bundle DIR] [--config FILE] [--pid-file FILE] [--console-socket PATH] ID\n"
	"  start ID\n"
	"  run [--bundle DIR] [--config FILE] [--pid-file FILE] [--console-socket PATH]\n"
	"      [--detach] [--keep] ID\n"
	"  state ID\n"
	"  list [--format table|json] [--quiet]\n"
	"  kill [--all] ID [SIGNAL]\n"
	"  delete [--force] [--regex] ID\n"
	"  exec [--process FILE] [--detach] [--pid-file FILE] [--tty] [--console-socket PATH]\n"
	"       [--cwd DIR] [--env NAME=VALUE]... [--user UID[:GID]] [--cap CAP]...\n"
	"       [--no-new-privs] ID [CMD ARGUMENT...]\n"
	"  ps [--format table|json] ID\n"
	"  pause ID, resume ID\n"
	"  update [--resources FILE] [--memory BYTES] [--pids-limit N] ... ID\n"
	"  events [--stats] ID\n"
	"  spec [--bundle DIR] [--rootless], features\n"
	"\n"
	"See microvm-oci(8).\n";

int oci_report(const struct error *err)
{
	log_error("%s", err->msg);
	return 1;
}

int oci_usage(const char *verb, const char *text)
{
	struct error err;

	error_set(&err, ERROR_USAGE, EINVAL, "usage: microvm-oci %s %s", verb, text);
	return oci_report(&err);
}

static int version(void)
{
	printf("microvm-oci version %s\nspec: 1.0.2\n", MICROVM_VERSION);
	return fflush(stdout) ? 1 : 0;
}

enum { FLAG_ROOT = 256, FLAG_LOG, FLAG_FORMAT, FLAG_SYSTEMD, FLAG_MANAGER, FLAG_DEBUG };

static const struct option flags[] = {
	{ "root", required_argument, NULL, FLAG_ROOT },
	{ "log", required_argument, NULL, FLAG_LOG },
	{ "log-format", required_argument, NULL, FLAG_FORMAT },
	{ "log-level", required_argument, NULL, 0 },
	{ "systemd-cgroup", no_argument, NULL, FLAG_SYSTEMD },
	{ "cgroup-manager", required_argument, NULL, FLAG_MANAGER },
	{ "rootless", required_argument, NULL, 0 }, /* runc's; we see for ourselves */
	{ "debug", no_argument, NULL, FLAG_DEBUG },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'v' },
	{ 0 },
};

struct parsed {
	const char *root, *log;
	enum log_format format;
	bool debug, systemd, no_cgroup, help, version;
};

/* 0, or -1 for a flag that is not known (getopt has said so). */
static int parse(struct parsed *p, int argc, char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "+hv", flags, NULL)) != -1) {
		switch (c) {
		case FLAG_ROOT:
			p->root = optarg;
			break;
		case FLAG_LOG:
			p->log = optarg;
			break;
		case FLAG_FORMAT:
			p->format = strcmp(optarg, "json") ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON;
			break;
		case FLAG_SYSTEMD:
			p->systemd = true;
			break;
		case FLAG_MANAGER:
			p->systemd = !strcmp(optarg, "systemd");
			p->no_cgroup = !strcmp(optarg, "disabled");
			break;
		case FLAG_DEBUG:
			p->debug = true;
			break;
		case 'h':
			p->help = true;
			break;
		case 'v':
			p->version = true;
			break;
		case '?':
			return -1;
		}
	}
	return 0;
}

static int open_log(const char *path)
{
	struct error err;
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	if (fd < 0) {
		error_set(&err, ERROR_HOST, errno, "--log %s: %m", path);
		return -oci_report(&err);
	}
	log_to(fd);
	return fd;
}

static int run_verb(const struct parsed *p, int argc, char **argv)
{
	struct oci_globals globals = {
		.systemd_cgroup = p->systemd, .no_cgroup = p->no_cgroup, .log_fd = -1
	};
	struct error err;
	int status = 1;

	if (p->log && (globals.log_fd = open_log(p->log)) < 0)
		return 1;
	globals.root = oci_state_root(p->root);
	for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(verbs[i].name, argv[0]))
			continue;
		optind = 1;
		status = globals.root ? verbs[i].run(&globals, argc, argv) : 1;
		free(globals.root);
		return status;
	}
	free(globals.root);
	error_set(&err, ERROR_USAGE, EINVAL, "unknown command '%s': see `microvm-oci --help`",
		argv[0]);
	return oci_report(&err);
}

int main(int argc, char **argv)
{
	struct parsed p = { 0 };

	if (parse(&p, argc, argv) < 0)
		return 1;
	log_setup(p.debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN, p.format);
	if (p.version)
		return version();
	if (p.help || optind == argc) {
		fputs(usage, p.help ? stdout : stderr);
		return p.help && !fflush(stdout) ? 0 : 1;
	}
	return run_verb(&p, argc - optind, argv + optind);
}
