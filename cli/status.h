/*
 * The exit statuses of `microvm run`, as microvm(1) lists them. The guest's own statuses 0 to 255
 * come through unchanged when the guest reports one; these are for everything else.
 */
#pragma once

enum exit_status {
	EXIT_POWERED_OFF = 0, /* the guest powered off (or reported 0) */
	EXIT_USAGE = 2,	      /* a wrong flag, value or config file */
	EXIT_IMAGE = 3,	      /* a kernel, initrd, disk or module file is missing or unsuitable */
	EXIT_BUSY = 4,	      /* a disk, tap or port is in use */
	EXIT_HOST = 5,	      /* the host lacks something: see `microvm doctor` */
	EXIT_MACHINE = 6,     /* the machine failed while running */
	EXIT_REBOOTED = 7,
	EXIT_PANICKED = 8,
	EXIT_TIMED_OUT = 124,  /* as timeout(1) */
	EXIT_LEFT = 9,	       /* Ctrl-A x */
	EXIT_SIGNAL_BASE = 128 /* + signal number, when microvm itself was told to stop */
};
