/*
 * The control group: limits in a folder that looks like one, and what only a kernel does in a real
 * group of version 2, where there is one.
 */
#include "oci/cgroup_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <json.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define GROUP "/parent/c1"

static char fake[] = "/tmp/test_cgroup.XXXXXX";
static struct error err;

/* ---- a folder like a group ---- */

static char *in_fake(const char *name)
{
	static char path[300];

	snprintf(path, sizeof(path), "%s" GROUP "/%s", fake, name);
	return path;
}

static void put(const char *name, const char *text)
{
	FILE *f = fopen(in_fake(name), "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void is(const char *name, const char *want)
{
	char got[200] = "";
	FILE *f = fopen(in_fake(name), "r");

	assert_non_null(f);
	if (!fgets(got, sizeof(got), f))
		*got = 0;
	fclose(f);
	assert_string_equal(got, want);
}

static void said(const char *text)
{
	if (!strstr(err.msg, text))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, text);
}

static struct oci_cgroup *open_fake(void)
{
	struct oci_cgroup *cgroup;

	err = (struct error){ 0 };
	assert_int_equal(cgroup_open_in(&cgroup, fake, GROUP, false, &err), 0);
	assert_true(cgroup->dir >= 0);
	return cgroup;
}

static int apply(const struct oci_resources *res)
{
	struct oci_cgroup *cgroup = open_fake();
	int r = oci_cgroup_apply(cgroup, res, &err);

	oci_cgroup_free(cgroup);
	return r;
}

static const char *const files[] = { "memory.max", "memory.low", "memory.swap.max",
	"memory.current", "cpu.weight", "cpu.max", "cpu.max.burst", "cpu.idle", "cpuset.cpus",
	"cpuset.mems", "io.weight", "io.max", "hugetlb.2MB.max", "cgroup.procs", "pids.max" };

static int set_up_fake(void **state)
{
	char path[300];

	strcpy(fake, "/tmp/test_cgroup.XXXXXX");
	if (!mkdtemp(fake))
		return -1;
	snprintf(path, sizeof(path), "%s/parent", fake);
	mkdir(path, 0755);
	mkdir(in_fake(""), 0755);
	for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		put(files[i], "");
	return 0;
}

static int tear_down_fake(void **state)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -rf %s", fake);
	return system(command);
}

static void test_nothing(void **state)
{
	assert_int_equal(apply(&(struct oci_resources){ 0 }), 0);
	for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		is(files[i], "");
}

static void test_memory(void **state)
{
	struct oci_resources res = { .has_memory_limit = true,
		.memory_limit = 256 << 20,
		.has_memory_swap = true,
		.memory_swap = 512 << 20,
		.has_memory_reservation = true,
		.memory_reservation = 100 << 20 };
	struct oci_cgroup *cgroup;

	assert_int_equal(apply(&res), 0);
	is("memory.max", "339738624"); /* 256 + 64 + 4 MiB */
	is("memory.swap.max", "268435456");
	is("memory.low", "104857600");
	/* A guest that has more than the limit. */
	cgroup = open_fake();
	oci_cgroup_set_guest_memory(cgroup, 512 << 20);
	assert_int_equal(oci_cgroup_apply(cgroup, &res, &err), 0);
	is("memory.max", "612368384"); /* 512 + 64 + 8 MiB */
	oci_cgroup_free(cgroup);
	res.memory_limit = INT64_MAX;
	res.memory_swap = -1;
	put("memory.swap.max", "");
	assert_int_equal(apply(&res), 0);
	is("memory.max", "9223372036854775807");
	is("memory.swap.max", "max");
	res.memory_limit = res.memory_reservation = -1;
	put("memory.low", "");
	assert_int_equal(apply(&res), 0);
	is("memory.low", "max");
}

