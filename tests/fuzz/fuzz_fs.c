/*
 * A guest that sends the shared directory's server whatever the input says: known operations with
 * plausible numbers and names among random bytes, in chains of every shape. Whatever it does, each
 * chain comes back once, and what lies beside the directory stays as it was.
 *
 * The server works in /proc/self/fd, so what the fuzzer finds is written there, that is, nowhere:
 * it prints short inputs as well.
 */
#include "driver.h"
#include "fake_worker.h"
#include "guest.h"
#include "input.h"
#include "virtio/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/fuse.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIZE = 64, REQUESTS = 200, REQUEST_AT = 0x1000, BYTES = 0x400, TURNS = 3 };

/* The ring has the high memory for itself: a guest that reads over its own ring proves nothing. */
#define RING LAYOUT_HOLE_END

static char top[64];
static int home = -1;

static void require(bool truth)
{
	if (!truth)
		abort();
}

static void put_file(const char *name, const char *text)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", top, name);
	fd = open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0644);
	require(fd >= 0 && write(fd, text, strlen(text)) >= 0);
	close(fd);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	remove(path);
	return 0;
}

static void remove_top(void)
{
	nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void begin(void)
{
	/* fallocate() and the like shall not fill the machine's memory. */
	struct rlimit limit = { 1 << 20, 1 << 20 };

	if (home >= 0)
		return;
	home = open(".", O_PATH | O_CLOEXEC);
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	strcpy(top, "/dev/shm/fuzz-fs-XXXXXX");
	require(mkdtemp(top) != NULL);
	atexit(remove_top);
	log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
}

static void make_share(char *dir, size_t size)
{
	char path[128];

	snprintf(dir, size, "%s/share", top);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	require(mkdir(dir, 0755) == 0);
	put_file("secret", "outside");
	put_file("share/a", "inside");
	snprintf(path, sizeof(path), "%s/b", dir);
	require(mkdir(path, 0755) == 0);
	put_file("share/b/c", "below");
	snprintf(path, sizeof(path), "%s/d", dir);
	require(symlink("../secret", path) == 0);
}

/* Beside the directory there is one file, and it says what it said. */
static void check_outside(void)
{
	char path[128], text[16] = "";
	struct stat st;
	int fd;

	require(stat(top, &st) == 0 && st.st_nlink == 3);
	snprintf(path, sizeof(path), "%s/secret", top);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	require(fd >= 0 && fstat(fd, &st) == 0 && st.st_nlink == 1);
	require((st.st_mode & 07777) == 0644 && read(fd, text, sizeof(text)) == 7);
	require(strcmp(text, "outside") == 0);
	close(fd);
}

/* A number as the server gives them: small, of an early generation; sometimes any. */
static uint64_t number(struct input *in)
{
	uint8_t v = take8(in);

	return v < 0xf0 ? (uint64_t)(v >> 5) << 32 | (v & 7) : take64(in);
}

static size_t put_name(struct input *in, uint8_t *to)
{
	static const char *const names[] = { "a", "b", "c", "d", "e", "..", ".", "b/c", "user.x",
		"security.capability", "/", "", "file" };
	uint8_t v = take8(in);
	size_t n;

	if (v < 0xe0) {
		n = strlen(names[v % (sizeof(names) / sizeof(names[0]))]) + 1;
		memcpy(to, names[v % (sizeof(names) / sizeof(names[0]))], n);
		return n;
	}
	n = v & 31;
	take_bytes(in, to, n);
	return n;
}

/* The arguments: fields of 64 bits, mostly small; then names. */
static size_t put_args(struct input *in, uint8_t *to)
{
	uint8_t shape = take8(in);
	size_t n = 0;

	for (unsigned i = shape & 15; i--; n += 8) {
		uint8_t kind = take8(in);
		uint64_t v = kind < 0x60   ? kind % 12
			     : kind < 0xa0 ? number(in)
			     : kind < 0xe0 ? take16(in)
					   : take64(in);

		if (kind & 16)
			v |= (uint64_t)take8(in) << 32;
		memcpy(to + n, &v, sizeof(v));
	}
	if (shape & 16)
		n += 4;
	for (unsigned i = shape >> 5 & 3; i--;)
		n += put_name(in, to + n);
	return n;
}

static unsigned cut(struct input *in, struct driver_buf *bufs, gpa_t at, uint32_t len, bool write)
{
	unsigned n = 0;

	for (; len && n < 3; n++) {
		uint32_t piece = n == 2 ? len : MIN(len, (uint32_t)take8(in) * 4 + 1);

		bufs[n] = (struct driver_buf){ at, piece, write };
		at += piece;
		len -= piece;
	}
	return n;
}

static void offer(struct driver *d, struct input *in, unsigned request)
{
	gpa_t at = REQUEST_AT + (request % 8) * 2 * BYTES;
	uint8_t *to = memory_at(d->mem, at, BYTES);
	struct fuse_in_header head = { .opcode = take8(in) % 56, .unique = request };
	struct driver_buf bufs[6];
	unsigned n;

	memset(to, 0, BYTES);
	head.nodeid = number(in);
	head.uid = take8(in) & 3;
	head.len = (uint32_t)(sizeof(head) + put_args(in, to + sizeof(head)));
	memcpy(to, &head, sizeof(head));
	n = cut(in, bufs, at, take8(in) < 0xf0 ? head.len : take8(in), false);
	n += cut(in, bufs + n, at + BYTES, take8(in) < 0xf0 ? BYTES : take8(in), true);
	if (n)
		driver_add(d, bufs, n);
}

static void send_init(struct driver *d)
{
	uint8_t *to = memory_at(d->mem, REQUEST_AT, BYTES);
	struct fuse_in_header head = { .len = sizeof(head) + sizeof(struct fuse_init_in),
		.opcode = FUSE_INIT };
	struct fuse_init_in init = { .major = 7, .minor = 38, .flags = UINT32_MAX };
	struct driver_buf bufs[] = { { REQUEST_AT, head.len, false },
		{ REQUEST_AT + BYTES, BYTES, true } };

	memcpy(to, &head, sizeof(head));
	memcpy(to + sizeof(head), &init, sizeof(init));
	driver_add(d, bufs, 2);
}

static void drive(
	struct virtio_device *device, struct worker *w, struct driver *d, struct input *in)
{
	uint32_t status = mmio_negotiate(device, virtio_device_offers(device));
	uint32_t head, written;

	driver_init(d, d->mem, RING, SIZE);
	mmio_set_queue(device, 1, &d->config);
	mmio_write32(device, VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_DRIVER_OK);
	send_init(d);
	for (unsigned i = 0; i < REQUESTS && in->left; i++) {
		mmio_write32(device, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
		for (unsigned n = 0; n < TURNS;
			n++) /* not to the end: a timer might tick for ever */
			fake_worker_turn(w);
		while (driver_take(d, &head, &written))
			require(written <= 4 * BYTES);
		if (mmio_read32(device, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET)
			break;
		offer(d, in, i);
	}
	mmio_write32(device, VIRTIO_MMIO_STATUS, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct guest_memory mem;
	struct driver d = { .mem = &mem };
	struct worker *w = fake_worker_new();
	struct virtio_device *device;
	struct fs_server *server;
	struct error err;
	char dir[128];
	uint8_t mode = take8(&in);
	struct fs_options options = {
		.path = dir, .read_only = !(mode & 15), .cache = (mode >> 4) % 3
	};

	begin();
	make_share(dir, sizeof(dir));
	if ((mode & 15) == 1)
		strcat(dir, "/a");
	guest_create(&mem);
	require(fs_server_open(&server, &options, &err) == 0);
	require(fs_server_enter(server) == 0);
	require(virtio_fs_create(&device, &mem, "share", server, 1, &err) == 0);
	require(virtio_fs_assign(device, w, &err) == 0);
	drive(device, w, &d, &in);
	virtio_fs_destroy(device);
	fs_server_close(server);
	require(fchdir(home) == 0);
	check_outside();
	fake_worker_free(w);
	guest_destroy(&mem);
	return 0;
}
