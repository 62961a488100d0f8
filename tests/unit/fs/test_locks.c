/* Locks between processes of the guest, and between guest and host. */
#include "rig.h"

#include <sys/file.h>

static int setup(void **state)
{
	static struct rig rig;

	rig_open(&rig, false, FS_CACHE_AUTO);
	rig_put(&rig, "share/a", "0123456789");
	*state = &rig;
	return 0;
}

static int teardown(void **state)
{
	rig_close(*state);
	return 0;
}

struct process {
	uint64_t node, fh, owner;
};

static struct process start(struct rig *rig, uint64_t owner)
{
	struct process p = { .owner = owner, .node = rig_walk(rig, "a") };

	p.fh = rig_open_file(rig, p.node, O_RDWR);
	assert_true(p.fh);
	return p;
}

static int lock(struct rig *rig, uint32_t opcode, const struct process *p, uint32_t type,
	uint64_t from, uint64_t to)
{
	struct fuse_lk_in in = { .fh = p->fh,
		.owner = p->owner,
		.lk = { .start = from, .end = to, .type = type, .pid = (uint32_t)p->owner } };

	return rig_call(rig, opcode, p->node, &in, sizeof(in), NULL, 0);
}

static int whole(struct rig *rig, uint32_t opcode, const struct process *p, uint32_t type)
{
	struct fuse_lk_in in = { .fh = p->fh,
		.owner = p->owner,
		.lk = { .end = INT64_MAX, .type = type },
		.lk_flags = FUSE_LK_FLOCK };

	return rig_call(rig, opcode, p->node, &in, sizeof(in), NULL, 0);
}

static int flush(struct rig *rig, const struct process *p)
{
	struct fuse_flush_in in = { .fh = p->fh, .lock_owner = p->owner };

	return rig_call(rig, FUSE_FLUSH, p->node, &in, sizeof(in), NULL, 0);
}

static void test_ranges(void **state)
{
	struct rig *rig = *state;
	struct process a = start(rig, 11), b = start(rig, 22);
	struct fuse_lk_out *out = (void *)rig->reply;

	assert_int_equal(lock(rig, FUSE_SETLK, &a, F_WRLCK, 0, 9), 0);
	assert_int_equal(lock(rig, FUSE_SETLK, &b, F_RDLCK, 9, 9), -EAGAIN);
	assert_int_equal(lock(rig, FUSE_SETLK, &b, F_WRLCK, 10, INT64_MAX), 0);
	assert_int_equal(lock(rig, FUSE_GETLK, &b, F_RDLCK, 5, 20), 0);
	assert_int_equal(out->lk.type, F_WRLCK);
	assert_int_equal(out->lk.start, 0);
	assert_int_equal(out->lk.end, 9);
	assert_int_equal(out->lk.pid, 11);
	assert_int_equal(lock(rig, FUSE_SETLK, &a, F_UNLCK, 5, 9), 0);
	assert_int_equal(lock(rig, FUSE_SETLK, &b, F_RDLCK, 5, 9), 0);
	assert_int_equal(lock(rig, FUSE_SETLK, &b, F_RDLCK, 4, 9), -EAGAIN);
	/* Any close by the owner, of any descriptor of the file. */
	assert_int_equal(flush(rig, &a), 0);
	assert_int_equal(lock(rig, FUSE_SETLK, &b, F_WRLCK, 0, INT64_MAX), 0);
	assert_int_equal(lock(rig, FUSE_GETLK, &b, F_WRLCK, 0, INT64_MAX), 0);
	assert_int_equal(out->lk.type, F_UNLCK);
	assert_int_equal(lock(rig, FUSE_SETLK, &b, 77, 0, 1), -EINVAL);
	assert_int_equal(lock(rig, FUSE_SETLK, &b, F_RDLCK, 5, 4), -EINVAL);
	assert_int_equal(lock(rig, FUSE_SETLK, &b, F_RDLCK, 5, UINT64_MAX), -EINVAL);
}

static void test_waiting(void **state)
{
	struct rig *rig = *state;
	struct process a = start(rig, 11), b = start(rig, 22), c = start(rig, 33);

	assert_int_equal(lock(rig, FUSE_SETLKW, &a, F_WRLCK, 0, 9), 0);
	assert_int_equal(lock(rig, FUSE_SETLKW, &b, F_RDLCK, 0, 0), 1);
	assert_true(rig->later);
	assert_int_equal(lock(rig, FUSE_SETLKW, &c, F_RDLCK, 1, 1), 1);
	assert_true(fs_waiting(rig->server));
	fs_retry(rig->server);
	assert_int_equal(rig->done, 0);
	assert_false(fs_unlocked(rig->server));
	assert_int_equal(lock(rig, FUSE_SETLK, &a, F_UNLCK, 0, 0), 0);
	assert_true(fs_unlocked(rig->server));
	fs_retry(rig->server);
	assert_int_equal(rig->done, 1);
	assert_int_equal(rig->done_error, 0);
	flush(rig, &a);
	fs_retry(rig->server);
	assert_int_equal(rig->done, 2);
	assert_int_equal(rig->done_error, 0);
	assert_false(fs_waiting(rig->server));
}