static void test_memory_refused(void **state)
{
	struct oci_resources res = {
		.has_memory_limit = true, .memory_limit = 1 << 20, .has_memory_swap = true
	};

	put("memory.current", "400000000\n");
	assert_int_equal(apply(&res), -EBUSY);
	said("memory.limit: the machine uses 400000000 bytes");
	put("memory.current", "4000\n");
	res.memory_swap = 1000;
	assert_int_equal(apply(&res), -EINVAL);
	said("memory.swap");
	res.has_memory_limit = false;
	assert_int_equal(apply(&res), -EINVAL);
	said("needs memory.limit");
	/* No swap is counted here. */
	unlink(in_fake("memory.swap.max"));
	res.memory_swap = -1;
	assert_int_equal(apply(&res), 0);
	res.has_memory_limit = true;
	res.memory_swap = res.memory_limit;
	assert_int_equal(apply(&res), 0);
	res.memory_swap = res.memory_limit * 2;
	assert_int_equal(apply(&res), -EOPNOTSUPP);
	said("memory.swap.max");
	/* No controller at all. */
	unlink(in_fake("memory.max"));
	assert_int_equal(apply(&res), -EOPNOTSUPP);
	said("linux.resources.memory.limit");
	said("controller memory");
	assert_null(strstr(err.msg, "No such file"));
}

static void test_cpu(void **state)
{
	struct oci_resources res = { .has_cpu_shares = true,
		.cpu_shares = 1024,
		.has_cpu_quota = true,
		.cpu_quota = 50000,
		.has_cpu_period = true,
		.cpu_period = 100000,
		.has_cpu_burst = true,
		.cpu_burst = 1000,
		.has_cpu_idle = true,
		.cpu_idle = 1,
		.cpuset_cpus = "0-1",
		.cpuset_mems = "0" };
	static const struct {
		uint64_t shares;
		const char *weight;
	} weights[] = { { 2, "1" }, { 1, "1" }, { 262144, "10000" }, { UINT64_MAX, "10000" },
		{ 512, "20" } };

	assert_int_equal(apply(&res), 0);
	is("cpu.weight", "39");
	is("cpu.max", "50000 100000");
	is("cpu.max.burst", "1000");
	is("cpu.idle", "1");
	is("cpuset.cpus", "0-1");
	is("cpuset.mems", "0");
	res = (struct oci_resources){ .has_cpu_shares = true };
	for (unsigned i = 0; i < sizeof(weights) / sizeof(weights[0]); i++) {
		put("cpu.weight", "");
		res.cpu_shares = weights[i].shares;
		assert_int_equal(apply(&res), 0);
		is("cpu.weight", weights[i].weight);
	}
}

static void test_quota(void **state)
{
	struct oci_resources res = { .has_cpu_quota = true, .cpu_quota = 7000 };

	assert_int_equal(apply(&res), 0);
	is("cpu.max", "7000");
	put("cpu.max", "7000 10000\n");
	res = (struct oci_resources){ .has_cpu_period = true, .cpu_period = 50000 };
	assert_int_equal(apply(&res), 0);
	is("cpu.max", "7000 50000\n");
	put("cpu.max", "");
	res = (struct oci_resources){ .has_cpu_quota = true, .cpu_quota = -1 };
	assert_int_equal(apply(&res), 0);
	is("cpu.max", "max");
	unlink(in_fake("cpu.max"));
	assert_int_equal(apply(&res), -EOPNOTSUPP);
	said("linux.resources.cpu.quota");
}

static void test_io(void **state)
{
	struct oci_io io = { OCI_IO_READ_BPS, 8, 16, 1048576 };
	struct oci_hugepages huge = { "2MB", 4 << 20 };
	struct oci_resources res = { .has_blkio_weight = true,
		.blkio_weight = 500,
		.ios = 1,
		.io = &io,
		.hugepages = 1,
		.hugepage = &huge };

	assert_int_equal(apply(&res), 0);
	is("io.weight", "default 4950");
	is("io.max", "8:16 rbps=1048576");
	is("hugetlb.2MB.max", "4194304");
	io.kind = OCI_IO_WRITE_IOPS;
	io.value = 0;
	huge.size = "1GB";
	put("io.max", "");
	assert_int_equal(apply(&res), 0);
	is("io.max", "8:16 wiops=max");
	put("io.bfq.weight", "");
	io = (struct oci_io){ OCI_IO_WEIGHT, 8, 0, 300 };
	assert_int_equal(apply(&res), 0);
	is("io.bfq.weight", "8:0 300");
}

