#include "oci/config.h"
#include "oci/verbs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

/* What every configuration here begins and ends with; sections go in between. */
#define HEAD "{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"rootfs\"},"
#define NS                                                                              \
	"\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"network\"},{\"type\":\"ipc\"}," \
	"{\"type\":\"uts\"},{\"type\":\"mount\"}]"
#define LINUX "\"linux\":{" NS "}"
#define PROC  "\"process\":{\"args\":[\"sh\"],\"cwd\":\"/\"}"

static struct oci_config *good(const char *text)
{
	struct oci_config *config = NULL;
	struct error err = { 0 };
	int r = oci_config_parse(&config, "config.json", text, strlen(text), &err);

	if (r < 0)
		print_error("%s\n", err.msg);
	assert_int_equal(r, 0);
	assert_non_null(config);
	return config;
}

/* Refused, with one line that names the file and has @where in it. */
static void bad(const char *text, const char *where)
{
	struct oci_config *config = NULL;
	struct error err = { 0 };
	int r = oci_config_parse(&config, "config.json", text, strlen(text), &err);

	assert_true(r < 0);
	assert_null(config);
	assert_int_equal(err.kind, ERROR_USAGE);
	assert_int_equal(strncmp(err.msg, "config.json: ", 13), 0);
	assert_null(strchr(err.msg, '\n'));
	if (!strstr(err.msg, where))
		print_error("'%s' is not in: %s\n", where, err.msg);
	assert_non_null(strstr(err.msg, where));
}

static void smallest(void **state)
{
	struct oci_config *c = good(HEAD LINUX "}");

	assert_false(c->has_process);
	assert_int_equal(c->process.args.count, 0);
	assert_non_null(c->process.args.list);
	assert_non_null(c->process.env.list);
	assert_string_equal(c->root, "rootfs");
	assert_true(c->ns[OCI_NS_PID].present);
	assert_false(c->ns[OCI_NS_USER].present);
	assert_null(c->hostname);
	assert_null(c->seccomp);
	assert_int_equal(c->warnings.count, 0);
	oci_config_free(c);
	oci_config_free(NULL);
}

static void versions(void **state)
{
#define WITH(v) "{\"ociVersion\":" v ",\"root\":{\"path\":\"r\"}," LINUX "}"
	oci_config_free(good(WITH("\"1.0.0\"")));
	oci_config_free(good(WITH("\"1.0.2-dev\"")));
	oci_config_free(good(WITH("\"1.99.0\"")));
	bad(WITH("\"2.0.0\""), "ociVersion");
	bad(WITH("\"0.5.0\""), "ociVersion");
	bad(WITH("\"1\""), "ociVersion");
	bad(WITH("\"1.x.0\""), "ociVersion");
	bad(WITH("\"99999999999999999999.0.0\""), "ociVersion");
	bad(WITH("\"\""), "ociVersion");
	bad(WITH("1"), "ociVersion");
	bad(WITH("null"), "ociVersion: is missing");
#undef WITH
}

static void broken_text(void **state)
{
	static const char whole[] = HEAD PROC ",\"mounts\":[{\"destination\":\"/proc\",\"type\":"
					      "\"proc\"}]," LINUX "}";
	struct oci_config *config;
	struct error err;

	for (size_t len = 0; len < strlen(whole); len++) {
		char *text = strndup(whole, len);

		err = (struct error){ 0 };
		assert_true(oci_config_parse(&config, "config.json", text, len, &err) < 0);
		assert_true(err.msg[0]);
		free(text);
	}
	for (size_t at = 0; at < strlen(whole); at++)
		for (int byte = 0; byte < 256; byte++) {
			char *text = strdup(whole);

			text[at] = (char)byte;
			err = (struct error){ 0 };
			if (oci_config_parse(
				    &config, "config.json", text, sizeof(whole) - 1, &err) == 0)
				oci_config_free(config);
			else
				assert_true(err.kind && err.msg[0]);
			free(text);
		}
	bad("", "too early");
	bad("[]", "object");
	bad("null ", "object");
	bad("7 ", "object");
	bad("7", "too early");
	bad("{} x", "not JSON");
	bad(HEAD LINUX "}}", "not JSON");
	bad("{'a': 1}", "line 1");
	bad("{\n\"a\": NaN}", "line 2");
	bad("{\"a\": \"\n\"}", "control character");
	bad("{\"a\": \"\\\\\", \"b\": 'c'}", "neither");
	bad("{\"a\": \"\\", "too early");
}

