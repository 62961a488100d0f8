#include "guest/root.h"

#include "guest/initramfs.h"
#include "guest/report.h"
#include "guest/sys.h"

#include <string.h>

static void __attribute__((noreturn))
fail(const char *what, const char *name, long err, const char *advice)
{
	struct text line = { 0 };

	report_begin(&line);
	text_add(&line, what);
	text_add(&line, name);
	if (err)
		report_add_error(&line, err);
	text_add(&line, advice);
	report_fail(&line);
}

static size_t read_file(const char *path, char *buf, size_t size)
{
	long fd = sys_open(path, O_RDONLY), n;
	size_t len = 0;

	buf[0] = 0;
	if (fd < 0)
		return 0;
	while (len < size - 1 && (n = sys_read((int)fd, buf + len, size - 1 - len)) > 0)
		len += (size_t)n;
	sys_close((int)fd);
	buf[len] = 0;
	return len;
}

/* The device did not come: say which block devices there are. /proc/partitions: maj min size name */
static void __attribute__((noreturn)) fail_missing(const char *device, unsigned seconds)
{
	struct text line = { 0 };
	char buf[2048], *cursor = buf, *p;
	unsigned found = 0;

	report_begin(&line);
	text_add(&line, "root device ");
	text_add(&line, device);
	text_add(&line, " did not appear within ");
	text_add_number(&line, seconds);
	text_add(&line, " s; this machine has ");
	read_file("/proc/partitions", buf, sizeof(buf));
	while ((p = text_line(&cursor))) {
		char *name = p + strlen(p);

		while (name > p && name[-1] != ' ')
			name--;
		if (name == p || text_equal(name, "name") || !*name)
			continue;
		text_add(&line, found++ ? ", /dev/" : "/dev/");
		text_add(&line, name);
	}
	text_add(&line, found ? " (root= on the kernel command line)" : "no disk at all");
	report_fail(&line);
}

/* root=MAJOR:MINOR becomes a node of our own. */
static bool make_node(const char *root, struct text *device)
{
	unsigned long major, minor;
	const char *rest = text_number(root, ':', 4095, &major);

	if (!rest || !text_number(rest, 0, 1048575, &minor))
		return false;
	text_add(device, "/dev/root");
	sys_mknod(device->buf, SYS_MODE_BLOCK | 0600,
		(unsigned)((minor & 0xff) | major << 8 | (minor & ~0xffUL) << 12));
	return true;
}

/* The path of the device that root= and the hints mean. */
static void find_device(
	const struct cmdline *cmdline, const struct root_hints *hints, struct text *device)
{
	const char *root = cmdline->root;
	struct text part = { 0 };
	size_t len;

	if (!root)
		fail("no root= on the kernel command line", "", 0,
			"; name the root disk: --rootfs IMG, or --append root=/dev/vda");
	if (make_node(root, device))
		return;
	if (!text_after((char *)root, "/dev/"))
		fail("root=", root, 0, " is not understood; name a device, as root=/dev/vda1");
	text_add(device, root);
	len = device->len;
	if (!hints->part || !text_equal(root, "/dev/vda"))
		return;
	/* The whole disk was said, and the host saw partitions on it. */
	text_add(&part, hints->part);
	text_add(device, part.buf);
	if (device->len == len)
		fail("root=", root, 0, " is too long");
}

/* Devices come while their drivers start, which is mostly before the module's load returns. */
static bool wait_for(const char *device, unsigned seconds)
{
	uint64_t end = sys_now_ms() + seconds * 1000ULL;

	for (;;) {
		long fd = sys_open(device, O_RDONLY | O_NONBLOCK);

		if (fd >= 0) {
			sys_close((int)fd);
			return true;
		}
		if (sys_now_ms() >= end)
			return false;
		sys_sleep_ms(1);
	}
}

/* One type, for writing if so asked, else and otherwise read-only. */
static long mount_type(
	const char *device, const char *where, const char *type, bool read_only, const char *data)
{
	unsigned long flags = MS_SILENT | (read_only ? MS_RDONLY : 0);
	long err = sys_mount(device, where, type, flags, data);

	if ((err == -EACCES || err == -EROFS) && !read_only)
		err = sys_mount(device, where, type, flags | MS_RDONLY, data);
	return err;
}

/*
 * Each of @types, separated by ',' or '\n', until one mounts; a line that begins with "nodev" is
 * passed over (/proc/filesystems). Returns 0, or the error that tells most.
 */
