/*
 * The `microvm` command: a verb, then its options. Only this function exits.
 */
#include "cli/commands.h"
#include "cli/status.h"
#include "cli/suggest.h"

#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
	"usage: microvm run [OPTION]... -- CMD          run a command in a machine of its own\n"
	"       microvm run [OPTION]...                 start a machine with its own init\n"
	"       microvm exec [OPTION]... NAME -- CMD    run another command in a running one\n"
	"       microvm ps [--json | -q]                the running machines\n"
	"       microvm kill [-s SIGNAL] NAME...        send a signal to what runs in them\n"
	"       microvm doctor [--json]                 what this host offers, and what is missing\n"
	"       microvm --version\n"
	"       microvm --help\n"
	"\n"
	"`microvm run --help` lists the options; microvm(1) tells all.\n";

/*
 * Whoever closed 0, 1 or 2 must not find the guest's console in the next file that is opened.
 */
static void fill_standard_descriptors(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
			open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) < 0)
			return;
}

static int unknown(const char *verb)
{
	static const char *const verbs[] = { "run", "exec", "ps", "kill", "doctor", "--version",
		"--help" };
	const char *near = suggest(verb, verbs, ARRAY_SIZE(verbs));
	struct error err;

	error_set(&err, ERROR_USAGE, EINVAL, "unknown command '%s': %s%s%s", verb,
		near ? "did you mean `microvm " : "see `microvm --help", near ? near : "",
		near ? "`?" : "`");
	return report(&err);
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";

	fill_standard_descriptors();
	if (!strcmp(verb, "run"))
		return command_run(argc - 2, argv + 2);
	if (!strcmp(verb, "exec"))
		return command_exec(argc - 2, argv + 2);
	if (!strcmp(verb, "ps"))
		return command_ps(argc - 2, argv + 2);
	if (!strcmp(verb, "kill"))
		return command_kill(argc - 2, argv + 2);
	if (!strcmp(verb, "doctor"))
		return command_doctor(argc - 2, argv + 2);
	if (!strcmp(verb, "--version"))
		return print_version();
	if (!strcmp(verb, "--help") || !strcmp(verb, "-h") || !strcmp(verb, "help"))
		return fputs(usage, stdout) < 0 || fflush(stdout) ? EXIT_INTERNAL : 0;
	if (*verb)
		return unknown(verb);
	fputs(usage, stderr);
	return EXIT_USAGE;
}
