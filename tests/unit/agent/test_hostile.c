/*
 * Either side alone, against one that does not keep to the protocol: the guest's sessions and a
 * host that sends what it likes, the host's agent and a guest that does; and dialling in.
 */
#include "harness.h"

#include "guest/wire.h"
#include "util/macros.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

struct stream {
	uint8_t bytes[300000];
	struct wire_writer w;
};

static struct stream stream;

static void begin(void)
{
	stream.w = (struct wire_writer){ .at = stream.bytes,
		.end = stream.bytes + sizeof(stream.bytes) };
}

static void put(unsigned type, unsigned sub, const void *payload, size_t len)
{
	wire_put_header(&stream.w, (uint32_t)len, type, sub);
	wire_put(&stream.w, payload, len);
	assert_false(stream.w.full);
}

static void put_number(unsigned type, uint32_t n)
{
	uint8_t bytes[4] = { (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16),
		(uint8_t)(n >> 24) };

	put(type, 0, bytes, sizeof(bytes));
}

static void put_start(const char *command, unsigned flags)
{
	static uint8_t payload[400];
	struct wire_writer w = { .at = payload, .end = payload + sizeof(payload) };

	wire_put_u32(&w, flags);
	wire_put_u32(&w, 0);
	wire_put_string(&w, "");
	wire_put_string(&w, "");
	for (int i = 0; i < 5; i++) /* uid gid groups umask oom */
		wire_put_u32(&w, 0);
	for (int i = 0; i < 5; i++)
		wire_put_u64(&w, 0);
	for (int i = 0; i < 3; i++) /* rlimits, filter, its flags */
		wire_put_u32(&w, 0);
	wire_put_u32(&w, 1);
	wire_put_string(&w, command);
	wire_put_u32(&w, 0);
	wire_put_string(&w, "");
	put(AGENT_START, 0, payload, (size_t)(w.at - payload));
}

/* ---- the guest's side ---- */

/* Send the stream to a guest; returns enum agent_failed of its answer, 0 if it was EXITED. */
static unsigned answer_of_guest(void)
{
	static uint8_t in[70000];
	struct wire_message m = { 0 };
	struct guest g;
	size_t len = 0, size;
	unsigned why = ~0U;
	bool last = false;

	guest_start(&g);
	send(g.fd, stream.bytes, (size_t)(stream.w.at - stream.bytes), MSG_NOSIGNAL);
	while (!last) {
		ssize_t n = recv(g.fd, in + len, sizeof(in) - len, 0);

		assert_true(n > 0);
		len += (size_t)n;
		while ((size = wire_message(&m, in, len)) <= len) {
			struct wire_reader r = wire_reader(m.payload, m.len);

			last |= m.type == AGENT_FAILED || m.type == AGENT_EXITED;
			if (m.type == AGENT_FAILED)
				why = wire_u32(&r);
			if (m.type == AGENT_EXITED)
				why = 0;
			len -= size;
			memmove(in, in + size, len);
		}
	}
	guest_wait(&g);
	return why;
}

static void test_guest_takes_what_is_right(void **state)
{
	begin();
	put_number(AGENT_HELLO, AGENT_VERSION);
	put(AGENT_SETUP_DONE, 0, NULL, 0);
	put_start("/bin/cat", AGENT_START_STDIN);
	put(AGENT_STDIN, 0, "abc", 3);
	put(AGENT_STDIN, 0, NULL, 0);
	assert_int_equal(answer_of_guest(), 0);
}

