/* The content of open files: straight between the file and the guest's memory. */
#include "fs/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* A single request copies at most so much, so that the others have their turn. */
enum { COPY_MAX = 64 << 20 };

/* ---- what may take long, by the ring ---- */

static void on_complete(struct worker_op *op, int res, uint32_t cqe_flags)
{
	struct fs_request *q = container_of(op, struct fs_request, op);

	if (q->reads)
		fs_iov_close(&q->window);
	fs_handle_idle(q->server, q->file);
	fs_finish(q, res);
}

/* Hand @sqe, which is about @h, to the ring; the answer to @c comes with its completion. */
static int submit(
	struct fs_server *s, struct fs_call *c, struct fs_handle *h, struct io_uring_sqe *sqe)
{
	struct fs_request *q = c->request;

	q->server = s;
	q->unique = c->in.unique;
	q->file = h->slot.index;
	q->op.complete = on_complete;
	h->busy++;
	worker_submit_plain(s->worker, sqe, &q->op);
	return FS_WAITS;
}

/*
 * Read what is in the host's cache. -EAGAIN: not all of it is there, so the disk has to be waited
 * for. A file system that cannot tell is waited for here.
 */
static ssize_t read_cached(struct fs_server *s, const struct fs_handle *h,
	const struct fs_window *w, off_t at, size_t size)
{
	ssize_t n;

	if (s->worker && !s->no_nowait) {
		n = preadv2(h->fd, w->iov, (int)w->count, at, RWF_NOWAIT);
		if (n < 0 && errno != EOPNOTSUPP)
			return -errno;
		/* Less than asked for is the file's end, or that of what is cached. */
		if (n >= 0)
			return (size_t)n == size || at + n >= lseek(h->fd, 0, SEEK_END) ? n
											: -EAGAIN;
		s->no_nowait = true;
	}
	n = preadv(h->fd, w->iov, (int)w->count, at);
	return n < 0 ? -errno : n;
}

/* ---- the operations ---- */

int fs_op_read(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_read_in *in = fs_take(c, sizeof(*in));
	struct fs_handle *h = fs_handle(s, in->fh, false);
	struct fs_request *q = c->request;
	struct io_uring_sqe *sqe;
	size_t room = q->in_bytes - MIN(q->in_bytes, sizeof(struct fuse_out_header));
	ssize_t n;

	if (!h)
		return -EBADF;
	if (in->offset > INT64_MAX)
		return -EINVAL;
	fs_iov_open(&q->window, q->in, q->in_count, sizeof(struct fuse_out_header), in->size);
	n = read_cached(s, h, &q->window, (off_t)in->offset, MIN((size_t)in->size, room));
	if (n == -EAGAIN && s->worker) {
		sqe = worker_sqe(s->worker);
		io_uring_prep_readv(sqe, h->fd, q->window.iov, q->window.count, in->offset);
		q->reads = true;
		return submit(s, c, h, sqe);
	}
	fs_iov_close(&q->window);
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
	struct fs_handle *h = fs_handle(s, in->fh, directory);
	struct io_uring_sqe *sqe;

	if (!h)
		return -EBADF;
	if (h->fd < 0)
		return 0;
	if (s->worker) {
		sqe = worker_sqe(s->worker);
		io_uring_prep_fsync(sqe, h->fd,
			in->fsync_flags & FUSE_FSYNC_FDATASYNC ? IORING_FSYNC_DATASYNC : 0);
		c->request->reads = false;
		return submit(s, c, h, sqe);
	}
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
