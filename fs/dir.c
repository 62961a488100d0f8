/* Reading directories. */
#include "fs/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What getdents64(2) gives. */
struct host_dirent {
	uint64_t ino;
	int64_t off;
	uint16_t len;
	uint8_t type;
	char name[];
};

/* The longest entry there is. */
enum { ENTRY_MAX = 280 };

/* An answer that is being filled. */
struct listing {
	uint8_t *at;
	size_t used, room;
};

int fs_op_opendir(struct fs_server *s, struct fs_call *c)
{
	struct fuse_open_out *out = c->reply;
	int fd = -1, r = 0;
	struct fs_node *node;
	struct fs_handle *h;

	fs_take(c, sizeof(struct fuse_open_in));
	node = fs_directory(s, c->in.nodeid, &r);
	if (!node)
		return r;
	if (node->fd >= 0) {
		fd = fs_reopen(s, node, O_RDONLY);
		if (fd < 0)
			return fd == -EMFILE ? -ENFILE : fd;
	}
	h = fs_handle_add(s, node, fd);
	if (!h) {
		if (fd >= 0)
			close(fd);
		return -ENFILE;
	}
	*out = (struct fuse_open_out){ .fh = fs_slot_id(&h->slot) };
	if (s->cache == FS_CACHE_ALWAYS)
		out->open_flags |= FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE;
	return sizeof(*out);
}

int fs_op_releasedir(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_release_in *in = fs_take(c, sizeof(*in));
	struct fs_handle *h = fs_handle(s, in->fh, true);

	if (!h)
		return -EBADF;
	fs_handle_close(s, h);
	return 0;
}

static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* Append one entry; @entry is NULL for a plain listing. False: no more room. */
static bool put(struct listing *l, const struct fuse_entry_out *entry,
	const struct fuse_dirent *head, const char *name)
{
	size_t before = entry ? sizeof(*entry) : 0;
	size_t bytes = before + FUSE_NAME_OFFSET + head->namelen;
	size_t whole = FUSE_REC_ALIGN(bytes);

	if (l->room - l->used < whole)
		return false;
	if (entry)
		memcpy(l->at + l->used, entry, sizeof(*entry));
	memcpy(l->at + l->used + before, head, FUSE_NAME_OFFSET);
	memcpy(l->at + l->used + before + FUSE_NAME_OFFSET, name, head->namelen);
	memset(l->at + l->used + bytes, 0, whole - bytes);
	l->used += whole;
	return true;
}

/* One entry of the host's. */
static bool put_host(struct fs_server *s, struct listing *l, struct fs_node *node,
	const struct host_dirent *d, bool plus)
{
	struct fuse_dirent head = { .ino = fs_guest_ino(s, node->dev, d->ino),
		.off = (uint64_t)d->off,
		.namelen = (uint32_t)strlen(d->name),
		.type = d->type };
	struct fuse_entry_out entry = { 0 };

	/* What is above the directory is nobody's business. */
	if (node == s->root && is_dots(d->name))
		head.ino = fs_guest_ino(s, node->dev, node->ino);
	if (!plus)
		return put(l, NULL, &head, d->name);
	if (l->room - l->used < FUSE_REC_ALIGN(sizeof(entry) + FUSE_NAME_OFFSET + head.namelen))
		return false;
	/* An entry that cannot be looked up is listed all the same, without a node. */
	if (!is_dots(d->name) && fs_lookup(s, node, d->name, &entry) < 0)
		entry = (struct fuse_entry_out){ 0 };
	return put(l, &entry, &head, d->name);
}

static int list(struct fs_server *s, struct fs_handle *h, struct fs_node *node, uint64_t offset,
	struct listing *l, bool plus)
{
	/*
	 * So many of the host's entries as will fit for certain: theirs take at least 24 bytes, the
	 * guest's 32 for the same, and 160 with the node's attributes.
	 */
	size_t wanted = MAX(plus ? l->room / 7 : l->room / 4 * 3, (size_t)ENTRY_MAX);
	long n, at = 0;

	if (h->position != (off_t)offset && lseek(h->fd, (off_t)offset, SEEK_SET) < 0)
		return -errno;
	h->position = (off_t)offset;
	n = syscall(SYS_getdents64, h->fd, s->scratch, MIN(wanted, sizeof(s->scratch)));
	if (n < 0) {
		h->position = -1;
		return -errno;
	}
	while (at < n) {
		const struct host_dirent *d = (const struct host_dirent *)(s->scratch + at);

		if (!put_host(s, l, node, d, plus)) {
			/* The descriptor stands behind what was not listed. */
			h->position = -1;
			return l->used ? 0 : -EINVAL;
		}
		h->position = d->off;
		at += d->len;
	}
	return 0;
}

/* The directory around a single file. */
static void list_file(struct fs_server *s, uint64_t offset, struct listing *l, bool plus)
{
	static const char *const name[] = { ".", "..", FS_FILE_NAME };

	for (; offset < ARRAY_SIZE(name); offset++) {
		struct fuse_dirent head = { .ino = offset == 2 ? s->file->ino : 1,
			.off = offset + 1,
			.namelen = (uint32_t)strlen(name[offset]),
			.type = offset == 2 ? DT_REG : DT_DIR };
		struct fuse_entry_out entry = { 0 };

		if (plus && offset == 2 && fs_lookup(s, s->root, FS_FILE_NAME, &entry) < 0)
			entry = (struct fuse_entry_out){ 0 };
		if (put(l, plus ? &entry : NULL, &head, name[offset]))
			continue;
		if (entry.nodeid)
			fs_node_forget(s, s->file, 1);
		return;
	}
}

static int read_directory(struct fs_server *s, struct fs_call *c, bool plus)
{
	const struct fuse_read_in *in = fs_take(c, sizeof(*in));
	struct fs_handle *h = fs_handle(s, in->fh, true);
	struct fs_node *node = h ? fs_node(s, h->node) : NULL;
	struct listing l = { .at = c->reply, .room = MIN(in->size, c->reply_max) };
	int r = 0;

	if (!node)
		return -EBADF;
	if (in->offset > INT64_MAX)
		return -EINVAL;
	if (h->fd < 0)
		list_file(s, in->offset, &l, plus);
	else
		r = list(s, h, node, in->offset, &l, plus);
	return r < 0 ? r : (int)l.used;
}

int fs_op_readdir(struct fs_server *s, struct fs_call *c)
{
	return read_directory(s, c, false);
}

int fs_op_readdirplus(struct fs_server *s, struct fs_call *c)
{
	return read_directory(s, c, true);
}
