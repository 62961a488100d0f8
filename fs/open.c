/* Opening, creating and closing regular files. */
#include "fs/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { RECENT_MS = 100 };

/*
 * Which of the guest's flags the host's descriptor gets. O_APPEND goes with each write (the guest
 * may change it later); O_DIRECT is between the guest and its own cache, and the host's stays in
 * use: no alignment rules, and every file system can.
 */
static int host_flags(uint32_t flags)
{
	return (int)(flags & (O_ACCMODE | O_TRUNC | O_SYNC | O_DSYNC | O_NOATIME));
}

static bool wants_write(uint32_t flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;
}

static bool same_time(const struct statx_timestamp *a, const struct statx_timestamp *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* So new that a change right after it may have got the same time stamp. */
static bool is_recent(const struct statx_timestamp *t)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return (now.tv_sec - t->tv_sec) * 1000 + (now.tv_nsec - (long)t->tv_nsec) / 1000000 <
	       RECENT_MS;
}

/*
 * May the guest keep what it has cached of the file from before? Only if nothing was changed since
 * it last opened it, by anybody: the host's ctime says so, which no program can set back.
 */
static bool may_keep(struct fs_server *s, struct fs_node *node, int fd)
{
	struct statx st;
	bool same;

	if (s->cache != FS_CACHE_AUTO)
		return s->cache == FS_CACHE_ALWAYS;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_CTIME | STATX_SIZE, &st) < 0)
		return false;
	same = node->seen && same_time(&node->seen_ctime, &st.stx_ctime) &&
	       node->seen_size == st.stx_size;
	node->seen_ctime = st.stx_ctime;
	node->seen_size = st.stx_size;
	node->seen = !is_recent(&st.stx_ctime);
	return same;
}

/* Make @fd, the content of @node, an open file of the guest's. Takes @fd. */
static int add_open(struct fs_server *s, struct fs_node *node, int fd, uint32_t flags,
	struct fuse_open_out *out)
{
	struct fs_handle *h = fs_handle_add(s, node, fd);

	if (!h) {
		close(fd);
		return -ENFILE;
	}
	h->writable = (flags & O_ACCMODE) != O_RDONLY;
	*out = (struct fuse_open_out){ .fh = fs_slot_id(&h->slot) };
	if (s->cache == FS_CACHE_NONE)
		out->open_flags |= FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
	else if (may_keep(s, node, fd))
		out->open_flags |= FOPEN_KEEP_CACHE;
	return 0;
}

static int open_node(struct fs_server *s, const struct fs_node *node, uint32_t flags)
{
	int fd = fs_reopen(s, node, host_flags(flags));

	/* Not the owner: then access times are written after all. */
	if (fd == -EPERM && flags & O_NOATIME)
		fd = fs_reopen(s, node, host_flags(flags & ~(uint32_t)O_NOATIME));
	return fd == -EMFILE ? -ENFILE : fd;
}

static int open_regular(struct fs_server *s, struct fs_node *node, uint32_t flags, bool kill,
	struct fuse_open_out *out)
{
	int fd;

	if (!S_ISREG(node->type))
		return S_ISDIR(node->type) ? -EISDIR : S_ISLNK(node->type) ? -ELOOP : -ENXIO;
	if (node->fenced)
		return -EACCES;
	if (s->read_only && wants_write(flags))
		return -EROFS;
	if (flags & O_TRUNC)
		fs_ids_keep_bits(s, !kill);
	fd = open_node(s, node, flags);
	return fd < 0 ? fd : add_open(s, node, fd, flags, out);
}

int fs_op_open(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_open_in *in = fs_take(c, sizeof(*in));
	struct fs_node *node = fs_node(s, c->in.nodeid);
	int r;

	if (!node)
		return -ESTALE;
	r = open_regular(s, node, in->flags, in->open_flags & FUSE_OPEN_KILL_SUIDGID, c->reply);
	return r < 0 ? r : (int)sizeof(struct fuse_open_out);
}

struct created {
	struct fuse_entry_out entry;
	struct fuse_open_out open;
};

