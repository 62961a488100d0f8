/*
 * The tap backend: opening and life. A tap is a network interface of the host whose cable ends in
 * a file descriptor, one for each queue; the vnet header in front of each packet carries checksum
 * and segmentation work across (Documentation/networking/tuntap.rst, linux/if_tun.h).
 *
 * The interface must exist: whoever set up the host's network made it, and we never leave one
 * behind. tap_io.c moves the packets.
 */
#include "net/tap.h"

#include "util/cleanup.h"
#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* Linux 6.2; older headers lack them. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

enum { BUSY_TRIES = 60, BUSY_PAUSE_US = 5000 };

#define TUN_PATH "/dev/net/tun"

static int no_tap(const char *name, int errnum, struct error *err)
{
	if (errnum == ENODEV)
		return error_set(err, ERROR_HOST, errnum,
			"there is no network interface \"%s\": try `ip tuntap add %s mode tap` and "
			"`ip link set %s up`",
			name, name, name);
	return error_set(err, ERROR_HOST, errnum, "cannot look at the interface \"%s\": %m", name);
}

/* Does the interface exist, and is it a tap? Fills in its MTU. TUNSETIFF would make a new one. */
static int check_interface(const char *name, unsigned *mtu, struct error *err)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };
	struct ifreq ifr = { 0 };

	if (fd < 0)
		return error_set(err, ERROR_HOST, errno, "cannot make a socket: %m");
	memcpy(ifr.ifr_name, name, strlen(name));
	if (ioctl(fd, SIOCGIFMTU, &ifr) < 0)
		return no_tap(name, errno, err);
	*mtu = (unsigned)ifr.ifr_mtu;
	ifr.ifr_data = (void *)&info;
	if (ioctl(fd, SIOCETHTOOL, &ifr) < 0 || strcmp(info.driver, "tun") ||
		strcmp(info.bus_info, "tap"))
		return error_set(err, ERROR_HOST, EINVAL,
			"the network interface \"%s\" is not a tap: try `ip tuntap add NAME mode "
			"tap` for one and attach it to the same bridge",
			name);
	if (ioctl(fd, SIOCGIFFLAGS, &ifr) < 0)
		return no_tap(name, errno, err);
	if (!(ifr.ifr_flags & IFF_UP))
		log_warn("the tap \"%s\" is down: no packet passes before `ip link set %s up`",
			name, name);
	return 0;
}

/* What TUNSETIFF's refusal means. */
static int attach_error(const char *name, unsigned pairs, int errnum, struct error *err)
{
	switch (errnum) {
	case EBUSY:
	case E2BIG:
		return error_set(err, ERROR_BUSY, errnum,
			"the tap \"%s\" is in use by another program: give each VM a tap of its own",
			name);
	case EPERM:
		return error_set(err, ERROR_HOST, errnum,
			"no permission to use the tap \"%s\": its owner may, set by `ip tuntap add %s "
			"mode tap user NAME`",
			name, name);
	case EINVAL:
		if (pairs > 1)
			return error_set(err, ERROR_HOST, errnum,
				"the tap \"%s\" has only one queue: try `ip tuntap add %s mode tap "
				"multi_queue`, or one queue pair",
				name, name);
		break;
	}
	return error_set(err, ERROR_HOST, errnum, "cannot use the tap \"%s\": %m", name);
}

/* One more descriptor onto the interface. @multi: as one of several queues. Returns fd or -errno. */
static int open_queue(const char *name, bool multi, struct error *err)
{
	_cleanup_close_ int fd = open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int header = NET_HEADER;

	if (fd < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO))
		return error_set(
			err, ERROR_HOST, errno, "cannot open " TUN_PATH ": %m; try `modprobe tun`");
	if (fd < 0)
		return error_set(err, ERROR_HOST, errno,
			"cannot open " TUN_PATH
			": %m; a tap needs read and write permission for it");
	if (multi)
		ifr.ifr_flags |= IFF_MULTI_QUEUE;
	memcpy(ifr.ifr_name, name, strlen(name));
	/* When a VM has ended, the kernel lets go of its ring's files a moment later. */
	for (int i = 0; ioctl(fd, TUNSETIFF, &ifr) < 0; i++) {
		if (errno != EBUSY || i == BUSY_TRIES)
			return -errno; /* without a message: the caller may try again */
		usleep(BUSY_PAUSE_US);
	}
	if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0)
		return error_set(err, ERROR_HOST, errno,
			"the tap \"%s\" cannot carry %d-byte headers: %m", name, header);
	return take_fd(&fd);
}

