/* What is known of running machines: names, locks, and what a killed one leaves. */
#include "cli/rundir.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char name[32], folder[] = "/tmp/test-rundir-XXXXXX";

struct seen {
	unsigned times;
	pid_t pid;
};

static void look(void *ctx, const struct rundir_info *info)
{
	struct seen *seen = ctx;

	if (strcmp(info->name, name))
		return;
	seen->times++;
	seen->pid = info->pid;
	assert_string_equal(info->root, "/some/root");
	assert_non_null(strstr(info->command, "\"a \\\"b\\\"\""));
}

static struct seen listed(void)
{
	struct seen seen = { 0 };
	struct error err;

	assert_int_equal(rundir_list(look, &seen, &err), 0);
	return seen;
}

static const char *const words[] = { "sh", "-c", "a \"b\"", NULL };

static void test_life(void **state)
{
	struct rundir *dir, *other;
	struct rundir_info info;
	struct error err;
	int fd;

	assert_int_equal(rundir_create(&dir, name, &err), 0);
	assert_int_equal(listed().times, 0); /* nothing is known of it yet */
	fd = rundir_listen(dir, NULL, &err);
	assert_true(fd >= 0);
	assert_int_equal(rundir_describe(dir, "/some/root", words, &err), 0);
	assert_int_equal(listed().times, 1);
	assert_int_equal(listed().pid, getpid());
	assert_int_equal(rundir_find(&info, name, &err), 0);
	assert_int_equal(info.pid, getpid());
	assert_int_equal(access(info.socket, F_OK), 0);
	close(info.pidfd);

	assert_true(rundir_create(&other, name, &err) < 0);
	assert_int_equal(err.kind, ERROR_BUSY);
	assert_int_equal(rundir_create(&other, NULL, &err), 0);
	assert_string_not_equal(rundir_name(other), name);
	rundir_destroy(other);

	rundir_destroy(dir);
	close(fd);
	assert_int_equal(access(info.socket, F_OK), -1);
	assert_true(rundir_find(&info, name, &err) < 0);
	assert_int_equal(err.kind, ERROR_USAGE);
}

static void test_killed(void **state)
{
	struct rundir *dir;
	struct error err;
	char byte, path[64];
	int ready[2];
	pid_t pid;

	snprintf(path, sizeof(path), "%s/door", folder);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		if (rundir_create(&dir, name, &err) == 0 && rundir_listen(dir, path, &err) >= 0 &&
			rundir_describe(dir, "/some/root", words, &err) == 0)
			write(ready[1], "", 1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(listed().pid, pid);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(listed().times, 0);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(rundir_create(&dir, name, &err), 0); /* the name is free again */
	assert_int_equal(access(path, F_OK), -1);
	rundir_destroy(dir);
	close(ready[0]);
	close(ready[1]);
}

/* A path of the user's own: a dead socket is replaced, anything else is left alone. */
static void test_own_socket(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct rundir *dir;
	struct error err;
	struct stat st;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/door", folder);
	assert_int_equal(rundir_create(&dir, name, &err), 0);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	close(fd);
	assert_true(rundir_listen(dir, path, &err) < 0);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	rundir_destroy(dir);
	unlink(path);

	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(rundir_create(&dir, name, &err), 0);
	assert_true(rundir_listen(dir, path, &err) < 0);
	assert_int_equal(err.kind, ERROR_BUSY);
	rundir_destroy(dir);
	assert_int_equal(access(path, F_OK), 0);
	close(fd);
	assert_int_equal(rundir_create(&dir, name, &err), 0);
	fd = rundir_listen(dir, path, &err);
	assert_true(fd >= 0);
	rundir_destroy(dir);
	close(fd);
	assert_int_equal(access(path, F_OK), -1);
}

static int begin(void **state)
{
	snprintf(name, sizeof(name), "unit-%d", getpid());
	return mkdtemp(folder) ? 0 : -1;
}

static int finish(void **state)
{
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_own_socket),
	};

	return cmocka_run_group_tests(tests, begin, finish);
}
