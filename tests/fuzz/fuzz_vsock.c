/*
 * The socket device between a driver and programs of the host that all do whatever the input says:
 * chains of every shape, headers that make sense and others, calls, ends and half ends at any time,
 * resets of the device in between. Whatever happens, the books balance, and after a reset nothing
 * is left but last bytes for the host.
 */
#include "driver.h"
#include "fake_worker.h"
#include "guest.h"
#include "input.h"
#include "util/macros.h"
#include "virtio/vsock_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_vsock.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	SIZE = 16,
	STRIDE = 0x300,
	CHAIN_MAX = 6,
	STEPS = 400,
	CID = 3,
	ENDS = 16,
	SERVED = 1,
	GIVEN = 2,
	KEYED = 3, /* as SERVED, behind a key of zeroes */
	HEADER_AT = 0x80,
	BODY_AT = 0x1000
};

struct bed {
	struct guest_memory mem;
	struct worker *w;
	struct virtio_device *device;
	struct driver d[QUEUES];
	int end[ENDS]; /* of the host's programs; -1: free */
};

/* Listening sockets, made once. */
static struct sockaddr_un served_at, door_at;
static int served, door;

static void require(bool truth)
{
	if (!truth)
		abort();
}

/*
 * A name for the device to connect to, of a file that is removed at once: nothing is left behind,
 * however the fuzzer ends.
 */
static int listener(struct sockaddr_un *addr, const char *name)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), file;

	addr->sun_family = AF_UNIX;
	snprintf(addr->sun_path, sizeof(addr->sun_path), "/tmp/fuzz-vsock-%d-%s", getpid(), name);
	unlink(addr->sun_path);
	require(bind(fd, (struct sockaddr *)addr, sizeof(*addr)) == 0 && listen(fd, 8) == 0);
	file = open(addr->sun_path, O_PATH | O_CLOEXEC);
	require(file >= 0 && unlink(addr->sun_path) == 0);
	snprintf(addr->sun_path, sizeof(addr->sun_path), "/proc/self/fd/%d", file);
	return fd;
}

static void begin(void)
{
	if (served)
		return;
	served = listener(&served_at, "served");
	door = listener(&door_at, "door");
	log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	signal(SIGPIPE, SIG_IGN); /* as every process with a machine has it */
}

/* ---- the host's programs ---- */

static void add_end(struct bed *b, int fd)
{
	for (unsigned i = 0; i < ENDS && fd >= 0; i++) {
		if (b->end[i] < 0) {
			b->end[i] = fd;
			return;
		}
	}
	if (fd >= 0)
		close(fd);
}

static void call(struct bed *b, struct input *in)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	uint8_t v = take8(in);
	char line[40];

	snprintf(line, sizeof(line), v & 0x80 ? "CONNECT %u" : "CONNECT %u\nmore", v & 3);
	if (connect(fd, (struct sockaddr *)&door_at, sizeof(door_at)) == 0)
		require(send(fd, line, strlen(line), MSG_NOSIGNAL) >= 0);
	add_end(b, fd);
}

