#include "guest/setup.h"

#include "guest/limits.h"
#include "guest/report.h"
#include "guest/sys.h"

static long set_hostname(const char *name, struct text *why)
{
	text_add(why, "cannot set the host name ");
	text_add(why, name);
	return sys_call(__NR_sethostname, SYS_PTR(name), (long)strlen(name), 0, 0, 0);
}

static long set_clock(uint64_t seconds, uint32_t nanoseconds, struct text *why)
{
	struct __kernel_timespec now = { .tv_sec = (long long)seconds, .tv_nsec = nanoseconds };

	text_add(why, "cannot set the clock");
	return sys_call(__NR_clock_settime, 0 /* CLOCK_REALTIME */, SYS_PTR(&now), 0, 0, 0);
}

/* net.ipv4.ip_forward, or net/ipv4/ip_forward where a name has dots in it. */
static long set_sysctl(const char *name, const char *value, struct text *why)
{
	struct text path = { 0 };
	bool slashes = false;
	long fd, err;

	text_add(why, "cannot set the sysctl ");
	text_add(why, name);
	text_add(&path, "/proc/sys/");
	for (const char *p = name; *p; p++)
		slashes |= *p == '/';
	for (; *name; name++)
		text_add(&path, (char[2]){ *name == '.' && !slashes ? '/' : *name, 0 });
	fd = sys_open(path.buf, O_WRONLY);
	if (fd < 0)
		return fd;
	err = sys_write((int)fd, value, strlen(value));
	sys_close((int)fd);
	return err < 0 ? err : 0;
}

/* 1: not a message of the setup, or a malformed one. */
static long carry_out(struct setup *setup, const struct wire_message *m, struct text *why)
{
	union {
		struct message_root root;
		struct message_mount mount;
		struct message_file file;
		struct message_descriptor descriptor;
		struct message_net net;
		struct message_node node;
		struct message_socket socket;
	} u;
	const char *name, *value;
	struct wire_bytes blob;
	uint64_t seconds;
	uint32_t n;

	switch (m->type) {
	case AGENT_ROOT:
		return message_root(m, &u.root) ? mounts_root(setup, &u.root, why) : 1;
	case AGENT_STANDARD:
		return message_u32(m, &n) ? mounts_standard(setup, n, why) : 1;
	case AGENT_MOUNT:
		return message_mount(m, &u.mount) ? mounts_add(setup, &u.mount, why) : 1;
	case AGENT_FILE:
		return message_file(m, &u.file) ? mounts_file(setup, &u.file, why) : 1;
	case AGENT_HOSTNAME:
		return message_hostname(m, &name) ? set_hostname(name, why) : 1;
	case AGENT_NET:
		return message_net(m, &u.net) ? network_configure(&u.net, why) : 1;
	case AGENT_CLOCK:
		return message_clock(m, &seconds, &n) ? set_clock(seconds, n, why) : 1;
	case AGENT_SYSCTL:
		return message_sysctl(m, &name, &value) ? set_sysctl(name, value, why) : 1;
	case AGENT_PIDS:
		return message_u64(m, &seconds) ? limits_pids(seconds, setup->group, why) : 1;
	case AGENT_DESCRIPTOR:
		return message_descriptor(m, &u.descriptor) ? mounts_open(setup, &u.descriptor, why)
							    : 1;
	case AGENT_PID_NAMESPACE:
		return m->len ? 1 : waiting_begin(setup->waiting, *setup->group, why);
	case AGENT_GROUP:
		if (!message_sysctl(m, &name, &value))
			return 1;
		limits_group(name, value);
		return 0;
	case AGENT_DEVICES:
		return message_blob(m, &blob) ? limits_devices(&blob, why) : 1;
	case AGENT_NODE:
		return message_node(m, &u.node) ? mounts_node(setup, &u.node, why) : 1;
	case AGENT_NOTIFY:
		return message_notify(m, &name) ? notify_open(setup, name, why) : 1;
	case AGENT_SOCKET:
		return message_socket(m, &u.socket) ? sockets_open(setup, &u.socket, why) : 1;
	case AGENT_SETUP_DONE:
		return mounts_done(setup, why);
	default:
		return 1;
	}
}

static bool needs_root(unsigned type)
{
	return type == AGENT_STANDARD || type == AGENT_MOUNT || type == AGENT_FILE ||
	       type == AGENT_DESCRIPTOR || type == AGENT_PID_NAMESPACE || type == AGENT_NODE ||
	       type == AGENT_NOTIFY || type == AGENT_SOCKET || type == AGENT_SETUP_DONE;
}

bool setup_message(void *ctx, const struct wire_message *m, struct text *why, long *err)
{
	struct setup *setup = ctx;
	long result = 1;

	if ((m->type == AGENT_ROOT) == (setup->initramfs < 0) ||
		(!needs_root(m->type) && m->type != AGENT_ROOT))
		result = carry_out(setup, m, why);
	if (result == 0)
		return true;
	if (result > 0) {
		*err = 0;
		why->len = 0;
		text_add(
			why, "a malformed message, or one that cannot be now, in the setup: type ");
		text_add_number(why, m->type);
		return false;
	}
	*err = result;
	report_add_error(why, result);
	return false;
}