/* @fd was just made by us in @parent: node and open file of it. */
static int add_created(struct fs_server *s, const struct fs_node *parent, int fd, uint32_t flags,
	struct created *out)
{
	struct fs_node *node;
	int path, r;

	path = openat(s->proc_fd, fs_fd_name(fd).text, O_PATH | O_CLOEXEC);
	if (path < 0) {
		r = errno == EMFILE ? -ENFILE : -errno;
		close(fd);
		return r;
	}
	r = fs_entry(s, parent, path, &out->entry);
	if (r < 0) {
		close(fd);
		return r;
	}
	node = fs_node(s, out->entry.nodeid);
	r = add_open(s, node, fd, flags, &out->open);
	if (r < 0)
		fs_node_forget(s, node, 1);
	return r;
}

/*
 * The guest found no such name, so it is made, exclusively: a name that came to be meanwhile is
 * opened as any other, by its inode and only if that is a file. Never by O_CREAT, which would open
 * whatever it finds.
 */
int fs_op_create(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_create_in *in = fs_take(c, sizeof(*in));
	const char *name = fs_name(c);
	struct created *out = c->reply;
	struct fs_node *parent, *node;
	int fd, r = 0;

	parent = fs_directory(s, c->in.nodeid, &r);
	if (!parent)
		return r;
	if (!name)
		return c->error;
	if (parent->fd < 0)
		return -EACCES;
	r = fs_ids_become(s, c->in.uid, c->in.gid);
	if (r < 0)
		return r;
	fs_ids_keep_bits(s, true);
	fd = openat(parent->fd, name,
		host_flags(in->flags) | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY,
		in->mode & 07777);
	if (fd >= 0) {
		r = add_created(s, parent, fd, in->flags, out);
		return r < 0 ? r : (int)sizeof(*out);
	}
	if (errno != EEXIST || in->flags & O_EXCL)
		return errno == EMFILE ? -ENFILE : -errno;
	r = fs_lookup(s, parent, name, &out->entry);
	if (r < 0)
		return r;
	node = fs_node(s, out->entry.nodeid);
	r = open_regular(s, node, in->flags, in->open_flags & FUSE_OPEN_KILL_SUIDGID, &out->open);
	if (r < 0)
		fs_node_forget(s, node, 1);
	return r < 0 ? r : (int)sizeof(*out);
}

int fs_op_tmpfile(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_create_in *in = fs_take(c, sizeof(*in));
	struct fs_node *parent;
	int fd, r = 0;

	parent = fs_directory(s, c->in.nodeid, &r);
	if (!parent)
		return r;
	if (parent->fd < 0)
		return -EACCES;
	if ((in->flags & O_ACCMODE) == O_RDONLY)
		return -EINVAL;
	r = fs_ids_become(s, c->in.uid, c->in.gid);
	if (r < 0)
		return r;
	fs_ids_keep_bits(s, true);
	fd = openat(parent->fd, ".",
		(host_flags(in->flags) & ~O_TRUNC) | (int)(in->flags & O_EXCL) | O_TMPFILE |
			O_CLOEXEC,
		in->mode & 07777);
	if (fd < 0)
		return errno == EMFILE ? -ENFILE : -errno;
	r = add_created(s, parent, fd, in->flags, c->reply);
	return r < 0 ? r : (int)sizeof(struct created);
}

int fs_op_release(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_release_in *in = fs_take(c, sizeof(*in));
	struct fs_handle *h = fs_handle(s, in->fh, false);

	if (!h)
		return -EBADF;
	/* The description's flocks go with it. */
	fs_handle_close(s, h);
	s->unlocked = true;
	return 0;
}

/* One of the guest's processes closed a descriptor: its POSIX locks on the file are gone (close(2)). */
int fs_op_flush(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_flush_in *in = fs_take(c, sizeof(*in));
	struct fs_node *node = fs_node(s, c->in.nodeid);

	if (node)
		fs_locks_drop(s, node, in->lock_owner);
	return 0;
}