static long mount_any(
	const char *device, const char *where, char *types, bool read_only, const char *data)
{
	long err = -EINVAL, last;
	char *type, *p = types;

	while (*p) {
		bool nodev = text_after(p, "nodev") != NULL;

		while (*p == '\t' || *p == ' ')
			p++;
		for (type = p; *p && *p != ',' && *p != '\n'; p++)
			;
		if (*p)
			*p++ = 0;
		if (nodev || !*type)
			continue;
		last = mount_type(device, where, type, read_only, data);
		if (last == 0)
			return 0;
		if (err == -EINVAL || err == -ENODEV)
			err = last;
	}
	return err;
}

static long mount_types(
	const char *device, const char *where, const char *types, bool read_only, const char *data)
{
	struct text copy = { 0 };

	text_add(&copy, types);
	return mount_any(device, where, copy.buf, read_only, data);
}

/* Whatever this kernel knows. */
static long probe_types(const char *device, const char *where, bool read_only, const char *data)
{
	char known[4096];

	read_file("/proc/filesystems", known, sizeof(known));
	return mount_any(device, where, known, read_only, data);
}

static void __attribute__((noreturn))
fail_mount(const struct cmdline *cmdline, const char *device, long err)
{
	struct text line = { 0 };

	report_begin(&line);
	text_add(&line, "cannot mount the root file system on ");
	text_add(&line, device);
	if (cmdline->rootfstype) {
		text_add(&line, " as ");
		text_add(&line, cmdline->rootfstype);
	}
	if (cmdline->rootflags) {
		text_add(&line, " with rootflags=");
		text_add(&line, cmdline->rootflags);
	}
	if (err != -EINVAL)
		report_add_error(&line, err);
	else if (cmdline->rootfstype || cmdline->rootflags)
		text_add(&line, ": not of that type, damaged, or flags that it does not know");
	else
		text_add(&line, ": no file system that this kernel knows, or a damaged one (on a "
				"disk with partitions, say which: root=/dev/vda1)");
	if (err == -EROFS || err == -EACCES)
		text_add(&line, " and its journal wants to be written; attach it for writing, or "
				"try rootflags=noload");
	report_fail(&line);
}

void root_mount(const struct cmdline *cmdline, const struct root_hints *hints)
{
	bool read_only = cmdline->read_only || hints->read_only;
	const char *data = cmdline->rootflags;
	const char *where = INITRAMFS_ROOT;
	struct text device = { 0 };
	long err = -EINVAL;

	find_device(cmdline, hints, &device);
	if (!wait_for(device.buf, cmdline->wait_s))
		fail_missing(device.buf, cmdline->wait_s);
	if (cmdline->rootfstype) {
		err = mount_types(device.buf, where, cmdline->rootfstype, read_only, data);
	} else {
		if (hints->type)
			err = mount_types(device.buf, where, hints->type, read_only, data);
		if (err == -EINVAL || err == -ENODEV)
			err = probe_types(device.buf, where, read_only, data);
	}
	if (err)
		fail_mount(cmdline, device.buf, err);
}

long root_mount_device(const char *device, const char *where, const char *types, bool read_only,
	const char *data, unsigned wait_s)
{
	/* For a disk that takes no writes, and whose journal holds some. */
	static const char *const unplayed[] = { "noload", "norecovery" };
	long err;

	if (!wait_for(device, wait_s))
		return -ENXIO;
	err = types ? mount_types(device, where, types, read_only, data)
		    : probe_types(device, where, read_only, data);
	for (size_t i = 0; i < 2 && read_only && (err == -EROFS || err == -EACCES); i++) {
		struct text options = { 0 };

		if (data) {
			text_add(&options, data);
			text_add(&options, ",");
		}
		text_add(&options, unplayed[i]);
		err = types ? mount_types(device, where, types, true, options.buf)
			    : probe_types(device, where, true, options.buf);
	}
	return err;
}

void root_switch(void)
{
	long err = sys_chdir(INITRAMFS_ROOT);

	/* A root without /dev does without: what it runs has its console open already. */
	if (err == 0 && sys_mount("/dev", "dev", NULL, MS_MOVE, NULL) < 0)
		sys_detach("/dev");
	sys_detach("/proc");
	if (err == 0)
		err = sys_mount(".", "/", NULL, MS_MOVE, NULL);
	if (err == 0)
		err = sys_chroot(".");
	if (err == 0)
		err = sys_chdir("/");
	if (err)
		fail("cannot make the root file system the root", "", err, "");
}
