/* Open files and directories, and how the content behind a node is opened. */
#include "fs/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct fs_handle *fs_handle(struct fs_server *s, uint64_t id, bool directory)
{
	struct fs_handle *h = fs_table_get(&s->handles, id);

	return h && h->directory == directory ? h : NULL;
}

struct fs_handle *fs_handle_add(struct fs_server *s, const struct fs_node *node, int fd)
{
	struct fs_handle *h = fs_table_add(&s->handles);

	if (!h)
		return NULL;
	h->fd = fd;
	h->node = fs_slot_id(&node->slot);
	h->directory = S_ISDIR(node->type);
	return h;
}

void fs_handle_close(struct fs_server *s, struct fs_handle *h)
{
	/* No longer the guest's, but the ring's yet. */
	h->slot.live = false;
	if (h->busy)
		return;
	if (h->fd >= 0)
		close(h->fd);
	fs_table_remove(&s->handles, h);
}

void fs_handle_idle(struct fs_server *s, uint32_t index)
{
	struct fs_handle *h = fs_table_at(&s->handles, index);

	if (!--h->busy && !h->slot.live)
		fs_handle_close(s, h);
}

void fs_handle_close_all(struct fs_server *s)
{
	for (uint32_t i = 0; i < s->handles.used; i++) {
		struct fs_handle *h = fs_table_at(&s->handles, i);

		if (h->slot.live)
			fs_handle_close(s, h);
	}
}

struct fs_fd_name fs_fd_name(int fd)
{
	struct fs_fd_name name;
	char *p = name.text + sizeof(name.text);

	*--p = 0;
	do
		*--p = (char)('0' + fd % 10);
	while ((fd /= 10));
	for (char *to = name.text; (*to++ = *p++);)
		;
	return name;
}

int fs_reopen(struct fs_server *s, const struct fs_node *node, int flags)
{
	int fd;

	/*
	 * Only these two: opening a device, a fifo or a socket would act on the host. The type of
	 * an inode never changes, so it was known before.
	 */
	if (S_ISLNK(node->type))
		return -ELOOP;
	if (!S_ISREG(node->type) && !S_ISDIR(node->type))
		return -ENXIO;
	if (node->fd < 0)
		return -EACCES;
	flags |= O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	if (S_ISDIR(node->type))
		fd = openat(node->fd, ".", flags | O_DIRECTORY | O_NOFOLLOW);
	else
		fd = openat(s->proc_fd, fs_fd_name(node->fd).text, flags);
	return fd < 0 ? -errno : fd;
}
