#include "rig.h"

#include <ftw.h>

enum { IOVS = 2048 };

static char host_cwd[4096];

const char *rig_path(struct rig *rig, const char *format, ...)
{
	static char paths[4][512];
	static unsigned next;
	char *path = paths[next++ % 4];
	int n = snprintf(path, sizeof(paths[0]), "%s/", rig->top);
	va_list args;

	va_start(args, format);
	vsnprintf(path + n, sizeof(paths[0]) - (size_t)n, format, args);
	va_end(args);
	return path;
}

void rig_put(struct rig *rig, const char *path, const char *text)
{
	FILE *f = fopen(rig_path(rig, "%s", path), "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

bool rig_has(struct rig *rig, const char *path, const char *text)
{
	char found[4096];
	FILE *f = fopen(rig_path(rig, "%s", path), "r");
	size_t n;

	if (!f)
		return false;
	n = fread(found, 1, sizeof(found) - 1, f);
	found[n] = 0;
	fclose(f);
	return strcmp(found, text) == 0;
}

void rig_open_path(struct rig *rig, const char *path, bool read_only, enum fs_cache cache)
{
	struct fs_options options = { .path = path, .read_only = read_only, .cache = cache };
	struct error err = { 0 };
	int r = fs_server_open(&rig->server, &options, &err);

	if (r < 0)
		print_error("%s\n", err.msg);
	assert_int_equal(r, 0);
	assert_int_equal(fs_server_enter(rig->server), 0);
	rig_init(rig);
}

static void make_top(struct rig *rig)
{
	if (!host_cwd[0])
		assert_non_null(getcwd(host_cwd, sizeof(host_cwd)));
	memset(rig, 0, sizeof(*rig));
	snprintf(rig->top, sizeof(rig->top), "/tmp/microvm-fs.XXXXXX");
	assert_non_null(mkdtemp(rig->top));
	snprintf(rig->dir, sizeof(rig->dir), "%s/share", rig->top);
	assert_int_equal(mkdir(rig->dir, 0755), 0);
	rig->reply = malloc(RIG_REPLY);
	assert_non_null(rig->reply);
	rig->uid = 0;
	rig->gid = 0;
}

void rig_open(struct rig *rig, bool read_only, enum fs_cache cache)
{
	make_top(rig);
	rig_open_path(rig, rig->dir, read_only, cache);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void rig_close(struct rig *rig)
{
	fs_server_close(rig->server);
	/* Where a test runs next is not the server's business. */
	assert_int_equal(chdir("/"), 0);
	nftw(rig->top, remove_one, 32, FTW_DEPTH | FTW_PHYS);
	free(rig->reply);
}

void rig_init(struct rig *rig)
{
	struct fuse_init_in in = { .major = FUSE_KERNEL_VERSION,
		.minor = 38,
		.max_readahead = 131072,
		.flags = 0x73fffffb,
		.flags2 = 3 };

	assert_int_equal(rig_call(rig, FUSE_INIT, 0, &in, sizeof(in), NULL, 0), 0);
	assert_int_equal(rig->reply_len, sizeof(struct fuse_init_out));
}

static void on_done(struct fs_request *request, uint32_t written)
{
	struct rig *rig = *(struct rig **)(request + 1);
	struct fuse_out_header head;

	assert_int_equal(written, sizeof(head));
	memcpy(&head, request->in[0].iov_base, sizeof(head));
	rig->done++;
	rig->done_error = head.error;
	free(request->out);
	free(request->in[0].iov_base);
	free(request->in);
	free(request);
}

/* @bytes at @at, cut as the test wants it. */
static unsigned cut(struct rig *rig, struct iovec *iov, uint8_t *at, size_t bytes, size_t first)
{
	unsigned n = 0;

	while (bytes) {
		size_t len = rig->piece ? rig->piece : n == 0 ? first : bytes;

		len = MIN(len, bytes);
		if (n == IOVS - 1)
			len = bytes;
		iov[n++] = (struct iovec){ at, len };
		at += len;
		bytes -= len;
	}
	return n;
}

/* The request is the server's until it is done: all of it is on the heap. */
static void keep(struct rig *rig, struct fs_request *request)
{
	struct fs_request *kept = request;
	uint8_t *answer = malloc(sizeof(struct fuse_out_header));

	kept->in[0] = (struct iovec){ answer, sizeof(struct fuse_out_header) };
	kept->in_count = 1;
	rig->later = true;
}

int rig_call(struct rig *rig, uint32_t opcode, uint64_t node, const void *arg, size_t len,
	const void *more, size_t more_len)
{
	struct fuse_in_header head = { .len = (uint32_t)(sizeof(head) + len + more_len),
		.opcode = opcode,
		.unique = rig->unique += 2,
		.nodeid = node,
		.uid = rig->uid,
		.gid = rig->gid,
		.pid = 77 };
	struct fs_request *q = calloc(1, sizeof(*q) + sizeof(rig));
	uint8_t *bytes = malloc(head.len);
	uint32_t room = rig->room ? rig->room : RIG_REPLY;
	struct fuse_out_header out;
	uint8_t *answer = malloc(room);
	int64_t r;

	memcpy(bytes, &head, sizeof(head));
	if (len)
		memcpy(bytes + sizeof(head), arg, len);
	if (more_len)
		memcpy(bytes + sizeof(head) + len, more, more_len);
	*(struct rig **)(q + 1) = rig;
	q->out = calloc(IOVS, sizeof(struct iovec));
	q->in = calloc(IOVS, sizeof(struct iovec));
	q->out_count = cut(rig, q->out, bytes, head.len, sizeof(head));
	q->out_bytes = head.len;
	q->in_count = cut(rig, q->in, answer, room, sizeof(out));
	q->in_bytes = room;
	q->done = on_done;
	rig->later = false;
	r = fs_serve(rig->server, q);
	free(bytes);
	if (r == FS_LATER) {
		keep(rig, q);
		free(answer);
		return 1;
	}
	rig->written = (size_t)r;
	rig->reply_len = 0;
	free(q->out);
	free(q->in);
	free(q);
	if (!r) {
		free(answer);
		return 1;
	}
	memcpy(&out, answer, sizeof(out));
	assert_int_equal(out.len, r);
	assert_int_equal(out.unique, head.unique);
	rig->reply_len = (size_t)r - sizeof(out);
	memcpy(rig->reply, answer + sizeof(out), rig->reply_len);
	free(answer);
	return out.error;
}

int rig_named(struct rig *rig, uint32_t opcode, uint64_t node, const void *arg, size_t len,
	const char *a, const char *b)
{
	char names[8192];
	size_t n = strlen(a) + 1;

	memcpy(names, a, n);
	if (b) {
		memcpy(names + n, b, strlen(b) + 1);
		n += strlen(b) + 1;
	}
	return rig_call(rig, opcode, node, arg, len, names, n);
}

static uint64_t entry(struct rig *rig, int r)
{
	struct fuse_entry_out out;

	if (r) {
		errno = -r;
		return 0;
	}
	memcpy(&out, rig->reply, sizeof(out));
	return out.nodeid;
}

uint64_t rig_lookup(struct rig *rig, uint64_t parent, const char *name)
{
	return entry(rig, rig_named(rig, FUSE_LOOKUP, parent, NULL, 0, name, NULL));
}

uint64_t rig_walk(struct rig *rig, const char *path)
{
	char copy[512], *save, *part;
	uint64_t node = FUSE_ROOT_ID;

	snprintf(copy, sizeof(copy), "%s", path);
	for (part = strtok_r(copy, "/", &save); part && node; part = strtok_r(NULL, "/", &save))
		node = rig_lookup(rig, node, part);
	return node;
}

int rig_getattr(struct rig *rig, uint64_t node, struct fuse_attr *attr)
{
	struct fuse_getattr_in in = { 0 };
	int r = rig_call(rig, FUSE_GETATTR, node, &in, sizeof(in), NULL, 0);

	if (r == 0)
		memcpy(attr, rig->reply + offsetof(struct fuse_attr_out, attr), sizeof(*attr));
	return r;
}

int rig_setattr(struct rig *rig, uint64_t node, const struct fuse_setattr_in *in)
{
	return rig_call(rig, FUSE_SETATTR, node, in, sizeof(*in), NULL, 0);
}

uint64_t rig_mkdir(struct rig *rig, uint64_t parent, const char *name, uint32_t mode)
{
	struct fuse_mkdir_in in = { .mode = mode };

	return entry(rig, rig_named(rig, FUSE_MKDIR, parent, &in, sizeof(in), name, NULL));
}

uint64_t rig_create(struct rig *rig, uint64_t parent, const char *name, uint32_t flags,
	uint32_t mode, uint64_t *node)
{
	struct fuse_create_in in = { .flags = flags, .mode = mode };
	struct fuse_open_out out;
	uint64_t made =
		entry(rig, rig_named(rig, FUSE_CREATE, parent, &in, sizeof(in), name, NULL));

	if (!made)
		return 0;
	if (node)
		*node = made;
	memcpy(&out, rig->reply + sizeof(struct fuse_entry_out), sizeof(out));
	return out.fh;
}

uint64_t rig_open_file(struct rig *rig, uint64_t node, uint32_t flags)
{
	struct fuse_open_in in = { .flags = flags };
	struct fuse_open_out out;
	int r = rig_call(rig, FUSE_OPEN, node, &in, sizeof(in), NULL, 0);

	if (r) {
		errno = -r;
		return 0;
	}
	memcpy(&out, rig->reply, sizeof(out));
	return out.fh;
}

int rig_release(struct rig *rig, uint64_t node, uint64_t fh)
{
	struct fuse_release_in in = { .fh = fh };

	return rig_call(rig, FUSE_RELEASE, node, &in, sizeof(in), NULL, 0);
}

int rig_read(struct rig *rig, uint64_t node, uint64_t fh, uint64_t offset, uint32_t size)
{
	struct fuse_read_in in = { .fh = fh, .offset = offset, .size = size };
	int r = rig_call(rig, FUSE_READ, node, &in, sizeof(in), NULL, 0);

	return r < 0 ? r : (int)rig->reply_len;
}

int rig_write(struct rig *rig, uint64_t node, uint64_t fh, uint64_t offset, const void *data,
	uint32_t size, uint32_t flags, uint32_t write_flags)
{
	struct fuse_write_in in = {
		.fh = fh, .offset = offset, .size = size, .flags = flags, .write_flags = write_flags
	};
	struct fuse_write_out out;
	int r = rig_call(rig, FUSE_WRITE, node, &in, sizeof(in), data, size);

	if (r < 0)
		return r;
	memcpy(&out, rig->reply, sizeof(out));
	return (int)out.size;
}

int rig_unlink(struct rig *rig, uint64_t parent, const char *name)
{
	return rig_named(rig, FUSE_UNLINK, parent, NULL, 0, name, NULL);
}

int rig_rename(struct rig *rig, uint64_t from_dir, const char *from, uint64_t to_dir,
	const char *to, uint32_t flags)
{
	struct fuse_rename2_in in = { .newdir = to_dir, .flags = flags };

	return rig_named(rig, FUSE_RENAME2, from_dir, &in, sizeof(in), from, to);
}
