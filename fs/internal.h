/* What the files of fs/ share. Everything below belongs to the serving thread once it runs. */
#pragma once

#include "fs/fs.h"
#include "util/log.h"
#include "util/macros.h"

#include <linux/fuse.h>
#include <sys/stat.h>
#include <sys/types.h>

enum {
	FS_NAME_LEN = 255,
	/* The longest of each: a 64 KiB xattr with its name, and its value. */
	FS_ARGS_MAX = 68 << 10,
	FS_REPLY_MAX = 64 << 10,
	FS_WRITE_MAX = 1 << 20,
	FS_PAGES_MAX = FS_WRITE_MAX / 4096
};

/* What an operation returns besides the bytes of its answer and -errno. */
enum { FS_NO_REPLY = -10000, FS_WAITS = -10001 };

/*
 * A table of things that the guest names by number: nodes, open files. Chunks never move. A number
 * is the slot's place (from 1 on) in the low half and its generation in the high one, so what the
 * guest has given back names nothing any more.
 */
struct fs_slot {
	uint32_t index, generation;
	uint32_t next_free; /* place, 0: none */
	bool live;
};

struct fs_table {
	size_t item; /* bytes of an entry, which begins with struct fs_slot */
	void **chunk;
	uint32_t chunks, used, free, count, max;
};

void *fs_table_add(struct fs_table *t); /* zeroed but for the slot; NULL: full */
void *fs_table_get(const struct fs_table *t, uint64_t id);
void *fs_table_at(const struct fs_table *t, uint32_t index);
void fs_table_remove(struct fs_table *t, void *entry);
void fs_table_free(struct fs_table *t);

static inline uint64_t fs_slot_id(const struct fs_slot *slot)
{
	return (uint64_t)slot->generation << 32 | (slot->index + 1);
}

/* POSIX locks of one owner on one file: an open file description that holds them (F_OFD_SETLK). */
struct fs_owner {
	struct fs_owner *next;
	uint64_t id;
	uint32_t pid;
	int fd;
	bool writable;
};

/* An inode that the guest knows: an O_PATH descriptor and how often it was told of it. */
struct fs_node {
	struct fs_slot slot;
	int fd; /* -1: the directory around a single file */
	mode_t type;
	uint64_t ino, dev, mount;
	uint64_t lookups;
	struct fs_node *next; /* in the same bucket */
	struct fs_owner *owners;
	bool expect_known; /* the last name looked up in here was of a known node */
	bool fenced;	   /* a kernel interface is mounted here */
	/* When the guest last opened the file, to tell whether its cache is still right. */
	struct statx_timestamp seen_ctime;
	uint64_t seen_size;
	bool seen;
};

struct fs_handle {
	struct fs_slot slot;
	int fd;
	bool directory;
	bool writable;
	uint32_t busy; /* operations on it with the ring: it is closed after them */
	uint64_t node;
	off_t position; /* directories: where the descriptor stands */
};

struct fs_server {
	/* Constant after open. */
	bool read_only, is_file, as_root;
	enum fs_cache cache;
	int proc_fd;	       /* /proc/self/fd */
	struct worker *worker; /* NULL: nothing goes to a ring */
	uint32_t uid, gid;
	uint64_t root_dev;

	/* Serving thread. */
	struct fs_table nodes, handles;
	struct fs_node **bucket;
	uint32_t buckets;
	struct fs_node *root;
	struct fs_node *file; /* is_file: the one file */
	bool initialised;
	uint64_t features; /* FUSE_... agreed upon */
	struct fs_request *waiting;
	bool unlocked;
	bool no_nowait; /* the file system cannot say what is in its cache */
	/* Credentials of the thread, see ids.c. */
	uint32_t fsuid, fsgid;
	bool fsetid;
	uint32_t permitted[2];
	struct log_limit complaints;

	uint8_t args[FS_ARGS_MAX] __attribute__((aligned(8)));
	/* struct fuse_out_header, then the answer. */
	uint8_t answer[sizeof(struct fuse_out_header) + FS_REPLY_MAX] __attribute__((aligned(8)));
	uint8_t scratch[FS_REPLY_MAX] __attribute__((aligned(8)));
};

