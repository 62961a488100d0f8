/*
 * A job against a guest program that is played here, message by message: what becomes of output
 * that nobody reads, of signals, of time limits, of a guest that goes away. The job runs in a child
 * process, for its standard descriptors and signals are the process's.
 */
#include "job/job.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { ENDED_BADLY = 99, MANY = 3 << 20 };

struct play {
	pid_t pid;
	int guest;  /* the guest's end of the session */
	int output; /* what the job wrote to its standard output; -1: to somewhere else */
};

/* The child's exit status is (end << 4 | status's low bits), so that both can be looked at. */
static int code(enum job_end end, int status)
{
	return (int)end << 4 | (status & 15);
}

static void __attribute__((noreturn)) be_job(const struct job_config *config, int fd)
{
	struct error err = { 0 };
	struct job *job;
	int status = ENDED_BADLY;

	alarm(30);
	if (job_create(&job, config, fd, &err) == 0 && job_wait(job, &err) == 0)
		status = code(job_outcome(job)->end, job_outcome(job)->status);
	job_destroy(job);
	_exit(status);
}

static const char *const words[] = { "true", NULL };

/* A job begins, with its standard output in @out (-1: a pipe of its own). */
static struct play begin(struct job_config *config, int out)
{
	struct play play = { .output = -1 };
	int pair[2], ends[2] = { -1, -1 };

	config->further = true;
	config->process.argv = words;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	if (out < 0) {
		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		out = ends[1];
		play.output = ends[0];
	}
	play.pid = fork();
	assert_true(play.pid >= 0);
	if (play.pid == 0) {
		close(pair[1]);
		if (play.output >= 0)
			close(play.output);
		dup2(out, STDOUT_FILENO);
		be_job(config, pair[0]);
	}
	close(pair[0]);
	if (ends[1] >= 0)
		close(ends[1]);
	play.guest = pair[1];
	return play;
}

static void say(
	const struct play *play, unsigned type, unsigned stream, const void *bytes, size_t len)
{
	uint8_t header[AGENT_HEADER] = { (uint8_t)len, (uint8_t)(len >> 8), (uint8_t)(len >> 16),
		(uint8_t)(len >> 24), (uint8_t)type, (uint8_t)(type >> 8), (uint8_t)stream, 0 };

	assert_int_equal(send(play->guest, header, sizeof(header), MSG_NOSIGNAL), sizeof(header));
	for (size_t at = 0; at < len;) {
		ssize_t n = send(play->guest, (const char *)bytes + at, len - at, MSG_NOSIGNAL);

		assert_true(n > 0);
		at += (size_t)n;
	}
}

static void say_hello_and_started(const struct play *play)
{
	const uint8_t hello[4] = { AGENT_VERSION }, pid[4] = { 7 };

	say(play, AGENT_HELLO, 0, hello, sizeof(hello));
	say(play, AGENT_STARTED, 0, pid, sizeof(pid));
}

static void say_exited(const struct play *play, bool signalled, uint8_t status)
{
	const uint8_t exited[29] = { signalled, status };

	say(play, AGENT_EXITED, 0, exited, sizeof(exited));
}

/* The next message of the job that is of @type; its payload's first byte, or -1 at the end. */
static int hear(const struct play *play, unsigned type)
{
	static uint8_t payload[AGENT_START_MAX];

	for (;;) {
		uint8_t h[AGENT_HEADER];
		size_t len;

		if (recv(play->guest, h, sizeof(h), MSG_WAITALL) != sizeof(h))
			return -1;
		len = h[0] | (size_t)h[1] << 8 | (size_t)h[2] << 16 | (size_t)h[3] << 24;
		assert_true(len <= sizeof(payload));
		if (len && recv(play->guest, payload, len, MSG_WAITALL) != (ssize_t)len)
			return -1;
		if ((h[4] | h[5] << 8u) == (int)type)
			return len ? payload[0] : 0;
	}
}

