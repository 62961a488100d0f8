/*
 * The container's network: a namespace with one end of a veth pair, whose other end lies in a second
 * namespace as the bridge would; a program at the tap in the machine's place.
 */
#include "oci/network.h"

#include "oci/network_link.h"
#include "oci/network_netlink.h"
#include "oci/network_share.h"
#include "util/macros.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { ETH_TEST = 0x88b5, FRAME = 60, HEADER = 10 };

static struct error err;
static bool able; /* root, ip and taps are here */

/* In the namespace that we are in; all that is said to the shell is written here. */
static bool run(const char *command)
{
	return system(command) == 0;
}

/* A fresh namespace for every test, and no way back: the process ends with the tests. */
static int set_up(void **state)
{
	err = (struct error){ 0 };
	able = geteuid() == 0 && unshare(CLONE_NEWNET) == 0 && access("/dev/net/tun", R_OK) == 0 &&
	       run("ip -V >/dev/null 2>&1 && ip link set lo up");
	return 0;
}

static void need_namespace(void)
{
	if (!able) {
		print_message("needs root, /dev/net/tun and iproute2\n");
		skip();
	}
}

static void add_veth(const char *name, const char *peer)
{
	char command[200];

	snprintf(command, sizeof(command),
		"ip link add %s type veth peer name %s && ip link set %s up && ip link set %s up",
		name, peer, name, peer);
	assert_true(run(command));
}

/* Both ends in one namespace would both be the container's: the peer goes elsewhere. */
static int other_namespace(void)
{
	int fd, before = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_int_equal(setns(before, CLONE_NEWNET), 0);
	close(before);
	return fd;
}

static void move_away(const char *peer, int namespace)
{
	char command[200];

	snprintf(command, sizeof(command), "ip link set %s netns /proc/%d/fd/%d", peer, getpid(),
		namespace);
	assert_true(run(command));
}

static int enter(int namespace)
{
	int before = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	assert_int_equal(setns(namespace, CLONE_NEWNET), 0);
	return before;
}

static void leave(int before)
{
	assert_int_equal(setns(before, CLONE_NEWNET), 0);
	close(before);
}

/* ---- what is asked for ---- */

static enum oci_network_kind kind_of(const struct oci_config *config)
{
	enum oci_network_kind kind;

	assert_int_equal(oci_network_kind(&kind, config, &err), 0);
	return kind;
}

static void test_kinds(void **state)
{
	static const char *pause[] = { "/catatonit", "-P", NULL };
	struct oci_pair pair = { "microvm.network", "none" };
	struct oci_config config = { 0 };
	enum oci_network_kind kind;

	assert_int_equal(kind_of(&config), OCI_NETWORK_USER);
	config.ns[OCI_NS_NETWORK].present = true;
	assert_int_equal(kind_of(&config), OCI_NETWORK_FRESH);
	config.ns[OCI_NS_NETWORK].path = "/run/netns/netns-not-there";
	assert_int_equal(kind_of(&config), OCI_NETWORK_INTERFACES);
	config.ns[OCI_NS_NETWORK].path = "/proc/self/ns/net";
	assert_int_equal(kind_of(&config), OCI_NETWORK_USER);
	config.ns[OCI_NS_NETWORK].path = NULL;
	config.annotations = (struct oci_pairs){ 1, &pair };
	assert_int_equal(kind_of(&config), OCI_NETWORK_NONE);
	pair.value = "user";
	assert_int_equal(kind_of(&config), OCI_NETWORK_USER);
	pair.value = "interfaces";
	assert_int_equal(kind_of(&config), OCI_NETWORK_FRESH);
	pair.value = "bridge";
	assert_int_equal(oci_network_kind(&kind, &config, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "microvm.network"));
	pair = (struct oci_pair){ "io.kubernetes.cri.container-type", "sandbox" };
	assert_int_equal(kind_of(&config), OCI_NETWORK_NONE);
	pair.value = "container";
	assert_int_equal(kind_of(&config), OCI_NETWORK_FRESH);
	config.process.args = (struct oci_strings){ 2, pause };
	assert_int_equal(kind_of(&config), OCI_NETWORK_NONE);
	config.process.args.count = 1;
	assert_int_equal(kind_of(&config), OCI_NETWORK_FRESH);
}

