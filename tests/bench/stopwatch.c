/*
 * stopwatch: starts a virtual machine monitor and says when its guest was heard.
 *
 *	stopwatch [-u TEXT] [-o FILE] [-e FILE] [-t SECONDS] [-r BYTES [-s MS]] -- COMMAND...
 *
 *	-u TEXT		wait for a line of standard output that has TEXT (otherwise: for a byte)
 *	-o, -e FILE	where the program's output and errors go (otherwise nowhere)
 *	-t SECONDS	give up after so long (default 60)
 *	-r BYTES	count what is resident beside the guest's memory, which is BYTES long
 *	-s MS		how long the guest rests before that (default 1000)
 *
 * Then it kills the program, by its process id, and prints one line of numbers:
 *
 *	milliseconds from fork() to what was waited for
 *	milliseconds of processor time that the program took until it was gone
 *	milliseconds from the kill until it was gone
 *	KiB resident beside the guest's memory; with -r only
 *
 * In C because the interpreters of the lab take longer to start than what is measured here.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct options {
	const char *until, *out, *err;
	double limit;
	unsigned long long guest_bytes;
	unsigned settle_ms;
	char **command;
};

static pid_t child = -1;

/* The program never outlives us. */
static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("stopwatch: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int open_or_null(const char *path)
{
	int fd = open(path ? path : "/dev/null", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		die("%s: %m", path);
	return fd;
}

/* fork() and exec() with standard output on the pipe's end @out. */
static void start(const struct options *o, int out, int err)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	child = fork();
	if (child < 0)
		die("fork: %m");
	if (child > 0) {
		close(null);
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(null, 0);
	dup2(out, 1);
	dup2(err, 2);
	execvp(o->command[0], o->command);
	_exit(127);
}

/* Is @until in what was read up to now? Keeps the end of it, which may be the beginning of it. */
static bool seen(const char *until, const char *buf, size_t n)
{
	static char tail[8192];
	static size_t kept;
	size_t len = strlen(until);
	bool found;

	if (kept + n > sizeof(tail)) {
		size_t drop = kept + n - sizeof(tail);

		memmove(tail, tail + drop, kept - drop);
		kept -= drop;
	}
	memcpy(tail + kept, buf, n);
	kept += n;
	found = memmem(tail, kept, until, len) != NULL;
	if (kept > len) {
		memmove(tail, tail + kept - len, len);
		kept = len;
	}
	return found;
}

/* Returns when, in milliseconds, what was waited for came. */
static double wait_for(const struct options *o, int from, int to)
{
	double end = now() + o->limit * 1e3;
	struct pollfd p = { .fd = from, .events = POLLIN };
	char buf[4096];

	for (;;) {
		double left = end - now(), heard;
		ssize_t n;

		if (left <= 0 || poll(&p, 1, (int)left + 1) == 0)
			die("nothing heard within %g seconds", o->limit);
		n = read(from, buf, sizeof(buf));
		if (n < 0 && errno != EINTR)
			die("read: %m");
		if (n == 0)
			die("the program ended before its guest was heard");
		heard = now();
		if (n > 0 && write(to, buf, (size_t)n) < n)
			die("write: %m");
		if (n > 0 && (!o->until || seen(o->until, buf, (size_t)n)))
			return heard;
	}
}

/* Resident KiB of all mappings but the guest's memory, which is the one of just that length. */
static long resident(unsigned long long guest_bytes)
{
	unsigned long long from, to;
	char path[64], line[4096];
	bool guest = false, found = false;
	long sum = 0, kib;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", child);
	f = fopen(path, "re");
	if (!f)
		die("%s: %m", path);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%llx-%llx", &from, &to) == 2)
			guest = to - from == guest_bytes;
		else if (!guest && sscanf(line, "Rss: %ld", &kib) == 1)
			sum += kib;
		found |= guest;
	}
	fclose(f);
	if (!found)
		die("no mapping of %llu bytes in %s", guest_bytes, path);
	return sum;
}

static double cpu_ms(const struct rusage *u)
{
	return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1e3 +
	       (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1e3;
}

static void options(struct options *o, int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "+u:o:e:t:r:s:")) != -1) {
		switch (c) {
		case 'u':
			o->until = optarg;
			break;
		case 'o':
			o->out = optarg;
			break;
		case 'e':
			o->err = optarg;
			break;
		case 't':
			o->limit = atof(optarg);
			break;
		case 'r':
			o->guest_bytes = strtoull(optarg, NULL, 0);
			break;
		case 's':
			o->settle_ms = (unsigned)atoi(optarg);
			break;
		default:
			exit(2);
		}
	}
	o->command = argv + optind;
	if (!*o->command)
		die("no command");
}

int main(int argc, char **argv)
{
	struct options o = { .limit = 60, .settle_ms = 1000 };
	double began, heard, ended;
	struct rusage used;
	int fds[2], out, err;
	long kib = 0;

	options(&o, argc, argv);
	out = open_or_null(o.out);
	err = open_or_null(o.err);
	if (pipe2(fds, O_CLOEXEC) < 0)
		die("pipe: %m");
	began = now();
	start(&o, fds[1], err);
	close(fds[1]);
	heard = wait_for(&o, fds[0], out);
	if (o.guest_bytes) {
		poll(NULL, 0, (int)o.settle_ms);
		kib = resident(o.guest_bytes);
	}
	ended = now();
	kill(child, SIGKILL);
	if (wait4(child, NULL, 0, &used) != child)
		die("wait: %m");
	child = -1;
	printf("%.3f %.3f %.3f", heard - began, cpu_ms(&used), now() - ended);
	if (o.guest_bytes)
		printf(" %ld", kib);
	putchar('\n');
	return 0;
}
