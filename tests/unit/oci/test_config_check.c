/* The command and the mounts' sources, looked for in a small tree of files. */
#include "oci/config_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define NS                                                                                       \
	"\"linux\":{\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"network\"},{\"type\":\"ipc\"" \
	"}]}"

struct tree {
	char dir[64];
	int root;
};

static void put(const char *path, mode_t mode)
{
	int fd = open(path, O_CREAT | O_WRONLY, mode);

	assert_true(fd >= 0);
	fchmod(fd, mode);
	close(fd);
}

static int make_tree(void **state)
{
	struct tree *tree = calloc(1, sizeof(*tree));

	strcpy(tree->dir, "/tmp/test-oci-check-XXXXXX");
	assert_non_null(mkdtemp(tree->dir));
	assert_int_equal(chdir(tree->dir), 0);
	mkdir("root", 0755);
	mkdir("root/usr", 0755);
	mkdir("root/usr/bin", 0755);
	mkdir("root/etc", 0755);
	mkdir("root/mnt", 0755);
	mkdir("tools", 0755);
	put("root/usr/bin/sh", 0755);
	put("root/etc/passwd", 0644);
	put("tools/tool", 0755);
	put("tools/text", 0644);
	put("alone", 0755);
	/* Links that would lead out of the container if the host's root were taken for theirs. */
	assert_int_equal(symlink("usr/bin", "root/bin"), 0);
	assert_int_equal(symlink("/usr/bin/sh", "root/usr/bin/ash"), 0);
	assert_int_equal(symlink("../../../../bin/sh", "root/usr/bin/dash"), 0);
	assert_int_equal(symlink("/bin/only-on-the-host", "root/usr/bin/gone"), 0);
	assert_int_equal(symlink("loop", "root/usr/bin/loop"), 0);
	assert_int_equal(symlink("/mnt/t/tool", "root/usr/bin/tool"), 0);
	assert_int_equal(symlink("/mnt", "root/m"), 0);
	tree->root = open("root", O_PATH | O_DIRECTORY);
	assert_true(tree->root >= 0);
	*state = tree;
	return 0;
}

static int remove_tree(void **state)
{
	struct tree *tree = *state;
	char command[128];

	close(tree->root);
	snprintf(command, sizeof(command), "rm -rf '%s'", tree->dir);
	assert_int_equal(system(command), 0);
	free(tree);
	return 0;
}

/* @mounts may have %s for the tree's directory. */
static struct oci_config *configure(const struct tree *tree, const char *arg, const char *env,
	const char *cwd, const char *mounts)
{
	char list[1024], text[2048];
	struct oci_config *config;
	struct error err = { 0 };

	snprintf(list, sizeof(list), mounts, tree->dir, tree->dir);
	snprintf(text, sizeof(text),
		"{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"root\"},\"process\":{\"args\":["
		"\"%s\"],\"cwd\":\"%s\",\"env\":[%s]},\"mounts\":[%s]," NS "}",
		arg, cwd, env, list);
	if (oci_config_parse(&config, "config.json", text, strlen(text), &err) < 0)
		fail_msg("%s", err.msg);
	return config;
}

static void expect(const struct tree *tree, const char *arg, const char *env, const char *cwd,
	const char *mounts, int wanted, const char *words)
{
	struct oci_config *config = configure(tree, arg, env, cwd, mounts);
	struct error err = { 0 };
	int r = oci_check_command(config, tree->root, &err);

	if (r != wanted || (words && !strstr(err.msg, words)))
		print_error("%s: %d %s\n", arg, r, err.msg);
	assert_int_equal(r, wanted);
	if (words)
		assert_non_null(strstr(err.msg, words));
	oci_config_free(config);
}

#define NOT_IN_PATH "executable file not found in $PATH"
#define NOT_THERE   "no such file or directory"
#define DENIED	    "permission denied"

