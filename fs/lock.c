/*
 * Locks, the host's own: so guest and host respect each other's.
 *
 * POSIX locks belong to an owner (a process of the guest) and go when it closes any descriptor of
 * the file. Each (file, owner) has an open file description of its own here, which holds them all
 * (F_OFD_SETLK). A flock belongs to an open file, which is one on the host as well.
 *
 * Nothing here waits: who wants to is put on a list and tried again, after each unlock that passes
 * through here, and from time to time for those of the host's processes.
 */
#include "fs/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

static struct fs_owner *find_owner(const struct fs_node *node, uint64_t id)
{
	struct fs_owner *owner = node->owners;

	while (owner && owner->id != id)
		owner = owner->next;
	return owner;
}

/* Whatever mode is allowed: a description that can take both kinds of lock, if there may be one. */
static int open_for_locks(struct fs_server *s, const struct fs_node *node)
{
	int fd = s->read_only ? -EROFS : fs_reopen(s, node, O_RDWR);

	if (fd < 0 && fd != -EMFILE)
		fd = fs_reopen(s, node, O_RDONLY);
	if (fd == -EACCES && !s->read_only)
		fd = fs_reopen(s, node, O_WRONLY);
	return fd == -EMFILE ? -ENOLCK : fd;
}

static int add_owner(struct fs_server *s, struct fs_node *node, uint64_t id, struct fs_owner **out)
{
	struct fs_owner *owner = calloc(1, sizeof(*owner));

	if (!owner)
		return -ENOLCK;
	owner->id = id;
	owner->fd = open_for_locks(s, node);
	if (owner->fd < 0) {
		int r = owner->fd;

		free(owner);
		return r;
	}
	owner->next = node->owners;
	node->owners = owner;
	*out = owner;
	return 0;
}

static void drop_owner(struct fs_server *s, struct fs_owner **at)
{
	struct fs_owner *owner = *at;

	*at = owner->next;
	close(owner->fd);
	free(owner);
	s->unlocked = true;
}

void fs_locks_drop(struct fs_server *s, struct fs_node *node, uint64_t id)
{
	for (struct fs_owner **at = &node->owners; *at; at = &(*at)->next) {
		if ((*at)->id == id) {
			drop_owner(s, at);
			return;
		}
	}
}

void fs_locks_drop_all(struct fs_server *s, struct fs_node *node)
{
	while (node->owners)
		drop_owner(s, &node->owners);
}

static struct flock to_host(const struct fs_lock *l)
{
	return (struct flock){
		.l_type = l->type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)l->start,
		.l_len = l->end == INT64_MAX ? 0 : (off_t)(l->end - l->start + 1),
	};
}

