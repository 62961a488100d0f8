/* What programs do with files, through the server and looked at from the host. */
#include "rig.h"

#include <dirent.h>

static int setup(void **state)
{
	static struct rig rig;

	rig_open(&rig, false, FS_CACHE_AUTO);
	*state = &rig;
	return 0;
}

static int teardown(void **state)
{
	rig_close(*state);
	return 0;
}

static void test_create_write_read(void **state)
{
	struct rig *rig = *state;
	uint64_t node, fh = rig_create(rig, FUSE_ROOT_ID, "a", O_RDWR, 0640, &node);
	struct fuse_attr attr;

	assert_true(fh);
	assert_int_equal(rig_write(rig, node, fh, 0, "hello", 5, O_RDWR, 0), 5);
	assert_true(rig_has(rig, "share/a", "hello"));
	assert_int_equal(rig_read(rig, node, fh, 1, 100), 4);
	assert_memory_equal(rig->reply, "ello", 4);
	assert_int_equal(rig_getattr(rig, node, &attr), 0);
	assert_int_equal(attr.size, 5);
	assert_int_equal(attr.mode, S_IFREG | 0640);
	assert_int_equal(attr.nlink, 1);
	assert_int_equal(rig_release(rig, node, fh), 0);
	assert_int_equal(rig_read(rig, node, fh, 0, 1), -EBADF);
}

static void test_data_in_pieces(void **state)
{
	struct rig *rig = *state;
	uint64_t node, fh = rig_create(rig, FUSE_ROOT_ID, "a", O_RDWR, 0640, &node);
	static uint8_t data[3000];

	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 256);
	rig->room = 4096;
	for (rig->piece = 3; rig->piece < 100; rig->piece += 13) {
		assert_int_equal(
			rig_write(rig, node, fh, 10, data, sizeof(data), O_RDWR, 0), sizeof(data));
		assert_int_equal(rig_read(rig, node, fh, 10, sizeof(data)), sizeof(data));
		assert_memory_equal(rig->reply, data, sizeof(data));
		assert_int_equal(rig_read(rig, node, fh, 2000, 77), 77);
		assert_memory_equal(rig->reply, data + 1990, 77);
		/* No more than there is room for. */
		rig->room = 116;
		assert_int_equal(rig_read(rig, node, fh, 10, sizeof(data)), 100);
		rig->room = 4096;
	}
}

static void test_append_excl_trunc(void **state)
{
	struct rig *rig = *state;
	uint64_t node, fh;

	rig_put(rig, "share/a", "one");
	assert_false(rig_create(rig, FUSE_ROOT_ID, "a", O_WRONLY | O_EXCL, 0600, NULL));
	assert_int_equal(errno, EEXIST);
	node = rig_lookup(rig, FUSE_ROOT_ID, "a");
	fh = rig_open_file(rig, node, O_WRONLY | O_APPEND);
	assert_true(fh);
	rig_put(rig, "share/a", "longer");
	/* The guest's idea of the end is old. */
	assert_int_equal(rig_write(rig, node, fh, 3, "!", 1, O_WRONLY | O_APPEND, 0), 1);
	assert_true(rig_has(rig, "share/a", "longer!"));
	/* Written back from a mapping: it has its place. */
	assert_int_equal(
		rig_write(rig, node, fh, 0, "L", 1, O_WRONLY | O_APPEND, FUSE_WRITE_CACHE), 1);
	assert_true(rig_has(rig, "share/a", "Longer!"));
	rig_release(rig, node, fh);
	fh = rig_open_file(rig, node, O_WRONLY | O_TRUNC);
	assert_true(fh);
	assert_true(rig_has(rig, "share/a", ""));
	/* A name that came to be in between is opened. */
	rig_release(rig, node, fh);
	rig_put(rig, "share/b", "there");
	fh = rig_create(rig, FUSE_ROOT_ID, "b", O_RDWR, 0600, &node);
	assert_true(fh);
	assert_int_equal(rig_read(rig, node, fh, 0, 10), 5);
}

