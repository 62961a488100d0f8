/* modules.dep and its companions: order, soft dependencies, aliases, and files that mean harm. */
#include "rootfs/modules.h"
#include "util/cleanup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static unsigned alias_reads;

static struct modules_text alias_of(void *ctx)
{
	alias_reads++;
	return (struct modules_text){ ctx, strlen(ctx) };
}

static struct modules *open_texts(
	const char *dep, const char *softdep, const char *alias, const char *builtin)
{
	struct modules_texts texts = { .where = "/m", .dep = { dep, strlen(dep) } };
	struct error err = { 0 };
	struct modules *m;

	if (softdep)
		texts.softdep = (struct modules_text){ softdep, strlen(softdep) };
	if (builtin)
		texts.builtin = (struct modules_text){ builtin, strlen(builtin) };
	texts.alias = alias ? alias_of : NULL;
	texts.ctx = (void *)alias;
	alias_reads = 0;
	assert_int_equal(modules_open(&m, &texts, &err), 0);
	return m;
}

/* The list as one text: names, "?" behind those that are optional. */
static void expect(const struct modules *m, const char *wanted)
{
	char got[4096] = "";
	size_t at = 0;

	for (size_t i = 0; i < modules_count(m); i++) {
		const struct modules_item *item = modules_item(m, i);

		at += (size_t)snprintf(got + at, sizeof(got) - at, "%s%.*s%s", i ? " " : "",
			(int)item->name_len, item->name, item->optional ? "?" : "");
		assert_true(at < sizeof(got));
	}
	assert_string_equal(got, wanted);
}

static void refuse(struct modules *m, const char *name, const char *words)
{
	struct error err = { 0 };

	assert_int_equal(modules_add(m, name, false, &err), -EINVAL);
	assert_int_equal(err.kind, ERROR_IMAGE);
	if (!strstr(err.msg, words))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, words);
	assert_non_null(strstr(err.msg, "/m/modules.dep"));
}

static void test_order(void **state)
{
	/* As depmod writes it: what must be loaded first is last. */
	struct modules *m = open_texts("k/ring.ko:\n"
				       "k/virtio.ko: k/ring.ko\n"
				       "k/net_failover.ko.xz: k/failover.ko.xz\n"
				       "k/failover.ko.xz:\n"
				       "k/virtio-net.ko.zst: k/net_failover.ko.xz k/failover.ko.xz "
				       "k/virtio.ko k/ring.ko\n",
		NULL, NULL, "k/ext4.ko\nk/fs/nls-base.ko\n");

	assert_int_equal(modules_add(m, "virtio", false, NULL), MODULES_LISTED);
	expect(m, "ring virtio");
	assert_int_equal(modules_add(m, "virtio_net", false, NULL), MODULES_LISTED);
	expect(m, "ring virtio failover net_failover virtio-net");
	assert_int_equal(modules_add(m, "virtio_net", false, NULL), MODULES_LISTED);
	assert_int_equal(modules_count(m), 5);
	assert_int_equal(modules_add(m, "ext4", false, NULL), MODULES_BUILTIN);
	assert_int_equal(modules_add(m, "nls_base", false, NULL), MODULES_BUILTIN);
	assert_int_equal(modules_add(m, "xfs", false, NULL), MODULES_ABSENT);
	assert_int_equal(modules_add(m, "", false, NULL), MODULES_ABSENT);
	modules_close(m);
}

/* Dependencies that the line does not repeat are followed all the same. */
static void test_not_transitive(void **state)
{
	struct modules *m = open_texts("a.ko: b.ko\nb.ko: c.ko\nc.ko:\n", NULL, NULL, "");

	assert_int_equal(modules_add(m, "a", false, NULL), MODULES_LISTED);
	expect(m, "c b a");
	modules_close(m);
}

static void test_no_builtin_list(void **state)
{
	struct modules *m = open_texts("a.ko:\n", NULL, NULL, NULL);

	assert_int_equal(modules_add(m, "ext4", false, NULL), MODULES_BUILTIN);
	modules_close(m);
}

static void test_softdeps(void **state)
{
	struct modules *m = open_texts(
		"fs/btrfs.ko: lib/xor.ko lib/libcrc32c.ko\n"
		"lib/xor.ko:\nlib/libcrc32c.ko:\narch/crc32c-intel.ko: lib/x.ko\n"
		"lib/x.ko:\ncrypto/crc32c_generic.ko:\nlib/after.ko:\n",
		"# a comment\nsoftdep btrfs pre: crypto-crc32c nonesuch post: after\n"
		"softdep libcrc32c pre: crc32c\nsoftdep btrfs ignored words\n",
		"alias crypto-crc32c crc32c_intel\nalias crc32c crc32c_intel\n"
		"alias crypto_crc32c crc32c_generic\nalias fs-btrfs btrfs\nalias\nalias crc32c\n",
		"");

	assert_int_equal(modules_add(m, "btrfs", false, NULL), MODULES_LISTED);
	expect(m, "x? crc32c-intel? crc32c_generic? libcrc32c xor btrfs after?");
	assert_int_equal(alias_reads, 1);
	modules_close(m);
}

static void test_alias_file_only_when_needed(void **state)
{
	struct modules *m = open_texts("a.ko:\nb.ko:\n", "softdep a pre: b\n", "alias b a\n", "");

	assert_int_equal(modules_add(m, "a", false, NULL), MODULES_LISTED);
	expect(m, "b? a");
	assert_int_equal(alias_reads, 0);
	modules_close(m);
}