static int end(struct play *play)
{
	int status;

	assert_int_equal(waitpid(play->pid, &status, 0), play->pid);
	close(play->guest);
	if (play->output >= 0)
		close(play->output);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* ---- the tests ---- */

static void test_status(void **state)
{
	struct job_config config = { 0 };
	struct play play = begin(&config, -1);

	say_hello_and_started(&play);
	say_exited(&play, false, 9);
	assert_int_equal(end(&play), code(JOB_EXITED, 9));

	play = begin(&config, -1);
	say_hello_and_started(&play);
	say_exited(&play, true, SIGKILL);
	assert_int_equal(end(&play), code(JOB_KILLED, SIGKILL));
}

/* Far more than any buffer holds, to a reader who begins late: all of it, then the status. */
static void test_slow_reader(void **state)
{
	static uint8_t piece[AGENT_DATA_MAX], got[AGENT_DATA_MAX];
	struct job_config config = { 0 };
	struct play play = begin(&config, -1);
	pid_t guest = fork();
	size_t total = 0;
	ssize_t n;

	memset(piece, 'x', sizeof(piece));
	if (guest == 0) {
		say_hello_and_started(&play);
		for (int i = 0; i < MANY / AGENT_DATA_MAX; i++)
			say(&play, AGENT_OUTPUT, 1, piece, sizeof(piece));
		say_exited(&play, false, 3);
		_exit(0);
	}
	usleep(200000);
	while ((n = read(play.output, got, sizeof(got))) > 0)
		total += (size_t)n;
	assert_int_equal(total, MANY);
	assert_int_equal(waitpid(guest, NULL, 0), guest);
	assert_int_equal(end(&play), code(JOB_EXITED, 3));
}

static void test_reader_gone(void **state)
{
	struct job_config config = { 0 };
	struct play play = begin(&config, -1);
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	close(play.output);
	play.output = -1;
	say_hello_and_started(&play);
	say(&play, AGENT_OUTPUT, 1, "unheard", 7);
	assert_int_equal(end(&play), code(JOB_NO_READER, SIGPIPE));

	play = begin(&config, full);
	say_hello_and_started(&play);
	say(&play, AGENT_OUTPUT, 1, "unheard", 7);
	assert_int_equal(end(&play), code(JOB_OUTPUT, 0));
	close(full);
}

static void test_failed_and_lost(void **state)
{
	/* NOT_FOUND, ENOENT, "no" and its NUL */
	const uint8_t failed[] = { AGENT_FAILED_NOT_FOUND, 0, 0, 0, ENOENT, 0, 0, 0, 2, 0, 0, 0,
		'n', 'o', 0 };
	const uint8_t hello[4] = { AGENT_VERSION }, other[4] = { AGENT_VERSION + 1 };
	struct job_config config = { 0 };
	struct play play = begin(&config, -1);

	say(&play, AGENT_HELLO, 0, hello, sizeof(hello));
	say(&play, AGENT_FAILED, 0, failed, sizeof(failed));
	assert_int_equal(end(&play), code(JOB_FAILED, ENOENT));

	play = begin(&config, -1);
	say_hello_and_started(&play);
	shutdown(play.guest, SHUT_RDWR);
	assert_int_equal(end(&play), code(JOB_LOST, 0));

	play = begin(&config, -1);
	say(&play, AGENT_HELLO, 0, other, sizeof(other));
	assert_int_equal(end(&play), code(JOB_LOST, 0));

	/* An end before the beginning. */
	play = begin(&config, -1);
	say(&play, AGENT_HELLO, 0, hello, sizeof(hello));
	say_exited(&play, false, 0);
	assert_int_equal(end(&play), code(JOB_LOST, 0));
}

static void test_signals(void **state)
{
	struct job_config config = { .signals_to = AGENT_SIGNAL_GROUP, .patience = 3 };
	struct play play = begin(&config, -1);

	say_hello_and_started(&play);
	say(&play, AGENT_OUTPUT, 1, "up", 2);
	assert_int_equal(read(play.output, (char[2]){ 0 }, 2), 2); /* it knows that it started */
	kill(play.pid, SIGUSR1);
	assert_int_equal(hear(&play, AGENT_SIGNAL), SIGUSR1);
	for (int i = 0; i < 3; i++) { /* not counted among those that end it */
		kill(play.pid, SIGWINCH);
		assert_int_equal(hear(&play, AGENT_SIGNAL), SIGWINCH);
	}
	kill(play.pid, SIGTERM);
	assert_int_equal(hear(&play, AGENT_SIGNAL), SIGTERM);
	kill(play.pid, SIGTERM);
	assert_int_equal(end(&play), code(JOB_SIGNALLED, SIGTERM));

	/* Before the process is there, the first is the end. */
	play = begin(&config, -1);
	assert_int_equal(hear(&play, AGENT_START), 0);
	usleep(100000);
	kill(play.pid, SIGINT);
	assert_int_equal(end(&play), code(JOB_SIGNALLED, SIGINT));
}

static void test_timeout(void **state)
{
	struct job_config config = { .timeout_ms = 200, .grace_ms = 10000 };
	struct play play = begin(&config, -1);

	say_hello_and_started(&play);
	assert_int_equal(hear(&play, AGENT_SIGNAL), SIGTERM);
	say_exited(&play, false, 0);
	assert_int_equal(end(&play), code(JOB_TIMED_OUT, 0));

	config.grace_ms = 100;
	play = begin(&config, -1);
	say_hello_and_started(&play);
	assert_int_equal(hear(&play, AGENT_SIGNAL), SIGTERM);
	assert_int_equal(end(&play), code(JOB_TIMED_OUT, 0));
}

/* ---- a guest that does not come ---- */

enum { BOOT_MS = 400, SPIN_US = 5000, REST_US = 15000 };

static int64_t wall_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t own_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* In the machine's place: a quarter of a processor. */
static void *boot_slowly(void *arg)
{
	for (;;) {
		int64_t end = own_us() + SPIN_US;

		while (own_us() < end)
			;
		usleep(REST_US);
	}
	return arg;
}

/* How long a job waits for a guest that says nothing; the child's status says that it was that. */
static int64_t wait_for_none(bool busy)
{
	struct job_config config = { .process.argv = words, .boot_limit_ms = BOOT_MS };
	int64_t begun = wall_ms();
	int pair[2], status;
	pthread_t thread;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	if (pid == 0) {
		if (busy)
			pthread_create(&thread, NULL, boot_slowly, NULL);
		be_job(&config, pair[0]);
	}
	close(pair[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(pair[1]);
	assert_int_equal(WEXITSTATUS(status), code(JOB_NO_GUEST, 0));
	return wall_ms() - begun;
}

static void test_no_guest(void **state)
{
	int64_t idle = wait_for_none(false);

	/* Twice, where the making of the process itself takes long, on a busy host. */
	assert_in_range(idle, BOOT_MS, 3 * BOOT_MS - 1);
	/* It moves, and may go on until it has had that time itself: four times as long. */
	assert_true(wait_for_none(true) >= 3 * BOOT_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_reader_gone),
		cmocka_unit_test(test_failed_and_lost),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_no_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