static void test_unlinked_but_open(void **state)
{
	struct rig *rig = *state;
	uint64_t node, fh = rig_create(rig, FUSE_ROOT_ID, "a", O_RDWR, 0600, &node);
	struct fuse_setattr_in set = { .valid = FATTR_SIZE | FATTR_FH, .fh = fh, .size = 2 };
	struct fuse_attr attr;

	assert_int_equal(rig_write(rig, node, fh, 0, "hello", 5, O_RDWR, 0), 5);
	assert_int_equal(rig_unlink(rig, FUSE_ROOT_ID, "a"), 0);
	assert_int_equal(access(rig_path(rig, "share/a"), F_OK), -1);
	assert_int_equal(rig_getattr(rig, node, &attr), 0);
	assert_int_equal(attr.nlink, 0);
	assert_int_equal(attr.size, 5);
	assert_int_equal(rig_setattr(rig, node, &set), 0);
	assert_int_equal(rig_read(rig, node, fh, 0, 10), 2);
	/* The name may be another file's meanwhile. */
	rig_put(rig, "share/a", "other");
	set.valid = FATTR_SIZE;
	set.size = 1;
	assert_int_equal(rig_setattr(rig, node, &set), 0);
	assert_true(rig_has(rig, "share/a", "other"));
	assert_int_not_equal(rig_lookup(rig, FUSE_ROOT_ID, "a"), node);
}

