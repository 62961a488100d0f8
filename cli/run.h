/* The two kinds of `microvm run`, shared by run.c and run_job.c. */
#pragma once

#include "cli/options.h"
#include "machine/machine.h"
#include "util/error.h"

/* run.c: what ended the machine, for the log. */
void run_say_end(const struct vm_config *config, const struct machine_result *result);
/*
 * run.c: the version of the kernel in @buf; "" where it says none. -errno with ERROR_IMAGE if it is
 * no kernel.
 */
int run_kernel_version(const struct vm_config *config, char *buf, size_t size, struct error *err);

/* run.c: does the kernel's command line ask for signed modules only? */
bool run_wants_signatures(const struct vm_config *config);

/* run.c: the guest has them in its memory: close kernel_fd and initrd_fd. */
void run_close_images(struct vm_config *config);

/* run_job.c: a machine that runs a command. Returns the exit status. */
int run_job(struct options *o, struct error *err);
