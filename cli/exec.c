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

#include <stdio.h>
#include <unistd.h>

enum { DIAL_MS = 10 * 1000, SIGNAL_PATIENCE = 3 };

static int help(void)
{
	printf("usage: microvm exec [OPTION]... NAME -- CMD [ARGUMENT]...\n\n"
	       "Runs another command in the running machine NAME.\n\n");
	options_print_help(true);
	printf("\nExit status: the command's; see microvm(1).\n");
	return fflush(stdout) ? EXIT_INTERNAL : 0;
}

static int status_of_job(const struct job_outcome *outcome)
{
	switch (outcome->end) {
	case JOB_EXITED:
		return outcome->status & 0xff;
	case JOB_KILLED:
	case JOB_SIGNALLED:
	case JOB_NO_READER:
		return EXIT_SIGNAL_BASE + outcome->status;
	case JOB_FAILED:
		log_error("%s", outcome->text);
		return status_of_failed(outcome->why);
	default:
		log_error("the machine has ended: %s", outcome->text);
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

static int exec(const struct options *o, struct error *err)
{
	char **env = environment_make(&o->job, NULL, err);
	struct rundir_info info;
	int fd, status;

	if (!env || rundir_find(&info, o->job.name, err) < 0) {
		report(err);
		environment_free(env);
		return EXIT_JOB;
	}
	close(info.pidfd);
	fd = agent_dial(info.socket, AGENT_EXEC_PORT, DIAL_MS, err);
	if (fd < 0) {
		error_prefix(err, "machine '%s'", o->job.name);
		report(err);
		status = EXIT_JOB;
	} else {
		status = run(o, env, fd, err);
	}
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