static void test_guest_refuses(void **state)
{
	enum { CASES = 14 };
	for (int i = 0; i < CASES; i++) {
		begin();
		if (i == 0) {
			put_number(AGENT_HELLO, AGENT_VERSION + 1);
		} else if (i == 1) {
			put(AGENT_SETUP_DONE, 0, NULL, 0);
		} else if (i == 2) {
			put(AGENT_HELLO, 0, "\1\0\0\0\0", 5);
		} else {
			put_number(AGENT_HELLO, AGENT_VERSION);
		}
		if (i == 3)
			put_start("/bin/true", 0); /* before SETUP_DONE */
		if (i == 4)
			put(AGENT_SETUP_DONE, 0, "x", 1);
		if (i == 5)
			put_number(99, 0);
		if (i >= 6)
			put(AGENT_SETUP_DONE, 0, NULL, 0);
		if (i == 6)
			put(AGENT_STDIN, 0, "x", 1); /* before START */
		if (i == 7)
			put(AGENT_START, 0, "xyz", 3);
		if (i == 8)
			wire_put_u64(&stream.w, 0x20ffffffffULL); /* a START of 4 GiB */
		if (i >= 9)
			put_start("/bin/cat", i == 10 ? 0 : AGENT_START_STDIN);
		if (i == 9)
			put_start("/bin/cat", 0); /* twice */
		if (i == 10)
			put(AGENT_STDIN, 0, "x", 1); /* there is no input */
		if (i == 11) {
			put(AGENT_STDIN, 0, NULL, 0);
			put(AGENT_STDIN, 0, "x", 1); /* behind its end */
		}
		if (i == 12)
			put(AGENT_SIGNAL, 0, "\101\0\0\0\0", 5); /* 65 */
		if (i == 13)
			put(AGENT_RESIZE, 0, "\1\0\1", 3);
		assert_int_equal(answer_of_guest(), AGENT_FAILED_PROTOCOL);
	}
}

/* More input than was granted, to one who does not read. */
static void test_guest_keeps_its_window(void **state)
{
	static const char zeroes[AGENT_DATA_MAX];

	begin();
	put_number(AGENT_HELLO, AGENT_VERSION);
	put(AGENT_SETUP_DONE, 0, NULL, 0);
	put_start("/bin/yes", AGENT_START_STDIN);
	/* The pipe holds some of it, and so much is granted again. */
	for (int i = 0; i < 4; i++)
		put(AGENT_STDIN, 0, zeroes, sizeof(zeroes));
	assert_int_equal(answer_of_guest(), AGENT_FAILED_PROTOCOL);
}

/* ---- the host's side ---- */

static struct result r;
static bool noting; /* the guest was asked for what its process says to a manager */

/* Give the stream to an agent that has asked for a process with input; the end follows. */
static void hear(void)
{
	static const char *const argv[] = { "x", NULL };
	struct agent_process process = { .argv = argv, .flags = AGENT_START_STDIN };
	int ends[2];

	r = (struct result){ 0 };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	session_begin(&r, ends[0]);
	if (noting)
		agent_setup_notify(r.agent, "/notify");
	agent_setup_done(r.agent);
	agent_start(r.agent, &process);
	assert_int_equal(send(ends[1], stream.bytes, (size_t)(stream.w.at - stream.bytes), 0),
		stream.w.at - stream.bytes);
	shutdown(ends[1], SHUT_WR);
	session_go_on(&r, -1);
	close(ends[1]);
}

static void put_exited(unsigned signalled, uint32_t status)
{
	uint8_t payload[29] = { (uint8_t)signalled, (uint8_t)status, (uint8_t)(status >> 8) };

	put(AGENT_EXITED, 0, payload, sizeof(payload));
}

static void test_host_takes_what_is_right(void **state)
{
	begin();
	put_number(AGENT_HELLO, AGENT_VERSION);
	put(AGENT_READY, 0, NULL, 0);
	put_number(AGENT_STARTED, 7);
	put(AGENT_OUTPUT, 1, "out", 3);
	put(AGENT_OUTPUT, 2, "err", 3);
	put(AGENT_OUTPUT, 2, NULL, 0);
	put_exited(0, 255);
	put(AGENT_OUTPUT, 1, "late", 4);
	hear();
	assert_true(r.exited && r.ready);
	assert_int_equal(r.pid, 7);
	assert_string_equal(r.out[0], "out");
	assert_string_equal(r.out[1], "err");
	assert_int_equal(r.how.status, 255);
	assert_int_equal(agent_stdin(r.agent, "x", 1), -EPIPE);
	result_free(&r);
}

