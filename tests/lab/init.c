/*
 * Process 1 of the lab, an emulated host with real KVM (see README.md).
 *
 * Boot: load the modules, open the port to run.c and say READY. There the
 * machine is frozen, before anything is mounted over 9p (that cannot be saved).
 * Each run resumes inside the read that waits for the job: set the clock, mount
 * the machine's own files under a tmpfs overlay, start the command, carry its
 * input and output as frames, report its status.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "init.h"

int port = -1;

void write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return;
		p += n;
		len -= n;
	}
}

void read_all(int fd, void *data, size_t len)
{
	char *p = data;

	while (len) {
		ssize_t n = read(fd, p, len);

		if (n > 0) {
			p += n;
			len -= n;
		} else if (n == 0) {
			usleep(10000); /* the host's end is not open yet */
		}
	}
}

/* One write a frame, so that the host never waits for the rest of one. */
void send_frame(uint32_t type, const void *data, uint32_t len)
{
	static struct {
		struct lab_frame head;
		char data[LAB_CHUNK];
	} f;

	f.head = (struct lab_frame){ .type = type, .len = len };
	memcpy(f.data, data ? data : "", len);
	write_all(port, &f, sizeof(f.head) + len);
}

static void __attribute__((noreturn)) leave(int value)
{
	sleep(2); /* run.c ends the machine as soon as it has the last frame */
	ioperm(LAB_DEBUG_EXIT, 4, 1);
	outb(value, LAB_DEBUG_EXIT);
	for (;;)
		pause();
}

void fault(const char *fmt, ...)
{
	char text[512];
	int saved = errno;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(text + n, sizeof(text) - n, ": %s", strerror(saved));
	fprintf(stderr, "lab: %s\n", text);
	if (port >= 0)
		send_frame(LAB_FAULT, text, strlen(text));
	leave(0x7f);
}

/* /modules.list holds one file and its parameters a line, in loading order. */
static void load_modules(void)
{
	FILE *list = fopen("/modules.list", "re");
	char line[512];

	if (!list)
		fault("open /modules.list");
	while (fgets(line, sizeof(line), list)) {
		char *params;
		int fd;

		line[strcspn(line, "\n")] = 0;
		params = line + strcspn(line, " ");
		if (*params)
			*params++ = 0;
		fd = open(line, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (syscall(SYS_finit_module, fd, params, 0) && errno != EEXIST))
			fprintf(stderr, "lab: load %s: %s\n", line, strerror(errno));
		close(fd);
		unlink(line);
	}
	fclose(list);
}

static void set_clock_and_seed(const struct lab_job *job)
{
	struct timespec now = { .tv_sec = job->sec, .tv_nsec = job->nsec };
	struct {
		struct rand_pool_info info;
		uint8_t seed[sizeof(job->seed)];
	} pool = { .info = { .entropy_count = 8 * sizeof(job->seed),
			   .buf_size = sizeof(job->seed) } };
	int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);

	clock_settime(CLOCK_REALTIME, &now);
	memcpy(pool.seed, job->seed, sizeof(pool.seed));
	ioctl(fd, RNDADDENTROPY, &pool);
	ioctl(fd, RNDRESEEDCRNG);
	close(fd);
}

static char *next_string(char **p)
{
	char *s = *p;

	*p += strlen(s) + 1;
	return s;
}

static char **next_strings(char **p, uint32_t count)
{
	char **list = calloc(count + 1, sizeof(*list));

	for (uint32_t i = 0; i < count; i++)
		list[i] = next_string(p);
	return list;
}

static void run_job(void)
{
	struct lab_frame f;
	char *text, *dir, *work, *modules, **argv, **envp;
	struct lab_job *job;
	int32_t status;
	int fd;

	read_all(port, &f, sizeof(f));
	if (f.type != LAB_JOB || f.len > LAB_FRAME_MAX || !(job = calloc(1, f.len + 1)))
		fault("bad job frame");
	read_all(port, job, f.len);
	text = (char *)(job + 1);
	dir = next_string(&text);
	work = next_string(&text);
	modules = next_string(&text);
	argv = next_strings(&text, job->argc);
	envp = next_strings(&text, job->envc);

	set_clock_and_seed(job);
	make_root(work, modules);
	set_system();
	status = run_command(job, dir, argv, envp);
	fd = open(work, O_RDONLY | O_DIRECTORY);
	syncfs(fd);
	send_frame(LAB_STATUS, &status, sizeof(status));
}

int main(void)
{
	umask(022);
	mkdir("/dev", 0755);
	mount("dev", "/dev", "devtmpfs", 0, "mode=755");
	load_modules();
	for (int i = 0; i < 100 && port < 0; i++, usleep(20000))
		port = open(LAB_PORT, O_RDWR | O_CLOEXEC);
	if (port < 0)
		fault("open %s", LAB_PORT);
	if (access("/dev/kvm", R_OK))
		fault("/dev/kvm after loading kvm_amd");
	sleep(1); /* let the kernel's own threads come to rest */
	send_frame(LAB_READY, NULL, 0);
	run_job();
	leave(0);
}
