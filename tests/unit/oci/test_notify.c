/* What a container says to the manager of its service, on its way to it. */
#include "oci/notify.h"

#include "oci/container.h"
#include "util/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void filter(void **state)
{
	static const char *const cases[][2] = {
		{ "READY=1", "READY=1" },
		{ "READY=1\n", "READY=1" },
		{ "MAINPID=1\nREADY=1\nSTATUS=all is well", "READY=1\nSTATUS=all is well" },
		{ "", "" },
		{ "\n\n", "" },
		{ "READY=2", "" },
		{ "READY=11", "" },
		{ "FDSTORE=1\nFDNAME=x", "" },
		{ "BARRIER=1", "" },
		{ "STOPPING=1\nERRNO=2\nMONOTONIC_USEC=1\nWATCHDOG=1\nRELOADING=1",
			"STOPPING=1\nERRNO=2\nWATCHDOG=1\nRELOADING=1" },
		{ "XSTATUS=1\nNOTIFYACCESS=all\nWATCHDOG_USEC=1\nEXTEND_TIMEOUT_USEC=5",
			"EXTEND_TIMEOUT_USEC=5" },
	};
	static char large[3 * NOTIFY_TEXT_MAX];
	char out[NOTIFY_TEXT_MAX];

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(notify_filter(out, cases[i][0]), strlen(cases[i][1]));
		assert_string_equal(out, cases[i][1]);
	}
	/* What does not fit as a whole is left out. */
	memset(large, 'x', NOTIFY_TEXT_MAX);
	memcpy(large, "STATUS=", 7);
	strcpy(large + NOTIFY_TEXT_MAX, "\nREADY=1");
	assert_int_equal(notify_filter(out, large), 7);
	large[NOTIFY_TEXT_MAX - 1] = '\n';
	assert_int_equal(notify_filter(out, large), NOTIFY_TEXT_MAX - 1);
	large[NOTIFY_TEXT_MAX - 1 - 8] = '\n';
	strcpy(large + NOTIFY_TEXT_MAX - 8, "READY=1");
	assert_int_equal(notify_filter(out, large), NOTIFY_TEXT_MAX - 1);
}