static void test_no_cards(void **state)
{
	struct oci_network network;
	struct vm_config config = { 0 };
	struct agent_net net[VM_NETS_MAX];
	struct oci_interfaces none = { 0 };

	assert_int_equal(oci_network_prepare(&network, OCI_NETWORK_NONE, &err), 0);
	assert_int_equal(network.cards, 0);
	assert_int_equal(oci_network_guest(net, &network, &none), 0);
	assert_int_equal(oci_network_prepare(&network, OCI_NETWORK_USER, &err), 0);
	oci_network_config(&network, &config);
	assert_int_equal(config.nets, 1);
	assert_int_equal(config.net[0].kind, VM_NET_USER);
	assert_int_equal(oci_network_guest(net, &network, &none), 1);
	assert_string_equal(net[0].name, "eth0");
	assert_int_equal(net[0].address_count, 1);
	assert_int_equal(net[0].route_count, 1);
}

/* What comes over a socket may be anything. */
static void test_guest_checks(void **state)
{
	struct oci_network network = { .cards = 2 };
	struct agent_net net[VM_NETS_MAX];
	struct oci_interfaces found = { .count = 1, .interface[0].name = "eth0" };

	assert_int_equal(oci_network_guest(net, &network, &found), 2);
	assert_false(net[0].remove);
	assert_true(net[1].remove);
	assert_ptr_equal(net[1].mac, network.card[1].mac);
	found.count = 3;
	assert_int_equal(oci_network_guest(net, &network, &found), -EINVAL);
	found.count = 1;
	found.interface[0].routes = AGENT_ADDRESSES_MAX + 1;
	assert_int_equal(oci_network_guest(net, &network, &found), -EINVAL);
	found.interface[0].routes = 0;
	found.interface[0].addresses = UINT32_MAX;
	assert_int_equal(oci_network_guest(net, &network, &found), -EINVAL);
	found.interface[0].addresses = 0;
	memset(found.interface[0].name, 'x', sizeof(found.interface[0].name));
	assert_int_equal(oci_network_guest(net, &network, &found), -EINVAL);
	found.interface[0].name[0] = 0;
	assert_int_equal(oci_network_guest(net, &network, &found), -EINVAL);
}

/* ---- taps ---- */

static struct network_links look(void)
{
	struct network_links links;
	int netlink = netlink_open();

	assert_true(netlink >= 0);
	assert_int_equal(network_links_list(netlink, &links), 0);
	close(netlink);
	return links;
}

static int open_tap(const char *name)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };

	assert_true(fd >= 0);
	strcpy(ifr.ifr_name, name);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		fail_msg("TUNSETIFF %s: %s", name, strerror(errno));
	return fd;
}

