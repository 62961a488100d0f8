/* A guest that wants out of the directory, alone and with a helper on the host. */
#include "rig.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

static int setup(void **state)
{
	static struct rig rig;

	rig_open(&rig, false, FS_CACHE_AUTO);
	rig_put(&rig, "secret", "outside");
	assert_int_equal(mkdir(rig_path(&rig, "out"), 0755), 0);
	rig_put(&rig, "out/file", "outside");
	*state = &rig;
	return 0;
}

static int teardown(void **state)
{
	rig_close(*state);
	return 0;
}

static const char *const bad_names[] = { "", ".", "..", "../secret", "a/b", "/", "/etc/passwd",
	"./d", "d/..", "d/" };

static void test_names(void **state)
{
	static const struct {
		uint32_t opcode;
		size_t arg;
		bool two;
	} ops[] = {
		{ FUSE_LOOKUP, 0, false },
		{ FUSE_MKNOD, sizeof(struct fuse_mknod_in), false },
		{ FUSE_MKDIR, sizeof(struct fuse_mkdir_in), false },
		{ FUSE_SYMLINK, 0, true },
		{ FUSE_UNLINK, 0, false },
		{ FUSE_RMDIR, 0, false },
		{ FUSE_CREATE, sizeof(struct fuse_create_in), false },
		{ FUSE_LINK, sizeof(struct fuse_link_in), false },
		{ FUSE_RENAME, sizeof(struct fuse_rename_in), true },
		{ FUSE_RENAME2, sizeof(struct fuse_rename2_in), true },
	};
	struct rig *rig = *state;
	uint64_t d = rig_mkdir(rig, 1, "d", 0755), file;
	uint64_t arg[16];

	rig_put(rig, "share/f", "f");
	file = rig_lookup(rig, 1, "f");
	for (unsigned o = 0; o < ARRAY_SIZE(ops); o++) {
		for (unsigned n = 0; n < ARRAY_SIZE(bad_names); n++) {
			memset(arg, 0, sizeof(arg));
			if (ops[o].opcode == FUSE_LINK)
				arg[0] = file;
			else if (ops[o].opcode == FUSE_MKNOD)
				memcpy(arg, &(struct fuse_mknod_in){ .mode = S_IFREG | 0600 },
					sizeof(struct fuse_mknod_in));
			else if (ops[o].opcode >= FUSE_RENAME)
				arg[0] = d;
			assert_true(rig_named(rig, ops[o].opcode, d, arg, ops[o].arg, bad_names[n],
					    ops[o].two ? "x" : NULL) < 0);
			/* The second name, too. */
			if (ops[o].opcode == FUSE_RENAME || ops[o].opcode == FUSE_RENAME2)
				assert_int_equal(rig_named(rig, ops[o].opcode, 1, arg, ops[o].arg,
							 "f", bad_names[n]),
					-EINVAL);
		}
		/* Without an end. */
		assert_int_equal(
			rig_call(rig, ops[o].opcode, d, arg, ops[o].arg, "name", 4), -EINVAL);
		assert_int_equal(
			rig_call(rig, ops[o].opcode, d, arg, ops[o].arg, NULL, 0), -EINVAL);
	}
	assert_true(rig_has(rig, "secret", "outside"));
	assert_true(rig_has(rig, "share/f", "f"));
}

static void test_symlinks(void **state)
{
	struct rig *rig = *state;
	struct fuse_setattr_in set = { .valid = FATTR_SIZE };
	struct fuse_open_in open = { 0 };
	uint64_t out, file, none;

	assert_int_equal(symlink("../out", rig_path(rig, "share/out")), 0);
	assert_int_equal(symlink(rig_path(rig, "secret"), rig_path(rig, "share/file")), 0);
	assert_int_equal(symlink("../new", rig_path(rig, "share/none")), 0);
	out = rig_walk(rig, "out");
	file = rig_walk(rig, "file");
	none = rig_walk(rig, "none");
	assert_true(out && file && none);
	assert_int_equal(rig_lookup(rig, out, "file"), 0);
	assert_int_equal(errno, ENOTDIR);
	assert_int_equal(rig_call(rig, FUSE_OPENDIR, out, &open, sizeof(open), NULL, 0), -ENOTDIR);
	assert_int_equal(rig_open_file(rig, file, O_RDONLY), 0);
	assert_int_equal(errno, ELOOP);
	assert_int_equal(rig_open_file(rig, none, O_WRONLY | O_CREAT), 0);
	assert_int_equal(rig_create(rig, 1, "none", O_RDWR, 0600, NULL), 0);
	assert_int_equal(errno, ELOOP);
	assert_int_equal(rig_create(rig, 1, "file", O_RDWR | O_TRUNC, 0600, NULL), 0);
	assert_int_equal(errno, ELOOP);
	assert_int_equal(access(rig_path(rig, "new"), F_OK), -1);
	assert_int_equal(rig_setattr(rig, file, &set), -EINVAL);
	set.valid = FATTR_MODE;
	set.mode = 0777;
	assert_int_equal(rig_setattr(rig, file, &set), -EOPNOTSUPP);
	set.valid = FATTR_MTIME;
	assert_int_equal(rig_setattr(rig, file, &set), 0); /* the link's own */
	assert_int_equal(rig_mkdir(rig, out, "x", 0755), 0);
	assert_int_equal(rig_rename(rig, 1, "file", out, "file", 0), -ENOTDIR);
	assert_int_equal(rig_named(rig, FUSE_LINK, out, &file, sizeof(file), "l", NULL), -ENOTDIR);
	assert_true(rig_has(rig, "secret", "outside"));
	assert_true(rig_has(rig, "out/file", "outside"));
}

