/* A FUSE server on a directory of its own, and the least of a guest's kernel that asks it. */
#pragma once

#include "fs/fs.h"
#include "util/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka wants the three above first. */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RIG_REPLY = (1 << 20) + 4096 };

struct rig {
	struct fs_server *server;
	char top[64];	   /* a directory of the test's */
	char dir[96];	   /* the shared one in it */
	uint32_t uid, gid; /* of the guest's process */
	uint32_t room;	   /* of answers: RIG_REPLY when 0 */
	unsigned piece;	   /* bytes in each iovec; 0: as Linux does it */
	uint64_t unique;
	/* Of the last answer. */
	bool later; /* it waits */
	size_t written;
	uint8_t *reply;
	size_t reply_len;
	/* Of requests that waited. */
	unsigned done;
	int done_error;
};

/* The server shares RIG->dir, which has to be there already if @make is false. */
void rig_open(struct rig *rig, bool read_only, enum fs_cache cache);
void rig_open_path(struct rig *rig, const char *path, bool read_only, enum fs_cache cache);
void rig_close(struct rig *rig);
/* FUSE_INIT with everything that Linux 6.1 offers. */
void rig_init(struct rig *rig);

/* One request. Returns the error in the answer, 0 or less; 1 if there was none. */
int rig_call(struct rig *rig, uint32_t opcode, uint64_t node, const void *arg, size_t len,
	const void *more, size_t more_len);
/* The same with names (NUL included) behind the argument; @b may be NULL. */
int rig_named(struct rig *rig, uint32_t opcode, uint64_t node, const void *arg, size_t len,
	const char *a, const char *b);

/* Shorthands. A node of 0 means that it failed, with errno set. */
uint64_t rig_lookup(struct rig *rig, uint64_t parent, const char *name);
uint64_t rig_walk(struct rig *rig, const char *path); /* from the root, components by '/' */
int rig_getattr(struct rig *rig, uint64_t node, struct fuse_attr *attr);
int rig_setattr(struct rig *rig, uint64_t node, const struct fuse_setattr_in *in);
uint64_t rig_mkdir(struct rig *rig, uint64_t parent, const char *name, uint32_t mode);
/* fh, 0 if it failed. */
uint64_t rig_create(struct rig *rig, uint64_t parent, const char *name, uint32_t flags,
	uint32_t mode, uint64_t *node);
uint64_t rig_open_file(struct rig *rig, uint64_t node, uint32_t flags);
int rig_release(struct rig *rig, uint64_t node, uint64_t fh);
/* Bytes, or -errno. What was read is in rig->reply. */
int rig_read(struct rig *rig, uint64_t node, uint64_t fh, uint64_t offset, uint32_t size);
int rig_write(struct rig *rig, uint64_t node, uint64_t fh, uint64_t offset, const void *data,
	uint32_t size, uint32_t flags, uint32_t write_flags);
int rig_unlink(struct rig *rig, uint64_t parent, const char *name);
int rig_rename(struct rig *rig, uint64_t from_dir, const char *from, uint64_t to_dir,
	const char *to, uint32_t flags);

/* The host's side. Paths are relative to the test's directory. */
const char *rig_path(struct rig *rig, const char *format, ...)
	__attribute__((format(printf, 2, 3))); /* static storage, four at a time */
void rig_put(struct rig *rig, const char *path, const char *text);
bool rig_has(struct rig *rig, const char *path, const char *text);