static int try_posix(struct fs_server *s, const struct fs_lock *l)
{
	struct fs_node *node = fs_node(s, l->node);
	struct flock host = to_host(l);
	struct fs_owner *owner;
	int r;

	if (!node)
		return -ESTALE;
	if (!S_ISREG(node->type) || node->fenced)
		return -EBADF;
	owner = find_owner(node, l->owner);
	if (l->type == F_UNLCK) {
		if (!owner)
			return 0;
		s->unlocked = true;
		if (!l->start && l->end == INT64_MAX) {
			fs_locks_drop(s, node, l->owner);
			return 0;
		}
	} else if (!owner) {
		r = add_owner(s, node, l->owner, &owner);
		if (r < 0)
			return r;
	}
	owner->pid = l->pid;
	if (fcntl(owner->fd, F_OFD_SETLK, &host) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

static int try_flock(struct fs_server *s, const struct fs_lock *l)
{
	const struct fs_handle *h = fs_handle(s, l->handle, false);
	int op = l->type == F_RDLCK ? LOCK_SH : l->type == F_WRLCK ? LOCK_EX : LOCK_UN;

	if (!h)
		h = fs_handle(s, l->handle, true);
	if (!h || h->fd < 0)
		return -EBADF;
	if (flock(h->fd, op | LOCK_NB) < 0)
		return -errno;
	/* Whoever goes from exclusive to shared lets others in, too. */
	s->unlocked = true;
	return 0;
}

static int try_lock(struct fs_server *s, const struct fs_lock *l)
{
	return l->flock ? try_flock(s, l) : try_posix(s, l);
}

static int take_lock(struct fs_call *c, struct fs_lock *l)
{
	const struct fuse_lk_in *in = fs_take(c, sizeof(*in));

	*l = (struct fs_lock){
		.node = c->in.nodeid,
		.handle = in->fh,
		.owner = in->owner,
		.start = in->lk.start,
		.end = in->lk.end,
		.pid = in->lk.pid,
		.type = (int16_t)in->lk.type,
		.flock = in->lk_flags & FUSE_LK_FLOCK,
	};
	if (in->lk.type != F_RDLCK && in->lk.type != F_WRLCK && in->lk.type != F_UNLCK)
		return -EINVAL;
	if (l->end > INT64_MAX || l->start > l->end)
		return -EINVAL;
	return 0;
}

int fs_op_setlk(struct fs_server *s, struct fs_call *c)
{
	struct fs_lock l;
	int r = take_lock(c, &l);

	return r < 0 ? r : try_lock(s, &l);
}

int fs_op_setlkw(struct fs_server *s, struct fs_call *c)
{
	struct fs_request **at = &s->waiting;
	struct fs_lock l;
	int r = take_lock(c, &l);

	if (r == 0)
		r = try_lock(s, &l);
	if (r != -EAGAIN)
		return r;
	c->request->lock = l;
	c->request->unique = c->in.unique;
	c->request->next = NULL;
	while (*at)
		at = &(*at)->next;
	*at = c->request;
	return FS_WAITS;
}

/* Whose lock is in the way? Known for certain only if one other owner here has any. */
static uint32_t holder(const struct fs_node *node, const struct fs_owner *asking)
{
	const struct fs_owner *other = NULL;

	for (const struct fs_owner *o = node->owners; o; o = o->next) {
		if (o == asking)
			continue;
		if (other)
			return 0;
		other = o;
	}
	return other ? other->pid : 0;
}

int fs_op_getlk(struct fs_server *s, struct fs_call *c)
{
	struct fs_node *node = fs_node(s, c->in.nodeid);
	struct fuse_lk_out *out = c->reply;
	struct fs_owner *owner;
	struct flock host;
	struct fs_lock l;
	int fd, r = take_lock(c, &l);

	if (r < 0)
		return r;
	if (!node)
		return -ESTALE;
	if (!S_ISREG(node->type) || node->fenced)
		return -EBADF;
	owner = find_owner(node, l.owner);
	fd = owner ? owner->fd : open_for_locks(s, node);
	if (fd < 0)
		return fd;
	host = to_host(&l);
	r = fcntl(fd, F_OFD_GETLK, &host) < 0 ? -errno : 0;
	if (!owner)
		close(fd);
	if (r < 0)
		return r;
	*out = (struct fuse_lk_out){ .lk = { .type = (uint32_t)host.l_type } };
	if (host.l_type != F_UNLCK) {
		out->lk.start = (uint64_t)host.l_start;
		out->lk.end = host.l_len ? (uint64_t)(host.l_start + host.l_len - 1) : INT64_MAX;
		out->lk.pid = host.l_pid > 0 ? 0 : holder(node, owner);
	}
	return sizeof(*out);
}

/* ---- those who wait ---- */

bool fs_waiting(const struct fs_server *s)
{
	return s->waiting;
}

bool fs_unlocked(const struct fs_server *s)
{
	return s->unlocked && s->waiting;
}

void fs_retry(struct fs_server *s)
{
	struct fs_request **at = &s->waiting;

	s->unlocked = false;
	while (*at) {
		struct fs_request *request = *at;
		int r = try_lock(s, &request->lock);

		if (r == -EAGAIN) {
			at = &request->next;
			continue;
		}
		*at = request->next;
		fs_finish(request, r);
	}
}

void fs_cancel(struct fs_server *s)
{
	while (s->waiting) {
		struct fs_request *request = s->waiting;

		s->waiting = request->next;
		fs_finish(request, -EINTR);
	}
}

bool fs_interrupt(struct fs_server *s, uint64_t unique)
{
	for (struct fs_request **at = &s->waiting; *at; at = &(*at)->next) {
		struct fs_request *request = *at;

		if (request->unique != unique)
			continue;
		*at = request->next;
		fs_finish(request, -EINTR);
		return true;
	}
	return false;
}
