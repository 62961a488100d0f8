#include "bed.h"

#include "util/macros.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { ETH_TEST = 0x88b5, HEADER = 14 + 4 };

/* The kernel's own packets on a new interface would be in our way. */
static void silence_ipv6(void)
{
	int fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "1", 1) < 0)
		perror("disable_ipv6");
	close(fd);
}

bool bed_namespace(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		return false;
	silence_ipv6();
	return true;
}

/* ---- interfaces ---- */

void make_tap(const char *name, int flags)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	struct ifreq ifr = { .ifr_flags = (short)(flags | IFF_NO_PI) };

	assert_true(fd >= 0);
	strcpy(ifr.ifr_name, name);
	/* The kernel lets go of a finished ring's files a moment after the ring's end. */
	for (int ms = 0; ioctl(fd, TUNSETIFF, &ifr) < 0; ms++) {
		if (errno != EBUSY || ms == 2000)
			fail_msg("TUNSETIFF %s: %s", name, strerror(errno));
		usleep(1000);
	}
	assert_int_equal(ioctl(fd, TUNSETPERSIST, 1), 0);
	close(fd);
}

void delete_tap(const char *name, int flags)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	struct ifreq ifr = { .ifr_flags = (short)(flags | IFF_NO_PI) };

	strcpy(ifr.ifr_name, name);
	for (int ms = 0; ioctl(fd, TUNSETIFF, &ifr) < 0 && errno == EBUSY && ms < 2000; ms++)
		usleep(1000);
	ioctl(fd, TUNSETPERSIST, 0);
	close(fd);
}

void set_up(const char *name, bool up, int mtu)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct ifreq ifr = { 0 };

	strcpy(ifr.ifr_name, name);
	ifr.ifr_mtu = mtu;
	if (mtu)
		assert_int_equal(ioctl(fd, SIOCSIFMTU, &ifr), 0);
	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &ifr), 0);
	ifr.ifr_flags = (short)(up ? ifr.ifr_flags | IFF_UP : ifr.ifr_flags & ~IFF_UP);
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
	close(fd);
}

/* The far end: sees and sends frames of our own type only. */
static int packet_socket(const char *name)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_TEST));
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_TEST),
		.sll_ifindex = (int)if_nametoindex(name),
	};
	int big = 8 << 20, on = 1;

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof(big));
	/* The interface's queue is only set up some time after the tap was opened. */
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

void make_frame(uint8_t *p, uint32_t seq, size_t len)
{
	struct ethhdr eth = { .h_dest = { 2, 0, 0, 0, 0, 1 },
		.h_source = { 2, 0, 0, 0, 0, 2 },
		.h_proto = htons(ETH_TEST) };

	memcpy(p, &eth, sizeof(eth));
	memcpy(p + 14, &seq, sizeof(seq));
	for (size_t i = HEADER; i < len; i++)
		p[i] = (uint8_t)(seq * 7 + i * 13 + (i >> 8));
}

bool frame_is(const uint8_t *p, uint32_t seq, size_t len)
{
	static __thread uint8_t want[ROOM]; /* workers run side by side */

	make_frame(want, seq, len);
	return !memcmp(p, want, len);
}

/* ---- a frontend that keeps what it gets ---- */

static struct net_rx *take(struct net_sink *sink, size_t want)
{
	struct front *f = container_of(sink, struct front, sink);

	if (!f->budget)
		return NULL;
	for (unsigned i = 0; i < SLOTS; i++) {
		struct slot *s = &f->slot[i];

		if (s->out)
			continue;
		s->out = true;
		atomic_fetch_add(&f->out, 1);
		f->budget--;
		/* Two pieces, so that packets cross from one to the other. */
		s->iov[0] = (struct iovec){ s->data, 20 };
		s->iov[1] = (struct iovec){ s->data + 20, f->room - 20 };
		s->rx.iov = s->iov;
		s->rx.iov_count = 2;
		s->rx.bytes = f->room;
		return &s->rx;
	}
	return NULL;
}