static void test_spares(void **state)
{
	struct oci_network network;
	struct vm_config config = { 0 };

	need_namespace();
	assert_int_equal(oci_network_prepare(&network, OCI_NETWORK_INTERFACES, &err), 0);
	assert_int_equal(network.cards, 0);
	assert_int_equal(oci_network_prepare(&network, OCI_NETWORK_FRESH, &err), 0);
	assert_int_equal(network.cards, OCI_NETWORK_SPARES);
	assert_memory_not_equal(network.card[0].mac, network.card[1].mac, 6);
	assert_int_equal(network.card[0].mac[0] & 3, 2);
	oci_network_config(&network, &config);
	assert_int_equal(config.nets, 2);
	assert_string_equal(config.net[1].tap, "mvtap1");
	assert_int_equal(look().taps, 2);
	assert_int_equal(look().count, 0);
	/* As after a machine that was killed: they are taken again. */
	if (oci_network_prepare(&network, OCI_NETWORK_FRESH, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(look().taps, 2);
}

static void test_prepare(void **state)
{
	struct oci_network network;
	int away;

	need_namespace();
	away = other_namespace();
	add_veth("eth0", "p0");
	add_veth("other", "p1");
	move_away("p0", away);
	move_away("p1", away);
	assert_true(run("ip link set eth0 mtu 1400 address 02:00:00:00:00:77"));
	assert_true(run("ip link add down0 type dummy 2>/dev/null || true"));
	assert_int_equal(oci_network_prepare(&network, OCI_NETWORK_FRESH, &err), 0);
	assert_int_equal(network.cards, 2);
	assert_memory_equal(network.card[0].mac, "\x02\0\0\0\0\x77", 6);
	assert_int_equal(look().tap[0].mtu, 1400);
	assert_int_equal(look().tap[1].mtu, 1500);
	close(away);
}

static void test_taken(void **state)
{
	struct oci_network network;
	int fd, namespace;

	need_namespace();
	assert_int_equal(oci_network_prepare(&network, OCI_NETWORK_FRESH, &err), 0);
	fd = open_tap("mvtap0");
	assert_int_equal(oci_network_prepare(&network, OCI_NETWORK_FRESH, &err), -EBUSY);
	assert_int_equal(oci_network_prepare(&network, OCI_NETWORK_INTERFACES, &err), 0);
	assert_false(network.shares); /* there is no interface that it could share */
	assert_int_equal(network.cards, 0);
	/* The end of a container that only joined: the taps are the other's. */
	namespace = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_int_equal(oci_network_undo(namespace, 1, &err), 0);
	assert_int_equal(look().taps, 2);
	close(fd);
	assert_int_equal(oci_network_undo(namespace, 1, &err), 0);
	assert_int_equal(look().taps, 0);
	assert_int_equal(oci_network_undo(namespace, 1, &err), 0);
	close(namespace);
}

static void test_refused(void **state)
{
	struct oci_network network;

	need_namespace();
	assert_true(run("ip tuntap add tun0 mode tun && ip link set tun0 up"));
	assert_int_equal(oci_network_prepare(&network, OCI_NETWORK_INTERFACES, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "tun0"));
	assert_true(run("ip link del tun0"));
	for (unsigned i = 0; i <= VM_NETS_MAX; i++) {
		char command[100];

		snprintf(command, sizeof(command),
			"ip tuntap add t%u mode tap && ip link set t%u up", i, i);
		assert_true(run(command));
	}
	assert_int_equal(oci_network_prepare(&network, OCI_NETWORK_INTERFACES, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "more than 4"));
}

/* ---- what is read, and where frames go ---- */

static bool can_redirect(void)
{
	bool can = run("ip link add probe0 type veth peer name probe1 && tc qdisc add dev probe0 "
		       "clsact && tc filter add dev probe0 ingress matchall action mirred egress "
		       "redirect dev probe1 2>/dev/null");

	run("ip link del probe0 2>/dev/null");
	return can;
}

static void read_or_skip(struct oci_interfaces *found)
{
	if (oci_network_read(found, &err) == 0)
		return;
	if (can_redirect())
		fail_msg("%s", err.msg);
	print_message("the kernel has no cls_matchall or act_mirred\n");
	assert_non_null(strstr(err.msg, "act_mirred"));
	skip();
}

/* How many of our filters @what is said of. */
static int filters(const char *what)
{
	char command[200], text[16] = "";
	FILE *f;

	snprintf(command, sizeof(command), "tc filter show dev eth0 ingress | grep -cE '%s'", what);
	f = popen(command, "r");
	assert_non_null(f);
	(void)!fgets(text, sizeof(text), f);
	pclose(f);
	return atoi(text);
}

/* A second machine: what its network shares with the first's, and that all of it can be undone. */
static void test_share(void **state)
{
	const uint16_t ports[] = { 80, 443, 8080 };
	struct oci_network first, second;
	struct oci_interfaces found;
	int away, tap, namespace;
	char range[64] = "";
	FILE *f;

	need_namespace();
	away = other_namespace();
	add_veth("eth0", "p0");
	move_away("p0", away);
	assert_int_equal(oci_network_prepare(&first, OCI_NETWORK_INTERFACES, &err), 0);
	assert_false(first.shares);
	tap = open_tap("mvtap0");
	read_or_skip(&found);
	assert_int_equal(oci_network_prepare(&second, OCI_NETWORK_INTERFACES, &err), 0);
	assert_true(second.shares);
	assert_int_equal(second.cards, 1);
	assert_true(second.card[0].user);

	for (int i = 0; i < 2; i++) {
		if (network_share_begin(&err) < 0)
			fail_msg("%s", err.msg);
		assert_int_equal(filters("dst_port 61000-65535"), 4);
		assert_int_equal(filters("arp_op reply"), 1);
	}
	f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
	assert_non_null(fgets(range, sizeof(range), f));
	fclose(f);
	assert_int_equal(atoi(range), 61000);

	assert_int_equal(network_share_ports(1, ports, 2), 0);
	assert_int_equal(network_share_ports(2, ports + 2, 1), 0);
	assert_int_equal(filters("dst_port (80|443|8080)$"), 6);
	assert_int_equal(network_share_ports(2, ports + 1, 2), 0); /* one is another's still */
	assert_int_equal(network_share_ports(1, ports, 1), 0);
	assert_int_equal(filters("dst_port (80|443|8080)$"), 4);
	assert_int_equal(network_share_ports(2, NULL, 0), 0);
	assert_int_equal(filters("dst_port (80|443|8080)$"), 2);
	assert_int_equal(filters("matchall .*handle"), 1);

	namespace = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	close(tap);
	assert_int_equal(oci_network_undo(namespace, 1, &err), 0);
	assert_int_equal(filters("."), 0);
	close(namespace);
	close(away);
}

static struct agent_route *route_to(
	struct oci_interface *interface, const char *to, unsigned prefix)
{
	uint8_t bytes[16] = { 0 };
	int family = strchr(to, ':') ? AF_INET6 : AF_INET;

	assert_int_equal(inet_pton(family, to, bytes), 1);
	for (unsigned i = 0; i < interface->routes; i++) {
		struct agent_route *r = &interface->route[i];

		if (r->to.prefix == prefix && !memcmp(r->to.bytes, bytes, 16) &&
			r->to.family == (family == AF_INET ? AGENT_IPV4 : AGENT_IPV6))
			return r;
	}
	return NULL;
}

static void test_read(void **state)
{
	static struct oci_interfaces found;
	struct oci_interface *eth0 = &found.interface[0];
	struct oci_network network;
	struct agent_net net[VM_NETS_MAX];
	struct agent_route *route;
	uint8_t gateway[16] = { 169, 254, 1, 1 };
	int away;

	need_namespace();
	away = other_namespace();
	assert_int_equal(oci_network_prepare(&network, OCI_NETWORK_FRESH, &err), 0);
	add_veth("eth0", "p0");
	move_away("p0", away);
	assert_true(run("ip link set eth0 mtu 1450 address 02:00:00:00:00:77 &&"
			"ip addr add 10.88.0.5/16 dev eth0 && ip addr add 10.9.9.9/32 dev eth0 &&"
			"ip -6 addr add fd00::5/64 dev eth0 nodad &&"
			"ip route add default via 10.88.0.1 metric 100 &&"
			"ip route add 169.254.1.1 dev eth0 scope link &&"
			"ip route add 10.200.0.0/16 via 169.254.1.1 src 10.9.9.9 &&"
			"ip route add 10.201.0.0/16 via 172.31.0.1 dev eth0 onlink &&"
			"ip -6 route add default via fd00::1"));
	read_or_skip(&found);
	assert_int_equal(found.count, 1);
	assert_string_equal(eth0->name, "eth0");
	assert_int_equal(eth0->mtu, 1450);
	assert_int_equal(look().tap[0].mtu, 1450);
	assert_int_equal(eth0->addresses, 3);
	assert_int_equal(eth0->address[0].prefix, 16);
	assert_memory_equal(eth0->address[0].bytes, "\x0a\x58\0\x05", 4);
	assert_int_equal(eth0->address[2].family, AGENT_IPV6);
	assert_int_equal(eth0->routes, 5);
	assert_null(route_to(eth0, "10.88.0.0", 16));
	route = route_to(eth0, "0.0.0.0", 0);
	assert_non_null(route);
	assert_int_equal(route->metric, 100);
	assert_memory_equal(route->gateway, "\x0a\x58\0\x01", 4);
	assert_ptr_equal(route_to(eth0, "169.254.1.1", 32), &eth0->route[0]);
	route = route_to(eth0, "10.200.0.0", 16);
	assert_memory_equal(route->gateway, gateway, 16);
	assert_memory_equal(route->source, "\x0a\x09\x09\x09", 4);
	assert_true(route_to(eth0, "10.201.0.0", 16)->on_link);
	assert_non_null(route_to(eth0, "::", 0));
	assert_int_equal(oci_network_guest(net, &network, &found), 2);
	assert_memory_equal(net[0].new_mac, "\x02\0\0\0\0\x77", 6);
	assert_true(net[1].remove);
	close(away);
}

/* A far end for frames of our own type. */
static int packet_socket(const char *name)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_TEST));
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_TEST),
		.sll_ifindex = (int)if_nametoindex(name) };

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static void make_frame(uint8_t *frame, uint8_t number)
{
	struct ethhdr eth = { .h_dest = { 2, 0, 0, 0, 0, 0x77 },
		.h_source = { 2, 0, 0, 0, 0, 2 },
		.h_proto = htons(ETH_TEST) };

	memset(frame, number, FRAME);
	memcpy(frame, &eth, sizeof(eth));
}

