/*
 * Streams for the tests, in a guest and on the host.
 *
 *	streams pipe ADDRESS		standard input to the stream, the stream to standard output
 *	streams echo LISTEN [N]		everything back, for N streams (or for ever), all at once
 *	streams say ADDRESS		standard input to the stream, and no wait for anything
 *	streams count LISTEN		to the end of one stream, then the answer "N bytes"
 *	streams many ADDRESS N BYTES	N streams at once, each sends BYTES and wants them back
 *	streams hold LISTEN FILE	accept one, read nothing until FILE exists, then as pipe
 *
 * ADDRESS is vsock:PORT (of the host, from a guest), unix:PATH, or PORT@PATH (of a guest, through
 * its machine's socket); LISTEN is vsock:PORT or unix:PATH. "ready" is said on standard error once
 * it listens.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CHUNK = 65536, STREAMS = 2000, HOST = 2 };

union address {
	struct sockaddr any;
	struct sockaddr_un un;
	struct sockaddr_vm vm;
};

/* Returns the address's length, and what of @text follows an '@' in *@port. */
static socklen_t parse(const char *text, bool listening, union address *a, uint32_t *port)
{
	const char *at = strchr(text, '@');

	memset(a, 0, sizeof(*a));
	*port = 0;
	if (!strncmp(text, "vsock:", 6)) {
		a->vm.svm_family = AF_VSOCK;
		a->vm.svm_cid = listening ? VMADDR_CID_ANY : HOST;
		a->vm.svm_port = (uint32_t)strtoul(text + 6, NULL, 10);
		return sizeof(a->vm);
	}
	if (!strncmp(text, "unix:", 5)) {
		text += 5;
	} else if (at) {
		*port = (uint32_t)strtoul(text, NULL, 10);
		text = at + 1;
	} else {
		errx(2, "%s: no such kind of address", text);
	}
	a->un.sun_family = AF_UNIX;
	snprintf(a->un.sun_path, sizeof(a->un.sun_path), "%s", text);
	return sizeof(a->un);
}

/* Ask the machine for a port of its guest. */
static void ask(int fd, uint32_t port)
{
	char line[64];
	size_t n = 0;

	dprintf(fd, "CONNECT %u\n", port);
	while (n < sizeof(line) - 1 && read(fd, line + n, 1) == 1) {
		if (line[n++] != '\n')
			continue;
		line[n] = 0;
		if (strncmp(line, "OK ", 3) != 0)
			errx(1, "an odd answer: %s", line);
		return;
	}
	errx(1, "refused");
}

static int open_to(const char *text)
{
	union address a;
	uint32_t port;
	socklen_t len = parse(text, false, &a, &port);
	int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, &a.any, len) < 0)
		err(1, "%s", text);
	if (port)
		ask(fd, port);
	return fd;
}

static int listen_at(const char *text)
{
	union address a;
	uint32_t port;
	socklen_t len = parse(text, true, &a, &port);
	int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (a.any.sa_family == AF_UNIX)
		unlink(a.un.sun_path);
	if (fd < 0 || bind(fd, &a.any, len) < 0 || listen(fd, STREAMS) < 0)
		err(1, "%s", text);
	fprintf(stderr, "ready\n");
	return fd;
}

static int accept_one(int listener)
{
	int fd = accept(listener, NULL, NULL);

	if (fd < 0)
		err(1, "accept");
	return fd;
}

