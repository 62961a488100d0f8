#include "rootfs/cpio.h"

#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER = 110, PAD = 4 };

int cpio_begin(struct cpio *cpio, struct error *err)
{
	*cpio = (struct cpio){ .fd = -1, .map = NULL, .room = CPIO_MAX };
	cpio->fd = memfd_create("initramfs", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (cpio->fd < 0 || ftruncate(cpio->fd, (off_t)cpio->room) < 0)
		return error_set(err, ERROR_HOST, errno, "memory for the initramfs: %m");
	/* Only what is written becomes memory; cpio_end() cuts the file to its length. */
	cpio->map = mmap(NULL, cpio->room, PROT_READ | PROT_WRITE, MAP_SHARED, cpio->fd, 0);
	if (cpio->map == MAP_FAILED) {
		cpio->map = NULL;
		return error_set(err, ERROR_HOST, errno, "memory for the initramfs: %m");
	}
	return 0;
}

static int full(struct error *err)
{
	return error_set(err, ERROR_IMAGE, EFBIG,
		"the initramfs would be bigger than %lu MiB; strip the kernel's modules of their "
		"debug information",
		CPIO_MAX >> 20);
}

/* Names in the archive have no leading slash. */
static const char *relative(const char *name)
{
	return *name == '/' ? name + 1 : name;
}

/* Where the data of an entry called @name would begin. */
static size_t data_offset(const struct cpio *cpio, const char *name)
{
	return align_up(cpio->len + HEADER + strlen(relative(name)) + 1, PAD);
}

static int put_header(struct cpio *cpio, const char *name, uint32_t mode, size_t size,
	uint32_t major, uint32_t minor, struct error *err)
{
	size_t name_len = strlen(relative(name)), data = data_offset(cpio, name);
	char header[HEADER + 1];

	if (name_len > CPIO_NAME_MAX || !name_len)
		return error_set(err, ERROR_IMAGE, ENAMETOOLONG,
			"a name of %zu bytes in an initramfs", name_len);
	if (data > cpio->room || cpio->room - data < size)
		return full(err);
	snprintf(header, sizeof(header),
		"070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", ++cpio->inode, mode,
		0 /* uid */, 0 /* gid */, S_ISDIR(mode) ? 2 : 1, 0 /* mtime */, (uint32_t)size, 0,
		0, major, minor, (uint32_t)name_len + 1, 0 /* check */);
	memcpy(cpio->map + cpio->len, header, HEADER);
	memcpy(cpio->map + cpio->len + HEADER, relative(name), name_len);
	/* Whoever used cpio_room() may have scribbled behind what he committed. */
	memset(cpio->map + cpio->len + HEADER + name_len, 0, data - cpio->len - HEADER - name_len);
	cpio->len = data;
	return 0;
}

int cpio_node(struct cpio *cpio, const char *name, uint32_t mode, uint32_t rdev_major,
	uint32_t rdev_minor, struct error *err)
{
	return put_header(cpio, name, mode, 0, rdev_major, rdev_minor, err);
}

uint8_t *cpio_room(struct cpio *cpio, const char *name, size_t *room, struct error *err)
{
	size_t data = data_offset(cpio, name);

	/* Leave a page for what ends the archive. */
	if (data + 4096 > cpio->room) {
		full(err);
		return NULL;
	}
	*room = cpio->room - data - 4096;
	return cpio->map + data;
}

int cpio_commit(struct cpio *cpio, const char *name, uint32_t mode, size_t len, struct error *err)
{
	int ret = put_header(cpio, name, mode | S_IFREG, len, 0, 0, err);

	if (ret == 0) {
		memset(cpio->map + cpio->len + len, 0, align_up(len, PAD) - len);
		cpio->len += align_up(len, PAD);
	}
	return ret;
}

int cpio_file(struct cpio *cpio, const char *name, uint32_t mode, const void *data, size_t len,
	struct error *err)
{
	size_t room;
	uint8_t *to = cpio_room(cpio, name, &room, err);

	if (!to)
		return -EFBIG;
	if (len > room)
		return full(err);
	memcpy(to, data, len);
	return cpio_commit(cpio, name, mode, len, err);
}

int cpio_end(struct cpio *cpio, int *fd, struct error *err)
{
	int ret = put_header(cpio, "TRAILER!!!", 0, 0, 0, 0, err);

	if (ret < 0)
		return ret;
	munmap(cpio->map, cpio->room);
	cpio->map = NULL;
	if (ftruncate(cpio->fd, (off_t)cpio->len) < 0 ||
		fcntl(cpio->fd, F_ADD_SEALS,
			F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		return error_set(err, ERROR_HOST, errno, "the initramfs cannot be sealed: %m");
	*fd = cpio->fd;
	cpio->fd = -1;
	return 0;
}

void cpio_discard(struct cpio *cpio)
{
	if (cpio->map)
		munmap(cpio->map, cpio->room);
	if (cpio->fd >= 0)
		close(cpio->fd);
	cpio->map = NULL;
	cpio->fd = -1;
}