static void put(struct front *f, struct net_rx *rx)
{
	container_of(rx, struct slot, rx)->out = false;
	atomic_fetch_sub(&f->out, 1);
}

static void deliver(struct net_sink *sink, struct net_rx *rx, size_t len, const uint8_t *spill)
{
	struct front *f = container_of(sink, struct front, sink);
	struct slot *s = container_of(rx, struct slot, rx);
	uint32_t seq;

	if (len > f->room) {
		memcpy(s->data + f->room, spill, len - f->room);
		f->spilled++;
	}
	memcpy(&seq, s->data + NET_HEADER + 14, sizeof(seq));
	if (!f->any_order && seq != f->expect)
		f->wrong = true;
	f->expect++;
	if (len != NET_HEADER + f->len || !frame_is(s->data + NET_HEADER, seq, f->len))
		f->wrong = true;
	put(f, rx);
	atomic_fetch_add(&f->received, 1);
}

static void give_back(struct net_sink *sink, struct net_rx *rx)
{
	struct front *f = container_of(sink, struct front, sink);

	put(f, rx);
	f->budget++;
	atomic_fetch_add(&f->back, 1);
}

void front_init(struct front *f, size_t room, size_t len)
{
	f->sink = (struct net_sink){ take, deliver, give_back };
	f->room = room;
	f->len = len;
	f->budget = 1000000;
}

/* ---- on the worker ---- */

struct job {
	struct worker_call call;
	void (*fn)(void *arg);
	void *arg;
};

static void job_run(struct worker_call *call)
{
	struct job *job = container_of(call, struct job, call);

	job->fn(job->arg);
	worker_call_done(call);
}

void on_worker(struct worker *w, void (*fn)(void *arg), void *arg)
{
	struct job job = { .call.run = job_run, .fn = fn, .arg = arg };

	worker_call(w, &job.call);
}

void do_start(void *arg)
{
	struct front *f = arg;

	net_rx_start(f->port, &f->sink);
}

static void do_stop(void *arg)
{
	struct front *f = arg;

	net_rx_stop(f->port);
	net_tx_stop(f->port);
}

bool wait_for(atomic_uint *count, unsigned want)
{
	for (int ms = 0; ms < 5000; ms++) {
		if (atomic_load(count) >= want)
			return true;
		usleep(1000);
	}
	return false;
}

void stop_front(struct front *f)
{
	on_worker(f->worker, do_stop, f);
	for (int ms = 0; ms < 5000 && atomic_load(&f->out); ms++)
		usleep(1000);
	assert_int_equal(atomic_load(&f->out), 0);
}

/* ---- set-up ---- */

void bed_up(struct bed *b, const char *name, int flags, unsigned pairs, int mtu)
{
	struct error err = { 0 };

	make_tap(name, IFF_TAP | flags);
	set_up(name, true, mtu);
	b->packets = packet_socket(name);
	if (net_open_tap(&b->net, name, pairs, &err) < 0)
		fail_msg("%s", err.msg);
	for (unsigned i = 0; i < pairs; i++) {
		struct worker_params params = { .name = "worker", .sandbox = BED_SANDBOX };

		b->front[i] = calloc(1, sizeof(*b->front[i]));
		assert_int_equal(worker_create(&b->worker[i], &params, &err), 0);
		assert_int_equal(net_attach(b->net, i, b->worker[i], &b->front[i]->port, &err), 0);
		b->front[i]->worker = b->worker[i];
	}
	for (unsigned i = 0; i < pairs; i++) {
		if (worker_start(b->worker[i], &err) < 0)
			fail_msg("%s", err.msg);
	}
}

void bed_down(struct bed *b, const char *name, int flags)
{
	for (unsigned i = 0; i < 2; i++) {
		worker_destroy(b->worker[i]);
		free(b->front[i]);
	}
	net_close(b->net);
	close(b->packets);
	delete_tap(name, IFF_TAP | flags);
}