static void test_unified_and_pids(void **state)
{
	struct oci_pair pairs[] = { { "memory.low", "7" }, { "made.up", "1" } };
	struct oci_resources res = { .has_pids = true, .pids = 5, .unified = { 1, pairs } };

	assert_int_equal(apply(&res), 0);
	is("memory.low", "7");
	is("pids.max", "");
	res.unified.count = 2;
	assert_int_equal(apply(&res), -EOPNOTSUPP);
	said("linux.resources.unified");
	said("made.up");
}

/* One that we could not make. */
static void test_none(void **state)
{
	struct oci_cgroup *cgroup;
	struct json_object *data;
	struct oci_resources res = { 0 };

	assert_int_equal(cgroup_open_in(&cgroup, fake, "", false, &err), 0);
	assert_string_equal(oci_cgroup_path(cgroup), "");
	assert_int_equal(oci_cgroup_apply(cgroup, &res, &err), 0);
	res.cpuset_cpus = "0";
	assert_int_equal(oci_cgroup_apply(cgroup, &res, &err), -EOPNOTSUPP);
	said("no control group");
	assert_true(oci_cgroup_freeze(cgroup, &err) < 0);
	assert_int_equal(oci_cgroup_stat(cgroup, &data, &err), -EOPNOTSUPP);
	assert_int_equal(oci_cgroup_kill(cgroup, &err), 0);
	assert_int_equal(oci_cgroup_remove(cgroup), 0);
	oci_cgroup_free(cgroup);
	/* One that is gone. */
	assert_int_equal(cgroup_open_in(&cgroup, fake, "/not/there", false, &err), 0);
	assert_int_equal(oci_cgroup_kill(cgroup, &err), 0);
	assert_int_equal(oci_cgroup_remove(cgroup), 0);
	oci_cgroup_free(cgroup);
}

static int create(const char *path, const char *id)
{
	struct oci_cgroup *cgroup = NULL;
	int r;

	err = (struct error){ 0 };
	r = cgroup_create_in(&cgroup, fake, path, id, false, getpid(), &err);
	oci_cgroup_free(cgroup);
	return r;
}

static void test_create(void **state)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", getpid());
	assert_int_equal(create(GROUP, "c1"), 0);
	is("cgroup.procs", pid);
	assert_int_equal(create(GROUP, "c1"), -EBUSY);
	said(pid);
	assert_int_equal(create("/parent/../c1", "c1"), -EINVAL);
	said("linux.cgroupsPath");
	assert_int_equal(create("parent/./x", "c1"), -EINVAL);
	put("cgroup.procs", "");
	assert_int_equal(create("parent//c1/", "c1"), 0);
	is("cgroup.procs", pid);
}

/* ---- systemd's names ---- */

static void names(const char *path, const char *slice, const char *unit)
{
	char *s, *u;
	int r = cgroup_systemd_names(&s, &u, path, "id1", false, &err);

	if (!slice) {
		assert_int_equal(r, -EINVAL);
		said("linux.cgroupsPath");
	} else {
		assert_int_equal(r, 0);
		assert_string_equal(s, slice);
		assert_string_equal(u, unit);
	}
	free(s);
	free(u);
}

static void test_names(void **state)
{
	names(NULL, "system.slice", "microvm-id1.scope");
	names("machine.slice:libpod:abc", "machine.slice", "libpod-abc.scope");
	names(":libpod:abc", "system.slice", "libpod-abc.scope");
	names("machine.slice::abc", "machine.slice", "abc.scope");
	names("a-b.slice:cri-containerd:abc", "a-b.slice", "cri-containerd-abc.scope");
	names("-.slice:x:y.scope", "-.slice", "y.scope");
	names("/libpod_parent/abc", NULL, NULL);
	names("machine.slice:libpod", NULL, NULL);
	names("machine.slice:libpod:", NULL, NULL);
	names("machine.slice:libpod:a:b", NULL, NULL);
	names("machine:libpod:abc", NULL, NULL);
	names("a--b.slice:libpod:abc", NULL, NULL);
	names("a.slice:lib/pod:abc", NULL, NULL);
}