static void test_numbers(void **state)
{
	struct rig *rig = *state;
	struct fuse_forget_in forget = { .nlookup = 1 };
	struct fuse_open_in open = { 0 };
	struct fuse_attr attr;
	uint64_t node, fh, dirfh, again;

	rig_put(rig, "share/a", "a");
	rig_put(rig, "share/b", "b");
	node = rig_walk(rig, "a");
	fh = rig_open_file(rig, node, O_RDWR);
	assert_int_equal(rig_call(rig, FUSE_OPENDIR, 1, &open, sizeof(open), NULL, 0), 0);
	dirfh = *(uint64_t *)rig->reply;
	/* Each kind of open file is good for its own calls only. */
	assert_int_equal(rig_read(rig, 1, dirfh, 0, 10), -EBADF);
	assert_int_equal(rig_write(rig, 1, dirfh, 0, "x", 1, 0, 0), -EBADF);
	assert_int_equal(rig_call(rig, FUSE_READDIR, node, &(struct fuse_read_in){ .fh = fh },
				 sizeof(struct fuse_read_in), NULL, 0),
		-EBADF);
	for (uint64_t n = 0; n < 64; n++) {
		uint64_t id = 1ULL << n | 7777;

		assert_int_equal(rig_getattr(rig, id, &attr), -ESTALE);
		assert_int_equal(rig_read(rig, 1, id, 0, 10), -EBADF);
	}
	assert_int_equal(rig_getattr(rig, 0, &attr), -ESTALE);
	/* What was given back is nothing any more, even when its place is taken again. */
	assert_int_equal(rig_release(rig, node, fh), 0);
	assert_int_equal(rig_release(rig, node, fh), -EBADF);
	assert_int_not_equal(rig_open_file(rig, node, O_RDONLY), fh);
	assert_int_equal(rig_read(rig, node, fh, 0, 10), -EBADF);
	assert_int_equal(rig_call(rig, FUSE_FORGET, node, &forget, sizeof(forget), NULL, 0), 1);
	assert_int_equal(rig_getattr(rig, node, &attr), -ESTALE);
	again = rig_walk(rig, "b");
	assert_int_not_equal(again, node);
	assert_int_equal((uint32_t)again, (uint32_t)node);
	assert_int_equal(rig_getattr(rig, node, &attr), -ESTALE);
	/* The root cannot be forgotten, however often. */
	forget.nlookup = UINT64_MAX;
	rig_call(rig, FUSE_FORGET, 1, &forget, sizeof(forget), NULL, 0);
	assert_int_equal(rig_getattr(rig, 1, &attr), 0);
}

/* On the host: share/d is a directory of the share, then a link to out, then the directory again. */
static void swap_for_ever(struct rig *rig)
{
	const char *d = rig_path(rig, "share/d");
	char away[256], link[256];

	snprintf(away, sizeof(away), "%s", rig_path(rig, "share/away"));
	snprintf(link, sizeof(link), "%s", rig_path(rig, "share/link"));
	for (;;) {
		if (symlink("../out", link) < 0 && errno != EEXIST)
			_exit(1);
		rename(d, away);
		rename(link, d);
		rename(d, link);
		rename(away, d);
	}
}

static void test_race(void **state)
{
	struct rig *rig = *state;
	unsigned inside = 0;
	time_t end = time(NULL) + 3;
	pid_t helper;

	assert_int_equal(mkdir(rig_path(rig, "share/d"), 0755), 0);
	rig_put(rig, "share/d/file", "inside");
	helper = fork();
	if (helper == 0)
		swap_for_ever(rig);
	/* For a while, and on a busy machine until something has come of it. */
	for (unsigned i = 0; i < 3000000 && (inside < 100 || time(NULL) < end); i++) {
		uint64_t d = rig_lookup(rig, 1, "d"), file, fh;
		struct fuse_forget_in forget = { .nlookup = 1 };

		if (!d)
			continue;
		file = rig_lookup(rig, d, "file");
		if (file) {
			fh = rig_open_file(rig, file, O_RDWR);
			assert_true(fh);
			assert_int_equal(rig_read(rig, file, fh, 0, 100), 6);
			assert_memory_equal(rig->reply, "inside", 6);
			rig_release(rig, file, fh);
			rig_call(rig, FUSE_FORGET, file, &forget, sizeof(forget), NULL, 0);
			inside++;
		}
		fh = rig_create(rig, d, "made", O_RDWR, 0600, &file);
		if (fh) {
			rig_release(rig, file, fh);
			rig_call(rig, FUSE_FORGET, file, &forget, sizeof(forget), NULL, 0);
		}
		rig_unlink(rig, d, "made");
		rig_call(rig, FUSE_FORGET, d, &forget, sizeof(forget), NULL, 0);
	}
	kill(helper, SIGKILL);
	waitpid(helper, NULL, 0);
	assert_true(inside >= 100);
	assert_int_equal(access(rig_path(rig, "out/made"), F_OK), -1);
	assert_true(rig_has(rig, "out/file", "outside"));
}

