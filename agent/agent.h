/*
 * The host's end of a session with the guest program: one process in the guest, over one stream
 * socket (guest/protocol.h, docs/PROTOCOL.md).
 *
 * An agent does nothing by itself: its owner polls agent_fd() for agent_poll_events() and
 * calls agent_step(). Nothing here blocks, apart from agent_dial(); nothing is shared between agents.
 * One thread at a time for each.
 *
 * The way of a first session: agent_create(), the agent_setup_*() that are wanted in the order in
 * which the guest shall do them, agent_setup_done(), agent_start(), and then agent_step() until
 * on_exited or on_failed. All of it may be queued at once, before the guest has even booted. A
 * further session: agent_dial(), agent_create(), agent_start().
 *
 * Functions that queue a message return 0, or a negative errno, and then nothing was queued:
 * -EINVAL (a list that is too long for the protocol), -E2BIG (a message over its limit), -ENOBUFS
 * (the guest has not read for so long that AGENT_QUEUE_MAX bytes wait), -ENOMEM, and -EPIPE once
 * the session is over.
 */
#pragma once

#include "guest/protocol.h"
#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct agent;

enum { AGENT_QUEUE_MAX = 16 << 20 }; /* bytes */

struct agent_exit {
	bool signalled;
	int status; /* the exit status, or the signal */
	uint64_t user_us, system_us;
	uint64_t peak_kib; /* resident */
};

/*
 * What the guest says. Called from agent_step() and agent_resume() only; may be NULL where it is
 * not of interest. They may call any function here but agent_destroy() and agent_step().
 *
 * Of on_exited, on_failed and on_lost exactly one comes, and nothing after it.
 */
struct agent_events {
	/* SETUP_DONE was reached. */
	void (*on_ready)(void *ctx);
	void (*on_started)(void *ctx, int pid);
	/*
	 * @len bytes of output (@stream 1 or 2). Returns how many were taken. If not all: nothing
	 * more is read from the guest, whose writers then wait, until agent_resume() offers the
	 * rest again.
	 */
	size_t (*on_output)(void *ctx, int stream, const void *bytes, size_t len);
	/* agent_stdin_room() has grown from 0. */
	void (*on_stdin_room)(void *ctx);
	/* Nobody in the guest reads the input any more; agent_stdin_room() is 0 for good. */
	void (*on_stdin_closed)(void *ctx);
	/* The process has ended, and all its output was taken. */
	void (*on_exited)(void *ctx, const struct agent_exit *how);
	/* The guest could not do it. @errnum: 0 or an errno; @text: one line for a person. */
	void (*on_failed)(void *ctx, enum agent_failed why, int errnum, const char *text);
	/* The connection ended or broke (@text says how) before the process was known to have. */
	void (*on_lost)(void *ctx, const char *text);
	/* Nobody in the guest has output @stream open any more, although the process runs on. */
	void (*on_output_end)(void *ctx, int stream);
	/* Somebody in the guest has sent that to the socket of agent_setup_notify(): lines of text. */
	void (*on_notified)(void *ctx, const char *text);
};

/*
 * A session over the connected stream socket @fd, which is taken over (also on failure) and made
 * non-blocking. @events must live as long as the agent. Queues the HELLO.
 */
int agent_create(struct agent **agent, int fd, const struct agent_events *events, void *ctx,
	struct error *err);
/* Closes the socket, whatever state the session is in. NULL is fine. */
void agent_destroy(struct agent *agent);

int agent_fd(const struct agent *agent);
/* POLLIN, POLLOUT: what to poll for now. 0: nothing at all (output that was not taken waits). */
short agent_poll_events(const struct agent *agent);
/* Go on with what poll said. Returns 0, or -EPIPE once the session is over: poll no more. */
int agent_step(struct agent *agent, short revents);
/* on_output can take more. Calls it. */
void agent_resume(struct agent *agent);
/* Whether EXITED or FAILED was seen, or the connection is gone. */
bool agent_over(const struct agent *agent);
/*
 * For a session that is over (else nothing): let the guest go, and close the connection. In a first
 * session this is when the guest begins to power off, and what the machine's end takes with it must
 * be safe by now. agent_destroy() does it, too.
 */
void agent_bye(struct agent *agent);

/* The setup, in the order of the calls; see guest/protocol.h for the flags. */

/* AGENT_ROOT_VIRTIOFS: @source is the tag; AGENT_ROOT_BLOCK: the device in the guest (/dev/vda). */
struct agent_root {
	unsigned kind;
	unsigned flags;		/* AGENT_ROOT_* */
	uint64_t overlay_bytes; /* limit of the layer on top; 0: half of the guest's memory */
	const char *source;
	const char *types;   /* ext4,xfs; NULL: whatever it is. For virtio-fs not looked at */
	const char *options; /* for the file system; NULL: none */
};

struct agent_mount {
	const char *type; /* virtiofs, tmpfs, bind, or whatever the guest's kernel knows */
	const char *source;
	const char *file; /* one file (or folder) in it, to be what stands at @target; NULL: all */
	const char *target;
	const char *options; /* NULL: none */
	unsigned flags;	     /* AGENT_MOUNT_* */
};

/* A device, or a FIFO. */
struct agent_node {
	const char *path;
	uint32_t mode; /* with the type: S_IFCHR ... */
	uint32_t major, minor, uid, gid;
};

