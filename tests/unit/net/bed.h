/*
 * What tests of a backend stand on: taps in the namespace of the test, the other end of one (a
 * packet socket), frames that can be told apart, and a frontend that checks what it is given.
 */
#pragma once

#include "net/net.h"

#include <stdatomic.h>

enum { ROOM = 70000, SLOTS = 40 };

/* The thread sanitizer makes calls of its own, which no filter lets through. */
#if defined(__SANITIZE_THREAD__)
#define BED_SANDBOX false
#else
#define BED_SANDBOX true
#endif

/* A namespace of our own, without the kernel's own packets. Returns false where that is forbidden. */
bool bed_namespace(void);

/* A tap that stays when its descriptors are closed; @flags: IFF_TAP or IFF_TUN, IFF_MULTI_QUEUE. */
void make_tap(const char *name, int flags);
void delete_tap(const char *name, int flags);
void set_up(const char *name, bool up, int mtu);

/* Frame @seq of @len bytes: addresses, type, number, and a pattern that depends on all of it. */
void make_frame(uint8_t *p, uint32_t seq, size_t len);
bool frame_is(const uint8_t *p, uint32_t seq, size_t len);

struct slot {
	struct net_rx rx;
	bool out;
	struct iovec iov[3];
	uint8_t data[ROOM];
};

/* A frontend that keeps what it gets. */
struct front {
	struct net_sink sink;
	struct net_port *port;
	struct worker *worker;
	size_t room;	 /* bytes lent for each packet */
	unsigned budget; /* how many packets the driver has offered buffers for */
	struct slot slot[SLOTS];
	atomic_uint out;
	/* Written by the worker, read by the test when it has stopped or by polling `received`. */
	atomic_uint received;
	atomic_uint back;
	atomic_uint sent;
	uint32_t expect; /* the number of the next frame */
	bool any_order;
	size_t len; /* of every frame */
	bool wrong;
	unsigned spilled;
};

/* Offers buffers of @room bytes without end; expects frames of @len bytes, from 0 on. */
void front_init(struct front *f, size_t room, size_t len);
void do_start(void *front); /* for on_worker() */
/* Stop, and wait until all that was lent has come back. */
void stop_front(struct front *f);

void on_worker(struct worker *w, void (*fn)(void *arg), void *arg);
bool wait_for(atomic_uint *count, unsigned want);

/* A tap @name, opened, with a worker and a front for each pair. */
struct bed {
	struct net *net;
	struct worker *worker[2];
	struct front *front[2];
	int packets;
};

void bed_up(struct bed *b, const char *name, int flags, unsigned pairs, int mtu);
void bed_down(struct bed *b, const char *name, int flags);
