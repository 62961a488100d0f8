/* A server's beginning and end. */
#include "fs/internal.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <unistd.h>

enum {
	FILES_WANTED = 1 << 20,
	FILES_RESERVED = 512, /* for the rest of the process */
	/* Descriptors that the process's table has room for at once: see widen(). */
	FILES_READY = 16384
};

/*
 * Every inode that the guest knows costs a descriptor, so the limit goes as high as it may. How
 * high that is.
 */
static rlim_t raise_limit(void)
{
	struct rlimit limit, more;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 1024;
	if (limit.rlim_max < FILES_WANTED) {
		more = (struct rlimit){ FILES_WANTED, FILES_WANTED };
		if (setrlimit(RLIMIT_NOFILE, &more) == 0)
			return FILES_WANTED;
	}
	more = limit;
	more.rlim_cur = MIN(limit.rlim_max, (rlim_t)FILES_WANTED);
	if (more.rlim_cur > limit.rlim_cur && setrlimit(RLIMIT_NOFILE, &more) == 0)
		return more.rlim_cur;
	return limit.rlim_cur;
}

/*
 * The kernel doubles a process's table of descriptors when it is full, and once there are several
 * threads it waits for all CPUs in doing so. Do it now, while it costs nothing.
 */
static void widen(int fd, rlim_t limit)
{
	int high = (int)MIN(limit, (rlim_t)FILES_READY) - 1;
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, high);

	if (copy >= 0)
		close(copy);
}

static int open_proc(struct fs_server *s, struct error *err)
{
	struct statfs st;

	s->proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->proc_fd < 0 || fstatfs(s->proc_fd, &st) < 0)
		return error_set(err, ERROR_HOST, errno,
			"cannot open /proc/self/fd: %m: sharing directories needs /proc mounted");
	if (st.f_type != PROC_SUPER_MAGIC)
		return error_set(err, ERROR_HOST, ENODEV,
			"/proc is not a proc file system: sharing directories needs one");
	return 0;
}

/* The path as the user means it, links and all. What it leads to is held from here on. */
static int open_root(struct fs_server *s, const struct fs_options *options, struct error *err)
{
	const char *path = options->path;
	struct fs_node *node;
	struct statx st;
	int fd, r;

	fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, ERROR_USAGE, errno, "cannot share %s: %m", path);
	r = fs_stat(s, fd, &st);
	if (r < 0) {
		close(fd);
		return error_set(err, ERROR_USAGE, -r, "cannot share %s: %m", path);
	}
	s->is_file = S_ISREG(st.stx_mode);
	if (!s->is_file && !S_ISDIR(st.stx_mode)) {
		close(fd);
		return error_set(err, ERROR_USAGE, ENOTDIR,
			"cannot share %s: it is neither a directory nor a regular file", path);
	}
	if (s->is_file) {
		s->root = fs_table_add(&s->nodes);
		if (s->root) {
			s->root->fd = -1;
			s->root->type = S_IFDIR;
		}
	}
	node = !s->is_file || s->root ? fs_node_take(s, NULL, fd, &st) : NULL;
	if (!node)
		return error_set(err, ERROR_HOST, ENOMEM, "cannot share %s: out of memory", path);
	if (node->fenced)
		return error_set(err, ERROR_USAGE, EINVAL,
			"cannot share %s: it is an interface of the host's kernel, not storage",
			path);
	s->root_dev = node->dev;
	if (s->is_file)
		s->file = node;
	else
		s->root = node;
	return 0;
}

/* Now, and not in the guest at the first access: may we read it at all? */
static int try_root(struct fs_server *s, const struct fs_options *options, struct error *err)
{
	const struct fs_node *node = s->is_file ? s->file : s->root;
	int fd = fs_reopen(s, node, O_RDONLY);

	if (fd < 0)
		return error_set(err, ERROR_USAGE, -fd,
			"cannot share %s: it cannot be read: %m; check its permissions",
			options->path);
	close(fd);
	return 0;
}

int fs_server_open(struct fs_server **out, const struct fs_options *options, struct error *err)
{
	struct fs_server *s = calloc(1, sizeof(*s));
	rlim_t limit;
	int r;

	*out = NULL;
	if (!s)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory for a shared directory");
	s->proc_fd = -1;
	s->read_only = options->read_only;
	s->cache = options->cache;
	s->uid = geteuid();
	s->gid = getegid();
	s->as_root = fs_ids_root();
	s->handles.item = sizeof(struct fs_handle);
	r = fs_nodes_init(s);
	if (r < 0) {
		error_set(err, ERROR_HOST, -r, "out of memory for a shared directory");
		goto fail;
	}
	r = open_proc(s, err);
	if (r < 0)
		goto fail;
	limit = raise_limit();
	widen(s->proc_fd, limit);
	limit = limit > 2 * FILES_RESERVED ? limit - FILES_RESERVED : limit / 2;
	/* Open files never keep the guest from looking at others, nor the other way round. */
	s->handles.max = (uint32_t)(limit / 4);
	s->nodes.max = (uint32_t)(limit - limit / 4);
	r = open_root(s, options, err);
	if (r == 0)
		r = try_root(s, options, err);
	if (r < 0)
		goto fail;
	*out = s;
	return 0;
fail:
	fs_server_close(s);
	return r;
}

void fs_server_close(struct fs_server *s)
{
	if (!s)
		return;
	fs_handle_close_all(s);
	fs_table_free(&s->handles);
	fs_nodes_free(s);
	if (s->proc_fd >= 0)
		close(s->proc_fd);
	free(s);
}

bool fs_server_is_file(const struct fs_server *s)
{
	return s->is_file;
}

uint64_t fs_server_capabilities(const struct fs_server *s)
{
	return s->as_root ? fs_ids_wanted() : 0;
}

void fs_server_attach(struct fs_server *s, struct worker *worker)
{
	s->worker = worker;
	worker_allow_plain_files(worker);
	worker_allow(worker, IORING_OP_READV);
	worker_allow(worker, IORING_OP_FSYNC);
}

int fs_server_enter(struct fs_server *s)
{
	int r;

	/* Mask and working directory are this thread's own from here on. */
	if (unshare(CLONE_FS) < 0)
		return -errno;
	umask(0);
	/* Calls that only take a path reach a node by its descriptor's number. */
	if (fchdir(s->proc_fd) < 0)
		return -errno;
	r = fs_ids_enter(s);
	return r < 0 ? r : fs_wall(s);
}
