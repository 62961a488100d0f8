#include "guest/copy.h"
#include "guest/devices.h"
#include "guest/report.h"
#include "guest/root.h"
#include "guest/setup.h"
#include "guest/sys.h"

#include <linux/stat.h>

#define LOWER	"/lower"
#define LAYER	"/layer"
#define NEWROOT "/root" /* INITRAMFS_ROOT */

enum { DEVICE_WAIT_S = 5 };

/* What is behind the last '/' of a path, or the path. */
static const char *last_part(const char *path)
{
	const char *last = path;

	for (; *path; path++)
		if (*path == '/' && path[1] && path[1] != '/')
			last = path + 1;
	return last;
}

/* As `mkdir -p` of all of @path, or of all but its last part. Errors show when it is used. */
static long make_folders(const char *path, bool all)
{
	const char *last = last_part(path);
	struct text part = { 0 };
	long err = 0;

	if (strlen(path) >= sizeof(part.buf))
		return -ENAMETOOLONG;
	for (const char *p = path; *p && (all || p < last); p++) {
		if (*p == '/' && part.len && p[-1] != '/')
			err = sys_mkdir(part.buf, 0755);
		text_add(&part, (char[2]){ *p, 0 });
	}
	if (all && part.len)
		err = sys_mkdir(part.buf, 0755);
	return err == -EEXIST ? 0 : err;
}

/* A missing mount point is made, if it can be. Returns why it cannot, where it matters. */
static long make_target(const char *path, bool as_file)
{
	long fd, err;

	if (sys_access(path) == 0)
		return 0;
	err = make_folders(path, !as_file);
	if (!as_file)
		return err;
	fd = sys_create(path, O_WRONLY | O_CREAT, 0644);
	if (fd < 0)
		return fd;
	sys_close((int)fd);
	return 0;
}

static void say(struct text *why, const char *what, const char *a, const char *link, const char *b)
{
	why->len = 0;
	text_add(why, what);
	text_add(why, a);
	text_add(why, link);
	text_add(why, b);
}

static long mount_lower(
	const struct message_root *root, const char *where, bool read_only, struct text *why)
{
	unsigned long flags = read_only ? MS_RDONLY : 0;

	say(why, "cannot mount the root file system ", root->source, "", "");
	if (root->kind == AGENT_ROOT_VIRTIOFS)
		return sys_mount(root->source, where, "virtiofs", flags,
			*root->options ? root->options : NULL);
	return root_mount_device(root->source, where, *root->types ? root->types : NULL, read_only,
		*root->options ? root->options : NULL, DEVICE_WAIT_S);
}

/* The layer's root looks like the one below it. */
static void copy_owner(const char *from, const char *to)
{
	struct statx stat;

	if (sys_call(__NR_statx, AT_FDCWD, SYS_PTR(from), 0, STATX_MODE | STATX_UID | STATX_GID,
		    SYS_PTR(&stat)) < 0)
		return;
	sys_call(__NR_fchownat, AT_FDCWD, SYS_PTR(to), stat.stx_uid, stat.stx_gid, 0);
	sys_call(__NR_fchmodat, AT_FDCWD, SYS_PTR(to), stat.stx_mode & 07777, 0, 0);
}

static long mount_overlay(const struct message_root *root, struct text *why)
{
	struct text options = { 0 };
	long err;

	sys_mkdir(LOWER, 0755);
	sys_mkdir(LAYER, 0755);
	err = mount_lower(root, LOWER, true, why);
	if (err < 0)
		return err;
	text_add(&options, "mode=0755");
	if (root->overlay_bytes) {
		text_add(&options, ",size=");
		text_add_number(&options, (long)root->overlay_bytes);
	}
	say(why, "cannot mount a tmpfs for the layer on the root", "", "", "");
	err = sys_mount("layer", LAYER, "tmpfs", 0, options.buf);
	if (err < 0)
		return err;
	sys_mkdir(LAYER "/upper", 0755);
	sys_mkdir(LAYER "/work", 0755);
	copy_owner(LOWER, LAYER "/upper");
	say(why, "cannot mount the layer on the root (overlay)", "", "", "");
	return sys_mount("overlay", NEWROOT, "overlay", 0,
		"lowerdir=" LOWER ",upperdir=" LAYER "/upper,workdir=" LAYER
		"/work,redirect_dir=on");
}

/* /dev and /proc come along; a root without such folders and without writes has them nowhere. */
static long move_into_root(const char *from, const char *to, struct text *why)
{
	long err = sys_mount(from, to, NULL, MS_MOVE, NULL);

	if (err == -ENOENT) {
		sys_mkdir(to, 0755);
		err = sys_mount(from, to, NULL, MS_MOVE, NULL);
	}
	if (err < 0)
		say(why, "cannot mount ", from,
			" in the root file system (it needs a folder of that name, or a layer for "
			"writes)",
			"");
	return err;
}

