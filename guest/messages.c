#include "guest/messages.h"

static struct wire_reader reader(const struct wire_message *m)
{
	return wire_reader(m->payload, m->len);
}

bool message_u32(const struct wire_message *m, uint32_t *n)
{
	struct wire_reader r = reader(m);

	*n = wire_u32(&r);
	return wire_done(&r);
}

bool message_u64(const struct wire_message *m, uint64_t *n)
{
	struct wire_reader r = reader(m);

	*n = wire_u64(&r);
	return wire_done(&r);
}

bool message_hello(const struct wire_message *m, uint32_t *version)
{
	return message_u32(m, version);
}

bool message_root(const struct wire_message *m, struct message_root *root)
{
	struct wire_reader r = reader(m);

	root->kind = wire_u8(&r);
	root->flags = wire_u8(&r);
	root->overlay_bytes = wire_u64(&r);
	root->source = wire_string(&r);
	root->types = wire_string(&r);
	root->options = wire_string(&r);
	return wire_done(&r) && *root->source &&
	       (root->kind == AGENT_ROOT_VIRTIOFS || root->kind == AGENT_ROOT_BLOCK);
}

bool message_mount(const struct wire_message *m, struct message_mount *mount)
{
	struct wire_reader r = reader(m);

	mount->flags = wire_u32(&r);
	mount->type = wire_string(&r);
	mount->source = wire_string(&r);
	mount->file = wire_string(&r);
	mount->target = wire_string(&r);
	mount->options = wire_string(&r);
	return wire_done(&r) && *mount->type && *mount->target == '/';
}

bool message_descriptor(const struct wire_message *m, struct message_descriptor *descriptor)
{
	struct wire_reader r = reader(m);

	descriptor->number = wire_u32(&r);
	descriptor->flags = wire_u32(&r);
	descriptor->offset = wire_u64(&r);
	descriptor->source = wire_string(&r);
	descriptor->file = wire_string(&r);
	return wire_done(&r) && *descriptor->file && descriptor->number >= 3 &&
	       descriptor->number < 3 + AGENT_DESCRIPTORS_MAX;
}

bool message_blob(const struct wire_message *m, struct wire_bytes *blob)
{
	struct wire_reader r = reader(m);

	*blob = wire_blob(&r);
	return wire_done(&r);
}

bool message_node(const struct wire_message *m, struct message_node *node)
{
	struct wire_reader r = reader(m);
	uint32_t type;

	node->mode = wire_u32(&r);
	node->major = wire_u32(&r);
	node->minor = wire_u32(&r);
	node->uid = wire_u32(&r);
	node->gid = wire_u32(&r);
	node->path = wire_string(&r);
	type = node->mode & ~07777U;
	return wire_done(&r) && *node->path == '/' && node->major < 1U << 12 &&
	       node->minor < 1U << 20 &&
	       (type == MESSAGE_NODE_BLOCK || type == MESSAGE_NODE_CHARACTER ||
		       type == MESSAGE_NODE_FIFO);
}

bool message_file(const struct wire_message *m, struct message_file *file)
{
	struct wire_reader r = reader(m);

	file->mode = wire_u32(&r);
	file->flags = wire_u32(&r);
	file->path = wire_string(&r);
	file->content = wire_blob(&r);
	return wire_done(&r) && *file->path == '/' && !(file->mode & ~07777U);
}

bool message_hostname(const struct wire_message *m, const char **name)
{
	struct wire_reader r = reader(m);

	*name = wire_string(&r);
	return wire_done(&r) && **name;
}

bool message_notify(const struct wire_message *m, const char **path)
{
	struct wire_reader r = reader(m);

	*path = wire_string(&r);
	return wire_done(&r) && **path == '/';
}

bool message_socket(const struct wire_message *m, struct message_socket *socket)
{
	struct wire_reader r = reader(m);
	struct wire_bytes key;

	socket->port = wire_u32(&r);
	socket->mode = wire_u32(&r);
	socket->uid = wire_u32(&r);
	socket->gid = wire_u32(&r);
	key = wire_blob(&r);
	socket->path = wire_string(&r);
	if (!wire_done(&r) || *socket->path != '/' || socket->mode & ~07777U ||
		key.len != AGENT_KEY)
		return false;
	memcpy(socket->key, key.data, AGENT_KEY);
	return true;
}

static bool all_zero(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i])
			return false;
	return true;
}

static void copy_bytes(struct wire_reader *r, uint8_t *to, size_t len)
{
	const uint8_t *from = wire_take(r, len);

	if (from)
		memcpy(to, from, len);
}

static void take_address(struct wire_reader *r, struct message_address *a)
{
	a->family = wire_u8(r);
	a->prefix = wire_u8(r);
	copy_bytes(r, a->bytes, sizeof(a->bytes));
	if ((a->family != AGENT_IPV4 && a->family != AGENT_IPV6) ||
		a->prefix > (a->family == AGENT_IPV4 ? 32 : 128))
		r->bad = true;
}

