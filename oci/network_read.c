/* What the guest's interfaces are to be: those of the namespace, as they are at start. */
#include "oci/network_link.h"
#include "oci/network_netlink.h"
#include "util/cleanup.h"
#include "util/macros.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <stdlib.h>
#include <string.h>

struct reading {
	struct oci_interfaces *out;
	struct network_links links;
	const char *too_many; /* of what; NULL: all is well */
	const char *unfit;    /* a route of a kind that cannot be told */
};

static struct oci_interface *interface_of(struct reading *r, int index)
{
	for (unsigned i = 0; i < r->links.count; i++) {
		if (r->links.link[i].index == index)
			return &r->out->interface[i];
	}
	return NULL;
}

static size_t address_size(unsigned family)
{
	return family == AF_INET ? 4 : 16;
}

/* True: it is there, and an address of that family. */
static bool copy_address(uint8_t to[16], const struct rtattr *attr, unsigned family)
{
	if (!attr || RTA_PAYLOAD(attr) != address_size(family))
		return false;
	memcpy(to, RTA_DATA(attr), address_size(family));
	return true;
}

/* ---- addresses ---- */

static void forget_addresses(void *ctx)
{
	struct reading *r = ctx;

	for (unsigned i = 0; i < VM_NETS_MAX; i++)
		r->out->interface[i].addresses = 0;
}

/*
 * Not those of an IPv6 link, which the guest makes from the same MAC, nor what a router advertised,
 * which the guest will hear as well.
 */
static bool is_own(const struct ifaddrmsg *info, uint32_t flags)
{
	if (info->ifa_family == AF_INET)
		return true;
	return info->ifa_family == AF_INET6 && info->ifa_scope != RT_SCOPE_LINK &&
	       flags & IFA_F_PERMANENT;
}

static int look_at_address(void *ctx, const struct nlmsghdr *h)
{
	struct reading *r = ctx;
	const struct ifaddrmsg *info = NLMSG_DATA(h);
	struct oci_interface *interface = interface_of(r, (int)info->ifa_index);
	struct rtattr *attr[IFA_FLAGS + 1];
	struct agent_address address;

	if (h->nlmsg_type != RTM_NEWADDR || !interface)
		return 0;
	netlink_sort(h, sizeof(*info), attr, IFA_FLAGS);
	if (!is_own(info, attr[IFA_FLAGS] ? netlink_u32(attr[IFA_FLAGS]) : info->ifa_flags))
		return 0;
	address = (struct agent_address){ .family = info->ifa_family == AF_INET ? AGENT_IPV4
										: AGENT_IPV6,
		.prefix = info->ifa_prefixlen };
	if (!copy_address(address.bytes, attr[IFA_LOCAL] ?: attr[IFA_ADDRESS], info->ifa_family))
		return 0;
	if (interface->addresses == AGENT_ADDRESSES_MAX)
		r->too_many = "addresses";
	else
		interface->address[interface->addresses++] = address;
	return 0;
}

/* ---- routes ---- */

static void forget_routes(void *ctx)
{
	struct reading *r = ctx;

	for (unsigned i = 0; i < VM_NETS_MAX; i++)
		r->out->interface[i].routes = 0;
}

static bool same_network(const struct agent_address *a, const struct agent_address *b)
{
	unsigned bytes = a->prefix / 8, bits = a->prefix % 8;

	if (a->family != b->family || a->prefix != b->prefix || memcmp(a->bytes, b->bytes, bytes))
		return false;
	return !bits || !((a->bytes[bytes] ^ b->bytes[bytes]) & (0xff00 >> bits & 0xff));
}

/* Does the guest's kernel make it by itself, along with an address? */
static bool comes_with_address(const struct oci_interface *interface, const struct rtmsg *info,
	const struct agent_route *route)
{
	static const uint8_t link_local[] = { 0xfe, 0x80 };

	if (info->rtm_protocol == RTPROT_RA)
		return true;
	if (info->rtm_protocol != RTPROT_KERNEL)
		return false;
	if (route->to.family == AGENT_IPV6 && !memcmp(route->to.bytes, link_local, 2))
		return true;
	for (unsigned i = 0; i < interface->addresses; i++) {
		if (same_network(&interface->address[i], &route->to))
			return true;
	}
	return false;
}

