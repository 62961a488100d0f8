/*
 * What the guest program hears from a broken host: any bytes as a stream of messages. What a
 * parser accepts must lie in the message, to the last byte; and what it points at is walked over.
 */
#include "guest/messages.h"
#include "guest/users.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile size_t sink;

static void look_at(const char *s)
{
	sink += strlen(s);
}

static void need(bool holds)
{
	if (!holds)
		abort();
}

static void walk(const struct wire_list *list)
{
	const char **vector = calloc(list->count + 1, sizeof(*vector));

	message_vector(list, vector);
	for (uint32_t i = 0; i < list->count; i++)
		look_at(vector[i]);
	need(!vector[list->count]);
	free(vector);
}

static void look_at_start(const struct message_start *start)
{
	need(start->argv.count && start->argv.count <= AGENT_ARGS_MAX);
	need(start->groups.count <= AGENT_GROUPS_MAX && start->rlimit_count <= AGENT_RLIMITS_MAX);
	need(start->seccomp.len <= AGENT_SECCOMP_MAX && !(start->seccomp.len % 8));
	look_at(start->cwd);
	look_at(start->user);
	for (uint32_t i = 0; i < start->groups.count; i++)
		sink += message_list_u32(&start->groups, i);
	for (uint32_t i = 0; i < start->seccomp.len; i++)
		sink += start->seccomp.data[i];
	walk(&start->argv);
	walk(&start->env);
}

static void look_at_net(const struct message_net *net)
{
	look_at(net->name);
	need(net->address_count <= AGENT_ADDRESSES_MAX && net->route_count <= AGENT_ADDRESSES_MAX);
	for (unsigned i = 0; i < net->address_count; i++)
		need(net->addresses[i].prefix <=
			(net->addresses[i].family == AGENT_IPV4 ? 32 : 128));
}

/* The resolver takes what the guest's own files say, which anybody may have written. */
static void resolve(const struct message_file *file)
{
	struct users_file text = { (const char *)file->content.data, file->content.len };
	static struct user user;
	struct text why = { 0 };

	if (users_resolve(&user, file->path + 1, &text, &text, &why))
		need(user.uid != UINT32_MAX && user.gid != UINT32_MAX &&
			user.group_count <= AGENT_GROUPS_MAX);
	else
		need(why.len);
	look_at(user.home);
	users_find_home(&user, file->mode, &text);
	look_at(user.home);
}

static void on_setup(const struct wire_message *m)
{
	struct message_root root;
	struct message_mount mount;
	struct message_file file;
	struct message_net net;
	struct message_socket socket;
	const char *name, *value;

	if (m->type == AGENT_ROOT && message_root(m, &root)) {
		look_at(root.source);
		look_at(root.types);
		look_at(root.options);
	} else if (m->type == AGENT_MOUNT && message_mount(m, &mount)) {
		look_at(mount.type);
		look_at(mount.source);
		look_at(mount.file);
		look_at(mount.target);
		look_at(mount.options);
	} else if (m->type == AGENT_FILE && message_file(m, &file)) {
		resolve(&file);
	} else if (m->type == AGENT_HOSTNAME && message_hostname(m, &name)) {
		look_at(name);
	} else if (m->type == AGENT_NET && message_net(m, &net)) {
		look_at_net(&net);
	} else if (m->type == AGENT_SYSCTL && message_sysctl(m, &name, &value)) {
		look_at(name);
		look_at(value);
	} else if (m->type == AGENT_NOTIFY && message_notify(m, &name)) {
		need(*name == '/');
		look_at(name);
	} else if (m->type == AGENT_SOCKET && message_socket(m, &socket)) {
		need(*socket.path == '/' && !(socket.mode & ~07777U));
		look_at(socket.path);
	}
}

static void on_message(const struct wire_message *m)
{
	struct message_start start;
	uint64_t seconds;
	uint32_t n;
	uint16_t rows, columns;
	uint8_t to;

	on_setup(m);
	if (m->type == AGENT_START && message_start(m, &start))
		look_at_start(&start);
	else if (m->type == AGENT_HELLO || m->type == AGENT_STANDARD)
		message_u32(m, &n);
	else if (m->type == AGENT_CLOCK && message_clock(m, &seconds, &n))
		need(n < 1000000000);
	else if (m->type == AGENT_SIGNAL && message_signal(m, &n, &to))
		need(n >= 1 && n <= 64 && to <= AGENT_SIGNAL_EVERYBODY);
	else if (m->type == AGENT_RESIZE)
		message_resize(m, &rows, &columns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_message m;
	size_t at = 0, len;

	while (at < size) {
		len = wire_message(&m, data + at, size - at);
		if (!len || len > size - at)
			break;
		/* Of its own size, so that a step over its end is seen. */
		m.payload = malloc(m.len);
		if (m.len)
			memcpy((void *)m.payload, data + at + AGENT_HEADER, m.len);
		on_message(&m);
		free((void *)m.payload);
		at += len;
	}
	return 0;
}
