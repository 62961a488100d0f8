/* Values as people write them, and as they mistype them. */
#include "cli/suggest.h"
#include "cli/values.h"

#include "util/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

static void test_sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{ "0", 0 },
		{ "1", 1 },
		{ "1048576", MIB },
		{ "64K", 64 * KIB },
		{ "512M", 512 * MIB },
		{ "512m", 512 * MIB },
		{ "2G", 2 * GIB },
		{ "2GiB", 2 * GIB },
		{ "2gb", 2 * GIB },
		{ "1T", 1024 * GIB },
		{ "00012M", 12 * MIB },
		{ "18446744073709551615", UINT64_MAX },
		{ "16777215T", 16777215ULL << 40 },
	};
	static const char *const bad[] = { "", "M", "-1", "+1", " 1", "1 ", "1 M", "1.5G", "0x10",
		"12x", "12MM", "12Mi", "12iB", "12B", "18446744073709551616", "16777216T",
		"99999999999999999999999", "1e6", "512M,", "\xff" };
	struct error err;
	uint64_t bytes;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		bytes = 1234;
		assert_int_equal(value_size(good[i].text, &bytes, &err), 0);
		assert_true(bytes == good[i].bytes);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		err.msg[0] = 0;
		assert_true(value_size(bad[i], &bytes, &err) < 0);
		assert_int_equal(err.kind, ERROR_USAGE);
		assert_non_null(strstr(err.msg, bad[i]));
	}
}

static void test_durations(void **state)
{
	static const struct {
		const char *text;
		unsigned ms;
	} good[] = {
		{ "0", 0 },
		{ "10", 10000 },
		{ "10s", 10000 },
		{ "500ms", 500 },
		{ "5m", 300000 },
		{ "2h", 7200000 },
		{ "4294967295ms", 4294967295U },
	};
	static const char *const bad[] = { "", "s", "ms", "-1s", "1.5s", "10 s", "10S", "10sec",
		"1d", "4294967296ms", "4294968s", "2000h", "18446744073709551616" };
	struct error err;
	unsigned ms;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(value_duration(good[i].text, &ms, &err), 0);
		assert_int_equal(ms, good[i].ms);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_true(value_duration(bad[i], &ms, &err) < 0);
}

static void test_numbers(void **state)
{
	static const char *const bad[] = { "", "0", "65", "-1", "4x", "x", "1 ", "0x2",
		"18446744073709551617" };
	struct error err;
	uint64_t n;

	assert_int_equal(value_number("1", 1, 64, &n, &err), 0);
	assert_int_equal(value_number("64", 1, 64, &n, &err), 0);
	assert_int_equal(n, 64);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_true(value_number(bad[i], 1, 64, &n, &err) < 0);
	assert_string_equal(err.msg, "'18446744073709551617' is not a number from 1 to 64");
}

static void test_macs(void **state)
{
	static const char *const bad[] = { "", "52:54:00:12:34", "52:54:00:12:34:56:78",
		"52-54-00-12-34-56", "52:54:00:12:34:5g", "5:54:00:12:34:561", "01:00:5e:00:00:01",
		" 2:54:00:12:34:56", "52:54:00:12:34:5:", "::::::::::::::::::" };
	uint8_t mac[6];
	struct error err;

	assert_int_equal(value_mac("52:54:00:12:AB:ff", mac, &err), 0);
	assert_memory_equal(mac, "\x52\x54\x00\x12\xab\xff", 6);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_true(value_mac(bad[i], mac, &err) < 0);
}

static void test_forwards(void **state)
{
	static const struct {
		const char *text;
		struct vm_forward forward;
	} good[] = {
		{ "tcp::2222-:22", { false, "127.0.0.1", 2222, 22 } },
		{ "tcp:0.0.0.0:80-:8080", { false, "0.0.0.0", 80, 8080 } },
		{ "udp:10.0.0.1:53-:5353", { true, "10.0.0.1", 53, 5353 } },
		{ "2222-:22", { false, "127.0.0.1", 2222, 22 } },
		{ "2222-22", { false, "127.0.0.1", 2222, 22 } },
		{ "tcp:255.255.255.255:65535-:65535", { false, "255.255.255.255", 65535, 65535 } },
	};
	static const char *const bad[] = { "", "tcp", "tcp:", "tcp::", "tcp::22", "tcp::22-",
		"tcp::22-:", "tcp::0-:22", "tcp::22-:0", "tcp::65536-:22", "tcp::22-:22x",
		"sctp::22-:22", "tcp:host:22-:22", "tcp:1.2.3:22-:22", "tcp:::22-:22",
		"tcp:1.2.3.4.5.6.7.8:22-:22", "tcp::22:-22", "tcp:: 22-:22", "tcp::22-::22" };
	struct vm_forward f;
	struct error err;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(value_forward(good[i].text, &f, &err), 0);
		assert_int_equal(f.udp, good[i].forward.udp);
		assert_string_equal(f.host_addr, good[i].forward.host_addr);
		assert_int_equal(f.host_port, good[i].forward.host_port);
		assert_int_equal(f.guest_port, good[i].forward.guest_port);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_true(value_forward(bad[i], &f, &err) < 0);
}

static void test_interfaces(void **state)
{
	static const char *const bad[] = { "", ".", "..", "a/b", "a b", "a\tb", "a\nb",
		"sixteencharacter" };
	struct error err;

	assert_int_equal(value_interface("tap0", &err), 0);
	assert_int_equal(value_interface("fifteencharacte", &err), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_true(value_interface(bad[i], &err) < 0);
}

static void test_suggestions(void **state)
{
	static const char *const words[] = { "kernel", "initrd", "cpus", "memory", "hw",
		"log-level", "log-format", "net", "no-sandbox" };
	static const struct {
		const char *typed, *meant;
	} cases[] = {
		{ "cpu", "cpus" },
		{ "kernal", "kernel" },
		{ "kenrel", "kernel" },
		{ "initramfs", NULL },
		{ "initrd", "initrd" },
		{ "mem", "memory" },
		{ "log", "log-level" },
		{ "log_level", "log-level" },
		{ "nte", "net" },
		{ "nosandbox", "no-sandbox" },
		{ "x", NULL },
		{ "", NULL },
		{ "something-else", NULL },
		{ "a-word-that-is-much-longer-than-any-option-there-is", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *found = suggest(cases[i].typed, words, ARRAY_SIZE(words));

		if (cases[i].meant) {
			assert_non_null(found);
			assert_string_equal(found, cases[i].meant);
		} else {
			assert_null(found);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_macs),
		cmocka_unit_test(test_forwards),
		cmocka_unit_test(test_interfaces),
		cmocka_unit_test(test_suggestions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
