/*
 * Extended attributes. The calls take a path or a descriptor that is open for more than O_PATH; the
 * thread's working directory is /proc/self/fd, so a node's descriptor number is a path.
 */
#include "fs/internal.h"

#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

static const char acl_prefix[] = "system.posix_acl_";

/*
 * Lists are not passed on: the guest's kernel would not enforce them (that needs FUSE_POSIX_ACL,
 * which costs a request for each inode), and to seem to have them is worse than not to.
 */
static bool is_acl(const char *name)
{
	return strncmp(name, acl_prefix, sizeof(acl_prefix) - 1) == 0;
}

static const struct fs_node *xattr_node(struct fs_server *s, struct fs_call *c, int *error)
{
	const struct fs_node *node = fs_node(s, c->in.nodeid);

	*error = !node ? -ESTALE : node->fd < 0 || node->fenced ? -EOPNOTSUPP : 0;
	return *error ? NULL : node;
}

/* The answer is @n bytes in c->reply, or their number if the guest asked for that. */
static int answer(struct fs_call *c, ssize_t n, uint32_t size)
{
	struct fuse_getxattr_out *out = c->reply;

	if (n < 0)
		return (int)n;
	if (!size && c->reply_max < sizeof(*out))
		return -EIO;
	if (!size) {
		*out = (struct fuse_getxattr_out){ .size = (uint32_t)n };
		return sizeof(*out);
	}
	return (size_t)n > MIN(size, c->reply_max) ? -ERANGE : (int)n;
}

int fs_op_getxattr(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_getxattr_in *in = fs_take(c, sizeof(*in));
	const char *name = fs_text(c, FS_NAME_LEN);
	const struct fs_node *node;
	ssize_t n;
	int r;

	node = xattr_node(s, c, &r);
	if (!node)
		return r;
	if (!name)
		return c->error;
	if (is_acl(name))
		return -EOPNOTSUPP;
	n = getxattr(fs_fd_name(node->fd).text, name, in->size ? c->reply : NULL,
		in->size ? MIN(in->size, c->reply_max) : 0);
	return answer(c, n < 0 ? -errno : n, in->size);
}

int fs_op_listxattr(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_getxattr_in *in = fs_take(c, sizeof(*in));
	char *list = (char *)s->scratch, *to = c->reply;
	const struct fs_node *node;
	size_t used = 0;
	ssize_t n;
	int r;

	node = xattr_node(s, c, &r);
	if (!node)
		return r;
	n = listxattr(fs_fd_name(node->fd).text, list, sizeof(s->scratch));
	if (n < 0)
		return -errno;
	for (ssize_t at = 0; at < n;) {
		size_t len = strlen(list + at) + 1;

		if (!is_acl(list + at)) {
			if (in->size && used + len <= c->reply_max)
				memcpy(to + used, list + at, len);
			used += len;
		}
		at += (ssize_t)len;
	}
	if (in->size && used > c->reply_max)
		return -ERANGE;
	return answer(c, (ssize_t)used, in->size);
}

int fs_op_setxattr(struct fs_server *s, struct fs_call *c)
{
	bool extended = s->features & FUSE_SETXATTR_EXT;
	const struct fuse_setxattr_in *in =
		fs_take(c, extended ? sizeof(*in) : FUSE_COMPAT_SETXATTR_IN_SIZE);
	const char *name = in ? fs_text(c, FS_NAME_LEN) : NULL;
	const struct fs_node *node;
	const void *value;
	int r;

	node = xattr_node(s, c, &r);
	if (!node)
		return r;
	if (!name)
		return c->error;
	if (in->size > c->arg_len - c->at)
		return -EINVAL;
	if (is_acl(name))
		return -EOPNOTSUPP;
	value = fs_take(c, in->size);
	return setxattr(fs_fd_name(node->fd).text, name, value, in->size, (int)in->flags) < 0
		       ? -errno
		       : 0;
}

int fs_op_removexattr(struct fs_server *s, struct fs_call *c)
{
	const char *name = fs_text(c, FS_NAME_LEN);
	const struct fs_node *node;
	int r;

	node = xattr_node(s, c, &r);
	if (!node)
		return r;
	if (!name)
		return c->error;
	if (is_acl(name))
		return -EOPNOTSUPP;
	return removexattr(fs_fd_name(node->fd).text, name) < 0 ? -errno : 0;
}