static void test_host_refuses(void **state)
{
	enum { CASES = 17 };

	for (int i = 0; i < CASES; i++) {
		begin();
		if (i == 0)
			put_number(AGENT_STARTED, 1); /* before HELLO */
		if (i == 1)
			put_number(AGENT_HELLO, AGENT_VERSION + 1);
		if (i >= 2)
			put_number(AGENT_HELLO, AGENT_VERSION);
		if (i == 2)
			put_number(AGENT_HELLO, AGENT_VERSION);
		if (i == 3)
			put(AGENT_OUTPUT, 1, "x", 1); /* before STARTED */
		if (i == 4)
			put_exited(0, 0);
		if (i == 5)
			put_number(AGENT_STARTED, 0);
		if (i == 6)
			put_number(AGENT_STARTED, 0x80000000);
		if (i >= 7)
			put_number(AGENT_STARTED, 1);
		if (i == 7)
			put_number(AGENT_STARTED, 1);
		if (i == 8)
			put(AGENT_OUTPUT, 3, "x", 1);
		if (i == 9)
			put(AGENT_OUTPUT, 0, NULL, 0);
		if (i == 10)
			put_exited(0, 256);
		if (i == 11)
			put_exited(1, 0);
		if (i == 12)
			put_exited(2, 1);
		if (i == 13)
			put_number(AGENT_STDIN_CREDIT, 1); /* more than it took */
		if (i == 14)
			put_number(AGENT_START, 1);
		if (i == 15)
			wire_put_u64(&stream.w, 0x3200010001ULL); /* OUTPUT of 64 KiB + 1 */
		if (i == 16) {
			put(AGENT_READY, 0, NULL, 0);
			put(AGENT_READY, 0, NULL, 0);
		}
		hear();
		assert_true(r.lost);
		if (!strstr(r.text, "protocol") && !strstr(r.text, "version"))
			fail_msg("case %d: %s", i, r.text);
		result_free(&r);
	}
}

static void put_notified(size_t len)
{
	static uint8_t payload[AGENT_NOTIFY_MAX + 100];
	struct wire_writer w = { .at = payload, .end = payload + sizeof(payload) };
	static char text[AGENT_NOTIFY_MAX + 50];

	memset(text, 'x', len);
	text[len] = 0;
	wire_put_string(&w, text);
	put(AGENT_NOTIFIED, 0, payload, (size_t)(w.at - payload));
}

static void test_notifications(void **state)
{
	enum { CASES = 5 };

	for (int i = 0; i < CASES; i++) {
		begin();
		put_number(AGENT_HELLO, AGENT_VERSION);
		if (i == 1)
			put_notified(1); /* before STARTED */
		put_number(AGENT_STARTED, 7);
		if (i == 2)
			put_notified(AGENT_NOTIFY_MAX + 1);
		if (i == 3)
			put(AGENT_NOTIFIED, 0, "\1\0\0\0xy", 6); /* no NUL */
		put_notified(AGENT_NOTIFY_MAX);
		put_exited(0, 0);
		noting = i != 4; /* nobody has asked */
		hear();
		noting = false;
		assert_int_equal(r.lost, i != 0);
		assert_int_equal(r.exited, i == 0);
		assert_int_equal(r.noted, i == 0);
		result_free(&r);
	}
}

/* Text for a person's terminal does not control it. */
static void test_text_is_tamed(void **state)
{
	static uint8_t payload[2000];
	struct wire_writer w = { .at = payload, .end = payload + sizeof(payload) };

	wire_put_u32(&w, AGENT_FAILED_NOT_FOUND);
	wire_put_u32(&w, ENOENT);
	wire_put_string(&w, "a\x1b[2Jb\nc\x7f\xc2\x9b"
			    "d \xc3\xa4");
	begin();
	put_number(AGENT_HELLO, AGENT_VERSION);
	put(AGENT_FAILED, 0, payload, (size_t)(w.at - payload));
	hear();
	assert_true(r.failed);
	assert_int_equal(r.why, AGENT_FAILED_NOT_FOUND);
	assert_int_equal(r.errnum, ENOENT);
	assert_string_equal(r.text, "a?[2Jb?c??\x9b"
				    "d \xc3\xa4");
	result_free(&r);
}

