/*
 * The guest program's sessions and the host's end of them, together: what a process says comes out
 * complete and in order, its fate is told, and nobody waits for somebody who does not move.
 */
#include "harness.h"

#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define run_shell(r, flags, script) run_words(r, flags, "sh", "-c", script)

static void wait_started(struct result *r)
{
	while (!r->pid)
		session_go_on(r, 20);
}

static void test_streams_apart(void **state)
{
	struct result r = { 0 };

	run_shell(&r, 0, "echo out; echo err >&2; printf 'no end'");
	assert_true(r.ready && r.exited && r.pid > 0);
	assert_false(r.how.signalled);
	assert_int_equal(r.how.status, 0);
	assert_string_equal(r.out[0], "out\nno end");
	assert_string_equal(r.out[1], "err\n");
	result_free(&r);
}

static void test_statuses(void **state)
{
	static const struct {
		const char *script;
		bool signalled;
		int status;
	} cases[] = {
		{ "exit 0", false, 0 },
		{ "exit 42", false, 42 },
		{ "exit 255", false, 255 },
		{ "kill -TERM $$", true, SIGTERM },
		{ "kill -KILL $$", true, SIGKILL },
		{ "kill -SEGV $$", true, SIGSEGV },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct result r = { 0 };

		run_shell(&r, 0, cases[i].script);
		assert_true(r.exited);
		assert_int_equal(r.how.signalled, cases[i].signalled);
		assert_int_equal(r.how.status, cases[i].status);
		result_free(&r);
	}
}

static void expect_failure(const char *command, enum agent_failed why, int errnum, const char *says)
{
	struct result r = { 0 };

	run_words(&r, 0, command, "argument");
	assert_true(r.failed && !r.pid);
	assert_int_equal(r.why, why);
	assert_int_equal(r.errnum, errnum);
	if (!strstr(r.text, says))
		fail_msg("\"%s\" does not say \"%s\"", r.text, says);
	result_free(&r);
}

static void write_program(char *path, const char *text)
{
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, 0755), 0);
	close(fd);
}

static void test_no_such_command(void **state)
{
	char script[] = "/tmp/test-agent-XXXXXX", broken[] = "/tmp/test-agent-XXXXXX";

	expect_failure("no-such-command", AGENT_FAILED_NOT_FOUND, ENOENT,
		"no-such-command: not found in PATH (/usr/bin:/bin)");
	expect_failure("/no/such", AGENT_FAILED_NOT_FOUND, ENOENT, "/no/such: no such file");
	expect_failure("", AGENT_FAILED_NOT_FOUND, ENOENT, "");
	expect_failure("/etc/passwd/x", AGENT_FAILED_NOT_FOUND, ENOTDIR, "not a directory");
	expect_failure("/etc/passwd", AGENT_FAILED_NOT_EXECUTABLE, EACCES, "permission denied");
	expect_failure("/etc", AGENT_FAILED_NOT_EXECUTABLE, EACCES, "permission denied");
	write_program(script, "#!/no/such/interpreter\n");
	expect_failure(script, AGENT_FAILED_NOT_FOUND, ELIBACC, "its interpreter");
	write_program(broken, "neither a script nor a program\n");
	expect_failure(broken, AGENT_FAILED_NOT_EXECUTABLE, ENOEXEC, "not a program");
	unlink(script);
	unlink(broken);
}

/* 100 MB through one pipe and its status behind it, all of it, in order. */
static void test_much_output(void **state)
{
	enum { LINE = 50 };
	char line[LINE + 1];
	struct result r = { 0 };
	uint32_t sum = 0;

	run_shell(&r, 0,
		"i=0; while [ $i -lt 20 ]; do seq -f %049.0f 100000; i=$((i+1)); done; exit 7");
	assert_true(r.exited);
	assert_int_equal(r.how.status, 7);
	assert_int_equal(r.total[0], 20 * 100000 * LINE);
	for (int i = 0; i < 20; i++)
		for (int n = 1; n <= 100000; n++) {
			snprintf(line, sizeof(line), "%049d\n", n);
			sum = checksum(sum, line, LINE);
		}
	assert_int_equal(r.sum[0], sum);
	result_free(&r);
}

/* Written at the very end by a process that is gone at once. */
static void test_last_words(void **state)
{
	for (int i = 0; i < 20; i++) {
		struct result r = { .taken_at_a_time = i % 2 ? 777 : 0 };

		run_shell(&r, i % 4 < 2 ? 0 : AGENT_START_TERMINAL,
			"head -c 60000 /dev/zero | tr '\\0' x; exit 3");
		assert_true(r.exited);
		assert_int_equal(r.how.status, 3);
		assert_int_equal(r.total[0], 60000);
		result_free(&r);
	}
}

