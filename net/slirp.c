/*
 * User-mode networking: a network of the guest's own, whose router is libslirp in this process.
 * Packets are taken apart here and leave as data on ordinary sockets, so the host needs no set-up
 * and no privilege; the price is copies, and that only what sockets can say gets through.
 *
 *	10.0.2.2   the router; TCP and UDP to it reach the host's own 127.0.0.1
 *	10.0.2.3   the name server: what the host's /etc/resolv.conf says
 *	10.0.2.15  the guest, by DHCP; forwarded ports lead here
 *
 * libslirp is loaded when it is used, so that whoever uses none pays nothing. All of it runs on one
 * worker of kind WORKER_USER_NET, whose filter allows what libslirp calls while the guest runs:
 *
 *	sockets		socket bind listen accept connect shutdown close; getsockname getpeername
 *			getsockopt setsockopt fcntl ioctl(FIONREAD); send and recv in all forms
 *	our epoll	epoll_ctl epoll_wait
 *	name server	newfstatat openat fstat read close of /etc/resolv.conf, each time it changed
 *	memory, clock	brk mmap munmap mremap madvise clock_gettime, futex
 */
#include "net/slirp.h"

#include "util/macros.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	/* Packets kept for a driver without buffers; more than TCP windows let come. */
	BACKLOG_MAX = 4 << 20,
	/* As large as libslirp allows and a guest's interface understands. */
	USER_MTU = 65520
};

/* ---- packets to the guest ---- */

/* The front of what a packet is made of: no checksum is left open, nothing to be segmented. */
static const struct virtio_net_hdr_v1 plain_header;

/* Copy to byte @offset of @rx as far as it reaches. Returns how much was copied. */
static size_t put_bytes(struct net_rx *rx, size_t offset, const void *data, size_t len)
{
	size_t done = 0;

	for (unsigned i = 0; i < rx->iov_count && done < len; i++) {
		const struct iovec *v = &rx->iov[i];
		size_t n;

		if (offset >= v->iov_len) {
			offset -= v->iov_len;
			continue;
		}
		n = MIN(v->iov_len - offset, len - done);
		memcpy((uint8_t *)v->iov_base + offset, (const uint8_t *)data + done, n);
		done += n;
		offset = 0;
	}
	return done;
}

/* False if the driver has offered no buffer. */
static bool give(struct user_net *user, const uint8_t *frame, size_t len)
{
	struct net_sink *sink = user->port.sink;
	struct net_rx *rx = sink->take(sink, NET_HEADER + len);
	size_t done;

	if (!rx)
		return false;
	put_bytes(rx, 0, &plain_header, NET_HEADER);
	done = put_bytes(rx, NET_HEADER, frame, len);
	sink->deliver(sink, rx, NET_HEADER + len, frame + done);
	return true;
}

static void keep(struct user_net *user, const uint8_t *frame, size_t len)
{
	struct slirp_packet *packet;

	if (user->backlog_bytes + len > BACKLOG_MAX)
		return;
	packet = malloc(sizeof(*packet) + len);
	if (!packet)
		return;
	packet->next = NULL;
	packet->len = len;
	memcpy(packet->data, frame, len);
	*user->backlog_end = packet;
	user->backlog_end = &packet->next;
	user->backlog_bytes += len;
}

static void backlog_init(struct user_net *user)
{
	user->backlog = NULL;
	user->backlog_end = &user->backlog;
	user->backlog_bytes = 0;
}

static void backlog_drop(struct user_net *user)
{
	while (user->backlog) {
		struct slirp_packet *packet = user->backlog;

		user->backlog = packet->next;
		free(packet);
	}
	backlog_init(user);
}

/* From libslirp, inside any call of it. */
static ssize_t on_packet(const void *frame, size_t len, void *opaque)
{
	struct user_net *user = opaque;

	if (!user->port.receiving || len > NET_PACKET_MAX - NET_HEADER)
		return (ssize_t)len;
	if (user->backlog || !give(user, frame, len))
		keep(user, frame, len);
	return (ssize_t)len;
}

static void user_rx_ready(struct net_port *port)
{
	struct user_net *user = container_of(port, struct user_net, port);

	while (user->backlog) {
		struct slirp_packet *packet = user->backlog;

		if (!give(user, packet->data, packet->len))
			return;
		user->backlog = packet->next;
		user->backlog_bytes -= packet->len;
		if (!user->backlog)
			backlog_init(user);
		free(packet);
	}
	slirp_poll_soon(user);
}

