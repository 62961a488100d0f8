/* Names become nodes, nodes have attributes. */
#include "fs/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { SECONDS_AUTO = 1, SECONDS_ALWAYS = 86400 };

int fs_stat(const struct fs_server *s, int fd, struct statx *st)
{
	return statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, FS_STATX_MASK, st) < 0 ? -errno
											 : 0;
}

void fs_fake_root(const struct fs_server *s, struct statx *st)
{
	*st = (struct statx){ .stx_mask = STATX_BASIC_STATS,
		.stx_mode = S_IFDIR | 0555,
		.stx_nlink = 2,
		.stx_ino = 1,
		.stx_blksize = 4096,
		.stx_uid = s->uid,
		.stx_gid = s->gid };
}

int fs_stat_node(const struct fs_server *s, const struct fs_node *node, struct statx *st)
{
	if (node->fd >= 0)
		return fs_stat(s, node->fd, st);
	fs_fake_root(s, st);
	return 0;
}

uint64_t fs_guest_ino(const struct fs_server *s, uint64_t dev, uint64_t ino)
{
	/* Other file systems mounted below: to the guest it is one, so the numbers must not meet. */
	return dev == s->root_dev ? ino : ino ^ (dev * 0x9e3779b97f4a7c15 & 0x7fff000000000000);
}

static uint32_t guest_rdev(uint32_t major, uint32_t minor)
{
	return (minor & 0xff) | major << 8 | (minor & ~0xffU) << 12;
}

void fs_fill_attr(const struct fs_server *s, struct fuse_attr *attr, const struct statx *st)
{
	*attr = (struct fuse_attr){
		.ino = fs_guest_ino(s, fs_stat_dev(st), st->stx_ino),
		.size = st->stx_size,
		.blocks = st->stx_blocks,
		.atime = (uint64_t)st->stx_atime.tv_sec,
		.mtime = (uint64_t)st->stx_mtime.tv_sec,
		.ctime = (uint64_t)st->stx_ctime.tv_sec,
		.atimensec = st->stx_atime.tv_nsec,
		.mtimensec = st->stx_mtime.tv_nsec,
		.ctimensec = st->stx_ctime.tv_nsec,
		.mode = st->stx_mode,
		.nlink = st->stx_nlink,
		.uid = fs_uid_to_guest(s, st->stx_uid),
		.gid = fs_gid_to_guest(s, st->stx_gid),
		.rdev = guest_rdev(st->stx_rdev_major, st->stx_rdev_minor),
		.blksize = st->stx_blksize,
	};
}

void fs_valid_for(const struct fs_server *s, uint64_t *seconds)
{
	*seconds = s->cache == FS_CACHE_AUTO	 ? SECONDS_AUTO
		   : s->cache == FS_CACHE_ALWAYS ? SECONDS_ALWAYS
						 : 0;
}

void fs_fill_entry(struct fs_server *s, struct fs_node *node, const struct statx *st,
	struct fuse_entry_out *out)
{
	*out = (struct fuse_entry_out){ .nodeid = fs_slot_id(&node->slot) };
	fs_valid_for(s, &out->entry_valid);
	fs_valid_for(s, &out->attr_valid);
	fs_fill_attr(s, &out->attr, st);
	node->lookups++;
}

/* The table of descriptors being full is this server's limit, not the guest process's. */
static int open_error(int error)
{
	return error == EMFILE ? -ENFILE : -error;
}

static int lookup_file(struct fs_server *s, const char *name, struct fuse_entry_out *out)
{
	struct statx st;
	int r;

	if (strcmp(name, FS_FILE_NAME) != 0)
		return -ENOENT;
	r = fs_stat(s, s->file->fd, &st);
	if (r == 0)
		fs_fill_entry(s, s->file, &st, out);
	return r;
}

int fs_lookup(
	struct fs_server *s, struct fs_node *parent, const char *name, struct fuse_entry_out *out)
{
	struct fs_node *node;
	struct statx st;
	int fd, r;