static void test_taken_in_pieces(void **state)
{
	struct result r = { .taken_at_a_time = 1000 };

	run_shell(&r, 0, "seq 200000; seq 100000 >&2");
	assert_true(r.exited);
	assert_int_equal(r.total[0], 1288895);
	assert_int_equal(r.total[1], 588895);
	assert_memory_equal(r.out[1], "1\n2\n3\n", 6);
	result_free(&r);
}

/* Output that nobody takes holds the process, and only it. */
static void test_stalled_output(void **state)
{
	const char *argv[] = { "/bin/sh", "-c", "seq 1000000", NULL };
	struct agent_process process = { .argv = argv };
	struct result r = { .stalled = true }, other = { 0 };
	struct guest g;

	guest_start(&g);
	session_begin(&r, g.fd);
	g.fd = -1;
	agent_setup_done(r.agent);
	agent_start(r.agent, &process);
	wait_started(&r);
	assert_false(session_go_on(&r, 200));
	argv[2] = "echo meanwhile";
	session_dial(&other, &g);
	session_run(&other, &process);
	assert_string_equal(other.out[0], "meanwhile\n");
	r.stalled = false;
	agent_resume(r.agent);
	assert_true(session_go_on(&r, -1));
	assert_int_equal(r.total[0], 6888896);
	assert_true(r.exited);
	result_free(&other);
	result_free(&r);
	guest_wait(&g);
}

static void test_input(void **state)
{
	struct result r = { .to_send = 20000000 };

	run_shell(&r, AGENT_START_STDIN, "cat");
	assert_true(r.exited);
	assert_int_equal(r.sent, r.to_send);
	assert_int_equal(r.total[0], r.to_send);
	assert_int_equal(r.sum[0], r.sent_sum);
	result_free(&r);
}

static void test_slow_reader(void **state)
{
	struct result r = { .to_send = 1000000 };

	run_shell(&r, AGENT_START_STDIN, "sleep 0.3; cat | (sleep 0.2; cat)");
	assert_int_equal(r.total[0], r.to_send);
	assert_int_equal(r.sum[0], r.sent_sum);
	result_free(&r);
}

static void test_no_input(void **state)
{
	struct result r = { 0 };

	run_shell(&r, 0, "cat; readlink /proc/self/fd/0");
	assert_string_equal(r.out[0], "/dev/null\n");
	result_free(&r);
}

/* `head -c 1`: the host is told that nobody reads on. */
static void test_input_closed(void **state)
{
	struct result r = { .to_send = 10000000 };

	run_shell(&r, AGENT_START_STDIN, "head -c 1 | wc -c; exec <&-; sleep 0.2; exit 5");
	assert_true(r.exited && r.stdin_closed);
	assert_int_equal(r.how.status, 5);
	assert_true(r.sent < r.to_send);
	assert_string_equal(r.out[0], "1\n");
	result_free(&r);
}

static void send_term(struct result *r)
{
	assert_int_equal(agent_signal(r->agent, SIGTERM, AGENT_SIGNAL_PROCESS), 0);
}

/* A signal does not wait behind input that nobody reads. */
static void test_signal_passes_input(void **state)
{
	struct result r = { .to_send = 10000000, .say_when = "go", .say = send_term };

	run_shell(&r, AGENT_START_STDIN,
		"trap 'echo term; exit 9' TERM; echo go; while :; do sleep 0.05; done");
	assert_true(r.exited);
	assert_int_equal(r.how.status, 9);
	assert_string_equal(r.out[0], "go\nterm\n");
	result_free(&r);
}

static void signal_group(struct result *r)
{
	assert_int_equal(agent_signal(r->agent, SIGUSR1, AGENT_SIGNAL_GROUP), 0);
}

static void test_signal_to_group(void **state)
{
	struct result r = { .say_when = "go", .say = signal_group };

	run_shell(&r, 0,
		"trap 'wait; exit 3' USR1; (trap 'echo child; exit' USR1; echo go; while :; do sleep 0.05; done)& wait");
	assert_true(r.exited);
	assert_string_equal(r.out[0], "go\nchild\n");
	result_free(&r);
}

/* Who stays behind with the output open does not keep the end from coming. */
static void test_left_behind(void **state)
{
	struct timespec a, b;
	struct result r = { 0 };

	clock_gettime(CLOCK_MONOTONIC, &a);
	run_shell(&r, 0, "sleep 30 & echo done; exit 6");
	clock_gettime(CLOCK_MONOTONIC, &b);
	assert_true(r.exited);
	assert_int_equal(r.how.status, 6);
	assert_string_equal(r.out[0], "done\n");
	assert_true(b.tv_sec - a.tv_sec < 25);
	result_free(&r);
}

