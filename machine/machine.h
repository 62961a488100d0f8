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

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

struct machine;

enum machine_end {
	MACHINE_POWERED_OFF, /* the guest powered itself off */
	MACHINE_REBOOTED,    /* the guest asked for a reboot */
	MACHINE_REPORTED,    /* the guest wrote end.status to the exit port */
	MACHINE_PANICKED,    /* the guest's kernel panicked */
	MACHINE_TIMED_OUT,   /* config.timeout_ms ran out */
	MACHINE_LEFT,	     /* Ctrl-A x at the terminal */
	MACHINE_DISMISSED,   /* its attendant had what it wanted */
	MACHINE_SIGNALLED,   /* SIGINT, SIGTERM, SIGHUP or SIGQUIT: end.status is its number */
	MACHINE_FAILED	     /* KVM or a vCPU failed: the error object says how */
};

struct machine_result {
	enum machine_end end;
	int status; /* MACHINE_REPORTED: 0 to 255; MACHINE_SIGNALLED: the signal */
};

enum { MACHINE_ATTENDANT_FDS = 8 };

/*
 * Somebody who takes part in what main does while the guest runs: whoever speaks with the program in
 * the guest. All on the main thread, behind the walls.
 */
struct machine_attendant {
	void *ctx;
	/*
	 * What to wait for: fill at most MACHINE_ATTENDANT_FDS of @fds, return how many; @timeout_ms
	 * (-1: none) may be lowered.
	 */
	unsigned (*prepare)(void *ctx, struct pollfd *fds, int *timeout_ms);
	/* After each wait, with the same @fds. True: the machine has done its work, stop it. */
	bool (*attend)(void *ctx, const struct pollfd *fds, unsigned count);
	/*
	 * A signal arrived; @sent: by a process, not by a terminal. True: it was for the guest; else
	 * the machine is stopped by it.
	 */
	bool (*signal)(void *ctx, int number, bool sent);
};

/* Main thread, all three. machine_create() blocks the signals that machine_run() waits for. */
int machine_create(struct machine **out, const struct vm_config *config, struct error *err);
int machine_run(struct machine *machine,
	const struct machine_attendant *attendant /* may be NULL */, struct machine_result *result,
	struct error *err);
void machine_destroy(struct machine *machine); /* NULL is allowed */

/*
 * Main. What the guest's console said last, of a machine with VM_CONSOLE_KEEP: at most @size - 1
 * bytes of plain text and a NUL.
 */
size_t machine_console_tail(struct machine *machine, char *text, size_t size);

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
