#include "guest/copy.h"

#include "guest/sys.h"

#include <linux/stat.h>

enum { DEPTH_MAX = 64, PIECE = 65536, ENTRIES = 4096 };

/* Memory for pieces of files, one for all of them. */
struct copier {
	uint8_t *piece;
};

static long look_at(int dir, const char *name, struct statx *st)
{
	return sys_call(__NR_statx, dir, SYS_PTR(name), AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH,
		STATX_BASIC_STATS, SYS_PTR(st));
}

static bool is(const struct statx *st, unsigned type)
{
	return (st->stx_mode & SYS_MODE_TYPE) == type;
}

/* Owner, mode and times; the mode after the owner, whose change takes set-user-ID away. */
static long copy_looks(int dir, const char *name, const struct statx *st)
{
	const struct __kernel_timespec times[2] = {
		{ st->stx_atime.tv_sec, st->stx_atime.tv_nsec },
		{ st->stx_mtime.tv_sec, st->stx_mtime.tv_nsec },
	};
	long err = sys_call(
		__NR_fchownat, dir, SYS_PTR(name), st->stx_uid, st->stx_gid, AT_SYMLINK_NOFOLLOW);

	if (err == 0 && !is(st, SYS_MODE_LINK))
		err = sys_call(__NR_fchmodat, dir, SYS_PTR(name), st->stx_mode & 07777, 0, 0);
	if (err == 0)
		err = sys_call(
			__NR_utimensat, dir, SYS_PTR(name), SYS_PTR(times), AT_SYMLINK_NOFOLLOW, 0);
	return err;
}

static long copy_content(struct copier *c, int from, int to)
{
	long n, done;

	while ((n = sys_read(from, c->piece, PIECE)) > 0)
		for (long at = 0; at < n; at += done) {
			done = sys_write(to, c->piece + at, (size_t)(n - at));
			if (done < 0)
				return done;
		}
	return n;
}

static long copy_file(struct copier *c, int from, int to, const char *name)
{
	long in = sys_open_at(from, name, O_RDONLY | O_NOFOLLOW), out, err;

	if (in < 0)
		return in;
	out = err = sys_call(
		__NR_openat, to, SYS_PTR(name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600, 0);
	if (out >= 0) {
		err = copy_content(c, (int)in, (int)out);
		sys_close((int)out);
	}
	sys_close((int)in);
	return err;
}

static long copy_link(int from, int to, const char *name)
{
	char target[4096];
	long n = sys_readlink_at(from, name, target, sizeof(target) - 1);

	if (n < 0)
		return n;
	target[n] = 0;
	return sys_call(__NR_symlinkat, SYS_PTR(target), to, SYS_PTR(name), 0, 0);
}

static long copy_folder(struct copier *c, int from, int to, const char *name, unsigned depth);

static long copy_one(struct copier *c, int from, int to, const char *name, unsigned depth)
{
	struct statx st;
	long err = look_at(from, name, &st);

	if (err < 0)
		return err;
	if (is(&st, SYS_MODE_FOLDER))
		err = copy_folder(c, from, to, name, depth + 1);
	else if (is(&st, SYS_MODE_FILE))
		err = copy_file(c, from, to, name);
	else if (is(&st, SYS_MODE_LINK))
		err = copy_link(from, to, name);
	else
		err = sys_call(__NR_mknodat, to, SYS_PTR(name), st.stx_mode,
			(long)((st.stx_rdev_minor & 0xff) | st.stx_rdev_major << 8 |
				(st.stx_rdev_minor & ~0xffU) << 12),
			0);
	return err < 0 ? err : copy_looks(to, name, &st);
}

static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* Everything in the folder @from into the folder @to. */
static long copy_entries(struct copier *c, int from, int to, unsigned depth)
{
	char entries[ENTRIES] __attribute__((aligned(8)));
	long n, err = 0;

	if (depth > DEPTH_MAX)
		return -ELOOP;
	while ((n = sys_call(__NR_getdents64, from, SYS_PTR(entries), sizeof(entries), 0, 0)) > 0)
		for (long at = 0; at < n;) {
			const struct sys_entry *entry = (const struct sys_entry *)(entries + at);

			at += entry->length;
			if (!is_dots(entry->name))
				err = copy_one(c, from, to, entry->name, depth);
			if (err < 0)
				return err;
		}
	return n;
}

static long copy_folder(struct copier *c, int from, int to, const char *name, unsigned depth)
{
	long err = sys_call(__NR_mkdirat, to, SYS_PTR(name), 0700, 0, 0), in, out;

	if (err < 0)
		return err;
	in = sys_open_at(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	if (in < 0)
		return in;
	out = err = sys_open_at(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	if (out >= 0) {
		err = copy_entries(c, (int)in, (int)out, depth);
		sys_close((int)out);
	}
	sys_close((int)in);
	return err;
}

long copy_tree(const char *from, const char *to, bool root_too)
{
	struct copier c = { 0 };
	struct statx st;
	long in = sys_open(from, O_RDONLY | O_DIRECTORY), out, err;

	if (in < 0)
		return in;
	out = err = sys_open(to, O_RDONLY | O_DIRECTORY);
	if (out >= 0) {
		long at = sys_map(PIECE);

		err = at < 0 && at > -4096 ? at : 0;
		c.piece = (uint8_t *)at;
		if (err == 0)
			err = copy_entries(&c, (int)in, (int)out, 0);
		if (at > 0 || at <= -4096)
			sys_unmap(c.piece, PIECE);
		if (err == 0 && root_too)
			err = look_at((int)in, "", &st);
		if (err == 0 && root_too)
			err = copy_looks(AT_FDCWD, to, &st);
		sys_close((int)out);
	}
	sys_close((int)in);
	return err;
}