static void user_rx_start(struct net_port *port)
{
	slirp_poll_soon(container_of(port, struct user_net, port));
}

static void user_rx_stop(struct net_port *port)
{
	backlog_drop(container_of(port, struct user_net, port));
}

/* ---- packets from the guest ---- */

static size_t gather(const struct net_tx *tx, size_t skip, uint8_t *to, size_t cap)
{
	size_t done = 0;

	for (unsigned i = 0; i < tx->iov_count && done < cap; i++) {
		const struct iovec *v = &tx->iov[i];
		size_t from = MIN(skip, v->iov_len), n = MIN(v->iov_len - from, cap - done);

		memcpy(to + done, (const uint8_t *)v->iov_base + from, n);
		skip -= from;
		done += n;
	}
	return done;
}

/* The header says nothing to us: no offload was offered that it could ask for. */
static void user_send(struct net_port *port, struct net_tx *tx)
{
	struct user_net *user = container_of(port, struct user_net, port);
	size_t len = gather(tx, NET_HEADER, user->frame, NET_PACKET_MAX - NET_HEADER);

	if (port->receiving) {
		slirp_poll_clock(user);
		user->api.input(user->slirp, user->frame, (int)len);
		slirp_poll_soon(user);
	}
	tx->done(tx, 0);
}

static void user_tx_stop(struct net_port *port)
{
	(void)port; /* every packet was done inside user_send() */
}

/* ---- libslirp ---- */

static void on_guest_error(const char *msg, void *opaque)
{
	struct user_net *user = opaque;

	log_limited(&user->complaints, LOG_LEVEL_DEBUG, "user-mode networking: %s", msg);
}

/* Timers are for IPv6 router advertisements alone. */
static void *on_timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
	return opaque;
}

static void on_timer_free(void *timer, void *opaque)
{
}

static void on_timer_mod(void *timer, int64_t expire_time, void *opaque)
{
}

static const SlirpCb slirp_callbacks = {
	.send_packet = on_packet,
	.guest_error = on_guest_error,
	.clock_get_ns = slirp_poll_now_ns,
	.timer_new = on_timer_new,
	.timer_free = on_timer_free,
	.timer_mod = on_timer_mod,
	.register_poll_fd = slirp_poll_register,
	.unregister_poll_fd = slirp_poll_unregister,
	.notify = slirp_poll_notify,
};

/*
 * The library stays loaded when the network is closed: GLib, which it needs, cannot be unloaded.
 */
static int load(struct slirp_api *api, struct error *err)
{
	void *lib = dlopen("libslirp.so.0", RTLD_NOW | RTLD_LOCAL);
	const struct {
		const char *name;
		void *at;
	} symbols[] = {
		{ "slirp_new", &api->new },
		{ "slirp_cleanup", &api->cleanup },
		{ "slirp_input", &api->input },
		{ "slirp_pollfds_fill", &api->fill },
		{ "slirp_pollfds_poll", &api->poll },
		{ "slirp_add_hostfwd", &api->add_hostfwd },
	};

	if (!lib)
		return error_set(err, ERROR_HOST, ENOENT,
			"user-mode networking needs libslirp (%s): try `apt install libslirp0`",
			dlerror());
	for (unsigned i = 0; i < ARRAY_SIZE(symbols); i++) {
		void *symbol = dlsym(lib, symbols[i].name);

		if (!symbol)
			return error_set(err, ERROR_HOST, ENOSYS,
				"this libslirp has no %s(): version 4.0 or later is needed",
				symbols[i].name);
		memcpy(symbols[i].at, &symbol, sizeof(symbol));
	}
	return 0;
}

static struct in_addr address(const char *dotted)
{
	struct in_addr in = { 0 };

	inet_pton(AF_INET, dotted, &in);
	return in;
}

static int start_slirp(struct user_net *user, struct error *err)
{
	SlirpConfig config = {
		.version = 1,
		.in_enabled = true,
		.vnetwork = address("10.0.2.0"),
		.vnetmask = address("255.255.255.0"),
		.vhost = address("10.0.2.2"),
		.vnameserver = address("10.0.2.3"),
		.vdhcp_start = address("10.0.2.15"),
		.if_mtu = USER_MTU,
		.if_mru = USER_MTU,
	};

	user->slirp = user->api.new(&config, &slirp_callbacks, user);
	if (!user->slirp)
		return error_set(err, ERROR_HOST, EINVAL, "libslirp cannot be started");
	return 0;
}

