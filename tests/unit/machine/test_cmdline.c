/* The kernel's command line: what is built in, and that the user's own words come last. */
#include "machine/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && !strcmp(text + n - m, end);
}

static void test_defaults(void **state)
{
	struct vm_config c;
	char *line;

	vm_config_init(&c);
	line = machine_cmdline(&c);
	assert_non_null(strstr(line, "panic=-1 reboot=k,panic_warm"));
	assert_non_null(strstr(line, "console=hvc0"));
	assert_null(strstr(line, "root="));
	free(line);
}

static void test_root_and_append(void **state)
{
	struct vm_config c;
	char *line;

	vm_config_init(&c);
	c.has_root = true;
	c.disks = 1;
	c.append = "loglevel=7 -- --arg";
	line = machine_cmdline(&c);
	assert_non_null(strstr(line, " root=/dev/vda rw "));
	assert_true(ends_with(line, " loglevel=7 -- --arg"));
	free(line);
	c.disk[0].read_only = true;
	line = machine_cmdline(&c);
	assert_non_null(strstr(line, " root=/dev/vda ro "));
	free(line);
}

static void test_serial_console(void **state)
{
	struct vm_config c;
	char *line;

	vm_config_init(&c);
	assert_false(machine_serial_console(&c));
	c.append = "console=ttyS0";
	assert_true(machine_serial_console(&c));
	line = machine_cmdline(&c);
	assert_null(strstr(line, "hvc0"));
	assert_null(strstr(line, "earlycon"));
	free(line);
	c.append = NULL;
	c.console = VM_CONSOLE_NONE;
	line = machine_cmdline(&c);
	assert_null(strstr(line, "console="));
	free(line);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_root_and_append),
		cmocka_unit_test(test_serial_console),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
