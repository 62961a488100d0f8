/* Network interfaces, by rtnetlink (man 7 rtnetlink). */
#include "guest/setup.h"
#include "guest/sys.h"

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>

enum { LINK_WAIT_MS = 1000, REQUEST_MAX = 256, ANSWER_MAX = 32768 };

struct link_request {
	union {
		struct nlmsghdr header;
		uint8_t bytes[REQUEST_MAX];
	};
};

static struct link_request *begin_request(
	struct link_request *r, unsigned type, unsigned flags, const void *body, size_t len)
{
	memset(r, 0, sizeof(*r));
	r->header.nlmsg_type = (uint16_t)type;
	r->header.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	r->header.nlmsg_len = (uint32_t)NLMSG_LENGTH(len);
	memcpy(NLMSG_DATA(&r->header), body, len);
	return r;
}

static void add_attribute(struct link_request *r, unsigned type, const void *data, size_t len)
{
	struct rtattr *attr = (struct rtattr *)(r->bytes + NLMSG_ALIGN(r->header.nlmsg_len));

	attr->rta_type = (unsigned short)type;
	attr->rta_len = (unsigned short)RTA_LENGTH(len);
	memcpy(RTA_DATA(attr), data, len);
	r->header.nlmsg_len = (uint32_t)(NLMSG_ALIGN(r->header.nlmsg_len) + RTA_LENGTH(len));
}

/* Returns what the kernel says to it. */
static long request(int fd, struct link_request *r)
{
	struct {
		struct nlmsghdr header;
		struct nlmsgerr body;
		uint8_t more[REQUEST_MAX];
	} answer;
	long n;

	r->header.nlmsg_flags |= NLM_F_ACK;
	n = sys_write(fd, r, r->header.nlmsg_len);
	if (n < 0)
		return n;
	n = sys_read(fd, &answer, sizeof(answer));
	if (n < 0)
		return n;
	if (n < (long)(sizeof(answer.header) + sizeof(answer.body.error)) ||
		answer.header.nlmsg_type != NLMSG_ERROR)
		return -EIO;
	return answer.body.error;
}

/* Does this RTM_NEWLINK tell of the interface that is meant? */
static bool link_is_meant(struct nlmsghdr *h, const struct message_net *net)
{
	struct ifinfomsg *info = NLMSG_DATA(h);
	struct rtattr *attr = IFLA_RTA(info);
	int left = (int)IFLA_PAYLOAD(h);

	for (; RTA_OK(attr, left); attr = RTA_NEXT(attr, left)) {
		if (net->by_mac && attr->rta_type == IFLA_ADDRESS && RTA_PAYLOAD(attr) == 6 &&
			memcmp(RTA_DATA(attr), net->mac, 6) == 0)
			return true;
		if (!net->by_mac && attr->rta_type == IFLA_IFNAME &&
			strcmp(RTA_DATA(attr), net->name) == 0)
			return true;
	}
	return false;
}

/* The index of the interface, 0 if there is none, or a negative errno. */
static long find_link(int fd, const struct message_net *net)
{
	static const struct ifinfomsg all;
	uint8_t answer[ANSWER_MAX] __attribute__((aligned(8)));
	struct link_request r;
	long found = 0, n;

	n = sys_write(fd, begin_request(&r, RTM_GETLINK, NLM_F_DUMP, &all, sizeof(all)),
		NLMSG_LENGTH(sizeof(all)));
	while (n >= 0) {
		struct nlmsghdr *h = (struct nlmsghdr *)answer;

		n = sys_read(fd, answer, sizeof(answer));
		for (long left = n; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			if (h->nlmsg_type == NLMSG_DONE)
				return found;
			if (h->nlmsg_type == NLMSG_ERROR)
				return -EIO;
			if (h->nlmsg_type == RTM_NEWLINK && !found && link_is_meant(h, net))
				found = ((struct ifinfomsg *)NLMSG_DATA(h))->ifi_index;
		}
	}
	return n;
}

/* Its driver may still be on the way. */
static long wait_link(int fd, const struct message_net *net)
{
	uint64_t end = sys_now_ms() + LINK_WAIT_MS;
	long index;

	while ((index = find_link(fd, net)) == 0) {
		if (sys_now_ms() >= end)
			return -ENODEV;
		sys_sleep_ms(1);
	}
	return index;
}

