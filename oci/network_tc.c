/*
 * Filters that pass every frame on (Documentation/networking/, man 8 tc-matchall, tc-mirred): a
 * clsact qdisc on the interface, a matchall filter on its ingress, the action mirred with a
 * redirect to the other's egress.
 */
#include "oci/network_link.h"
#include "oci/network_netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>
#include <stdbool.h>
#include <string.h>

/* By these a filter is known as ours. */
enum { OUR_PRIORITY = 0x6d76, OUR_HANDLE = 0x6d76 };

struct tcmsg network_filter(int link, uint32_t handle, uint16_t priority, uint16_t protocol)
{
	return (struct tcmsg){ .tcm_family = AF_UNSPEC,
		.tcm_ifindex = link,
		.tcm_handle = handle,
		.tcm_parent = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS),
		.tcm_info = TC_H_MAKE((uint32_t)priority << 16, htons(protocol)) };
}

void network_filter_begin(struct netlink_request *r, unsigned type, unsigned flags, int link,
	uint32_t handle, uint16_t priority, uint16_t protocol)
{
	struct tcmsg filter = network_filter(link, handle, priority, protocol);

	netlink_begin(r, type, flags, &filter, sizeof(filter));
}

void network_filter_mirror(
	struct netlink_request *r, unsigned attribute, int how, int verdict, int to)
{
	struct tc_mirred mirred = { .action = verdict, .eaction = how, .ifindex = (uint32_t)to };
	struct rtattr *actions = netlink_nest(r, attribute), *first = netlink_nest(r, 1);
	struct rtattr *parameters;

	netlink_add(r, TCA_ACT_KIND, "mirred", sizeof("mirred"));
	parameters = netlink_nest(r, TCA_ACT_OPTIONS | NLA_F_NESTED);
	netlink_add(r, TCA_MIRRED_PARMS, &mirred, sizeof(mirred));
	netlink_end(r, parameters);
	netlink_end(r, first);
	netlink_end(r, actions);
}

static void begin_qdisc(struct netlink_request *r, unsigned type, unsigned flags, int link)
{
	struct tcmsg qdisc = { .tcm_family = AF_UNSPEC,
		.tcm_ifindex = link,
		.tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0),
		.tcm_parent = TC_H_CLSACT };

	netlink_begin(r, type, flags, &qdisc, sizeof(qdisc));
	netlink_add(r, TCA_KIND, "clsact", sizeof("clsact"));
}

int network_filter_prepare(int netlink, int link)
{
	struct netlink_request r;
	int err;

	begin_qdisc(&r, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, link);
	err = netlink_do(netlink, &r);
	/* An "ingress" or a "clsact" that somebody put there takes our filters as well. */
	return err == -EEXIST ? 0 : err;
}

static int delete_filter(int netlink, int link)
{
	struct netlink_request r;

	network_filter_begin(&r, RTM_DELTFILTER, 0, link, OUR_HANDLE, OUR_PRIORITY, ETH_P_ALL);
	netlink_add(&r, TCA_KIND, "matchall", sizeof("matchall"));
	return netlink_do(netlink, &r);
}

int network_redirect(int netlink, int from, int to)
{
	struct rtattr *options;
	struct netlink_request r;
	int err = network_filter_prepare(netlink, from);

	if (err < 0)
		return err;
	/* matchall does not replace; one is there if a start was tried before, or is a leftover. */
	(void)delete_filter(netlink, from);
	network_filter_begin(&r, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, from, OUR_HANDLE,
		OUR_PRIORITY, ETH_P_ALL);
	netlink_add(&r, TCA_KIND, "matchall", sizeof("matchall"));
	options = netlink_nest(&r, TCA_OPTIONS);
	network_filter_mirror(&r, TCA_MATCHALL_ACT, TCA_EGRESS_REDIR, TC_ACT_STOLEN, to);
	netlink_end(&r, options);
	return netlink_do(netlink, &r);
}

static int any(void *ctx, const struct nlmsghdr *h)
{
	*(bool *)ctx |= h->nlmsg_type == RTM_NEWTFILTER;
	return 0;
}

static bool has_filters(int netlink, int link)
{
	static const unsigned ways[] = { TC_H_MIN_INGRESS, TC_H_MIN_EGRESS };
	bool found = false;

	for (unsigned i = 0; i < 2; i++) {
		struct tcmsg all = { .tcm_family = AF_UNSPEC,
			.tcm_ifindex = link,
			.tcm_parent = TC_H_MAKE(TC_H_CLSACT, ways[i]) };

		if (netlink_list(netlink, RTM_GETTFILTER, &all, sizeof(all), any, NULL, &found) < 0)
			return true;
	}
	return found;
}

int network_redirect_undo(int netlink, int from)
{
	struct netlink_request r;
	int err = delete_filter(netlink, from);

	if (err < 0) /* no such filter, no such qdisc: there are several words for it */
		return err == -ENOENT || err == -EINVAL || err == -ENODEV ? 0 : err;
	if (!has_filters(netlink, from)) {
		begin_qdisc(&r, RTM_DELQDISC, 0, from);
		(void)netlink_do(netlink, &r);
	}
	return 0;
}
