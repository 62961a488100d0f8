/* Read-only directories, single files, cache modes, ids, bad paths. */
#include "rig.h"

#include <grp.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static int make(void **state)
{
	static struct rig rig;

	rig_open(&rig, false, FS_CACHE_AUTO);
	rig_put(&rig, "share/a", "content");
	*state = &rig;
	return 0;
}

static int teardown(void **state)
{
	rig_close(*state);
	return 0;
}

static void reopen(struct rig *rig, const char *name, bool read_only, enum fs_cache cache)
{
	fs_server_close(rig->server);
	rig_open_path(rig, rig_path(rig, "%s", name), read_only, cache);
}

static void test_read_only(void **state)
{
	static const uint32_t changing[] = { FUSE_SETATTR, FUSE_SYMLINK, FUSE_MKNOD, FUSE_MKDIR,
		FUSE_UNLINK, FUSE_RMDIR, FUSE_RENAME, FUSE_LINK, FUSE_WRITE, FUSE_SETXATTR,
		FUSE_REMOVEXATTR, FUSE_CREATE, FUSE_FALLOCATE, FUSE_RENAME2, FUSE_COPY_FILE_RANGE,
		FUSE_TMPFILE };
	struct rig *rig = *state;
	uint8_t arg[200] = { 0 };
	uint64_t node, fh;

	reopen(rig, "share", true, FS_CACHE_AUTO);
	node = rig_walk(rig, "a");
	for (unsigned i = 0; i < ARRAY_SIZE(changing); i++)
		assert_int_equal(
			rig_call(rig, changing[i], node, arg, sizeof(arg), NULL, 0), -EROFS);
	assert_int_equal(rig_open_file(rig, node, O_RDWR), 0);
	assert_int_equal(errno, EROFS);
	assert_int_equal(rig_open_file(rig, node, O_RDONLY | O_TRUNC), 0);
	assert_int_equal(errno, EROFS);
	fh = rig_open_file(rig, node, O_RDONLY);
	assert_int_equal(rig_read(rig, node, fh, 0, 100), 7);
	assert_true(rig_has(rig, "share/a", "content"));
}

static void test_single_file(void **state)
{
	struct rig *rig = *state;
	struct fuse_open_in open = { 0 };
	struct fuse_read_in in = { .size = 4096 };
	struct fuse_setattr_in set = { .valid = FATTR_MODE, .mode = 0777 };
	uint64_t node, fh;
	struct fuse_attr attr;

	rig_put(rig, "share/b", "other");
	reopen(rig, "share/a", false, FS_CACHE_AUTO);
	assert_true(fs_server_is_file(rig->server));
	assert_int_equal(rig_getattr(rig, 1, &attr), 0);
	assert_int_equal(attr.mode, S_IFDIR | 0555);
	node = rig_lookup(rig, 1, FS_FILE_NAME);
	assert_true(node);
	assert_int_equal(rig_lookup(rig, 1, "a"), 0);
	assert_int_equal(rig_lookup(rig, 1, "b"), 0);
	fh = rig_open_file(rig, node, O_RDWR);
	assert_int_equal(rig_write(rig, node, fh, 0, "C", 1, O_RDWR, 0), 1);
	assert_true(rig_has(rig, "share/a", "Content"));
	for (unsigned plus = 0; plus < 2; plus++) {
		unsigned entries = 0;

		assert_int_equal(rig_call(rig, FUSE_OPENDIR, 1, &open, sizeof(open), NULL, 0), 0);
		in.fh = *(uint64_t *)rig->reply;
		in.offset = 0;
		/* One at a time: there is room for no more. */
		in.size = plus ? 180 : 40;
		while (rig_call(rig, plus ? FUSE_READDIRPLUS : FUSE_READDIR, 1, &in, sizeof(in),
			       NULL, 0) == 0 &&
			rig->reply_len) {
			in.offset++;
			entries++;
		}
		assert_int_equal(entries, 3);
	}
	assert_int_equal(rig_mkdir(rig, 1, "d", 0755), 0);
	assert_int_equal(rig_create(rig, 1, "new", O_RDWR, 0600, NULL), 0);
	assert_int_equal(rig_unlink(rig, 1, FS_FILE_NAME), -EACCES);
	assert_int_equal(rig_rename(rig, 1, FS_FILE_NAME, 1, "x", 0), -EACCES);
	assert_int_equal(rig_setattr(rig, 1, &set), -EPERM);
	assert_int_equal(rig_named(rig, FUSE_GETXATTR, 1, &(struct fuse_getxattr_in){ 10 },
				 sizeof(struct fuse_getxattr_in), "user.x", NULL),
		-EOPNOTSUPP);
	assert_int_equal(rig_call(rig, FUSE_STATFS, 1, NULL, 0, NULL, 0), 0);
	assert_int_equal(rig_call(rig, FUSE_SYNCFS, 1, (uint64_t[1]){ 0 }, 8, NULL, 0), 0);
	/* As often as it likes. */
	rig_call(rig, FUSE_FORGET, node, &(struct fuse_forget_in){ .nlookup = 9 },
		sizeof(struct fuse_forget_in), NULL, 0);
	assert_int_equal(rig_lookup(rig, 1, FS_FILE_NAME), node);
}

