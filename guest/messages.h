/*
 * What the host may say, taken apart and checked: pure functions over the bytes of a payload.
 * Strings and lists point into the payload. Each returns false for what is not such a message.
 */
#pragma once

#include "guest/wire.h"

struct message_root {
	uint8_t kind, flags;
	uint64_t overlay_bytes;
	const char *source, *types, *options;
};

struct message_mount {
	uint32_t flags;
	const char *type, *source, *file, *target, *options;
};

struct message_descriptor {
	uint32_t number, flags; /* checked: number is one of AGENT_DESCRIPTORS_MAX from 3 on */
	uint64_t offset;
	const char *source, *file;
};

/* The types in mode; <sys/stat.h> has them for the host only. */
enum {
	MESSAGE_NODE_FIFO = 0010000,
	MESSAGE_NODE_CHARACTER = 0020000,
	MESSAGE_NODE_BLOCK = 0060000,
};

struct message_node {
	uint32_t mode, major, minor, uid, gid;
	const char *path;
};

struct message_socket {
	uint32_t port, mode, uid, gid;
	uint8_t key[AGENT_KEY];
	const char *path;
};

struct message_file {
	uint32_t mode, flags;
	const char *path;
	struct wire_bytes content;
};

struct message_address {
	uint8_t family, prefix; /* checked: prefix is at most the family's */
	uint8_t bytes[16];
};

struct message_route {
	struct message_address to;
	uint8_t gateway[16], source[16];
	uint32_t metric;
	uint8_t flags;
	bool direct;	 /* no gateway */
	bool any_source; /* source is not said */
};

struct message_net {
	uint8_t mac[6], new_mac[6];
	bool by_mac, changes_mac;
	uint8_t flags;
	const char *name;
	uint32_t mtu;
	unsigned address_count, route_count;
	struct message_address addresses[AGENT_ADDRESSES_MAX];
	struct message_route routes[AGENT_ADDRESSES_MAX];
};

struct message_rlimit {
	uint32_t resource;
	uint64_t soft, hard;
};

struct message_start {
	uint32_t flags;
	uint16_t rows, columns;
	const char *cwd, *user;
	uint32_t uid, gid;
	struct wire_list groups; /* u32 each */
	uint32_t umask;
	int32_t oom_score_adj;
	uint64_t bounding, effective, inheritable, permitted, ambient;
	unsigned rlimit_count;
	struct message_rlimit rlimits[AGENT_RLIMITS_MAX];
	struct wire_bytes seccomp; /* whole instructions */
	uint32_t seccomp_flags;
	struct wire_list argv, env; /* strings; argv has one at least */
	const char *group;
};

bool message_hello(const struct wire_message *m, uint32_t *version);
bool message_root(const struct wire_message *m, struct message_root *root);
bool message_u32(const struct wire_message *m, uint32_t *n); /* STANDARD */
bool message_u64(const struct wire_message *m, uint64_t *n); /* PIDS */
bool message_mount(const struct wire_message *m, struct message_mount *mount);
bool message_descriptor(const struct wire_message *m, struct message_descriptor *descriptor);
bool message_blob(const struct wire_message *m, struct wire_bytes *blob); /* DEVICES */
bool message_node(const struct wire_message *m, struct message_node *node);
bool message_file(const struct wire_message *m, struct message_file *file);
bool message_hostname(const struct wire_message *m, const char **name);
bool message_net(const struct wire_message *m, struct message_net *net);
bool message_clock(const struct wire_message *m, uint64_t *seconds, uint32_t *nanoseconds);
bool message_notify(const struct wire_message *m, const char **path);
bool message_socket(const struct wire_message *m, struct message_socket *socket);
bool message_sysctl(const struct wire_message *m, const char **name, const char **value);
bool message_start(const struct wire_message *m, struct message_start *start);
bool message_signal(const struct wire_message *m, uint32_t *number, uint8_t *to);
bool message_resize(const struct wire_message *m, uint16_t *rows, uint16_t *columns);

/* A checked list of strings as a vector; @vector has room for list->count + 1. */
void message_vector(const struct wire_list *list, const char **vector);
/* Entry @i of a list of u32. */
uint32_t message_list_u32(const struct wire_list *list, uint32_t i);
