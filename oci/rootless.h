/*
 * An ordinary user without an engine. An engine makes a user namespace for its user, and runs us as
 * root of that (oci/userns.h knows nothing else). Where nobody has, we make one: the command begins
 * once more, in a user and a mount namespace in which its user is root. Ids beside his own are those
 * of /etc/subuid and /etc/subgid, as far as newuidmap and newgidmap (package uidmap) map them.
 *
 * Commands to a container that runs join the user namespace of its process.
 */
#pragma once

#include "oci/config.h"
#include "oci/state.h"
#include "util/error.h"

/*
 * For commands that make a container; before they have done anything. Returns 0 where we have the
 * rights already, as root or by an engine; does not return where the command begins once more;
 * ERROR_HOST, with one line, where this host does not let its users make namespaces.
 */
int rootless_begin(struct error *err);

/*
 * Where the namespace is ours: the ids of the host that the configuration maps are those which its
 * author sees, outside. ERROR_USAGE for one that the namespace has not got. Else nothing.
 */
int rootless_translate(struct oci_config *config, struct error *err);

/*
 * Go where the container's process is, as far as its user namespace belongs to this user. What
 * cannot be done without will tell, so there is no error.
 */
void rootless_join(const struct oci_state *state);

/* ---- for tests ---- */

struct rootless_range {
	unsigned long long inside, outside, count;
};

/*
 * The ranges that @text, as /etc/subuid has it, gives to user @name or @id, from id 1 on, behind the
 * one that @id itself is. Returns how many, 1 at least; what @max has no room for is left out.
 */
unsigned rootless_ranges(
	struct rootless_range *out, unsigned max, const char *text, const char *name, unsigned id);
