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
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto.h"

#define BEAT_MS 3000

static int port = -1;

static void write_all(int fd, const void *data, size_t len)
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

static void read_all(int fd, void *data, size_t len)
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

static void send_frame(uint32_t type, const void *data, uint32_t len)
{
	struct lab_frame f = { .type = type, .len = len };

	write_all(port, &f, sizeof(f));
	write_all(port, data, len);
}

static void __attribute__((noreturn)) leave(int value)
{
	sleep(2); /* run.c ends the machine as soon as it has the last frame */
	ioperm(LAB_DEBUG_EXIT, 4, 1);
	outb(value, LAB_DEBUG_EXIT);
	for (;;)
		pause();
}

static void __attribute__((noreturn, format(printf, 1, 2))) fault(const char *fmt, ...)
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

static void do_mount(
	const char *src, const char *dir, const char *type, unsigned long flags, const char *opts)
{
	if (mount(src, dir, type, flags, opts))
		fault("mount %s on %s", src, dir);
}

static void make_dirs(const char *path)
{
	char buf[4096];

	snprintf(buf, sizeof(buf), "%s", path);
	for (char *p = buf + 1; *p; p++) {
		if (*p == '/') {
			*p = 0;
			mkdir(buf, 0755);
			*p = '/';
		}
	}
	mkdir(buf, 0755);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		write_all(fd, text, strlen(text));
		close(fd);
	}
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

static void mount_cgroups(const char *dir)
{
	char path[256], names[256], line[300] = "";
	FILE *f;

	do_mount("cgroup2", dir, "cgroup2", 0, NULL);
	snprintf(path, sizeof(path), "%s/cgroup.controllers", dir);
	f = fopen(path, "re");
	if (!f || !fgets(names, sizeof(names), f))
		fault("read %s", path);
	fclose(f);
	for (char *name = strtok(names, " \n"); name; name = strtok(NULL, " \n"))
		sprintf(line + strlen(line), "+%.30s ", name);
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", dir);
	write_file(path, line);
}

static void make_devices(void)
{
	mkdir("/dev/pts", 0755);
	mkdir("/dev/shm", 01777);
	mkdir("/dev/mqueue", 0755);
	do_mount("devpts", "/dev/pts", "devpts", 0, "mode=620,ptmxmode=666");
	do_mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
	mount("mqueue", "/dev/mqueue", "mqueue", 0, NULL);
	unlink("/dev/ptmx");
	symlink("pts/ptmx", "/dev/ptmx");
	symlink("/proc/self/fd", "/dev/fd");
	symlink("/proc/self/fd/0", "/dev/stdin");
	symlink("/proc/self/fd/1", "/dev/stdout");
	symlink("/proc/self/fd/2", "/dev/stderr");
	chmod("/dev/kvm", 0660);
	chmod("/dev/net/tun", 0666);
	chmod("/dev/fuse", 0666);
	chmod("/dev/vhost-vsock", 0666);
}

