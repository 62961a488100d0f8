#include "guest/report.h"

#include "guest/initramfs.h"
#include "guest/sys.h"

#include <asm/ioctls.h>

/* What these mean when a module, a mount or an init is refused. */
static const struct {
	int err;
	const char *says;
} meanings[] = {
	{ EPERM, "not permitted" },
	{ ENOENT, "no such file" },
	{ EIO, "the disk gives errors" },
	{ ENXIO, "no such device" },
	{ E2BIG, "too many arguments, or too large an environment" },
	{ ENOEXEC, "not a program or module for this kernel" },
	{ ENOMEM, "out of memory; give the machine more" },
	{ EACCES, "permission denied, or not executable" },
	{ EBUSY, "busy" },
	{ EEXIST, "exists already" },
	{ ENODEV, "the kernel does not know it" },
	{ ENOTDIR, "not a directory" },
	{ EINVAL, "invalid, or not of this type" },
	{ EMFILE, "too many open files" },
	{ ENOSPC, "no space left" },
	{ EROFS, "read-only" },
	{ ENAMETOOLONG, "too long a name" },
	{ ELOOP, "too many symbolic links" },
	{ ELIBACC, "its interpreter (what #! names, or its dynamic linker) is not there" },
	{ ELIBBAD, "its interpreter is not a program for this kernel" },
	{ EAFNOSUPPORT, "the kernel does not know it" },
	{ ECONNRESET, "refused" },
	{ ETIMEDOUT, "no answer" },
	{ EUCLEAN, "the file system is damaged; check it on the host" },
	{ ENOKEY, "signed by a key that this kernel does not have" },
	{ EKEYREJECTED, "its signature was refused" },
};

bool report_open_console(void)
{
	long fd = sys_open("/dev/console", O_RDWR | O_NOCTTY);

	if (fd < 0)
		return false;
	for (int i = 0; i < 3; i++)
		sys_dup2((int)fd, i);
	if (fd > 2)
		sys_close((int)fd);
	return true;
}

void report_begin(struct text *text)
{
	text->len = 0;
	text_add(text, "microvm init: ");
}

void report_add_error(struct text *text, long err)
{
	text_add(text, ": ");
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
		if (meanings[i].err == -err) {
			text_add(text, meanings[i].says);
			return;
		}
	text_add(text, "error ");
	text_add_number(text, -err);
}

void report_say(struct text *text)
{
	long log;

	if (text->len == sizeof(text->buf) - 1)
		text->len--;
	text_add(text, "\n");
	if (sys_write(2, text->buf, text->len) == (long)text->len)
		return;
	log = sys_open("/dev/kmsg", O_WRONLY);
	if (log < 0)
		return;
	sys_write((int)log, text->buf, text->len);
	sys_close((int)log);
}

void report_fail(struct text *text)
{
	report_say(text);
	sys_ioctl(2, TCSBRK, 1); /* as tcdrain() */
	sys_report_status(INITRAMFS_FAILED);
	sys_restart();
	sys_exit(INITRAMFS_FAILED);
}
