#include "oci/network_share.h"

#include "oci/network_link.h"
#include "oci/network_netlink.h"
#include "util/cleanup.h"
#include "util/macros.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/tc_act/tc_mirred.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * Ports that the namespace takes for what it connects to. Linux takes 32768 to 60999, and so does the
 * machine's kernel (Documentation/networking/ip-sysctl.rst, ip_local_port_range).
 */
enum { FIRST_PORT = 61000, LAST_PORT = 65535 };

/* Each kind of frame has a priority of its own, before that of the redirect (network_tc.c). */
enum { PRIORITY_ARP = 0x6d01, PRIORITY_IPV4, PRIORITY_IPV6 };

/* Handles: those of kinds[] are small; those of ports say whose they are. */
enum { WHO_MAX = 0x7fff, PORTS_LISTED = 256, EXIST_TRIES = 10, EXIST_PAUSE_US = 10000 };
#define HANDLE_OF_PORTS 0x80000000U

/* What the namespace's stack is to get of what comes in. */
static const struct kind {
	uint16_t priority, protocol; /* of Ethernet */
	uint8_t ip_protocol;
	uint8_t what; /* an operation of ARP, or a type of ICMP */
	bool both;    /* it goes to the machine as well */
} kinds[] = {
	{ PRIORITY_ARP, ETH_P_ARP, .what = ARPOP_REPLY, .both = true },
	{ PRIORITY_IPV4, ETH_P_IP, IPPROTO_TCP },
	{ PRIORITY_IPV4, ETH_P_IP, IPPROTO_UDP },
	{ PRIORITY_IPV4, ETH_P_IP, IPPROTO_ICMP, ICMP_ECHOREPLY, true },
	{ PRIORITY_IPV4, ETH_P_IP, IPPROTO_ICMP, ICMP_DEST_UNREACH, true },
	{ PRIORITY_IPV4, ETH_P_IP, IPPROTO_ICMP, ICMP_TIME_EXCEEDED, true },
	{ PRIORITY_IPV6, ETH_P_IPV6, IPPROTO_TCP },
	{ PRIORITY_IPV6, ETH_P_IPV6, IPPROTO_UDP },
	{ PRIORITY_IPV6, ETH_P_IPV6, IPPROTO_ICMPV6, ICMPV6_ECHO_REPLY, true },
	{ PRIORITY_IPV6, ETH_P_IPV6, IPPROTO_ICMPV6, ICMPV6_DEST_UNREACH, true },
	{ PRIORITY_IPV6, ETH_P_IPV6, IPPROTO_ICMPV6, ICMPV6_PKT_TOOBIG, true },
	{ PRIORITY_IPV6, ETH_P_IPV6, IPPROTO_ICMPV6, ICMPV6_TIME_EXCEED, true },
	{ PRIORITY_IPV6, ETH_P_IPV6, IPPROTO_ICMPV6, 136 /* neighbour advertisement */, true },
};

static const struct {
	uint16_t priority, protocol;
} of_ports[] = { { PRIORITY_IPV4, ETH_P_IP }, { PRIORITY_IPV6, ETH_P_IPV6 } };

/* ---- filters: man 8 tc-flower ---- */

static struct rtattr *begin_filter(
	struct netlink_request *r, int link, uint32_t handle, uint16_t priority, uint16_t protocol)
{
	const uint16_t type = htons(protocol);
	struct rtattr *options;

	network_filter_begin(r, RTM_NEWTFILTER, NLM_F_CREATE, link, handle, priority, protocol);
	netlink_add(r, TCA_KIND, "flower", sizeof("flower"));
	options = netlink_nest(r, TCA_OPTIONS);
	netlink_add(r, TCA_FLOWER_KEY_ETH_TYPE, &type, sizeof(type));
	return options;
}

/* Frames of that kind, without an action: they go on as if there were no other filter. */
static void match(struct netlink_request *r, const struct kind *k)
{
	const uint16_t first = htons(FIRST_PORT), last = htons(LAST_PORT);

	if (k->protocol == ETH_P_ARP) {
		netlink_add(r, TCA_FLOWER_KEY_ARP_OP, &k->what, 1);
		return;
	}
	netlink_add(r, TCA_FLOWER_KEY_IP_PROTO, &k->ip_protocol, 1);
	if (k->ip_protocol == IPPROTO_ICMP) {
		netlink_add(r, TCA_FLOWER_KEY_ICMPV4_TYPE, &k->what, 1);
	} else if (k->ip_protocol == IPPROTO_ICMPV6) {
		netlink_add(r, TCA_FLOWER_KEY_ICMPV6_TYPE, &k->what, 1);
	} else {
		netlink_add(r, TCA_FLOWER_KEY_PORT_DST_MIN, &first, sizeof(first));
		netlink_add(r, TCA_FLOWER_KEY_PORT_DST_MAX, &last, sizeof(last));
	}
}

/* @tap: 0 where no machine has the interface now. */
static int add_kind(int netlink, int link, int tap, unsigned i)
{
	const struct kind *k = &kinds[i];
	struct netlink_request r;
	struct rtattr *options = begin_filter(&r, link, i + 1, k->priority, k->protocol);

	match(&r, k);
	if (k->both && tap)
		network_filter_mirror(&r, TCA_FLOWER_ACT, TCA_EGRESS_MIRROR, TC_ACT_OK, tap);
	netlink_end(&r, options);
	return netlink_do(netlink, &r);
}

