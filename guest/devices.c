#include "guest/devices.h"

#include "guest/sys.h"
#include "guest/text.h"

void devices_link(void)
{
	static const char *const links[][2] = {
		{ "/proc/self/fd", "/dev/fd" },
		{ "pts/ptmx", "/dev/ptmx" }, /* a devtmpfs has a device of that name */
		{ "/proc/self/fd/0", "/dev/stdin" },
		{ "/proc/self/fd/1", "/dev/stdout" },
		{ "/proc/self/fd/2", "/dev/stderr" },
	};

	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		sys_symlink(links[i][0], links[i][1]);
}

void devices_without_terminals(void)
{
	char entries[4096] __attribute__((aligned(8)));
	long folder = sys_open("/dev", O_RDONLY | O_DIRECTORY), n;

	if (folder < 0)
		return;
	while ((n = sys_call(__NR_getdents64, folder, SYS_PTR(entries), sizeof(entries), 0, 0)) > 0)
		for (long at = 0; at < n;) {
			struct sys_entry *entry = (struct sys_entry *)(entries + at);
			const char *behind = text_after(entry->name, "tty");

			at += entry->length;
			if (behind && *behind)
				sys_call(__NR_unlinkat, folder, SYS_PTR(entry->name), 0, 0, 0);
		}
	sys_close((int)folder);
}

void devices_open(void)
{
	static const char *const devices[] = { "/dev/fuse", "/dev/net/tun" };

	for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++)
		sys_call(__NR_fchmodat, AT_FDCWD, SYS_PTR(devices[i]), 0666, 0, 0);
}

long devices_node(const char *path, const struct message_node *node)
{
	unsigned dev = (node->minor & 0xff) | node->major << 8 | (node->minor & ~0xffU) << 12;
	long err = sys_mknod(path, node->mode, dev);

	if (err == 0)
		err = sys_call(__NR_fchmodat, AT_FDCWD, SYS_PTR(path), node->mode & 07777, 0, 0);
	if (err == 0)
		err = sys_call(__NR_fchownat, AT_FDCWD, SYS_PTR(path), node->uid, node->gid, 0);
	return err;
}

void devices_make(void)
{
	static const struct message_node nodes[] = {
		{ .path = "/dev/null", .major = 1, .minor = 3 },
		{ .path = "/dev/zero", .major = 1, .minor = 5 },
		{ .path = "/dev/full", .major = 1, .minor = 7 },
		{ .path = "/dev/random", .major = 1, .minor = 8 },
		{ .path = "/dev/urandom", .major = 1, .minor = 9 },
		{ .path = "/dev/tty", .major = 5, .minor = 0 },
	};

	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
		struct message_node node = nodes[i];

		node.mode = SYS_MODE_CHARACTER | 0666;
		devices_node(node.path, &node);
	}
	devices_link();
}
