/* What is said to the guest: each call becomes one message in the queue. */
#include "agent/internal.h"

#include "util/macros.h"

#include <errno.h>
#include <string.h>

enum { ADDRESS_BYTES = 2 + 16, ROUTE_BYTES = ADDRESS_BYTES + 16 + 16 + 4 + 1 };

static size_t string_size(const char *s)
{
	return 4 + (s ? strlen(s) : 0) + 1;
}

static int say_empty(struct agent *agent, unsigned type)
{
	struct wire_writer w;
	int r = agent_begin_message(agent, type, 0, &w);

	if (r == 0)
		agent_end_message(agent, &w);
	return r;
}

int agent_setup_root(struct agent *agent, const struct agent_root *root)
{
	size_t len = 1 + 1 + 8 + string_size(root->source) + string_size(root->types) +
		     string_size(root->options);
	struct wire_writer w;
	int r = agent_begin_message(agent, AGENT_ROOT, len, &w);

	if (r < 0)
		return r;
	wire_put_number(&w, root->kind, 1);
	wire_put_number(&w, root->flags, 1);
	wire_put_u64(&w, root->overlay_bytes);
	wire_put_string(&w, root->source);
	wire_put_string(&w, root->types);
	wire_put_string(&w, root->options);
	agent_end_message(agent, &w);
	return 0;
}

int agent_setup_standard(struct agent *agent, unsigned flags)
{
	struct wire_writer w;
	int r = agent_begin_message(agent, AGENT_STANDARD, 4, &w);

	if (r < 0)
		return r;
	wire_put_u32(&w, flags);
	agent_end_message(agent, &w);
	return 0;
}

int agent_setup_mount(struct agent *agent, const struct agent_mount *mount)
{
	size_t len = 4 + string_size(mount->type) + string_size(mount->source) +
		     string_size(mount->file) + string_size(mount->target) +
		     string_size(mount->options);
	struct wire_writer w;
	int r = agent_begin_message(agent, AGENT_MOUNT, len, &w);

	if (r < 0)
		return r;
	wire_put_u32(&w, mount->flags);
	wire_put_string(&w, mount->type);
	wire_put_string(&w, mount->source);
	wire_put_string(&w, mount->file);
	wire_put_string(&w, mount->target);
	wire_put_string(&w, mount->options);
	agent_end_message(agent, &w);
	return 0;
}

int agent_setup_file(struct agent *agent, const char *path, unsigned mode, unsigned flags,
	const void *bytes, size_t len)
{
	struct wire_writer w;
	int r;

	if (len > AGENT_START_MAX)
		return -E2BIG;
	r = agent_begin_message(agent, AGENT_FILE, 4 + 4 + string_size(path) + 4 + len, &w);
	if (r < 0)
		return r;
	wire_put_u32(&w, mode);
	wire_put_u32(&w, flags);
	wire_put_string(&w, path);
	wire_put_blob(&w, bytes, len);
	agent_end_message(agent, &w);
	return 0;
}

int agent_setup_hostname(struct agent *agent, const char *name)
{
	struct wire_writer w;
	int r = agent_begin_message(agent, AGENT_HOSTNAME, string_size(name), &w);

	if (r < 0)
		return r;
	wire_put_string(&w, name);
	agent_end_message(agent, &w);
	return 0;
}

static void put_address(struct wire_writer *w, const struct agent_address *a)
{
	wire_put_number(w, a->family, 1);
	wire_put_number(w, a->prefix, 1);
	wire_put(w, a->bytes, sizeof(a->bytes));
}

int agent_setup_net(struct agent *agent, const struct agent_net *net)
{
	static const uint8_t no_mac[6];
	struct wire_writer w;
	int r;

	if (net->address_count > AGENT_ADDRESSES_MAX || net->route_count > AGENT_ADDRESSES_MAX)
		return -EINVAL;
	r = agent_begin_message(agent, AGENT_NET,
		6 + string_size(net->name) + 6 + 1 + 4 + 4 + net->address_count * ADDRESS_BYTES +
			4 + net->route_count * ROUTE_BYTES,
		&w);
	if (r < 0)
		return r;
	wire_put(&w, net->mac ? net->mac : no_mac, 6);
	wire_put_string(&w, net->name);
	wire_put(&w, net->new_mac ? net->new_mac : no_mac, 6);
	wire_put_number(
		&w, (net->remove ? AGENT_NET_REMOVE : 0) | (net->again ? AGENT_NET_AGAIN : 0), 1);
	wire_put_u32(&w, net->mtu);
	wire_put_u32(&w, (uint32_t)net->address_count);
	for (size_t i = 0; i < net->address_count; i++)
		put_address(&w, &net->addresses[i]);
	wire_put_u32(&w, (uint32_t)net->route_count);
	for (size_t i = 0; i < net->route_count; i++) {
		put_address(&w, &net->routes[i].to);
		wire_put(&w, net->routes[i].gateway, 16);
		wire_put(&w, net->routes[i].source, 16);
		wire_put_u32(&w, net->routes[i].metric);
		wire_put_number(&w, net->routes[i].on_link ? AGENT_ROUTE_ON_LINK : 0, 1);
	}
	agent_end_message(agent, &w);
	return 0;
}

