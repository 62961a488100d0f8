/*
 * The process that waits: where the host asks for it (PID_NAMESPACE), the process of the first
 * session is process 1 of a namespace of its own, as in any container, and those of further sessions
 * are in it with it. Only a process in such a namespace can mount the /proc that shows it, and what
 * the host mounts over parts of /proc comes before START. So it is made early, mounts /proc, and
 * waits here to be told what it is to become.
 */
#pragma once

#include "guest/process.h"
#include "guest/text.h"

struct waiting {
	int pid;    /* 0: there is none */
	int socket; /* to it */
	/* Namespaces of pids, once it was made; else 0: this program's, and that of its children. */
	int home, apart;
	unsigned kept;
	struct {
		int fd, number; /* is to be that descriptor of the process */
	} keep[AGENT_DESCRIPTORS_MAX];
};

/*
 * Make it in the control group @group, and the namespace, in which all children of the calling process are from then on. 0, or a
 * negative errno with what failed in @why. The calling process is not in the namespace: what is below
 * /proc/self is not to be had in the new /proc.
 */
long waiting_begin(struct waiting *w, int group, struct text *why);

/*
 * fork(), with the child in this program's own namespace, whatever its other children are in: for
 * what belongs to it, and neither ends with the container nor is seen there.
 */
long waiting_fork_home(const struct waiting *w);

/* As process_start(), of a START whose payload is @m: what waits becomes that process. */
long waiting_start(
	struct waiting *w, const struct wire_message *m, const struct process_io *io, int *report);
