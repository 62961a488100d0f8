/*
 * What the host's end writes, the guest's reads; and what is cut off, too long or has a wrong
 * field is refused. Uses the host's own writers (agent/said.c), so that both are held together.
 */
#include "agent/internal.h"
#include "guest/messages.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct agent_events no_events;
static struct agent *agent;
static struct wire_message m;

static int set_up(void **state)
{
	int fd = dup(0);

	if (fd < 0)
		fd = open("/dev/null", 0);
	assert_int_equal(agent_create(&agent, fd, &no_events, NULL, NULL), 0);
	agent->out_len = 0; /* HELLO */
	return 0;
}

static int tear_down(void **state)
{
	agent_destroy(agent);
	return 0;
}

/* The one message that was queued; it stays valid until the next. */
static void queued(unsigned type)
{
	assert_int_equal(
		wire_message(&m, agent->out + agent->out_at, agent->out_len), agent->out_len);
	assert_int_equal(m.type, type);
	assert_int_equal(m.stream, 0);
	agent->out_len = 0;
}

/* Every shorter payload is refused, and one with a byte more. */
#define refuses_other_sizes(call)                                   \
	do {                                                        \
		struct wire_message whole = m;                      \
		uint8_t *copy;                                      \
		for (uint32_t len_ = 0; len_ < whole.len; len_++) { \
			copy = malloc(len_);                        \
			if (len_)                                   \
				memcpy(copy, whole.payload, len_);  \
			m.payload = copy;                           \
			m.len = len_;                               \
			assert_false(call);                         \
			free(copy);                                 \
		}                                                   \
		copy = calloc(1, whole.len + 1);                    \
		memcpy(copy, whole.payload, whole.len);             \
		m.payload = copy;                                   \
		m.len = whole.len + 1;                              \
		assert_false(call);                                 \
		free(copy);                                         \
		m = whole;                                          \
	} while (0)

static void test_root(void **state)
{
	struct agent_root root = { .kind = AGENT_ROOT_BLOCK,
		.flags = AGENT_ROOT_OVERLAY,
		.overlay_bytes = 1ULL << 40,
		.source = "/dev/vda1",
		.types = "ext4,xfs" };
	struct message_root out;

	assert_int_equal(agent_setup_root(agent, &root), 0);
	queued(AGENT_ROOT);
	assert_true(message_root(&m, &out));
	assert_int_equal(out.kind, AGENT_ROOT_BLOCK);
	assert_int_equal(out.flags, AGENT_ROOT_OVERLAY);
	assert_int_equal(out.overlay_bytes, 1ULL << 40);
	assert_string_equal(out.source, "/dev/vda1");
	assert_string_equal(out.types, "ext4,xfs");
	assert_string_equal(out.options, "");
	refuses_other_sizes(message_root(&m, &out));
	root.kind = 3;
	agent_setup_root(agent, &root);
	queued(AGENT_ROOT);
	assert_false(message_root(&m, &out));
	root = (struct agent_root){ .kind = AGENT_ROOT_VIRTIOFS };
	agent_setup_root(agent, &root);
	queued(AGENT_ROOT);
	assert_false(message_root(&m, &out));
}

static void test_mount(void **state)
{
	struct agent_mount mount = { .type = "virtiofs",
		.source = "v0",
		.file = "f",
		.target = "/src",
		.options = "x",
		.flags = AGENT_MOUNT_READ_ONLY };
	struct message_mount out;

	assert_int_equal(agent_setup_mount(agent, &mount), 0);
	queued(AGENT_MOUNT);
	assert_true(message_mount(&m, &out));
	assert_string_equal(out.type, "virtiofs");
	assert_string_equal(out.source, "v0");
	assert_string_equal(out.file, "f");
	assert_string_equal(out.target, "/src");
	assert_string_equal(out.options, "x");
	assert_int_equal(out.flags, AGENT_MOUNT_READ_ONLY);
	refuses_other_sizes(message_mount(&m, &out));
	mount.target = "src";
	agent_setup_mount(agent, &mount);
	queued(AGENT_MOUNT);
	assert_false(message_mount(&m, &out));
}

static void test_file(void **state)
{
	struct message_file out;
	char *large = calloc(1, AGENT_START_MAX);

	assert_int_equal(
		agent_setup_file(agent, "/etc/hosts", 0644, AGENT_FILE_OVER, "a\0b", 3), 0);
	queued(AGENT_FILE);
	assert_true(message_file(&m, &out));
	assert_int_equal(out.mode, 0644);
	assert_int_equal(out.flags, AGENT_FILE_OVER);
	assert_string_equal(out.path, "/etc/hosts");
	assert_int_equal(out.content.len, 3);
	assert_memory_equal(out.content.data, "a\0b", 3);
	refuses_other_sizes(message_file(&m, &out));
	assert_int_equal(agent_setup_file(agent, "/x", 0644, 0, large, AGENT_START_MAX), -E2BIG);
	assert_int_equal(agent->out_len, 0);
	free(large);
}

