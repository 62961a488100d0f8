/*
 * One network namespace, several machines: the first has the interfaces (oci/network.h), the others
 * have a user-mode network each, whose connections are the namespace's own. For those the host's stack
 * in there gets its part of the frames back, by filters before the one that sends all to the machine:
 *
 *	to its ports of TCP and UDP, which are none that the machine's kernel takes by itself
 *	what it asked for: answers of ARP, neighbours, echoes, and errors; the machine hears them, too
 *	to ports at which something listens in another machine (agent/ports.h)
 *
 * All of it is in the namespace that the caller is in, with CAP_NET_ADMIN, by one thread.
 */
#pragma once

#include "util/error.h"

#include <stdint.h>

/*
 * Set that up, but the ports; again after interfaces have changed. Fine where there is no interface.
 * -EOPNOTSUPP and -ENOENT: the host's kernel lacks cls_flower.
 */
int network_share_begin(struct error *err);

/*
 * The frames for these @count ports of TCP, in order and without the filters of other machines, are
 * the namespace's. @who: a number of the machine's, by which its filters are known; what it had before
 * is forgotten. Returns 0 or a negative errno.
 */
int network_share_ports(uint16_t who, const uint16_t *ports, unsigned count);

/* For oci_network_undo(): all filters of these kinds go from the interface @link. */
void network_share_undo(int netlink, int link);
