/*
 * What START says of a process is what the process finds: user, groups, limits, capabilities,
 * filters, directory, environment. Most of it takes root; without, those tests are skipped.
 */
#include "harness.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

static struct result r;

/* Run what @p says, with `sh -c @script` as its argv where it has none. */
static void run_process(struct agent_process *p, const char *script)
{
	const char *const argv[] = { "/bin/sh", "-c", script, NULL };
	static const char *const env[] = { "PATH=/usr/bin:/bin", "LC_ALL=C", NULL };
	struct guest g;

	r = (struct result){ 0 };
	if (!p->argv)
		p->argv = argv;
	if (!p->env)
		p->env = env;
	guest_start(&g);
	session_begin(&r, g.fd);
	g.fd = -1;
	agent_setup_done(r.agent);
	session_run(&r, p);
	session_free(&r);
	guest_wait(&g);
}

static int tear_down(void **state)
{
	result_free(&r);
	return 0;
}

static void expect(const char *text)
{
	assert_true(r.exited);
	assert_string_equal(r.out[0], text);
}

#define only_root()                 \
	do {                        \
		if (geteuid() != 0) \
			skip();     \
	} while (0)

static void test_environment(void **state)
{
	static const char *const env[] = { "B=2", "A=1 with blanks", "EMPTY=", NULL };
	static const char *const argv[] = { "env", NULL };
	struct agent_process p = { .env = env, .argv = argv };

	run_process(&p, NULL);
	expect("B=2\nA=1 with blanks\nEMPTY=\nHOME=/root\n");
}

static void test_home_is_kept(void **state)
{
	static const char *const env[] = { "HOME=/somewhere", NULL };
	struct agent_process p = { .env = env };

	run_process(&p, "echo $HOME");
	expect("/somewhere\n");
}

static void test_directory(void **state)
{
	struct agent_process p = { .cwd = "/usr/bin" };
	struct stat st;

	run_process(&p, "pwd");
	expect("/usr/bin\n");
	result_free(&r);
	p = (struct agent_process){ .cwd = "/tmp/test-agent-no/such" };
	run_process(&p, "pwd");
	assert_true(r.failed);
	assert_int_equal(r.why, AGENT_FAILED_START);
	assert_int_equal(r.errnum, ENOENT);
	assert_non_null(strstr(r.text, "/tmp/test-agent-no/such"));
	result_free(&r);
	p = (struct agent_process){ .cwd = "/tmp/test-agent-no/such",
		.flags = AGENT_START_MAKE_CWD };
	run_process(&p, "pwd");
	expect("/tmp/test-agent-no/such\n");
	assert_int_equal(stat("/tmp/test-agent-no/such", &st), 0);
	rmdir("/tmp/test-agent-no/such");
	rmdir("/tmp/test-agent-no");
}

static void test_fresh(void **state)
{
	struct agent_process p = { 0 };

	run_process(&p,
		"cat /proc/self/status | grep -E '^Sig(Blk|Cgt)' | tr -d '\\t'; "
		"ls /proc/self/fd | grep -x [0-9] | tr '\\n' ' '; "
		"[ $(ps -o pgid= -p $$) = $$ ] && [ $(ps -o sid= -p $$) = $$ ] && echo leads");
	/* 3 is the directory that ls reads. */
	expect("SigBlk:0000000000000000\nSigCgt:0000000000000000\n0 1 2 3 leads\n");
}

static void test_user_by_number(void **state)
{
	static const uint32_t groups[] = { 7, 8 };
	struct agent_process p = { .uid = 4242, .gid = 43, .groups = groups, .group_count = 2 };

	only_root();
	run_process(&p, "id -u; id -g; id -G; echo to-err >/dev/stderr; echo to-out >/dev/stdout; "
			"grep CapEff /proc/self/status");
	expect("4242\n43\n43 7 8\nto-out\nCapEff:\t0000000000000000\n");
	assert_string_equal(r.out[1], "to-err\n");
}

