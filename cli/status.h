/*
 * The exit statuses of `microvm`, as the table in microvm(1) lists them. A status that the guest
 * reports through the exit port comes through unchanged, 0 to 255; these are for everything else.
 */
#pragma once

#include "agent/agent.h"
#include "machine/machine.h"
#include "util/error.h"

enum exit_status {
	EXIT_POWERED_OFF = 0, /* the guest powered off (or reported 0) */
	EXIT_INTERNAL =
		1, /* anything that has no better name, such as output that cannot be written */
	EXIT_USAGE = 2,	   /* a wrong flag, value or config file */
	EXIT_IMAGE = 3,	   /* a kernel, initrd, disk or module file is missing or unsuitable */
	EXIT_BUSY = 4,	   /* a disk, tap or port is in use */
	EXIT_HOST = 5,	   /* the host lacks something: see `microvm doctor` */
	EXIT_MACHINE = 6,  /* the machine failed while running */
	EXIT_REBOOTED = 7, /* the guest asked for a reboot */
	EXIT_PANICKED = 8, /* the guest's kernel panicked, or its processor gave up */
	EXIT_LEFT = 9,	   /* Ctrl-A x */
	EXIT_JOB = 125,	   /* with a command: whatever failed beside it; as env(1) has it */
	EXIT_NOT_EXECUTABLE = 126, /* the command is there, but cannot be run */
	EXIT_NOT_FOUND = 127,	   /* it is not there */
	EXIT_TIMED_OUT = 124,	   /* --timeout ran out; as timeout(1) has it */
	EXIT_SIGNAL_BASE =
		128 /* + signal number: microvm was told to stop, or nobody reads its output */
};

int status_of_error(enum error_kind kind);
int status_of_failed(enum agent_failed why);
int status_of_result(const struct machine_result *result);