long mounts_root(struct setup *setup, const struct message_root *root, struct text *why)
{
	bool read_only = root->flags & AGENT_ROOT_READ_ONLY;
	bool overlay = root->flags & AGENT_ROOT_OVERLAY;
	/* A shared directory, too, as far as its host lets us. */
	bool later = read_only && (overlay || root->kind == AGENT_ROOT_VIRTIOFS);
	long fd = sys_open("/", O_PATH | O_DIRECTORY), err;

	if (fd < 0)
		return fd;
	setup->initramfs = (int)fd;
	err = overlay ? mount_overlay(root, why)
		      : mount_lower(root, NEWROOT, read_only && !later, why);
	if (err < 0)
		return err;
	setup->root_becomes_read_only = later;
	err = sys_chdir(NEWROOT);
	if (err == 0)
		err = move_into_root("/dev", "dev", why);
	if (err == 0)
		err = move_into_root("/proc", "proc", why);
	if (err < 0)
		return err;
	say(why, "cannot make the root file system the root", "", "", "");
	err = sys_mount(".", "/", NULL, MS_MOVE, NULL);
	if (err == 0)
		err = sys_chroot(".");
	return err ? err : sys_chdir("/");
}

/* 0 as well where this kernel does not know the type. */
static long mount_usual(const char *type, const char *where, unsigned long flags, const char *data,
	struct text *why)
{
	long err;

	make_target(where, false);
	err = sys_mount(type, where, type, flags, data);
	if (err == -ENODEV || err == -EBUSY)
		return 0;
	say(why, "cannot mount ", type, " on ", where);
	return err;
}

long mounts_standard(struct setup *setup, uint32_t which, struct text *why)
{
	const unsigned long plain = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	long err = 0;

	(void)setup;
	if (which & AGENT_STANDARD_NO_TERMINALS)
		devices_without_terminals();
	if (which & AGENT_STANDARD_DEV) {
		devices_link();
		devices_open();
		err = mount_usual("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC,
			"newinstance,gid=5,mode=0620,ptmxmode=0666", why);
	}
	if (err == 0 && which & AGENT_STANDARD_IPC)
		err = mount_usual("tmpfs", "/dev/shm", plain, "mode=1777", why);
	if (err == 0 && which & AGENT_STANDARD_IPC)
		err = mount_usual("mqueue", "/dev/mqueue", plain, NULL, why);
	if (err == 0 && which & AGENT_STANDARD_SYS)
		err = mount_usual("sysfs", "/sys", plain, NULL, why);
	if (err == 0 && which & AGENT_STANDARD_CGROUP)
		err = mount_usual("cgroup2", "/sys/fs/cgroup", plain, "nsdelegate", why);
	if (err == 0 && which & AGENT_STANDARD_RUN)
		err = mount_usual("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755", why);
	if (err == 0 && which & AGENT_STANDARD_TMP)
		err = mount_usual("tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777", why);
	return err;
}

static unsigned long mount_flags(uint32_t flags)
{
	return (flags & AGENT_MOUNT_READ_ONLY ? MS_RDONLY : 0) |
	       (flags & AGENT_MOUNT_NOSUID ? MS_NOSUID : 0) |
	       (flags & AGENT_MOUNT_NODEV ? MS_NODEV : 0) |
	       (flags & AGENT_MOUNT_NOEXEC ? MS_NOEXEC : 0) |
	       (flags & AGENT_MOUNT_NOATIME ? MS_NOATIME : 0) |
	       (flags & AGENT_MOUNT_NODIRATIME ? MS_NODIRATIME : 0) |
	       (flags & AGENT_MOUNT_STRICTATIME ? MS_STRICTATIME : 0) |
	       (flags & AGENT_MOUNT_SYNC ? MS_SYNCHRONOUS : 0) |
	       (flags & AGENT_MOUNT_DIRSYNC ? MS_DIRSYNC : 0);
}

static long propagate(const char *target, uint32_t flags)
{
	unsigned long how = flags & AGENT_MOUNT_SHARED	     ? MS_SHARED
			    : flags & AGENT_MOUNT_SLAVE	     ? MS_SLAVE
			    : flags & AGENT_MOUNT_PRIVATE    ? MS_PRIVATE
			    : flags & AGENT_MOUNT_UNBINDABLE ? MS_UNBINDABLE
							     : 0;

	if (flags & AGENT_MOUNT_RECURSIVE)
		how |= MS_REC;
	return how & ~(unsigned long)MS_REC ? sys_mount(NULL, target, NULL, how, NULL) : 0;
}