static void process(void **state)
{
	struct oci_config *c = good(HEAD LINUX
		",\"process\":{\"terminal\":true,\"consoleSize\":{\"height\":24,\"width\":80},"
		"\"user\":{\"uid\":1000,\"gid\":1001,\"umask\":18,\"additionalGids\":[5,6]},"
		"\"args\":[\"a\",\"b\"],\"env\":[\"A=1\",\"B=\"],\"cwd\":\"/tmp\","
		"\"capabilities\":{\"bounding\":[\"CAP_CHOWN\",\"CAP_CHECKPOINT_RESTORE\"],"
		"\"permitted\":[\"CAP_CHOWN\"],\"effective\":[\"CAP_CHOWN\"],\"ambient\":["
		"\"CAP_KILL\"]},"
		"\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":1,\"hard\":"
		"18446744073709551615}],\"noNewPrivileges\":true,\"oomScoreAdj\":-500,"
		"\"apparmorProfile\":\"\",\"selinuxLabel\":\"x\"}}");
	const struct oci_process *p = &c->process;

	assert_true(c->has_process && p->terminal);
	assert_int_equal(p->rows, 24);
	assert_int_equal(p->columns, 80);
	assert_int_equal(p->uid, 1000);
	assert_int_equal(p->gid, 1001);
	assert_true(p->has_umask);
	assert_int_equal(p->umask, 022);
	assert_int_equal(p->groups, 2);
	assert_int_equal(p->group[1], 6);
	assert_int_equal(p->args.count, 2);
	assert_string_equal(p->args.list[1], "b");
	assert_null(p->args.list[2]);
	assert_int_equal(p->env.count, 2);
	assert_string_equal(p->cwd, "/tmp");
	assert_true(p->has_caps);
	assert_int_equal(p->caps.bounding, UINT64_C(1) << 40 | 1);
	assert_int_equal(p->caps.effective, 1);
	assert_int_equal(p->caps.ambient, 0);
	assert_int_equal(p->rlimits, 1);
	assert_int_equal(p->rlimit[0].resource, RLIMIT_NOFILE);
	assert_int_equal(p->rlimit[0].hard, UINT64_MAX);
	assert_true(p->no_new_privileges && p->has_oom_score_adj);
	assert_int_equal(p->oom_score_adj, -500);
	assert_null(p->apparmor);
	assert_string_equal(p->selinux, "x");
	oci_config_free(c);
}

#define P(rest) HEAD LINUX ",\"process\":{\"args\":[\"a\"],\"cwd\":\"/\"," rest "}}"