static void test_rename_flags(void **state)
{
	struct rig *rig = *state;
	uint64_t d = rig_mkdir(rig, FUSE_ROOT_ID, "d", 0755), a, b;

	assert_true(d);
	rig_put(rig, "share/a", "a");
	rig_put(rig, "share/d/b", "b");
	a = rig_walk(rig, "a");
	b = rig_walk(rig, "d/b");
	assert_int_equal(rig_rename(rig, 1, "a", d, "b", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(rig_rename(rig, 1, "a", d, "b", RENAME_EXCHANGE), 0);
	assert_true(rig_has(rig, "share/a", "b"));
	assert_int_equal(rig_walk(rig, "a"), b);
	assert_int_equal(rig_walk(rig, "d/b"), a);
	assert_int_equal(rig_rename(rig, 1, "a", d, "b", 0), 0);
	assert_int_equal(rig_walk(rig, "a"), 0);
	assert_int_equal(rig_walk(rig, "d/b"), b);
	assert_int_equal(rig_rename(rig, d, "b", 1, "c", 8), -EINVAL);
	assert_int_equal(rig_rename(rig, 1, "d", d, "inside", 0), -EINVAL);
}

static void test_links(void **state)
{
	struct rig *rig = *state;
	struct fuse_link_in in;
	struct fuse_attr attr;
	uint64_t node, link;

	rig_put(rig, "share/a", "a");
	node = rig_walk(rig, "a");
	in.oldnodeid = node;
	assert_int_equal(rig_named(rig, FUSE_LINK, 1, &in, sizeof(in), "b", NULL), 0);
	assert_int_equal(rig_walk(rig, "b"), node);
	assert_int_equal(rig_getattr(rig, node, &attr), 0);
	assert_int_equal(attr.nlink, 2);

	assert_int_equal(rig_named(rig, FUSE_SYMLINK, 1, NULL, 0, "s", "/some/where else"), 0);
	link = rig_walk(rig, "s");
	assert_int_equal(rig_call(rig, FUSE_READLINK, link, NULL, 0, NULL, 0), 0);
	assert_int_equal(rig->reply_len, 16);
	assert_memory_equal(rig->reply, "/some/where else", 16);
	/* A hard link to the symbolic one, not to what it names. */
	in.oldnodeid = link;
	assert_int_equal(rig_named(rig, FUSE_LINK, 1, &in, sizeof(in), "t", NULL), 0);
	assert_int_equal(rig_walk(rig, "t"), link);
	assert_int_equal(rig_call(rig, FUSE_READLINK, node, NULL, 0, NULL, 0), -EINVAL);
	/* Times of the link itself. */
	assert_int_equal(rig_setattr(rig, link,
				 &(struct fuse_setattr_in){
					 .valid = FATTR_MTIME, .mtime = 1234, .mtimensec = 567 }),
		0);
	assert_int_equal(rig_getattr(rig, link, &attr), 0);
	assert_int_equal(attr.mtime, 1234);
	assert_int_equal(attr.mtimensec, 567);
}

static void test_special_nodes(void **state)
{
	struct rig *rig = *state;
	struct fuse_mknod_in in = { .mode = S_IFIFO | 0600 };
	struct fuse_attr attr;

	assert_int_equal(rig_named(rig, FUSE_MKNOD, 1, &in, sizeof(in), "fifo", NULL), 0);
	in.mode = S_IFSOCK | 0600;
	assert_int_equal(rig_named(rig, FUSE_MKNOD, 1, &in, sizeof(in), "sock", NULL), 0);
	assert_int_equal(rig_getattr(rig, rig_walk(rig, "fifo"), &attr), 0);
	assert_int_equal(attr.mode, S_IFIFO | 0600);
	/* They live in the guest: the host's is never opened. */
	assert_int_equal(rig_open_file(rig, rig_walk(rig, "fifo"), O_RDONLY), 0);
	assert_int_equal(errno, ENXIO);
	assert_int_equal(rig_open_file(rig, rig_walk(rig, "sock"), O_RDWR), 0);
	assert_int_equal(errno, ENXIO);
}

static void test_holes(void **state)
{
	struct rig *rig = *state;
	uint64_t node, fh = rig_create(rig, FUSE_ROOT_ID, "a", O_RDWR, 0600, &node);
	struct fuse_fallocate_in in = { .fh = fh, .offset = 0, .length = 1 << 20 };
	struct fuse_lseek_in seek = { .fh = fh, .whence = SEEK_DATA };
	struct fuse_attr attr;

	assert_int_equal(rig_call(rig, FUSE_FALLOCATE, node, &in, sizeof(in), NULL, 0), 0);
	assert_int_equal(rig_getattr(rig, node, &attr), 0);
	assert_int_equal(attr.size, 1 << 20);
	in.mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	assert_int_equal(rig_call(rig, FUSE_FALLOCATE, node, &in, sizeof(in), NULL, 0), 0);
	assert_int_equal(rig_write(rig, node, fh, 65536, "data", 4, O_RDWR, 0), 4);
	assert_int_equal(rig_call(rig, FUSE_LSEEK, node, &seek, sizeof(seek), NULL, 0), 0);
	assert_int_equal(*(uint64_t *)rig->reply, 65536);
	seek.whence = SEEK_HOLE;
	assert_int_equal(rig_call(rig, FUSE_LSEEK, node, &seek, sizeof(seek), NULL, 0), 0);
	assert_int_equal(*(uint64_t *)rig->reply, 0);
	seek.whence = 99;
	assert_int_equal(rig_call(rig, FUSE_LSEEK, node, &seek, sizeof(seek), NULL, 0), -EINVAL);
}

static void test_copy_range(void **state)
{
	struct rig *rig = *state;
	uint64_t to, from, fh_to = rig_create(rig, 1, "to", O_RDWR, 0600, &to);
	uint64_t fh_from = rig_create(rig, 1, "from", O_RDWR, 0600, &from);
	struct fuse_copy_file_range_in in = { .fh_in = fh_from,
		.off_in = 2,
		.nodeid_out = to,
		.fh_out = fh_to,
		.off_out = 1,
		.len = 100 };

	assert_int_equal(rig_write(rig, from, fh_from, 0, "abcdef", 6, O_RDWR, 0), 6);
	assert_int_equal(rig_write(rig, to, fh_to, 0, "0", 1, O_RDWR, 0), 1);
	assert_int_equal(rig_call(rig, FUSE_COPY_FILE_RANGE, from, &in, sizeof(in), NULL, 0), 0);
	assert_int_equal(((struct fuse_write_out *)rig->reply)->size, 4);
	assert_true(rig_has(rig, "share/to", "0cdef"));
}

/* Every name of @node, in order of appearance, by requests of @size bytes. */
static unsigned read_names(
	struct rig *rig, uint64_t node, bool plus, uint32_t size, bool *seen, unsigned max)
{
	struct fuse_open_in open = { 0 };
	struct fuse_read_in in = { .size = size };
	unsigned count = 0;

	assert_int_equal(rig_call(rig, FUSE_OPENDIR, node, &open, sizeof(open), NULL, 0), 0);
	in.fh = *(uint64_t *)rig->reply;
	for (;;) {
		size_t at = 0;

		assert_int_equal(rig_call(rig, plus ? FUSE_READDIRPLUS : FUSE_READDIR, node, &in,
					 sizeof(in), NULL, 0),
			0);
		assert_true(rig->reply_len <= size);
		if (!rig->reply_len)
			break;
		while (at < rig->reply_len) {
			const struct fuse_entry_out *e = (void *)(rig->reply + at);
			const struct fuse_dirent *d;
			unsigned number;
			char name[256] = "";

			if (plus)
				at += sizeof(*e);
			d = (void *)(rig->reply + at);
			memcpy(name, d->name, d->namelen);
			if (sscanf(name, "file-%u", &number) == 1) {
				assert_true(number < max && !seen[number]);
				seen[number] = true;
				count++;
				assert_int_equal(d->type, DT_REG);
				assert_true(!plus || e->nodeid > 1);
			} else {
				assert_true(!strcmp(name, ".") || !strcmp(name, ".."));
				assert_true(!plus || !e->nodeid);
			}
			in.offset = d->off;
			at += FUSE_DIRENT_SIZE(d);
		}
		assert_int_equal(at, rig->reply_len);
	}
	assert_int_equal(
		rig_call(rig, FUSE_RELEASEDIR, node, &(struct fuse_release_in){ .fh = in.fh },
			sizeof(struct fuse_release_in), NULL, 0),
		0);
	return count;
}

static void test_readdir(void **state)
{
	enum { FILES = 300 };
	static const uint32_t sizes[] = { 512, 1000, 4096, 65536 };
	struct rig *rig = *state;
	uint64_t d = rig_mkdir(rig, 1, "d", 0755);

	for (unsigned i = 0; i < FILES; i++) {
		char name[64];

		snprintf(name, sizeof(name), "share/d/file-%u-%.*s", i, (int)(i % 30),
			"a name that has some length....");
		rig_put(rig, name, "");
	}
	for (unsigned i = 0; i < ARRAY_SIZE(sizes) * 2; i++) {
		bool seen[FILES] = { 0 };

		assert_int_equal(read_names(rig, d, i % 2, sizes[i / 2], seen, FILES), FILES);
	}
}

static void test_times_and_statfs(void **state)
{
	struct rig *rig = *state;
	struct fuse_setattr_in in = { .valid = FATTR_ATIME | FATTR_MTIME | FATTR_MODE,
		.atime = 1000,
		.atimensec = 123456789,
		.mtime = 0xffffffffffffff00, /* before 1970 */
		.mtimensec = 987654321,
		.mode = 04711 };
	struct fuse_statfs_out *fs;
	struct fuse_attr attr;
	uint64_t node;

	rig_put(rig, "share/a", "a");
	node = rig_walk(rig, "a");
	assert_int_equal(rig_setattr(rig, node, &in), 0);
	assert_int_equal(rig_getattr(rig, node, &attr), 0);
	assert_int_equal(attr.atime, 1000);
	assert_int_equal(attr.atimensec, 123456789);
	assert_int_equal((int64_t)attr.mtime, -256);
	assert_int_equal(attr.mtimensec, 987654321);
	assert_int_equal(attr.mode, S_IFREG | 04711);
	assert_int_equal(rig_call(rig, FUSE_STATFS, 1, NULL, 0, NULL, 0), 0);
	fs = (void *)rig->reply;
	assert_true(fs->st.blocks && fs->st.bsize);
	/* FUSE_STATX: birth time and all */
	assert_int_equal(rig_call(rig, 52, node, (uint8_t[24]){ 0 }, 24, NULL, 0), 0);
	assert_int_equal(rig->reply_len, 288);
}

static void test_xattrs(void **state)
{
	struct rig *rig = *state;
	struct fuse_setxattr_in set = { .size = 5 };
	struct fuse_getxattr_in get = { .size = 0 };
	static const char name_value[] = "user.key\0value";
	uint64_t node;
	int r;

	rig_put(rig, "share/a", "a");
	node = rig_walk(rig, "a");
	r = rig_call(rig, FUSE_SETXATTR, node, &set, sizeof(set), name_value, 14);
	if (r == -EOPNOTSUPP)
		skip();
	assert_int_equal(r, 0);
	assert_int_equal(
		rig_named(rig, FUSE_GETXATTR, node, &get, sizeof(get), "user.key", NULL), 0);
	assert_int_equal(((struct fuse_getxattr_out *)rig->reply)->size, 5);
	get.size = 100;
	assert_int_equal(
		rig_named(rig, FUSE_GETXATTR, node, &get, sizeof(get), "user.key", NULL), 0);
	assert_int_equal(rig->reply_len, 5);
	assert_memory_equal(rig->reply, "value", 5);
	get.size = 3;
	assert_int_equal(
		rig_named(rig, FUSE_GETXATTR, node, &get, sizeof(get), "user.key", NULL), -ERANGE);
	assert_int_equal(rig_call(rig, FUSE_LISTXATTR, node, &get, sizeof(get), NULL, 0), -ERANGE);
	get.size = 1000;
	assert_int_equal(rig_call(rig, FUSE_LISTXATTR, node, &get, sizeof(get), NULL, 0), 0);
	assert_int_equal(rig->reply_len, 9);
	assert_memory_equal(rig->reply, "user.key", 9);
	set.flags = 1; /* XATTR_CREATE */
	assert_int_equal(
		rig_call(rig, FUSE_SETXATTR, node, &set, sizeof(set), name_value, 14), -EEXIST);
	/* A value that is longer than what came with it. */
	set.size = 500;
	assert_int_equal(
		rig_call(rig, FUSE_SETXATTR, node, &set, sizeof(set), name_value, 14), -EINVAL);
	assert_int_equal(rig_named(rig, FUSE_REMOVEXATTR, node, NULL, 0, "user.key", NULL), 0);
	assert_int_equal(
		rig_named(rig, FUSE_GETXATTR, node, &get, sizeof(get), "user.key", NULL), -ENODATA);
	assert_int_equal(rig_named(rig, FUSE_GETXATTR, node, &get, sizeof(get),
				 "system.posix_acl_access", NULL),
		-EOPNOTSUPP);
}

static void test_tmpfile_and_syncs(void **state)
{
	struct rig *rig = *state;
	struct fuse_create_in in = { .flags = O_RDWR, .mode = 0600 };
	struct fuse_fsync_in sync = { 0 };
	struct fuse_link_in link;
	struct fuse_entry_out *e;
	int r = rig_named(rig, FUSE_TMPFILE, 1, &in, sizeof(in), "x", NULL);

	if (r != -EOPNOTSUPP) {
		assert_int_equal(r, 0);
		e = (void *)rig->reply;
		link.oldnodeid = e->nodeid;
		sync.fh = *(uint64_t *)(rig->reply + sizeof(*e));
		assert_int_equal(rig_write(rig, e->nodeid, sync.fh, 0, "tmp", 3, O_RDWR, 0), 3);
		assert_int_equal(
			rig_call(rig, FUSE_FSYNC, link.oldnodeid, &sync, sizeof(sync), NULL, 0), 0);
		assert_int_equal(
			rig_named(rig, FUSE_LINK, 1, &link, sizeof(link), "kept", NULL), 0);
		assert_true(rig_has(rig, "share/kept", "tmp"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_create_write_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_data_in_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_append_excl_trunc, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unlinked_but_open, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rename_flags, setup, teardown),
		cmocka_unit_test_setup_teardown(test_links, setup, teardown),
		cmocka_unit_test_setup_teardown(test_special_nodes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_holes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copy_range, setup, teardown),
		cmocka_unit_test_setup_teardown(test_readdir, setup, teardown),
		cmocka_unit_test_setup_teardown(test_times_and_statfs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_xattrs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tmpfile_and_syncs, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