static void test_user_by_name(void **state)
{
	struct agent_process p = { .user = "daemon" };

	only_root();
	run_process(&p, "id -un; id -gn; echo $HOME");
	expect("daemon\ndaemon\n/usr/sbin\n");
	result_free(&r);
	p = (struct agent_process){ .user = "daemon:mail" };
	run_process(&p, "id -un; id -Gn");
	expect("daemon\nmail\n");
	result_free(&r);
	p = (struct agent_process){ .user = "nobody-of-this-name" };
	run_process(&p, "id");
	assert_true(r.failed);
	assert_int_equal(r.why, AGENT_FAILED_USER);
	assert_string_equal(r.text, "no user 'nobody-of-this-name' in the guest's /etc/passwd");
}

static void test_terminal_of_user(void **state)
{
	struct agent_process p = { .uid = 4242, .flags = AGENT_START_TERMINAL };

	only_root();
	run_process(&p, "echo mine >$(tty); echo too >/dev/stderr");
	expect("mine\r\ntoo\r\n");
}

static void test_limits(void **state)
{
	static const struct agent_rlimit limits[] = { { RLIMIT_NOFILE, 77, 99 },
		{ RLIMIT_CORE, 0, 0 } };
	struct agent_process p = { .rlimits = limits,
		.rlimit_count = 2,
		.umask = 027,
		.oom_score_adj = 123,
		.flags = AGENT_START_UMASK | AGENT_START_OOM };

	run_process(
		&p, "ulimit -S -n; ulimit -H -n; ulimit -c; umask; cat /proc/self/oom_score_adj");
	expect("77\n99\n0\n0027\n123\n");
}

static void test_capabilities(void **state)
{
	enum { CHOWN = 1, NET_BIND = 1 << 10 };
	struct agent_process p = { .uid = 4242,
		.flags = AGENT_START_CAPS,
		.caps = { .bounding = CHOWN | NET_BIND,
			.effective = NET_BIND,
			.inheritable = NET_BIND,
			.permitted = CHOWN | NET_BIND,
			.ambient = NET_BIND } };

	only_root();
	run_process(&p, "grep Cap /proc/self/status | tr -d '\\t'");
	expect("CapInh:0000000000000400\nCapPrm:0000000000000400\nCapEff:0000000000000400\n"
	       "CapBnd:0000000000000401\nCapAmb:0000000000000400\n");
	result_free(&r);
	p = (struct agent_process){ .flags = AGENT_START_CAPS | AGENT_START_NO_NEW_PRIVS,
		.caps = { .bounding = CHOWN, .effective = CHOWN, .permitted = CHOWN } };
	run_process(&p, "grep -E 'Cap|NoNew' /proc/self/status | tr -d '\\t'");
	expect("CapInh:0000000000000000\nCapPrm:0000000000000001\nCapEff:0000000000000001\n"
	       "CapBnd:0000000000000001\nCapAmb:0000000000000000\nNoNewPrivs:1\n");
}

/* Refuses uname(2) with EBADMSG; all else is let through. */
static const struct sock_filter filter[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_uname, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EBADMSG),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

static void test_seccomp(void **state)
{
	for (int i = 0; i < 2; i++) {
		struct agent_process p = { .seccomp = filter,
			.seccomp_bytes = sizeof(filter),
			.uid = 4242,
			.flags = AGENT_START_CAPS };

		only_root();
		if (i)
			p.flags |= AGENT_START_NO_NEW_PRIVS;
		run_process(&p, "uname; grep -E '^Seccomp:' /proc/self/status");
		expect("Seccomp:\t2\n");
		assert_non_null(strstr(r.out[1], "Bad message"));
		result_free(&r);
	}
}

static void test_seccomp_broken(void **state)
{
	static const struct sock_filter no_end[] = { { BPF_LD | BPF_W | BPF_ABS, 0, 0, 0 } };
	struct agent_process p = { .seccomp = no_end,
		.seccomp_bytes = sizeof(no_end),
		.flags = AGENT_START_NO_NEW_PRIVS };

	run_process(&p, "echo no");
	assert_true(r.failed);
	assert_int_equal(r.why, AGENT_FAILED_START);
	assert_non_null(strstr(r.text, "seccomp"));
}