/* A bind takes its flags in a second step. */
static long bind_mount(const char *source, const char *target, uint32_t flags)
{
	unsigned long recursive = flags & AGENT_MOUNT_RECURSIVE ? MS_REC : 0;
	long err = sys_mount(source, target, NULL, MS_BIND | recursive, NULL);

	if (err < 0 || !mount_flags(flags))
		return err;
	return sys_mount(NULL, target, NULL, MS_BIND | MS_REMOUNT | mount_flags(flags), NULL);
}

static bool is_bind(const struct message_mount *mount)
{
	return strcmp(mount->type, "bind") == 0;
}

/* Of these there is one in the machine, however often it is mounted. */
static bool is_kernels(const char *type)
{
	return strcmp(type, "sysfs") == 0 || strcmp(type, "proc") == 0 ||
	       strcmp(type, "cgroup2") == 0;
}

/* Read-only where it is mounted, and not everywhere: the guest program writes there itself. */
static long mount_kernels(const struct message_mount *mount, const char *target, uint32_t flags)
{
	unsigned long wanted = mount_flags(flags);
	long err = sys_mount(mount->source, target, mount->type, wanted & ~(unsigned long)MS_RDONLY,
		*mount->options ? mount->options : NULL);

	return err < 0 ? err : sys_mount(NULL, target, NULL, MS_BIND | MS_REMOUNT | wanted, NULL);
}

static long mount_type(const struct message_mount *mount, const char *target, uint32_t flags)
{
	if (flags & AGENT_MOUNT_READ_ONLY && is_kernels(mount->type))
		return mount_kernels(mount, target, flags);
	return sys_mount(mount->source, target, mount->type, mount_flags(flags),
		*mount->options ? mount->options : NULL);
}

static long mount_at(const struct message_mount *mount, const char *target, uint32_t flags)
{
	return is_bind(mount) ? bind_mount(mount->source, target, flags)
			      : mount_type(mount, target, flags);
}

/* All of what it says, at its target. */
static long mount_whole(const struct message_mount *mount)
{
	/* What this program itself came with is of no use to anybody behind it. */
	if (mount->flags & AGENT_MOUNT_DEVICES)
		sys_detach(mount->target);
	if (strcmp(mount->type, "none") == 0)
		return 0;
	return mount_at(mount, mount->target, mount->flags);
}

/* A new name in the folder that was the root before; the current directory is that folder. */
static long hidden_name(struct setup *setup, const char *kind, struct text *name)
{
	text_add(name, kind);
	text_add_number(name, setup->hidden++);
	return sys_fchdir(setup->initramfs);
}

/* Mount it out of sight, bind the one file in it, and let the mount itself go. */
static long mount_part(struct setup *setup, const struct message_mount *mount)
{
	struct text name = { 0 }, file = { 0 };
	size_t len;
	long err = hidden_name(setup, "mount", &name);

	if (err < 0)
		return err;
	err = sys_mkdir(name.buf, 0700);
	if (err == 0)
		err = mount_at(mount, name.buf, 0);
	if (err == 0) {
		text_add(&file, name.buf);
		text_add(&file, "/");
		len = file.len + strlen(mount->file);
		text_add(&file, mount->file);
		err = file.len == len ? bind_mount(file.buf, mount->target, mount->flags)
				      : -ENAMETOOLONG;
		sys_detach(name.buf);
	}
	sys_chdir("/");
	return err;
}

long mounts_hide(struct setup *setup, const char *path,
	long (*make)(const char *name, const void *what), const void *what)
{
	struct text name = { 0 };
	long err = make_target(path, true);

	if (err == 0)
		err = hidden_name(setup, "hidden", &name);
	if (err == 0)
		err = make(name.buf, what);
	if (err == 0)
		err = bind_mount(name.buf, path, 0);
	sys_chdir("/");
	return err;
}

static long make_node(const char *name, const void *what)
{
	return devices_node(name, what);
}

long mounts_node(struct setup *setup, const struct message_node *node, struct text *why)
{
	long err;

	/* Outside of /dev, which is the guest's own, nothing is written that may last. */
	if (text_after((char *)node->path, "/dev/")) {
		make_folders(node->path, false);
		sys_unlink(node->path);
		err = devices_node(node->path, node);
	} else {
		err = mounts_hide(setup, node->path, make_node, node);
	}
	say(why, "cannot make the device ", node->path, "", "");
	return err;
}

static bool has_mode(const char *options)
{
	for (; *options; options++)
		if (text_after((char *)options, "mode="))
			return true;
	return false;
}