static void bad_process(void **state)
{
	struct oci_config *c;

	bad(HEAD LINUX ",\"process\":[]}", "process: must be an object, not an array");
	bad(HEAD LINUX ",\"process\":{\"cwd\":\"/\"}}", "process.args: is missing");
	bad(HEAD LINUX ",\"process\":{\"cwd\":\"/\",\"args\":[]}}", "process.args");
	bad(HEAD LINUX ",\"process\":{\"cwd\":\"/\",\"args\":[1]}}", "process.args[0]");
	bad(HEAD LINUX ",\"process\":{\"args\":[\"a\"]}}", "process.cwd: is missing");
	bad(HEAD LINUX ",\"process\":{\"args\":[\"a\"],\"cwd\":\"a\"}}", "process.cwd");
	bad(P("\"env\":[\"A\"]"), "process.env");
	bad(P("\"env\":[\"A=\\u0000\"]"), "process.env[0]: has a NUL");
	bad(P("\"user\":{\"uid\":-1}"), "process.user.uid");
	bad(P("\"user\":{\"uid\":4294967295}"), "process.user");
	bad(P("\"user\":{\"uid\":4294967296}"), "process.user.uid");
	bad(P("\"user\":{\"uid\":\"0\"}"), "process.user.uid");
	bad(P("\"user\":{\"uid\":1.5}"), "process.user.uid");
	bad(P("\"user\":{\"additionalGids\":[\"a\"]}"), "process.user.additionalGids");
	bad(P("\"terminal\":1"), "process.terminal");
	bad(P("\"consoleSize\":{\"height\":65536,\"width\":1}"), "process.consoleSize.height");
	bad(P("\"rlimits\":[{\"type\":\"RLIMIT_X\",\"soft\":1,\"hard\":1}]"), "rlimits[0].type");
	bad(P("\"rlimits\":[{\"type\":\"RLIMIT_AS\",\"soft\":2,\"hard\":1}]"), "rlimits[0].soft");
	bad(P("\"rlimits\":[{\"type\":\"RLIMIT_AS\",\"soft\":1}]"), "rlimits[0].hard");
	bad(P("\"rlimits\":[7]"), "process.rlimits[0]");
	bad(P("\"rlimits\":[{\"type\":\"RLIMIT_AS\",\"soft\":1,\"hard\":1},{\"type\":"
	      "\"RLIMIT_AS\",\"soft\":1,\"hard\":1}]"),
		"process.rlimits[1].type");
	bad(P("\"capabilities\":{\"effective\":[\"CAP_KILL\"]}"), "process.capabilities.effective");
	bad(P("\"oomScoreAdj\":1001"), "process.oomScoreAdj");
	bad(P("\"scheduler\":{\"policy\":\"SCHED_FIFO\"}"), "process.scheduler");
	bad(P("\"ioPriority\":{\"class\":\"IOPRIO_CLASS_RT\"}"), "process.ioPriority");
	/* What cannot be granted is told. */
	c = good(P("\"capabilities\":{\"bounding\":[\"CAP_FLY\"]}"));
	assert_int_equal(c->warnings.count, 1);
	assert_non_null(strstr(c->warnings.list[0], "process.capabilities.bounding: CAP_FLY"));
	oci_config_free(c);
}

#define M(m) HEAD LINUX ",\"mounts\":[" m "]}"

static void mounts(void **state)
{
	struct oci_config *c = good(
		M("{\"destination\":\"/data/\",\"type\":\"bind\",\"source\":\"/srv\",\"options\":["
		  "\"rbind\",\"ro\",\"nosuid\",\"rprivate\",\"nodev\",\"dev\",\"noexec\"]},"
		  "{\"destination\":\"tmp//a/../b/.\",\"type\":\"tmpfs\",\"source\":\"tmpfs\","
		  "\"options\":[\"size=64m\",\"mode=1777\",\"strictatime\",\"tmpcopyup\"]},"
		  "{\"destination\":\"/o\",\"type\":\"overlay\",\"options\":[\"lowerdir=/a\"]},"
		  "{\"destination\":\"/f\",\"source\":\"f\",\"options\":[\"bind\"]}"));
	const struct oci_mount *m = c->mount;

	assert_int_equal(c->mounts, 4);
	assert_string_equal(m[0].destination, "/data");
	assert_true(m[0].bind && m[0].recursive && m[0].read_only && m[0].nosuid && m[0].noexec);
	assert_false(m[0].nodev);
	assert_int_equal(m[0].propagation, MS_PRIVATE | MS_REC);
	assert_string_equal(m[0].data, "");
	assert_string_equal(m[1].destination, "/tmp/b");
	assert_string_equal(m[1].data, "size=64m,mode=1777");
	assert_true(m[1].tmpcopyup && !m[1].bind);
	assert_true(m[2].on_host);
	assert_true(m[3].bind && !m[3].recursive);
	assert_string_equal(m[3].type, "bind");
	oci_config_free(c);
}

