/*
 * The QEMU process of a lab, and its monitor (QMP), by which its state is saved
 * and loaded: the memory stays in the file it is mapped from (x-ignore-shared),
 * everything else is a small file beside it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run.h"

#define QMP_LIMIT_MS 60000

struct args {
	char *v[96];
	int n;
};

static void __attribute__((format(printf, 2, 3))) add(struct args *a, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (a->n + 1 >= (int)(sizeof(a->v) / sizeof(a->v[0])) ||
		vasprintf(&a->v[a->n++], fmt, ap) < 0)
		die("too many arguments for QEMU");
	va_end(ap);
	a->v[a->n] = NULL;
}

static void add_words(struct args *a, const char *words)
{
	char *copy = strdup(words);

	for (char *w = strtok(copy, " "); w; w = strtok(NULL, " "))
		add(a, "%s", w);
	free(copy);
}

/* The same machine for freezing and resuming, but for how its memory is mapped. */
static void qemu_args(const struct lab *l, struct args *a, bool freeze, int qmp, int port)
{
	add_words(a, "qemu-system-x86_64 -M q35 -accel tcg,thread=multi,tb-size=1024 "
		     "-cpu max,+svm,-pku -smp 1 -bios qboot.rom "
		     "-nodefaults -no-user-config -display none -no-reboot "
		     "-machine memory-backend=mem,hpet=off,smm=off,vmport=off "
		     "-device isa-debug-exit,iobase=0xf4,iosize=4 "
		     "-device virtio-serial-pci,max_ports=2,ioeventfd=off "
		     "-device virtserialport,chardev=port,nr=1 "
		     "-device virtio-blk-pci,drive=scratch "
		     "-device virtio-9p-pci,fsdev=root,mount_tag=root "
		     "-device virtio-9p-pci,fsdev=work,mount_tag=work");
	add(a, "-m");
	add(a, "%s", l->memory);
	add(a, "-kernel");
	add(a, "%s/vmlinux", l->state);
	add(a, "-initrd");
	add(a, "%s/lab.cpio", l->state);
	add(a, "-append");
	add(a, "console=ttyS0 panic=-1 nohz=off highres=off mitigations=off nokaslr "
	       "init_on_alloc=0 audit=0 tsc=reliable no_timer_check noreplace-smp "
	       "cryptomgr.notests rcupdate.rcu_expedited=1 random.trust_cpu=on nowatchdog "
	       "quiet");
	add(a, "-object");
	add(a, "memory-backend-file,id=mem,size=%s,mem-path=%s/ram-%s%s,share=%s", l->memory,
		l->state, l->memory, freeze ? ".new" : "", freeze ? "on" : "off");
	add(a, "-chardev");
	add(a, "socket,id=qmp,fd=%d", qmp);
	add(a, "-mon");
	add(a, "chardev=qmp,mode=control");
	add(a, "-chardev");
	add(a, "socket,id=port,fd=%d", port);
	add(a, "-serial");
	add(a, "file:%s", l->console);
	add(a, "-drive");
	add(a, "file=%s/scratch,if=none,id=scratch,format=raw,snapshot=on,cache=unsafe", l->state);
	add(a, "-fsdev");
	add(a, "local,id=root,path=/,readonly=on,security_model=none,multidevs=remap");
	add(a, "-fsdev");
	add(a, "local,id=work,path=%s,security_model=none,multidevs=remap", l->work);
	if (!freeze)
		add_words(a, "-incoming defer -S");
}

static void exec_qemu(const struct lab *l, bool freeze, int qmp, int port, pid_t parent)
{
	struct args a = { .n = 0 };
	sigset_t none;
	int null = open("/dev/null", O_RDWR);

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setpgid(0, 0); /* a terminal's Ctrl-C is for run.c to judge */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	dup2(null, 0);
	dup2(null, 1);
	dup2(qmp, 3);
	dup2(port, 4);
	close_range(5, ~0U, 0);
	qemu_args(l, &a, freeze, 3, 4);
	execvp(a.v[0], a.v);
	dprintf(2, "lab: %s: %s\n", a.v[0], strerror(errno));
	_exit(EXIT_LAB);
}