/* Filled while it is out of sight, for it would hide what it is filled with. */
static long mount_copied(struct setup *setup, const struct message_mount *mount)
{
	struct text name = { 0 };
	long err = hidden_name(setup, "mount", &name);

	if (err < 0)
		return err;
	err = sys_mkdir(name.buf, 0700);
	if (err == 0)
		err = mount_at(mount, name.buf, 0);
	if (err == 0) {
		err = copy_tree(mount->target, name.buf, !has_mode(mount->options));
		if (err == 0)
			err = bind_mount(name.buf, mount->target, mount->flags);
		sys_detach(name.buf);
	}
	sys_chdir("/");
	return err;
}

long mounts_add(struct setup *setup, const struct message_mount *mount, struct text *why)
{
	long err = make_target(mount->target, mount->flags & AGENT_MOUNT_ON_FILE);

	if (err == 0 || sys_access(mount->target) == 0)
		err = *mount->file			   ? mount_part(setup, mount)
		      : mount->flags & AGENT_MOUNT_COPY_UP ? mount_copied(setup, mount)
							   : mount_whole(mount);
	if (err == 0 && mount->flags & AGENT_MOUNT_DEVICES)
		devices_make();
	if (err == 0)
		err = propagate(mount->target, mount->flags);
	if (err == 0 || mount->flags & AGENT_MOUNT_TRY)
		return 0;
	say(why, "cannot mount ", *mount->source ? mount->source : mount->type, " on ",
		mount->target);
	return err;
}

static long write_all(const char *path, int flags, const struct message_file *file)
{
	long fd = sys_create(path, O_WRONLY | O_CREAT | flags, 0600), n = 0;

	if (fd < 0)
		return fd;
	for (size_t at = 0; n >= 0 && at < file->content.len; at += (size_t)n)
		n = sys_write((int)fd, file->content.data + at, file->content.len - at);
	if (n >= 0)
		n = sys_fchmod((int)fd, file->mode);
	sys_close((int)fd);
	return n < 0 ? n : 0;
}

static long make_file(const char *name, const void *what)
{
	return write_all(name, O_EXCL, what);
}

long mounts_file(struct setup *setup, const struct message_file *file, struct text *why)
{
	long err;

	if (file->flags & AGENT_FILE_ABSENT && sys_access(file->path) == 0)
		return 0;
	if (file->flags & AGENT_FILE_OVER) {
		err = mounts_hide(setup, file->path, make_file, file);
	} else {
		err = write_all(file->path, O_TRUNC | O_NOFOLLOW | O_NONBLOCK, file);
		/* Not into what a link leads to: /etc/resolv.conf is often one, to nowhere yet. */
		if (err < 0) {
			make_folders(file->path, false);
			sys_unlink(file->path);
			err = write_all(file->path, O_EXCL | O_NOFOLLOW, file);
		}
	}
	if (err == 0 || file->flags & AGENT_FILE_TRY)
		return 0;
	say(why, "cannot write ", file->path, "", "");
	return err;
}

static long keep(struct waiting *w, long fd, const struct message_descriptor *descriptor)
{
	if (fd < 0)
		return fd;
	sys_call(__NR_lseek, fd, (long)descriptor->offset, 0 /* SEEK_SET */, 0, 0);
	w->keep[w->kept].fd = (int)fd;
	w->keep[w->kept++].number = (int)descriptor->number;
	return 0;
}

long mounts_open(struct setup *setup, const struct message_descriptor *descriptor, struct text *why)
{
	struct waiting *w = setup->waiting;
	struct text name = { 0 }, file = { 0 };
	long err;

	say(why, "cannot open ", descriptor->file, " for the process", "");
	if (w->pid || w->kept == AGENT_DESCRIPTORS_MAX)
		return -EBUSY;
	if (!*descriptor->source)
		return keep(w, sys_open(descriptor->file, (int)descriptor->flags), descriptor);
	err = hidden_name(setup, "mount", &name);
	if (err == 0)
		err = sys_mkdir(name.buf, 0700);
	if (err == 0)
		err = sys_mount(descriptor->source, name.buf, "virtiofs", 0, NULL);
	if (err == 0) {
		text_add(&file, name.buf);
		text_add(&file, "/");
		text_add(&file, descriptor->file);
		err = sys_open(file.buf, (int)descriptor->flags);
		sys_detach(name.buf);
	}
	sys_chdir("/");
	return keep(w, err, descriptor);
}

long mounts_done(struct setup *setup, struct text *why)
{
	if (!setup->root_becomes_read_only)
		return 0;
	say(why, "cannot make the root read-only", "", "", "");
	return sys_mount(NULL, "/", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL);
}