static void no_block(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* ---- pipe, count, hold ---- */

struct way {
	int from, to;
	char data[CHUNK];
	size_t at, len;
	bool over;
};

/* What can go one way now. */
static void carry(struct way *w, bool readable, bool writable)
{
	if (!w->len && readable) {
		ssize_t n = read(w->from, w->data, CHUNK);

		if (n < 0 && errno != EAGAIN)
			err(1, "read");
		w->at = 0;
		w->len = n > 0 ? (size_t)n : 0;
		w->over = n == 0;
		writable = true;
	}
	if (w->len && writable) {
		ssize_t n = write(w->to, w->data + w->at, w->len);

		if (n < 0 && errno != EAGAIN)
			err(1, "write");
		w->at += n > 0 ? (size_t)n : 0;
		w->len -= n > 0 ? (size_t)n : 0;
	}
}

static void relay(int fd)
{
	static struct way out, in;

	out.from = STDIN_FILENO;
	out.to = in.from = fd;
	in.to = STDOUT_FILENO;
	no_block(fd);
	while (!in.over || !out.over) {
		short events = (short)((out.len ? POLLOUT : 0) | (in.len || in.over ? 0 : POLLIN));
		struct pollfd p[3] = {
			{ events ? fd : -1, events, 0 },
			{ out.over || out.len ? -1 : STDIN_FILENO, POLLIN, 0 },
			{ in.len ? STDOUT_FILENO : -1, POLLOUT, 0 },
		};
		bool was = out.over;

		if (poll(p, 3, -1) < 0)
			err(1, "poll");
		if (!out.over)
			carry(&out, p[1].revents, p[0].revents & POLLOUT);
		if (out.over && !was)
			shutdown(fd, SHUT_WR);
		if (!in.over)
			carry(&in, p[0].revents & (POLLIN | POLLHUP | POLLERR), p[2].revents);
	}
}

static void say(const char *text)
{
	int fd = open_to(text);
	char data[CHUNK];
	ssize_t n;

	while ((n = read(STDIN_FILENO, data, sizeof(data))) > 0)
		if (write(fd, data, (size_t)n) != n)
			err(1, "write");
}

static void count(const char *text)
{
	int fd = accept_one(listen_at(text));
	char data[CHUNK];
	size_t total = 0;
	ssize_t n;

	while ((n = read(fd, data, sizeof(data))) > 0)
		total += (size_t)n;
	if (n < 0)
		err(1, "read");
	printf("%zu bytes\n", total);
	fflush(stdout);
	dprintf(fd, "%zu bytes\n", total);
}

static void hold(const char *text, const char *file)
{
	int fd = accept_one(listen_at(text));

	while (access(file, F_OK) < 0)
		usleep(50000);
	relay(fd);
}

/* ---- echo ---- */

static void echo(const char *text, unsigned limit)
{
	static struct pollfd p[STREAMS + 1];
	static struct way *way[STREAMS + 1];
	unsigned n = 1, over = 0;

	p[0] = (struct pollfd){ listen_at(text), POLLIN, 0 };
	while (!limit || over < limit) {
		if (poll(p, n, -1) < 0)
			err(1, "poll");
		for (unsigned i = n - 1; i > 0; i--) {
			if (!p[i].revents)
				continue;
			carry(way[i], p[i].revents & ~POLLOUT, p[i].revents & POLLOUT);
			p[i].events = way[i]->len ? POLLOUT : POLLIN;
			if (!way[i]->over)
				continue;
			close(p[i].fd);
			free(way[i]);
			p[i] = p[--n];
			way[i] = way[n];
			over++;
		}
		if ((p[0].revents & POLLIN) && n <= STREAMS) {
			p[n] = (struct pollfd){ accept_one(p[0].fd), POLLIN, 0 };
			no_block(p[n].fd);
			way[n] = calloc(1, sizeof(struct way));
			way[n]->from = way[n]->to = p[n].fd;
			n++;
		}
	}
}

/* ---- many ---- */

struct one {
	size_t sent, got;
	bool shut;
};

static char byte_at(unsigned stream, size_t n)
{
	return (char)(stream * 7 + n + (n >> 8));
}

static void send_some(struct one *s, int fd, unsigned i, size_t bytes)
{
	char data[4096];
	size_t len = bytes - s->sent < sizeof(data) ? bytes - s->sent : sizeof(data);
	ssize_t n;

	for (size_t k = 0; k < len; k++)
		data[k] = byte_at(i, s->sent + k);
	n = write(fd, data, len);
	if (n < 0 && errno != EAGAIN)
		err(1, "stream %u: write", i);
	s->sent += n > 0 ? (size_t)n : 0;
	if (s->sent == bytes && !s->shut) {
		s->shut = true;
		shutdown(fd, SHUT_WR);
	}
}

/* False at the end. */
static bool take_some(struct one *s, int fd, unsigned i)
{
	char data[4096];
	ssize_t n = read(fd, data, sizeof(data));

	if (n < 0 && errno != EAGAIN)
		err(1, "stream %u: read", i);
	for (ssize_t k = 0; k < n; k++) {
		if (data[k] != byte_at(i, s->got + (size_t)k))
			errx(1, "stream %u: byte %zu is wrong", i, s->got + (size_t)k);
	}
	s->got += n > 0 ? (size_t)n : 0;
	return n != 0;
}

static void many(const char *text, unsigned n, size_t bytes)
{
	static struct pollfd p[STREAMS];
	static struct one one[STREAMS];
	unsigned over = 0;

	if (n > STREAMS)
		errx(2, "at most %d", STREAMS);
	for (unsigned i = 0; i < n; i++) {
		p[i] = (struct pollfd){ open_to(text), POLLIN | POLLOUT, 0 };
		no_block(p[i].fd);
	}
	while (over < n) {
		if (poll(p, n, -1) < 0)
			err(1, "poll");
		for (unsigned i = 0; i < n; i++) {
			if (p[i].fd >= 0 && (p[i].revents & POLLOUT))
				send_some(&one[i], p[i].fd, i, bytes);
			if (one[i].shut)
				p[i].events = POLLIN;
			if (p[i].fd < 0 || !(p[i].revents & ~POLLOUT))
				continue;
			if (take_some(&one[i], p[i].fd, i))
				continue;
			if (one[i].got != bytes)
				errx(1, "stream %u ended after %zu bytes", i, one[i].got);
			close(p[i].fd);
			p[i].fd = -1;
			over++;
		}
	}
	printf("%u streams\n", n);
}

int main(int argc, char **argv)
{
	struct rlimit limit;
	const char *verb = argc > 2 ? argv[1] : "";

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (!strcmp(verb, "pipe"))
		relay(open_to(argv[2]));
	else if (!strcmp(verb, "echo"))
		echo(argv[2], argc > 3 ? (unsigned)atoi(argv[3]) : 0);
	else if (!strcmp(verb, "say"))
		say(argv[2]);
	else if (!strcmp(verb, "count"))
		count(argv[2]);
	else if (!strcmp(verb, "hold") && argc == 4)
		hold(argv[2], argv[3]);
	else if (!strcmp(verb, "many") && argc == 5)
		many(argv[2], (unsigned)atoi(argv[3]), strtoul(argv[4], NULL, 10));
	else
		errx(2, "usage: see the head of streams.c");
	return 0;
}
