#include "block/raw.h"
#include "util/cleanup.h"
#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

enum { UNIT_MAX = 65536 };

static int open_failed(const char *path, bool read_only, int errnum, struct error *err)
{
	errno = errnum;
	switch (errnum) {
	case ENOENT:
		return error_set(err, ERROR_IMAGE, errnum,
			"%s: there is no such disk image: check the path, or make one with "
			"truncate -s 1G and mkfs",
			path);
	case EACCES:
	case EPERM:
	case EROFS:
		return error_set(err, ERROR_IMAGE, errnum, "%s: cannot be opened%s: %m%s", path,
			read_only ? "" : " for writing",
			read_only ? ": check its permissions" : ": add ,ro to use it read-only");
	case EBUSY:
		return error_set(err, ERROR_BUSY, errnum,
			"%s: this device is mounted or otherwise in use by the host: unmount it, "
			"or add ,ro",
			path);
	case EISDIR:
		return error_set(err, ERROR_IMAGE, errnum,
			"%s: this is a directory, and a disk image is needed: make one with "
			"mke2fs -d %s IMAGE SIZE",
			path, path);
	default:
		return error_set(
			err, ERROR_IMAGE, errnum, "%s: cannot open the disk image: %m", path);
	}
}

static int open_image(const char *path, bool read_only, struct stat *st, struct error *err)
{
	/* Not blocking, so that a FIFO cannot hold us up; files and disks do not care. */
	int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	_cleanup_close_ int fd = -1;

	/* On a device, O_EXCL is refused while the host has it mounted. On a file it means nothing. */
	if (!read_only && stat(path, st) == 0 && S_ISBLK(st->st_mode))
		flags |= O_EXCL;
	fd = open(path, flags);
	if (fd < 0 || fstat(fd, st) < 0)
		return open_failed(path, read_only, errno, err);
	if (S_ISDIR(st->st_mode))
		return open_failed(path, read_only, EISDIR, err);
	if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode))
		return error_set(err, ERROR_IMAGE, EINVAL,
			"%s: neither a file nor a block device: a disk image is needed", path);
	/* io_uring would take the flag as a wish never to wait for the disk. */
	if (fcntl(fd, F_SETFL, flags & ~(O_NONBLOCK | O_EXCL)) < 0)
		return open_failed(path, read_only, errno, err);
	return take_fd(&fd);
}

/* Sizes of a block device, from its driver. */
static int probe_device(struct block *block, struct error *err)
{
	unsigned physical = 0;
	int ro = 0;

	if (ioctl(block->fd, BLKGETSIZE64, &block->size) < 0)
		return error_set(err, ERROR_IMAGE, errno, "%s: cannot read the device's size: %m",
			block->path);
	if (ioctl(block->fd, BLKROGET, &ro) == 0 && ro && !block->read_only)
		return open_failed(block->path, false, EROFS, err);
	if (ioctl(block->fd, BLKPBSZGET, &physical) == 0)
		block->unit = physical;
	block->can_discard = !block->read_only;
	return 0;
}

static int probe_file(struct block *block, const struct stat *st, struct error *err)
{
	block->size = (uint64_t)st->st_size;
	block->unit = (unsigned)st->st_blksize;
	/* Behind the end of the file a hole changes nothing, and the answer is the same. */
	block->can_discard = !block->read_only &&
			     fallocate(block->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     st->st_size, UNIT_MAX) == 0;
	return 0;
}

static int check_size(const struct block *block, struct error *err)
{
	if (!block->size)
		return error_set(err, ERROR_IMAGE, EINVAL,
			"%s: this image is empty: give it a size (truncate -s 1G %s) and a file "
			"system (mkfs.ext4 %s)",
			block->path, block->path, block->path);
	if (block->size % BLOCK_SECTOR)
		return error_set(err, ERROR_IMAGE, EINVAL,
			"%s: its size, %llu bytes, is not a multiple of %d: pad it with "
			"truncate -s %%%d %s",
			block->path, (unsigned long long)block->size, BLOCK_SECTOR, BLOCK_SECTOR,
			block->path);
	return 0;
}

/* A guest can put these bytes on a raw disk too, so this is a word of warning and not an error. */
static void warn_of_formats(const struct block *block)
{
	static const struct {
		const char *magic, *name;
	} formats[] = { { "QFI\xfb", "qcow2" }, { "KDMV", "VMDK" }, { "vhdxfile", "VHDX" } };
	char head[8] = { 0 };

	if (pread(block->fd, head, sizeof(head), 0) != sizeof(head))
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++) {
		if (memcmp(head, formats[i].magic, strlen(formats[i].magic)))
			continue;
		log_warn("%s: this looks like a %s image, and it is used as a raw one: convert it "
			 "with qemu-img convert -O raw if the guest cannot read it",
			block->path, formats[i].name);
	}
}

static int block_probe(struct block *block, const struct stat *st, struct error *err)
{
	int r;

	r = S_ISBLK(st->st_mode) ? probe_device(block, err) : probe_file(block, st, err);
	if (r == 0)
		r = check_size(block, err);
	if (r == 0)
		r = block_lock(block, err);
	if (r < 0)
		return r;
	if (block->unit < BLOCK_SECTOR || block->unit > UNIT_MAX ||
		(block->unit & (block->unit - 1)))
		block->unit = 4096;
	warn_of_formats(block);
	return 0;
}

int block_open(struct block **out, const char *path, bool read_only, struct error *err)
{
	struct block *block = calloc(1, sizeof(*block));
	struct stat st;
	int r;

	if (!block)
		return error_set(err, ERROR_HOST, ENOMEM, "%s: out of memory", path);
	block->read_only = read_only;
	block->fd = -1;
	block->path = strdup(path);
	if (!block->path) {
		r = error_set(err, ERROR_HOST, ENOMEM, "%s: out of memory", path);
		goto fail;
	}
	r = block->fd = open_image(path, read_only, &st, err);
	if (r < 0)
		goto fail;
	r = block_probe(block, &st, err);
	if (r < 0)
		goto fail;
	*out = block;
	return 0;
fail:
	block_close(block);
	return r;
}

void block_close(struct block *block)
{
	if (!block)
		return;
	if (block->fd >= 0) {
		/* A ring may hold the file a little longer; others should not wait for that. */
		block_unlock(block);
		close(block->fd);
	}
	free(block->path);
	free(block);
}