static void add_route(
	struct reading *r, int index, const struct rtmsg *info, const struct agent_route *route)
{
	struct oci_interface *interface = interface_of(r, index);

	if (!interface || comes_with_address(interface, info, route))
		return;
	if (interface->routes == AGENT_ADDRESSES_MAX)
		r->too_many = "routes";
	else
		interface->route[interface->routes++] = *route;
}

static void take_gateway(struct reading *r, struct agent_route *route, unsigned family,
	unsigned flags, struct rtattr **attr)
{
	copy_address(route->gateway, attr[RTA_GATEWAY], family);
	if (attr[RTA_VIA])
		r->unfit = "leads over a gateway of another family";
	route->on_link = flags & RTNH_F_ONLINK;
}

/* Several next hops: a route for each. */
static void add_hops(struct reading *r, const struct rtmsg *info, const struct agent_route *route,
	const struct rtattr *hops)
{
	const struct rtnexthop *hop = RTA_DATA(hops);
	size_t left = RTA_PAYLOAD(hops);

	for (; RTNH_OK(hop, left); left -= NLMSG_ALIGN(hop->rtnh_len), hop = RTNH_NEXT(hop)) {
		struct rtattr *attr[RTA_MAX + 1];
		struct agent_route one = *route;

		netlink_sort_in(RTNH_DATA(hop), hop->rtnh_len - RTNH_LENGTH(0), attr, RTA_MAX);
		take_gateway(r, &one, info->rtm_family, hop->rtnh_flags, attr);
		add_route(r, hop->rtnh_ifindex, info, &one);
	}
}

static int look_at_route(void *ctx, const struct nlmsghdr *h)
{
	struct reading *r = ctx;
	const struct rtmsg *info = NLMSG_DATA(h);
	struct rtattr *attr[RTA_MAX + 1];
	struct agent_route route = { 0 };

	if (h->nlmsg_type != RTM_NEWROUTE || info->rtm_table != RT_TABLE_MAIN ||
		info->rtm_type != RTN_UNICAST || info->rtm_flags & RTM_F_CLONED ||
		(info->rtm_family != AF_INET && info->rtm_family != AF_INET6))
		return 0;
	netlink_sort(h, sizeof(*info), attr, RTA_MAX);
	route.to.family = info->rtm_family == AF_INET ? AGENT_IPV4 : AGENT_IPV6;
	route.to.prefix = info->rtm_dst_len;
	copy_address(route.to.bytes, attr[RTA_DST], info->rtm_family);
	copy_address(route.source, attr[RTA_PREFSRC], info->rtm_family);
	route.metric = netlink_u32(attr[RTA_PRIORITY]);
	if (attr[RTA_MULTIPATH]) {
		add_hops(r, info, &route, attr[RTA_MULTIPATH]);
		return 0;
	}
	take_gateway(r, &route, info->rtm_family, info->rtm_flags, attr);
	add_route(r, (int)netlink_u32(attr[RTA_OIF]), info, &route);
	return 0;
}

/* First those that a gateway's own address may need: what is on the link, then the narrowest. */
static int by_need(const void *a, const void *b)
{
	static const uint8_t none[16];
	const struct agent_route *left = a, *right = b;
	bool left_direct = !memcmp(left->gateway, none, 16);
	bool right_direct = !memcmp(right->gateway, none, 16);

	if (left_direct != right_direct)
		return left_direct ? -1 : 1;
	return (int)right->to.prefix - (int)left->to.prefix;
}

/* ---- all of it ---- */

