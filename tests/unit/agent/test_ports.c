/*
 * Two network namespaces, as the host's and the guest's, and what carries between them: the guest
 * program's end (guest/ports.c) and the host's (agent/ports.c), in processes of their own.
 */
#include "agent/ports.h"
#include "guest/listening.h"
#include "guest/ports.h"
#include "guest/pump.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	IN_GUEST = 4001,
	IN_HOST = 4002,
	BOTH = 4003,
	LONG = 3 << 20,
	TRIES = 600,
	PAUSE_US = 50000
};

static char folder[64], door[128], guest_door[128];
static pid_t guest, relay, porter;
static bool able;

/* ---- the parts, each a process that ends with the test's ---- */

static pid_t part(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static void stop(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static bool fresh_network(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		return false;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &lo) == 0 && close(fd) == 0;
}

static int unix_listener(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(at.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 50), 0);
	return fd;
}

/* What the machine's vsock does: "CONNECT 3\n", and from then on it is the guest. */
static void keep_door(int listener)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	char line[64];
	int fd, to;

	strcpy(at.sun_path, guest_door);
	signal(SIGCHLD, SIG_IGN);
	fcntl(listener, F_SETFL, 0);
	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		if (part() != 0) {
			close(fd);
			continue;
		}
		to = socket(AF_UNIX, SOCK_STREAM, 0);
		if (recv(fd, line, sizeof(line), MSG_PEEK) < 10 ||
			recv(fd, line, strlen("CONNECT 3\n"), 0) < 10 ||
			connect(to, (struct sockaddr *)&at, sizeof(at)) < 0 ||
			send(fd, "OK 1\n", 5, 0) != 5)
			_exit(1);
		pump_run(fd, to);
		_exit(0);
	}
	_exit(1);
}

static void begin_porter(void)
{
	int listener = unix_listener(door);

	porter = part();
	if (porter == 0)
		keep_door(listener);
	close(listener);
}

static void begin_relay(void)
{
	struct ports_relay config = { .path = door, .also = -1 };

	relay = part();
	if (relay == 0) {
		config.end = pidfd_open(guest, 0);
		ports_relay_run(&config);
		_exit(0);
	}
}

/* A server in the network of process @in: says all that it hears in other words, 'a' for 'A'. */
static pid_t serve(pid_t in, uint16_t port, uint32_t address)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address)
	};
	int fd, said[2], on = 1;
	char byte = 0;
	pid_t pid;

	assert_int_equal(pipe(said), 0);
	pid = part();
	if (pid == 0) {
		static char buf[8192];
		ssize_t n;

		setns(pidfd_open(in, 0), CLONE_NEWNET);
		fd = socket(AF_INET, SOCK_STREAM, 0);
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		byte = bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(fd, 5) == 0;
		(void)!write(said[1], &byte, 1);
		while ((on = accept(fd, NULL, NULL)) >= 0) {
			while ((n = recv(on, buf, sizeof(buf), 0)) > 0) {
				for (ssize_t i = 0; i < n; i++)
					buf[i] ^= 0x20;
				send(on, buf, (size_t)n, MSG_NOSIGNAL);
			}
			close(on);
		}
		_exit(0);
	}
	assert_int_equal(read(said[0], &byte, 1), 1);
	close(said[0]);
	close(said[1]);
	if (!byte) {
		stop(pid);
		return 0;
	}
	return pid;
}