/* A request being served. */
struct fs_call {
	struct fs_request *request;
	struct fuse_in_header in;
	void *arg;	  /* what is behind the header, copied */
	size_t arg_len;	  /* bytes there */
	size_t at;	  /* of them taken by fs_take() and fs_name() */
	void *reply;	  /* where the answer goes */
	size_t reply_max; /* what the guest has room for, or we have */
	bool in_place;	  /* the answer is in the guest already */
	int error;	  /* why fs_name() or fs_text() gave NULL: -errno */
};

/* One operation: bytes of the answer, -errno, FS_NO_REPLY or FS_WAITS. */
typedef int (*fs_op)(struct fs_server *s, struct fs_call *c);

/* dispatch.c. The fixed part of the arguments, @len bytes, checked to be there; never NULL. */
void *fs_take(struct fs_call *c, size_t len);
/* The next name in the arguments; NULL and c->error if there is none or it cannot be one name. */
const char *fs_name(struct fs_call *c);
/* The same for text that is no name: a link's target. */
const char *fs_text(struct fs_call *c, size_t max);
/* Answer a request that waited: -errno, or bytes that are in the guest behind the header. */
void fs_finish(struct fs_request *request, int result);

/* node.c */
struct fs_node *fs_node(struct fs_server *s, uint64_t id);
/* A directory that names can be looked up in: NULL and *@error if it is none. */
struct fs_node *fs_directory(struct fs_server *s, uint64_t id, int *error);
/* The node of @st if it is known. */
struct fs_node *fs_node_find(struct fs_server *s, const struct statx *st);
/* Takes @fd (O_PATH): a new node, or the known one. Counts no lookup. NULL: -ENFILE or -ENOMEM. */
struct fs_node *fs_node_take(
	struct fs_server *s, const struct fs_node *parent, int fd, const struct statx *st);
void fs_node_forget(struct fs_server *s, struct fs_node *node, uint64_t lookups);
void fs_node_forget_all(struct fs_server *s);
int fs_nodes_init(struct fs_server *s);
void fs_nodes_free(struct fs_server *s);
uint64_t fs_stat_dev(const struct statx *st);

/* handle.c */
struct fs_handle *fs_handle(struct fs_server *s, uint64_t id, bool directory);
struct fs_handle *fs_handle_add(struct fs_server *s, const struct fs_node *node, int fd);
void fs_handle_close(struct fs_server *s, struct fs_handle *h);
void fs_handle_close_all(struct fs_server *s);
/* One operation less is with the ring. */
void fs_handle_idle(struct fs_server *s, uint32_t index);
/* A descriptor's name relative to proc_fd. */
struct fs_fd_name {
	char text[12];
};
struct fs_fd_name fs_fd_name(int fd);
/* Open the content of a regular file or a directory. -errno, -ELOOP for a link, -ENXIO for others. */
int fs_reopen(struct fs_server *s, const struct fs_node *node, int flags);

/* attr.c */
enum { FS_STATX_MASK = STATX_BASIC_STATS | STATX_BTIME | 0x1000 /* STATX_MNT_ID */ };
int fs_stat(const struct fs_server *s, int fd, struct statx *st);
int fs_stat_node(const struct fs_server *s, const struct fs_node *node, struct statx *st);
void fs_fill_attr(const struct fs_server *s, struct fuse_attr *attr, const struct statx *st);
/* The number that the guest sees for inode @ino of file system @dev. */
uint64_t fs_guest_ino(const struct fs_server *s, uint64_t dev, uint64_t ino);
void fs_valid_for(const struct fs_server *s, uint64_t *seconds);
/* Look @name up in @parent and count it: fills @out. 0 or -errno. */
int fs_lookup(
	struct fs_server *s, struct fs_node *parent, const char *name, struct fuse_entry_out *out);
/* The entry of a node that is held by @fd (O_PATH, taken over). */
int fs_entry(struct fs_server *s, const struct fs_node *parent, int fd, struct fuse_entry_out *out);
void fs_fill_entry(struct fs_server *s, struct fs_node *node, const struct statx *st,
	struct fuse_entry_out *out);
/* The answer for a single file's directory. */
void fs_fake_root(const struct fs_server *s, struct statx *st);

