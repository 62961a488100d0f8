/* From a request's bytes to the operation it names, and back with the answer. */
#include "fs/internal.h"

#include <errno.h>
#include <string.h>

/* Behind the flags that Debian 12's header knows: bits of flags2, as 64-bit flags. */
#define INIT_DIRECT_IO_ALLOW_MMAP (1ULL << 36) /* Linux 6.6 */

enum { OP_STATX = 52, MINOR_LEAST = 31 /* the first with virtio-fs */ };

void *fs_take(struct fs_call *c, size_t len)
{
	static uint64_t nothing[16];
	uint8_t *p = (uint8_t *)c->arg + c->at;

	/* Only for what is in the operation's table is it certain that there is enough. */
	if (len > c->arg_len - c->at)
		return len <= sizeof(nothing) ? nothing : NULL;
	c->at += len;
	return p;
}

const char *fs_text(struct fs_call *c, size_t max)
{
	const char *text = (const char *)c->arg + c->at;
	size_t len = strnlen(text, c->arg_len - c->at);

	if (len == c->arg_len - c->at || !len || len > max) {
		c->error = len > max ? -ENAMETOOLONG : -EINVAL;
		return NULL;
	}
	c->at += len + 1;
	return text;
}

const char *fs_name(struct fs_call *c)
{
	const char *name = fs_text(c, FS_NAME_LEN);

	if (!name)
		return NULL;
	/* The two that lead elsewhere. */
	if (!strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
		return name;
	c->error = -EINVAL;
	return NULL;
}

/* ---- the beginning and the end ---- */

static uint64_t wanted_features(const struct fs_server *s)
{
	uint64_t f = FUSE_ASYNC_READ | FUSE_POSIX_LOCKS | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES |
		     FUSE_FLOCK_LOCKS | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO |
		     FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS |
		     FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT | FUSE_INIT_EXT;

	if (s->cache != FS_CACHE_ALWAYS)
		f |= FUSE_AUTO_INVAL_DATA;
	if (s->cache == FS_CACHE_NONE)
		f |= INIT_DIRECT_IO_ALLOW_MMAP;
	return f;
}

/* Whatever an earlier mount had open or knew. */
static void start_over(struct fs_server *s)
{
	fs_cancel(s);
	fs_handle_close_all(s);
	fs_node_forget_all(s);
	s->initialised = false;
	s->features = 0;
}

static int op_init(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_init_in *in = c->arg;
	struct fuse_init_out *out = c->reply;
	uint64_t offered = in->flags;

	start_over(s);
	*out = (struct fuse_init_out){
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_KERNEL_MINOR_VERSION,
	};
	if (in->major > FUSE_KERNEL_VERSION)
		return sizeof(*out); /* the guest asks again with ours */
	if (in->major < FUSE_KERNEL_VERSION || in->minor < MINOR_LEAST)
		return -EPROTO;
	if (offered & FUSE_INIT_EXT && c->arg_len >= sizeof(*in))
		offered |= (uint64_t)in->flags2 << 32;
	s->features = offered & wanted_features(s);
	s->initialised = true;
	out->flags = (uint32_t)s->features;
	out->flags2 = (uint32_t)(s->features >> 32);
	out->max_readahead = in->max_readahead;
	out->max_background = 64;
	out->congestion_threshold = 48;
	out->max_write = FS_WRITE_MAX;
	out->max_pages = FS_PAGES_MAX;
	out->time_gran = 1;
	return sizeof(*out);
}

static int op_destroy(struct fs_server *s, struct fs_call *c)
{
	start_over(s);
	return 0;
}

static void forget(struct fs_server *s, uint64_t id, uint64_t lookups)
{
	struct fs_node *node = fs_node(s, id);

	if (node)
		fs_node_forget(s, node, lookups);
}

static int op_forget(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_forget_in *in = c->arg;

	forget(s, c->in.nodeid, in->nlookup);
	return FS_NO_REPLY;
}

static int op_batch_forget(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_batch_forget_in *in = fs_take(c, sizeof(*in));
	uint32_t count = in->count;

	for (uint32_t i = 0; i < count && c->arg_len - c->at >= sizeof(struct fuse_forget_one);
		i++) {
		const struct fuse_forget_one *one = fs_take(c, sizeof(*one));

		forget(s, one->nodeid, one->nlookup);
	}
	return FS_NO_REPLY;
}

static int op_interrupt(struct fs_server *s, struct fs_call *c)
{
	const struct fuse_interrupt_in *in = c->arg;

	fs_interrupt(s, in->unique);
	return FS_NO_REPLY;
}

/* Not known to inodes of the host's that this serves: chattr(1) and the like. */
static int op_ioctl(struct fs_server *s, struct fs_call *c)
{
	return -ENOTTY;
}

/* ---- the table ---- */

struct op {
	fs_op run;
	uint16_t arg;	/* bytes of arguments there must be */
	uint16_t reply; /* bytes of room for the answer there must be */
	bool changes;	/* refused where the directory is read-only */
};

#define IN(type)  sizeof(struct fuse_##type##_in)
#define OUT(type) sizeof(struct fuse_##type##_out)

static const struct op ops[] = {
	[FUSE_LOOKUP] = { fs_op_lookup, 0, OUT(entry) },
	[FUSE_FORGET] = { op_forget, IN(forget) },
	[FUSE_GETATTR] = { fs_op_getattr, 0, OUT(attr) },
	[FUSE_SETATTR] = { fs_op_setattr, IN(setattr), OUT(attr), true },
	[FUSE_READLINK] = { fs_op_readlink },
	[FUSE_SYMLINK] = { fs_op_symlink, 0, OUT(entry), true },
	[FUSE_MKNOD] = { fs_op_mknod, IN(mknod), OUT(entry), true },
	[FUSE_MKDIR] = { fs_op_mkdir, IN(mkdir), OUT(entry), true },
	[FUSE_UNLINK] = { fs_op_unlink, 0, 0, true },
	[FUSE_RMDIR] = { fs_op_rmdir, 0, 0, true },
	[FUSE_RENAME] = { fs_op_rename, IN(rename), 0, true },
	[FUSE_LINK] = { fs_op_link, IN(link), OUT(entry), true },
	[FUSE_OPEN] = { fs_op_open, IN(open), OUT(open) },
	[FUSE_READ] = { fs_op_read, IN(read) },
	[FUSE_WRITE] = { fs_op_write, IN(write), OUT(write), true },
	[FUSE_STATFS] = { fs_op_statfs, 0, OUT(statfs) },
	[FUSE_RELEASE] = { fs_op_release, IN(release) },
	[FUSE_FSYNC] = { fs_op_fsync, IN(fsync) },
	[FUSE_SETXATTR] = { fs_op_setxattr, FUSE_COMPAT_SETXATTR_IN_SIZE, 0, true },
	[FUSE_GETXATTR] = { fs_op_getxattr, IN(getxattr) },
	[FUSE_LISTXATTR] = { fs_op_listxattr, IN(getxattr) },
	[FUSE_REMOVEXATTR] = { fs_op_removexattr, 0, 0, true },
	[FUSE_FLUSH] = { fs_op_flush, IN(flush) },
	[FUSE_INIT] = { op_init, offsetof(struct fuse_init_in, flags2), OUT(init) },
	[FUSE_OPENDIR] = { fs_op_opendir, IN(open), OUT(open) },
	[FUSE_READDIR] = { fs_op_readdir, IN(read) },
	[FUSE_RELEASEDIR] = { fs_op_releasedir, IN(release) },
	[FUSE_FSYNCDIR] = { fs_op_fsyncdir, IN(fsync) },
	[FUSE_GETLK] = { fs_op_getlk, IN(lk), OUT(lk) },
	[FUSE_SETLK] = { fs_op_setlk, IN(lk) },
	[FUSE_SETLKW] = { fs_op_setlkw, IN(lk) },
	[FUSE_CREATE] = { fs_op_create, IN(create), OUT(entry) + OUT(open), true },
	[FUSE_INTERRUPT] = { op_interrupt, IN(interrupt) },
	[FUSE_DESTROY] = { op_destroy },
	[FUSE_IOCTL] = { op_ioctl },
	[FUSE_BATCH_FORGET] = { op_batch_forget, IN(batch_forget) },
	[FUSE_FALLOCATE] = { fs_op_fallocate, IN(fallocate), 0, true },
	[FUSE_READDIRPLUS] = { fs_op_readdirplus, IN(read) },
	[FUSE_RENAME2] = { fs_op_rename2, IN(rename2), 0, true },
	[FUSE_LSEEK] = { fs_op_lseek, IN(lseek), OUT(lseek) },
	[FUSE_COPY_FILE_RANGE] = { fs_op_copy, IN(copy_file_range), OUT(write), true },
	[FUSE_SYNCFS] = { fs_op_syncfs, IN(syncfs) },
	[FUSE_TMPFILE] = { fs_op_tmpfile, IN(create), OUT(entry) + OUT(open), true },
	[OP_STATX] = { fs_op_statx, 24, 32 + 256 },
};

/* ---- a request ---- */

static int run(struct fs_server *s, struct fs_call *c)
{
	const struct op *op = c->in.opcode < ARRAY_SIZE(ops) ? &ops[c->in.opcode] : NULL;

	if (!op || !op->run)
		return -ENOSYS;
	if (c->arg_len < op->arg)
		return -EINVAL;
	if (c->reply_max < op->reply)
		return -EIO;
	if (!s->initialised && c->in.opcode != FUSE_INIT && c->in.opcode != FUSE_DESTROY)
		return -EIO;
	if (op->changes && s->read_only)
		return -EROFS;
	return op->run(s, c);
}

/* What the guest wrote is copied here once; only the data of a write stays where it is. */
static int copy_in(struct fs_server *s, struct fs_call *c)
{
	const struct fs_request *q = c->request;
	size_t wanted;

	if (fs_iov_read(q->out, q->out_count, s->args, sizeof(c->in)) < sizeof(c->in))
		return FS_NO_REPLY;
	memcpy(&c->in, s->args, sizeof(c->in));
	if (c->in.len < sizeof(c->in) || c->in.len > q->out_bytes)
		return -EINVAL;
	wanted = c->in.opcode == FUSE_WRITE
			 ? MIN((size_t)c->in.len, sizeof(c->in) + sizeof(struct fuse_write_in))
			 : c->in.len;
	if (wanted > sizeof(s->args))
		return -E2BIG;
	fs_iov_read(q->out, q->out_count, s->args, wanted);
	/* The header is what it was the first time, whatever the guest has made of it. */
	c->arg = s->args + sizeof(c->in);
	c->arg_len = wanted - sizeof(c->in);
	return 0;
}

static int64_t answer(struct fs_server *s, struct fs_call *c, int result)
{
	const struct fs_request *q = c->request;
	struct fuse_out_header head = { .unique = c->in.unique,
		.len = sizeof(head) + (uint32_t)MAX(result, 0),
		.error = MIN(result, 0) };
	size_t bytes = c->in_place ? sizeof(head) : head.len;

	if (q->in_bytes < head.len)
		return 0;
	memcpy(s->answer, &head, sizeof(head));
	fs_iov_write(q->in, q->in_count, s->answer, bytes);
	return head.len;
}

int64_t fs_serve(struct fs_server *s, struct fs_request *request)
{
	struct fs_call c = { .request = request };
	int r;

	c.reply = s->answer + sizeof(struct fuse_out_header);
	if (request->in_bytes > sizeof(struct fuse_out_header))
		c.reply_max = MIN(
			request->in_bytes - sizeof(struct fuse_out_header), (size_t)FS_REPLY_MAX);
	r = copy_in(s, &c);
	if (r == 0)
		r = run(s, &c);
	if (r == FS_WAITS)
		return FS_LATER;
	return r == FS_NO_REPLY ? 0 : answer(s, &c, r);
}

void fs_finish(struct fs_request *request, int result)
{
	struct fuse_out_header head = { .len = sizeof(head) + (uint32_t)MAX(result, 0),
		.error = MIN(result, 0),
		.unique = request->unique };

	if (request->in_bytes < head.len)
		head.len = 0;
	else
		fs_iov_write(request->in, request->in_count, &head, sizeof(head));
	request->done(request, head.len);
}