static long set_link(int fd, int index, const struct message_net *net)
{
	struct ifinfomsg info = { .ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
	struct link_request r;

	begin_request(&r, RTM_NEWLINK, 0, &info, sizeof(info));
	if (net->changes_mac)
		add_attribute(&r, IFLA_ADDRESS, net->new_mac, sizeof(net->new_mac));
	if (net->by_mac && *net->name)
		add_attribute(&r, IFLA_IFNAME, net->name, strlen(net->name) + 1);
	if (net->mtu)
		add_attribute(&r, IFLA_MTU, &net->mtu, sizeof(net->mtu));
	return request(fd, &r);
}

static unsigned char family_of(const struct message_address *a)
{
	return a->family == AGENT_IPV4 ? AF_INET : AF_INET6;
}

static size_t size_of(const struct message_address *a)
{
	return a->family == AGENT_IPV4 ? 4 : 16;
}

static long add_address(int fd, int index, const struct message_address *a)
{
	struct ifaddrmsg info = {
		.ifa_family = family_of(a), .ifa_prefixlen = a->prefix, .ifa_index = (unsigned)index
	};
	struct link_request r;

	/* Usable at once: nobody else on this wire has it. */
	if (a->family == AGENT_IPV6)
		info.ifa_flags = IFA_F_NODAD;
	begin_request(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &info, sizeof(info));
	add_attribute(&r, IFA_LOCAL, a->bytes, size_of(a));
	add_attribute(&r, IFA_ADDRESS, a->bytes, size_of(a));
	if (a->family == AGENT_IPV4 && a->prefix < 31) {
		uint8_t broadcast[4];

		memcpy(broadcast, a->bytes, 4);
		for (unsigned bit = a->prefix; bit < 32; bit++)
			broadcast[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
		add_attribute(&r, IFA_BROADCAST, broadcast, 4);
	}
	return request(fd, &r);
}

static long add_route(int fd, int index, const struct message_route *route)
{
	struct rtmsg info = { .rtm_family = family_of(&route->to),
		.rtm_dst_len = route->to.prefix,
		.rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = RTPROT_BOOT,
		.rtm_type = RTN_UNICAST,
		.rtm_scope = route->direct && route->to.family == AGENT_IPV4 ? RT_SCOPE_LINK
									     : RT_SCOPE_UNIVERSE,
		.rtm_flags = route->flags & AGENT_ROUTE_ON_LINK ? RTNH_F_ONLINK : 0 };
	struct link_request r;
	long err;

	/* Two networks may each have a default route of the same metric: one behind the other. */
	begin_request(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_APPEND, &info, sizeof(info));
	if (route->to.prefix)
		add_attribute(&r, RTA_DST, route->to.bytes, size_of(&route->to));
	if (!route->direct)
		add_attribute(&r, RTA_GATEWAY, route->gateway, size_of(&route->to));
	add_attribute(&r, RTA_OIF, &index, sizeof(index));
	if (!route->any_source)
		add_attribute(&r, RTA_PREFSRC, route->source, size_of(&route->to));
	if (route->metric)
		add_attribute(&r, RTA_PRIORITY, &route->metric, sizeof(route->metric));
	err = request(fd, &r);
	return err == -EEXIST ? 0 : err; /* it came along with an address */
}

/* Another card that was given the name when it was found gets out of the way. */
static void free_name(int fd, int index, const char *name)
{
	struct message_net other = { .name = name };
	struct ifinfomsg info = { .ifi_index = (int)find_link(fd, &other) };
	struct link_request r;
	char away[IFNAMSIZ] = "card0";

	if (info.ifi_index <= 0 || info.ifi_index == index)
		return;
	away[4] = (char)('0' + info.ifi_index % 10);
	begin_request(&r, RTM_NEWLINK, 0, &info, sizeof(info));
	add_attribute(&r, IFLA_IFNAME, away, sizeof("card0"));
	request(fd, &r);
}

/* "virtio3", out of "../../../virtio3". */
static const char *last_part(char *path, long len)
{
	path[len] = '\0';
	while (len > 0 && path[len - 1] != '/')
		len--;
	return path + len;
}

/* Take the card from its driver. /sys may not be there: one of our own, which no path leads to. */
static long remove_card(int index)
{
	struct ifreq name = { .ifr_ifindex = index };
	long inet = sys_socket(AF_INET, SOCK_DGRAM, 0), sysfs, unbind, len;
	struct text path = { 0 };
	char device[128];
	const char *card;

	len = inet < 0 ? inet : sys_ioctl((int)inet, SIOCGIFNAME, SYS_PTR(&name));
	if (inet >= 0)
		sys_close((int)inet);
	sysfs = len < 0 ? len : sys_mount_detached("sysfs");
	if (sysfs < 0)
		return sysfs;
	text_add(&path, "class/net/");
	text_add(&path, name.ifr_name);
	text_add(&path, "/device");
	len = sys_readlink_at((int)sysfs, path.buf, device, sizeof(device) - 1);
	unbind =
		len < 0 ? len
			: sys_open_at((int)sysfs, "bus/virtio/drivers/virtio_net/unbind", O_WRONLY);
	if (unbind >= 0) {
		card = last_part(device, len);
		len = sys_write((int)unbind, card, strlen(card));
		sys_close((int)unbind);
	} else {
		len = unbind;
	}
	sys_close((int)sysfs);
	return len < 0 ? len : 0;
}

/* Going down takes the routes and the addresses of IPv6; those of IPv4 go one by one. */
static void forget_addresses(int fd, int index, const char *name)
{
	struct ifinfomsg down = { .ifi_index = index, .ifi_change = IFF_UP };
	struct ifreq address = { 0 };
	struct link_request r;
	long inet = sys_socket(AF_INET, SOCK_DGRAM, 0);

	begin_request(&r, RTM_NEWLINK, 0, &down, sizeof(down));
	request(fd, &r);
	memcpy(address.ifr_name, name, strlen(name) + 1);
	for (int i = 0; i < 2 * AGENT_ADDRESSES_MAX &&
			sys_ioctl((int)inet, SIOCGIFADDR, SYS_PTR(&address)) == 0;
		i++) {
		memset(&address.ifr_addr, 0, sizeof(address.ifr_addr));
		address.ifr_addr.sa_family = AF_INET;
		sys_ioctl((int)inet, SIOCSIFADDR, SYS_PTR(&address)); /* none: it is deleted */
	}
	if (inet >= 0)
		sys_close((int)inet);
}

static long configure(int fd, const struct message_net *net, struct text *why)
{
	long index = wait_link(fd, net), err;

	text_add(why, "there is no network interface ");
	text_add(why, *net->name ? net->name : "with that address");
	if (index < 0)
		return index;
	why->len = 0;
	if (net->flags & AGENT_NET_REMOVE) {
		text_add(why, "cannot remove a network card that is not needed");
		return remove_card((int)index);
	}
	text_add(why, "cannot configure the network interface");
	if (net->by_mac && *net->name)
		free_name(fd, (int)index, net->name);
	if (net->flags & AGENT_NET_AGAIN)
		forget_addresses(fd, (int)index, net->name);
	err = set_link(fd, (int)index, net);
	if (err == 0 && net->address_count)
		text_add(why, ": an address");
	for (unsigned i = 0; err == 0 && i < net->address_count; i++)
		err = add_address(fd, (int)index, &net->addresses[i]);
	if (err == 0 && net->route_count)
		text_add(why, ": a route");
	for (unsigned i = 0; err == 0 && i < net->route_count; i++)
		err = add_route(fd, (int)index, &net->routes[i]);
	return err;
}

long network_configure(const struct message_net *net, struct text *why)
{
	long fd = sys_socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), err;

	if (strlen(net->name) >= IFNAMSIZ) {
		text_add(why, "too long a name for a network interface");
		err = -ENAMETOOLONG;
	} else if (fd < 0) {
		text_add(why, "the kernel has no network");
		err = fd;
	} else {
		err = configure((int)fd, net, why);
	}
	if (fd >= 0)
		sys_close((int)fd);
	return err;
}

long network_loopback(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	long fd = sys_socket(AF_INET, SOCK_DGRAM, 0), err;

	if (fd < 0)
		return fd;
	err = sys_ioctl((int)fd, SIOCSIFFLAGS, SYS_PTR(&request));
	sys_close((int)fd);
	return err;
}
