/* The content of open files: straight between the file and the guest's memory. */
#include "fs/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* A single request copies at most so much, so that the others have their turn. */
enum { COPY_MAX = 64 << 20 };

int fs_op_read(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_read_in *in = fs_take(c, sizeof(*in));
	const struct fs_handle *h = fs_handle(s, in->fh, false);
	struct fs_request *q = c->request;
	struct fs_window w;
	ssize_t n;

	if (!h)
		return -EBADF;
	if (in->offset > INT64_MAX)
		return -EINVAL;
	fs_iov_open(&w, q->in, q->in_count, sizeof(struct fuse_out_header), in->size);
	n = preadv(h->fd, w.iov, (int)w.count, (off_t)in->offset);
	n = n < 0 ? -errno : n;
	fs_iov_close(&w);
	c->in_place = true;
	return (int)n;
}

int fs_op_write(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_write_in *in = fs_take(c, sizeof(*in));
	const struct fs_handle *h = fs_handle(s, in->fh, false);
	struct fuse_write_out *out = c->reply;
	struct fs_request *q = c->request;
	size_t head = sizeof(c->in) + sizeof(*in);
	struct fs_window w;
	int flags = 0;
	ssize_t n;

	if (!h)
		return -EBADF;
	if (in->offset > INT64_MAX || in->size > q->out_bytes - head)
		return -EINVAL;
	/* What comes from the guest's page cache knows its place; its flags are not the writer's. */
	if (in->flags & O_APPEND && !(in->write_flags & FUSE_WRITE_CACHE))
		flags |= RWF_APPEND;
	fs_ids_keep_bits(s, !(in->write_flags & FUSE_WRITE_KILL_SUIDGID));
	fs_iov_open(&w, q->out, q->out_count, head, in->size);
	if (flags)
		n = pwritev2(h->fd, w.iov, (int)w.count, (off_t)in->offset, flags);
	else
		n = pwritev(h->fd, w.iov, (int)w.count, (off_t)in->offset);
	n = n < 0 ? -errno : n;
	fs_iov_close(&w);
	if (n < 0)
		return (int)n;
	*out = (struct fuse_write_out){ .size = (uint32_t)n };
	return sizeof(*out);
}

static int sync_handle(struct fs_server *s, struct fs_call *c, bool directory)
{
	const struct fuse_fsync_in *in = fs_take(c, sizeof(*in));
	const struct fs_handle *h = fs_handle(s, in->fh, directory);

	if (!h)
		return -EBADF;
	if (h->fd < 0)
		return 0;
	return (in->fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(h->fd) : fsync(h->fd)) < 0
		       ? -errno
		       : 0;
}

int fs_op_fsync(struct fs_server *s, struct fs_call *c)
{
	return sync_handle(s, c, false);
}

int fs_op_fsyncdir(struct fs_server *s, struct fs_call *c)
{
	return sync_handle(s, c, true);
}

int fs_op_syncfs(struct fs_server *s, struct fs_call *c)
{
	int fd = fs_reopen(s, s->is_file ? s->file : s->root, O_RDONLY);
	int r;

	if (fd < 0)
		return fd;
	r = syncfs(fd) < 0 ? -errno : 0;
	close(fd);
	return r;
}

int fs_op_fallocate(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_fallocate_in *in = fs_take(c, sizeof(*in));
	const struct fs_handle *h = fs_handle(s, in->fh, false);

	if (!h)
		return -EBADF;
	if (in->offset > INT64_MAX || in->length > INT64_MAX || in->mode > INT32_MAX)
		return -EINVAL;
	return fallocate(h->fd, (int)in->mode, (off_t)in->offset, (off_t)in->length) < 0 ? -errno
											 : 0;
}

int fs_op_lseek(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_lseek_in *in = fs_take(c, sizeof(*in));
	const struct fs_handle *h = fs_handle(s, in->fh, false);
	struct fuse_lseek_out *out = c->reply;
	off_t at;

	if (!h)
		return -EBADF;
	/* The position itself is the guest's: only these two ask something of the file. */
	if (in->whence != SEEK_DATA && in->whence != SEEK_HOLE && in->whence != SEEK_END)
		return -EINVAL;
	at = lseek(h->fd, (off_t)in->offset, (int)in->whence);
	if (at < 0)
		return -errno;
	*out = (struct fuse_lseek_out){ .offset = (uint64_t)at };
	return sizeof(*out);
}

int fs_op_copy(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_copy_file_range_in *in = fs_take(c, sizeof(*in));
	const struct fs_handle *from = fs_handle(s, in->fh_in, false);
	const struct fs_handle *to = fs_handle(s, in->fh_out, false);
	struct fuse_write_out *out = c->reply;
	off_t off_in = (off_t)in->off_in, off_out = (off_t)in->off_out;
	ssize_t n;

	if (!from || !to)
		return -EBADF;
	if (off_in < 0 || off_out < 0 || in->flags)
		return -EINVAL;
	n = copy_file_range(
		from->fd, &off_in, to->fd, &off_out, MIN(in->len, (uint64_t)COPY_MAX), 0);
	if (n < 0)
		return -errno;
	*out = (struct fuse_write_out){ .size = (uint32_t)n };
	return sizeof(*out);
}