static void bad_mounts(void **state)
{
	bad(HEAD LINUX ",\"mounts\":{}}", "mounts: must be an array");
	bad(M("1"), "mounts[0]");
	bad(M("{}"), "mounts[0].destination: is missing");
	bad(M("{\"destination\":\"/\",\"type\":\"proc\"}"), "mounts[0].destination");
	bad(M("{\"destination\":\"/../..\",\"type\":\"proc\"}"), "mounts[0].destination");
	bad(M("{\"destination\":\"/a\"}"), "mounts[0].type");
	bad(M("{\"destination\":\"/a\",\"type\":\"bind\"}"), "mounts[0].source");
	bad(M("{\"destination\":\"/a\",\"type\":\"ext4\",\"source\":\"/dev/sda\"}"),
		"mounts[0].type");
	bad(M("{\"destination\":\"/a\",\"type\":\"tmpfs\",\"options\":[\"a,b\"]}"),
		"mounts[0].options");
	bad(M("{\"destination\":\"/a\",\"type\":\"tmpfs\",\"options\":\"ro\"}"),
		"mounts[0].options");
	bad(M("{\"destination\":\"/a\",\"type\":\"bind\",\"source\":\"/\",\"options\":["
	      "\"idmap\"]}"),
		"mounts[0].options");
	bad(M("{\"destination\":\"/a\",\"type\":\"bind\",\"source\":\"/\",\"uidMappings\":[]}"),
		"mounts[0].uidMappings");
	bad(M("{\"destination\":\"/p\",\"type\":\"proc\"},{\"destination\":1}"),
		"mounts[1].destination");
}

static void warned(const char *text, const char *what)
{
	struct oci_config *c = good(text);

	assert_int_equal(c->warnings.count, 1);
	assert_non_null(strstr(c->warnings.list[0], what));
	oci_config_free(c);
}

/* What cannot be as it is meant, but hurts nobody who did not know that he asked for it. */
static void warnings(void **state)
{
	static const char none[] = HEAD "\"linux\":{}}";
	struct oci_config *c = good(none);

	assert_int_equal(c->warnings.count, 3); /* pid, ipc, network */
	oci_config_free(c);
	warned(M("{\"destination\":\"/a\",\"type\":\"bind\",\"source\":\"/\",\"options\":["
		 "\"rshared\"]}"),
		"mounts[0].options: shared");
	warned(M("{\"destination\":\"/a\",\"type\":\"bind\",\"source\":\"/\",\"options\":["
		 "\"size=1k\",\"mode=755\"]}"),
		"mounts[0].options: 'size=1k,mode=755' means nothing");
	warned(HEAD "\"linux\":{\"namespaces\":[{\"type\":\"network\"},{\"type\":\"ipc\"},"
		    "{\"type\":\"pid\",\"path\":\"/a\"}]}}",
		"linux.namespaces[2].path");
}

#define L(rest) HEAD "\"linux\":{" NS "," rest "}}"

static void linux_section(void **state)
{
	struct oci_config *c = good(
		HEAD "\"hostname\":\"box\",\"domainname\":\"\",\"linux\":{\"namespaces\":["
		     "{\"type\":\"pid\"},{\"type\":\"network\",\"path\":\"/run/netns/a\"},"
		     "{\"type\":\"ipc\",\"path\":\"/proc/1/ns/ipc\"},{\"type\":\"uts\"},"
		     "{\"type\":\"user\"},{\"type\":\"time\"},{\"type\":\"cgroup\",\"path\":\"\"}],"
		     "\"uidMappings\":[{\"containerID\":0,\"hostID\":1000,\"size\":65536}],"
		     "\"gidMappings\":[{\"containerID\":0,\"hostID\":1000,\"size\":1}],"
		     "\"sysctl\":{\"net.ipv4.ip_forward\":\"1\"},\"cgroupsPath\":\"/x\","
		     "\"maskedPaths\":[\"/proc/kcore\"],\"readonlyPaths\":null,"
		     "\"rootfsPropagation\":\"rslave\",\"personality\":{\"domain\":\"LINUX\"},"
		     "\"timeOffsets\":{},\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\"},"
		     "\"windows\":7},\"windows\":{},\"somethingNew\":[1]}");

	assert_string_equal(c->hostname, "box");
	assert_null(c->domainname);
	assert_string_equal(c->ns[OCI_NS_NETWORK].path, "/run/netns/a");
	assert_null(c->ns[OCI_NS_CGROUP].path);
	assert_int_equal(c->uid_maps, 1);
	assert_int_equal(c->uid_map[0].host, 1000);
	assert_int_equal(c->gid_maps, 1);
	assert_string_equal(c->sysctl.list[0].value, "1");
	assert_string_equal(c->cgroups_path, "/x");
	assert_int_equal(c->masked_paths.count, 1);
	assert_int_equal(c->readonly_paths.count, 0);
	assert_non_null(c->readonly_paths.list);
	assert_string_equal(c->rootfs_propagation, "rslave");
	assert_non_null(c->seccomp);
	assert_int_equal(c->warnings.count, 1);
	oci_config_free(c);
}