/* Is a frame with @number there within a second? Others are passed over. */
static bool comes(int fd, size_t header, uint8_t number)
{
	uint8_t frame[FRAME], got[2048];
	struct pollfd p = { .fd = fd, .events = POLLIN };

	make_frame(frame, number);
	while (poll(&p, 1, 1000) == 1) {
		ssize_t n = read(fd, got, sizeof(got));

		if (n == (ssize_t)(header + FRAME) && !memcmp(got + header, frame, FRAME))
			return true;
	}
	return false;
}

static void test_frames(void **state)
{
	static struct oci_interfaces found;
	struct oci_network network;
	uint8_t frame[HEADER + FRAME] = { 0 };
	int away, tap, far, back, namespace;

	need_namespace();
	away = other_namespace();
	add_veth("eth0", "p0");
	move_away("p0", away);
	assert_true(run("ip addr add 10.88.0.5/24 dev eth0"));
	assert_int_equal(oci_network_prepare(&network, OCI_NETWORK_INTERFACES, &err), 0);
	tap = open_tap("mvtap0");
	read_or_skip(&found);
	back = enter(away);
	assert_true(run("ip link set p0 up && ip addr add 10.88.0.1/24 dev p0"));
	far = packet_socket("p0");
	make_frame(frame, 1);
	assert_int_equal(write(far, frame, FRAME), FRAME);
	assert_true(comes(tap, HEADER, 1));
	memset(frame, 0, HEADER);
	make_frame(frame + HEADER, 2);
	assert_int_equal(write(tap, frame, sizeof(frame)), sizeof(frame));
	assert_true(comes(far, 0, 2));
	/* The namespace's own stack has the address, and must not answer. */
	assert_false(run("ping -c 1 -W 1 10.88.0.5 >/dev/null 2>&1"));
	leave(back);
	/* Again, as after a restart; and then everything goes. */
	assert_int_equal(oci_network_read(&found, &err), 0);
	namespace = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	close(tap);
	assert_int_equal(oci_network_undo(namespace, 1, &err), 0);
	assert_int_equal(look().taps, 0);
	assert_true(run("! tc qdisc show dev eth0 | grep -q clsact"));
	close(namespace);
	close(far);
	close(away);
}

/* An interface that nobody counted on. */
static void test_late(void **state)
{
	static struct oci_interfaces found;
	struct oci_network network;

	need_namespace();
	assert_int_equal(oci_network_prepare(&network, OCI_NETWORK_INTERFACES, &err), 0);
	assert_int_equal(oci_network_read(&found, &err), 0);
	assert_int_equal(found.count, 0);
	add_veth("eth0", "p0");
	assert_int_equal(oci_network_read(&found, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "only 0 cards"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_no_cards),
		cmocka_unit_test(test_guest_checks),
		cmocka_unit_test_setup(test_spares, set_up),
		cmocka_unit_test_setup(test_prepare, set_up),
		cmocka_unit_test_setup(test_taken, set_up),
		cmocka_unit_test_setup(test_share, set_up),
		cmocka_unit_test_setup(test_refused, set_up),
		cmocka_unit_test_setup(test_read, set_up),
		cmocka_unit_test_setup(test_frames, set_up),
		cmocka_unit_test_setup(test_late, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