static uint32_t open_flags(struct rig *rig, uint64_t node, uint32_t flags)
{
	uint64_t fh = rig_open_file(rig, node, flags);
	uint32_t got = ((struct fuse_open_out *)rig->reply)->open_flags;

	assert_true(fh);
	rig_release(rig, node, fh);
	return got;
}

static void test_cache_modes(void **state)
{
	struct rig *rig = *state;
	struct fuse_entry_out *e = (void *)rig->reply;
	uint64_t node;

	node = rig_walk(rig, "a");
	assert_int_equal(e->entry_valid, 1);
	assert_int_equal(e->attr_valid, 1);
	/* Just written: a change right now might not show. */
	assert_int_equal(open_flags(rig, node, O_RDONLY), 0);
	usleep(150000);
	assert_int_equal(open_flags(rig, node, O_RDONLY), 0);
	assert_int_equal(open_flags(rig, node, O_RDONLY), FOPEN_KEEP_CACHE);
	rig_put(rig, "share/a", "changed");
	assert_int_equal(open_flags(rig, node, O_RDONLY), 0);

	reopen(rig, "share", false, FS_CACHE_NONE);
	node = rig_walk(rig, "a");
	assert_int_equal(e->entry_valid, 0);
	assert_int_equal(e->attr_valid, 0);
	assert_true(open_flags(rig, node, O_RDONLY) & FOPEN_DIRECT_IO);

	reopen(rig, "share", false, FS_CACHE_ALWAYS);
	node = rig_walk(rig, "a");
	assert_true(e->entry_valid > 1000);
	assert_int_equal(open_flags(rig, node, O_RDONLY), FOPEN_KEEP_CACHE);
	/* That a name is not there is known, too. */
	assert_int_equal(rig_named(rig, FUSE_LOOKUP, 1, NULL, 0, "absent", NULL), 0);
	assert_int_equal(e->nodeid, 0);
	assert_true(e->entry_valid > 1000);
}

static void test_init(void **state)
{
	struct rig *rig = *state;
	struct fuse_init_in in = { .major = 8 };
	struct fuse_attr attr;
	uint64_t node = rig_walk(rig, "a");

	/* A later protocol: told ours, and asked again. */
	assert_int_equal(rig_call(rig, FUSE_INIT, 0, &in, sizeof(in), NULL, 0), 0);
	assert_int_equal(((struct fuse_init_out *)rig->reply)->major, 7);
	assert_int_equal(rig_getattr(rig, 1, &attr), -EIO);
	in.major = 6;
	assert_int_equal(rig_call(rig, FUSE_INIT, 0, &in, sizeof(in), NULL, 0), -EPROTO);
	/* What an earlier mount knew is gone. */
	rig_init(rig);
	assert_int_equal(rig_getattr(rig, node, &attr), -ESTALE);
	assert_int_equal(rig_getattr(rig, 1, &attr), 0);
	assert_int_equal(rig_call(rig, FUSE_DESTROY, 0, NULL, 0, NULL, 0), 0);
	assert_int_equal(rig_getattr(rig, 1, &attr), -EIO);
}