static int forward_error(const struct net_forward *f, int errnum, struct error *err)
{
	const char *proto = f->udp ? "udp" : "tcp";

	if (errnum == EADDRINUSE)
		return error_set(err, ERROR_BUSY, errnum,
			"hostfwd: %s port %u of %s is in use by another program: choose another "
			"(`ss -lntup` lists them)",
			proto, f->host_port, f->host_addr);
	if (errnum == EACCES)
		return error_set(err, ERROR_HOST, errnum,
			"hostfwd: no permission for %s port %u of %s: try one of 1024 and above",
			proto, f->host_port, f->host_addr);
	if (errnum == EADDRNOTAVAIL)
		return error_set(err, ERROR_USAGE, errnum,
			"hostfwd: %s is no address of this host: try 127.0.0.1 or 0.0.0.0",
			f->host_addr);
	return error_set(err, ERROR_HOST, errnum, "hostfwd: cannot listen on %s port %u of %s: %m",
		proto, f->host_port, f->host_addr);
}

static int add_forward(struct user_net *user, const struct net_forward *f, struct error *err)
{
	struct in_addr host, guest = { 0 }; /* whom DHCP gives the first address */

	if (inet_pton(AF_INET, f->host_addr, &host) != 1)
		return error_set(err, ERROR_USAGE, EINVAL,
			"hostfwd: \"%s\" is not an address: try 127.0.0.1 or 0.0.0.0",
			f->host_addr);
	errno = 0;
	if (user->api.add_hostfwd(user->slirp, f->udp, host, f->host_port, guest, f->guest_port) <
		0)
		return forward_error(f, errno, err);
	return 0;
}

/* ---- life ---- */

static void user_close(struct net *net)
{
	struct user_net *user = container_of(net, struct user_net, net);

	user->port.receiving = false;
	slirp_poll_close(user);
	if (user->slirp)
		user->api.cleanup(user->slirp);
	backlog_drop(user);
	free(user->watch);
	free(user->frame);
	free(user);
}

static int user_attach(struct net *net, unsigned pair, struct worker *worker, struct net_port **out,
	struct error *err)
{
	struct user_net *user = container_of(net, struct user_net, net);
	int r;

	user->port = (struct net_port){ .net = net, .worker = worker };
	r = slirp_poll_attach(user, worker);
	if (r < 0)
		return error_set(
			err, ERROR_HOST, -r, "%s: cannot register the sockets: %m", net->name);
	*out = &user->port;
	return 0;
}

static int user_set_offloads(struct net *net, unsigned offloads)
{
	return offloads ? -EINVAL : 0;
}

static int user_set_pairs(struct net *net, unsigned pairs)
{
	return pairs == 1 ? 0 : -EINVAL;
}

static const struct net_ops user_ops = {
	.close = user_close,
	.attach = user_attach,
	.set_offloads = user_set_offloads,
	.set_pairs = user_set_pairs,
	.rx_start = user_rx_start,
	.rx_ready = user_rx_ready,
	.rx_stop = user_rx_stop,
	.send = user_send,
	.tx_stop = user_tx_stop,
};

int net_open_user(
	struct net **out, const struct net_forward *forward, unsigned forwards, struct error *err)
{
	struct user_net *user = calloc(1, sizeof(*user));
	int r;

	if (!user)
		return error_set(err, ERROR_HOST, ENOMEM, "user-mode networking: out of memory");
	user->net = (struct net){
		.ops = &user_ops,
		.name = "user",
		.pairs = 1,
		.mtu = USER_MTU,
		.kind = WORKER_USER_NET,
	};
	user->epoll_fd = -1;
	backlog_init(user);
	user->frame = malloc(NET_PACKET_MAX);
	r = user->frame ? load(&user->api, err)
			: error_set(err, ERROR_HOST, ENOMEM, "user-mode networking: out of memory");
	if (r >= 0)
		r = slirp_poll_open(user, err);
	if (r >= 0)
		r = start_slirp(user, err);
	for (unsigned i = 0; i < forwards && r >= 0; i++)
		r = add_forward(user, &forward[i], err);
	if (r < 0) {
		user_close(&user->net);
		return r;
	}
	*out = &user->net;
	return 0;
}
