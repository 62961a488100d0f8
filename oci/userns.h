/*
 * The user namespace around the machine (linux.namespaces: user, uidMappings, gidMappings).
 *
 * All that a container's machine needs of the host (its mounts, files, taps, /dev/kvm) is opened with
 * the runtime's own rights, whose the paths to them are. The last step of its making is that the
 * container's process enters the user namespace and becomes root there. From then on the kernel
 * maps: what the thread of a shared directory sees of a file's owner are the container's ids, what it
 * makes belongs to the ids they are mapped to, and a file of an id that is not mapped is nobody's.
 * So the file server (fs/) knows nothing of mappings.
 *
 * The network, ipc and uts namespaces that are new belong to the user namespace, as engines and other
 * runtimes expect. They are made, together with it, by a helper process of create's, and joined by
 * the container's process.
 */
#pragma once

#include "oci/config.h"
#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>

struct userns {
	int fd[OCI_NAMESPACES]; /* of OCI_NS_USER, and new ones that belong to it; -1: none */
	uint32_t uid, gid;	/* what root there is here: whose what we make for it should be */
};

/*
 * Make the user namespace that the configuration wants, with its mappings, or open the one that it
 * names. All -1 where it wants none, or our own. @u: all fields are set in any case. Needs
 * CAP_SETUID and CAP_SETGID in our own user namespace, and all of CAP_SYS_ADMIN's powers there.
 */
int userns_open(struct userns *u, const struct oci_config *config, struct error *err);
void userns_close(struct userns *u);

/*
 * The calling process, of one thread: root in the namespace, with its capabilities there and none
 * elsewhere, and no groups but root's (@keep_groups: and those that it has). Without a namespace it
 * just gives up the groups.
 */
int userns_enter(const struct userns *u, bool keep_groups, struct error *err);

/*
 * Have we the rights to make a container? Root has, and so has root of the user namespace that an
 * engine without root makes for itself.
 */
int userns_check_rights(struct error *err);

/* Are we root, and of the host rather than in a user namespace? */
bool userns_host_root(void);
