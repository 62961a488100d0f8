/*
 * The FUSE server: a host directory as the guest's file system. Requests of <linux/fuse.h> come in
 * as iovecs and are answered into iovecs; virtio/fs.c carries them. Knows nothing of rings.
 *
 *	fs_server_open()	main: opens the directory, raises the limit of open files
 *	fs_server_enter()	the serving thread, before its seccomp filter: its own file system
 *				context (umask 0, working directory /proc/self/fd)
 *	fs_serve()		the serving thread: one request
 *	fs_retry(), fs_cancel()	the serving thread: requests that wait for a lock
 *	fs_server_close()	main, after the thread has ended
 *
 * One thread serves a server, and it serves no other: credentials are switched on it.
 *
 * Anchoring. The root is an O_PATH descriptor; everything else is reached by openat() of one name
 * without '/' that is neither "." nor "..", relative to a directory's O_PATH descriptor and never
 * following a link. Content is opened only of regular files and directories, through the descriptor
 * and not by name. So no name, link, race or handle leads out of the directory. Kernel interfaces
 * that happen to be mounted below it (proc, sysfs, cgroups, ...) cannot be entered.
 *
 * Ids. With root's capabilities the guest's ids are the host's. Without, everything is done as the
 * server's user, whom the guest sees as root: the two ids are swapped, the others stay.
 */
#pragma once

#include "util/error.h"
#include "vmm/worker.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum fs_cache {
	FS_CACHE_AUTO,	/* names and attributes for a second; data until the file changes */
	FS_CACHE_NONE,	/* nothing; shared mappings need Linux 6.6 in the guest */
	FS_CACHE_ALWAYS /* everything: nobody but this guest changes the directory */
};

struct fs_options {
	const char *path; /* a directory, or a regular file: see FS_FILE_NAME */
	bool read_only;
	enum fs_cache cache;
};

/*
 * Where the path is one file, the guest sees a directory with just that file under this name, to
 * bind-mount it from there.
 */
#define FS_FILE_NAME "file"

struct fs_server;

/*
 * Main, while the process has one thread and its privileges. ERROR_USAGE with a message that names
 * the path if it cannot be shared.
 */
int fs_server_open(struct fs_server **out, const struct fs_options *options, struct error *err);
void fs_server_close(struct fs_server *s); /* main; NULL is allowed */

bool fs_server_is_file(const struct fs_server *s);

/*
 * Main. The capabilities (1 << CAP_...) that the serving thread needs when the guest's ids are to
 * be the host's, and those that some of its calls need; 0 for a server without root's. For sandbox_process().
 */
uint64_t fs_server_capabilities(const struct fs_server *s);

/*
 * Main, before @worker starts: its thread will serve. What may take long (flushes, reads from the
 * disk) then goes to its ring, and the answer comes later. Without it the thread waits.
 */
void fs_server_attach(struct fs_server *s, struct worker *worker);

/* The serving thread, first thing; before a seccomp filter. Returns 0 or -errno. */
int fs_server_enter(struct fs_server *s);

/*
 * The bytes [skip, skip + len) of iovecs, made by changing two of them; put back by fs_iov_close().
 */
struct fs_window {
	struct iovec *iov;
	unsigned count;
	struct iovec *changed[2];
	struct iovec was[2];
};

/* One request. The server may change the iovecs while it works, and puts them back. */
struct fs_request {
	/* The caller's. */
	struct iovec *out; /* from the guest: struct fuse_in_header and what belongs to it */
	unsigned out_count;
	size_t out_bytes;
	struct iovec *in; /* room for the answer */
	unsigned in_count;
	size_t in_bytes;
	/* For those for which fs_serve() returned FS_LATER: @written bytes are in the iovecs. */
	void (*done)(struct fs_request *request, uint32_t written);

	/* The server's, while the request waits: for a lock, or for the ring. */
	struct fs_request *next;
	struct fs_server *server;
	struct worker_op op;
	struct fs_window window;
	uint32_t file; /* the open file's place */
	bool reads;
	uint64_t unique;
	struct fs_lock {
		uint64_t node, handle, owner;
		uint64_t start, end; /* the last byte, too */
		uint32_t pid;
		int16_t type; /* F_RDLCK, F_WRLCK, F_UNLCK */
		bool flock;   /* of the whole open file, not of the owner */
	} lock;
};

enum { FS_LATER = -1 };

/*
 * Serving thread. Answers @request: returns how many bytes are in its iovecs (0: nothing is to be
 * answered), or FS_LATER: done() will be called from a later fs_retry(), fs_cancel(), fs_serve() of
 * an interrupt, or a completion of the ring. Those of the ring end by themselves.
 * Whatever a guest writes there ends in an error for the guest.
 */
int64_t fs_serve(struct fs_server *s, struct fs_request *request);

/* Serving thread. Are there requests that wait for a lock, and did one since go that may have freed a lock? */
bool fs_waiting(const struct fs_server *s);
bool fs_unlocked(const struct fs_server *s);
/* Serving thread. Try the waiting ones again. */
void fs_retry(struct fs_server *s);
/* Serving thread. End all of them (EINTR). */
void fs_cancel(struct fs_server *s);