/* One who writes without end, too. */
static void test_left_behind_writing(void **state)
{
	struct result r = { 0 };

	run_shell(&r, 0, "timeout 5 yes & sleep 0.1; exit 6");
	assert_true(r.exited);
	assert_int_equal(r.how.status, 6);
	result_free(&r);
}

static void test_terminal(void **state)
{
	static const char *const argv[] = { "/bin/sh", "-c",
		"stty size; tty | sed s/[0-9]*$//; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all >/dev/tty; "
		"ps -o tpgid= -p $$ | grep -qw $$ && echo leads",
		NULL };
	struct agent_process process = {
		.argv = argv, .flags = AGENT_START_TERMINAL, .rows = 33, .columns = 111
	};
	struct result r = { 0 };
	struct guest g;

	guest_start(&g);
	session_begin(&r, g.fd);
	g.fd = -1;
	agent_setup_done(r.agent);
	session_run(&r, &process);
	assert_true(r.exited);
	assert_string_equal(r.out[0], "33 111\r\n/dev/pts/\r\nall\r\nleads\r\n");
	assert_int_equal(r.out_len[1], 0);
	result_free(&r);
	guest_wait(&g);
}

static void resize(struct result *r)
{
	assert_int_equal(agent_resize(r->agent, 50, 132), 0);
}

static void test_resize(void **state)
{
	struct result r = { .say_when = "go", .say = resize };

	run_shell(&r, AGENT_START_TERMINAL,
		"trap 'stty size; exit' WINCH; echo go; while :; do sleep 0.05; done");
	assert_string_equal(r.out[0], "go\r\n50 132\r\n");
	result_free(&r);
}

static void type_end(struct result *r)
{
	assert_int_equal(agent_stdin(r->agent, "a line\npart", 11), 0);
	assert_int_equal(agent_stdin_end(r->agent), 0);
}

static void test_end_of_input_typed(void **state)
{
	struct result r = { .say_when = "go", .say = type_end };

	run_shell(
		&r, AGENT_START_TERMINAL | AGENT_START_STDIN, "stty -echo; echo go; cat; echo end");
	assert_true(r.exited);
	assert_string_equal(r.out[0], "go\r\na line\r\npartend\r\n");
	result_free(&r);
}

static void type_interrupt(struct result *r)
{
	assert_int_equal(agent_stdin(r->agent, "\3", 1), 0);
}

static void test_interrupt_typed(void **state)
{
	struct result r = { .say_when = "go", .say = type_interrupt };

	run_shell(&r, AGENT_START_TERMINAL | AGENT_START_STDIN, "echo go; exec sleep 20");
	assert_true(r.exited && r.how.signalled);
	assert_int_equal(r.how.status, SIGINT);
	result_free(&r);
}

static void begin_typing(struct result *r)
{
	r->to_send = 500000;
	send_pattern(r);
}

/* A terminal in raw mode loses nothing either, in whichever direction. */
static void test_raw_terminal(void **state)
{
	struct result r = { .say_when = "go", .say = begin_typing };
	uint32_t sum = checksum(0, "go\n", 3);

	run_shell(&r, AGENT_START_TERMINAL | AGENT_START_STDIN,
		"stty raw -echo; echo go; sleep 0.2; head -c 500000");
	assert_true(r.exited);
	assert_int_equal(r.sent, 500000);
	assert_int_equal(r.total[0], 500003);
	for (size_t i = 0; i < 500000; i++)
		sum = checksum(sum, (uint8_t[]){ (uint8_t)(i * 2654435761U >> 13) }, 1);
	assert_int_equal(r.sum[0], sum);
	result_free(&r);
}

/* The program closes its terminal and opens it again. */
static void test_terminal_reopened(void **state)
{
	struct result r = { 0 };

	run_shell(&r, AGENT_START_TERMINAL,
		"exec <&- >&- 2>&-; sleep 0.2; echo again >/dev/tty; exit 4");
	assert_true(r.exited);
	assert_int_equal(r.how.status, 4);
	assert_string_equal(r.out[0], "again\r\n");
	result_free(&r);
}