/* A filter that kills whoever calls exec: the child never gets there. */
static void test_killed_before_exec(void **state)
{
	static const struct sock_filter deadly[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct agent_process p = { .seccomp = deadly,
		.seccomp_bytes = sizeof(deadly),
		.flags = AGENT_START_NO_NEW_PRIVS };

	run_process(&p, "echo no");
	assert_true(r.exited && r.how.signalled);
	assert_int_equal(r.how.status, SIGSYS);
}

static void test_large_environment(void **state)
{
	enum { COUNT = 20000, LEN = 50 };
	const char **env = calloc(COUNT + 1, sizeof(*env));
	char *text = malloc(COUNT * LEN);
	struct agent_process p = { .env = env };

	for (int i = 0; i < COUNT; i++) {
		env[i] = text + i * LEN;
		snprintf(text + i * LEN, LEN, "NAME_%06d=%030d", i, i);
	}
	run_process(&p, "env | grep -c ^NAME_; echo $NAME_019999");
	expect("20000\n000000000000000000000000019999\n");
	free(env);
	free(text);
}

/* Longer than the kernel takes as one string: the guest says so, rather than the protocol. */
static void test_too_long_argument(void **state)
{
	char *large = malloc(1 << 20);
	const char *argv[] = { "echo", large, NULL };
	struct agent_process p = { .argv = argv };

	memset(large, 'x', (1 << 20) - 1);
	large[(1 << 20) - 1] = 0;
	run_process(&p, NULL);
	assert_true(r.failed);
	assert_int_equal(r.errnum, E2BIG);
	free(large);
}

static void test_path(void **state)
{
	char dir[] = "/tmp/test-agent-XXXXXX", file[64], path[128];
	const char *env[] = { path, NULL };
	static const char *const argv[] = { "true", NULL };
	struct agent_process p = { .env = env, .argv = argv };

	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/true", dir);
	snprintf(path, sizeof(path), "PATH=%s:/no/such:/usr/bin:/bin", dir);
	/* One that may not be executed is passed over, if there is another. */
	fclose(fopen(file, "w"));
	run_process(&p, NULL);
	assert_true(r.exited);
	assert_int_equal(r.how.status, 0);
	result_free(&r);
	snprintf(path, sizeof(path), "PATH=/no/such:%s", dir);
	run_process(&p, NULL);
	assert_true(r.failed);
	assert_int_equal(r.why, AGENT_FAILED_NOT_EXECUTABLE);
	result_free(&r);
	snprintf(path, sizeof(path), "PATH=");
	run_process(&p, NULL);
	assert_true(r.failed);
	assert_int_equal(r.why, AGENT_FAILED_NOT_FOUND);
	unlink(file);
	rmdir(dir);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_environment, tear_down),
		cmocka_unit_test_teardown(test_home_is_kept, tear_down),
		cmocka_unit_test_teardown(test_directory, tear_down),
		cmocka_unit_test_teardown(test_fresh, tear_down),
		cmocka_unit_test_teardown(test_user_by_number, tear_down),
		cmocka_unit_test_teardown(test_user_by_name, tear_down),
		cmocka_unit_test_teardown(test_terminal_of_user, tear_down),
		cmocka_unit_test_teardown(test_limits, tear_down),
		cmocka_unit_test_teardown(test_capabilities, tear_down),
		cmocka_unit_test_teardown(test_seccomp, tear_down),
		cmocka_unit_test_teardown(test_seccomp_broken, tear_down),
		cmocka_unit_test_teardown(test_killed_before_exec, tear_down),
		cmocka_unit_test_teardown(test_large_environment, tear_down),
		cmocka_unit_test_teardown(test_too_long_argument, tear_down),
		cmocka_unit_test_teardown(test_path, tear_down),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