static void bad_linux(void **state)
{
	bad(HEAD "\"linux\":7}", "linux: must be an object");
	bad(HEAD "\"linux\":{\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"pid\"}]}}",
		"linux.namespaces[1].type: 'pid' is there twice");
	bad(HEAD "\"linux\":{\"namespaces\":[{\"type\":\"net\"}]}}", "linux.namespaces[0].type");
	bad(HEAD "\"linux\":{\"namespaces\":[{\"type\":\"uts\",\"path\":\"a\"}]}}",
		"linux.namespaces[0].path");
	bad(HEAD "\"hostname\":\"a\",\"linux\":{\"namespaces\":[{\"type\":\"pid\"},{\"type\":"
		 "\"network\"},{\"type\":\"ipc\"}]}}",
		"hostname");
	bad(L("\"uidMappings\":[{\"containerID\":0,\"hostID\":0,\"size\":1}]"),
		"linux.uidMappings");
	bad(L("\"uidMappings\":[{\"containerID\":0,\"hostID\":0,\"size\":0}]"),
		"linux.uidMappings[0].size");
	bad(L("\"uidMappings\":[{\"containerID\":1,\"hostID\":0,\"size\":4294967295}]"),
		"linux.uidMappings[0].size");
	bad(L("\"sysctl\":{\"../etc/passwd\":\"1\"}"), "linux.sysctl");
	bad(L("\"sysctl\":{\"kernel/hostname\":\"x\"}"), "is set by hostname");
	bad(HEAD "\"linux\":{\"namespaces\":[],\"sysctl\":{\"net.ipv4.ip_forward\":\"1\"}}}",
		"the host's network namespace");
	bad(HEAD "\"linux\":{\"namespaces\":[],\"sysctl\":{\"kernel/shmmax\":\"1\"}}}",
		"the host's ipc namespace");
	bad(L("\"sysctl\":{\"a\":1}"), "linux.sysctl.a");
	bad(L("\"maskedPaths\":[\"a\"]"), "linux.maskedPaths");
	bad(L("\"rootfsPropagation\":\"both\""), "linux.rootfsPropagation");
	bad(L("\"intelRdt\":{}"), "linux.intelRdt");
	bad(L("\"personality\":{\"domain\":\"LINUX32\"}"), "linux.personality");
	bad(L("\"timeOffsets\":{\"monotonic\":{\"secs\":1}}"), "linux.timeOffsets");
	bad(L("\"seccomp\":[]"), "linux.seccomp");
	bad(L("\"netDevices\":{\"eth0\":{}}"), "linux.netDevices");
}

static void devices(void **state)
{
#define SDA  "{\"path\":\"/dev/sda\",\"type\":\"b\",\"major\":8,\"minor\":0}"
#define FUSE "{\"path\":\"/dev/fuse\",\"type\":\"c\",\"major\":10,\"minor\":229,\"fileMode\":384}"
	struct oci_config *c = good(L("\"devices\":[" FUSE "]"));

	assert_int_equal(c->devices, 1);
	assert_int_equal(c->device[0].mode, 0600);
	assert_true(c->device[0].has_mode);
	assert_true(oci_config_has_device(c, 10, 229));
	assert_false(oci_config_has_device(c, 10, 200));
	oci_config_free(c);
	/* --privileged: all that the guest has. */
	c = good(L("\"devices\":[" SDA "," FUSE "],\"resources\":{\"devices\":[{\"allow\":true,"
		   "\"access\":\"rwm\"}]}"));
	assert_int_equal(c->devices, 1);
	assert_string_equal(c->device[0].path, "/dev/fuse");
	assert_true(c->resources.all_devices);
	assert_true(c->resources.no_terminals);
	oci_config_free(c);
	c = good(L("\"devices\":[{\"path\":\"/dev/tty1\",\"type\":\"c\",\"major\":4,"
		   "\"minor\":1}],\"resources\":{\"devices\":[{\"allow\":true}]}"));
	assert_true(c->resources.all_devices);
	assert_false(c->resources.no_terminals);
	oci_config_free(c);
	bad(L("\"devices\":[{\"path\":\"/a\",\"type\":\"c\",\"major\":1}]"), "devices[0].minor");
	bad(L("\"devices\":[{\"path\":\"/a\",\"type\":\"x\",\"major\":1}]"), "devices[0].type");
	bad(L("\"devices\":[{\"path\":\"a\",\"type\":\"p\"}]"), "devices[0].path");
	bad(L("\"resources\":{\"devices\":[{\"access\":\"rwm\"}]}"),
		"linux.resources.devices[0].allow");
	bad(L("\"resources\":{\"devices\":[{\"allow\":true,\"access\":\"x\"}]}"),
		"linux.resources.devices[0].access");
}

