#include "cli/status.h"

int status_of_error(enum error_kind kind)
{
	switch (kind) {
	case ERROR_USAGE:
		return EXIT_USAGE;
	case ERROR_IMAGE:
		return EXIT_IMAGE;
	case ERROR_BUSY:
		return EXIT_BUSY;
	case ERROR_HOST:
		return EXIT_HOST;
	case ERROR_MACHINE:
		return EXIT_MACHINE;
	case ERROR_NONE:
		break;
	}
	return EXIT_INTERNAL;
}

int status_of_failed(enum agent_failed why)
{
	return why == AGENT_FAILED_NOT_FOUND	    ? EXIT_NOT_FOUND
	       : why == AGENT_FAILED_NOT_EXECUTABLE ? EXIT_NOT_EXECUTABLE
						    : EXIT_JOB;
}

int status_of_result(const struct machine_result *result)
{
	switch (result->end) {
	case MACHINE_POWERED_OFF:
	case MACHINE_DISMISSED:
		return EXIT_POWERED_OFF;
	case MACHINE_REBOOTED:
		return EXIT_REBOOTED;
	case MACHINE_REPORTED:
		return result->status & 0xff;
	case MACHINE_PANICKED:
		return EXIT_PANICKED;
	case MACHINE_TIMED_OUT:
		return EXIT_TIMED_OUT;
	case MACHINE_LEFT:
		return EXIT_LEFT;
	case MACHINE_SIGNALLED:
		return EXIT_SIGNAL_BASE + result->status;
	case MACHINE_FAILED:
		return EXIT_MACHINE;
	}
	return EXIT_INTERNAL;
}