static void test_listing_hides_above(void **state)
{
	struct rig *rig = *state;
	struct fuse_open_in open = { 0 };
	struct fuse_read_in in = { .size = 4096 };
	struct fuse_attr attr;

	assert_int_equal(rig_getattr(rig, 1, &attr), 0);
	assert_int_equal(rig_call(rig, FUSE_OPENDIR, 1, &open, sizeof(open), NULL, 0), 0);
	in.fh = *(uint64_t *)rig->reply;
	assert_int_equal(rig_call(rig, FUSE_READDIR, 1, &in, sizeof(in), NULL, 0), 0);
	for (size_t at = 0; at < rig->reply_len;) {
		const struct fuse_dirent *d = (void *)(rig->reply + at);

		if (d->name[0] == '.')
			assert_int_equal(d->ino, attr.ino);
		at += FUSE_DIRENT_SIZE(d);
	}
}

/* Interfaces of the host's kernel mounted below: there, but closed. */
static void test_kernel_interfaces(void **state)
{
	struct rig *rig = *state;
	uint64_t proc;

	assert_int_equal(mkdir(rig_path(rig, "share/proc"), 0755), 0);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("proc", rig_path(rig, "share/proc"), "proc", 0, NULL) < 0)
		skip();
	/* The server's own descriptors are of the mounts as they were: open another. */
	fs_server_close(rig->server);
	rig_open_path(rig, rig_path(rig, "share"), false, FS_CACHE_AUTO);
	proc = rig_lookup(rig, 1, "proc");
	assert_true(proc);
	assert_int_equal(rig_lookup(rig, proc, "sys"), 0);
	assert_int_equal(errno, EACCES);
	assert_int_equal(rig_create(rig, proc, "version", O_RDWR, 0600, NULL), 0);
	assert_int_equal(rig_call(rig, FUSE_OPENDIR, proc, &(struct fuse_open_in){ 0 },
				 sizeof(struct fuse_open_in), NULL, 0),
		-EACCES);
	assert_int_equal(umount2(rig_path(rig, "share/proc"), MNT_DETACH), 0);
}

/* The serving thread itself, taken over: the kernel holds it. */
static void break_out(struct rig *rig)
{
	char inside[128], outside[128], moved[128];
	int out = open(rig->top, O_PATH);

	snprintf(inside, sizeof(inside), "%s/share/new", rig->top);
	snprintf(outside, sizeof(outside), "%s/new", rig->top);
	snprintf(moved, sizeof(moved), "%s/share/moved", rig->top);
	assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	/* One of this process: its /proc/self/fd would be the parent's. */
	fs_server_close(rig->server);
	rig_open_path(rig, rig_path(rig, "share"), false, FS_CACHE_AUTO);
	assert_true(open(inside, O_CREAT | O_RDWR, 0600) >= 0);
	assert_int_equal(rename(inside, moved), 0);
	if (open(outside, O_CREAT | O_RDWR, 0600) >= 0)
		_exit(77); /* no Landlock here */
	assert_int_equal(openat(out, "secret", O_RDONLY), -1);
	assert_int_equal(openat(out, "secret", O_WRONLY), -1);
	assert_int_equal(rename(moved, outside), -1);
	assert_int_equal(unlinkat(out, "secret", 0), -1);
	assert_int_equal(mkdirat(out, "d", 0700), -1);
	assert_int_equal(open("/etc/passwd", O_RDONLY), -1);
	/* And the server goes on as ever. */
	assert_true(rig_open_file(rig, rig_walk(rig, "moved"), O_RDWR | O_TRUNC));
	assert_true(rig_create(rig, 1, "a", O_RDWR, 0600, NULL));
	assert_true(rig_mkdir(rig, 1, "dir", 0755));
	assert_int_equal(rig_rename(rig, 1, "a", rig_walk(rig, "dir"), "b", 0), 0);
	assert_int_equal(rig_unlink(rig, rig_walk(rig, "dir"), "b"), 0);
}

static void test_wall(void **state)
{
	struct rig *rig = *state;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		break_out(rig);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_true(rig_has(rig, "secret", "outside"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_symlinks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_numbers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_race, setup, teardown),
		cmocka_unit_test_setup_teardown(test_listing_hides_above, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wall, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kernel_interfaces, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
