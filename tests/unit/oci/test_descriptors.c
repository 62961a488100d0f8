/* Which descriptors of the engine's can be passed on: those that are open count, not how many it names. */
#include "agent/agent.h"
#include "oci/container.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static unsigned which;
static struct error err;

static int nothing_open(void **state)
{
	(void)state;
	return close_range(3, ~0U, 0);
}

static void open_at(int fd)
{
	int file = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_true(file >= 0);
	if (file == fd)
		return;
	assert_int_equal(dup2(file, fd), fd);
	close(file);
}

static void test_open_ones(void **state)
{
	(void)state;
	assert_int_equal(descriptors_check(&which, 0, -1, &err), 0);
	assert_int_equal(which, 0);
	open_at(3);
	open_at(5);
	open_at(6);
	assert_int_equal(descriptors_check(&which, 4, 6, &err), 0);
	assert_int_equal(which, 5);
}

static void test_many_named(void **state)
{
	(void)state;
	open_at(4);
	assert_int_equal(descriptors_check(&which, 100, -1, &err), 0);
	assert_int_equal(which, 2);
	assert_int_equal(descriptors_check(&which, ~0U, -1, &err), 0);
	assert_int_equal(which, 2);
	open_at(2 + AGENT_DESCRIPTORS_MAX);
	assert_int_equal(descriptors_check(&which, 100, -1, &err), 0);
	assert_int_equal(which, 2 | 1U << (AGENT_DESCRIPTORS_MAX - 1));
	open_at(3 + AGENT_DESCRIPTORS_MAX);
	assert_int_equal(descriptors_check(&which, 100, 3 + AGENT_DESCRIPTORS_MAX, &err), 0);
	assert_true(descriptors_check(&which, 100, -1, &err) < 0);
	assert_non_null(strstr(err.msg, "--preserve-fds 100: descriptor 19"));
}

static void test_no_file(void **state)
{
	int pair[2];

	(void)state;
	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	assert_int_equal(pair[0], 3);
	assert_true(descriptors_check(&which, 1, -1, &err) < 0);
	assert_non_null(strstr(err.msg, "descriptor 3 is no file"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_open_ones, nothing_open),
		cmocka_unit_test_setup(test_many_named, nothing_open),
		cmocka_unit_test_setup(test_no_file, nothing_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