static void host_does(struct bed *b, struct input *in)
{
	static uint8_t data[65536];
	uint8_t v = take8(in);
	int *fd = &b->end[v % ENDS];

	switch (v >> 4) {
	case 0:
	case 1:
	case 2:
		add_end(b, accept4(served, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
		break;
	case 3:
	case 4:
		call(b, in);
		break;
	case 5:
	case 6:
	case 7:
	case 8:
		send(*fd, data, take16(in), MSG_NOSIGNAL | MSG_DONTWAIT);
		break;
	case 9:
	case 10:
	case 11:
		recv(*fd, data, take16(in), MSG_DONTWAIT);
		break;
	case 12:
		shutdown(*fd, take8(in) % 3);
		break;
	default:
		if (*fd >= 0)
			close(*fd);
		*fd = -1;
		break;
	}
}

static void hosts_go(struct bed *b)
{
	int fd;

	for (unsigned i = 0; i < ENDS; i++) {
		if (b->end[i] >= 0)
			close(b->end[i]);
	}
	while ((fd = accept(served, NULL, NULL)) >= 0 || (fd = accept(door, NULL, NULL)) >= 0)
		close(fd);
}

/* ---- the driver ---- */

static void start(struct bed *b)
{
	struct vsock *v = vsock_of(b->device);
	uint32_t status = mmio_negotiate(b->device, virtio_device_offers(b->device));

	for (unsigned i = 0; i < VSOCK_BUCKETS; i++)
		require(!v->bucket[i]);
	require(TAILQ_EMPTY(&v->run));
	for (unsigned i = 0; i < QUEUES; i++) {
		driver_init(&b->d[i], &b->mem, LAYOUT_HOLE_END + i * STRIDE, SIZE);
		mmio_set_queue(b->device, i, &b->d[i].config);
	}
	mmio_write32(b->device, VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* A packet that means something: by chance few would. */
static void packet(struct bed *b, struct input *in)
{
	uint8_t v = take8(in), ports = take8(in);
	struct virtio_vsock_hdr hdr = {
		.src_cid = v == 0xff ? take8(in) : CID,
		.dst_cid = v == 0xfe ? take8(in) : VSOCK_HOST_CID,
		.src_port = ports & 7,
		.dst_port = ports & 0x40 ? (1U << 30) + (ports >> 3 & 7) : ports >> 3 & 3,
		.type = v == 0xfd ? take8(in) : VIRTIO_VSOCK_TYPE_STREAM,
		.op = v % 9,
		.buf_alloc = v & 0x80 ? take32(in) : 65536,
	};
	struct driver_buf bufs[2] = { { HEADER_AT, sizeof(hdr), false }, { BODY_AT, 1, false } };
	struct stream *s = stream_find(vsock_of(b->device), hdr.dst_port, hdr.src_port);

	hdr.fwd_cnt = v & 0x40 ? take32(in) : s ? s->tx_cnt : 0;
	if (hdr.op == VIRTIO_VSOCK_OP_SHUTDOWN)
		hdr.flags = take8(in);
	if (hdr.op == VIRTIO_VSOCK_OP_RW) {
		bufs[1].len = hdr.dst_port == KEYED && s && s->key && v & 0x20
				      ? VSOCK_KEY_BYTES
				      : 1 + take16(in) % 0x6000;
		hdr.len = bufs[1].len + (v == 0xfc);
	}
	memcpy(memory_at(&b->mem, HEADER_AT, sizeof(hdr)), &hdr, sizeof(hdr));
	driver_add(&b->d[QUEUE_TX], bufs, hdr.len ? 2 : 1);
	mmio_write32(b->device, VIRTIO_MMIO_QUEUE_NOTIFY, QUEUE_TX);
	fake_worker_turn(b->w);
}

static void offer(struct bed *b, struct input *in, unsigned queue, bool write)
{
	struct driver_buf bufs[CHAIN_MAX];
	uint8_t shape = take8(in);
	unsigned count = shape % CHAIN_MAX + 1;

	for (unsigned i = 0; i < count; i++) {
		uint16_t len = take16(in);

		bufs[i] = (struct driver_buf){
			.addr = guest_address(take16(in)), .len = len % 3000, .write = write
		};
		if (shape == 0xff && i + 2 >= count)
			write = !write;
	}
	driver_add(&b->d[queue], bufs, count);
}

static void room(struct bed *b, struct input *in)
{
	struct driver_buf buf = { 0x4000, 45 + take8(in) * 16, true };

	driver_add(&b->d[QUEUE_RX], &buf, 1);
	mmio_write32(b->device, VIRTIO_MMIO_QUEUE_NOTIFY, QUEUE_RX);
}

static void step(struct bed *b, struct input *in)
{
	uint8_t v = take8(in);
	unsigned queue = (v >> 4) % QUEUES;

	switch (v & 15) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		packet(b, in);
		break;
	case 5:
	case 6:
	case 7:
		room(b, in);
		break;
	case 8:
	case 9:
	case 10:
		host_does(b, in);
		break;
	case 11:
		offer(b, in, queue, queue == QUEUE_RX);
		break;
	case 12:
		mmio_write32(b->device, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
		break;
	case 13:
		driver_desc(&b->d[queue], take8(in) % SIZE, guest_address(take16(in)), take16(in),
			take8(in) % 8, take8(in) % (SIZE + 2));
		if (v & 0x80)
			driver_offer(&b->d[queue], take8(in) % (SIZE + 1));
		break;
	case 14:
		if (v >= 0xe0)
			start(b);
		break;
	default:
		fake_worker_turn(b->w);
		break;
	}
}

/* ---- the books ---- */

static void audit_stream(const struct stream *s)
{
	require(s->buf_used <= s->buf_alloc && (s->buf || !s->buf_used));
	require(s->fwd_cnt - s->fwd_told <= s->buf_alloc);
	require(s->sock.fd >= 0 || (!s->buf && !s->readable));
}

static void audit(struct bed *b)
{
	struct vsock *v = vsock_of(b->device);
	unsigned streams = 0;
	struct stream *s;

	for (unsigned i = 0; i < VSOCK_BUCKETS; i++) {
		for (s = v->bucket[i]; s; s = s->chain) {
			audit_stream(s);
			streams++;
		}
	}
	TAILQ_FOREACH(s, &v->left, link)
	{
		audit_stream(s);
		require(s->state == STREAM_LEFT && s->buf_used);
		streams++;
	}
	require(streams == v->streams && v->resets <= VSOCK_RESETS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct bed b = { 0 };
	struct vsock_listen listen[3] = { { .port = SERVED }, { .port = GIVEN },
		{ .port = KEYED, .keyed = true } };
	struct vsock_params params = { .guest_cid = CID, .listens = 3, .listen = listen };
	struct error err;
	int pair[2];

	begin();
	guest_create(&b.mem);
	for (unsigned i = 0; i < ENDS; i++)
		b.end[i] = -1;
	require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	b.end[0] = pair[0];
	/* So little that it is soon full, and data has to wait in the stream's buffer. */
	require(setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &(int){ 1 }, sizeof(int)) == 0);
	listen[0].path = listen[2].path = served_at.sun_path;
	listen[1].fd = pair[1];
	params.listen_fd = fcntl(door, F_DUPFD_CLOEXEC, 3);
	b.w = fake_worker_new();
	require(virtio_vsock_create(&b.device, &b.mem, &params, &err) == 0);
	require(virtio_vsock_assign(b.device, b.w, &err) == 0);
	start(&b);
	for (unsigned i = 0; i < STEPS && in.left; i++) {
		step(&b, &in);
		audit(&b);
	}
	virtio_device_quiesce(b.device);
	audit(&b);
	virtio_vsock_drain(b.device, 0);
	virtio_vsock_destroy(b.device);
	hosts_go(&b);
	fake_worker_free(b.w);
	guest_destroy(&b.mem);
	return 0;
}
