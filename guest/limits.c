#include "guest/limits.h"

#include "guest/sys.h"

#include <linux/bpf.h>
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

/*
 * This process goes in, makes that the root of what is seen, and comes out again, so as not to be
 * counted.
 */
static long make_group(int root, const char *limit, int *group)
{
	/* The others as far as this kernel has them: for what runs groups of its own in it. */
	static const char *const others[] = { "+cpu", "+memory", "+io", "+cpuset" };
	long err = write_at(root, "cgroup.subtree_control", "+pids");
	bool counts = err == 0;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		write_at(root, "cgroup.subtree_control", others[i]);
	err = sys_call(__NR_mkdirat, root, SYS_PTR(GROUP), 0755, 0, 0);
	if (err == 0 && (counts || *limit != 'm'))
		err = write_at(root, GROUP "/pids.max", limit);
	if (err == 0)
		err = write_at(root, GROUP "/cgroup.procs", "0");
	if (err == 0)
		err = sys_call(__NR_unshare, CLONE_NEWCGROUP, 0, 0, 0, 0);
	if (err == 0)
		err = write_at(root, "cgroup.procs", "0");
	if (err == 0)
		err = *group = (int)sys_open_at(root, GROUP, O_PATH | O_DIRECTORY);
	return err < 0 ? err : 0;
}

long limits_pids(uint64_t limit, int *group, struct text *why)
{
	long root = sys_mount_detached("cgroup2"), err;
	struct text number = { 0 };

	text_add(why, "cannot limit the number of processes (the kernel's pids controller)");
	/* No machine has so many. */
	if (limit > 1 << 22)
		limit = 1 << 22;
	if (root < 0)
		return limit ? root : 0;
	if (limit)
		text_add_number(&number, (long)limit);
	else
		text_add(&number, "max");
	/* Once there is a group, it is the root of what this process sees. */
	err = *group < 0 ? make_group((int)root, number.buf, group)
			 : write_at((int)root, "pids.max", number.buf);
	sys_close((int)root);
	return limit ? err : 0;
}

/* What is mounted now shows the group of PIDS as its root. */
static long write_below(const char *path, const char *text)
{
	long root = sys_mount_detached("cgroup2"), err;

	if (root < 0)
		return root;
	err = write_at((int)root, path, text);
	sys_close((int)root);
	return err;
}

static long bpf(int command, union bpf_attr *attr, size_t size)
{
	return sys_call(__NR_bpf, command, SYS_PTR(attr), (long)size, 0, 0);
}

long limits_devices(const struct wire_bytes *program, struct text *why)
{
	union bpf_attr load = { .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
		.insns = (uint64_t)SYS_PTR(program->data),
		.insn_cnt = (uint32_t)(program->len / sizeof(struct bpf_insn)),
		.license = (uint64_t)SYS_PTR("") };
	union bpf_attr attach = { .attach_type = BPF_CGROUP_DEVICE,
		.attach_flags = BPF_F_ALLOW_MULTI };
	long root = sys_mount_detached("cgroup2"), fd, err;

	text_add(why, "cannot keep devices from the container");
	if (root < 0)
		return 0;
	err = fd = bpf(BPF_PROG_LOAD, &load, sizeof(load));
	if (fd >= 0) {
		attach.target_fd = (uint32_t)root;
		attach.attach_bpf_fd = (uint32_t)fd;
		err = bpf(BPF_PROG_ATTACH, &attach, sizeof(attach));
		sys_close((int)fd);
	}
	sys_close((int)root);
	return err < 0 && err != -EINVAL && err != -ENOSYS ? err : 0;
}

void limits_group(const char *file, const char *value)
{
	write_below(file, value);
}

long limits_enter(const char *group)
{
	struct text path = { 0 };

	while (*group == '/')
		group++;
	text_add(&path, group);
	text_add(&path, *group ? "/cgroup.procs" : "cgroup.procs");
	return write_below(path.buf, "0");
}