int agent_setup_clock(struct agent *agent, const struct timespec *now)
{
	struct wire_writer w;
	int r = agent_begin_message(agent, AGENT_CLOCK, 8 + 4, &w);

	if (r < 0)
		return r;
	wire_put_u64(&w, (uint64_t)now->tv_sec);
	wire_put_u32(&w, (uint32_t)now->tv_nsec);
	agent_end_message(agent, &w);
	return 0;
}

int agent_setup_sysctl(struct agent *agent, const char *name, const char *value)
{
	struct wire_writer w;
	int r = agent_begin_message(
		agent, AGENT_SYSCTL, string_size(name) + string_size(value), &w);

	if (r < 0)
		return r;
	wire_put_string(&w, name);
	wire_put_string(&w, value);
	agent_end_message(agent, &w);
	return 0;
}

int agent_setup_pids(struct agent *agent, uint64_t limit)
{
	struct wire_writer w;
	int r = agent_begin_message(agent, AGENT_PIDS, 8, &w);

	if (r < 0)
		return r;
	wire_put_u64(&w, limit);
	agent_end_message(agent, &w);
	return 0;
}

int agent_setup_descriptor(struct agent *agent, const struct agent_descriptor *descriptor)
{
	struct wire_writer w;
	int r = agent_begin_message(agent, AGENT_DESCRIPTOR,
		4 + 4 + 8 + string_size(descriptor->source) + string_size(descriptor->file), &w);

	if (r < 0)
		return r;
	wire_put_u32(&w, descriptor->number);
	wire_put_u32(&w, descriptor->flags);
	wire_put_u64(&w, descriptor->offset);
	wire_put_string(&w, descriptor->source);
	wire_put_string(&w, descriptor->file);
	agent_end_message(agent, &w);
	return 0;
}

int agent_setup_pid_namespace(struct agent *agent)
{
	return say_empty(agent, AGENT_PID_NAMESPACE);
}

int agent_setup_group(struct agent *agent, const char *file, const char *value)
{
	struct wire_writer w;
	int r = agent_begin_message(agent, AGENT_GROUP, string_size(file) + string_size(value), &w);

	if (r < 0)
		return r;
	wire_put_string(&w, file);
	wire_put_string(&w, value);
	agent_end_message(agent, &w);
	return 0;
}

int agent_setup_devices(struct agent *agent, const void *program, size_t bytes)
{
	struct wire_writer w;
	int r = agent_begin_message(agent, AGENT_DEVICES, 4 + bytes, &w);

	if (r < 0)
		return r;
	wire_put_blob(&w, program, bytes);
	agent_end_message(agent, &w);
	return 0;
}

int agent_setup_node(struct agent *agent, const struct agent_node *node)
{
	struct wire_writer w;
	int r = agent_begin_message(agent, AGENT_NODE, 5 * 4 + string_size(node->path), &w);

	if (r < 0)
		return r;
	wire_put_u32(&w, node->mode);
	wire_put_u32(&w, node->major);
	wire_put_u32(&w, node->minor);
	wire_put_u32(&w, node->uid);
	wire_put_u32(&w, node->gid);
	wire_put_string(&w, node->path);
	agent_end_message(agent, &w);
	return 0;
}

int agent_setup_notify(struct agent *agent, const char *path)
{
	struct wire_writer w;
	int r = agent_begin_message(agent, AGENT_NOTIFY, string_size(path), &w);

	if (r < 0)
		return r;
	wire_put_string(&w, path);
	agent_end_message(agent, &w);
	agent->notify_sent = true;
	return 0;
}

int agent_setup_socket(struct agent *agent, const struct agent_socket *socket)
{
	struct wire_writer w;
	int r = agent_begin_message(agent, AGENT_SOCKET,
		4 * 4 + 4 + sizeof(socket->key) + string_size(socket->path), &w);

	if (r < 0)
		return r;
	wire_put_u32(&w, socket->port);
	wire_put_u32(&w, socket->mode);
	wire_put_u32(&w, socket->uid);
	wire_put_u32(&w, socket->gid);
	wire_put_blob(&w, socket->key, sizeof(socket->key));
	wire_put_string(&w, socket->path);
	agent_end_message(agent, &w);
	return 0;
}

int agent_setup_done(struct agent *agent)
{
	int r = say_empty(agent, AGENT_SETUP_DONE);

	if (r == 0)
		agent->setup_sent = true;
	return r;
}

static size_t count(const char *const *strings)
{
	size_t n = 0;

	while (strings && strings[n])
		n++;
	return n;
}

static size_t strings_size(const char *const *strings)
{
	size_t size = 4;

	for (; strings && *strings; strings++)
		size += string_size(*strings);
	return size;
}