static void test_many_sessions(void **state)
{
	enum { COUNT = AGENT_SESSIONS_MAX - 1 };
	static const char *const waiting[] = { "/bin/cat", NULL };
	static const char *const argv[] = { "/bin/sh", "-c", "echo $0 $$; exit 11", "name", NULL };
	struct agent_process main_process = { .argv = waiting, .flags = AGENT_START_STDIN },
			     process = { .argv = argv };
	struct result first = { 0 }, r[COUNT] = { 0 }, more = { 0 };
	struct guest g;

	guest_start(&g);
	session_begin(&first, g.fd);
	g.fd = -1;
	agent_setup_done(first.agent);
	agent_start(first.agent, &main_process);
	wait_started(&first);
	for (int i = 0; i < COUNT; i++)
		session_dial(&r[i], &g);
	session_go_on(&first, 100);
	session_dial(&more, &g);
	assert_true(session_go_on(&more, -1));
	assert_true(more.failed);
	assert_int_equal(more.why, AGENT_FAILED_BUSY);
	for (int i = 0; i < COUNT; i++) {
		session_run(&r[i], &process);
		assert_true(r[i].exited);
		assert_int_equal(r[i].how.status, 11);
		assert_memory_equal(r[i].out[0], "name ", 5);
		result_free(&r[i]);
	}
	result_free(&more);
	session_dial(&more, &g);
	session_run(&more, &process);
	assert_true(more.exited);
	result_free(&more);
	assert_int_equal(agent_stdin_end(first.agent), 0);
	session_go_on(&first, -1);
	assert_true(first.exited);
	result_free(&first);
	guest_wait(&g);
}

/* The host of a further session goes away: its process is hung up on, nothing else happens. */
static void test_host_goes_away(void **state)
{
	char path[] = "/tmp/test-agent-XXXXXX", script[200];
	const char *argv[] = { "/bin/sh", "-c", script, NULL };
	static const char *const waiting[] = { "/bin/cat", NULL };
	struct agent_process main_process = { .argv = waiting, .flags = AGENT_START_STDIN },
			     process = { .argv = argv };
	struct result first = { 0 }, r = { 0 };
	struct guest g;

	close(mkstemp(path));
	unlink(path);
	snprintf(script, sizeof(script),
		"trap 'echo >%s; exit' HUP; echo go; while :; do sleep 0.05; done", path);
	guest_start(&g);
	session_begin(&first, g.fd);
	g.fd = -1;
	agent_setup_done(first.agent);
	agent_start(first.agent, &main_process);
	wait_started(&first);
	session_dial(&r, &g);
	agent_start(r.agent, &process);
	while (!r.out_len[0]) /* the trap is set */
		session_go_on(&r, 20);
	result_free(&r);
	for (int i = 0; i < 3000 && access(path, F_OK) < 0; i++)
		usleep(10000);
	assert_int_equal(unlink(path), 0);
	agent_stdin_end(first.agent);
	session_go_on(&first, -1);
	assert_true(first.exited);
	result_free(&first);
	guest_wait(&g);
}

/* Nothing of the set-up is answered, but what cannot be done is. */
static void test_setup_fails(void **state)
{
	static const char *const argv[] = { "/bin/true", NULL };
	struct agent_process process = { .argv = argv };
	struct agent_mount mount = { .type = "virtiofs", .source = "tag", .target = "/somewhere" };
	struct result r = { 0 };
	struct guest g;

	guest_start(&g);
	session_begin(&r, g.fd);
	g.fd = -1;
	agent_setup_mount(r.agent, &mount);
	agent_setup_done(r.agent);
	session_run(&r, &process);
	assert_true(r.failed && !r.ready);
	assert_int_equal(r.why, AGENT_FAILED_SETUP);
	assert_int_equal(r.errnum, ENOENT);
	assert_string_equal(r.text, "/somewhere");
	result_free(&r);
	guest_wait(&g);
}

static void test_guest_goes_away(void **state)
{
	static const char *const argv[] = { "/bin/sleep", "1", NULL };
	struct agent_process process = { .argv = argv };
	struct result r = { 0 };
	struct guest g;

	guest_start(&g);
	session_begin(&r, g.fd);
	agent_setup_done(r.agent);
	agent_start(r.agent, &process);
	wait_started(&r);
	kill(g.pid, SIGKILL);
	assert_true(session_go_on(&r, -1));
	assert_true(r.lost);
	assert_int_equal(agent_signal(r.agent, SIGTERM, AGENT_SIGNAL_PROCESS), -EPIPE);
	result_free(&r);
	waitpid(g.pid, NULL, 0);
	unlink(g.socket);
}

/* An argument: only the tests with names like that. */
/* ---- what is said to the manager ---- */

static struct sockaddr_un manager;