/* Moves a descriptor out of the way of the numbers that exec_qemu gives out. */
static int high(int fd)
{
	int up = fcntl(fd, F_DUPFD_CLOEXEC, 10);

	if (up < 0)
		die("dup: %s", strerror(errno));
	close(fd);
	return up;
}

void start_qemu(struct lab *l, bool freeze)
{
	pid_t self = getpid();
	int qmp[2], port[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, qmp) ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, port))
		die("socketpair: %s", strerror(errno));
	for (int i = 0; i < 2; i++) {
		qmp[i] = high(qmp[i]);
		port[i] = high(port[i]);
	}
	l->begin_ms = l->last_ms = now_ms();
	l->started = false;
	l->pos = l->len = 0;
	l->qemu = fork();
	if (l->qemu < 0)
		die("fork: %s", strerror(errno));
	if (l->qemu == 0)
		exec_qemu(l, freeze, qmp[1], port[1], self);
	close(qmp[1]);
	close(port[1]);
	l->qmp = qmp[0];
	l->port = port[0];
}

void stop_qemu(struct lab *l)
{
	if (l->qemu > 0) {
		kill(l->qemu, SIGKILL);
		while (waitpid(l->qemu, NULL, 0) < 0 && errno == EINTR)
			;
		close(l->qmp);
		close(l->port);
	}
	l->qemu = 0;
}

/* Reads one line from QMP; false at its end or after the time limit. */
static bool qmp_line(struct lab *l, char *line, size_t size)
{
	int64_t limit = now_ms() + QMP_LIMIT_MS;
	size_t n = 0;

	for (;;) {
		struct pollfd p = { .fd = l->qmp, .events = POLLIN };
		char c;

		if (got_signal || now_ms() > limit)
			return false;
		if (poll(&p, 1, 500) <= 0)
			continue;
		if (read(l->qmp, &c, 1) != 1)
			return false;
		if (c == '\n')
			break;
		if (n + 1 < size)
			line[n++] = c;
	}
	line[n] = 0;
	return true;
}

/* Sends a command (if any) and reads until a line that holds WANT. */
static bool qmp(struct lab *l, const char *command, const char *want)
{
	char line[4096];

	if (command && write(l->qmp, command, strlen(command)) < 0)
		return false;
	while (qmp_line(l, line, sizeof(line))) {
		if (strstr(line, "\"error\"") || strstr(line, "\"failed\"")) {
			fprintf(stderr, "lab: QEMU says: %s\n", line);
			return false;
		}
		if (strstr(line, want))
			return true;
	}
	return false;
}

static bool qmp_begin(struct lab *l)
{
	return qmp(l, NULL, "\"QMP\"") &&
	       qmp(l, "{\"execute\":\"qmp_capabilities\"}", "\"return\"") &&
	       qmp(l,
		       "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":["
		       "{\"capability\":\"x-ignore-shared\",\"state\":true},"
		       "{\"capability\":\"events\",\"state\":true}]}}",
		       "\"return\"");
}
bool resume_state(struct lab *l)
{
	char command[4400];

	snprintf(command, sizeof(command),
		"{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"exec:cat '%s/state-%s'\"}}",
		l->state, l->memory);
	return qmp_begin(l) && qmp(l, command, "\"completed\"") &&
	       qmp(l, "{\"execute\":\"cont\"}", "\"return\"");
}

bool save_state(struct lab *l)
{
	char command[4400];

	snprintf(command, sizeof(command),
		"{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"exec:cat > '%s/state-%s.new'\"}}",
		l->state, l->memory);
	return qmp_begin(l) && qmp(l, "{\"execute\":\"stop\"}", "\"return\"") &&
	       qmp(l, command, "\"completed\"");
}