/*
 * All queues of the interface. With one pair either kind of tap will do: one made for several
 * queues refuses to be opened as if it had one, and the other way round.
 */
static int open_queues(struct tap *tap, struct error *err)
{
	bool multi = tap->net.pairs > 1;

	err->kind = ERROR_NONE;
	for (unsigned i = 0; i < tap->net.pairs; i++) {
		int fd = open_queue(tap->net.name, multi, err);

		if (fd == -EINVAL && tap->net.pairs == 1 && err->kind == ERROR_NONE) {
			multi = true;
			fd = open_queue(tap->net.name, multi, err);
		}
		if (fd < 0 && err->kind != ERROR_NONE)
			return fd;
		if (fd < 0)
			return attach_error(tap->net.name, tap->net.pairs, -fd, err);
		tap->port[i].fd = fd;
	}
	return 0;
}

static int attach_queue(struct tap_port *port, bool attach)
{
	struct ifreq ifr = { .ifr_flags = attach ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };

	return ioctl(port->fd, TUNSETQUEUE, &ifr) < 0 ? -errno : 0;
}

static unsigned tun_flags(unsigned offloads)
{
	unsigned flags = 0;

	/* The kernel takes the others only together with CSUM, and both USO only together. */
	if (!(offloads & NET_CSUM))
		return 0;
	flags |= TUN_F_CSUM;
	flags |= offloads & NET_TSO4 ? TUN_F_TSO4 : 0;
	flags |= offloads & NET_TSO6 ? TUN_F_TSO6 : 0;
	if (offloads & (NET_TSO4 | NET_TSO6))
		flags |= offloads & NET_ECN ? TUN_F_TSO_ECN : 0;
	flags |= offloads & NET_USO ? TUN_F_USO4 | TUN_F_USO6 : 0;
	return flags;
}

/* What this kernel's taps can; nothing is switched on before the driver has agreed to it. */
static void probe_offloads(struct tap *tap)
{
	unsigned basic = NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN;
	int fd = tap->port[0].fd;

	if (ioctl(fd, TUNSETOFFLOAD, tun_flags(basic | NET_USO)) == 0)
		tap->net.offloads = basic | NET_USO;
	else if (ioctl(fd, TUNSETOFFLOAD, tun_flags(basic)) == 0)
		tap->net.offloads = basic;
	if (ioctl(fd, TUNSETOFFLOAD, 0) < 0)
		log_debug("%s: TUNSETOFFLOAD: %m", tap->net.name);
}

