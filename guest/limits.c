#include "guest/limits.h"

#include "guest/sys.h"

#include <linux/sched.h>
#include <string.h>

#define GROUP "container"

static long write_at(int dir, const char *path, const char *text)
{
	long fd = sys_open_at(dir, path, O_WRONLY), err;

	if (fd < 0)
		return fd;
	err = sys_write((int)fd, text, strlen(text));
	sys_close((int)fd);
	return err < 0 ? err : 0;
}

/* 0: no limit. This process is in the group, too. */
static void add_limit(struct text *text, uint64_t limit)
{
	/* No machine has so many. */
	if (limit >= 1 << 22)
		limit = (1 << 22) - 1;
	if (limit)
		text_add_number(text, (long)limit + 1);
	else
		text_add(text, "max");
}

/* What was started before there was a group. Those of the kernel's own cannot go, and need not. */
static void move_others(int root)
{
	char buf[16384], *cursor = buf, *line;
	long fd = sys_open_at(root, "cgroup.procs", O_RDONLY), n = 0;
	size_t len = 0;

	while (fd >= 0 && len < sizeof(buf) - 1 &&
		(n = sys_read((int)fd, buf + len, sizeof(buf) - 1 - len)) > 0)
		len += (size_t)n;
	sys_close((int)fd);
	buf[len] = 0;
	while ((line = text_line(&cursor)))
		write_at(root, GROUP "/cgroup.procs", line);
}

static long make_group(int root, const char *limit)
{
	/* The others as far as this kernel has them: for what runs groups of its own in it. */
	static const char *const others[] = { "+cpu", "+memory", "+io", "+cpuset" };
	long err = write_at(root, "cgroup.subtree_control", "+pids");

	for (size_t i = 0; err == 0 && i < sizeof(others) / sizeof(others[0]); i++)
		write_at(root, "cgroup.subtree_control", others[i]);
	if (err == 0)
		err = sys_call(__NR_mkdirat, root, SYS_PTR(GROUP), 0755, 0, 0);
	if (err == 0)
		err = write_at(root, GROUP "/pids.max", limit);
	if (err == 0)
		err = write_at(root, GROUP "/cgroup.procs", "0");
	if (err < 0)
		return err;
	move_others(root);
	return sys_call(__NR_unshare, CLONE_NEWCGROUP, 0, 0, 0, 0);
}

long limits_pids(uint64_t limit, struct text *why)
{
	long root = sys_mount_detached("cgroup2"), err;
	struct text number = { 0 };

	text_add(why, "cannot limit the number of processes (the kernel's pids controller)");
	if (root < 0)
		return root;
	add_limit(&number, limit);
	/* Once there is a group, it is the root of what this process sees; the first root has none. */
	err = write_at((int)root, "pids.max", number.buf);
	if (err == -ENOENT)
		err = make_group((int)root, number.buf);
	sys_close((int)root);
	return err;
}
