/*
 * Image locking, compatible with QEMU's. Nothing is ever locked exclusively; a program takes shared
 * locks on single bytes of the file that say what it does, and then tests whether another holds a
 * byte that does not go together with it:
 *
 *	100 + n		"I use permission n"
 *	200 + n		"I do not let others use permission n"
 *
 * where n is 0 for reading consistent data, 1 for writing, 2 for rewriting what is there, 3 for
 * resizing. The bytes need not exist in the file. Taking first and testing then means that of two
 * who come at once both may be refused, but never both admitted.
 *
 * The locks belong to the open file description, so they are gone when the last descriptor of it is
 * closed, however the process ends.
 */
#include "block/raw.h"
#include "util/log.h"
#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum { USE_BASE = 100, FORBID_BASE = 200 };
enum { PERM_READ = 0, PERM_WRITE = 1, PERM_RESIZE = 3, PERMS = 5 };

static int lock_byte(int fd, int type, int byte)
{
	struct flock lock = {
		.l_type = (short)type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1
	};

	return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

/* 1 if another open file description holds a lock on @byte, 0 if not, or -errno. */
static int byte_is_taken(int fd, int byte)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1
	};

	if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
		return -errno;
	return lock.l_type != F_UNLCK;
}

void block_unlock(const struct block *block)
{
	for (int perm = 0; perm < PERMS; perm++) {
		lock_byte(block->fd, F_UNLCK, USE_BASE + perm);
		lock_byte(block->fd, F_UNLCK, FORBID_BASE + perm);
	}
}

static int refused(const struct block *block, bool by_writer, struct error *err)
{
	block_unlock(block);
	if (by_writer)
		return error_set(err, ERROR_BUSY, EBUSY,
			"%s: another VM (or QEMU) is writing to this image: stop it, or use a copy",
			block->path);
	return error_set(err, ERROR_BUSY, EBUSY,
		"%s: another VM (or QEMU) has this image open for reading: stop it, or open it "
		"read-only here too (%s,ro)",
		block->path, block->path);
}

static int take(const struct block *block)
{
	static const int uses[] = { USE_BASE + PERM_READ, USE_BASE + PERM_WRITE };
	static const int forbids[] = { FORBID_BASE + PERM_WRITE, FORBID_BASE + PERM_RESIZE };
	int r = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(uses) && !r; i++)
		if (uses[i] != USE_BASE + PERM_WRITE || !block->read_only)
			r = lock_byte(block->fd, F_RDLCK, uses[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(forbids) && !r; i++)
		r = lock_byte(block->fd, F_RDLCK, forbids[i]);
	return r;
}

int block_lock(const struct block *block, struct error *err)
{
	int r = take(block);

	if (r == -EAGAIN || r == -EACCES) /* somebody locks exclusively, which QEMU never does */
		return refused(block, true, err);
	if (r < 0) {
		/* NFS without its lock service, some FUSE file systems: go on as QEMU would. */
		log_warn("%s: this file system cannot lock files (%s): take care that no other VM "
			 "uses the image",
			block->path, strerror(-r));
		return 0;
	}
	/* Others write, or resize: we forbid both. */
	if (byte_is_taken(block->fd, USE_BASE + PERM_WRITE) > 0 ||
		byte_is_taken(block->fd, USE_BASE + PERM_RESIZE) > 0)
		return refused(block, true, err);
	/* Others forbid what we do. */
	if (byte_is_taken(block->fd, FORBID_BASE + PERM_READ) > 0)
		return refused(block, true, err);
	if (!block->read_only && byte_is_taken(block->fd, FORBID_BASE + PERM_WRITE) > 0)
		return refused(block, false, err);
	return 0;
}
