/*
 * What the host has the guest set up before the first process: the root file system and what is
 * mounted in it (guest/mounts.c), network interfaces (guest/network.c), files, names, the clock.
 */
#pragma once

#include "guest/messages.h"
#include "guest/text.h"
#include "guest/waiting.h"

struct setup {
	int initramfs; /* O_PATH: the folder that was the root before ROOT; -1: ROOT has not come */
	struct waiting *waiting;
	int *group;		     /* of all sessions' processes; O_PATH, or -1 */
	int *notify;		     /* the first session's; -1 before NOTIFY */
	unsigned hidden;	     /* how many names in it are used */
	bool root_becomes_read_only; /* at SETUP_DONE */
	struct {
		unsigned count;
		int listener[AGENT_SOCKETS_MAX]; /* pids of the children */
		/* Ends of a pipe: ours, and the one that they and theirs have, by which we see them. */
		int there, held;
	} sockets;
};

/* As struct supervisor has it; @ctx is a struct setup. */
bool setup_message(void *ctx, const struct wire_message *m, struct text *why, long *err);

/*
 * The parts. Each returns 0, or a negative errno with what failed in @why; the errno's meaning is
 * added by setup_message().
 */
long mounts_root(struct setup *setup, const struct message_root *root, struct text *why);
long mounts_standard(struct setup *setup, uint32_t which, struct text *why);
long mounts_add(struct setup *setup, const struct message_mount *mount, struct text *why);
long mounts_node(struct setup *setup, const struct message_node *node, struct text *why);
long mounts_file(struct setup *setup, const struct message_file *file, struct text *why);
/* Kept open for the process that waits. */
long mounts_open(
	struct setup *setup, const struct message_descriptor *descriptor, struct text *why);
/*
 * What make() makes under the name that it is given (in the current directory) stands at @path, over
 * what is there, which stays as it is.
 */
long mounts_hide(struct setup *setup, const char *path,
	long (*make)(const char *name, const void *what), const void *what);
long mounts_done(struct setup *setup, struct text *why);
long notify_open(struct setup *setup, const char *path, struct text *why);
/* Unix sockets (guest/sockets.c): the named one, bound, stands at its path, over what is there. */
struct placed_socket {
	int fd;
	const char *path;
	uint32_t mode, uid, gid;
};
long sockets_place(struct setup *setup, const struct placed_socket *socket);
/* Served by a child of its own from now on. */
long sockets_open(struct setup *setup, const struct message_socket *socket, struct text *why);
/* Nobody is served any more. Who still says something is heard to his end, for @ms at most. */
void sockets_end(struct setup *setup, int ms);
long network_configure(const struct message_net *net, struct text *why);
long network_loopback(void);