/* A manager, at a path or under an abstract name. */
static int listen_at(const char *name)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(at.sun_path, name, strlen(name));
	if (*name == '@')
		at.sun_path[0] = 0;
	assert_int_equal(
		bind(fd, (struct sockaddr *)&at,
			(socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
		0);
	return fd;
}

static void heard(int manager, const char *text)
{
	char in[NOTIFY_TEXT_MAX + 1] = "";
	ssize_t n = recv(manager, in, sizeof(in) - 1, 0);

	assert_int_equal(n, text ? (ssize_t)strlen(text) : -1);
	if (text)
		assert_string_equal(in, text);
}

static struct oci_config *config_of(const char *env, const char *source)
{
	struct oci_config *config = NULL;
	struct error err = { 0 };
	char text[2048];

	snprintf(text, sizeof(text),
		"{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"rootfs\"},\"process\":{\"cwd\":\"/\","
		"\"args\":[\"x\"],\"user\":{\"uid\":0,\"gid\":0},\"env\":[\"A=b\"%s]},\"mounts\":["
		"{\"destination\":\"/proc\",\"type\":\"proc\"},{\"destination\":\"/run/notify\","
		"\"type\":\"bind\",\"source\":\"%s\",\"options\":[\"bind\"]}],\"linux\":{"
		"\"namespaces\":[{\"type\":\"mount\"}]}}",
		env, source);
	if (oci_config_parse(&config, "config.json", text, strlen(text), &err) < 0)
		fail_msg("%s", err.msg);
	return config;
}

static void own(void **state)
{
	struct oci_config *config = config_of("", "/tmp"), *other;
	struct notify_host n;
	int manager;
	char name[64];

	unsetenv("NOTIFY_SOCKET");
	notify_host_open(&n, config, true);
	assert_int_equal(notify_host_end(&n), -1);
	notify_host_close(&n);
	setenv("NOTIFY_SOCKET", "/nowhere/at/all", 1);
	notify_host_open(&n, config, true);
	assert_int_equal(notify_host_end(&n), -1);
	notify_host_close(&n);

	snprintf(name, sizeof(name), "@test-oci-notify-%d", getpid());
	manager = listen_at(name);
	setenv("NOTIFY_SOCKET", name, 1);
	notify_host_open(&n, config, false);
	assert_int_equal(notify_host_end(&n), n.manager);
	notify_host_leave(&n, 77);
	heard(manager, "MAINPID=77");
	notify_host_close(&n);
	/* The engine has said which one is meant. */
	other = config_of(",\"NOTIFY_SOCKET=/run/notify/x\"", "/tmp");
	notify_host_open(&n, other, false);
	assert_int_equal(notify_host_end(&n), -1);
	oci_config_free(other);
	oci_config_free(config);
	close(manager);
	unsetenv("NOTIFY_SOCKET");
}

static void relayed(void **state)
{
	struct oci_config *config = config_of("", "/tmp");
	struct notify_host n;
	char name[64];
	int manager;
	pid_t pid;

	snprintf(name, sizeof(name), "/tmp/test-oci-notify-%d", getpid());
	manager = listen_at(name);
	setenv("NOTIFY_SOCKET", name, 1);
	notify_host_open(&n, config, true);
	pid = fork();
	if (pid == 0) {
		struct notify own = { .fd = notify_host_end(&n) };

		notify_pass(&own, "READY=1\nMAINPID=1");
		send(own.fd, "MAINPID=1", 9, 0);
		notify_pass(&own, "STOPPING=1");
		_exit(0);
	}
	notify_host_leave(&n, pid);
	notify_host_relay(&n, pid);
	waitpid(pid, NULL, 0);
	heard(manager, "READY=1");
	heard(manager, "STOPPING=1");
	heard(manager, NULL);
	notify_host_close(&n);
	close(manager);
	unlink(name);
	unsetenv("NOTIFY_SOCKET");
	oci_config_free(config);
}

/* So many in a second, and nobody waits for a manager that does not listen. */
static void bounded(void **state)
{
	struct notify n = { .fd = -1 };
	int pair[2], count = 0;
	char in[64];

	notify_pass(&n, "READY=1");
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
	n.fd = pair[1];
	for (int i = 0; i < 5000; i++) {
		notify_pass(&n, "READY=1");
		while (recv(pair[0], in, sizeof(in), MSG_DONTWAIT) > 0)
			count++;
	}
	assert_true(count >= 1 && count <= 128);
	for (int i = 0; i < 5000; i++) {
		n.left = 64;
		notify_pass(&n, "READY=1");
	}
	close(pair[0]);
	n.left = 64;
	notify_pass(&n, "READY=1");
	close(pair[1]);
}

/* ---- the socket of an engine ---- */

static struct container container;

/* The tree of binds, as mounts_collect() makes it, but for the mount. */
static int told(const char *tree, const char *env)
{
	struct oci_config *config = config_of(env, "/srv/notify");
	struct error err = { 0 };

	container = (struct container){ .config = config, .notify = { .fd = -1 } };
	container.binds_tree = open(tree, O_RDONLY | O_DIRECTORY);
	assert_int_equal(notify_tell(&container, &err), 0);
	close(container.binds_tree);
	return container.notify.fd;
}

static void engine(void **state)
{
	char tree[] = "/tmp/test-oci-notify-XXXXXX", path[128], away[128];
	int manager, other, fd;

	assert_non_null(mkdtemp(tree));
	snprintf(path, sizeof(path), "%s/1", tree);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/1/notify", tree);
	mkdir(path, 0700);
	snprintf(away, sizeof(away), "%s/away", tree);
	other = listen_at(away);
	snprintf(path, sizeof(path), "%s/1/notify/notify.sock", tree);
	assert_int_equal(told(tree, ",\"NOTIFY_SOCKET=/run/notify/notify.sock\""), -1);
	manager = listen_at(path);
	fd = told(tree, ",\"NOTIFY_SOCKET=/run/notify/notify.sock\"");
	assert_true(fd >= 0);
	assert_string_equal(container.job_config.notify, "/run/notify/notify.sock");
	notify_pass(&container.notify, "READY=1");
	heard(manager, "READY=1");
	close(fd);
	/* Nothing elsewhere on the host, whatever stands in that directory. */
	assert_int_equal(told(tree, ",\"NOTIFY_SOCKET=/run/notify/../../away\""), -1);
	snprintf(path, sizeof(path), "%s/1/notify/link", tree);
	assert_int_equal(symlink(away, path), 0);
	assert_int_equal(told(tree, ",\"NOTIFY_SOCKET=/run/notify/link\""), -1);
	unlink(path);
	assert_int_equal(told(tree, ",\"NOTIFY_SOCKET=/run/other\""), -1);
	assert_int_equal(told(tree, ",\"NOTIFY_SOCKET=/run/notify\""), -1);
	assert_int_equal(told(tree, ",\"NOTIFY_SOCKET=/proc/x\""), -1);
	assert_int_equal(told(tree, ""), -1);
	assert_null(container.job_config.notify);
	/* One that nobody listens at is none. */
	close(manager);
	assert_int_equal(told(tree, ",\"NOTIFY_SOCKET=/run/notify/notify.sock\""), -1);
	close(other);
	snprintf(path, sizeof(path), "rm -r %s", tree);
	assert_int_equal(system(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(filter),
		cmocka_unit_test(own),
		cmocka_unit_test(relayed),
		cmocka_unit_test(bounded),
		cmocka_unit_test(engine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