/* ids.c */
int fs_ids_enter(struct fs_server *s);
/* What is created from now on belongs to the guest's @uid and @gid. */
int fs_ids_become(struct fs_server *s, uint32_t uid, uint32_t gid);
/* Whether set-id bits survive what is done from now on. */
void fs_ids_keep_bits(struct fs_server *s, bool keep);
uint32_t fs_uid_to_guest(const struct fs_server *s, uint32_t uid);
uint32_t fs_gid_to_guest(const struct fs_server *s, uint32_t gid);
uint32_t fs_uid_to_host(const struct fs_server *s, uint32_t uid);
uint32_t fs_gid_to_host(const struct fs_server *s, uint32_t gid);
bool fs_ids_root(void);
uint64_t fs_ids_wanted(void);

/* wall.c. The calling thread: nothing outside of the directory from here on. */
int fs_wall(struct fs_server *s);

/* lock.c */
void fs_locks_drop(struct fs_server *s, struct fs_node *node, uint64_t owner);
void fs_locks_drop_all(struct fs_server *s, struct fs_node *node);
/* An interrupt for the request @unique: true if it waited and was ended. */
bool fs_interrupt(struct fs_server *s, uint64_t unique);

/* iov.c */
size_t fs_iov_read(const struct iovec *iov, unsigned count, void *to, size_t len);
size_t fs_iov_write(const struct iovec *iov, unsigned count, const void *from, size_t len);
void fs_iov_open(struct fs_window *w, struct iovec *iov, unsigned count, size_t skip, size_t len);
void fs_iov_close(struct fs_window *w);

/* The operations. */
int fs_op_lookup(struct fs_server *s, struct fs_call *c);
int fs_op_getattr(struct fs_server *s, struct fs_call *c);
int fs_op_setattr(struct fs_server *s, struct fs_call *c);
int fs_op_statx(struct fs_server *s, struct fs_call *c);
int fs_op_statfs(struct fs_server *s, struct fs_call *c);
int fs_op_readlink(struct fs_server *s, struct fs_call *c);
int fs_op_symlink(struct fs_server *s, struct fs_call *c);
int fs_op_mknod(struct fs_server *s, struct fs_call *c);
int fs_op_mkdir(struct fs_server *s, struct fs_call *c);
int fs_op_unlink(struct fs_server *s, struct fs_call *c);
int fs_op_rmdir(struct fs_server *s, struct fs_call *c);
int fs_op_rename(struct fs_server *s, struct fs_call *c);
int fs_op_rename2(struct fs_server *s, struct fs_call *c);
int fs_op_link(struct fs_server *s, struct fs_call *c);
int fs_op_open(struct fs_server *s, struct fs_call *c);
int fs_op_create(struct fs_server *s, struct fs_call *c);
int fs_op_tmpfile(struct fs_server *s, struct fs_call *c);
int fs_op_read(struct fs_server *s, struct fs_call *c);
int fs_op_write(struct fs_server *s, struct fs_call *c);
int fs_op_release(struct fs_server *s, struct fs_call *c);
int fs_op_flush(struct fs_server *s, struct fs_call *c);
int fs_op_fsync(struct fs_server *s, struct fs_call *c);
int fs_op_fsyncdir(struct fs_server *s, struct fs_call *c);
int fs_op_syncfs(struct fs_server *s, struct fs_call *c);
int fs_op_fallocate(struct fs_server *s, struct fs_call *c);
int fs_op_lseek(struct fs_server *s, struct fs_call *c);
int fs_op_copy(struct fs_server *s, struct fs_call *c);
int fs_op_opendir(struct fs_server *s, struct fs_call *c);
int fs_op_readdir(struct fs_server *s, struct fs_call *c);
int fs_op_readdirplus(struct fs_server *s, struct fs_call *c);
int fs_op_releasedir(struct fs_server *s, struct fs_call *c);
int fs_op_getxattr(struct fs_server *s, struct fs_call *c);
int fs_op_setxattr(struct fs_server *s, struct fs_call *c);
int fs_op_listxattr(struct fs_server *s, struct fs_call *c);
int fs_op_removexattr(struct fs_server *s, struct fs_call *c);
int fs_op_getlk(struct fs_server *s, struct fs_call *c);
int fs_op_setlk(struct fs_server *s, struct fs_call *c);
int fs_op_setlkw(struct fs_server *s, struct fs_call *c);