static void as_root(struct rig *rig)
{
	struct stat st;
	uint64_t node;

	assert_true(fs_server_capabilities(rig->server));
	rig->uid = 1234;
	rig->gid = 2345;
	assert_true(rig_create(rig, 1, "file", O_RDWR, 0640, NULL));
	assert_int_equal(stat(rig_path(rig, "share/file"), &st), 0);
	assert_int_equal(st.st_uid, 1234);
	assert_int_equal(st.st_gid, 2345);
	/* The guest's kernel has checked: the directory is root's. */
	node = rig_mkdir(rig, 1, "dir", 0700);
	assert_true(node);
	rig->uid = 99;
	assert_true(rig_create(rig, node, "in", O_RDWR, 0600, NULL));
	rig->uid = 0;
	rig->gid = 0;
	node = rig_walk(rig, "file");
	assert_int_equal(
		rig_setattr(rig, node,
			&(struct fuse_setattr_in){ .valid = FATTR_UID | FATTR_GID | FATTR_MODE,
				.uid = 1,
				.gid = 2,
				.mode = 06755 }),
		0);
	assert_int_equal(stat(rig_path(rig, "share/file"), &st), 0);
	assert_int_equal(st.st_uid, 1);
	assert_int_equal(st.st_gid, 2);
	assert_int_equal(st.st_mode, S_IFREG | 06755);
	/* Set-id bits stay for a writer who may keep them, and go for another. */
	rig_write(rig, node, rig_open_file(rig, node, O_RDWR), 0, "x", 1, O_RDWR, 0);
	assert_int_equal(stat(rig_path(rig, "share/file"), &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 06755);
	rig_write(rig, node, rig_open_file(rig, node, O_RDWR), 0, "x", 1, O_RDWR,
		FUSE_WRITE_KILL_SUIDGID);
	assert_int_equal(stat(rig_path(rig, "share/file"), &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0755);
	assert_int_equal(rig_setattr(rig, node,
				 &(struct fuse_setattr_in){ .valid = FATTR_MODE, .mode = 02755 }),
		0);
	assert_int_equal(stat(rig_path(rig, "share/file"), &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 02755);
}

static void as_user(struct rig *rig)
{
	struct fuse_setattr_in set = { .valid = FATTR_UID, .uid = 0 };
	struct fuse_attr attr;
	uint64_t node;

	assert_int_equal(fs_server_capabilities(rig->server), 0);
	rig->uid = 0;
	assert_true(rig_create(rig, 1, "file", O_RDWR, 0640, &node));
	assert_int_equal(rig_getattr(rig, node, &attr), 0);
	assert_int_equal(attr.uid, 0);
	assert_int_equal(attr.gid, 0);
	/* Root's file next to it is somebody else's. */
	assert_int_equal(rig_getattr(rig, rig_walk(rig, "a"), &attr), 0);
	assert_int_equal(attr.uid, 1000);
	assert_int_equal(rig_setattr(rig, node, &set), 0);
	set.uid = 5;
	assert_int_equal(rig_setattr(rig, node, &set), -EPERM);
	set.valid = FATTR_MODE;
	set.mode = 0600;
	assert_int_equal(rig_setattr(rig, node, &set), 0);
	assert_int_equal(rig_setattr(rig, rig_walk(rig, "a"), &set), -EPERM);
}

static int in_child(struct rig *rig, uid_t uid, void (*body)(struct rig *rig))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		fs_server_close(rig->server);
		/* The rig's server has set it; then capabilities would stay. */
		prctl(PR_SET_SECUREBITS, 0, 0, 0, 0);
		if (uid && (setgroups(0, NULL) < 0 || setgid(uid) < 0 || setuid(uid) < 0))
			_exit(2);
		rig_open_path(rig, rig_path(rig, "share"), false, FS_CACHE_AUTO);
		body(rig);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void test_ids(void **state)
{
	struct rig *rig = *state;

	if (geteuid() != 0 || !fs_server_capabilities(rig->server))
		skip();
	assert_int_equal(in_child(rig, 0, as_root), 0);
	assert_int_equal(unlink(rig_path(rig, "share/file")), 0);
	assert_int_equal(chown(rig->dir, 1000, 1000), 0);
	assert_int_equal(chmod(rig->top, 0755), 0);
	assert_int_equal(in_child(rig, 1000, as_user), 0);
}

static void refuse(struct rig *rig, const char *path, const char *says)
{
	struct fs_options options = { .path = path };
	struct fs_server *server;
	struct error err = { 0 };

	assert_true(fs_server_open(&server, &options, &err) < 0);
	assert_null(server);
	assert_int_equal(err.kind, ERROR_USAGE);
	assert_non_null(strstr(err.msg, path));
	assert_non_null(strstr(err.msg, says));
}

static void test_bad_paths(void **state)
{
	struct rig *rig = *state;
	char path[256];

	snprintf(path, sizeof(path), "%s", rig_path(rig, "absent"));
	refuse(rig, path, "No such file");
	snprintf(path, sizeof(path), "%s", rig_path(rig, "fifo"));
	assert_int_equal(mkfifo(path, 0600), 0);
	refuse(rig, path, "neither a directory nor");
	refuse(rig, "/proc", "interface of the host's kernel");
	refuse(rig, "/dev/null", "neither a directory nor");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_read_only, make, teardown),
		cmocka_unit_test_setup_teardown(test_single_file, make, teardown),
		cmocka_unit_test_setup_teardown(test_cache_modes, make, teardown),
		cmocka_unit_test_setup_teardown(test_init, make, teardown),
		cmocka_unit_test_setup_teardown(test_ids, make, teardown),
		cmocka_unit_test_setup_teardown(test_bad_paths, make, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