/* ---- a real group ---- */

static const char *real;
static struct oci_cgroup *group;
static pid_t child;

static bool is_v2(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

static int set_up_real(void **state)
{
	char name[64];

	err = (struct error){ 0 };
	group = NULL;
	child = 0;
	real = is_v2("/sys/fs/cgroup") ? "/sys/fs/cgroup" : "/sys/fs/cgroup/unified";
	if (geteuid() || !is_v2(real) || access(real, W_OK) < 0) {
		real = NULL;
		return 0;
	}
	child = fork();
	if (child == 0) {
		for (;;)
			pause();
	}
	snprintf(name, sizeof(name), "/test-oci-cgroup-%d/a", getpid());
	if (cgroup_create_in(&group, real, name, "id", false, child, &err) < 0)
		print_error("%s\n", err.msg);
	return group ? 0 : -1;
}

static int tear_down_real(void **state)
{
	char path[128];

	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	if (group)
		oci_cgroup_remove(group);
	oci_cgroup_free(group);
	snprintf(path, sizeof(path), "%s/test-oci-cgroup-%d", real ?: "", getpid());
	rmdir(path);
	return 0;
}

static void need_real(void)
{
	if (!real) {
		print_message("needs root and cgroup v2\n");
		skip();
	}
}

static bool frozen(void)
{
	char text[200];

	assert_true(cgroup_read(group, "cgroup.events", text, sizeof(text)) > 0);
	return strstr(text, "frozen 1");
}

static void test_freeze(void **state)
{
	need_real();
	assert_int_equal(oci_cgroup_freeze(group, &err), 0);
	assert_true(frozen());
	assert_int_equal(oci_cgroup_freeze(group, &err), 0);
	assert_int_equal(oci_cgroup_thaw(group, &err), 0);
	assert_false(frozen());
}

static void test_kill(void **state)
{
	int status;

	need_real();
	assert_int_equal(oci_cgroup_freeze(group, &err), 0);
	assert_int_equal(oci_cgroup_kill(group, &err), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	child = 0;
	assert_int_equal(oci_cgroup_remove(group), 0);
	assert_int_equal(oci_cgroup_remove(group), 0);
	assert_int_equal(oci_cgroup_kill(group, &err), 0);
}

static void test_remove(void **state)
{
	struct oci_cgroup *below;
	char name[128];

	need_real();
	snprintf(name, sizeof(name), "%s/b/c", oci_cgroup_path(group));
	/* One that is used is not removed, and says so after a while; what is below it goes. */
	assert_int_equal(oci_cgroup_remove(group), -EBUSY);
	assert_int_equal(cgroup_create_in(&below, real, name, "id", false, child, &err), 0);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	child = 0;
	oci_cgroup_free(below);
	assert_int_equal(oci_cgroup_remove(group), 0);
	snprintf(name, sizeof(name), "%s%s", real, oci_cgroup_path(group));
	assert_int_equal(access(name, F_OK), -1);
}

/* With controllers: in the lab, and wherever version 2 is all there is. */
static void test_real_limits(void **state)
{
	struct oci_resources res = { .has_memory_limit = true,
		.memory_limit = 64 << 20,
		.has_cpu_quota = true,
		.cpu_quota = 50000,
		.has_cpu_shares = true,
		.cpu_shares = 512,
		.cpuset_cpus = "0" };
	struct json_object *data, *memory, *usage, *limit;
	char text[100];

	need_real();
	if (cgroup_read(group, "memory.max", text, sizeof(text)) < 0) {
		print_message("needs the controllers of cgroup v2\n");
		skip();
	}
	if (oci_cgroup_apply(group, &res, &err) < 0)
		fail_msg("%s", err.msg);
	assert_true(cgroup_read(group, "memory.max", text, sizeof(text)) > 0);
	assert_string_equal(text, "135266304\n");
	assert_true(cgroup_read(group, "cpu.max", text, sizeof(text)) > 0);
	assert_string_equal(text, "50000 100000\n");
	assert_true(cgroup_read(group, "cpu.weight", text, sizeof(text)) > 0);
	assert_string_equal(text, "20\n");
	res = (struct oci_resources){ .cpuset_cpus = "12345" };
	assert_true(oci_cgroup_apply(group, &res, &err) < 0);
	said("linux.resources.cpu.cpus");
	assert_int_equal(oci_cgroup_stat(group, &data, &err), 0);
	assert_true(json_object_object_get_ex(data, "memory", &memory));
	assert_true(json_object_object_get_ex(memory, "usage", &usage));
	assert_true(json_object_object_get_ex(usage, "limit", &limit));
	assert_int_equal(json_object_get_int64(limit), 135266304);
	json_object_put(data);
}

/* Where systemd runs: a scope of its own, with our group in it; all of it gone in the end. */
static void test_systemd(void **state)
{
	struct oci_cgroup *scope;
	struct oci_resources res = { .has_memory_limit = true, .memory_limit = 64 << 20 };
	char name[64], whole[300], text[64];

	need_real();
	if (access("/run/systemd/private", F_OK) < 0 || strcmp(real, CGROUP_ROOT)) {
		print_message("needs systemd\n");
		skip();
	}
	snprintf(name, sizeof(name), "machine.slice:microvm-test:%d", getpid());
	for (int round = 0; round < 2; round++) {
		if (oci_cgroup_create(&scope, name, "id", true, child, &err) < 0)
			fail_msg("%s", err.msg);
		snprintf(whole, sizeof(whole), "/machine.slice/microvm-test-%d.scope/container",
			getpid());
		assert_string_equal(oci_cgroup_path(scope), whole);
		if (oci_cgroup_apply(scope, &res, &err) < 0)
			fail_msg("%s", err.msg);
		assert_true(cgroup_read(scope, "memory.max", text, sizeof(text)) > 0);
		assert_string_equal(text, "135266304\n");
		assert_int_equal(oci_cgroup_kill(scope, &err), 0);
		assert_int_equal(waitpid(child, NULL, 0), child);
		assert_int_equal(oci_cgroup_remove(scope), 0);
		snprintf(whole, sizeof(whole), CGROUP_ROOT "/machine.slice/microvm-test-%d.scope",
			getpid());
		assert_int_equal(access(whole, F_OK), -1);
		oci_cgroup_free(scope);
		child = fork();
		if (child == 0) {
			for (;;)
				pause();
		}
	}
}

static void test_numbers(void **state)
{
	uint64_t n = 0;

	assert_true(cgroup_number("populated 1\nfrozen 12\n", "frozen", &n));
	assert_int_equal(n, 12);
	assert_true(cgroup_number("77\n", NULL, &n));
	assert_int_equal(n, 77);
	assert_false(cgroup_number("max\n", NULL, &n));
	assert_false(cgroup_number("frozenly 1\n", "frozen", &n));
	assert_false(cgroup_number("", "frozen", &n));
	assert_false(cgroup_number("a 99999999999999999999999\n", "a", &n));
}

int main(void)
{
#define FAKE(f) cmocka_unit_test_setup_teardown(f, set_up_fake, tear_down_fake)
#define REAL(f) cmocka_unit_test_setup_teardown(f, set_up_real, tear_down_real)
	const struct CMUnitTest tests[] = {
		FAKE(test_nothing),
		FAKE(test_memory),
		FAKE(test_memory_refused),
		FAKE(test_cpu),
		FAKE(test_quota),
		FAKE(test_io),
		FAKE(test_unified_and_pids),
		FAKE(test_none),
		FAKE(test_create),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_numbers),
		REAL(test_freeze),
		REAL(test_kill),
		REAL(test_remove),
		REAL(test_real_limits),
		REAL(test_systemd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
