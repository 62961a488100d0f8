/* Opening and loading kernel images: what bzImage and ELF have in common. */
#include "boot/image.h"

#include "util/cleanup.h"
#include "util/macros.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int image_error(const struct boot_kernel *k, struct error *err, int errnum, const char *fmt, ...)
{
	char msg[sizeof(err->msg)];
	va_list ap;

	errno = errnum; /* for %m */
	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	return error_set(err, ERROR_IMAGE, errnum, "kernel %s: %s", k->path, msg);
}

int image_read(int fd, void *to, uint64_t len, uint64_t offset)
{
	uint8_t *p = to;

	while (len) {
		ssize_t n = pread(fd, p, MIN(len, 1 * GIB), (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -ENODATA;
		p += n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

int image_add(
	struct boot_kernel *k, const struct boot_segment *s, const char *what, struct error *err)
{
	if (s->bytes && (s->offset > k->file_size || s->bytes > k->file_size - s->offset))
		return image_error(k, err, ENOEXEC,
			"the file is truncated: %s needs %llu bytes at %llu, the file has %llu; "
			"get a whole copy",
			what, (unsigned long long)s->bytes, (unsigned long long)s->offset,
			(unsigned long long)k->file_size);
	if (s->bytes > s->size)
		return image_error(
			k, err, ENOEXEC, "%s has more bytes in the file than in memory", what);
	if (s->gpa < BOOT_IMAGE_MIN)
		return image_error(k, err, ENOEXEC,
			"%s loads at %#llx: below 1 MiB is where the boot structures are; link it at "
			"1 MiB or higher",
			what, (unsigned long long)s->gpa);
	if (s->gpa >= LAYOUT_HOLE_START || s->size > LAYOUT_HOLE_START - s->gpa)
		return image_error(k, err, ENOEXEC,
			"%s wants %#llx bytes at %#llx: no memory can be there, RAM for a kernel "
			"ends at 3 GiB",
			what, (unsigned long long)s->size, (unsigned long long)s->gpa);
	if (k->segments == BOOT_SEGMENTS_MAX)
		return image_error(k, err, ENOEXEC, "more than %d segments", BOOT_SEGMENTS_MAX);
	k->start = k->segments ? MIN(k->start, s->gpa) : s->gpa;
	k->segment[k->segments++] = *s;
	k->end = MAX(k->end, s->gpa + s->size);
	return 0;
}

static int check_file(struct boot_kernel *k, struct error *err)
{
	struct stat st;

	if (fstat(k->fd, &st) < 0)
		return image_error(k, err, errno, "%m");
	if (S_ISDIR(st.st_mode))
		return image_error(k, err, EISDIR,
			"is a directory: give the kernel file itself, such as /boot/vmlinuz-VERSION");
	if (!S_ISREG(st.st_mode))
		return image_error(k, err, EINVAL, "not a regular file: give a bzImage or vmlinux");
	if (!st.st_size)
		return image_error(k, err, ENOEXEC, "the file is empty");
	k->file_size = (uint64_t)st.st_size;
	return 0;
}

static int parse(struct boot_kernel *k, struct error *err)
{
	struct boot_head head = { .len = MIN(k->file_size, BOOT_HEAD) };
	int r;

	r = image_read(k->fd, head.byte, head.len, 0);
	if (r < 0)
		return image_error(k, err, -r, "cannot read it: %m");
	if (!memcmp(head.byte, ELFMAG, SELFMAG))
		return elf_parse(k, &head, err);
	if (bzimage_probe(&head))
		return bzimage_parse(k, &head, err);
	return image_not_a_kernel(k, &head, err);
}

int boot_kernel_from_fd(struct boot_kernel **out, int fd, const char *path, struct error *err)
{
	struct boot_kernel *k = calloc(1, sizeof(*k));
	int r;

	*out = NULL;
	if (k)
		k->path = strdup(path);
	if (!k || !k->path) {
		free(k);
		close(fd);
		return error_set(err, ERROR_HOST, ENOMEM, "kernel %s: %m", path);
	}
	k->fd = fd;
	r = check_file(k, err);
	if (!r)
		r = parse(k, err);
	if (r < 0) {
		boot_kernel_close(k);
		return r;
	}
	*out = k;
	return 0;
}

int boot_kernel_open(struct boot_kernel **out, const char *path, struct error *err)
{
	/* O_NONBLOCK: a FIFO by mistake must not hang us; it means nothing to regular files. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	*out = NULL;
	if (fd < 0 && errno == ENOENT)
		return error_set(err, ERROR_IMAGE, ENOENT,
			"kernel %s: no such file: give the path of a bzImage or vmlinux", path);
	if (fd < 0 && errno == EACCES)
		return error_set(err, ERROR_IMAGE, EACCES,
			"kernel %s: permission denied: make it readable for this user", path);
	if (fd < 0)
		return error_set(err, ERROR_IMAGE, errno, "kernel %s: cannot open it: %m", path);
	return boot_kernel_from_fd(out, fd, path, err);
}

void boot_kernel_close(struct boot_kernel *k)
{
	if (!k)
		return;
	close(k->fd);
	free(k->path);
	free(k);
}

const char *boot_kernel_version(const struct boot_kernel *k)
{
	return k->version[0] ? k->version : NULL;
}

/*
 * The same into memory that is zero, where the file's holes need not be read. What is missing at its
 * end looks like one: -ENODATA for that.
 */
static int read_data(int fd, uint8_t *to, uint64_t len, uint64_t offset)
{
	uint64_t at = offset, end = offset + len;
	struct stat st;

	while (at < end) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA), hole;
		uint64_t until;
		int r;

		if (data < 0 && errno == ENXIO)
			break;
		hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
		if (hole < 0) /* a file system that knows of no holes */
			return image_read(fd, to + (at - offset), end - at, at);
		if ((uint64_t)data >= end)
			break;
		until = MIN((uint64_t)hole, end);
		r = image_read(
			fd, to + ((uint64_t)data - offset), until - (uint64_t)data, (uint64_t)data);
		if (r < 0)
			return r;
		at = until;
	}
	return fstat(fd, &st) == 0 && (uint64_t)st.st_size >= end ? 0 : -ENODATA;
}

int image_load(const struct boot_kernel *k, const struct guest_memory *mem, struct error *err)
{
	for (unsigned i = 0; i < k->segments; i++) {
		const struct boot_segment *s = &k->segment[i];
		void *to;
		int r;

		if (!s->bytes)
			continue;
		to = memory_at(mem, s->gpa, s->bytes);
		if (!to)
			return image_error(
				k, err, ENOMEM, "no memory at %#llx", (unsigned long long)s->gpa);
		r = read_data(k->fd, to, s->bytes, s->offset);
		if (r == -ENODATA)
			return image_error(
				k, err, EIO, "the file became shorter while it was read");
		if (r < 0)
			return image_error(k, err, -r, "cannot read it: %m");
	}
	return 0;
}
