/*
 * The walls: what the process gives up, step by step, before the first guest instruction.
 *
 *	1. descriptors	 whatever the caller leaked into us is closed	sandbox_close_inherited()
 *	2. no_new_privs	 nothing it could still exec gains privileges	sandbox_process()
 *	3. capabilities	 all dropped, bounding set included; but those	sandbox_process()
 *			 that the thread of a shared directory, or one
 *			 that connects to the host's sockets, keeps
 *			 (root only), which the others drop in step 6
 *	4. not dumpable	 no ptrace by the same user, no core files	sandbox_process()
 *	5. io_uring	 each ring restricted to the operations and	worker_start()
 *			 registered files of its worker
 *	6. capabilities	 what step 3 kept, dropped by every thread	sandbox_thread()
 *			 that does not need it
 *	7. Landlock	 the thread of a shared directory opens and	worker_set_begin()
 *			 changes nothing outside of it
 *	8. seccomp	 one filter for each kind of thread, put on by	sandbox_thread()
 *			 the thread itself before its first work
 *
 * Privileges only ever shrink; later steps (namespaces) go between 1 and 3. Steps 1 to 4
 * run while the process has one thread, so they hold for every later one. What is opened for the
 * set-up alone (kernel, initrd, /dev/kvm) is closed by whoever opened it, before step 2.
 *
 * The filters are compiled when the program is built (vmm/sandbox_gen.c, with libseccomp): a start
 * only hands them to the kernel.
 */
#pragma once

#include "util/error.h"

#include <stdint.h>

enum sandbox_thread {
	SANDBOX_MAIN,	  /* waits on signals, timers and stop requests; joins threads; cleans up */
	SANDBOX_VCPU,	  /* KVM_RUN, register access for failure reports, worker_call() */
	SANDBOX_WORKER,	  /* io_uring_enter, futex */
	SANDBOX_USER_NET, /* the same and the sockets of libslirp */
	SANDBOX_VSOCK,	  /* io_uring_enter, futex, unix sockets that it is given */
	SANDBOX_VSOCK_CONNECT, /* the same, and it makes and connects others */
	SANDBOX_FS,	       /* a worker's, and files and names below a shared directory */
	SANDBOX_KINDS
};

/* Main, first thing in the program. Step 1: close everything but 0, 1 and 2. */
void sandbox_close_inherited(void);

/*
 * Main, single-threaded. Steps 2 to 4. @keep are the capabilities (1 << CAP_...) of those that the
 * process has which some threads need: 0 for none (struct worker_params).
 * ERROR_HOST if a step fails.
 */
int sandbox_process(uint64_t keep, struct error *err);

/*
 * Main, after sandbox_process(). What a thread does that calls anything not on its list: the
 * handler says which call it was, runs @restore (async-signal-safe; may be NULL) and ends the
 * process with @status.
 */
int sandbox_handle_violations(void (*restore)(void), int status, struct error *err);

/* The calling thread, which keeps those of @keep that sandbox_process() has left. Steps 6 and 8. 0 or -errno. */
int sandbox_thread(enum sandbox_thread kind, uint64_t keep);
