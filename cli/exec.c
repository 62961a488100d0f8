/*
 * `microvm exec`: another command in a machine that runs one.
 */
#include "cli/commands.h"
#include "cli/environment.h"
#include "cli/options.h"
#include "cli/rundir.h"
#include "cli/status.h"

#include "job/job.h"
#include "util/log.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { DIAL_MS = 10 * 1000, PAUSE_MS = 100, SIGNAL_PATIENCE = 3 };

static int help(void)
{
	printf("usage: microvm exec [OPTION]... NAME -- CMD [ARGUMENT]...\n\n"
	       "Runs another command in the running machine NAME, which was itself started with one.\n\n");
	options_print_help(true);
	printf("\nExit status: the command's; see microvm(1).\n");
	return fflush(stdout) ? EXIT_INTERNAL : 0;
}

static int status_of_job(const struct job_outcome *outcome)
{
	struct error err;

	switch (outcome->end) {
	case JOB_EXITED:
		return outcome->status & 0xff;
	case JOB_KILLED:
	case JOB_SIGNALLED:
	case JOB_NO_READER:
		return EXIT_SIGNAL_BASE + outcome->status;
	case JOB_FAILED:
		error_set(&err, ERROR_MACHINE, EIO, "%s", outcome->text);
		report(&err);
		return status_of_failed(outcome->why);
	default:
		error_set(&err, ERROR_MACHINE, EPIPE, "the machine has ended: %s", outcome->text);
		report(&err);
		return EXIT_JOB;
	}
}

static int run(const struct options *o, char **env, int fd, struct error *err)
{
	struct job_config config = {
		.further = true,
		.signals_to = AGENT_SIGNAL_GROUP,
		.patience = SIGNAL_PATIENCE,
		.process = { .argv = o->job.command,
			.env = (const char *const *)env,
			.cwd = o->job.workdir,
			.user = o->job.user },
	};
	struct job *job;
	int r, status = EXIT_JOB;

	environment_terminal(&o->job, &config.process);
	r = job_create(&job, &config, fd, err);
	if (r == 0)
		r = job_wait(job, err);
	if (r < 0)
		report(err);
	else
		status = status_of_job(job_outcome(job));
	job_destroy(job);
	return status;
}

/* Whoever has just started the machine need not wait for its guest program: that is done here. */
static int reach(const char *name, struct error *err)
{
	struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000L };
	struct rundir_info info;
	int fd = -ECONNREFUSED;

	for (int waited = 0; fd == -ECONNREFUSED && waited < DIAL_MS; waited += PAUSE_MS) {
		if (waited)
			nanosleep(&pause, NULL);
		if (rundir_find(&info, name, err) < 0)
			return -ESRCH;
		close(info.pidfd);
		if (access(info.socket, F_OK) < 0)
			return error_set(err, ERROR_USAGE, ENOENT,
				"the machine '%s' was started without a command, so nothing in it "
				"would start another: see `microvm exec --help`",
				name);
		fd = agent_dial(info.socket, AGENT_EXEC_PORT, DIAL_MS, err);
	}
	if (fd < 0)
		error_prefix(err, "machine '%s'", name);
	return fd;
}

static int exec(const struct options *o, struct error *err)
{
	char **env = environment_make(&o->job, NULL, err);
	int fd = env ? reach(o->job.name, err) : -ENOMEM;
	int status = EXIT_JOB;

	if (fd < 0)
		report(err);
	else
		status = run(o, env, fd, err);
	environment_free(env);
	return status;
}

int command_exec(int argc, char **argv)
{
	struct error err = { 0 };
	struct options o;
	int r, status;

	options_init(&o);
	r = options_parse_exec(&o, argc, argv, &err);
	log_setup(o.log_level, o.log_format);
	if (r < 0) {
		report(&err);
		status = EXIT_JOB;
	} else {
		status = o.help ? help() : exec(&o, &err);
	}
	options_release(&o);
	return status;
}