/* The machine's files below, a tmpfs above; then that becomes the root. */
static void make_root(const char *work, const char *modules)
{
	static const char p9[] = "trans=virtio,version=9p2000.L,msize=512000,cache=";
	char opts[128], dir[4200];

	make_dirs("/lower");
	make_dirs("/upper");
	make_dirs("/root");
	snprintf(opts, sizeof(opts), "%sloose", p9);
	do_mount("root", "/lower", "9p", MS_RDONLY, opts);
	do_mount("tmpfs", "/upper", "tmpfs", 0, "mode=755,size=75%");
	make_dirs("/upper/files");
	make_dirs("/upper/work");
	do_mount("lab", "/root", "overlay", 0,
		"lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work,xino=off");
	do_mount("/dev", "/root/dev", NULL, MS_MOVE, NULL);
	do_mount("proc", "/root/proc", "proc", 0, NULL);
	do_mount("sysfs", "/root/sys", "sysfs", 0, NULL);
	do_mount("tmpfs", "/root/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
	mount_cgroups("/root/sys/fs/cgroup");
	mkdir("/root/run/lock", 01777);

	snprintf(dir, sizeof(dir), "/root%s", work);
	make_dirs(dir);
	snprintf(opts, sizeof(opts), "%smmap", p9);
	do_mount("work", dir, "9p", 0, opts);
	make_dirs("/root/scratch");
	do_mount("/root/dev/vda", "/root/scratch", "ext4", MS_NOATIME, NULL);
	if (*modules) {
		snprintf(dir, sizeof(dir), "/root/lib/modules/%s", strrchr(modules, '/') + 1);
		make_dirs(dir);
		chdir("/root");
		do_mount(modules + 1, dir, NULL, MS_BIND, NULL); /* relative to the new root */
	}
	if (chdir("/root") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		fault("switch root");
	mount(NULL, "/", NULL, MS_SHARED | MS_REC, NULL);
	make_devices();
}

static void set_system(void)
{
	struct rlimit files = { .rlim_cur = 1024, .rlim_max = 1 << 20 };
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ioctl(fd, SIOCSIFFLAGS, &lo);
	close(fd);
	sethostname("lab", 3);
	setrlimit(RLIMIT_NOFILE, &files);
	write_file("/proc/sys/fs/nr_open", "1048576");
}

struct task {
	pid_t pid;
	int in;	    /* to the command's standard input; -1 once closed */
	int out[2]; /* from its standard output and error; out[1] is -1 on a terminal */
	bool tty;
	char pending[LAB_CHUNK]; /* input that the command has not taken yet */
	size_t pos, len;
};

static void open_terminal(struct task *t, int child[3], struct lab_winsize win)
{
	struct winsize ws = { .ws_row = win.rows, .ws_col = win.cols };
	int slave;

	t->in = t->out[0] = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	t->out[1] = -1;
	ioctl(t->in, TIOCSPTLCK, &(int){ 0 });
	slave = ioctl(t->in, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		fault("open a terminal");
	ioctl(slave, TIOCSWINSZ, &ws);
	child[0] = child[1] = child[2] = slave;
}

static void open_pipes(struct task *t, int child[3])
{
	int in[2], out[2], err[2];

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
		fault("make pipes");
	t->in = in[1];
	t->out[0] = out[0];
	t->out[1] = err[0];
	fcntl(in[1], F_SETFL, O_NONBLOCK);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(err[0], F_SETFL, O_NONBLOCK);
	child[0] = in[0];
	child[1] = out[1];
	child[2] = err[1];
}

static void __attribute__((noreturn))
exec_command(int child[3], bool tty, const char *dir, char **argv, char **envp)
{
	sigset_t none;

	setsid();
	if (tty)
		ioctl(child[0], TIOCSCTTY, 0);
	for (int i = 0; i < 3; i++)
		dup2(child[i], i);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (chdir(dir)) {
		dprintf(2, "lab: cd %s: %s\n", dir, strerror(errno));
		_exit(126);
	}
	environ = envp;
	execvp(argv[0], argv);
	dprintf(2, "lab: %s: %s\n", argv[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static void start_command(
	struct task *t, const struct lab_job *job, const char *dir, char **argv, char **envp)
{
	int child[3];

	t->tty = job->tty;
	if (t->tty)
		open_terminal(t, child, job->win);
	else
		open_pipes(t, child);
	t->pid = fork();
	if (t->pid < 0)
		fault("fork");
	if (t->pid == 0)
		exec_command(child, t->tty, dir, argv, envp);
	for (int i = 0; i < (t->tty ? 1 : 3); i++)
		close(child[i]);
}

static void close_input(struct task *t)
{
	if (t->tty)
		write_all(t->in, "\004", 1); /* what a terminal takes as the end */
	else if (t->in >= 0)
		close(t->in);
	t->in = -1;
}

static void pass_input(struct task *t)
{
	ssize_t n = write(t->in, t->pending + t->pos, t->len - t->pos);

	if (n > 0)
		t->pos += n;
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		t->pos = t->len; /* nobody reads it */
}

static void take_frame(struct task *t)
{
	struct lab_frame f;

	read_all(port, &f, sizeof(f));
	if (f.len > sizeof(t->pending))
		fault("a frame of %u bytes", f.len);
	t->pos = t->len = 0;
	read_all(port, t->pending, f.len);
	if (f.type == LAB_WINSIZE && t->tty) {
		struct lab_winsize *win = (void *)t->pending;
		struct winsize ws = { .ws_row = win->rows, .ws_col = win->cols };

		ioctl(t->out[0], TIOCSWINSZ, &ws);
	} else if (f.type == LAB_STDIN && f.len == 0) {
		close_input(t);
	} else if (f.type == LAB_STDIN && t->in >= 0) {
		t->len = f.len;
		pass_input(t);
	}
}

/* Returns false at the end, or when there is nothing at the moment. */
static bool pass_output(struct task *t, int which)
{
	static char buf[LAB_CHUNK];
	ssize_t n = t->out[which] < 0 ? 0 : read(t->out[which], buf, sizeof(buf));

	if (n > 0) {
		send_frame(which ? LAB_ERR : LAB_OUT, buf, n);
		return true;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		if (t->out[which] != t->in)
			close(t->out[which]);
		t->out[which] = -1;
	}
	return false;
}

/* Reaps everything; returns true once the command itself has ended. */
static bool reap(pid_t command, int *status)
{
	bool ended = false;
	pid_t pid;
	int st;

	while ((pid = waitpid(-1, &st, WNOHANG)) > 0) {
		if (pid == command) {
			*status = WIFSIGNALED(st) ? 128 + WTERMSIG(st) : WEXITSTATUS(st);
			ended = true;
		}
	}
	return ended;
}

static void on_child(int sig)
{
	(void)sig;
}

static int supervise(struct task *t)
{
	struct timespec beat = { .tv_sec = BEAT_MS / 1000 };
	sigset_t during;
	int status = 0;

	sigemptyset(&during); /* SIGCHLD interrupts ppoll, and nothing else */
	while (!reap(t->pid, &status)) {
		bool waiting = t->pos < t->len;
		struct pollfd p[] = {
			{ .fd = waiting ? -1 : port, .events = POLLIN },
			{ .fd = waiting ? t->in : -1, .events = POLLOUT },
			{ .fd = t->out[0], .events = POLLIN },
			{ .fd = t->out[1], .events = POLLIN },
		};
		int n = ppoll(p, 4, &beat, &during);

		if (n == 0)
			send_frame(LAB_BEAT, NULL, 0);
		if (n <= 0)
			continue;
		if (p[1].revents)
			pass_input(t);
		if (p[0].revents & POLLIN)
			take_frame(t);
		for (int i = 0; i < 2; i++)
			if (p[2 + i].revents)
				pass_output(t, i);
	}
	for (int i = 0; i < 2; i++)
		while (pass_output(t, i))
			;
	return status;
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
	static struct task task;
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
	start_command(&task, job, dir, argv, envp);
	send_frame(LAB_STARTED, NULL, 0);
	status = supervise(&task);
	fd = open(work, O_RDONLY | O_DIRECTORY);
	syncfs(fd);
	send_frame(LAB_STATUS, &status, sizeof(status));
}

int main(void)
{
	struct sigaction chld = { .sa_handler = on_child };
	sigset_t block;

	sigemptyset(&block);
	sigaddset(&block, SIGCHLD);
	sigprocmask(SIG_BLOCK, &block, NULL);
	sigaction(SIGCHLD, &chld, NULL);
	umask(022);
	make_dirs("/dev");
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
