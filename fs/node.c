/*
 * The inodes that the guest knows. Each holds an O_PATH descriptor, so its number on the host's
 * file system stays its own as long as it is here; (file system, number, mount) finds it again,
 * under whatever name.
 */
#include "fs/internal.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { BUCKETS_FIRST = 1024 };

uint64_t fs_stat_dev(const struct statx *st)
{
	return (uint64_t)st->stx_dev_major << 32 | st->stx_dev_minor;
}

static uint64_t stat_mount(const struct statx *st)
{
	return st->stx_mask & STATX_MNT_ID ? st->stx_mnt_id : 0;
}

static uint32_t bucket_of(const struct fs_server *s, uint64_t ino, uint64_t dev, uint64_t mount)
{
	uint64_t h = (ino ^ dev << 20 ^ mount << 44) * 0x9e3779b97f4a7c15;

	return (uint32_t)(h >> 32) & (s->buckets - 1);
}

struct fs_node *fs_node(struct fs_server *s, uint64_t id)
{
	return fs_table_get(&s->nodes, id);
}

struct fs_node *fs_directory(struct fs_server *s, uint64_t id, int *error)
{
	struct fs_node *node = fs_node(s, id);

	if (!node)
		*error = -ESTALE;
	else if (!S_ISDIR(node->type))
		*error = -ENOTDIR;
	else if (node->fenced)
		*error = -EACCES;
	else
		return node;
	return NULL;
}

struct fs_node *fs_node_find(struct fs_server *s, const struct statx *st)
{
	uint64_t dev = fs_stat_dev(st), mount = stat_mount(st);
	struct fs_node *node = s->bucket[bucket_of(s, st->stx_ino, dev, mount)];

	while (node && (node->ino != st->stx_ino || node->dev != dev || node->mount != mount))
		node = node->next;
	return node;
}

static void hash(struct fs_server *s, struct fs_node *node)
{
	struct fs_node **at = &s->bucket[bucket_of(s, node->ino, node->dev, node->mount)];

	node->next = *at;
	*at = node;
}

static void unhash(struct fs_server *s, struct fs_node *node)
{
	struct fs_node **at = &s->bucket[bucket_of(s, node->ino, node->dev, node->mount)];

	while (*at && *at != node)
		at = &(*at)->next;
	if (*at)
		*at = node->next;
}

/* Twice the buckets; where there is no memory the chains just get longer. */
static void rehash(struct fs_server *s)
{
	struct fs_node **bucket = calloc(s->buckets * 2ULL, sizeof(*bucket));

	if (!bucket)
		return;
	free(s->bucket);
	s->bucket = bucket;
	s->buckets *= 2;
	for (uint32_t i = 0; i < s->nodes.used; i++) {
		struct fs_node *node = fs_table_at(&s->nodes, i);

		if (node->slot.live && node->fd >= 0)
			hash(s, node);
	}
}

/*
 * A mount below the directory that is no storage but an interface of the host's kernel: what is
 * written there would act on the host with whatever rights this process has left.
 */
static bool is_kernel_interface(int fd)
{
	struct statfs st;

	if (fstatfs(fd, &st) < 0)
		return true;
	switch ((unsigned long)st.f_type) {
	case PROC_SUPER_MAGIC:
	case SYSFS_MAGIC:
	case CGROUP_SUPER_MAGIC:
	case CGROUP2_SUPER_MAGIC:
	case DEBUGFS_MAGIC:
	case TRACEFS_MAGIC:
	case SECURITYFS_MAGIC:
	case SELINUX_MAGIC:
	case SMACK_MAGIC:
	case BPF_FS_MAGIC:
	case DEVPTS_SUPER_MAGIC:
	case BINFMTFS_MAGIC:
	case PSTOREFS_MAGIC:
	case EFIVARFS_MAGIC:
	case NSFS_MAGIC:
	case 0x62656570: /* configfs */
	case 0x65735543: /* fusectl */
		return true;
	default:
		return false;
	}
}

struct fs_node *fs_node_take(
	struct fs_server *s, const struct fs_node *parent, int fd, const struct statx *st)
{
	struct fs_node *node = fs_node_find(s, st);

	if (node) {
		close(fd);
		return node;
	}
	node = fs_table_add(&s->nodes);
	if (!node) {
		close(fd);
		return NULL;
	}
	node->fd = fd;
	node->type = st->stx_mode & S_IFMT;
	node->ino = st->stx_ino;
	node->dev = fs_stat_dev(st);
	node->mount = stat_mount(st);
	if (!parent || parent->mount != node->mount || parent->dev != node->dev)
		node->fenced = is_kernel_interface(fd);
	if (s->nodes.count > s->buckets)
		rehash(s); /* puts the new one in as well */
	if (fs_node_find(s, st) != node)
		hash(s, node);
	return node;
}

static void drop(struct fs_server *s, struct fs_node *node)
{
	fs_locks_drop_all(s, node);
	unhash(s, node);
	close(node->fd);
	fs_table_remove(&s->nodes, node);
}

void fs_node_forget(struct fs_server *s, struct fs_node *node, uint64_t lookups)
{
	node->lookups -= MIN(lookups, node->lookups);
	if (!node->lookups && node != s->root && node != s->file)
		drop(s, node);
}

void fs_node_forget_all(struct fs_server *s)
{
	for (uint32_t i = 0; i < s->nodes.used; i++) {
		struct fs_node *node = fs_table_at(&s->nodes, i);

		if (!node->slot.live)
			continue;
		if (node == s->root || node == s->file) {
			fs_locks_drop_all(s, node);
			node->lookups = 0;
			node->seen = false;
		} else {
			drop(s, node);
		}
	}
}

int fs_nodes_init(struct fs_server *s)
{
	s->nodes.item = sizeof(struct fs_node);
	s->buckets = BUCKETS_FIRST;
	s->bucket = calloc(s->buckets, sizeof(*s->bucket));
	return s->bucket ? 0 : -ENOMEM;
}

void fs_nodes_free(struct fs_server *s)
{
	for (uint32_t i = 0; i < s->nodes.used; i++) {
		struct fs_node *node = fs_table_at(&s->nodes, i);

		if (!node->slot.live)
			continue;
		fs_locks_drop_all(s, node);
		if (node->fd >= 0)
			close(node->fd);
	}
	fs_table_free(&s->nodes);
	free(s->bucket);
}
