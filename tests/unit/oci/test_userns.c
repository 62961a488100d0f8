#include "oci/config.h"
#include "oci/process.h"
#include "oci/userns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONFIG(ns, more)                                                                       \
	"{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"rootfs\"},\"linux\":{\"namespaces\":[" \
	"{\"type\":\"pid\"},{\"type\":\"network\"},{\"type\":\"ipc\"},{\"type\":\"uts\"},"     \
	"{\"type\":\"mount\"}" ns "]" more "}}"
#define USER ",{\"type\":\"user\"}"
#define MAP(container, host, size) \
	"{\"containerID\":" #container ",\"hostID\":" #host ",\"size\":" #size "}"
#define MAPS(uids, gids) ",\"uidMappings\":[" uids "],\"gidMappings\":[" gids "]"
#define ONE		 MAP(0, 100000, 65536)

static struct oci_config *good(const char *text)
{
	struct oci_config *config = NULL;
	struct error err = { 0 };
	int r = oci_config_parse(&config, "config.json", text, strlen(text), &err);

	if (r < 0)
		print_error("%s\n", err.msg);
	assert_int_equal(r, 0);
	return config;
}

static void bad(const char *text, const char *said)
{
	struct oci_config *config = NULL;
	struct error err = { 0 };

	assert_true(oci_config_parse(&config, "config.json", text, strlen(text), &err) < 0);
	assert_null(config);
	assert_int_equal(err.kind, ERROR_USAGE);
	assert_null(strchr(err.msg, '\n'));
	if (!strstr(err.msg, said))
		print_error("'%s' is not in: %s\n", said, err.msg);
	assert_non_null(strstr(err.msg, said));
}

static void mappings(void **state)
{
	struct oci_config *c = good(CONFIG(USER, MAPS(ONE, ONE)));

	assert_int_equal(c->uid_map[0].host, 100000);
	oci_config_free(c);
	/* As podman's keep-id has it: neighbours, in any order. */
	c = good(CONFIG(USER, MAPS(MAP(1000, 0, 1) "," MAP(0, 1, 1000) "," MAP(1001, 1001, 64536),
				      MAP(0, 0, 4294967295))));
	assert_int_equal(c->uid_maps, 3);
	oci_config_free(c);
	/* One that is joined has its own; what an engine writes here is not looked at. */
	c = good(CONFIG(",{\"type\":\"user\",\"path\":\"/proc/1/ns/user\"}", ""));
	oci_config_free(c);
	c = good(CONFIG(",{\"type\":\"user\",\"path\":\"/proc/1/ns/user\"}",
		MAPS(MAP(5, 5, 1), MAP(5, 5, 1))));
	oci_config_free(c);
}

static void bad_mappings(void **state)
{
	char many[32768], *at = many;

	bad(CONFIG("", MAPS(ONE, ONE)), "linux.uidMappings: there is no user namespace");
	bad(CONFIG("", ",\"gidMappings\":[" ONE "]"), "linux.gidMappings: there is no user");
	bad(CONFIG(USER, ""), "linux.uidMappings: is missing");
	bad(CONFIG(USER, MAPS("", "")), "linux.uidMappings: is missing");
	bad(CONFIG(USER, ",\"uidMappings\":[" ONE "]"), "linux.gidMappings: is missing");
	bad(CONFIG(USER, MAPS(MAP(0, 1, 0), ONE)), "linux.uidMappings[0].size: is 0");
	bad(CONFIG(USER, MAPS(ONE, MAP(0, 4294967295, 1))), "linux.gidMappings[0].size");
	bad(CONFIG(USER, MAPS(MAP(1, 100000, 65536), ONE)), "linux.uidMappings: has no container");
	bad(CONFIG(USER, MAPS(ONE, MAP(1000, 1000, 1))), "linux.gidMappings: has no containerID 0");
	bad(CONFIG(USER, MAPS(MAP(0, 1000, 10) "," MAP(9, 2000, 1), ONE)),
		"linux.uidMappings[1].containerID: the 1 ids from 9 on overlap those of "
		"uidMappings[0]");
	bad(CONFIG(USER, MAPS(ONE, MAP(0, 1000, 10) "," MAP(10, 1, 1) "," MAP(50, 991, 10))),
		"linux.gidMappings[2].hostID");
	bad(CONFIG(USER, MAPS("{\"containerID\":0,\"hostID\":0}", ONE)), "size: is missing");
	bad(CONFIG(USER, MAPS(MAP(0, -1, 1), ONE)), "linux.uidMappings[0].hostID");
	at += sprintf(at, "%s",
		"{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"r\"},\"linux\":{"
		"\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"ipc\"},"
		"{\"type\":\"user\"}],\"uidMappings\":[");
	for (int i = 0; i < 341; i++)
		at += sprintf(
			at, "%s{\"containerID\":%d,\"hostID\":%d,\"size\":1}", i ? "," : "", i, i);
	sprintf(at, "]}}");
	bad(many, "linux.uidMappings: 341 ranges");
}