static void test_net(void **state)
{
	static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };
	struct agent_address addresses[AGENT_ADDRESSES_MAX + 1] = {
		{ AGENT_IPV4, 24, { 10, 0, 2, 15 } }, { AGENT_IPV6, 64, { 0xfd } }
	};
	static const uint8_t new_mac[6] = { 0x52, 0x54, 0, 1, 2, 4 };
	struct agent_route route = { .to = { AGENT_IPV4, 0, { 0 } },
		.gateway = { 10, 0, 2, 2 },
		.source = { 10, 0, 2, 15 },
		.metric = 100,
		.on_link = true };
	struct agent_net net = { .mac = mac,
		.new_mac = new_mac,
		.mtu = 1400,
		.addresses = addresses,
		.address_count = 2,
		.routes = &route,
		.route_count = 1 };
	struct message_net out;

	assert_int_equal(agent_setup_net(agent, &net), 0);
	queued(AGENT_NET);
	assert_true(message_net(&m, &out));
	assert_true(out.by_mac);
	assert_memory_equal(out.mac, mac, 6);
	assert_int_equal(out.mtu, 1400);
	assert_int_equal(out.address_count, 2);
	assert_int_equal(out.addresses[0].prefix, 24);
	assert_int_equal(out.addresses[1].bytes[0], 0xfd);
	assert_int_equal(out.route_count, 1);
	assert_false(out.routes[0].direct);
	assert_false(out.routes[0].any_source);
	assert_int_equal(out.routes[0].source[3], 15);
	assert_int_equal(out.routes[0].metric, 100);
	assert_int_equal(out.routes[0].flags, AGENT_ROUTE_ON_LINK);
	assert_true(out.changes_mac);
	assert_memory_equal(out.new_mac, new_mac, 6);
	assert_int_equal(out.flags, 0);
	refuses_other_sizes(message_net(&m, &out));
	addresses[0].prefix = 33;
	agent_setup_net(agent, &net);
	queued(AGENT_NET);
	assert_false(message_net(&m, &out));
	net.address_count = AGENT_ADDRESSES_MAX + 1;
	assert_int_equal(agent_setup_net(agent, &net), -EINVAL);
	net = (struct agent_net){ .mac = mac, .remove = true };
	agent_setup_net(agent, &net);
	queued(AGENT_NET);
	assert_true(message_net(&m, &out));
	assert_int_equal(out.flags, AGENT_NET_REMOVE);
	assert_false(out.changes_mac);
	net = (struct agent_net){ 0 };
	agent_setup_net(agent, &net);
	queued(AGENT_NET);
	assert_false(message_net(&m, &out));
}