static void test_end_in_the_middle(void **state)
{
	begin();
	put_number(AGENT_HELLO, AGENT_VERSION);
	put_number(AGENT_STARTED, 1);
	put(AGENT_OUTPUT, 1, "words", 5);
	stream.w.at -= 2;
	hear();
	assert_true(r.lost);
	assert_string_equal(r.text, "the guest has closed the connection");
	assert_int_equal(r.out_len[0], 0);
	result_free(&r);
}

/* A guest that reads nothing: what waits for it is bounded. */
static void test_queue_is_bounded(void **state)
{
	static const char *const argv[] = { "x", NULL };
	struct agent_process process = { .argv = argv };
	char *large = calloc(1, 1 << 20);
	int ends[2], count = 0, err;

	r = (struct result){ 0 };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	session_begin(&r, ends[0]);
	while ((err = agent_setup_file(r.agent, "/x", 0644, 0, large, 1 << 20)) == 0)
		count++;
	assert_int_equal(err, -ENOBUFS);
	assert_int_equal(count, 15);
	assert_int_equal(agent_start(r.agent, &process), 0);
	result_free(&r);
	close(ends[1]);
	free(large);
}

/* ---- dialling ---- */

struct exchange {
	int listener;
	const char *answer; /* NULL: none */
	char heard[64];
};

static void *be_machine(void *arg)
{
	struct exchange *x = arg;
	int fd = accept(x->listener, NULL, NULL);
	size_t len = 0;

	while (len < sizeof(x->heard) - 1 && recv(fd, x->heard + len, 1, 0) == 1)
		if (x->heard[len++] == '\n')
			break;
	if (x->answer)
		send(fd, x->answer, strlen(x->answer), MSG_NOSIGNAL);
	else
		usleep(400000);
	close(fd);
	return NULL;
}

static void test_dial(void **state)
{
	static const struct {
		const char *answer;
		int result;
	} cases[] = {
		{ "OK 1073741824\nmore", 0 },
		{ "", -ECONNREFUSED },
		{ "NO\n", -ECONNREFUSED },
		{ "OK 1", -ECONNREFUSED },
		{ "OK 00000000000000000000000000000000000000000000000000000000000000000000\n",
			-ECONNREFUSED },
		{ NULL, -ETIMEDOUT },
	};
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct exchange x = { .answer = cases[i].answer };
		struct error err = { 0 };
		char more[8] = "";
		pthread_t thread;
		int fd;

		snprintf(at.sun_path, sizeof(at.sun_path), "/tmp/test-agent-dial-%d", getpid());
		x.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(bind(x.listener, (struct sockaddr *)&at, sizeof(at)), 0);
		assert_int_equal(listen(x.listener, 1), 0);
		assert_int_equal(pthread_create(&thread, NULL, be_machine, &x), 0);
		fd = agent_dial(at.sun_path, 2, x.answer ? 20000 : 100, &err);
		pthread_join(thread, NULL);
		assert_string_equal(x.heard, "CONNECT 2\n");
		if (cases[i].result == 0) {
			struct pollfd p = { .fd = fd, .events = POLLIN };

			assert_true(fd >= 0);
			poll(&p, 1, 1000);
			assert_int_equal(recv(fd, more, sizeof(more) - 1, 0), 4);
			assert_string_equal(more, "more");
			close(fd);
		} else {
			assert_int_equal(fd, cases[i].result);
			assert_true(err.msg[0]);
		}
		close(x.listener);
		unlink(at.sun_path);
	}
	{
		struct error err = { 0 };

		assert_int_equal(agent_dial(at.sun_path, 2, 200, &err), -ENOENT);
		assert_non_null(strstr(err.msg, at.sun_path));
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guest_takes_what_is_right),
		cmocka_unit_test(test_guest_refuses),
		cmocka_unit_test(test_guest_keeps_its_window),
		cmocka_unit_test(test_host_takes_what_is_right),
		cmocka_unit_test(test_host_refuses),
		cmocka_unit_test(test_notifications),
		cmocka_unit_test(test_text_is_tamed),
		cmocka_unit_test(test_end_in_the_middle),
		cmocka_unit_test(test_queue_is_bounded),
		cmocka_unit_test(test_dial),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