bool message_net(const struct wire_message *m, struct message_net *net)
{
	struct wire_reader r = reader(m);
	uint32_t count;

	*net = (struct message_net){ 0 };
	copy_bytes(&r, net->mac, sizeof(net->mac));
	net->by_mac = !all_zero(net->mac, sizeof(net->mac));
	net->name = wire_string(&r);
	copy_bytes(&r, net->new_mac, sizeof(net->new_mac));
	net->changes_mac = !all_zero(net->new_mac, sizeof(net->new_mac));
	net->flags = wire_u8(&r);
	net->mtu = wire_u32(&r);
	count = wire_u32(&r);
	for (; count && !r.bad && net->address_count < AGENT_ADDRESSES_MAX; count--)
		take_address(&r, &net->addresses[net->address_count++]);
	if (count)
		return false;
	count = wire_u32(&r);
	for (; count && !r.bad && net->route_count < AGENT_ADDRESSES_MAX; count--) {
		struct message_route *route = &net->routes[net->route_count++];

		take_address(&r, &route->to);
		copy_bytes(&r, route->gateway, sizeof(route->gateway));
		route->direct = all_zero(route->gateway, sizeof(route->gateway));
		copy_bytes(&r, route->source, sizeof(route->source));
		route->any_source = all_zero(route->source, sizeof(route->source));
		route->metric = wire_u32(&r);
		route->flags = wire_u8(&r);
	}
	return !count && wire_done(&r) && (net->by_mac || *net->name);
}

bool message_clock(const struct wire_message *m, uint64_t *seconds, uint32_t *nanoseconds)
{
	struct wire_reader r = reader(m);

	*seconds = wire_u64(&r);
	*nanoseconds = wire_u32(&r);
	return wire_done(&r) && *seconds <= INT64_MAX && *nanoseconds < 1000000000;
}

bool message_sysctl(const struct wire_message *m, const char **name, const char **value)
{
	struct wire_reader r = reader(m);

	*name = wire_string(&r);
	*value = wire_string(&r);
	return wire_done(&r) && **name;
}

static bool take_rlimits(struct wire_reader *r, struct message_start *start)
{
	uint32_t count = wire_u32(r);

	start->rlimit_count = 0;
	if (r->bad || count > AGENT_RLIMITS_MAX)
		return false;
	while (start->rlimit_count < count) {
		struct message_rlimit *limit = &start->rlimits[start->rlimit_count++];

		limit->resource = wire_u32(r);
		limit->soft = wire_u64(r);
		limit->hard = wire_u64(r);
	}
	return !r->bad;
}

bool message_start(const struct wire_message *m, struct message_start *start)
{
	struct wire_reader r = reader(m);

	start->flags = wire_u32(&r);
	start->rows = wire_u16(&r);
	start->columns = wire_u16(&r);
	start->cwd = wire_string(&r);
	start->user = wire_string(&r);
	start->uid = wire_u32(&r);
	start->gid = wire_u32(&r);
	start->groups = wire_entries(&r, AGENT_GROUPS_MAX, 4);
	start->umask = wire_u32(&r);
	start->oom_score_adj = (int32_t)wire_u32(&r);
	start->bounding = wire_u64(&r);
	start->effective = wire_u64(&r);
	start->inheritable = wire_u64(&r);
	start->permitted = wire_u64(&r);
	start->ambient = wire_u64(&r);
	if (!take_rlimits(&r, start))
		return false;
	start->seccomp = wire_blob(&r);
	start->seccomp_flags = wire_u32(&r);
	start->argv = wire_strings(&r, AGENT_ARGS_MAX);
	start->env = wire_strings(&r, AGENT_ARGS_MAX);
	start->group = wire_string(&r);
	return wire_done(&r) && start->argv.count && start->seccomp.len <= AGENT_SECCOMP_MAX &&
	       start->seccomp.len % 8 == 0 && !(start->umask & ~0777U);
}

bool message_signal(const struct wire_message *m, uint32_t *number, uint8_t *to)
{
	struct wire_reader r = reader(m);

	*number = wire_u32(&r);
	*to = wire_u8(&r);
	return wire_done(&r) && *number && *number <= 64 && *to <= AGENT_SIGNAL_EVERYBODY;
}

bool message_resize(const struct wire_message *m, uint16_t *rows, uint16_t *columns)
{
	struct wire_reader r = reader(m);

	*rows = wire_u16(&r);
	*columns = wire_u16(&r);
	return wire_done(&r);
}

void message_vector(const struct wire_list *list, const char **vector)
{
	struct wire_reader r = wire_reader(list->at, AGENT_START_MAX);
	uint32_t i;

	for (i = 0; i < list->count; i++)
		vector[i] = wire_string(&r);
	vector[i] = NULL;
}

uint32_t message_list_u32(const struct wire_list *list, uint32_t i)
{
	struct wire_reader r = wire_reader(list->at + (size_t)i * 4, 4);

	return wire_u32(&r);
}