static void test_small_ones(void **state)
{
	struct timespec now = { 1700000000, 999999999 };
	const char *name, *value;
	struct message_descriptor descriptor;
	struct message_node node;
	struct message_socket at;
	uint64_t seconds;
	uint32_t n;

	agent_setup_clock(agent, &now);
	queued(AGENT_CLOCK);
	assert_true(message_clock(&m, &seconds, &n));
	assert_int_equal(seconds, 1700000000);
	assert_int_equal(n, 999999999);
	refuses_other_sizes(message_clock(&m, &seconds, &n));
	now.tv_nsec = 1000000000;
	agent_setup_clock(agent, &now);
	queued(AGENT_CLOCK);
	assert_false(message_clock(&m, &seconds, &n));
	agent_setup_hostname(agent, "box");
	queued(AGENT_HOSTNAME);
	assert_true(message_hostname(&m, &name));
	assert_string_equal(name, "box");
	refuses_other_sizes(message_hostname(&m, &name));
	agent_setup_sysctl(agent, "kernel.x", "1");
	queued(AGENT_SYSCTL);
	assert_true(message_sysctl(&m, &name, &value));
	assert_string_equal(value, "1");
	refuses_other_sizes(message_sysctl(&m, &name, &value));
	agent_setup_pids(agent, 1ULL << 40);
	queued(AGENT_PIDS);
	assert_true(message_u64(&m, &seconds));
	assert_int_equal(seconds, 1ULL << 40);
	refuses_other_sizes(message_u64(&m, &seconds));
	agent_setup_descriptor(agent,
		&(struct agent_descriptor){ .number = 4, .offset = 7, .source = "s", .file = "f" });
	queued(AGENT_DESCRIPTOR);
	assert_true(message_descriptor(&m, &descriptor));
	assert_int_equal(descriptor.number, 4);
	assert_int_equal(descriptor.offset, 7);
	assert_string_equal(descriptor.file, "f");
	refuses_other_sizes(message_descriptor(&m, &descriptor));
	agent_setup_group(agent, "memory.high", "max");
	queued(AGENT_GROUP);
	assert_true(message_sysctl(&m, &name, &value));
	assert_string_equal(value, "max");
	agent_setup_pid_namespace(agent);
	queued(AGENT_PID_NAMESPACE);
	assert_int_equal(m.len, 0);
	agent_setup_node(agent, &(struct agent_node){ "/dev/x", 0020640, 10, 666, 1, 2 });
	queued(AGENT_NODE);
	assert_true(message_node(&m, &node));
	assert_string_equal(node.path, "/dev/x");
	assert_int_equal(node.mode, MESSAGE_NODE_CHARACTER | 0640);
	assert_int_equal(node.minor, 666);
	assert_int_equal(node.gid, 2);
	refuses_other_sizes(message_node(&m, &node));
	agent_setup_node(agent, &(struct agent_node){ "/dev/x", 0100640, 10, 666, 1, 2 });
	queued(AGENT_NODE);
	assert_false(message_node(&m, &node)); /* a file */
	agent_setup_socket(agent, &(struct agent_socket){ "/run/x", 77, 0640, 1, 2, { [15] = 9 } });
	queued(AGENT_SOCKET);
	assert_true(message_socket(&m, &at));
	assert_string_equal(at.path, "/run/x");
	assert_int_equal(at.port, 77);
	assert_int_equal(at.mode, 0640);
	assert_int_equal(at.gid, 2);
	assert_int_equal(at.key[15], 9);
	refuses_other_sizes(message_socket(&m, &at));
	agent_setup_socket(agent, &(struct agent_socket){ "/run/x", 77, 0140640, 1, 2, { 0 } });
	queued(AGENT_SOCKET);
	assert_false(message_socket(&m, &at)); /* a mode with a type */
	agent_setup_socket(agent, &(struct agent_socket){ "run/x", 77, 0640, 1, 2, { 0 } });
	queued(AGENT_SOCKET);
	assert_false(message_socket(&m, &at));
	agent_setup_standard(agent, 7);
	queued(AGENT_STANDARD);
	assert_true(message_u32(&m, &n));
	assert_int_equal(n, 7);
}

static void test_start(void **state)
{
	static const char *const argv[] = { "make", "test", "", NULL };
	static const char *const env[] = { "A=b", NULL };
	static const uint32_t groups[] = { 5, 6 };
	static const struct agent_rlimit limit = { 7, 1024, UINT64_MAX };
	static const uint8_t filter[16] = { 1 };
	struct agent_process p = { .flags = AGENT_START_UMASK | AGENT_START_OOM,
		.argv = argv,
		.env = env,
		.cwd = "/src",
		.user = "bob",
		.uid = 1,
		.gid = 2,
		.groups = groups,
		.group_count = 2,
		.rows = 24,
		.columns = 80,
		.umask = 027,
		.oom_score_adj = -17,
		.caps = { 1, 2, 3, 4, 5 },
		.rlimits = &limit,
		.rlimit_count = 1,
		.seccomp = filter,
		.seccomp_bytes = 16,
		.seccomp_flags = 2 };
	struct message_start out;
	const char *vector[4];

	assert_int_equal(agent_start(agent, &p), 0);
	queued(AGENT_START);
	assert_true(message_start(&m, &out));
	assert_int_equal(out.rows, 24);
	assert_int_equal(out.columns, 80);
	assert_string_equal(out.cwd, "/src");
	assert_string_equal(out.user, "bob");
	assert_int_equal(out.groups.count, 2);
	assert_int_equal(message_list_u32(&out.groups, 1), 6);
	assert_int_equal(out.umask, 027);
	assert_int_equal(out.oom_score_adj, -17);
	assert_int_equal(out.bounding, 1);
	assert_int_equal(out.effective, 2);
	assert_int_equal(out.inheritable, 3);
	assert_int_equal(out.permitted, 4);
	assert_int_equal(out.ambient, 5);
	assert_int_equal(out.rlimit_count, 1);
	assert_int_equal(out.rlimits[0].hard, UINT64_MAX);
	assert_int_equal(out.seccomp.len, 16);
	assert_int_equal(out.argv.count, 3);
	message_vector(&out.argv, vector);
	assert_string_equal(vector[1], "test");
	assert_string_equal(vector[2], "");
	assert_null(vector[3]);
	refuses_other_sizes(message_start(&m, &out));
	assert_int_equal(agent_start(agent, &p), -EINVAL);
}

