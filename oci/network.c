#include "oci/network.h"

#include "oci/network_link.h"
#include "oci/network_netlink.h"
#include "oci/network_share.h"
#include "util/cleanup.h"
#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* The longest frames that a tap can have: what comes later will not have longer ones. */
enum { SPARE_MTU = 65520, BUSY_TRIES = 60, BUSY_PAUSE_US = 5000 };

#define TUN_PATH "/dev/net/tun"

/* ---- what is asked for ---- */

static const char *annotation(const struct oci_config *config, const char *key)
{
	for (size_t i = 0; i < config->annotations.count; i++) {
		if (!strcmp(config->annotations.list[i].key, key))
			return config->annotations.list[i].value;
	}
	return NULL;
}

/*
 * With an image of the user's for it (podman pod create --infra-image): in a pod's control group, in
 * a network that is not another container's, and nothing but a program called pause.
 */
static bool is_other_infra(const struct oci_config *config)
{
	const char *group = config->cgroups_path, *network = config->ns[OCI_NS_NETWORK].path;
	const char *program = config->process.args.count == 1 ? config->process.args.list[0] : "";
	const char *name = strrchr(program, '/');

	return group && (strstr(group, "libpod_parent/") || strstr(group, "libpod_pod_")) &&
	       (!network || strncmp(network, "/proc/", 6) != 0) &&
	       !strncmp(name ? name + 1 : program, "pause", 5);
}

/* Does the container only keep a pod's namespaces, for others to join? */
static bool is_sandbox(const struct oci_config *config)
{
	static const char *const keys[] = { "io.kubernetes.cri.container-type",
		"io.kubernetes.cri-o.ContainerType" };

	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
		const char *value = annotation(config, keys[i]);

		if (value && !strcmp(value, "sandbox"))
			return true;
	}
	/* podman says it of its pods by nothing but the command that sleeps in them. */
	return (config->process.args.count == 2 &&
		       !strcmp(config->process.args.list[0], "/catatonit") &&
		       !strcmp(config->process.args.list[1], "-P")) ||
	       is_other_infra(config);
}

/* Is it the network of this process, or of the host's first? That one is never taken. */
static bool is_host(const char *path)
{
	static const char *const hosts[] = { "/proc/self/ns/net", "/proc/1/ns/net" };
	struct stat it, host;

	if (!path || stat(path, &it) < 0)
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(hosts); i++) {
		if (stat(hosts[i], &host) == 0 && host.st_ino == it.st_ino &&
			host.st_dev == it.st_dev)
			return true;
	}
	return false;
}

int oci_network_kind(
	enum oci_network_kind *kind, const struct oci_config *config, struct error *err)
{
	const char *said = annotation(config, "microvm.network");

	if (said && !strcmp(said, "none"))
		*kind = OCI_NETWORK_NONE;
	else if (said && !strcmp(said, "user"))
		*kind = OCI_NETWORK_USER;
	else if (said && strcmp(said, "interfaces"))
		return error_set(err, ERROR_USAGE, EINVAL,
			"config.json: annotations: microvm.network is \"%s\": it may be interfaces, "
			"user or none",
			said);
	else if (is_sandbox(config))
		*kind = OCI_NETWORK_NONE;
	else if (!config->ns[OCI_NS_NETWORK].present || is_host(config->ns[OCI_NS_NETWORK].path))
		*kind = OCI_NETWORK_USER;
	else
		*kind = config->ns[OCI_NS_NETWORK].path ? OCI_NETWORK_INTERFACES
							: OCI_NETWORK_FRESH;
	return 0;
}

/* ---- taps ---- */

static int tap_error(const char *name, int errnum, struct error *err)
{
	if (errnum == ENOENT || errnum == ENODEV || errnum == ENXIO)
		return error_set(err, ERROR_HOST, EOPNOTSUPP,
			"the host has no " TUN_PATH ": try `modprobe tun`");
	return error_set(err, ERROR_HOST, errnum, "cannot make the tap \"%s\": %m", name);
}

/*
 * One that lasts; one that was left behind by a machine that is gone will do. -EBUSY: a machine has
 * it. When one has just ended, the kernel lets go of its tap a moment later.
 */
static int make_tap(const char *name, bool lasting)
{
	_cleanup_close_ int fd = open(TUN_PATH, O_RDWR | O_CLOEXEC);
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };

	if (fd < 0)
		return -errno;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	for (int i = 0; ioctl(fd, TUNSETIFF, &ifr) < 0; i++) {
		if (errno != EBUSY || i == BUSY_TRIES)
			return -errno;
		usleep(BUSY_PAUSE_US);
	}
	return ioctl(fd, TUNSETPERSIST, lasting) < 0 ? -errno : 0;
}

/* Up, and silent: the host's own stack has nothing to say there. */
static int set_up_tap(int netlink, const struct network_link *tap, uint32_t mtu)
{
	struct ifinfomsg info = {
		.ifi_index = tap->index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP
	};
	struct ifinfomsg just_this = { .ifi_index = tap->index };
	uint8_t no_address = IN6_ADDR_GEN_MODE_NONE;
	struct rtattr *families, *ipv6;
	struct netlink_request r;
	int err;

	netlink_begin(&r, RTM_NEWLINK, 0, &just_this, sizeof(just_this));
	families = netlink_nest(&r, IFLA_AF_SPEC);
	ipv6 = netlink_nest(&r, AF_INET6);
	netlink_add(&r, IFLA_INET6_ADDR_GEN_MODE, &no_address, sizeof(no_address));
	netlink_end(&r, ipv6);
	netlink_end(&r, families);
	err = netlink_do(netlink, &r);
	if (err < 0 && err != -EAFNOSUPPORT && err != -EOPNOTSUPP) /* a host without IPv6 */
		return err;
	netlink_begin(&r, RTM_NEWLINK, 0, &info, sizeof(info));
	netlink_add(&r, IFLA_MTU, &mtu, sizeof(mtu));
	return netlink_do(netlink, &r);
}