static int read_all(struct reading *r, int netlink)
{
	struct oci_interfaces *out = r->out;
	struct rtmsg routes = { .rtm_family = AF_UNSPEC };
	struct ifaddrmsg addresses = { .ifa_family = AF_UNSPEC };
	int err;

	out->count = r->links.count;
	for (unsigned i = 0; i < out->count; i++) {
		const struct network_link *link = &r->links.link[i];
		struct oci_interface *interface = &out->interface[i];

		memcpy(interface->name, link->name, sizeof(interface->name));
		memcpy(interface->mac, link->mac, sizeof(interface->mac));
		interface->mtu = link->mtu;
	}
	err = netlink_list(netlink, RTM_GETADDR, &addresses, sizeof(addresses), look_at_address,
		forget_addresses, r);
	if (err == 0)
		err = netlink_list(netlink, RTM_GETROUTE, &routes, sizeof(routes), look_at_route,
			forget_routes, r);
	for (unsigned i = 0; i < out->count; i++)
		qsort(out->interface[i].route, out->interface[i].routes, sizeof(struct agent_route),
			by_need);
	return err;
}

/* Frames of the interface go to the tap and back; it hears all groups, of which the guest knows. */
static int tie(int netlink, const struct network_link *link, const struct network_link *tap)
{
	struct ifinfomsg same_mtu = { .ifi_index = tap->index };
	struct ifinfomsg hear_all = {
		.ifi_index = link->index, .ifi_flags = IFF_ALLMULTI, .ifi_change = IFF_ALLMULTI
	};
	struct netlink_request r;
	int err;

	netlink_begin(&r, RTM_NEWLINK, 0, &same_mtu, sizeof(same_mtu));
	netlink_add(&r, IFLA_MTU, &link->mtu, sizeof(link->mtu));
	err = netlink_do(netlink, &r);
	if (err < 0)
		return err;
	netlink_begin(&r, RTM_NEWLINK, 0, &hear_all, sizeof(hear_all));
	err = netlink_do(netlink, &r);
	if (err == 0)
		err = network_redirect(netlink, tap->index, link->index);
	return err == 0 ? network_redirect(netlink, link->index, tap->index) : err;
}

static int tie_all(const struct network_links *links, int netlink, struct error *err)
{
	for (unsigned i = 0; i < links->count; i++) {
		const struct network_link *link = &links->link[i];
		int r;

		if (!links->tap[i].index)
			return error_set(err, ERROR_USAGE, EOPNOTSUPP,
				"the network interface \"%s\" came after the machine was made, which "
				"has only %u cards: interfaces cannot be added to a machine later",
				link->name, links->taps);
		r = tie(netlink, link, &links->tap[i]);
		if (r == 0)
			continue;
		errno = -r;
		if (r == -ENOENT || r == -EOPNOTSUPP)
			return error_set(err, ERROR_HOST, -r,
				"cannot lead the frames of \"%s\" to the machine: %m; the host's "
				"kernel needs sch_ingress, cls_matchall and act_mirred: try "
				"`modprobe -a` with these",
				link->name);
		return error_set(err, ERROR_HOST, -r,
			"cannot lead the frames of \"%s\" to the machine: %m", link->name);
	}
	return 0;
}

int oci_network_read(struct oci_interfaces *out, struct error *err)
{
	_cleanup_close_ int netlink = netlink_open();
	struct reading reading = { .out = out };
	int r = netlink < 0 ? netlink : network_links_list(netlink, &reading.links);

	*out = (struct oci_interfaces){ 0 };
	if (r == 0) {
		r = network_links_check(&reading.links, err);
		if (r < 0)
			return r;
		r = read_all(&reading, netlink);
	}
	if (r < 0) {
		errno = -r;
		return error_set(err, ERROR_HOST, -r, "cannot read the container's network: %m");
	}
	if (reading.too_many)
		return error_set(err, ERROR_USAGE, EOPNOTSUPP,
			"a network interface of the container has more than %d %s",
			AGENT_ADDRESSES_MAX, reading.too_many);
	if (reading.unfit)
		return error_set(err, ERROR_USAGE, EOPNOTSUPP,
			"a route of the container %s: that is not possible in a machine yet",
			reading.unfit);
	return tie_all(&reading.links, netlink, err);
}

static int find_known(const struct oci_interfaces *known, const char *name)
{
	for (unsigned i = 0; i < known->count; i++)
		if (!strcmp(known->interface[i].name, name))
			return (int)i;
	return -1;
}

