/*
 * The container's process: the VMM. `create` forks it; engines know it as the container's pid, its
 * end is the container's end and its exit status the status of the container's process.
 *
 * What it does, in order:
 *
 *	namespaces	joins or makes those of the configuration	oci/namespaces.c
 *	(create runs the hooks of the runtime, and says go)
 *	mounts		everything to be shared, as one tree		oci/mounts.c
 *	machine		devices, kernel, job: all files are open	oci/machine.c
 *	pivot		its own / becomes the container's root		oci/mounts.c
 *	user namespace	it is root there, and nobody on the host	oci/userns.c
 *	ready		create is told, and ends
 *	run		walls, threads, guest; commands by control	oci/container.c
 */
#pragma once

#include "oci/config.h"
#include "oci/control.h"
#include "oci/notify.h"
#include "oci/state.h"
#include "oci/userns.h"
#include "util/error.h"

#include "job/job.h"
#include "job/sockets.h"
#include "machine/machine.h"

#include <limits.h>

enum { CONTAINER_BINDS_MAX = 512, CONTAINER_CONNECTIONS = 2 };

/* What the two processes say to each other while one makes the other. */
enum container_says {
	CONTAINER_NAMESPACES = 'n', /* there: the hooks may run */
	CONTAINER_OUT =
		'o', /* wants out of its control group, for a while: /dev/kvm is fenced there */
	CONTAINER_BACK = 'b',	/* and in again */
	CONTAINER_SHARES = 's', /* the interfaces are another machine's; no answer is awaited */
	CONTAINER_READY = 'r',
	CONTAINER_FAILED = 'f', /* a struct error follows */
	CONTAINER_GO = 'g'	/* create to the container */
};

struct container {
	/* Set by create. */
	const struct oci_config *config;
	const struct oci_state *state;
	char *bundle; /* absolute */
	char *rootfs; /* absolute */
	int sync;     /* socket to create */
	enum oci_network_kind network_kind;
	struct userns *userns;
	struct notify notify;  /* its descriptor; the rest is the container's own */
	int terminal;	       /* slave of the pty, or -1 */
	unsigned preserve_fds; /* bit N: descriptor 3 + N is to be the process's */

	/* The container's own. */
	struct vm_config vm;
	struct job_config job_config;
	struct job *job;
	struct machine *machine;
	int mounts_home; /* the mount namespace that is not to be our own in the end, or -1 */
	int binds_tree;	 /* the tmpfs that has the binds, or -1 */
	int control;
	int connection[CONTAINER_CONNECTIONS]; /* -1: free */
	int starting;			       /* of them the one that waits for the start, or -1 */
	bool networks, process;		       /* so far it has come */
	struct machine_attendant attendant;
	struct job_sockets sockets; /* of the binds */
	char hostname[HOST_NAME_MAX + 1];
	struct job_sysctl sysctl[128], group_file[64];
	struct oci_network network;
	struct oci_interfaces found; /* at the start; what the guest is told points into it */
};

/* In the forked child. Does not return. */
void container_main(struct container *c) __attribute__((noreturn));

/*
 * namespaces.c: fork(), with the child in the pid namespace of the configuration. It is a child of
 * ours, and our own namespace for children stays what it is. Returns as fork() does, or -1 with *@err.
 */
pid_t namespaces_fork(const struct oci_config *config, struct error *err);
/* The child. Not the user namespace, but what belongs to it. */
int namespaces_enter(struct container *c, struct error *err);

/*
 * mounts_tell.c. Shared memory is of the container's processes alone, and so the guest's own; but where
 * the container joins another's namespace (a pod), it is to see the other's files.
 */
bool mounts_is_own_shm(const struct container *c, const struct oci_mount *m);
/* mounts_tell.c: whether @m comes from the host. */
bool mounts_is_shared(const struct container *c, const struct oci_mount *m);
/*
 * mounts_tell.c: the name of mount @i in the tree of binds, N/NAME: with its source's own name, for
 * that is what the guest's list of mounts shows.
 */
enum { MOUNTS_NAME_MAX = 24 + 256 };
void mounts_name(const struct oci_mount *m, size_t i, char name[MOUNTS_NAME_MAX]);
/* mounts.c: the binds of the configuration, each as N/NAME in one tree, c->binds_tree. */
int mounts_collect(struct container *c, struct error *err);
/* mounts_tell.c: what the guest is to mount, and where; into c->job_config. */
int mounts_tell(struct container *c, struct error *err);
/* mounts.c: / becomes the container's root, and the binds hide below it. */
int mounts_pivot(const struct container *c, struct error *err);

/*
 * descriptors.c: before anything is made, whether the first @count from 3 on can be passed on; *@which
 * has a bit for each that is open and not our @own. A warning where there are sockets of systemd's.
 */
int descriptors_check(unsigned *which, unsigned count, int own, struct error *err);
/* descriptors.c: into the tree and c->job_config; behind mounts_collect(). They are closed here. */
int descriptors_tell(struct container *c, struct error *err);

/* vm.c: bytes of RAM that the guest gets. */
uint64_t container_memory(const struct oci_config *config);
/* vm.c: the machine and the job that the configuration wants. */
int container_build(struct container *c, struct error *err);