/* What each queue needs besides its descriptor; queues beyond the first wait to be asked for. */
static int prepare_ports(struct tap *tap, struct error *err)
{
	for (unsigned i = 0; i < tap->net.pairs; i++) {
		struct tap_port *port = &tap->port[i];
		int r;

		port->spill = mmap(NULL, TAP_SPILL, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (port->spill == MAP_FAILED) {
			port->spill = NULL;
			return error_set(
				err, ERROR_HOST, ENOMEM, "%s: out of memory", tap->net.name);
		}
		r = i > 0 ? attach_queue(port, false) : 0;
		if (r < 0)
			return error_set(err, ERROR_HOST, -r,
				"cannot set queue %u of the tap \"%s\" aside: %m", i,
				tap->net.name);
	}
	tap->attached = 1;
	return 0;
}

static void tap_close(struct net *net)
{
	struct tap *tap = container_of(net, struct tap, net);

	for (unsigned i = 0; i < NET_PAIRS_MAX; i++) {
		struct tap_port *port = &tap->port[i];

		if (port->spill)
			munmap(port->spill, TAP_SPILL);
		if (port->fd >= 0)
			close(port->fd);
	}
	free(tap);
}

static int tap_attach(struct net *net, unsigned pair, struct worker *worker, struct net_port **out,
	struct error *err)
{
	struct tap *tap = container_of(net, struct tap, net);
	struct tap_port *port = &tap->port[pair];
	int r;

	port->port = (struct net_port){ .net = net, .worker = worker };
	tap_io_init(port);
	r = port->file = worker_add_file(worker, port->fd);
	if (r < 0)
		return error_set(
			err, ERROR_HOST, -r, "%s: cannot register queue %u: %m", net->name, pair);
	worker_allow(worker, IORING_OP_READV);
	worker_allow(worker, IORING_OP_WRITEV);
	*out = &port->port;
	return 0;
}

static int tap_set_offloads(struct net *net, unsigned offloads)
{
	struct tap *tap = container_of(net, struct tap, net);

	return ioctl(tap->port[0].fd, TUNSETOFFLOAD, tun_flags(offloads)) < 0 ? -errno : 0;
}

/*
 * The interface spreads packets over the queues that are attached to it, so those that the driver
 * does not use are detached. Their reads find nothing meanwhile, as on a quiet line.
 */
static int tap_set_pairs(struct net *net, unsigned pairs)
{
	struct tap *tap = container_of(net, struct tap, net);
	int r;

	if (!pairs || pairs > net->pairs)
		return -EINVAL;
	for (; tap->attached < pairs; tap->attached++) {
		r = attach_queue(&tap->port[tap->attached], true);
		if (r < 0)
			return r;
	}
	for (; tap->attached > pairs; tap->attached--) {
		r = attach_queue(&tap->port[tap->attached - 1], false);
		if (r < 0)
			return r;
	}
	return 0;
}

static const struct net_ops tap_ops = {
	.close = tap_close,
	.attach = tap_attach,
	.set_offloads = tap_set_offloads,
	.set_pairs = tap_set_pairs,
	.rx_start = tap_rx_start,
	.rx_ready = tap_rx_ready,
	.rx_stop = tap_rx_stop,
	.send = tap_send,
	.tx_stop = tap_tx_stop,
};

int net_open_tap(struct net **out, const char *name, unsigned pairs, struct error *err)
{
	struct error scratch;
	struct tap *tap;
	unsigned mtu = 0;
	int r;

	if (!err)
		err = &scratch;
	if (!*name || strlen(name) >= IFNAMSIZ)
		return error_set(err, ERROR_USAGE, EINVAL,
			"\"%s\" cannot be the name of a tap: 1 to %d bytes", name, IFNAMSIZ - 1);
	if (!pairs || pairs > NET_PAIRS_MAX)
		return error_set(err, ERROR_USAGE, EINVAL,
			"the tap \"%s\" cannot have %u queue pairs: 1 to %d", name, pairs,
			NET_PAIRS_MAX);
	r = check_interface(name, &mtu, err);
	if (r < 0)
		return r;
	tap = calloc(1, sizeof(*tap));
	if (!tap)
		return error_set(err, ERROR_HOST, ENOMEM, "%s: out of memory", name);
	tap->net.ops = &tap_ops;
	tap->net.pairs = pairs;
	tap->net.mtu = mtu;
	tap->net.kind = WORKER_IO;
	snprintf(tap->net.name, sizeof(tap->net.name), "%s", name);
	for (unsigned i = 0; i < NET_PAIRS_MAX; i++) {
		tap->port[i].tap = tap;
		tap->port[i].fd = -1;
	}
	r = open_queues(tap, err);
	if (r >= 0)
		r = prepare_ports(tap, err);
	if (r < 0) {
		tap_close(&tap->net);
		return r;
	}
	probe_offloads(tap);
	*out = &tap->net;
	return 0;
}