#define R(rest) L("\"resources\":{" rest "}")

static void resources(void **state)
{
	struct oci_config *c = good(
		R("\"memory\":{\"limit\":536870912,\"swap\":-1,\"reservation\":0,\"kernel\":"
		  "536870912,\"disableOOMKiller\":false},"
		  "\"cpu\":{\"shares\":512,\"quota\":150000,\"period\":100000,\"cpus\":\"0-1,3\"},"
		  "\"pids\":{\"limit\":100},\"blockIO\":{\"weight\":0,\"throttleReadBpsDevice\":[{"
		  "\"major\":8,\"minor\":0,\"rate\":1000}]},"
		  "\"hugepageLimits\":[{\"pageSize\":\"2MB\",\"limit\":0}],"
		  "\"rdma\":{\"mlx5_1\":{\"hcaHandles\":3}},"
		  "\"unified\":{\"memory.high\":\"1\"}"));
	const struct oci_resources *r = &c->resources;

	assert_true(r->has_memory_limit);
	assert_int_equal(r->memory_limit, 512 << 20);
	assert_int_equal(r->memory_swap, -1);
	assert_true(r->has_memory_swap);
	assert_false(r->has_memory_reservation);
	assert_int_equal(r->cpu_quota, 150000);
	assert_string_equal(r->cpuset_cpus, "0-1,3");
	assert_int_equal(r->pids, 100);
	assert_false(r->has_blkio_weight);
	assert_int_equal(r->ios, 1);
	assert_int_equal(r->io[0].value, 1000);
	assert_int_equal(r->hugepages, 1);
	assert_int_equal(r->unified.count, 1);
	assert_non_null(r->json);
	oci_config_free(c);

	bad(R("\"memory\":{\"limit\":\"1\"}"), "linux.resources.memory.limit");
	bad(R("\"memory\":{\"limit\":-2}"), "linux.resources.memory.limit");
	bad(R("\"memory\":{\"limit\":18446744073709551615}"), "linux.resources.memory.limit");
	bad(R("\"memory\":{\"limit\":18446744073709551616}"), "line 1: a number is too large");
	bad(R("\"memory\":{\"limit\":-9000000000000000001}"), "linux.resources.memory.limit");
	bad(R("\"memory\":{\"kernel\":1000}"), "linux.resources.memory.kernel");
	bad(R("\"memory\":{\"disableOOMKiller\":true}"), "disableOOMKiller");
	bad(R("\"memory\":{\"swappiness\":10}"), "swappiness");
	bad(R("\"cpu\":{\"cpus\":\"1-\"}"), "linux.resources.cpu.cpus");
	bad(R("\"cpu\":{\"cpus\":\"3-1\"}"), "linux.resources.cpu.cpus");
	bad(R("\"cpu\":{\"cpus\":\"1,\"}"), "linux.resources.cpu.cpus");
	bad(R("\"cpu\":{\"cpus\":\"1-2-3\"}"), "linux.resources.cpu.cpus");
	bad(R("\"cpu\":{\"realtimeRuntime\":1000}"), "realtimeRuntime");
	bad(R("\"network\":{\"classID\":1}"), "linux.resources.network.classID");
	bad(R("\"unified\":{\"../x.y\":\"1\"}"), "linux.resources.unified");
	bad(R("\"blockIO\":{\"weightDevice\":[{\"major\":1}]}"), "weightDevice[0].minor");
	bad(R("\"hugepageLimits\":[{\"pageSize\":\"../2MB\",\"limit\":0}]"), "pageSize");
}

