/*
 * A wall of the kernel's own around the serving thread (Landlock): whatever it is made to do, it
 * opens, makes, moves and removes nothing outside of the directory, and changes nothing in one that
 * is read-only. On top of what the server itself takes care of.
 *
 * Not covered by Landlock: looking (stat), modes, owners, times and extended attributes.
 */
#include "fs/internal.h"

#include <errno.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than Debian 12's header. */
enum { ACCESS_TRUNCATE = 1 << 14, ABI_REFER = 2, ABI_TRUNCATE = 3 };

enum {
	READ = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
	WRITE_FILE = LANDLOCK_ACCESS_FS_WRITE_FILE,
	NAMES = LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
		LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |
		LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
		LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
		LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER,
	EXECUTE = LANDLOCK_ACCESS_FS_EXECUTE
};

static int restrict_to(int rules, const struct fs_node *top, uint64_t allowed)
{
	struct landlock_path_beneath_attr beneath = {
		.allowed_access = allowed,
		.parent_fd = top->fd,
	};

	if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) < 0)
		return -errno;
	return syscall(SYS_landlock_restrict_self, rules, 0) < 0 ? -errno : 0;
}

int fs_wall(struct fs_server *s)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct landlock_ruleset_attr all = { .handled_access_fs =
						     READ | WRITE_FILE | NAMES | EXECUTE };
	uint64_t allowed;
	int rules, r;

	/* Part of the walls, and like them not there with --no-sandbox. */
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 0;
	/* Not in this kernel, or before 5.19: that could not rename between directories. */
	if (abi < ABI_REFER)
		return 0;
	if (abi >= ABI_TRUNCATE)
		all.handled_access_fs |= ACCESS_TRUNCATE;
	/* Nothing is ever run from there by us. */
	allowed = all.handled_access_fs & ~(uint64_t)EXECUTE;
	if (s->read_only)
		allowed &= READ;
	if (s->is_file)
		allowed &= LANDLOCK_ACCESS_FS_READ_FILE | WRITE_FILE | ACCESS_TRUNCATE;
	rules = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);
	if (rules < 0)
		return -errno;
	r = restrict_to(rules, s->is_file ? s->file : s->root, allowed);
	close(rules);
	return r;
}
