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

static long make_group(int root, uint64_t limit)
{
	/* The others as far as this kernel has them: for what runs groups of its own in it. */
	static const char *const others[] = { "+cpu", "+memory", "+io", "+cpuset" };
	struct text number = { 0 };
	long err = write_at(root, "cgroup.subtree_control", "+pids");

	for (size_t i = 0; err == 0 && i < sizeof(others) / sizeof(others[0]); i++)
		write_at(root, "cgroup.subtree_control", others[i]);
	if (err == 0)
		err = sys_call(__NR_mkdirat, root, SYS_PTR(GROUP), 0755, 0, 0);
	text_add_number(&number, (long)limit + 1);
	if (err == 0)
		err = write_at(root, GROUP "/pids.max", number.buf);
	if (err == 0)
		err = write_at(root, GROUP "/cgroup.procs", "0");
	return err < 0 ? err : sys_call(__NR_unshare, CLONE_NEWCGROUP, 0, 0, 0, 0);
}

long limits_pids(uint64_t limit, struct text *why)
{
	long root = sys_mount_detached("cgroup2"), err;

	text_add(why, "cannot limit the number of processes (the kernel's pids controller)");
	/* No machine has so many. */
	if (limit >= 1 << 22)
		limit = (1 << 22) - 1;
	if (root < 0)
		return root;
	err = make_group((int)root, limit);
	sys_close((int)root);
	return err;
}
