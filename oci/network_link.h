/* Interfaces and their filters: what the files of the container's network share. */
#pragma once

#include "oci/network.h"
#include "oci/network_netlink.h"

#define NETWORK_TAP_PREFIX "mvtap"

struct network_link {
	int index;
	char name[16];
	uint8_t mac[6];
	uint32_t mtu;
};

/* The interfaces that a machine is to have, in the order in which they were made, and the taps. */
struct network_links {
	unsigned count, taps;
	struct network_link link[VM_NETS_MAX];
	struct network_link tap[VM_NETS_MAX]; /* [i] is called mvtapI; index 0: it is not there */
	/* The first that cannot be given to a machine, and why, as text for a person. */
	char refused[16];
	const char *why;
	bool too_many;
};

/*
 * Those that are there and up. Down are the ones that the kernel puts into each namespace (tunl0,
 * gretap0 ...). Returns 0 or a negative errno.
 */
int network_links_list(int netlink, struct network_links *links);
/* What is wrong with them, as an error. */
int network_links_check(const struct network_links *links, struct error *err);

/* Every frame that comes in at interface @from goes out at @to. @from: its ifindex. */
int network_redirect(int netlink, int from, int to);
/* Ours go; whatever else hangs there stays. Fine where there is nothing. */
int network_redirect_undo(int netlink, int from);

/*
 * Filters on what comes in at an interface (man 8 tc): the qdisc they hang at; a request of @type
 * about one of them, whose @protocol is Ethernet's; and its action, mirred, in the attribute of its
 * kind for actions: @how is TCA_EGRESS_REDIR or _MIRROR, @verdict what becomes of the frame then.
 */
int network_filter_prepare(int netlink, int link);
struct tcmsg network_filter(int link, uint32_t handle, uint16_t priority, uint16_t protocol);
void network_filter_begin(struct netlink_request *r, unsigned type, unsigned flags, int link,
	uint32_t handle, uint16_t priority, uint16_t protocol);
void network_filter_mirror(
	struct netlink_request *r, unsigned attribute, int how, int verdict, int to);
