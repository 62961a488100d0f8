/*
 * The only composer: a struct vm_config in, a running machine out.
 *
 *	machine_create()  stage 1: open files, sockets and devices, parse images, load libraries
 *	machine_run()     stage 2: the walls go up; stage 3: the guest runs, until it stops
 *	machine_destroy() everything in exact reverse order
 */
#pragma once

#include "machine/config.h"
#include "util/error.h"

#include <signal.h>
#include <stddef.h>

struct machine;

enum machine_end {
	MACHINE_POWERED_OFF, /* the guest powered itself off */
	MACHINE_REBOOTED,    /* the guest asked for a reboot */
	MACHINE_REPORTED,    /* the guest wrote end.status to the exit port */
	MACHINE_PANICKED,    /* the guest's kernel panicked */
	MACHINE_TIMED_OUT,   /* config.timeout_ms ran out */
	MACHINE_LEFT,	     /* Ctrl-A x at the terminal */
	MACHINE_SIGNALLED,   /* SIGINT, SIGTERM, SIGHUP or SIGQUIT: end.status is its number */
	MACHINE_FAILED	     /* KVM or a vCPU failed: the error object says how */
};

struct machine_result {
	enum machine_end end;
	int status; /* MACHINE_REPORTED: 0 to 255; MACHINE_SIGNALLED: the signal */
};

/* Main thread, all three. machine_create() blocks the signals that machine_run() waits for. */
int machine_create(struct machine **out, const struct vm_config *config, struct error *err);
int machine_run(struct machine *machine, struct machine_result *result, struct error *err);
void machine_destroy(struct machine *machine); /* NULL is allowed */

/*
 * Main. The version in the kernel image's header ("6.1.0-55-cloud-amd64"), for whoever looks for
 * its modules. 0; 1 and an empty string if the image carries none (ELF); -errno if it is no kernel.
 */
int machine_kernel_version(const char *path, char *buf, size_t size, struct error *err);

/*
 * Main, before machine_create(), while nothing is open that is to be kept: close the descriptors that
 * whoever started us leaked, all but 0, 1 and 2. Step 1 of vmm/sandbox.h.
 */
void machine_close_inherited(void);
