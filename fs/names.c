/* What makes, moves and removes names. */
#include "fs/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { LINK_MAX_BYTES = 4095 };

/* The directory that @c is about, if names in it may change. NULL and *@error otherwise. */
static struct fs_node *writable_directory(struct fs_server *s, uint64_t id, int *error)
{
	struct fs_node *node = fs_directory(s, id, error);

	if (node && node->fd < 0) { /* the one around a single file */
		*error = -EACCES;
		return NULL;
	}
	return node;
}

/* The start of everything that makes a node: the directory and whose it is to be. */
static struct fs_node *begin_create(struct fs_server *s, struct fs_call *c, int *error)
{
	struct fs_node *parent = writable_directory(s, c->in.nodeid, error);

	if (!parent)
		return NULL;
	*error = fs_ids_become(s, c->in.uid, c->in.gid);
	fs_ids_keep_bits(s, true);
	return *error < 0 ? NULL : parent;
}

/* The answer to what made @name: it is looked up like any other. */
static int end_create(struct fs_server *s, struct fs_call *c, struct fs_node *parent,
	const char *name, int result)
{
	int r = result < 0 ? -errno : fs_lookup(s, parent, name, c->reply);

	return r < 0 ? r : (int)sizeof(struct fuse_entry_out);
}

int fs_op_mknod(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_mknod_in *in = fs_take(c, sizeof(*in));
	const char *name = fs_name(c);
	uint32_t major = in->rdev >> 8 & 0xfff;
	uint32_t minor = (in->rdev & 0xff) | (in->rdev >> 12 & 0xfff00);
	int r = 0;
	struct fs_node *parent = begin_create(s, c, &r);

	if (!parent)
		return r;
	if (!name)
		return c->error;
	r = mknodat(parent->fd, name, in->mode, makedev(major, minor));
	return end_create(s, c, parent, name, r);
}

int fs_op_mkdir(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_mkdir_in *in = fs_take(c, sizeof(*in));
	const char *name = fs_name(c);
	int r = 0;
	struct fs_node *parent = begin_create(s, c, &r);

	if (!parent)
		return r;
	if (!name)
		return c->error;
	return end_create(s, c, parent, name, mkdirat(parent->fd, name, in->mode & 07777));
}

int fs_op_symlink(struct fs_server *s, struct fs_call *c)
{
	const char *name = fs_name(c);
	const char *target = fs_text(c, LINK_MAX_BYTES);
	int r = 0;
	struct fs_node *parent = begin_create(s, c, &r);

	if (!parent)
		return r;
	if (!name || !target)
		return c->error;
	return end_create(s, c, parent, name, symlinkat(target, parent->fd, name));
}

int fs_op_readlink(struct fs_server *s, struct fs_call *c)
{
	const struct fs_node *node = fs_node(s, c->in.nodeid);
	ssize_t n;

	if (!node)
		return -ESTALE;
	if (!S_ISLNK(node->type))
		return -EINVAL;
	n = readlinkat(node->fd, "", c->reply, MIN(c->reply_max, (size_t)LINK_MAX_BYTES));
	return n < 0 ? -errno : (int)n;
}

int fs_op_link(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_link_in *in = fs_take(c, sizeof(*in));
	const char *name = fs_name(c);
	const struct fs_node *node = fs_node(s, in->oldnodeid);
	int r = 0;
	struct fs_node *parent = writable_directory(s, c->in.nodeid, &r);

	if (!parent)
		return r;
	if (!node)
		return -ESTALE;
	if (!name)
		return c->error;
	if (node->fd < 0 || S_ISDIR(node->type))
		return -EPERM;
	/* Through the descriptor: whatever name it had may mean another file by now. */
	r = linkat(s->proc_fd, fs_fd_name(node->fd).text, parent->fd, name, AT_SYMLINK_FOLLOW);
	return end_create(s, c, parent, name, r);
}

static int remove_name(struct fs_server *s, struct fs_call *c, int flags)
{
	const char *name = fs_name(c);
	int r = 0;
	struct fs_node *parent = writable_directory(s, c->in.nodeid, &r);

	if (!parent)
		return r;
	if (!name)
		return c->error;
	return unlinkat(parent->fd, name, flags) < 0 ? -errno : 0;
}

int fs_op_unlink(struct fs_server *s, struct fs_call *c)
{
	return remove_name(s, c, 0);
}

int fs_op_rmdir(struct fs_server *s, struct fs_call *c)
{
	return remove_name(s, c, AT_REMOVEDIR);
}

static int rename_name(struct fs_server *s, struct fs_call *c, uint64_t newdir, uint32_t flags)
{
	const char *from = fs_name(c), *to = fs_name(c);
	int r = 0;
	struct fs_node *old = writable_directory(s, c->in.nodeid, &r);
	struct fs_node *new = old ? writable_directory(s, newdir, &r) : NULL;

	if (!new)
		return r;
	if (!from || !to)
		return c->error;
	if (flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT))
		return -EINVAL;
	/* A whiteout is a new node. */
	if (flags & RENAME_WHITEOUT) {
		r = fs_ids_become(s, c->in.uid, c->in.gid);
		if (r < 0)
			return r;
	}
	return renameat2(old->fd, from, new->fd, to, flags) < 0 ? -errno : 0;
}

int fs_op_rename(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_rename_in *in = fs_take(c, sizeof(*in));

	return rename_name(s, c, in->newdir, 0);
}

int fs_op_rename2(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_rename2_in *in = fs_take(c, sizeof(*in));

	return rename_name(s, c, in->newdir, in->flags);
}
