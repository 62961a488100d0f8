/*
 * One command in a machine of its own: what `microvm run -- CMD` adds to a machine. A job tells the
 * guest program (agent/, docs/PROTOCOL.md) what to mount and what to start, carries input, output
 * and signals between this process and the one in the guest, and ends both in time.
 *
 *	job_create()	queues all that the guest is to do
 *	machine_run()	with job_attendant(): the job takes part in the main loop
 *	job_outcome()	how it went
 *
 * Main thread, all of it.
 */
#pragma once

#include "agent/agent.h"
#include "machine/machine.h"
#include "util/error.h"

#include <stdbool.h>

struct job;

enum { JOB_MOUNTS_MAX = 640 };

struct job_sysctl {
	const char *name, *value;
};

struct job_config {
	struct agent_root root;
	unsigned mounts;
	struct agent_mount mount[JOB_MOUNTS_MAX];
	/* What else the guest makes ready, in this order, behind the mounts. */
	unsigned standard; /* AGENT_STANDARD_* */
	unsigned sysctls;
	const struct job_sysctl *sysctl;
	bool grouped; /* a control group of their own even without a limit, and its files: */
	unsigned group_files;
	const struct job_sysctl *group_file;
	unsigned nodes; /* made behind the mounts */
	const struct agent_node *node;
	const char *
		notify; /* a socket in the guest; what is sent to it is on_notified's. NULL: none */
	unsigned sockets; /* with held not looked at before job_release() */
	const struct agent_socket *socket;
	const void *device_filter; /* struct bpf_insn[]; NULL: none */
	size_t device_filter_bytes;
	uint64_t pids;	      /* processes and threads in the guest, of its sessions; 0: no limit */
	unsigned descriptors; /* files that the process has open from the beginning */
	struct agent_descriptor descriptor[AGENT_DESCRIPTORS_MAX]; /* pid_namespace only */
	bool pid_namespace; /* the process is process 1, of a namespace of its own */
	bool own_files;	    /* /etc/hosts and its like come with the root: write none */
	bool keep; /* writes to the root last: what is ours to write goes over it, not into it */
	const char *hostname;
	unsigned nets;
	struct agent_net net[VM_NETS_MAX];
	const char *resolv_conf; /* contents of /etc/resolv.conf; NULL: leave it */

	struct agent_process process; /* flags TERMINAL and STDIN say what is carried */

	bool lasting; /* something that the guest writes lasts: let it power off by itself */
	/*
	 * The guest is set up but for its networks, and waits there for job_release(), and then for job_start(). Until then nets
	 * is not looked at, and the boot limit does not run.
	 */
	bool held;
	bool pass_ends; /* where the process closes its output, ours becomes /dev/null */
	/* The process is there: called once, from the main loop. May be NULL. */
	void (*on_started)(void *ctx);
	void (*on_notified)(void *ctx, const char *text); /* with notify */
	void *ctx;
	bool further; /* a session in a guest that runs: all above but process is not looked at */
	unsigned signals_to; /* AGENT_SIGNAL_*: whom signals are passed on to */
	unsigned
		patience; /* so many signals end the machine, whatever the process thinks; 0: never */
	/*
	 * Until the guest program must have spoken: for as long again while it boots on, on a busy host,
	 * till it has had so much time of processors.
	 */
	unsigned boot_limit_ms;
	unsigned timeout_ms; /* 0: none. Then SIGTERM ... */
	unsigned grace_ms;   /* ... and so much later the machine's end */
};

enum job_end {
	JOB_NOT_OVER,  /* the machine ended before the job did */
	JOB_EXITED,    /* status: of the process */
	JOB_KILLED,    /* status: the signal that the process died of */
	JOB_FAILED,    /* why, text: the guest could not do it */
	JOB_TIMED_OUT, /* timeout_ms ran out */
	JOB_LOST,      /* of a further session: the guest has gone; text says how */
	JOB_NO_GUEST,  /* boot_limit_ms ran out */
	JOB_NO_READER, /* whoever read our output has gone */
	JOB_OUTPUT,    /* output could not be written: text */
	JOB_SIGNALLED /* status: a signal came before the process was there, or for the third time */
};

struct job_outcome {
	enum job_end end;
	int status;
	enum agent_failed why;
	char text[AGENT_TEXT_MAX + 1];
};

/*
 * @fd: our end of the connection to the guest program; the job owns it, also on failure. @config
 * must outlive the job. ERROR_USAGE for what does not fit into the protocol.
 */
int job_create(struct job **out, const struct job_config *config, int fd, struct error *err);
/* Puts the terminal back. NULL is allowed. */
void job_destroy(struct job *job);

const struct machine_attendant *job_attendant(struct job *job);

/* Of a held job: its networks (config.nets and net, filled by now), with which it is set up. */
int job_release(struct job *job, struct error *err);
/* Has the guest done all of that? Stays true. */
bool job_ready(const struct job *job);
/* Behind that, once: the process. */
int job_start(struct job *job, struct error *err);
/* Is the process there? Stays true when it has ended. */
bool job_started(const struct job *job);
/* One of its networks is another one now. Nothing where the process is not there (any more). */
void job_change_net(struct job *job, const struct agent_net *net);
/* Send @number to every process in the guest. */
void job_signal_all(struct job *job, int number);

/* Without a machine of our own (config.further): carry on until the job is over. */
int job_wait(struct job *job, struct error *err);

const struct job_outcome *job_outcome(const struct job *job);
