#include "oci/network_link.h"

#include "oci/network_netlink.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number in "mvtapN", or -1. */
static int tap_number(const char *name)
{
	size_t prefix = strlen(NETWORK_TAP_PREFIX);

	if (strncmp(name, NETWORK_TAP_PREFIX, prefix) || !name[prefix] || name[prefix + 1])
		return -1;
	return name[prefix] >= '0' && name[prefix] < '0' + VM_NETS_MAX ? name[prefix] - '0' : -1;
}

static void refuse(struct network_links *links, const char *name, const char *why)
{
	if (links->why)
		return;
	snprintf(links->refused, sizeof(links->refused), "%s", name);
	links->why = why;
}

static void restart(void *ctx)
{
	memset(ctx, 0, sizeof(struct network_links));
}

static int look(void *ctx, const struct nlmsghdr *h)
{
	struct network_links *links = ctx;
	const struct ifinfomsg *info = NLMSG_DATA(h);
	struct network_link link = { .index = info->ifi_index };
	struct rtattr *attr[IFLA_MTU + 1];
	int tap;

	if (h->nlmsg_type != RTM_NEWLINK || info->ifi_flags & IFF_LOOPBACK)
		return 0;
	netlink_sort(h, sizeof(*info), attr, IFLA_MTU);
	if (!attr[IFLA_IFNAME])
		return 0;
	snprintf(link.name, sizeof(link.name), "%s", (char *)RTA_DATA(attr[IFLA_IFNAME]));
	link.mtu = netlink_u32(attr[IFLA_MTU]);
	if (attr[IFLA_ADDRESS] && RTA_PAYLOAD(attr[IFLA_ADDRESS]) == sizeof(link.mac))
		memcpy(link.mac, RTA_DATA(attr[IFLA_ADDRESS]), sizeof(link.mac));
	tap = tap_number(link.name);
	if (tap >= 0) {
		links->tap[tap] = link;
		links->taps++;
	} else if (!(info->ifi_flags & IFF_UP)) {
		return 0;
	} else if (info->ifi_type != ARPHRD_ETHER) {
		refuse(links, link.name, "is not Ethernet");
	} else if (links->count == VM_NETS_MAX) {
		links->too_many = true;
	} else {
		links->link[links->count++] = link;
	}
	return 0;
}

static int by_index(const void *a, const void *b)
{
	const struct network_link *left = a, *right = b;

	return (left->index > right->index) - (left->index < right->index);
}

int network_links_list(int netlink, struct network_links *links)
{
	static const struct ifinfomsg all;
	int err = netlink_list(netlink, RTM_GETLINK, &all, sizeof(all), look, restart, links);

	if (err == 0)
		qsort(links->link, links->count, sizeof(links->link[0]), by_index);
	return err;
}

int network_links_check(const struct network_links *links, struct error *err)
{
	if (links->why)
		return error_set(err, ERROR_USAGE, EOPNOTSUPP,
			"the container's network interface \"%s\" %s: a machine cannot have it",
			links->refused, links->why);
	if (links->too_many)
		return error_set(err, ERROR_USAGE, EOPNOTSUPP,
			"the container has more than %d network interfaces: a machine has no more "
			"cards",
			VM_NETS_MAX);
	return 0;
}