	if (parent->fd < 0)
		return lookup_file(s, name, out);
	/*
	 * For a name seen before (the guest asks again after a second) one call tells its inode;
	 * for a new one two are needed. What comes next is most often like what came last.
	 */
	if (parent->expect_known) {
		if (statx(parent->fd, name, AT_SYMLINK_NOFOLLOW, FS_STATX_MASK, &st) < 0)
			return -errno;
		node = fs_node_find(s, &st);
		if (node) {
			fs_fill_entry(s, node, &st, out);
			return 0;
		}
	}
	fd = openat(parent->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return open_error(errno);
	r = fs_stat(s, fd, &st);
	if (r < 0) {
		close(fd);
		return r;
	}
	parent->expect_known = fs_node_find(s, &st) != NULL;
	node = fs_node_take(s, parent, fd, &st);
	if (!node)
		return -ENFILE;
	fs_fill_entry(s, node, &st, out);
	return 0;
}

int fs_entry(struct fs_server *s, const struct fs_node *parent, int fd, struct fuse_entry_out *out)
{
	struct fs_node *node;
	struct statx st;
	int r = fs_stat(s, fd, &st);

	if (r < 0) {
		close(fd);
		return r;
	}
	node = fs_node_take(s, parent, fd, &st);
	if (!node)
		return -ENFILE;
	fs_fill_entry(s, node, &st, out);
	return 0;
}

int fs_op_lookup(struct fs_server *s, struct fs_call *c)
{
	struct fuse_entry_out *out = c->reply;
	const char *name = fs_name(c);
	struct fs_node *parent;
	int r = 0;

	parent = fs_directory(s, c->in.nodeid, &r);
	if (!parent)
		return r;
	if (!name)
		return c->error;
	r = fs_lookup(s, parent, name, out);
	/* Where nobody else makes files, a name that is not there stays away. */
	if (r == -ENOENT && s->cache == FS_CACHE_ALWAYS) {
		*out = (struct fuse_entry_out){ 0 };
		fs_valid_for(s, &out->entry_valid);
		r = 0;
	}
	return r < 0 ? r : (int)sizeof(*out);
}

static int answer_attr(struct fs_server *s, struct fs_call *c, const struct statx *st)
{
	struct fuse_attr_out *out = c->reply;

	*out = (struct fuse_attr_out){ 0 };
	fs_valid_for(s, &out->attr_valid);
	fs_fill_attr(s, &out->attr, st);
	return sizeof(*out);
}

int fs_op_getattr(struct fs_server *s, struct fs_call *c)
{
	struct fs_node *node = fs_node(s, c->in.nodeid);
	struct statx st;
	int r;

	if (!node)
		return -ESTALE;
	r = fs_stat_node(s, node, &st);
	return r < 0 ? r : answer_attr(s, c, &st);
}

static int set_owner(struct fs_server *s, struct fs_node *node, const struct fuse_setattr_in *in)
{
	uid_t uid = in->valid & FATTR_UID ? fs_uid_to_host(s, in->uid) : (uid_t)-1;
	gid_t gid = in->valid & FATTR_GID ? fs_gid_to_host(s, in->gid) : (gid_t)-1;

	return fchownat(node->fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno
											 : 0;
}

static int set_size(struct fs_server *s, struct fs_node *node, const struct fuse_setattr_in *in)
{
	struct fs_handle *h = in->valid & FATTR_FH ? fs_handle(s, in->fh, false) : NULL;
	int r;

	if (!S_ISREG(node->type))
		return S_ISDIR(node->type) ? -EISDIR : -EINVAL;
	if (in->size > INT64_MAX)
		return -EFBIG;
	fs_ids_keep_bits(s, !(in->valid & FATTR_KILL_SUIDGID));
	if (h && h->writable && h->node == fs_slot_id(&node->slot))
		r = ftruncate(h->fd, (off_t)in->size);
	else
		r = truncate(fs_fd_name(node->fd).text, (off_t)in->size);
	return r < 0 ? -errno : 0;
}

static int set_times(struct fs_node *node, const struct fuse_setattr_in *in)
{
	struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };

	if (in->valid & FATTR_ATIME_NOW)
		ts[0].tv_nsec = UTIME_NOW;
	else if (in->valid & FATTR_ATIME)
		ts[0] = (struct timespec){ (time_t)in->atime, in->atimensec };
	if (in->valid & FATTR_MTIME_NOW)
		ts[1].tv_nsec = UTIME_NOW;
	else if (in->valid & FATTR_MTIME)
		ts[1] = (struct timespec){ (time_t)in->mtime, in->mtimensec };
	return utimensat(node->fd, "", ts, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int set_mode(struct fs_server *s, struct fs_node *node, const struct fuse_setattr_in *in)
{
	if (S_ISLNK(node->type))
		return -EOPNOTSUPP;
	fs_ids_keep_bits(s, true);
	return fchmodat(s->proc_fd, fs_fd_name(node->fd).text, in->mode & 07777, 0) < 0 ? -errno
											: 0;
}

int fs_op_setattr(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_setattr_in *in = fs_take(c, sizeof(*in));
	struct fs_node *node = fs_node(s, c->in.nodeid);
	struct statx st;
	int r = 0;

	if (!node)
		return -ESTALE;
	if (node->fd < 0 || node->fenced)
		return -EPERM;
	/* Owner before mode: giving a file away clears its set-id bits. */
	if (in->valid & (FATTR_UID | FATTR_GID))
		r = set_owner(s, node, in);
	if (r == 0 && in->valid & FATTR_MODE)
		r = set_mode(s, node, in);
	if (r == 0 && in->valid & FATTR_SIZE)
		r = set_size(s, node, in);
	if (r == 0 && in->valid & (FATTR_ATIME | FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW))
		r = set_times(node, in);
	if (r == 0)
		r = fs_stat(s, node->fd, &st);
	return r < 0 ? r : answer_attr(s, c, &st);
}

int fs_op_statfs(struct fs_server *s, struct fs_call *c)
{
	struct fuse_statfs_out *out = c->reply;
	const struct fs_node *node = fs_node(s, c->in.nodeid);
	struct statfs st;

	if (!node)
		return -ESTALE;
	if (fstatfs(node->fd >= 0 ? node->fd : s->file->fd, &st) < 0)
		return -errno;
	*out = (struct fuse_statfs_out){ .st = {
						 .blocks = st.f_blocks,
						 .bfree = st.f_bfree,
						 .bavail = st.f_bavail,
						 .files = st.f_files,
						 .ffree = st.f_ffree,
						 .bsize = (uint32_t)st.f_bsize,
						 .namelen = FS_NAME_LEN,
						 .frsize = (uint32_t)st.f_frsize,
					 } };
	return sizeof(*out);
}

/* FUSE_STATX (protocol 7.39): what Debian 12's header does not have yet. */
struct statx_in {
	uint32_t getattr_flags, reserved;
	uint64_t fh;
	uint32_t sx_flags, sx_mask;
};

struct statx_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec, flags;
	uint64_t spare[2];
	struct {
		uint32_t mask, blksize;
		uint64_t attributes;
		uint32_t nlink, uid, gid;
		uint16_t mode, spare0;
		uint64_t ino, size, blocks, attributes_mask;
		struct statx_timestamp atime, btime, ctime, mtime;
		uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
		uint64_t spare2[14];
	} st;
};
_Static_assert(sizeof(((struct statx_out *)0)->st) == 256, "struct fuse_statx");

int fs_op_statx(struct fs_server *s, struct fs_call *c)
{
	const struct fs_node *node = fs_node(s, c->in.nodeid);
	struct statx_out *out = c->reply;
	struct statx st;
	int r;

	fs_take(c, sizeof(struct statx_in));
	if (!node)
		return -ESTALE;
	r = fs_stat_node(s, node, &st);
	if (r < 0)
		return r;
	*out = (struct statx_out){ 0 };
	fs_valid_for(s, &out->attr_valid);
	out->st.mask = st.stx_mask & (STATX_BASIC_STATS | STATX_BTIME);
	out->st.blksize = st.stx_blksize;
	out->st.nlink = st.stx_nlink;
	out->st.uid = fs_uid_to_guest(s, st.stx_uid);
	out->st.gid = fs_gid_to_guest(s, st.stx_gid);
	out->st.mode = st.stx_mode;
	out->st.ino = fs_guest_ino(s, fs_stat_dev(&st), st.stx_ino);
	out->st.size = st.stx_size;
	out->st.blocks = st.stx_blocks;
	out->st.atime = st.stx_atime;
	out->st.btime = st.stx_btime;
	out->st.ctime = st.stx_ctime;
	out->st.mtime = st.stx_mtime;
	out->st.rdev_major = st.stx_rdev_major;
	out->st.rdev_minor = st.stx_rdev_minor;
	return sizeof(*out);
}
