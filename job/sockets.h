/*
 * Sockets of the host's in the guest: who connects to the place that such a socket has there speaks
 * with whoever listens at it here. Streams only; descriptors cannot be passed. In the guest the guest
 * program listens, under the mode and owner that the socket has on the host (guest/sockets.c), and
 * calls a port of the host's with a key that nobody else there knows; the machine's vsock connects
 * that to the socket.
 *
 * A socket is found when it is added, and held: that one is meant from then on, as in a bind mount.
 *
 * Main thread, all of it.
 */
#pragma once

#include "agent/agent.h"
#include "machine/config.h"
#include "util/error.h"

#include <stdbool.h>

/* As long as the machine. Zero-initialise; what is held ends with the process. */
struct job_sockets {
	unsigned count;
	struct agent_socket socket[VM_LISTENS_MAX]; /* for struct job_config */
	char path[VM_LISTENS_MAX][32];		    /* to it, for struct vm_vsock */
};

/*
 * Whether @fd (O_PATH will do), a socket in the file system, is one for datagrams. What nobody
 * listens at, or is not ours to connect to, is not known to be.
 */
bool job_sockets_is_datagram(int fd);

/*
 * The socket at @source of the host, to be at @target (absolute, not copied) of the guest: into
 * @vsock as well. ERROR_USAGE, without a name before it: it is not there, is for datagrams, or there
 * are VM_LISTENS_MAX already.
 */
int job_sockets_add(struct job_sockets *sockets, const char *source, const char *target,
	struct vm_vsock *vsock, struct error *err);

/*
 * Their modes and owners, as this process sees them now: after it has become whom the guest's files
 * are served by, and moved to its root, in whose /proc they are found from here on. ERROR_HOST:
 * there is none, or it is not the kernel's.
 */
int job_sockets_look(struct job_sockets *sockets, struct error *err);