static bool is_same(const struct oci_interface *a, const struct oci_interface *b)
{
	return !memcmp(a->mac, b->mac, sizeof(a->mac)) && a->mtu == b->mtu &&
	       a->addresses == b->addresses && a->routes == b->routes &&
	       !memcmp(a->address, b->address, a->addresses * sizeof(a->address[0])) &&
	       !memcmp(a->route, b->route, a->routes * sizeof(a->route[0]));
}

int oci_network_follow(struct oci_follow *follow, struct oci_interfaces *changed, struct error *err)
{
	_cleanup_close_ int netlink = netlink_open();
	struct oci_interfaces now = { 0 };
	struct reading reading = { .out = &now };
	int r = netlink < 0 ? netlink : network_links_list(netlink, &reading.links);

	*changed = (struct oci_interfaces){ 0 };
	if (r == 0)
		r = read_all(&reading, netlink);
	for (unsigned i = 0; i < now.count && r == 0 && !reading.too_many; i++) {
		const struct network_link *link = &reading.links.link[i];
		int card = find_known(&follow->known, link->name);

		if (card < 0 || !reading.links.tap[card].index)
			continue;
		if (follow->index[card] && follow->index[card] != link->index)
			r = tie(netlink, link, &reading.links.tap[card]);
		follow->index[card] = link->index;
		if (is_same(&follow->known.interface[card], &now.interface[i]))
			continue;
		follow->known.interface[card] = now.interface[i];
		changed->interface[changed->count++] = now.interface[i];
	}
	if (r < 0) {
		errno = -r;
		return error_set(err, ERROR_HOST, -r, "cannot follow the container's network: %m");
	}
	return 0;
}

/* ---- for the guest ---- */

/* libslirp's own network, as net/slirp.c sets it up: the host is 10.0.2.2, its resolver 10.0.2.3. */
static void tell_user_network(struct agent_net *net)
{
	static const struct agent_address address = { AGENT_IPV4, 24, { 10, 0, 2, 15 } };
	static const struct agent_route route = { .to.family = AGENT_IPV4,
		.gateway = { 10, 0, 2, 2 } };

	net->name = "eth0";
	net->addresses = &address;
	net->address_count = 1;
	net->routes = &route;
	net->route_count = 1;
}

static int check_interface(const struct oci_interface *interface)
{
	size_t name = strnlen(interface->name, sizeof(interface->name));

	if (!name || name == sizeof(interface->name) ||
		interface->addresses > AGENT_ADDRESSES_MAX ||
		interface->routes > AGENT_ADDRESSES_MAX)
		return -EINVAL;
	return 0;
}

static void tell_interface(struct agent_net *net, const struct oci_interface *interface)
{
	net->name = interface->name;
	net->new_mac = interface->mac;
	net->mtu = interface->mtu;
	net->addresses = interface->address;
	net->address_count = interface->addresses;
	net->routes = interface->route;
	net->route_count = interface->routes;
}

int oci_network_guest_again(struct agent_net *net, const struct oci_interfaces *found)
{
	if (found->count > VM_NETS_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < found->count; i++) {
		if (check_interface(&found->interface[i]) < 0)
			return -EINVAL;
		net[i] = (struct agent_net){ .again = true };
		tell_interface(&net[i], &found->interface[i]);
	}
	return (int)found->count;
}

int oci_network_guest(struct agent_net *net, const struct oci_network *network,
	const struct oci_interfaces *found)
{
	if (found->count > network->cards)
		return -EINVAL;
	for (unsigned i = 0; i < network->cards; i++) {
		const struct oci_interface *interface = &found->interface[i];
		bool wanted = i < found->count;

		net[i] = (struct agent_net){ .mac = network->card[i].mac };
		if (network->card[i].user) {
			tell_user_network(&net[i]);
			continue;
		}
		net[i].remove = !wanted;
		if (!wanted)
			continue;
		if (check_interface(interface) < 0)
			return -EINVAL;
		tell_interface(&net[i], interface);
	}
	return (int)network->cards;
}