static void ids_of_a_process(void **state)
{
	struct oci_config *c = good(CONFIG(USER, MAPS(MAP(0, 5000, 10), MAP(0, 5000, 20))));
	uint32_t groups[] = { 3, 20 };
	struct oci_process p = { .uid = 9, .gid = 19, .groups = 1, .group = groups };
	struct error err = { 0 };

	assert_int_equal(oci_config_check_ids(c, &p, &err), 0);
	p.groups = 2;
	assert_true(oci_config_check_ids(c, &p, &err) < 0);
	assert_non_null(strstr(err.msg, "process.user.additionalGids: 20 is not mapped"));
	p.gid = 21;
	assert_true(oci_config_check_ids(c, &p, &err) < 0);
	assert_non_null(strstr(err.msg, "process.user.gid: 21 is not mapped"));
	p.uid = 10;
	assert_true(oci_config_check_ids(c, &p, &err) < 0);
	assert_non_null(strstr(err.msg, "process.user.uid: 10 is not mapped"));
	oci_config_free(c);
	c = good(CONFIG("", ""));
	assert_int_equal(oci_config_check_ids(c, &p, &err), 0);
	oci_config_free(c);
}

/* In a child: what a file is that root of the namespace makes at @path. */
static int child(const struct userns *u, const char *path)
{
	struct error err = { 0 };
	gid_t groups[64];
	int fd;

	if (userns_enter(u, false, &err) < 0) {
		print_error("%s\n", err.msg);
		return 2;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd >= 0 && getuid() == 0 && getgid() == 0 && getgroups(64, groups) == 0 ? 0 : 1;
}

static void enters(const struct userns *u, const char *dir, const char *name)
{
	char path[256];
	struct stat st;
	int status;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	pid = fork();
	if (pid == 0)
		_exit(child(u, path));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 70000);
	assert_int_equal(st.st_gid, 80000);
	unlink(path);
}

static void is_made_and_entered(void **state)
{
	struct oci_config *c = good(CONFIG(USER, MAPS(MAP(0, 70000, 10), MAP(0, 80000, 10)))),
			  *join;
	char dir[] = "/tmp/userns-XXXXXX", text[512];
	struct error err = { 0 };
	struct userns u, joined;

	if (!userns_host_root() || userns_open(&u, c, &err) < 0) {
		oci_config_free(c);
		skip();
	}
	assert_non_null(mkdtemp(dir));
	chmod(dir, 0777);
	assert_true(u.fd[OCI_NS_NETWORK] >= 0 && u.fd[OCI_NS_UTS] >= 0 && u.fd[OCI_NS_IPC] >= 0);
	assert_int_equal(u.fd[OCI_NS_MOUNT], -1);
	enters(&u, dir, "new");
	snprintf(text, sizeof(text),
		CONFIG(",{\"type\":\"user\",\"path\":\"/proc/self/fd/%d\"}", ""),
		u.fd[OCI_NS_USER]);
	join = good(text);
	assert_int_equal(userns_open(&joined, join, &err), 0);
	enters(&joined, dir, "joined");
	userns_close(&joined);
	userns_close(&u);
	oci_config_free(join);
	oci_config_free(c);
	rmdir(dir);
}

static void own_is_none(void **state)
{
	struct oci_config *c =
		good(CONFIG(",{\"type\":\"user\",\"path\":\"/proc/self/ns/user\"}", ""));
	struct error err = { 0 };
	struct userns u;

	assert_int_equal(userns_open(&u, c, &err), 0);
	assert_int_equal(u.fd[OCI_NS_USER], -1);
	oci_config_free(c);
	c = good(CONFIG(",{\"type\":\"user\",\"path\":\"/nonexistent\"}", ""));
	assert_true(userns_open(&u, c, &err) < 0);
	assert_non_null(strstr(err.msg, "cannot join the user namespace /nonexistent"));
	oci_config_free(c);
	c = good(CONFIG(",{\"type\":\"user\",\"path\":\"/dev/null\"}", ""));
	assert_true(userns_open(&u, c, &err) < 0);
	assert_non_null(strstr(err.msg, "cannot join the user namespace /dev/null"));
	oci_config_free(c);
}

static void groups_are_kept_when_asked(void **state)
{
	struct oci_config *c = good(CONFIG("", "},\"annotations\":{\"a\":\"b\""));
	struct oci_process p = { 0 };
	struct error err = { 0 };
	gid_t own[1024];
	int n = getgroups(1024, own);

	assert_false(oci_keeps_groups(c));
	assert_int_equal(oci_process_add_groups(&p, c, &err), 0);
	assert_int_equal(p.groups, 0);
	oci_config_free(c);
	c = good(CONFIG("", "},\"annotations\":{\"run.oci.keep_original_groups\":\"1\""));
	assert_true(oci_keeps_groups(c));
	if (n >= 0 && n <= AGENT_GROUPS_MAX) {
		assert_int_equal(oci_process_add_groups(&p, c, &err), 0);
		assert_int_equal(p.groups, n);
		for (int i = 0; i < n; i++)
			assert_int_equal(p.group[i], own[i]);
		free(p.group);
	}
	oci_config_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mappings),
		cmocka_unit_test(bad_mappings),
		cmocka_unit_test(ids_of_a_process),
		cmocka_unit_test(is_made_and_entered),
		cmocka_unit_test(own_is_none),
		cmocka_unit_test(groups_are_kept_when_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