/* Who connects there in the guest is connected to that port of the host's. */
struct agent_socket {
	const char *path;
	uint32_t port; /* AGENT_SOCKETS_PORT and up */
	uint32_t mode, uid, gid;
	uint8_t key[AGENT_KEY]; /* by which the guest program is known there */
};

struct agent_address {
	uint8_t family; /* AGENT_IPV4, AGENT_IPV6 */
	uint8_t prefix; /* bits */
	uint8_t bytes[16];
};

struct agent_route {
	struct agent_address to; /* prefix 0: the default route */
	uint8_t gateway[16];	 /* zeroes: none, it is on the link */
	uint8_t source[16];	 /* zeroes: any */
	uint32_t metric;	 /* 0: the kernel's usual one */
	bool on_link;		 /* the gateway is, whatever the addresses say */
};

struct agent_net {
	const char *name;	/* NULL: the interface with @mac */
	const uint8_t *mac;	/* 6 bytes; NULL: the interface called @name */
	const uint8_t *new_mac; /* 6 bytes that it is to have instead; NULL: as it is */
	bool again;		/* in the place of what it was told before; by @name */
	bool remove;		/* the guest is to be without it; nothing else is looked at */
	uint32_t mtu;		/* 0: as it is */
	const struct agent_address *addresses;
	size_t address_count;
	const struct agent_route *routes;
	size_t route_count;
};

struct agent_descriptor {
	unsigned number; /* of the descriptor; 3 and up */
	unsigned flags;	 /* for open(2) */
	uint64_t offset;
	const char *source; /* tag of the share */
	const char *file;   /* in it */
};

int agent_setup_root(struct agent *agent, const struct agent_root *root);
int agent_setup_standard(struct agent *agent, unsigned flags);
int agent_setup_mount(struct agent *agent, const struct agent_mount *mount);
int agent_setup_file(struct agent *agent, const char *path, unsigned mode, unsigned flags,
	const void *bytes, size_t len);
int agent_setup_hostname(struct agent *agent, const char *name);
int agent_setup_net(struct agent *agent, const struct agent_net *net);
int agent_setup_clock(struct agent *agent, const struct timespec *now);
int agent_setup_sysctl(struct agent *agent, const char *name, const char *value);
int agent_setup_pids(struct agent *agent, uint64_t limit); /* of a further session, too */
int agent_setup_descriptor(struct agent *agent, const struct agent_descriptor *descriptor);
int agent_setup_pid_namespace(struct agent *agent);
int agent_setup_group(struct agent *agent, const char *file, const char *value);
int agent_setup_devices(struct agent *agent, const void *program, size_t bytes);
int agent_setup_node(struct agent *agent, const struct agent_node *node);
int agent_setup_notify(struct agent *agent, const char *path);
int agent_setup_socket(struct agent *agent, const struct agent_socket *socket);
int agent_setup_done(struct agent *agent);

/* A process. All zero but argv is root with three pipes, in /. Copied by agent_start(). */
struct agent_process {
	unsigned flags; /* AGENT_START_* */
	const char *const
		*argv; /* NULL-terminated; searched in the PATH of @env, or the usual one */
	const char *const *env; /* NULL-terminated; NULL: none */
	const char *cwd;	/* NULL: / */
	const char *user;	/* USER[:GROUP] in the guest's own names; NULL: uid and gid */
	uint32_t uid, gid;
	const uint32_t *groups; /* additional ones */
	size_t group_count;
	uint16_t rows, columns; /* of the terminal; 0: not known */
	uint32_t umask;		/* with AGENT_START_UMASK */
	int32_t oom_score_adj;	/* with AGENT_START_OOM */
	struct {		/* with AGENT_START_CAPS; bit N is capability N */
		uint64_t bounding, effective, inheritable, permitted, ambient;
	} caps;
	const struct agent_rlimit {
		uint32_t resource; /* RLIMIT_* */
		uint64_t soft, hard;
	} * rlimits;
	size_t rlimit_count;
	const void *seccomp; /* struct sock_filter[]; NULL: none */
	size_t seccomp_bytes;
	uint32_t seccomp_flags; /* for seccomp(2) */
	const char *group;	/* control group, below that of all; NULL: that */
};

int agent_start(struct agent *agent, const struct agent_process *process);

/* How many bytes agent_stdin() takes now. 0 before agent_start(), or without AGENT_START_STDIN. */
size_t agent_stdin_room(const struct agent *agent);
/* Input for the process, at most agent_stdin_room() (else -EAGAIN, and nothing is sent). */
int agent_stdin(struct agent *agent, const void *bytes, size_t len);
/* No more input. The process reads what was sent, then the end. */
int agent_stdin_end(struct agent *agent);

/* @to: AGENT_SIGNAL_*. Never waits behind input. Dropped if the process is not there (any more). */
int agent_signal(struct agent *agent, int number, unsigned to);
int agent_resize(struct agent *agent, uint16_t rows, uint16_t columns);

/*
 * The connected socket for a further session: through the unix socket @path of the machine's
 * vsock, to port @port of the guest ("CONNECT port\n", answered by "OK port\n"). Blocks for
 * @timeout_ms at most. Returns the descriptor, or a negative errno with *@err.
 */
int agent_dial(const char *path, unsigned port, int timeout_ms, struct error *err);