static void test_start_limits(void **state)
{
	static const char *const none[] = { NULL };
	char *huge = malloc(AGENT_START_MAX + 1);
	const char *argv[] = { "x", huge, NULL };
	struct agent_process p = { .argv = none };

	assert_int_equal(agent_start(agent, &p), -EINVAL);
	memset(huge, 'x', AGENT_START_MAX);
	huge[AGENT_START_MAX] = 0;
	p.argv = argv;
	assert_int_equal(agent_start(agent, &p), -E2BIG);
	huge[AGENT_START_MAX - 1000] = 0;
	assert_int_equal(agent_start(agent, &p), 0);
	assert_int_equal(agent_stdin_room(agent), 0);
	free(huge);
}

/* A NUL within a string, none at its end, a length beyond the payload. */
static void test_strings(void **state)
{
	static const struct {
		uint8_t bytes[12];
		size_t len;
		bool good;
	} cases[] = {
		{ { 2, 0, 0, 0, 'a', 'b', 0 }, 7, true },
		{ { 0, 0, 0, 0, 0 }, 5, true },
		{ { 2, 0, 0, 0, 'a', 0, 0 }, 7, false },
		{ { 2, 0, 0, 0, 'a', 'b', 'c' }, 7, false },
		{ { 3, 0, 0, 0, 'a', 'b', 0 }, 7, false },
		{ { 0xff, 0xff, 0xff, 0xff, 0 }, 5, false },
		{ { 0, 0, 0 }, 3, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct wire_reader r = wire_reader(cases[i].bytes, cases[i].len);

		assert_non_null(wire_string(&r));
		assert_int_equal(wire_done(&r), cases[i].good);
	}
}

static void test_headers(void **state)
{
	static const struct {
		uint8_t bytes[8];
		size_t size;
	} cases[] = {
		{ { 0, 0, 0, 0, AGENT_BYE, 0, 0, 0 }, 8 },
		{ { 0, 0, 1, 0, AGENT_STDIN, 0, 0, 0 }, 65544 },
		{ { 1, 0, 1, 0, AGENT_STDIN, 0, 0, 0 }, 0 },
		{ { 0, 0, 0x40, 0, AGENT_START, 0, 0, 0 }, AGENT_START_MAX + 8 },
		{ { 1, 0, 0x40, 0, AGENT_START, 0, 0, 0 }, 0 },
		{ { 0xff, 0xff, 0xff, 0xff, AGENT_START, 0, 0, 0 }, 0 },
		{ { 0, 0, 0, 0, AGENT_BYE, 0, 1, 0 }, 0 },
		{ { 1, 0, 0, 0, AGENT_OUTPUT, 0, 2, 0 }, 9 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(wire_message(&m, cases[i].bytes, 8), cases[i].size);
	assert_int_equal(wire_message(&m, cases[5].bytes, 7), AGENT_HEADER);
}

static void test_signal(void **state)
{
	static const char *const argv[] = { "x", NULL };
	struct agent_process p = { .argv = argv };
	uint32_t n;
	uint8_t to;
	uint16_t rows, columns;

	assert_int_equal(agent_signal(agent, 15, AGENT_SIGNAL_GROUP), 0);
	assert_int_equal(agent->out_len, 0); /* there is no process yet */
	agent_start(agent, &p);
	queued(AGENT_START);
	assert_int_equal(agent_signal(agent, 15, AGENT_SIGNAL_GROUP), 0);
	queued(AGENT_SIGNAL);
	assert_true(message_signal(&m, &n, &to));
	assert_int_equal(n, 15);
	assert_int_equal(to, AGENT_SIGNAL_GROUP);
	refuses_other_sizes(message_signal(&m, &n, &to));
	assert_int_equal(agent_signal(agent, 65, AGENT_SIGNAL_GROUP), -EINVAL);
	assert_int_equal(agent_signal(agent, 0, AGENT_SIGNAL_GROUP), -EINVAL);
	assert_int_equal(agent_resize(agent, 25, 80), 0);
	queued(AGENT_RESIZE);
	assert_true(message_resize(&m, &rows, &columns));
	assert_int_equal(rows, 25);
	assert_int_equal(columns, 80);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_root, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_mount, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_net, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_small_ones, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_start, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_start_limits, set_up, tear_down),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_headers),
		cmocka_unit_test_setup_teardown(test_signal, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