/* What was optional becomes needed, with all that it needs, when something needs it. */
static void test_optional_then_needed(void **state)
{
	struct modules *m =
		open_texts("a.ko: b.ko\nb.ko: c.ko\nc.ko:\nd.ko: a.ko\n", NULL, NULL, "");

	assert_int_equal(modules_add(m, "b", true, NULL), MODULES_LISTED);
	expect(m, "c? b?");
	assert_int_equal(modules_add(m, "d", false, NULL), MODULES_LISTED);
	expect(m, "c b a d");
	modules_close(m);
}

static void test_loops(void **state)
{
	struct modules *m = open_texts("a.ko: b.ko\nb.ko: c.ko\nc.ko: a.ko\nself.ko: self.ko\n"
				       "ok.ko:\n",
		NULL, NULL, "");

	refuse(m, "a", "loop");
	refuse(m, "self", "loop");
	assert_int_equal(modules_add(m, "b", true, NULL), MODULES_ABSENT);
	assert_int_equal(modules_add(m, "ok", false, NULL), MODULES_LISTED);
	modules_close(m);
}

/* A loop through soft dependencies is no fault: each is loaded once. */
static void test_soft_loop(void **state)
{
	struct modules *m =
		open_texts("a.ko:\nb.ko:\n", "softdep a pre: b\nsoftdep b pre: a\n", NULL, "");

	assert_int_equal(modules_add(m, "a", false, NULL), MODULES_LISTED);
	expect(m, "b? a");
	modules_close(m);
}

static void test_bad_paths(void **state)
{
	char dep[8192], name[301], *p = dep;
	struct modules *m;

	p += sprintf(p, "/etc/abs.ko:\nk/../../up.ko:\n../up2.ko:\n./dot.ko:\nk/ctl\x01/c.ko:\n"
			"k/needs.ko: k/gone.ko\nk/viaabs.ko: /etc/abs.ko\n");
	memset(p, 'x', 5000);
	p += 5000;
	memset(name, 'n', 300);
	name[300] = 0;
	sprintf(p, "/long.ko:\nk/%s.ko:\nk/ok..name/fine.ko:\n", name);
	m = open_texts(dep, NULL, NULL, "");
	refuse(m, "abs", "out of the directory");
	refuse(m, "up", "out of the directory");
	refuse(m, "up2", "out of the directory");
	refuse(m, "dot", "out of the directory");
	refuse(m, "c", "out of the directory");
	refuse(m, "needs", "no line");
	refuse(m, "viaabs", "out of the directory");
	refuse(m, "long", "out of the directory");
	refuse(m, name, "too long");
	assert_int_equal(modules_add(m, "fine", false, NULL), MODULES_LISTED);
	modules_close(m);
}

static void test_odd_lines(void **state)
{
	struct modules *m =
		open_texts("\n:\n: a.ko\nno colon\nk/x.txt: a.ko\n.ko:\nk/.ko: b.ko\n"
			   "a.ko:   \t\nb.ko:\ta.ko  \na.ko: gone.ko\nlast.ko: b.ko a.ko",
			"softdep\nsoftdep last\nsoftdep last pre:\nsoftdep last pre: :\n\n", NULL,
			"\n.ko\n");

	assert_int_equal(modules_add(m, "last", false, NULL), MODULES_LISTED);
	expect(m, "a b last");
	modules_close(m);
	m = open_texts("", "", "", "");
	assert_int_equal(modules_add(m, "a", false, NULL), MODULES_ABSENT);
	assert_int_equal(modules_count(m), 0);
	modules_close(m);
}

static void test_deep_and_many(void **state)
{
	_cleanup_free_ char *dep = malloc(1 << 20);
	struct modules *m;
	char *p = dep;

	for (unsigned i = 0; i < 1000; i++)
		p += sprintf(p, "d%u.ko: d%u.ko\n", i, i + 1);
	p += sprintf(p, "d1000.ko:\nmany.ko:");
	for (unsigned i = 0; i < 600; i++)
		p += sprintf(p, " m%u.ko", i);
	for (unsigned i = 0; i < 600; i++)
		p += sprintf(p, "\nm%u.ko:", i);
	m = open_texts(dep, NULL, NULL, "");
	refuse(m, "d0", "deep");
	assert_int_equal(modules_add(m, "d990", false, NULL), MODULES_LISTED);
	assert_int_equal(modules_count(m), 11);
	refuse(m, "many", "too many");
	modules_close(m);
}

/* Soft dependencies that all fail, in layers: tried once each, not once for each way to them. */
static void test_no_explosion(void **state)
{
	_cleanup_free_ char *dep = malloc(1 << 16), *soft = malloc(1 << 16);
	char *d = dep, *s = soft;
	struct modules *m;

	for (unsigned i = 0; i < 50; i++)
		for (unsigned j = 0; j < 3; j++) {
			d += sprintf(d, "l%u_%u.ko: gone.ko\n", i, j);
			s += sprintf(s, "softdep l%u_%u pre: l%u_0 l%u_1 l%u_2\n", i, j, i + 1,
				i + 1, i + 1);
		}
	sprintf(d, "top.ko:\n");
	sprintf(s, "softdep top pre: l0_0 l0_1 l0_2\n");
	m = open_texts(dep, soft, NULL, "");
	assert_int_equal(modules_add(m, "top", false, NULL), MODULES_LISTED);
	expect(m, "top");
	modules_close(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_not_transitive),
		cmocka_unit_test(test_no_builtin_list),
		cmocka_unit_test(test_softdeps),
		cmocka_unit_test(test_alias_file_only_when_needed),
		cmocka_unit_test(test_optional_then_needed),
		cmocka_unit_test(test_loops),
		cmocka_unit_test(test_soft_loop),
		cmocka_unit_test(test_bad_paths),
		cmocka_unit_test(test_odd_lines),
		cmocka_unit_test(test_deep_and_many),
		cmocka_unit_test(test_no_explosion),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
