/* An ordinary user's own user namespace. */
#include "oci/rootless.h"

#include "util/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int self; /* this program, wherever it lies */

static void ranges(void **state)
{
	static const char text[] =
		"root:100000:65536\nann:200000:1000\n# ann:1:2\nanna:1:1\n"
		"1500:300000:10\nann:bad:1\nann:5:0\nann:5\nann:400000:7\nann\n\n:1:2";
	struct rootless_range r[8];

	assert_int_equal(rootless_ranges(r, 8, text, "ann", 1500), 4);
	assert_true(r[0].inside == 0 && r[0].outside == 1500 && r[0].count == 1);
	assert_true(r[1].inside == 1 && r[1].outside == 200000 && r[1].count == 1000);
	assert_true(r[2].inside == 1001 && r[2].outside == 300000 && r[2].count == 10);
	assert_true(r[3].inside == 1011 && r[3].outside == 400000 && r[3].count == 7);
	assert_int_equal(rootless_ranges(r, 2, text, "ann", 1500), 2);
	assert_int_equal(rootless_ranges(r, 8, text, "bob", 1), 1);
	assert_int_equal(rootless_ranges(r, 8, text, "", 1), 2); /* 1: no name of anybody */
	assert_int_equal(rootless_ranges(r, 8, "", "ann", 1500), 1);
	assert_int_equal(rootless_ranges(r, 8, "ann:1:99999999999", "ann", 1500), 1);
}

/* ---- in the command that begins once more: this program, with a word ---- */

static struct oci_config *config_of(const char *maps)
{
	struct oci_config *config = NULL;
	struct error err = { 0 };
	char text[512];

	snprintf(text, sizeof(text),
		"{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"rootfs\"},\"linux\":{\"namespaces\":["
		"{\"type\":\"mount\"},{\"type\":\"user\"}],%s}}",
		maps);
	if (oci_config_parse(&config, "config.json", text, strlen(text), &err) < 0)
		exit(90);
	return config;
}

static int be_ordinary(void)
{
	struct oci_config *config;
	struct error err = { 0 };
	char map[200];
	int signal_of_parent = 0;

	if (rootless_begin(&err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return 99;
	}
	if (getenv("_MICROVM_OCI_USERNS") || geteuid() || getegid())
		return 91;
	prctl(PR_GET_PDEATHSIG, &signal_of_parent);
	if (signal_of_parent != SIGUSR1)
		return 92;
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 || rootless_begin(&err) < 0)
		return 93;
	/* He is meant by the id that he has outside. */
	snprintf(map, sizeof(map),
		"\"uidMappings\":[{\"containerID\":0,\"hostID\":1234,\"size\":1}],"
		"\"gidMappings\":[{\"containerID\":0,\"hostID\":2345,\"size\":1}]");
	config = config_of(map);
	if (rootless_translate(config, &err) < 0 || config->uid_map[0].host ||
		config->gid_map[0].host)
		return 94;
	config = config_of("\"uidMappings\":[{\"containerID\":0,\"hostID\":1233,\"size\":2}],"
			   "\"gidMappings\":[{\"containerID\":0,\"hostID\":2345,\"size\":1}]");
	if (rootless_translate(config, &err) != -EPERM || !strstr(err.msg, "linux.uidMappings"))
		return 95;
	return 42;
}

static int as_user(const char *word)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (setresgid(2345, 2345, 2345) < 0 || setresuid(1234, 1234, 1234) < 0)
			_exit(98);
		prctl(PR_SET_PDEATHSIG, SIGUSR1);
		fexecve(self, (char *const[]){ (char *)"test", (char *)word, NULL }, environ);
		_exit(97);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void begins_again(void **state)
{
	int status;

	if (geteuid())
		skip();
	status = as_user("ordinary");
	if (status == 97 || status == 99)
		skip(); /* a host without such namespaces */
	assert_int_equal(status, 42);
}

/* ---- joining ---- */

static bool in_namespace_of(pid_t pid, bool parents)
{
	struct stat own, its;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
	if (stat("/proc/self/ns/user", &own) < 0)
		return false;
	return stat(path, &its) == 0 && (own.st_ino == its.st_ino) != parents;
}

static void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (write(fd, text, strlen(text)) < 0)
		_exit(96);
	close(fd);
}

static void write_maps(unsigned uid, unsigned gid)
{
	char map[32];

	snprintf(map, sizeof(map), "0 %u 1", uid);
	write_to("/proc/self/uid_map", map);
	write_to("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1", gid);
	write_to("/proc/self/gid_map", map);
}

/* A process in a namespace of its own, or in one within that; somebody joins it from outside. */
static int join(bool deeper)
{
	struct oci_state state = { .ready = true, .started = true, .id = (char *)"x" };
	int talk[2], status;
	char byte = 0;
	pid_t pid;

	if (pipe(talk) < 0)
		return 80;
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWUSER) < 0)
			_exit(99);
		write_maps(1234, 2345);
		if (deeper && unshare(CLONE_NEWUSER) < 0)
			_exit(99);
		if (deeper)
			write_maps(0, 0);
		(void)!write(talk[1], "x", 1);
		pause();
	}
	close(talk[1]);
	if (read(talk[0], &byte, 1) != 1)
		return 99;
	if (oci_state_set_pid(&state, pid) < 0)
		return 82;
	rootless_join(&state);
	status = geteuid() == 0 && in_namespace_of(pid, deeper) ? 42 : 83;
	rootless_join(&state); /* once more is nothing */
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return status;
}

static void joins(void **state)
{
	static const char *const words[] = { "join", "join-deeper" };

	if (geteuid())
		skip();
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
		int status = as_user(words[i]);

		if (status == 97 || status == 99)
			skip();
		assert_int_equal(status, 42);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges),
		cmocka_unit_test(begins_again),
		cmocka_unit_test(joins),
	};

	self = open("/proc/self/exe", O_PATH | O_CLOEXEC);
	if (argc > 1 && !strcmp(argv[1], "ordinary"))
		return be_ordinary();
	if (argc > 1)
		return join(!strcmp(argv[1], "join-deeper"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
