#include "virtio/console.h"

#include "util/macros.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUEUE_RX, QUEUE_TX, QUEUES, QUEUE_SIZE = 64, CHAINS_A_TURN = 256 };

enum {
	PROBES_MAX = 16,
	PROBE_FIRST_MS = 10,
	PROBE_LAST_MS = 1000,
	PROBE_STEADY_MS = 160 /* a driver that has offered nothing new for so long has done so */
};

struct vconsole {
	struct virtio_device device;
	/* Constant after start. */
	struct console *console;
	/* Worker only. */
	struct worker_task more; /* output that waits for its next turn */
	bool announced;		 /* tx: the driver was told to look at the terminal's size */
	bool stuck;		 /* tx: the chain below waits for room in the console */
	struct ring_chain chain;
	size_t done; /* bytes of it that the console took */
	/* Worker only: is there anybody who reads the input? See below. */
	bool listening;
	bool probing; /* probe_op is in flight */
	struct worker_op probe_op;
	struct __kernel_timespec probe_wait;
	unsigned probe_ms, probes;
	uint16_t popped, offered, offered_before; /* buffers of rx, free-running */
	struct iovec tx_iov[RING_CHAIN_MAX];
	struct iovec rx_iov[RING_CHAIN_MAX];
};

static struct vconsole *vconsole_of(struct virtio_device *device)
{
	return container_of(device, struct vconsole, device);
}

/*
 * ---- is anybody listening? ----
 *
 * Linux offers its receive buffers before it knows where input should go, and throws away what comes
 * in between (in_intr() of drivers/char/virtio_console.c); a pipe's first lines would be lost. So the
 * first input waits until the driver has shown that it reads: it is given a buffer with nothing in
 * it, and once the terminal is open it offers that buffer again. A lost one is followed by another.
 */

static struct virtio_queue *rx_of(struct vconsole *v)
{
	return &v->device.queue[QUEUE_RX];
}

/* How many buffers the driver has offered since the queue was started. */
static uint16_t offered(struct vconsole *v)
{
	return (uint16_t)(v->popped + ring_pending(&rx_of(v)->ring));
}

/*
 * Linux looks at the size in configuration space only when it is told of a change, and only once
 * its console is there, which its first output shows.
 */
static void announce_size(struct vconsole *v)
{
	struct virtio_device *device = &v->device;
	struct virtio_console_config config;

	if (v->announced || !virtio_has(device, VIRTIO_CONSOLE_F_SIZE))
		return;
	v->announced = true;
	pthread_mutex_lock(&device->config_lock);
	memcpy(&config, device->config, sizeof(config));
	pthread_mutex_unlock(&device->config_lock);
	virtio_config_update(device, 0, &config.cols, sizeof(config.cols) + sizeof(config.rows));
}

static void check_listening(struct vconsole *v)
{
	if (v->listening || !v->probes || !virtio_queue_active(rx_of(v)))
		return;
	v->listening = offered(v) != v->offered;
	if (!v->listening)
		return;
	v->announced = false; /* the first time may have been too early */
	announce_size(v);
	console_input_wanted(v->console);
}

static void probe(struct vconsole *v)
{
	struct virtio_queue *queue = rx_of(v);
	struct ring_chain chain = { .iov = v->rx_iov, .iov_cap = ARRAY_SIZE(v->rx_iov) };
	uint16_t now = offered(v), waiting = (uint16_t)(now - v->popped);
	bool steady = now == v->offered_before && v->probe_ms >= PROBE_STEADY_MS;
	int r;

	v->offered_before = now;
	if (v->probes == PROBES_MAX || (waiting != queue->ring.size && !steady))
		return;
	r = ring_pop(&queue->ring, &chain);
	if (r < 0)
		virtio_queue_fail(queue, queue->ring.fault);
	if (r <= 0)
		return;
	v->popped++;
	v->probes++;
	v->offered = now;
	ring_push(&queue->ring, chain.head, 0);
	virtio_queue_done(queue);
}

static void probe_later(struct vconsole *v)
{
	if (v->probing)
		return;
	v->probing = true;
	v->probe_ms = v->probe_ms ? MIN(2 * v->probe_ms, (unsigned)PROBE_LAST_MS) : PROBE_FIRST_MS;
	v->probe_wait.tv_sec = v->probe_ms / 1000;
	v->probe_wait.tv_nsec = v->probe_ms % 1000 * 1000000L;
	worker_timeout(rx_of(v)->worker, &v->probe_op, &v->probe_wait);
}

static void on_probe_time(struct worker_op *op, int res, uint32_t cqe_flags)
{
	struct vconsole *v = container_of(op, struct vconsole, probe_op);
	struct virtio_queue *queue = rx_of(v);

	v->probing = false;
	if (!virtio_queue_active(queue)) {
		virtio_queue_idle(queue); /* if that is what somebody waits for */
		return;
	}
	check_listening(v);
	if (v->listening)
		return;
	probe(v);
	probe_later(v);
}

static int start(struct virtio_queue *queue)
{
	struct vconsole *v = vconsole_of(queue->device);

	if (queue->index == QUEUE_RX) {
		v->listening = false;
		v->probes = v->probe_ms = 0;
		v->popped = v->offered = v->offered_before = 0;
	} else {
		v->announced = false;
	}
	return 0;
}

/* ---- output ---- */

/* Put the chain in hand into the console. False if it has to wait. */
static bool send_chain(struct virtio_queue *queue, struct vconsole *v)
{
	v->done += console_put(v->console, v->chain.iov, v->chain.out_count, v->done);
	v->stuck = v->done < v->chain.out_bytes;
	if (v->stuck)
		return false;
	ring_push(&queue->ring, v->chain.head, 0);
	virtio_queue_done(queue);
	return true;
}