static void commands(void **state)
{
	const struct tree *t = *state;

	expect(t, "sh", "", "/", "", 0, NULL);
	expect(t, "sh", "\"PATH=/nowhere:/bin\"", "/", "", 0, NULL);
	expect(t, "sh", "\"PATH=/nowhere\"", "/", "", -ENOENT, NOT_IN_PATH);
	expect(t, "sh", "\"PATH=\"", "/usr/bin", "", 0, NULL);
	expect(t, "sh", "\"PATH=bin\"", "/usr", "", 0, NULL);
	expect(t, "nothing", "", "/", "", -ENOENT, NOT_IN_PATH);
	expect(t, "", "", "/", "", -ENOENT, NOT_IN_PATH);
	expect(t, "passwd", "\"PATH=/etc\"", "/", "", -ENOENT, NOT_IN_PATH);
	expect(t, "etc", "\"PATH=/\"", "/", "", -ENOENT, NOT_IN_PATH);
	expect(t, "/bin/sh", "", "/", "", 0, NULL);
	expect(t, "/bin/ash", "", "/", "", 0, NULL);
	expect(t, "/bin/dash", "", "/", "", 0, NULL);
	expect(t, "/../../bin/../bin//sh", "", "/", "", 0, NULL);
	expect(t, "./sh", "", "/usr/bin", "", 0, NULL);
	expect(t, "bin/sh", "", "/usr", "", 0, NULL);
	expect(t, "/bin/gone", "", "/", "", -ENOENT, NOT_THERE);
	expect(t, "/bin/nothing", "", "/", "", -ENOENT, NOT_THERE);
	expect(t, "/bin/loop", "", "/", "", -ELOOP, "/bin/loop");
	expect(t, "/etc", "", "/", "", -EACCES, DENIED);
	expect(t, "/", "", "/", "", -EACCES, DENIED);
	expect(t, "/etc/passwd", "", "/", "", -EACCES, DENIED);
	expect(t, "/etc/passwd/x", "", "/", "", -ENOTDIR, "/etc/passwd/x");
	/* Of the host, not of the container. */
	expect(t, t->dir, "", "/", "", -ENOENT, NOT_THERE);
}

static void under_mounts(void **state)
{
	static const char tools[] =
		"{\"destination\":\"/mnt/t\",\"type\":\"bind\",\"source\":\"%s/tools\"}";
	static const char linked[] =
		"{\"destination\":\"/m/t\",\"type\":\"bind\",\"source\":\"%s/tools\"}";
	static const char deep[] =
		"{\"destination\":\"/new/deep/t\",\"type\":\"bind\",\"source\":\"%s/tools\"}";
	static const char file[] =
		"{\"destination\":\"/mnt/f\",\"type\":\"bind\",\"source\":\"%s/alone\"}";
	static const char hidden[] =
		"{\"destination\":\"/usr/bin\",\"type\":\"bind\",\"source\":\"%s/tools\"}";
	static const char memory[] = "{\"destination\":\"/usr\",\"type\":\"tmpfs\"}";
	static const char both[] =
		"{\"destination\":\"/mnt\",\"type\":\"tmpfs\"},"
		"{\"destination\":\"/mnt/t\",\"type\":\"bind\",\"source\":\"%s/tools\"}";
	const struct tree *t = *state;

	expect(t, "/mnt/t/tool", "", "/", tools, 0, NULL);
	expect(t, "tool", "", "/", tools, 0, NULL);
	expect(t, "tool", "", "/", "", -ENOENT, NOT_IN_PATH);
	expect(t, "/mnt/t/text", "", "/", tools, -EACCES, DENIED);
	expect(t, "/mnt/t/other", "", "/", tools, -ENOENT, NOT_THERE);
	expect(t, "/mnt/t", "", "/", tools, -EACCES, DENIED);
	expect(t, "/mnt/t/tool", "", "/", linked, 0, NULL);
	expect(t, "/m/t/tool", "", "/", linked, 0, NULL);
	expect(t, "/new/deep/t/tool", "", "/", deep, 0, NULL);
	expect(t, "/new/deep/t/../t/tool", "", "/", deep, 0, NULL);
	expect(t, "/new/deep/x", "", "/", deep, -ENOENT, NOT_THERE);
	expect(t, "/new/deep", "", "/", deep, -EACCES, DENIED);
	expect(t, "/mnt/f", "", "/", file, 0, NULL);
	expect(t, "/usr/bin/sh", "", "/", hidden, -ENOENT, NOT_THERE);
	/* What a tmpfs will hold is not known here. */
	expect(t, "/usr/bin/whatever", "", "/", memory, 0, NULL);
	expect(t, "/mnt/t/tool", "", "/", both, 0, NULL);
	expect(t, "/mnt/t/other", "", "/", both, -ENOENT, NOT_THERE);
}

