/* Who USER[:GROUP] is, by the text of /etc/passwd and /etc/group: no system calls here. */
#pragma once

#include "guest/protocol.h"
#include "guest/text.h"

#include <stdint.h>

/* The text of a file; not NUL-terminated. Empty where there is no such file. */
struct users_file {
	const char *text;
	size_t len;
};

enum { USERS_HOME_MAX = 512 };

struct user {
	uint32_t uid, gid;
	bool named_group; /* :GROUP was given; then there are no additional ones */
	unsigned group_count;
	uint32_t groups[AGENT_GROUPS_MAX];
	char home[USERS_HOME_MAX]; /* "/" where passwd has none */
};

/*
 * Fill @user from @spec: NAME, UID, NAME:GROUP, UID:GID and so on. A name is looked for first, so
 * a user called "1000" is found. Numbers need not be in the files: then gid is 0. Returns false
 * with @why for a name that is not there, or a number over 2^32 - 2.
 */
bool users_resolve(struct user *user, const char *spec, const struct users_file *passwd,
	const struct users_file *group, struct text *why);

/* The home of @uid alone, as above. */
void users_find_home(struct user *user, uint32_t uid, const struct users_file *passwd);
