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

struct vconsole {
	struct virtio_device device;
	/* Constant after start. */
	struct console *console;
	/* Worker only. */
	struct worker_task more; /* output that waits for its next turn */
	bool stuck;		 /* tx: the chain below waits for room in the console */
	struct ring_chain chain;
	size_t done; /* bytes of it that the console took */
	struct iovec tx_iov[RING_CHAIN_MAX];
	struct iovec rx_iov[RING_CHAIN_MAX];
};

static struct vconsole *vconsole_of(struct virtio_device *device)
{
	return container_of(device, struct vconsole, device);
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
	struct virtio_queue *queue = &v->device.queue[QUEUE_RX];
	size_t taken = 0;

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

	if (queue->index == QUEUE_TX)
		work_tx(queue);
	else
		console_input_wanted(v->console);
}

static void quiesce(struct virtio_queue *queue)
{
	struct vconsole *v = vconsole_of(queue->device);

	if (queue->index == QUEUE_TX && v->stuck) {
		ring_unpop(&queue->ring, 1);
		v->stuck = false;
	}
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
	static const struct virtio_ops ops = {
		.name = "console", .id = VIRTIO_ID_CONSOLE, .kick = kick, .quiesce = quiesce
	};
	struct virtio_console_config config = { 0 };
	struct vconsole *v = calloc(1, sizeof(*v));
	int r;

	*out = NULL;
	if (!v)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory for the console");
	v->console = console;
	v->more.run = on_more;
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
