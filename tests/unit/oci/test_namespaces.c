/* The fork into a pid namespace: as root, and as root of a user namespace only. */
#include "oci/container.h"

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

static struct oci_config *config_of(const char *pid)
{
	struct oci_config *config = NULL;
	struct error err = { 0 };
	char text[512];

	snprintf(text, sizeof(text),
		"{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"rootfs\"},\"linux\":{\"namespaces\":["
		"{\"type\":\"mount\"}%s]}}",
		pid);
	if (oci_config_parse(&config, "config.json", text, strlen(text), &err) < 0)
		fail_msg("%s", err.msg);
	return config;
}

/* The children that are forked from now on are in our own pid namespace. */
static bool unchanged(void)
{
	struct stat own, next;

	return stat("/proc/self/ns/pid", &own) == 0 &&
	       stat("/proc/self/ns/pid_for_children", &next) == 0 && own.st_ino == next.st_ino;
}

/* Returns the number of the first thing that is wrong, 0 for none. */
static int look(const char *pid, pid_t expected)
{
	struct oci_config *config = config_of(pid);
	struct error err = { 0 };
	int status = 0, reaper = 1, talk[2];
	char byte = 0;
	pid_t child;

	if (pipe(talk) < 0)
		return 1;
	child = namespaces_fork(config, &err);
	if (child == 0) {
		pid_t own = getpid();

		if (read(talk[0], &byte, 1) != 1)
			_exit(1);
		_exit(expected ? own == expected ? 42 : 43 : 42);
	}
	if (child < 0)
		return 2;
	if (!unchanged())
		return 3;
	if (kill(child, 0) < 0 || write(talk[1], "x", 1) != 1)
		return 4;
	if (waitpid(child, &status, 0) != child || status != 42 << 8)
		return 5;
	if (waitpid(-1, NULL, 0) != -1 || errno != ECHILD)
		return 6;
	if (prctl(PR_GET_CHILD_SUBREAPER, &reaper) < 0 || reaper)
		return 7;
	close(talk[0]);
	close(talk[1]);
	oci_config_free(config);
	return 0;
}

static int look_at_all(void)
{
	struct error err = { 0 };
	int r = look("", 0);

	if (r == 0)
		r = look(",{\"type\":\"pid\"}", 1);
	if (r == 0 &&
		namespaces_fork(config_of(",{\"type\":\"pid\",\"path\":\"/proc/self/ns/net\"}"),
			&err) != -1)
		r = 8;
	return r || strstr(err.msg, "cannot join the pid namespace") ? r : 9;
}

/* Only those who say whether the new one goes with us: the maker ends while it waits. */
static int dies_with_its_maker(void)
{
	int talk[2], status;
	struct error err;
	char byte;
	pid_t maker;

	if (pipe(talk) < 0)
		return 20;
	maker = fork();
	if (maker == 0) {
		pid_t child = namespaces_fork(config_of(",{\"type\":\"pid\"}"), &err);

		if (child == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			(void)!write(talk[1], "x", 1);
			for (;;)
				pause();
		}
		(void)!read(talk[0], &byte, 1);
		_exit(child < 0);
	}
	waitpid(maker, &status, 0);
	close(talk[1]);
	if (status)
		return 21;
	/* It has the other end of the pipe. */
	alarm(20);
	return read(talk[0], &byte, 1) == 0 ? 0 : 22;
}

static void as_root(void **state)
{
	if (geteuid())
		skip();
	assert_int_equal(look_at_all(), 0);
	assert_int_equal(dies_with_its_maker(), 0);
}

static void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	(void)!write(fd, text, strlen(text));
	close(fd);
}

static void without_root(void **state)
{
	char map[64];
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		snprintf(map, sizeof(map), "0 %d 1", (int)geteuid());
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
			_exit(99);
		write_to("/proc/self/uid_map", map);
		status = look_at_all();
		_exit(status ? status : dies_with_its_maker());
	}
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 99)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_root),
		cmocka_unit_test(without_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
