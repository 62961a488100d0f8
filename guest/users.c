#include "guest/users.h"

#include <string.h>

enum { FIELDS_MAX = 7, ID_MAX_DIGITS = 10 };

/* Part of a text, not NUL-terminated. */
struct piece {
	const char *at;
	size_t len;
};

struct row {
	struct piece field[FIELDS_MAX]; /* those that are not there are empty */
};

enum { PASSWD_NAME = 0, PASSWD_UID = 2, PASSWD_GID = 3, PASSWD_HOME = 5 };
enum { GROUP_NAME = 0, GROUP_GID = 2, GROUP_MEMBERS = 3 };

static bool same(struct piece a, struct piece b)
{
	return a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
}

/* The next row of @file from *@at on. Empty lines and comments are passed over. */
static bool next_row(const struct users_file *file, size_t *at, struct row *row)
{
	while (*at < file->len) {
		const char *start = file->text + *at, *p = start, *end = file->text + file->len;
		unsigned n = 0;

		*row = (struct row){ 0 };
		row->field[0].at = p;
		for (; p < end && *p != '\n'; p++) {
			if (*p == ':' && n < FIELDS_MAX - 1)
				row->field[++n].at = p + 1;
			else
				row->field[n].len++;
		}
		*at = (size_t)(p - file->text) + 1;
		if (p > start && *start != '#')
			return true;
	}
	return false;
}

/* All of @piece as a uid or gid; 2^32 - 1 means "none" to the kernel and is none. */
static bool number(struct piece piece, uint32_t *n)
{
	uint64_t value = 0;

	if (!piece.len || piece.len > ID_MAX_DIGITS)
		return false;
	for (size_t i = 0; i < piece.len; i++) {
		if (piece.at[i] < '0' || piece.at[i] > '9')
			return false;
		value = value * 10 + (uint64_t)(piece.at[i] - '0');
	}
	*n = (uint32_t)value;
	return value < UINT32_MAX;
}

static void set_home(struct user *user, struct piece home)
{
	if (!home.len || home.len >= sizeof(user->home))
		home = (struct piece){ "/", 1 };
	memcpy(user->home, home.at, home.len);
	user->home[home.len] = 0;
}

/*
 * The row whose @name field is @wanted, else the one whose @id field is that number. A row without
 * a proper id does not count.
 */
static bool find(const struct users_file *file, struct piece wanted, unsigned name, unsigned id,
	struct row *found)
{
	uint32_t wanted_id, this_id;
	size_t at = 0;

	while (next_row(file, &at, found))
		if (same(found->field[name], wanted) && number(found->field[id], &this_id))
			return true;
	if (!number(wanted, &wanted_id))
		return false;
	for (at = 0; next_row(file, &at, found);)
		if (number(found->field[id], &this_id) && this_id == wanted_id)
			return true;
	return false;
}

static bool refuse(struct text *why, const char *what, struct piece name, const char *file)
{
	char copy[128];
	size_t len = name.len < sizeof(copy) ? name.len : sizeof(copy) - 1;

	memcpy(copy, name.at, len);
	copy[len] = 0;
	text_add(why, "no ");
	text_add(why, what);
	text_add(why, " '");
	text_add(why, copy);
	text_add(why, "' in the guest's ");
	text_add(why, file);
	return false;
}

static bool is_member(struct piece members, struct piece name)
{
	const char *end = members.at + members.len, *p = members.at;

	while (p < end) {
		struct piece one = { .at = p };

		for (; p < end && *p != ','; p++)
			one.len++;
		p++;
		if (one.len && same(one, name))
			return true;
	}
	return false;
}

static void add_group(struct user *user, uint32_t gid)
{
	for (unsigned i = 0; i < user->group_count; i++)
		if (user->groups[i] == gid)
			return;
	if (user->group_count < AGENT_GROUPS_MAX)
		user->groups[user->group_count++] = gid;
}

static void add_memberships(struct user *user, struct piece name, const struct users_file *group)
{
	struct row row;
	uint32_t gid;
	size_t at = 0;

	while (next_row(group, &at, &row))
		if (is_member(row.field[GROUP_MEMBERS], name) && number(row.field[GROUP_GID], &gid))
			add_group(user, gid);
}

static bool resolve_group(
	struct user *user, struct piece wanted, const struct users_file *group, struct text *why)
{
	struct row row;

	user->named_group = true;
	if (find(group, wanted, GROUP_NAME, GROUP_GID, &row))
		return number(row.field[GROUP_GID], &user->gid);
	if (number(wanted, &user->gid))
		return true;
	return refuse(why, "group", wanted, "/etc/group");
}

bool users_resolve(struct user *user, const char *spec, const struct users_file *passwd,
	const struct users_file *group, struct text *why)
{
	struct piece name = { .at = spec }, group_name = { 0 };
	struct row row;

	user->uid = user->gid = user->group_count = 0;
	user->named_group = false;
	set_home(user, (struct piece){ 0 });
	while (spec[name.len] && spec[name.len] != ':')
		name.len++;
	if (spec[name.len])
		group_name = (struct piece){ spec + name.len + 1, strlen(spec + name.len + 1) };
	if (!name.len)
		name = (struct piece){ "0", 1 };
	if (find(passwd, name, PASSWD_NAME, PASSWD_UID, &row)) {
		number(row.field[PASSWD_UID], &user->uid);
		if (!number(row.field[PASSWD_GID], &user->gid))
			user->gid = 0;
		set_home(user, row.field[PASSWD_HOME]);
		if (!group_name.len)
			add_memberships(user, row.field[PASSWD_NAME], group);
	} else if (!number(name, &user->uid)) {
		return refuse(why, "user", name, "/etc/passwd");
	}
	return !group_name.len || resolve_group(user, group_name, group, why);
}

void users_find_home(struct user *user, uint32_t uid, const struct users_file *passwd)
{
	struct row row;
	uint32_t this_uid;
	size_t at = 0;

	set_home(user, (struct piece){ 0 });
	while (next_row(passwd, &at, &row))
		if (number(row.field[PASSWD_UID], &this_uid) && this_uid == uid) {
			set_home(user, row.field[PASSWD_HOME]);
			return;
		}
}