static void put_strings(struct wire_writer *w, const char *const *strings)
{
	wire_put_u32(w, (uint32_t)count(strings));
	for (; strings && *strings; strings++)
		wire_put_string(w, *strings);
}

static void put_start(struct wire_writer *w, const struct agent_process *p)
{
	wire_put_u32(w, p->flags);
	wire_put_number(w, p->rows, 2);
	wire_put_number(w, p->columns, 2);
	wire_put_string(w, p->cwd);
	wire_put_string(w, p->user);
	wire_put_u32(w, p->uid);
	wire_put_u32(w, p->gid);
	wire_put_u32(w, (uint32_t)p->group_count);
	for (size_t i = 0; i < p->group_count; i++)
		wire_put_u32(w, p->groups[i]);
	wire_put_u32(w, p->umask);
	wire_put_u32(w, (uint32_t)p->oom_score_adj);
	wire_put_u64(w, p->caps.bounding);
	wire_put_u64(w, p->caps.effective);
	wire_put_u64(w, p->caps.inheritable);
	wire_put_u64(w, p->caps.permitted);
	wire_put_u64(w, p->caps.ambient);
	wire_put_u32(w, (uint32_t)p->rlimit_count);
	for (size_t i = 0; i < p->rlimit_count; i++) {
		wire_put_u32(w, p->rlimits[i].resource);
		wire_put_u64(w, p->rlimits[i].soft);
		wire_put_u64(w, p->rlimits[i].hard);
	}
	wire_put_blob(w, p->seccomp, p->seccomp_bytes);
	wire_put_u32(w, p->seccomp_flags);
	put_strings(w, p->argv);
	put_strings(w, p->env);
	wire_put_string(w, p->group);
}

int agent_start(struct agent *agent, const struct agent_process *p)
{
	size_t len = 4 + 2 + 2 + string_size(p->cwd) + string_size(p->user) + 4 + 4 + 4 +
		     p->group_count * 4 + 4 + 4 + 5 * 8 + 4 + p->rlimit_count * 20 + 4 +
		     p->seccomp_bytes + 4 + strings_size(p->argv) + strings_size(p->env) +
		     string_size(p->group);
	struct wire_writer w;
	int r;

	if (agent->start_sent || !count(p->argv) || count(p->argv) > AGENT_ARGS_MAX ||
		count(p->env) > AGENT_ARGS_MAX || p->group_count > AGENT_GROUPS_MAX ||
		p->rlimit_count > AGENT_RLIMITS_MAX || p->seccomp_bytes > AGENT_SECCOMP_MAX ||
		p->seccomp_bytes % 8)
		return -EINVAL;
	r = agent_begin_message(agent, AGENT_START, len, &w);
	if (r < 0)
		return r;
	put_start(&w, p);
	agent_end_message(agent, &w);
	agent->start_sent = true;
	agent->stdin_open = p->flags & AGENT_START_STDIN;
	agent->stdin_allowed = agent->stdin_open ? AGENT_STDIN_WINDOW : 0;
	return 0;
}

size_t agent_stdin_room(const struct agent *agent)
{
	return agent->stdin_open && !agent->over ? agent->stdin_allowed : 0;
}

int agent_stdin(struct agent *agent, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	if (agent->over)
		return -EPIPE;
	if (len > agent_stdin_room(agent))
		return -EAGAIN;
	while (len) {
		size_t part = MIN(len, (size_t)AGENT_DATA_MAX);
		struct wire_writer w;
		int r = agent_begin_message(agent, AGENT_STDIN, part, &w);

		if (r < 0)
			return r;
		wire_put(&w, at, part);
		agent_end_message(agent, &w);
		agent->stdin_allowed -= (uint32_t)part;
		at += part;
		len -= part;
	}
	return 0;
}

int agent_stdin_end(struct agent *agent)
{
	int r;

	if (!agent->stdin_open)
		return agent->over ? -EPIPE : 0;
	r = say_empty(agent, AGENT_STDIN);
	if (r == 0)
		agent->stdin_open = false;
	return r;
}

int agent_signal(struct agent *agent, int number, unsigned to)
{
	struct wire_writer w;
	int r;

	if (!agent->start_sent || number < 1 || number > 64)
		return agent->start_sent ? -EINVAL : 0;
	r = agent_begin_message(agent, AGENT_SIGNAL, 4 + 1, &w);
	if (r < 0)
		return r;
	wire_put_u32(&w, (uint32_t)number);
	wire_put_number(&w, to, 1);
	agent_end_message(agent, &w);
	return 0;
}

int agent_resize(struct agent *agent, uint16_t rows, uint16_t columns)
{
	struct wire_writer w;
	int r;

	if (!agent->start_sent)
		return 0;
	r = agent_begin_message(agent, AGENT_RESIZE, 4, &w);
	if (r < 0)
		return r;
	wire_put_number(&w, rows, 2);
	wire_put_number(&w, columns, 2);
	agent_end_message(agent, &w);
	return 0;
}
