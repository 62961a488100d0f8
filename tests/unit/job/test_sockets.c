/* Sockets of the host's for a job: which are taken, what the guest and the machine are told of them. */
#include "job/sockets.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/test-sockets-XXXXXX";

/* A socket of that type in the directory: bound, and if it can be, listening. */
static int make(struct sockaddr_un *at, const char *name, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	*at = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(at->sun_path, sizeof(at->sun_path), "%s/%s", dir, name);
	assert_return_code(bind(fd, (struct sockaddr *)at, sizeof(*at)), errno);
	listen(fd, 5);
	return fd;
}

static void test_added(void **state)
{
	static struct job_sockets sockets;
	struct vm_vsock vsock = { 0 };
	struct sockaddr_un at, held = { .sun_family = AF_UNIX };
	struct error err;
	int fd = make(&at, "stream", SOCK_STREAM), far = socket(AF_UNIX, SOCK_STREAM, 0);

	chmod(at.sun_path, 0640);
	assert_int_equal(job_sockets_add(&sockets, at.sun_path, "/run/s", &vsock, &err), 0);
	assert_int_equal(sockets.count, 1);
	assert_int_equal(vsock.listens, 1);
	assert_int_equal(vsock.listen[0].port, sockets.socket[0].port);
	/* It is held: what takes its name later is another. */
	unlink(at.sun_path);
	close(make(&at, "stream", SOCK_STREAM));
	assert_int_equal(job_sockets_look(&sockets, &err), 0);
	assert_string_equal(sockets.socket[0].path, "/run/s");
	assert_int_equal(sockets.socket[0].mode, 0640);
	assert_int_equal(sockets.socket[0].uid, 0); /* ours, whoever runs this */
	assert_int_equal(sockets.socket[0].gid, 0);
	assert_memory_equal(sockets.socket[0].key, vsock.listen[0].key, AGENT_KEY);
	strcpy(held.sun_path, vsock.listen[0].path);
	assert_return_code(connect(far, (struct sockaddr *)&held, sizeof(held)), errno);
	close(far);
	close(fd);
	unlink(at.sun_path);
}

static void test_refused(void **state)
{
	static struct job_sockets sockets;
	struct vm_vsock vsock = { 0 };
	struct sockaddr_un at, stream;
	struct error err;
	int fd = make(&at, "dgram", SOCK_DGRAM), listening = make(&stream, "many", SOCK_STREAM);

	assert_int_equal(
		job_sockets_add(&sockets, at.sun_path, "/run/s", &vsock, &err), -EPROTOTYPE);
	assert_non_null(strstr(err.msg, "for datagrams"));
	assert_int_equal(job_sockets_add(&sockets, "/nonexistent/s", "/s", &vsock, &err), -ENOENT);
	for (unsigned i = 0; i < VM_LISTENS_MAX; i++)
		assert_int_equal(
			job_sockets_add(&sockets, stream.sun_path, "/run/s", &vsock, &err), 0);
	assert_int_equal(
		job_sockets_add(&sockets, stream.sun_path, "/run/s", &vsock, &err), -E2BIG);
	assert_int_equal(vsock.listens, VM_LISTENS_MAX);
	assert_true(vsock.listen[0].port != vsock.listen[1].port);
	assert_memory_not_equal(vsock.listen[0].key, vsock.listen[1].key, AGENT_KEY);
	strcpy(sockets.path[3], "/proc/self/fd/-1");
	assert_true(job_sockets_look(&sockets, &err) < 0);
	assert_non_null(strstr(err.msg, "without /proc"));
	close(fd);
	close(listening);
	unlink(at.sun_path);
	unlink(stream.sun_path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_added),
		cmocka_unit_test(test_refused),
	};
	int r;

	if (!mkdtemp(dir))
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(dir);
	return r;
}