static void hooks(void **state)
{
	struct oci_config *c = good(HEAD LINUX
		",\"hooks\":{\"prestart\":[{\"path\":\"/bin/a\",\"args\":[\"a\"],\"env\":[\"X=1\"],"
		"\"timeout\":5}],\"poststop\":[{\"path\":\"/b\"},{\"path\":\"/c\"}]}}");

	assert_int_equal(c->prestart.count, 1);
	assert_int_equal(c->prestart.list[0].timeout_s, 5);
	assert_int_equal(c->poststop.count, 2);
	assert_int_equal(c->poststop.list[1].args.count, 0);
	assert_int_equal(c->poststop.list[1].timeout_s, 0);
	oci_config_free(c);
	bad(HEAD LINUX ",\"hooks\":{\"prestart\":{}}}", "hooks.prestart");
	bad(HEAD LINUX ",\"hooks\":{\"poststart\":[{\"path\":\"a\"}]}}", "hooks.poststart[0].path");
	bad(HEAD LINUX ",\"hooks\":{\"poststart\":[{}]}}", "hooks.poststart[0].path");
	bad(HEAD LINUX ",\"hooks\":{\"poststart\":[{\"path\":\"/a\",\"timeout\":0}]}}",
		"hooks.poststart[0].timeout");
}

static void machine(void **state)
{
	static const char defaults[] =
		"{\"kernel\":\"/d/kernel\",\"memory\":\"1G\",\"cpus\":3,\"workers\":2}";
	char path[] = "/tmp/test-oci-config-XXXXXX";
	int fd = mkstemp(path);
	struct error err = { 0 };
	struct oci_config *c;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, defaults, strlen(defaults)), strlen(defaults));
	close(fd);

	c = good(HEAD "\"annotations\":{\"microvm.memory\":\"256M\",\"other\":\"x\"},"
		      "\"vm\":{\"kernel\":{\"path\":\"/v/kernel\",\"parameters\":[\"a\",\"b=c\"]},"
		      "\"hwConfig\":{\"memory\":1073741824,\"vcpus\":2},"
		      "\"image\":{\"path\":\"/i\",\"format\":\"raw\"}},\"linux\":{" NS
		      ",\"resources\":{\"memory\":{\"limit\":134217728}}}}");
	assert_int_equal(oci_config_machine(c, path, &err), 0);
	assert_string_equal(c->vm.kernel, "/v/kernel");
	assert_string_equal(c->vm.kernel_parameters, "a b=c");
	assert_string_equal(c->vm.image, "/i");
	assert_int_equal(c->vm.memory, 256 << 20);
	assert_int_equal(c->vm.cpus, 2);
	assert_int_equal(c->vm.workers, 2);
	oci_config_free(c);

	/* The limit sizes the machine, before the file does. */
	c = good(R("\"memory\":{\"limit\":268435456},\"cpu\":{\"quota\":50000,\"period\":100000}"));
	assert_int_equal(oci_config_machine(c, path, &err), 0);
	assert_int_equal(c->vm.memory, 256 << 20);
	assert_int_equal(c->vm.cpus, 1);
	assert_string_equal(c->vm.kernel, "/d/kernel");
	assert_string_equal(
		json_object_get_string(json_object_object_get(c->defaults, "memory")), "1G");
	oci_config_free(c);

	c = good(HEAD LINUX "}");
	assert_true(oci_config_machine(c, "/nonexistent/config.json", &err) < 0);
	assert_int_equal(err.kind, ERROR_IMAGE);
	oci_config_free(c);
	unlink(path);

