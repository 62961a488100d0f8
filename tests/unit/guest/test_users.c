/* USER[:GROUP] by the text of /etc/passwd and /etc/group. */
#include "guest/users.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char passwd_text[] = "root:x:0:0:root:/root:/bin/bash\n"
				  "# comment:x:5:5::/:/bin/sh\n"
				  "\n"
				  "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
				  "bob:x:1000:100:Bob,,,:/home/bob:/bin/sh\n"
				  "1000:x:77:78::/home/number:/bin/sh\n"
				  "broken:x:abc:1::/x:/bin/sh\n"
				  "toolarge:x:4294967296:1::/x:/bin/sh\n"
				  "none:x:4294967295:1::/x:/bin/sh\n"
				  "short:x:12\n"
				  "last:x:13:14::/home/last:/bin/sh";
static const char group_text[] = "root:x:0:\n"
				 "users:x:100:\n"
				 "sudo:x:27:alice,bob\n"
				 "audio:x:29:bobby,bob,alice\n"
				 "audio2:x:29:bob\n"
				 "bad:x:y:bob\n"
				 "bo:x:31:bo\n"
				 "tail:x:32:carol,bob";

static struct user user;
static struct text why;

static bool resolve(const char *spec)
{
	struct users_file passwd = { passwd_text, sizeof(passwd_text) - 1 };
	struct users_file group = { group_text, sizeof(group_text) - 1 };

	why = (struct text){ 0 };
	memset(&user, 0xee, sizeof(user));
	return users_resolve(&user, spec, &passwd, &group, &why);
}

static void expect(const char *spec, uint32_t uid, uint32_t gid, const char *home)
{
	assert_true(resolve(spec));
	assert_int_equal(user.uid, uid);
	assert_int_equal(user.gid, gid);
	assert_string_equal(user.home, home);
}

static void test_names(void **state)
{
	expect("root", 0, 0, "/root");
	expect("daemon", 1, 1, "/usr/sbin");
	expect("bob", 1000, 100, "/home/bob");
	expect("short", 12, 0, "/");
	expect("last", 13, 14, "/home/last");
	expect("", 0, 0, "/root");
}

/* A name is looked for first: somebody may be called 1000. */
static void test_numbers(void **state)
{
	expect("1000", 77, 78, "/home/number");
	expect("0", 0, 0, "/root");
	expect("4242", 4242, 0, "/");
	expect("4294967294", 4294967294U, 0, "/");
	assert_false(resolve("4294967295"));
	assert_false(resolve("4294967296"));
	assert_false(resolve("99999999999999999999"));
	assert_false(resolve("-1"));
	assert_false(resolve("0x10"));
	assert_false(resolve("1 "));
}

static void test_groups(void **state)
{
	expect("bob:root", 1000, 0, "/home/bob");
	assert_true(user.named_group);
	assert_int_equal(user.group_count, 0);
	expect("bob:27", 1000, 27, "/home/bob");
	expect("bob:9999", 1000, 9999, "/home/bob");
	expect("4242:users", 4242, 100, "/");
	expect(":users", 0, 100, "/root");
	expect("bob:", 1000, 100, "/home/bob");
	assert_false(resolve("bob:nobody"));
	assert_string_equal(why.buf, "no group 'nobody' in the guest's /etc/group");
}

static void test_memberships(void **state)
{
	expect("bob", 1000, 100, "/home/bob");
	assert_false(user.named_group);
	assert_int_equal(user.group_count, 3);
	assert_int_equal(user.groups[0], 27);
	assert_int_equal(user.groups[1], 29);
	assert_int_equal(user.groups[2], 32);
	expect("root", 0, 0, "/root");
	assert_int_equal(user.group_count, 0);
}

static void test_unknown(void **state)
{
	assert_false(resolve("carol"));
	assert_string_equal(why.buf, "no user 'carol' in the guest's /etc/passwd");
	assert_false(resolve("broken"));
	assert_false(resolve("toolarge"));
	assert_false(resolve("none"));
	assert_false(resolve("# comment"));
	assert_false(resolve("bobb"));
	assert_false(resolve("bo"));
	assert_false(resolve("bob:bob:bob"));
}

static void test_no_files(void **state)
{
	struct users_file none = { 0 };

	why = (struct text){ 0 };
	assert_true(users_resolve(&user, "7:8", &none, &none, &why));
	assert_int_equal(user.uid, 7);
	assert_int_equal(user.gid, 8);
	assert_string_equal(user.home, "/");
	assert_false(users_resolve(&user, "root", &none, &none, &why));
	users_find_home(&user, 0, &none);
	assert_string_equal(user.home, "/");
}

static void test_home(void **state)
{
	struct users_file passwd = { passwd_text, sizeof(passwd_text) - 1 };

	users_find_home(&user, 1000, &passwd);
	assert_string_equal(user.home, "/home/bob");
	users_find_home(&user, 12, &passwd);
	assert_string_equal(user.home, "/");
	users_find_home(&user, 555, &passwd);
	assert_string_equal(user.home, "/");
}

/* More groups than there may be, and a home that is too long: cut, not overrun. */
static void test_too_much(void **state)
{
	enum { LINES = AGENT_GROUPS_MAX + 100, LONG = 5000 };
	struct users_file passwd = { 0 }, group = { 0 };
	char *groups = malloc(LINES * 32), *users = malloc(LONG + 100);
	size_t len = 0;

	for (int i = 0; i < LINES; i++)
		len += (size_t)sprintf(groups + len, "g%d:x:%d:bob\n", i, 5000 + i);
	group = (struct users_file){ groups, len };
	len = (size_t)sprintf(users, "bob:x:1:1::/");
	memset(users + len, 'h', LONG);
	passwd = (struct users_file){ users, len + LONG };
	assert_true(users_resolve(&user, "bob", &passwd, &group, &why));
	assert_int_equal(user.group_count, AGENT_GROUPS_MAX);
	assert_string_equal(user.home, "/");
	free(groups);
	free(users);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_memberships),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_no_files),
		cmocka_unit_test(test_home),
		cmocka_unit_test(test_too_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
