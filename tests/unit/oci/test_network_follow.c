/* Interfaces that come in the place of others while the machine runs. */
#include "oci/network.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct error err;
static int away; /* a namespace for the peers, as a bridge would be in */

static bool run(const char *command)
{
	return system(command) == 0;
}

static void add_interface(const char *name, const char *address, const char *mac)
{
	char command[400];

	snprintf(command, sizeof(command),
		"ip link add %s address %s type veth peer name p-%s netns /proc/%d/fd/%d && "
		"ip addr add %s dev %s && ip link set %s up",
		name, mac, name, getpid(), away, address, name, name);
	assert_true(run(command));
}

static int set_up(void **state)
{
	int own;

	if (geteuid() || unshare(CLONE_NEWNET) < 0 || access("/dev/net/tun", R_OK) < 0 ||
		!run("ip -V >/dev/null 2>&1 && ip link set lo up"))
		return 0;
	own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (unshare(CLONE_NEWNET) == 0)
		away = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	setns(own, CLONE_NEWNET);
	close(own);
	return 0;
}

static void test_follow(void **state)
{
	static struct oci_follow follow;
	static struct oci_interfaces changed;
	struct agent_net net[VM_NETS_MAX];
	struct oci_network network;
	int r;

	if (away <= 0)
		skip();
	add_interface("eth0", "10.88.0.5/24", "02:00:00:00:00:05");
	assert_int_equal(oci_network_prepare(&network, OCI_NETWORK_INTERFACES, &err), 0);
	r = oci_network_read(&follow.known, &err);
	if (r == -ENOENT || r == -EOPNOTSUPP)
		skip(); /* a kernel without these filters */
	assert_int_equal(r, 0);

	assert_int_equal(oci_network_follow(&follow, &changed, &err), 0);
	assert_int_equal(changed.count, 0);
	/* What is new in name is not the guest's. */
	add_interface("eth7", "10.90.0.5/24", "02:00:00:00:00:07");
	assert_int_equal(oci_network_follow(&follow, &changed, &err), 0);
	assert_int_equal(changed.count, 0);

	assert_true(run("ip link del eth0"));
	assert_int_equal(oci_network_follow(&follow, &changed, &err), 0);
	assert_int_equal(changed.count, 0);
	add_interface("eth0", "10.88.0.6/24", "02:00:00:00:00:06");
	assert_int_equal(oci_network_follow(&follow, &changed, &err), 0);
	assert_int_equal(changed.count, 1);
	assert_int_equal(oci_network_guest_again(net, &changed), 1);
	assert_true(net[0].again && !net[0].mac && !strcmp(net[0].name, "eth0"));
	assert_memory_equal(net[0].new_mac, "\x02\0\0\0\0\x06", 6);
	assert_memory_equal(net[0].addresses[0].bytes, "\x0a\x58\0\x06", 4);
	assert_true(run("tc filter show dev eth0 ingress | grep -q mvtap0"));
	assert_true(run("tc filter show dev mvtap0 ingress | grep -q eth0"));
	assert_false(run("tc filter show dev eth7 ingress 2>/dev/null | grep -q mvtap"));
	assert_int_equal(oci_network_follow(&follow, &changed, &err), 0);
	assert_int_equal(changed.count, 0);

	/* The same again, as a reload does it: nothing to tell, but the frames. */
	assert_true(run("ip link del eth0"));
	add_interface("eth0", "10.88.0.6/24", "02:00:00:00:00:06");
	assert_int_equal(oci_network_follow(&follow, &changed, &err), 0);
	assert_int_equal(changed.count, 0);
	assert_true(run("tc filter show dev eth0 ingress | grep -q mvtap0"));
	assert_true(run("ip addr add 10.88.0.7/24 dev eth0"));
	assert_int_equal(oci_network_follow(&follow, &changed, &err), 0);
	assert_int_equal(changed.count, 1);

	changed.count = VM_NETS_MAX + 1;
	assert_int_equal(oci_network_guest_again(net, &changed), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup(test_follow, set_up) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