/* Whether @len bytes come back changed, from whoever listens at localhost in the network of @in. */
static bool answers(pid_t in, uint16_t port, size_t len)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int status;
	pid_t pid = part();

	if (pid == 0) {
		static char heard[8192];
		pid_t writer;
		size_t got = 0;
		ssize_t n;
		int fd;

		setns(pidfd_open(in, 0), CLONE_NEWNET);
		fd = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
			_exit(1);
		writer = part();
		if (writer == 0) {
			static char buf[8192];

			memset(buf, 'a', sizeof(buf));
			for (size_t left = len; left;) {
				ssize_t sent = send(fd, buf,
					left < sizeof(buf) ? left : sizeof(buf), MSG_NOSIGNAL);

				if (sent <= 0)
					_exit(1);
				left -= (size_t)sent;
			}
			shutdown(fd, SHUT_WR);
			_exit(0);
		}
		while ((n = recv(fd, heard, sizeof(heard), 0)) > 0)
			for (ssize_t i = 0; i < n; i++)
				got += heard[i] == 'A';
		_exit(got != len);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool answers_in_time(pid_t in, uint16_t port)
{
	for (int i = 0; i < TRIES; i++) {
		if (answers(in, port, 1))
			return true;
		usleep(PAUSE_US);
	}
	return false;
}

static bool silent_in_time(pid_t in, uint16_t port)
{
	for (int i = 0; i < TRIES; i++) {
		if (!answers(in, port, 1))
			return true;
		usleep(PAUSE_US);
	}
	return false;
}

/* ---- before and after ---- */

/* Whose network is his own when this returns: what enters it before would be in ours. */
static void begin_guest(int listener)
{
	int ready[2];
	char byte;

	assert_int_equal(pipe(ready), 0);
	guest = part();
	if (guest == 0) {
		if (!fresh_network() || write(ready[1], "", 1) != 1)
			_exit(1);
		ports_run(listener);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
}

static int set_up(void **state)
{
	int listener;

	able = geteuid() == 0 && fresh_network();
	if (!able)
		return 0;
	snprintf(folder, sizeof(folder), "/tmp/test-ports-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(door, sizeof(door), "%s/door", folder);
	snprintf(guest_door, sizeof(guest_door), "%s/guest", folder);
	listener = unix_listener(guest_door);
	begin_guest(listener);
	close(listener);
	begin_porter();
	begin_relay();
	return 0;
}

static int tear_down(void **state)
{
	if (!able)
		return 0;
	stop(guest);
	waitpid(relay, NULL, 0); /* ends by itself */
	stop(porter);
	unlink(door);
	unlink(guest_door);
	return rmdir(folder);
}

static void need_namespaces(void)
{
	if (!able) {
		print_message("needs root and network namespaces\n");
		skip();
	}
}

/* ---- tests ---- */

static void test_guest_is_reached(void **state)
{
	pid_t server;

	need_namespaces();
	server = serve(guest, IN_GUEST, INADDR_LOOPBACK);
	assert_true(server > 0);
	assert_true(answers_in_time(getpid(), IN_GUEST));
	assert_true(answers(getpid(), IN_GUEST, LONG));
	stop(server);
	assert_true(silent_in_time(getpid(), IN_GUEST));
}

static void test_host_is_reached(void **state)
{
	pid_t server;

	need_namespaces();
	server = serve(getpid(), IN_HOST, INADDR_ANY);
	assert_true(server > 0);
	assert_true(answers_in_time(guest, IN_HOST));
	assert_true(answers(guest, IN_HOST, LONG));
	/* More callers than there are lines, one behind the other. */
	for (int i = 0; i < 12; i++)
		assert_true(answers(guest, IN_HOST, 100));
	stop(server);
	assert_true(silent_in_time(guest, IN_HOST));
}

/* As in one network: the port is the first one's, and free when he is gone. */
static void test_one_port_for_both(void **state)
{
	pid_t first, second = 0;

	need_namespaces();
	first = serve(guest, BOTH, INADDR_ANY);
	assert_true(first > 0);
	assert_true(answers_in_time(getpid(), BOTH));
	assert_int_equal(serve(getpid(), BOTH, INADDR_ANY), 0);
	stop(first);
	for (int i = 0; i < TRIES && !second; i++) {
		usleep(PAUSE_US);
		second = serve(getpid(), BOTH, INADDR_ANY);
	}
	assert_true(second > 0);
	assert_true(answers_in_time(guest, BOTH));
	stop(second);
}

/* A relay that was killed: the next one finds all as it is. */
static void test_another_relay(void **state)
{
	pid_t there, here;

	need_namespaces();
	there = serve(guest, IN_GUEST, INADDR_ANY);
	here = serve(getpid(), IN_HOST, INADDR_LOOPBACK);
	assert_true(answers_in_time(getpid(), IN_GUEST));
	stop(relay);
	assert_true(silent_in_time(getpid(), IN_GUEST));
	begin_relay();
	assert_true(answers_in_time(getpid(), IN_GUEST));
	assert_true(answers_in_time(guest, IN_HOST));
	stop(there);
	stop(here);
}

/* A guest that cannot be reached for a while: nothing of it is here until it can. */
static void test_guest_comes_back(void **state)
{
	pid_t there, here;

	need_namespaces();
	there = serve(guest, IN_GUEST, INADDR_ANY);
	here = serve(getpid(), IN_HOST, INADDR_LOOPBACK);
	assert_true(answers_in_time(guest, IN_HOST));
	stop(porter);
	assert_true(silent_in_time(getpid(), IN_GUEST));
	assert_true(silent_in_time(guest, IN_HOST));
	unlink(door);
	begin_porter();
	assert_true(answers_in_time(getpid(), IN_GUEST));
	assert_true(answers_in_time(guest, IN_HOST));
	stop(there);
	stop(here);
}

/* ---- the kernel's table, and the message ---- */

static void test_lines(void **state)
{
	struct listening set = { 0 };

	assert_true(listening_line(&set, "  sl  local_address rem_address   st tx_queue"));
	assert_true(listening_line(&set, "   0: 00000000:1F90 00000000:0000 0A 00000000:00000000"));
	assert_true(listening_line(&set, "  10: 0100007F:0050 00000000:0000 0A 00000000:00000000"));
	/* At an address of an interface: none that others could have. */
	assert_true(listening_line(&set, "   1: 0A00020F:0051 00000000:0000 0A 00000000:00000000"));
	assert_true(listening_line(&set,
		"   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A "
		"00000000:00000000"));
	assert_true(listening_line(&set,
		"   1: 00000000000000000000000001000000:0052 00000000000000000000000000000000:0000 0A "
		"00000000:00000000"));
	assert_true(listening_line(&set,
		"   1: 0000000000000000FFFF00000100007F:0053 00000000000000000000000000000000:0000 0A "
		"00000000:00000000"));
	assert_false(
		listening_line(&set, "   2: 0100007F:0054 0100007F:1F90 01 00000000:00000000"));
	assert_false(listening_line(&set, "   2: 0100007F"));
	assert_false(listening_line(&set, "   2: "));
	assert_int_equal(set.count, 4);
	assert_int_equal(set.port[0].number, 0x50);
	assert_true(set.port[0].any);
	assert_int_equal(set.port[1].number, 0x52);
	assert_false(set.port[1].any);
	assert_int_equal(set.port[2].number, 0x53);
	assert_false(set.port[2].any);
	assert_int_equal(set.port[3].number, 0x1f90);
	assert_true(set.port[3].any);
}

static void test_messages(void **state)
{
	uint8_t bytes[AGENT_PORTS_MESSAGE];
	struct listening set = { 0 }, heard = { 0 };
	size_t len;

	for (unsigned i = 1; i < 1000; i++)
		listening_add(&set, (uint16_t)(2000 - i), i % 2);
	assert_int_equal(set.count, AGENT_PORTS_MAX);
	len = listening_put(bytes, &set);
	assert_int_equal(len, AGENT_PORTS_MESSAGE);
	for (size_t part_of = 0; part_of < len; part_of++)
		assert_int_equal(listening_take(&heard, bytes, part_of), 0);
	assert_int_equal(heard.count, 0);
	assert_int_equal(listening_take(&heard, bytes, len), len);
	assert_true(listening_same(&heard, &set));
	bytes[0]++; /* one more than there may be */
	assert_int_equal(listening_take(&heard, bytes, len), -1);
	bytes[0] = 1, bytes[4] = bytes[5] = 0; /* port 0 */
	assert_int_equal(listening_take(&heard, bytes, len), -1);
	bytes[4] = 1, bytes[6] = 2;
	assert_int_equal(listening_take(&heard, bytes, len), -1);
	assert_true(listening_same(&heard, &set));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_messages),
		cmocka_unit_test_setup_teardown(test_guest_is_reached, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_host_is_reached, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_one_port_for_both, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_another_relay, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_guest_comes_back, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
