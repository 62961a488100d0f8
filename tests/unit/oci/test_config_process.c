/* What the guest is told of a process; and its filter, which is tried on processes of this test. */
#include "oci/process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <json.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int compile(struct oci_filter *filter, const char *text, struct error *err)
{
	struct json_object *section = json_tokener_parse(text);
	int r;

	assert_non_null(section);
	r = oci_seccomp_compile(filter, section, "config.json", err);
	json_object_put(section);
	return r;
}

static void bad(const char *text, const char *where)
{
	struct oci_filter filter;
	struct error err = { 0 };

	assert_true(compile(&filter, text, &err) < 0);
	assert_int_equal(err.kind, ERROR_USAGE);
	assert_null(filter.program);
	if (!strstr(err.msg, where))
		print_error("'%s' is not in: %s\n", where, err.msg);
	assert_non_null(strstr(err.msg, where));
}

/* The errno of a system call made under the filter, 0 if it worked; a signal + 1000. */
static int under(const char *text, long number, unsigned long a, unsigned long b)
{
	struct oci_filter filter;
	struct error err = { 0 };
	int status, r = compile(&filter, text, &err);
	pid_t pid;

	if (r < 0)
		print_error("%s\n", err.msg);
	assert_int_equal(r, 0);
	assert_int_equal(filter.bytes % sizeof(struct sock_filter), 0);
	pid = fork();
	if (pid == 0) {
		struct sock_fprog program = {
			.len = (unsigned short)(filter.bytes / sizeof(struct sock_filter)),
			.filter = filter.program,
		};

		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
			syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, filter.flags, &program))
			_exit(255);
		_exit(syscall(number, a, b) < 0 ? errno : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	oci_seccomp_free(&filter);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

#define RULE(rule) "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[" rule "]}"

static void filters(void **state)
{
	static const char apart[] =
		RULE("{\"names\":[\"personality\"],\"action\":\"SCMP_ACT_ERRNO\",\"args\":["
		     "{\"index\":0,\"value\":1,\"op\":\"SCMP_CMP_EQ\"},"
		     "{\"index\":0,\"value\":2,\"op\":\"SCMP_CMP_EQ\"}]}");
	static const char masked[] =
		RULE("{\"names\":[\"personality\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":77,"
		     "\"args\":[{\"index\":0,\"value\":240,\"valueTwo\":32,\"op\":"
		     "\"SCMP_CMP_MASKED_EQ\"}]}");

	assert_int_equal(under(RULE(""), SYS_getpid, 0, 0), 0);
	assert_int_equal(under(RULE("{\"names\":[\"no_such_call\",\"getppid\"],\"action\":"
				    "\"SCMP_ACT_ERRNO\"}"),
				 SYS_getppid, 0, 0),
		EPERM);
	assert_int_equal(under(RULE("{\"names\":[\"getppid\"],\"action\":\"SCMP_ACT_ERRNO\","
				    "\"errnoRet\":99}"),
				 SYS_getppid, 0, 0),
		99);
	assert_int_equal(under(RULE("{\"names\":[\"getppid\"],\"action\":\"SCMP_ACT_KILL\"}"),
				 SYS_getppid, 0, 0),
		1000 + SIGSYS);
	assert_int_equal(under(RULE("{\"names\":[\"getppid\"],\"action\":\"SCMP_ACT_ALLOW\"}"),
				 SYS_getppid, 0, 0),
		0);
	assert_int_equal(under(apart, SYS_personality, 1, 0), EPERM);
	assert_int_equal(under(apart, SYS_personality, 2, 0), EPERM);
	assert_int_equal(under(apart, SYS_personality, 0, 0), 0);
	assert_int_equal(under(masked, SYS_personality, 0x2f, 0), 77);
	assert_int_equal(under(masked, SYS_personality, 0, 0), 0);
	/* What is not named: the default, with its own number. Sanitizers need more than this. */
	if (SANITIZED)
		return;
	assert_int_equal(under("{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":38,"
			       "\"flags\":[\"SECCOMP_FILTER_FLAG_LOG\"],\"architectures\":["
			       "\"SCMP_ARCH_X86\",\"SCMP_ARCH_X86_64\",\"SCMP_ARCH_X32\","
			       "\"SCMP_ARCH_S390X\",\"SCMP_ARCH_AARCH64\"],"
			       "\"syscalls\":[{\"names\":[\"exit_group\",\"exit\"],\"action\":"
			       "\"SCMP_ACT_ALLOW\"}]}",
				 SYS_getppid, 0, 0),
		ENOSYS);
}

static void bad_filters(void **state)
{
	bad("{}", "config.json: linux.seccomp.defaultAction: is missing");
	bad("{\"defaultAction\":1}", "linux.seccomp.defaultAction");
	bad("{\"defaultAction\":\"SCMP_ACT_DANCE\"}", "linux.seccomp.defaultAction");
	bad("{\"defaultAction\":\"SCMP_ACT_NOTIFY\"}", "SCMP_ACT_NOTIFY");
	bad("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerPath\":\"/a\"}", "listenerPath");
	bad("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"defaultErrnoRet\":1}", "defaultErrnoRet");
	bad("{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":4096}", "defaultErrnoRet");
	bad("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"X\"]}", "flags");
	bad("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"VAX\"]}", "architectures");
	bad(RULE("{\"action\":\"SCMP_ACT_ERRNO\"}"), "linux.seccomp.syscalls[0].names");
	bad(RULE("{\"names\":[],\"action\":\"SCMP_ACT_ERRNO\"}"),
		"linux.seccomp.syscalls[0].names");
	bad(RULE("{\"names\":[\"read\"]}"), "linux.seccomp.syscalls[0].action");
	bad(RULE("{\"names\":[\"read\"],\"action\":\"SCMP_ACT_NOTIFY\"}"), "SCMP_ACT_NOTIFY");
	bad(RULE("{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":6,"
		 "\"value\":0,\"op\":\"SCMP_CMP_EQ\"}]}"),
		"linux.seccomp.syscalls[0].args[0].index");
	bad(RULE("{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":0,"
		 "\"value\":0,\"op\":\"=\"}]}"),
		"linux.seccomp.syscalls[0].args[0].op");
	bad(RULE("7"), "linux.seccomp.syscalls[0]");
}

static void agent(void **state)
{
	static const char text[] =
		"{\"args\":[\"id\",\"-u\"],\"cwd\":\"/w\",\"terminal\":true,\"env\":[\"A=1\"],"
		"\"user\":{\"uid\":7,\"gid\":8,\"umask\":63,\"additionalGids\":[9]},"
		"\"consoleSize\":{\"height\":3,\"width\":4},\"noNewPrivileges\":true,"
		"\"rlimits\":[{\"type\":\"RLIMIT_CORE\",\"soft\":1,\"hard\":2}],\"oomScoreAdj\":5}";
	struct oci_agent_extra keep;
	struct agent_process out;
	struct json_object *json;
	struct oci_process *p;
	struct error err = { 0 };

	assert_int_equal(oci_process_parse(&p, &json, "p", text, strlen(text), &err), 0);
	assert_int_equal(oci_process_to_agent(p, NULL, &out, &keep, &err), 0);
	assert_int_equal(out.flags, AGENT_START_TERMINAL | AGENT_START_UMASK | AGENT_START_OOM |
					    AGENT_START_CAPS | AGENT_START_NO_NEW_PRIVS);
	assert_string_equal(out.argv[1], "-u");
	assert_null(out.argv[2]);
	assert_string_equal(out.env[0], "A=1");
	assert_string_equal(out.cwd, "/w");
	assert_null(out.user);
	assert_int_equal(out.uid, 7);
	assert_int_equal(out.gid, 8);
	assert_int_equal(out.group_count, 1);
	assert_int_equal(out.groups[0], 9);
	assert_int_equal(out.umask, 077);
	assert_int_equal(out.rows, 3);
	assert_int_equal(out.columns, 4);
	assert_int_equal(out.oom_score_adj, 5);
	assert_int_equal(out.caps.bounding, 0);
	assert_int_equal(out.rlimit_count, 1);
	assert_int_equal(out.rlimits[0].resource, RLIMIT_CORE);
	assert_int_equal(out.rlimits[0].hard, 2);
	assert_null(out.seccomp);
	oci_agent_extra_free(&keep);
	oci_process_free(p, json);
}

static void too_much(void **state)
{
	struct json_object *json = json_object_new_object(), *args = json_object_new_array();
	struct oci_agent_extra keep;
	struct agent_process out;
	struct oci_process *p;
	struct json_object *parsed;
	struct error err = { 0 };
	char *word = malloc(100001);
	const char *text;

	memset(word, 'x', 100000);
	word[100000] = 0;
	for (int i = 0; i < 50; i++)
		json_object_array_add(args, json_object_new_string(word));
	json_object_object_add(json, "args", args);
	json_object_object_add(json, "cwd", json_object_new_string("/"));
	text = json_object_to_json_string(json);
	assert_int_equal(oci_process_parse(&p, &parsed, "p", text, strlen(text), &err), 0);
	assert_true(oci_process_to_agent(p, NULL, &out, &keep, &err) < 0);
	assert_int_equal(err.kind, ERROR_USAGE);
	oci_process_free(p, parsed);
	json_object_put(json);
	free(word);
}

/* Made, taken out of the cache, and made again where what was kept is damaged: the same. */
static void test_kept(void **state)
{
	struct json_object *section = json_tokener_parse(
		"{ \"defaultAction\": \"SCMP_ACT_ALLOW\", \"flags\": [ \"SECCOMP_FILTER_FLAG_LOG\" ], "
		"\"syscalls\": [ { \"names\": [ \"mkdir\" ], \"action\": \"SCMP_ACT_ERRNO\" } ] }");
	char dir[] = "/tmp/seccomp.XXXXXX", command[128];
	struct oci_filter made, kept;
	struct error err = { 0 };

	(void)state;
	assert_non_null(section);
	assert_non_null(mkdtemp(dir));
	setenv("XDG_CACHE_HOME", dir, 1);
	assert_int_equal(oci_seccomp_compile(&made, section, "config.json", &err), 0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(oci_seccomp_get(&kept, section, "config.json", &err), 0);
		assert_int_equal(kept.flags, made.flags);
		assert_int_equal(kept.bytes, made.bytes);
		assert_memory_equal(kept.program, made.program, made.bytes);
		oci_seccomp_free(&kept);
		snprintf(command, sizeof(command),
			i == 0	 ? "test $(find %s -type f | wc -l) = 1"
			: i == 1 ? "truncate -s -8 $(find %s -type f)"
				 : "printf x | dd of=$(find %s -type f) conv=notrunc status=none",
			dir);
		assert_int_equal(system(command), 0);
	}
	oci_seccomp_free(&made);
	json_object_put(section);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
	unsetenv("XDG_CACHE_HOME");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kept),
		cmocka_unit_test(filters),
		cmocka_unit_test(bad_filters),
		cmocka_unit_test(agent),
		cmocka_unit_test(too_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
