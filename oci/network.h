/*
 * The container's network. The VMM lives in the container's network namespace; each interface there
 * that is not lo is given to the guest:
 *
 *	the bridge ... eth0 (in the namespace) --tc--> mvtap0 --> virtio-net --> eth0 (in the guest)
 *
 * A filter on either's ingress sends every frame on to the other (tc: clsact, matchall, mirred), so
 * what others see is one card with eth0's MAC, and the host's own stack in the namespace, which has
 * the same addresses, gets no frame and answers none. The guest's interface has the name, MAC, MTU,
 * addresses and routes of the namespace's.
 *
 *	create	oci_network_prepare(), in the namespace: makes the taps, before machine_create()
 *	start	oci_network_read(), in the namespace, with CAP_NET_ADMIN: what to tell the guest;
 *		frames flow from here on. struct oci_interfaces is plain data and may cross a socket
 *	start	oci_network_guest(): the messages for the guest, made by whoever speaks with it
 *	delete	oci_network_undo(): taps and filters, where the namespace outlives the container
 *
 * A machine that comes second into a namespace shares it (oci/network_share.h).
 *
 * Nothing here keeps state. One thread of a process at a time.
 */
#pragma once

#include "agent/agent.h"
#include "machine/config.h"
#include "oci/config.h"
#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>

/* Cards for the interfaces that may come between create and start, where there are none yet. */
enum { OCI_NETWORK_SPARES = 2 };

enum oci_network_kind {
	OCI_NETWORK_INTERFACES, /* those of the namespace, which the configuration names */
	OCI_NETWORK_FRESH,	/* the same, in a namespace that was made just now */
	OCI_NETWORK_USER,	/* the host's namespace: a user-mode network of the guest's own */
	OCI_NETWORK_NONE	/* no card at all */
};

struct oci_network {
	bool shares; /* the interfaces are another machine's: see oci/network_share.h */
	unsigned cards;
	struct oci_card {
		bool user; /* a user-mode network; else a tap */
		char tap[16];
		uint8_t mac[6]; /* of the guest's card as it boots */
	} card[VM_NETS_MAX];
};

/* What was found in the namespace; interface i is tied to card i. Without pointers. */
struct oci_interfaces {
	uint32_t count;
	struct oci_interface {
		char name[16];
		uint8_t mac[6];
		uint32_t mtu;
		uint32_t addresses, routes;
		struct agent_address address[AGENT_ADDRESSES_MAX];
		struct agent_route route[AGENT_ADDRESSES_MAX];
	} interface[VM_NETS_MAX];
};

/*
 * What the configuration asks for. No network namespace: the host's, of which a machine gets a
 * user-mode network (whatever it asks for goes out through the host; what it listens on is not seen
 * there: the caller warns). The annotation microvm.network=none or =user has it otherwise, and the
 * containers that only keep a pod's namespaces (CRI's "sandbox", podman's "catatonit -P" or "pause") leave the
 * interfaces to others.
 * ERROR_USAGE for another value of the annotation.
 */
int oci_network_kind(
	enum oci_network_kind *kind, const struct oci_config *config, struct error *err);

/*
 * Make a tap for each interface of the namespace that we are in, or OCI_NETWORK_SPARES of them when
 * the namespace is fresh and has none. Taps that a machine left behind are used again. Where the
 * interfaces belong to another machine that runs, it is a user-mode network, and @out says that it
 * shares. ERROR_USAGE: more than VM_NETS_MAX interfaces, or one that is not Ethernet.
 */
int oci_network_prepare(struct oci_network *out, enum oci_network_kind kind, struct error *err);

/* The cards for the machine. @network must live as long as @config. */
void oci_network_config(const struct oci_network *network, struct vm_config *config);

/*
 * Look at the interfaces of the namespace that we are in and tie them to the taps. The host's kernel
 * must have sch_ingress, cls_matchall and act_mirred (Debian's loads them by itself).
 */
int oci_network_read(struct oci_interfaces *out, struct error *err);

/*
 * Interfaces change while the machine runs. @known is what the guest has, interface i by card i; the
 * rest is oci_network_follow()'s.
 */
struct oci_follow {
	struct oci_interfaces known;
	int index[VM_NETS_MAX]; /* of the interface that is tied to card i; 0: not seen yet */
};

/*
 * In the namespace, with CAP_NET_ADMIN: what has come in the place of one that is known, by its name,
 * is tied to the same card. @changed are those that are to be told to the guest, and known then.
 */
int oci_network_follow(
	struct oci_follow *follow, struct oci_interfaces *changed, struct error *err);
/*
 * What is to be said of them to the guest that runs; as oci_network_guest(), and all of @found may be
 * of cards.
 */
int oci_network_guest_again(struct agent_net *net, const struct oci_interfaces *found);

/*
 * What is to be said to the guest: fills @net, VM_NETS_MAX of them, and returns how many. They point
 * into both arguments. @found may have come over a socket: -EINVAL if it cannot be.
 */
int oci_network_guest(struct agent_net *net, const struct oci_network *network,
	const struct oci_interfaces *found);

/*
 * Take taps and filters out of the namespace @fd (of /proc/PID/ns/net or a path); where they are
 * another machine's, only the filters of the machine @who (oci/network_share.h). Any number of times,
 * also where there are none. The calling process' own namespace stays as it is.
 */
int oci_network_undo(int fd, uint16_t who, struct error *err);
