/* The guest program's reading of its command line, by the kernel's rules. */
#include "guest/cmdline.h"
#include "guest/sys.h"
#include "vmm/layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The guest program shares no header with the machine, but this it must know. */
static_assert(SYS_EXIT_PORT == LAYOUT_PORT_EXIT, "status port");

static char line[CMDLINE_MAX];

static struct cmdline parse(const char *text)
{
	struct cmdline out;

	strcpy(line, text);
	cmdline_parse(&out, line);
	return out;
}

static void test_nothing(void **state)
{
	struct cmdline c = parse("");

	assert_null(c.root);
	assert_null(c.init);
	assert_null(c.console);
	assert_true(c.read_only);
	assert_int_equal(c.wait_s, CMDLINE_WAIT_DEFAULT_S);
	assert_null(parse(" \t \n").root);
}

static void test_usual(void **state)
{
	struct cmdline c = parse("panic=-1 quiet console=ttyS0,115200n8 console=hvc0 root=/dev/vda "
				 "rw rootfstype=ext4,xfs rootflags=noatime,data=ordered "
				 "init=/bin/sh single foo.bar=1 -- -c root=/dev/x ro\n");

	assert_string_equal(c.root, "/dev/vda");
	assert_string_equal(c.rootfstype, "ext4,xfs");
	assert_string_equal(c.rootflags, "noatime,data=ordered");
	assert_string_equal(c.init, "/bin/sh");
	assert_string_equal(c.console, "hvc0");
	assert_false(c.read_only);
	assert_string_equal(parse("console=ttyS0,115200n8").console, "ttyS0");
}

static void test_last_wins(void **state)
{
	struct cmdline c = parse("root=/dev/vda rw root=/dev/vdb ro");

	assert_string_equal(c.root, "/dev/vdb");
	assert_true(c.read_only);
	assert_null(parse("rooty=1 xroot=2 root").root);
	assert_string_equal(parse("root=").root, "");
}

static void test_quotes(void **state)
{
	assert_string_equal(parse("init=\"/bin/my init\" root=a").init, "/bin/my init");
	assert_string_equal(parse("\"init=/bin/my init\" root=a").init, "/bin/my init");
	assert_string_equal(parse("init=\"/bin/my init\" root=a").root, "a");
	assert_string_equal(parse("root=\"never ends").root, "never ends");
	assert_string_equal(parse("root=\"").root, "");
	assert_string_equal(parse("root=\"\"").root, "");
	assert_null(parse("\"").root);
	assert_null(parse("\"\"").root);
	assert_null(parse("\"root\"").root);
}

static void test_wait(void **state)
{
	assert_int_equal(parse("rootwait").wait_s, CMDLINE_WAIT_DEFAULT_S);
	assert_int_equal(parse("rootwait=60").wait_s, 60);
	assert_int_equal(parse("rootdelay=7").wait_s, 7);
	assert_int_equal(parse("rootwait=1").wait_s, CMDLINE_WAIT_DEFAULT_S);
	assert_int_equal(parse("rootwait=-1").wait_s, CMDLINE_WAIT_DEFAULT_S);
	assert_int_equal(parse("rootwait=5x").wait_s, CMDLINE_WAIT_DEFAULT_S);
	assert_int_equal(parse("rootwait=99999999999999999999999").wait_s, CMDLINE_WAIT_DEFAULT_S);
}

static void expect_params(const char *text, const char *file, const char *wanted)
{
	struct text out = { 0 };

	cmdline_module_params(&out, text, file);
	assert_string_equal(out.buf, wanted);
}

static void test_module_params(void **state)
{
	expect_params("virtio_blk.queue_depth=8 root=a", "virtio_blk.ko", "queue_depth=8");
	expect_params("a.b=1 virtio-rng.x=2 virtio_rng.y rng.z=1", "virtio-rng.ko", "x=2 y");
	expect_params(
		"virtio_blk2.a=1 virtio_bl.b=2 virtio_blk=3 xvirtio_blk.c=4", "virtio_blk.ko", "");
	expect_params("m.a=\"x y\" -- m.b=1", "m.ko", "a=\"x y\"");
	expect_params("--m.b=1 m.", "m.ko", "");
	expect_params("", "m.ko", "");
}

/* More than the buffer holds is cut, not written beyond it. */
static void test_long(void **state)
{
	static char text[CMDLINE_MAX];
	struct text out = { 0 };

	strcpy(text, "m.a=");
	memset(text + 4, 'x', 3000);
	cmdline_module_params(&out, text, "m.ko");
	assert_int_equal(strlen(out.buf), sizeof(out.buf) - 1);
}

static void test_text(void **state)
{
	char lines[] = "one\ntwo\n\nlast", *cursor = lines;
	struct text out = { 0 };
	unsigned long n = 0;

	assert_string_equal(text_line(&cursor), "one");
	assert_string_equal(text_line(&cursor), "two");
	assert_string_equal(text_line(&cursor), "");
	assert_string_equal(text_line(&cursor), "last");
	assert_null(text_line(&cursor));
	text_add_number(&out, -120);
	text_add(&out, " ");
	text_add_number(&out, 0);
	text_add(&out, " ");
	text_add_number(&out, (long)1 << 63);
	assert_string_equal(out.buf, "-120 0 -9223372036854775808");
	assert_string_equal(text_number("254:0", ':', 4095, &n), "0");
	assert_int_equal(n, 254);
	assert_null(text_number("4096:0", ':', 4095, &n));
	assert_null(text_number("", 0, 10, &n));
	assert_null(text_number("1", ':', 10, &n));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_usual),
		cmocka_unit_test(test_last_wins),
		cmocka_unit_test(test_quotes),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_module_params),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