/* An address as net_default_mac() makes them, but another for every machine. */
static int spare_mac(uint8_t mac[6])
{
	if (getrandom(mac, 6, 0) != 6)
		return -EIO;
	mac[0] = (uint8_t)((mac[0] & 0xfc) | 2); /* locally administered, not a group */
	return 0;
}

static int add_card(
	struct oci_network *out, int netlink, struct network_links *links, struct error *err)
{
	unsigned i = out->cards;
	struct oci_card *card = &out->card[i];
	const struct network_link *interface = i < links->count ? &links->link[i] : NULL;
	struct network_links after;
	int r;

	*card = (struct oci_card){ 0 };
	snprintf(card->tap, sizeof(card->tap), NETWORK_TAP_PREFIX "%u", i);
	r = make_tap(card->tap, true);
	if (r == -EBUSY && i == 0)
		return r; /* they are another machine's */
	if (r < 0) {
		errno = -r;
		return tap_error(card->tap, -r, err);
	}
	r = network_links_list(netlink, &after);
	if (r == 0)
		r = set_up_tap(netlink, &after.tap[i], interface ? interface->mtu : SPARE_MTU);
	if (r == 0 && interface)
		memcpy(card->mac, interface->mac, sizeof(card->mac));
	else if (r == 0)
		r = spare_mac(card->mac);
	if (r < 0) {
		errno = -r;
		return error_set(
			err, ERROR_HOST, -r, "cannot set up the tap \"%s\": %m", card->tap);
	}
	out->cards++;
	return 0;
}

static int prepare_taps(struct oci_network *out, unsigned spares, struct error *err)
{
	_cleanup_close_ int netlink = netlink_open();
	struct network_links links;
	int r = netlink < 0 ? netlink : network_links_list(netlink, &links);

	if (r < 0) {
		errno = -r;
		return error_set(err, ERROR_HOST, -r, "cannot list the network interfaces: %m");
	}
	r = network_links_check(&links, err);
	/* Most that have no interface yet never get one: without the device for it none waits. */
	if (!links.count && access(TUN_PATH, R_OK | W_OK) < 0)
		spares = 0;
	for (unsigned i = 0; i < (links.count ?: spares) && r == 0; i++)
		r = add_card(out, netlink, &links, err);
	return r;
}

/* A card behind whatever the namespace has. */
static int prepare_user(struct oci_network *out, struct error *err)
{
	out->cards = 1;
	out->card[0] = (struct oci_card){ .user = true };
	if (spare_mac(out->card[0].mac) < 0)
		return error_set(err, ERROR_HOST, EIO, "no random numbers: %m");
	return 0;
}

int oci_network_prepare(struct oci_network *out, enum oci_network_kind kind, struct error *err)
{
	int r = 0;

	*out = (struct oci_network){ 0 };
	switch (kind) {
	case OCI_NETWORK_NONE:
		break;
	case OCI_NETWORK_USER:
		r = prepare_user(out, err);
		break;
	case OCI_NETWORK_INTERFACES:
		r = prepare_taps(out, 0, err);
		out->shares = r == -EBUSY;
		if (out->shares)
			r = prepare_user(out, err);
		break;
	case OCI_NETWORK_FRESH:
		r = prepare_taps(out, OCI_NETWORK_SPARES, err);
		break;
	}
	return r;
}

void oci_network_config(const struct oci_network *network, struct vm_config *config)
{
	config->nets = network->cards;
	for (unsigned i = 0; i < network->cards; i++) {
		const struct oci_card *card = &network->card[i];
		struct vm_net *net = &config->net[i];

		*net = (struct vm_net){ .kind = card->user ? VM_NET_USER : VM_NET_TAP,
			.tap = card->user ? NULL : card->tap,
			.queue_pairs = 1,
			.has_mac = true };
		memcpy(net->mac, card->mac, sizeof(net->mac));
	}
}

/* ---- the end ---- */

/* Taps first: one that a machine has says that all of this is another container's. */
static int remove_all(int netlink)
{
	struct network_links links;
	int r = network_links_list(netlink, &links);

	if (r < 0 || !links.taps)
		return r;
	for (unsigned i = 0; i < VM_NETS_MAX && r == 0; i++) {
		if (links.tap[i].index)
			r = make_tap(links.tap[i].name, false);
	}
	/* Fenced: see is_fenced() in container.c. It goes with the namespace, or with the next machine. */
	if (r < 0)
		return r == -EBUSY || r == -EPERM ? 0 : r;
	for (unsigned i = 0; i < links.count && r == 0; i++) {
		network_share_undo(netlink, links.link[i].index);
		r = network_redirect_undo(netlink, links.link[i].index);
	}
	return r;
}

/* The way back into a namespace may be closed, so it is a child that goes. */
int oci_network_undo(int fd, uint16_t who, struct error *err)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		int netlink, r = setns(fd, CLONE_NEWNET) < 0 ? -errno : 0;

		netlink = r == 0 ? netlink_open() : r;
		if (netlink >= 0)
			network_share_ports(who, NULL, 0);
		r = netlink < 0 ? netlink : remove_all(netlink);
		_exit(r < 0 && -r < 256 ? -r : 0);
	}
	if (child < 0)
		return error_set(err, ERROR_HOST, errno, "cannot make a process: %m");
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return error_set(err, ERROR_HOST, errno, "cannot wait for a process: %m");
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
	return error_set(err, ERROR_HOST, errno,
		"cannot take the machine's taps out of the container's network: %m");
}