#define A(key, value) HEAD "\"annotations\":{\"" key "\":" value "}," LINUX "}"
	bad(A("microvm.memroy", "\"1G\""), "annotations.microvm.memroy");
	bad(A("microvm.memory", "\"1X\""), "annotations.microvm.memory");
	bad(A("microvm.memory", "\"1M\""), "too little");
	bad(A("microvm.memory", "\"99999999T\""), "annotations.microvm.memory");
	bad(A("microvm.cpus", "\"0\""), "annotations.microvm.cpus");
	bad(A("microvm.cpus", "\"65\""), "annotations.microvm.cpus");
	bad(A("microvm.cpus", "4"), "annotations.microvm.cpus: must be a string");
	bad(A("microvm.hw", "\"bios\""), "annotations.microvm.hw");
	bad(A("microvm.kernel", "\"k\""), "annotations.microvm.kernel");
	bad(HEAD LINUX ",\"vm\":{\"hypervisor\":{\"path\":\"/q\"}}}", "vm.hypervisor");
	bad(HEAD LINUX ",\"vm\":{\"kernel\":{}}}", "vm.kernel.path");
	bad(HEAD LINUX ",\"vm\":{\"image\":{\"path\":\"/i\",\"format\":\"qcow2\"}}}",
		"vm.image.format");
}

static void files(void **state)
{
	struct oci_config *c;
	struct json_object *json;
	struct oci_process *p;
	struct oci_resources r;
	struct error err = { 0 };

	assert_true(oci_config_read(&c, "/nonexistent/config.json", &err) < 0);
	assert_int_equal(err.kind, ERROR_IMAGE);
	assert_non_null(strstr(err.msg, "/nonexistent/config.json"));
	assert_true(oci_process_read(&p, &json, "/", &err) < 0);
	assert_null(json);
	assert_true(oci_resources_read(&r, &json, "/nonexistent", &err) < 0);
	assert_null(json);
}

static void inherit(void **state)
{
	static const char text[] = "{\"args\":[\"id\"],\"cwd\":\"/\"}";
	struct oci_config *c = good(P("\"capabilities\":{\"bounding\":[\"CAP_KILL\"]},"
				      "\"noNewPrivileges\":true,\"oomScoreAdj\":7"));
	struct oci_process *p;
	struct json_object *json;
	struct error err = { 0 };

	assert_int_equal(oci_process_parse(&p, &json, "p.json", text, strlen(text), &err), 0);
	oci_process_inherit(p, &c->process);
	assert_true(p->has_caps && p->no_new_privileges && p->has_oom_score_adj);
	assert_int_equal(p->caps.bounding, 1 << 5);
	oci_process_free(p, json);
	oci_config_free(c);
}

static void spec(void **state)
{
	char dir[] = "/tmp/test-oci-spec-XXXXXX", path[64];
	char *plain[] = { (char[]){ "spec" }, (char[]){ "--bundle" }, dir, NULL };
	char *rootless[] = { (char[]){ "spec" }, (char[]){ "--rootless" }, (char[]){ "-b" }, dir,
		NULL };
	char *wrong[] = { (char[]){ "spec" }, (char[]){ "--what" }, NULL };
	struct oci_config *c;
	struct error err = { 0 };

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/config.json", dir);
	assert_int_equal(oci_spec(3, plain, &err), 0);
	assert_int_equal(oci_config_read(&c, path, &err), 0);
	assert_true(c->process.terminal);
	assert_int_equal(c->mounts, 7);
	assert_int_equal(c->warnings.count, 0);
	oci_config_free(c);
	assert_true(oci_spec(3, plain, &err) < 0);
	assert_non_null(strstr(err.msg, "is there already"));
	unlink(path);
	assert_int_equal(oci_spec(4, rootless, &err), 0);
	assert_int_equal(oci_config_read(&c, path, &err), 0);
	assert_true(c->ns[OCI_NS_USER].present);
	assert_int_equal(c->uid_maps, 1);
	oci_config_free(c);
	unlink(path);
	rmdir(dir);
	assert_true(oci_spec(3, plain, &err) < 0);
	assert_true(oci_spec(2, wrong, &err) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(smallest),
		cmocka_unit_test(versions),
		cmocka_unit_test(broken_text),
		cmocka_unit_test(process),
		cmocka_unit_test(bad_process),
		cmocka_unit_test(mounts),
		cmocka_unit_test(bad_mounts),
		cmocka_unit_test(linux_section),
		cmocka_unit_test(warnings),
		cmocka_unit_test(bad_linux),
		cmocka_unit_test(devices),
		cmocka_unit_test(resources),
		cmocka_unit_test(hooks),
		cmocka_unit_test(machine),
		cmocka_unit_test(files),
		cmocka_unit_test(inherit),
		cmocka_unit_test(spec),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