static void sources(void **state)
{
	const struct tree *t = *state;
	struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "socket" };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct oci_config *c;
	struct error err = { 0 };

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	close(fd);
#define BIND(to, from) "{\"destination\":\"" to "\",\"type\":\"bind\",\"source\":\"" from "\"}"
	c = configure(t, "sh", "", "/",
		BIND("/a", "tools") "," BIND("/n", "/dev/null") "," BIND("/b", "%s/alone"));
	assert_int_equal(oci_check_mounts(c, AT_FDCWD, &err), 0);
	assert_int_equal(c->mounts, 2);
	assert_false(c->mount[0].file);
	assert_true(c->mount[1].file);
	assert_int_equal(c->devices, 1);
	assert_string_equal(c->device[0].path, "/n");
	assert_int_equal(c->device[0].minor, 3);
	oci_config_free(c);

	c = configure(t, "sh", "", "/", BIND("/a", "tools") "," BIND("/b", "%s/missing"));
	assert_int_equal(oci_check_mounts(c, AT_FDCWD, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "mounts[1].source"));
	assert_non_null(strstr(err.msg, NOT_THERE));
	oci_config_free(c);

	c = configure(t, "sh", "", "/", BIND("/a", "%s/socket") "," BIND("/b", "tools"));
	assert_int_equal(oci_check_mounts(c, AT_FDCWD, &err), 0);
	assert_true(c->mount[0].socket && c->mount[0].file);
	assert_false(c->mount[1].socket);
	oci_config_free(c);

	unlink(at.sun_path);
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	c = configure(t, "sh", "", "/", BIND("/a", "%s/socket"));
	assert_true(oci_check_mounts(c, AT_FDCWD, &err) < 0);
	assert_non_null(strstr(err.msg, "mounts[0].source"));
	assert_non_null(strstr(err.msg, "for datagrams"));
	oci_config_free(c);
	close(fd);

	c = configure(t, "sh", "", "/", BIND("/a", "/dev/kmsg"));
	assert_true(oci_check_mounts(c, AT_FDCWD, &err) < 0);
	assert_non_null(strstr(err.msg, "device of the host"));
	c->resources.all_devices = true;
	assert_int_equal(oci_check_mounts(c, AT_FDCWD, &err), 0);
	assert_int_equal(c->mounts, 0);
	assert_int_equal(c->devices, 0);
	oci_config_free(c);
}

/* Only what the host has is the host's. */
static void devices(void **state)
{
	struct oci_device device = { .path = "/dev/x", .type = 'c', .major = 1, .minor = 11 };
	struct oci_config c = { .devices = 1, .device = &device };
	struct error err = { 0 };

	assert_true(oci_check_devices(&c, &err) < 0); /* /dev/kmsg */
	assert_non_null(strstr(err.msg, "linux.devices[0].path: /dev/x: a device of the host"));
	device.minor = 3;
	assert_int_equal(oci_check_devices(&c, &err), 0);
	device.major = 4000;
	assert_int_equal(oci_check_devices(&c, &err), 0);
	device = (struct oci_device){ .path = "/dev/p", .type = 'p' };
	assert_int_equal(oci_check_devices(&c, &err), 0);
}

static void places(void **state)
{
	const struct tree *t = *state;
	struct oci_config *c = configure(t, "sh", "", "/",
		BIND("/dangling/x", "/") "," BIND("/to-tools/y", "/") "," BIND("/none/z", "/"));
	struct error err = { 0 };

	assert_int_equal(symlinkat("../far/away", t->root, "dangling"), 0);
	assert_int_equal(symlinkat("/tools", t->root, "to-tools"), 0);
	assert_int_equal(oci_resolve_mounts(c, t->root, &err), 0);
	assert_string_equal(c->mount[0].destination, "/far/away/x");
	assert_string_equal(c->mount[1].destination, "/tools/y");
	assert_string_equal(c->mount[2].destination, "/none/z");
	unlinkat(t->root, "dangling", 0);
	unlinkat(t->root, "to-tools", 0);
	oci_config_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commands),
		cmocka_unit_test(under_mounts),
		cmocka_unit_test(sources),
		cmocka_unit_test(devices),
		cmocka_unit_test(places),
	};

	return cmocka_run_group_tests(tests, make_tree, remove_tree);
}