/* A process that says so many times that it is there, and what else is not passed on; in the end. */
static void notify_from(int count)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	static char large[AGENT_NOTIFY_MAX + 1];

	while (connect(fd, (struct sockaddr *)&manager, sizeof(manager)) < 0)
		usleep(1000);
	memset(large, 'x', sizeof(large));
	send(fd, large, sizeof(large), 0);
	send(fd, "", 0, 0);
	send(fd, "A=\033[2J\nB\0C", 11, 0);
	for (int i = 0; i < count; i++)
		send(fd, "READY=1", 7, 0);
	_exit(0);
}

static void begin_noting(struct result *r, struct guest *g)
{
	snprintf(manager.sun_path, sizeof(manager.sun_path), "/tmp/test-agent-notify-%d", getpid());
	manager.sun_family = AF_UNIX;
	unlink(manager.sun_path);
	guest_start(g);
	session_begin(r, g->fd);
	g->fd = -1;
	assert_int_equal(agent_setup_notify(r->agent, manager.sun_path), 0);
	assert_int_equal(agent_setup_done(r->agent), 0);
}

static void end_noting(struct result *r, struct guest *g)
{
	session_free(r);
	guest_wait(g);
	unlink(manager.sun_path);
}

static void test_notified(void **state)
{
	static const char *const argv[] = { "cat", NULL };
	struct agent_process process = { .argv = argv, .flags = AGENT_START_STDIN };
	struct result r = { 0 };
	struct guest g;
	int64_t begun;
	pid_t pid;

	begin_noting(&r, &g);
	assert_int_equal(agent_start(r.agent, &process), 0);
	wait_started(&r);
	begun = time(NULL);
	pid = fork();
	if (pid == 0)
		notify_from(60);
	/* Not faster than the host bears: 61 of them take more than a second. */
	while (r.noted < 61)
		session_go_on(&r, 20);
	assert_true(time(NULL) - begun >= 1);
	assert_memory_equal(r.notes, "A=?[2J\nB;READY=1;READY=1;", 25);
	waitpid(pid, NULL, 0);
	assert_int_equal(agent_stdin_end(r.agent), 0);
	session_go_on(&r, -1);
	assert_true(r.exited);
	end_noting(&r, &g);
	result_free(&r);
}

/* Who says so and ends at once is heard all the same. */
static void test_notified_last(void **state)
{
	const char *words[] = { "sh", "-c",
		"while ! [ -e /tmp/test-agent-go-$0 ]; do sleep 0.01; done", NULL, NULL };
	struct agent_process process = { .argv = words };
	char number[16], go[64];
	struct result r = { 0 };
	struct guest g;
	pid_t pid;

	snprintf(number, sizeof(number), "%d", getpid());
	snprintf(go, sizeof(go), "/tmp/test-agent-go-%d", getpid());
	words[3] = number;
	begin_noting(&r, &g);
	assert_int_equal(agent_start(r.agent, &process), 0);
	wait_started(&r);
	/* The guest stands still while both happen. */
	assert_int_equal(kill(g.pid, SIGSTOP), 0);
	pid = fork();
	if (pid == 0)
		notify_from(3);
	waitpid(pid, NULL, 0);
	close(open(go, O_WRONLY | O_CREAT, 0600));
	usleep(200000);
	kill(g.pid, SIGCONT);
	session_go_on(&r, -1);
	assert_true(r.exited);
	assert_int_equal(r.noted, 4);
	unlink(go);
	end_noting(&r, &g);
	result_free(&r);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_streams_apart),
		cmocka_unit_test(test_statuses),
		cmocka_unit_test(test_no_such_command),
		cmocka_unit_test(test_much_output),
		cmocka_unit_test(test_last_words),
		cmocka_unit_test(test_taken_in_pieces),
		cmocka_unit_test(test_stalled_output),
		cmocka_unit_test(test_input),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_no_input),
		cmocka_unit_test(test_input_closed),
		cmocka_unit_test(test_signal_passes_input),
		cmocka_unit_test(test_signal_to_group),
		cmocka_unit_test(test_left_behind),
		cmocka_unit_test(test_left_behind_writing),
		cmocka_unit_test(test_terminal),
		cmocka_unit_test(test_resize),
		cmocka_unit_test(test_end_of_input_typed),
		cmocka_unit_test(test_interrupt_typed),
		cmocka_unit_test(test_raw_terminal),
		cmocka_unit_test(test_terminal_reopened),
		cmocka_unit_test(test_many_sessions),
		cmocka_unit_test(test_host_goes_away),
		cmocka_unit_test(test_setup_fails),
		cmocka_unit_test(test_guest_goes_away),
		cmocka_unit_test(test_notified),
		cmocka_unit_test(test_notified_last),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