static void work_tx(struct virtio_queue *queue)
{
	struct vconsole *v = vconsole_of(queue->device);

	if (v->stuck && !send_chain(queue, v))
		return;
	ring_kicks_off(&queue->ring);
	for (unsigned n = 0; n < CHAINS_A_TURN; n++) {
		int r;

		v->chain.iov = v->tx_iov;
		v->chain.iov_cap = ARRAY_SIZE(v->tx_iov);
		r = ring_pop(&queue->ring, &v->chain);
		if (r < 0) {
			virtio_queue_fail(queue, queue->ring.fault);
			return;
		}
		if (r == 0) {
			if (!ring_kicks_on(&queue->ring))
				return;
			continue;
		}
		v->done = 0;
		announce_size(v);
		if (!send_chain(queue, v))
			return; /* on_room() goes on */
	}
	/* No end of it: the others have their turn first. */
	worker_yield(queue->worker, &v->more);
}

static void resume_tx(struct vconsole *v)
{
	struct virtio_queue *queue = &v->device.queue[QUEUE_TX];

	if (virtio_queue_active(queue))
		work_tx(queue);
}

static void on_more(struct worker_task *task)
{
	resume_tx(container_of(task, struct vconsole, more));
}

static void on_room(void *ctx)
{
	resume_tx(ctx);
}

/* ---- input ---- */

/* The console's sink: fill the driver's buffers with as much as there is room for. */
static size_t input(void *ctx, const uint8_t *data, size_t len)
{
	struct vconsole *v = ctx;
	struct virtio_queue *queue = rx_of(v);
	size_t taken = 0;

	if (!v->listening) {
		if (virtio_queue_active(queue))
			probe_later(v);
		return 0;
	}
	/* A driver could offer empty buffers for ever. */
	for (unsigned i = 0; i < CHAINS_A_TURN && taken < len && virtio_queue_active(queue); i++) {
		struct ring_chain chain = { .iov = v->rx_iov, .iov_cap = ARRAY_SIZE(v->rx_iov) };
		size_t n;
		int r = ring_pop(&queue->ring, &chain);

		if (r < 0) {
			virtio_queue_fail(queue, queue->ring.fault);
			break;
		}
		if (r == 0) {
			/* Asks to be kicked when the driver adds a buffer: that is what we wait for. */
			if (!ring_kicks_on(&queue->ring))
				break;
			continue;
		}
		v->popped++;
		n = iov_from_buf(
			chain.iov + chain.out_count, chain.in_count, 0, data + taken, len - taken);
		taken += n;
		ring_push(&queue->ring, chain.head, (uint32_t)n);
		virtio_queue_done(queue);
	}
	return taken;
}

/* ---- the device ---- */

static void kick(struct virtio_queue *queue)
{
	struct vconsole *v = vconsole_of(queue->device);

	if (queue->index == QUEUE_TX) {
		work_tx(queue);
		check_listening(v); /* whoever writes may well read */
	} else {
		console_input_wanted(v->console);
	}
}

static void quiesce(struct virtio_queue *queue)
{
	struct vconsole *v = vconsole_of(queue->device);

	if (queue->index == QUEUE_TX && v->stuck) {
		ring_unpop(&queue->ring, 1);
		v->stuck = false;
	}
	if (queue->index == QUEUE_RX && v->probing)
		worker_cancel(queue->worker, &v->probe_op);
	else
		virtio_queue_idle(queue);
}

static void put_size(struct vconsole *v, struct virtio_console_config *config)
{
	uint16_t columns, rows;

	console_size(v->console, &columns, &rows);
	config->cols = htole16(columns);
	config->rows = htole16(rows);
}

void virtio_console_resized(struct virtio_device *device)
{
	struct virtio_console_config config = { 0 };

	put_size(vconsole_of(device), &config);
	virtio_config_update(device, 0, &config, sizeof(config));
}

int virtio_console_create(struct virtio_device **out, const struct guest_memory *mem,
	struct console *console, struct error *err)
{
	static const struct virtio_ops ops = { .name = "console",
		.id = VIRTIO_ID_CONSOLE,
		.start = start,
		.kick = kick,
		.quiesce = quiesce };
	struct virtio_console_config config = { 0 };
	struct vconsole *v = calloc(1, sizeof(*v));
	int r;

	*out = NULL;
	if (!v)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory for the console");
	v->console = console;
	v->more.run = on_more;
	v->probe_op.complete = on_probe_time;
	put_size(v, &config);
	v->device.ops = &ops;
	v->device.queues = QUEUES;
	v->device.queue_max = QUEUE_SIZE;
	/* Without a terminal there is no size, and a driver that is told none keeps its own idea. */
	if (config.cols && config.rows)
		v->device.offered = 1ULL << VIRTIO_CONSOLE_F_SIZE;
	v->device.config_size = sizeof(config);
	memcpy(v->device.config, &config, sizeof(config));
	snprintf(v->device.label, sizeof(v->device.label), "console0");
	r = virtio_device_init(&v->device, mem, err);
	if (r < 0) {
		free(v);
		return r;
	}
	console_set_sink(console, &(struct console_sink){ .input = input, .ctx = v });
	console_set_room(console, on_room, v);
	*out = &v->device;
	return 0;
}

int virtio_console_attach(struct virtio_device *device, struct worker *worker, struct error *err)
{
	int r = 0;

	for (unsigned q = 0; q < QUEUES && r == 0; q++)
		r = virtio_queue_assign(device, q, worker, err);
	return r;
}

void virtio_console_destroy(struct virtio_device *device)
{
	if (!device)
		return;
	virtio_device_destroy(device);
	free(vconsole_of(device));
}