static void test_interrupt_and_cancel(void **state)
{
	struct rig *rig = *state;
	struct process a = start(rig, 11), b = start(rig, 22);
	struct fuse_interrupt_in in;

	assert_int_equal(lock(rig, FUSE_SETLK, &a, F_WRLCK, 0, 9), 0);
	assert_int_equal(lock(rig, FUSE_SETLKW, &b, F_WRLCK, 0, 9), 1);
	in.unique = rig->unique;
	assert_int_equal(rig_call(rig, FUSE_INTERRUPT, 0, &in, sizeof(in), NULL, 0), 1);
	assert_int_equal(rig->done, 1);
	assert_int_equal(rig->done_error, -EINTR);
	/* One for nobody. */
	assert_int_equal(rig_call(rig, FUSE_INTERRUPT, 0, &in, sizeof(in), NULL, 0), 1);
	assert_int_equal(rig->done, 1);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(whole(rig, FUSE_SETLKW, &b, F_WRLCK), 0);
	assert_int_equal(lock(rig, FUSE_SETLKW, &b, F_WRLCK, 0, 9), 1);
	assert_int_equal(whole(rig, FUSE_SETLKW, &a, F_WRLCK), 1);
	fs_cancel(rig->server);
	assert_int_equal(rig->done, 3);
	assert_int_equal(rig->done_error, -EINTR);
	/* The file is forgotten while somebody waits: he is told. */
	assert_int_equal(lock(rig, FUSE_SETLKW, &b, F_WRLCK, 0, 9), 1);
	rig_call(rig, FUSE_FORGET, a.node, &(struct fuse_forget_in){ .nlookup = 100 },
		sizeof(struct fuse_forget_in), NULL, 0);
	fs_retry(rig->server);
	assert_int_equal(rig->done, 4);
	assert_int_equal(rig->done_error, -ESTALE);
}

static void test_flock(void **state)
{
	struct rig *rig = *state;
	struct process a = start(rig, 11), b = start(rig, 22);

	assert_int_equal(whole(rig, FUSE_SETLK, &a, F_WRLCK), 0);
	assert_int_equal(whole(rig, FUSE_SETLK, &b, F_RDLCK), -EAGAIN);
	/* The two kinds know nothing of each other. */
	assert_int_equal(lock(rig, FUSE_SETLK, &b, F_WRLCK, 0, INT64_MAX), 0);
	assert_int_equal(whole(rig, FUSE_SETLKW, &b, F_RDLCK), 1);
	assert_int_equal(whole(rig, FUSE_SETLK, &a, F_RDLCK), 0);
	fs_retry(rig->server);
	assert_int_equal(rig->done, 1);
	assert_int_equal(rig->done_error, 0);
	assert_int_equal(whole(rig, FUSE_SETLKW, &a, F_WRLCK), 1);
	rig_release(rig, b.node, b.fh);
	assert_true(fs_unlocked(rig->server));
	fs_retry(rig->server);
	assert_int_equal(rig->done, 2);
}

static void test_with_the_host(void **state)
{
	struct rig *rig = *state;
	struct process a = start(rig, 11);
	struct fuse_lk_out *out = (void *)rig->reply;
	struct flock l = { .l_type = F_WRLCK, .l_start = 2, .l_len = 2 };
	int fd = open(rig_path(rig, "share/a"), O_RDWR);

	assert_int_equal(fcntl(fd, F_OFD_SETLK, &l), 0);
	assert_int_equal(lock(rig, FUSE_SETLK, &a, F_RDLCK, 3, 3), -EAGAIN);
	assert_int_equal(lock(rig, FUSE_SETLK, &a, F_RDLCK, 4, 4), 0);
	assert_int_equal(lock(rig, FUSE_GETLK, &a, F_RDLCK, 3, 3), 0);
	assert_int_equal(out->lk.type, F_WRLCK);
	assert_int_equal(out->lk.start, 2);
	assert_int_equal(lock(rig, FUSE_SETLKW, &a, F_RDLCK, 3, 3), 1);
	l.l_type = F_UNLCK;
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &l), 0);
	fs_retry(rig->server);
	assert_int_equal(rig->done, 1);
	l.l_type = F_WRLCK;
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &l), -1);

	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(whole(rig, FUSE_SETLK, &a, F_RDLCK), -EAGAIN);
	assert_int_equal(flock(fd, LOCK_UN), 0);
	assert_int_equal(whole(rig, FUSE_SETLK, &a, F_WRLCK), 0);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), -1);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ranges, setup, teardown),
		cmocka_unit_test_setup_teardown(test_waiting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_interrupt_and_cancel, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flock, setup, teardown),
		cmocka_unit_test_setup_teardown(test_with_the_host, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