static int add_port(int netlink, int link, uint32_t who, unsigned family, uint16_t port)
{
	const uint8_t tcp = IPPROTO_TCP;
	const uint16_t there = htons(port);
	struct netlink_request r;
	struct rtattr *options = begin_filter(
		&r, link, who | port, of_ports[family].priority, of_ports[family].protocol);
	int err;

	netlink_add(&r, TCA_FLOWER_KEY_IP_PROTO, &tcp, 1);
	netlink_add(&r, TCA_FLOWER_KEY_TCP_DST, &there, sizeof(there));
	netlink_end(&r, options);
	/* Who had the port before has given it up, and takes his filter away at this moment. */
	for (int i = 0; (err = netlink_do(netlink, &r)) == -EEXIST && i < EXIST_TRIES; i++)
		usleep(EXIST_PAUSE_US);
	return err == -EEXIST ? 0 : err;
}

/* ---- those of one machine ---- */

struct listed {
	uint32_t who;
	unsigned count;
	uint32_t handle[PORTS_LISTED];
};

static void restart(void *ctx)
{
	((struct listed *)ctx)->count = 0;
}

static int look(void *ctx, const struct nlmsghdr *h)
{
	const struct tcmsg *filter = NLMSG_DATA(h);
	struct listed *l = ctx;

	if (h->nlmsg_type == RTM_NEWTFILTER && (filter->tcm_handle & 0xffff0000) == l->who &&
		l->count < PORTS_LISTED)
		l->handle[l->count++] = filter->tcm_handle;
	return 0;
}

static bool has(const uint16_t *ports, unsigned count, uint32_t handle)
{
	for (unsigned i = 0; i < count; i++)
		if (ports[i] == (handle & 0xffff))
			return true;
	return false;
}

static int set_ports(
	int netlink, int link, uint32_t who, unsigned family, const uint16_t *ports, unsigned count)
{
	uint16_t priority = of_ports[family].priority, protocol = of_ports[family].protocol;
	struct listed l = { .who = who };
	struct netlink_request r;
	struct tcmsg all;
	int err;

	all = network_filter(link, 0, priority, protocol);
	err = netlink_list(netlink, RTM_GETTFILTER, &all, sizeof(all), look, restart, &l);
	for (unsigned i = 0; i < l.count && err == 0; i++) {
		if (has(ports, count, l.handle[i]))
			continue;
		network_filter_begin(&r, RTM_DELTFILTER, 0, link, l.handle[i], priority, protocol);
		netlink_add(&r, TCA_KIND, "flower", sizeof("flower"));
		err = netlink_do(netlink, &r);
	}
	for (unsigned i = 0; i < count && err == 0; i++)
		err = add_port(netlink, link, who, family, ports[i]);
	return err;
}

int network_share_ports(uint16_t who, const uint16_t *ports, unsigned count)
{
	_cleanup_close_ int netlink = netlink_open();
	uint32_t handle = HANDLE_OF_PORTS | (uint32_t)(who & WHO_MAX) << 16;
	struct network_links links;
	int err = netlink < 0 ? netlink : network_links_list(netlink, &links);

	for (unsigned i = 0; err == 0 && i < links.count; i++)
		for (unsigned family = 0; family < ARRAY_SIZE(of_ports) && err == 0; family++)
			err = set_ports(netlink, links.link[i].index, handle, family, ports, count);
	return err;
}

/* ---- all of it ---- */

static int write_setting(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* Of this namespace, for /proc/sys/net is that of whoever opens it. */
static int set_range(void)
{
	char text[32];

	snprintf(text, sizeof(text), "%d %d", FIRST_PORT, LAST_PORT);
	/* That machines with a user-mode network can ping is a convenience. */
	write_setting("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
	return write_setting("/proc/sys/net/ipv4/ip_local_port_range", text);
}

static int share_link(int netlink, int link, int tap)
{
	int err = network_filter_prepare(netlink, link);

	for (unsigned i = 0; i < ARRAY_SIZE(kinds) && err == 0; i++)
		err = add_kind(netlink, link, tap, i);
	return err;
}

int network_share_begin(struct error *err)
{
	_cleanup_close_ int netlink = netlink_open();
	struct network_links links;
	int r = netlink < 0 ? netlink : network_links_list(netlink, &links);

	if (r == 0)
		r = set_range();
	for (unsigned i = 0; r == 0 && i < links.count; i++)
		r = share_link(netlink, links.link[i].index, links.tap[i].index);
	if (r == 0)
		return 0;
	errno = -r;
	return error_set(err, ERROR_HOST, -r,
		"cannot share the container's network with the machine that has its interfaces: %m%s",
		r == -ENOENT || r == -EOPNOTSUPP
			? "; the host's kernel needs cls_flower: try `modprobe cls_flower`"
			: "");
}

void network_share_undo(int netlink, int link)
{
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct netlink_request r;

		if (i && kinds[i].priority == kinds[i - 1].priority)
			continue;
		/* No handle: all of that priority. */
		network_filter_begin(
			&r, RTM_DELTFILTER, 0, link, 0, kinds[i].priority, kinds[i].protocol);
		(void)netlink_do(netlink, &r);
	}
}
