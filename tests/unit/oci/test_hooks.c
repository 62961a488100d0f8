#include "oci/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define STATE "{\"id\":\"a container\"}"

static char dir[] = "/tmp/test_hooks.XXXXXX";
static char seen[64];
static struct error err;

static struct oci_hook shell(const char *text, int timeout_s)
{
	static const char *args[8][5], *env[] = { "A=b", NULL };
	static unsigned next;
	const char **mine = args[next++ % 8];

	mine[0] = "the-hook";
	mine[1] = "-c";
	mine[2] = text;
	mine[3] = seen;
	mine[4] = NULL;
	return (struct oci_hook){ "/bin/sh", { 4, mine }, { 1, env }, timeout_s };
}

static int run_as(const char *name, struct oci_hook *list, size_t count)
{
	struct oci_hooks hooks = { count, list };
	struct oci_hook_run run = { .name = name, .state = STATE };

	err = (struct error){ 0 };
	return oci_hooks_run(&hooks, &run, &err);
}

static int run(struct oci_hook hook)
{
	return run_as("createRuntime", &hook, 1);
}

static const char *content(void)
{
	static char text[4096];
	int fd = open(seen, O_RDONLY);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	close(fd);
	unlink(seen);
	text[n > 0 ? n : 0] = 0;
	return text;
}

static void said(const char *text)
{
	if (!strstr(err.msg, text))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, text);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void test_none(void **state)
{
	assert_int_equal(run_as("prestart", NULL, 0), 0);
}

static void test_state_and_environment(void **state)
{
	setenv("LEAKED", "1", 1);
	assert_int_equal(run(shell("cat >$0; cat /dev/stdin >>$0; echo $A$LEAKED >>$0", 0)), 0);
	/* With an environment of its own it has nothing else. Opened again it is read again: it is a file. */
	assert_string_equal(content(), STATE STATE "b\n");
	/* Not reading it is no failure. */
	assert_int_equal(run(shell("exit 0", 0)), 0);
}

static void test_inherits_nothing(void **state)
{
	int leak = open("/dev/null", O_RDONLY); /* not close-on-exec */

	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(run(shell("exec >$0; ls /proc/$$/fd; grep SigIgn /proc/$$/status", 0)), 0);
	assert_string_equal(content(), "0\n1\n2\nSigIgn:\t0000000000000000\n");
	signal(SIGPIPE, SIG_DFL);
	close(leak);
}

static void test_order(void **state)
{
	struct oci_hook list[] = { shell("echo 1 >>$0", 0), shell("echo 2 >>$0; exit 3", 0),
		shell("echo 3 >>$0", 0) };
	struct oci_hooks hooks = { 3, list };
	struct oci_hook_run how = { .name = "poststop", .state = STATE };

	assert_int_equal(run_as("prestart", list, 3), -EINVAL);
	assert_string_equal(content(), "1\n2\n");
	oci_hooks_run_all(&hooks, &how);
	assert_string_equal(content(), "1\n2\n3\n");
}

static void test_failures(void **state)
{
	struct oci_hook missing = { .path = "/nowhere/hook" }, plain = { .path = dir };

	assert_int_equal(run(shell("echo first >&2; echo the reason >&2; exit 7", 0)), -EINVAL);
	said("hooks.createRuntime: \"/bin/sh\" failed with status 7: the reason");
	assert_int_equal(run(shell("printf 'a\\033[1mb\\n\\n'; exit 1", 0)), -EINVAL);
	said("status 1: a [1mb");
	assert_int_equal(run(shell("exit 1", 0)), -EINVAL);
	assert_string_equal(err.msg, "hooks.createRuntime: \"/bin/sh\" failed with status 1");
	assert_int_equal(run(shell("kill -9 $$", 0)), -EINVAL);
	said("killed by signal 9");
	assert_int_equal(run(missing), -EINVAL);
	said("\"/nowhere/hook\" is not there");
	assert_int_equal(run(plain), -EINVAL);
	said("is not executable");
}

static void test_timeout(void **state)
{
	double before = seconds();

	/* With a child of its own that would hold on to our pipe. */
	assert_int_equal(run(shell("echo waiting; sleep 60 & sleep 60", 1)), -EINVAL);
	said("did not end within 1 s: waiting");
	assert_true(seconds() - before < 10);
	assert_int_equal(run(shell("sleep 0.1", 5)), 0);
}

static void test_leaves_something_running(void **state)
{
	double before = seconds();

	assert_int_equal(run(shell("sleep 20 & echo $! >$0", 0)), 0);
	assert_true(seconds() - before < 10);
	kill(atoi(content()), SIGKILL);
}

static void test_says_much(void **state)
{
	assert_int_equal(
		run(shell("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end; exit 2", 30)),
		-EINVAL);
	said("status 2: end");
	assert_int_equal(run(shell("head -c 100000 /dev/zero | tr '\\0' x; exit 2", 30)), -EINVAL);
}

static int enter(void *ctx)
{
	return chdir(ctx) < 0 ? -errno : 0;
}

static void test_enter(void **state)
{
	struct oci_hook hook = shell("pwd >$0", 0);
	struct oci_hooks hooks = { 1, &hook };
	struct oci_hook_run how = {
		.name = "startContainer", .state = STATE, .enter = enter, .ctx = dir
	};
	char want[80];

	snprintf(want, sizeof(want), "%s\n", dir);
	assert_int_equal(oci_hooks_run(&hooks, &how, &err), 0);
	assert_string_equal(content(), want);
	how.ctx = (void *)"/nowhere";
	assert_int_equal(oci_hooks_run(&hooks, &how, &err), -EINVAL);
	said("cannot enter the container");
}

static int set_up(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	snprintf(seen, sizeof(seen), "%s/seen", dir);
	return 0;
}

static int tear_down(void **state)
{
	unlink(seen);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_state_and_environment),
		cmocka_unit_test(test_inherits_nothing),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_leaves_something_running),
		cmocka_unit_test(test_says_much),
		cmocka_unit_test(test_enter),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
