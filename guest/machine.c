#include "guest/machine.h"

#include "guest/report.h"
#include "guest/setup.h"
#include "guest/supervise.h"
#include "guest/sys.h"

#include <linux/sched.h>
#include <linux/vm_sockets.h>

enum { BACKLOG = 32, KILL_MS = 2000, HEAR_MS = 1000 };

static void __attribute__((noreturn)) fail(const char *what, long err)
{
	struct text line = { 0 };

	report_begin(&line);
	text_add(&line, what);
	report_add_error(&line, err);
	report_fail(&line);
}

static long vsock_open(void)
{
	return sys_socket(AF_VSOCK, SOCK_STREAM, 0);
}

static int connect_host(void)
{
	struct sockaddr_vm host = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = AGENT_PORT
	};
	long fd = vsock_open(), err;

	if (fd < 0)
		fail("no vsock in this kernel (are its modules those of this very kernel?)", fd);
	err = sys_call(__NR_connect, fd, SYS_PTR(&host), sizeof(host), 0, 0);
	if (err < 0)
		fail("cannot reach the host over vsock", err);
	sys_fcntl((int)fd, F_SETFL, O_RDWR | O_NONBLOCK);
	return (int)fd;
}

static long listen_for_host(unsigned port)
{
	struct sockaddr_vm here = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port
	};
	long fd = sys_socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK, 0), err;

	if (fd < 0)
		return fd;
	err = sys_call(__NR_bind, fd, SYS_PTR(&here), sizeof(here), 0, 0);
	if (err == 0)
		err = sys_call(__NR_listen, fd, BACKLOG, 0, 0, 0);
	if (err == 0)
		return fd;
	sys_close((int)fd);
	return err;
}

/* All processes but this one end, and are waited for: they hold files of what is unmounted next. */
static void kill_all(const struct supervisor *all)
{
	struct pollfd child = { .fd = all->signals, .events = POLLIN };
	uint64_t end = sys_now_ms() + KILL_MS, now;
	struct rusage usage;
	char drop[1024];
	int status;
	long pid;

	if (sys_kill(-1, SIGKILL) < 0)
		return; /* there are none */
	for (;;) {
		while ((pid = sys_wait(&status, &usage)) > 0)
			;
		now = sys_now_ms();
		if (pid < 0 || now >= end)
			return;
		sys_poll(&child, 1, (int)(end - now));
		sys_read(all->signals, drop, sizeof(drop));
	}
}

/* Take writing away from each file system on a disk: lines of /proc/mounts are DEVICE TARGET ... */
static void settle_disks(int proc)
{
	long fd = sys_open_at(proc, "mounts", O_RDONLY), n;
	char buf[8192], *cursor = buf, *line, *target, *end;
	size_t len = 0;

	while (fd >= 0 && len < sizeof(buf) - 1 &&
		(n = sys_read((int)fd, buf + len, sizeof(buf) - 1 - len)) > 0)
		len += (size_t)n;
	buf[len] = 0;
	while ((line = text_line(&cursor))) {
		if (!text_after(line, "/dev/"))
			continue;
		for (target = line; *target && *target != ' '; target++)
			;
		for (end = target += *target == ' '; *end && *end != ' '; end++)
			;
		*end = 0;
		sys_mount(NULL, target, NULL, MS_REMOUNT | MS_RDONLY, NULL);
	}
}

/* Whatever is mounted by now, by the host's word or by a process's, may outlive this machine. */
static void __attribute__((noreturn))
power_off(const struct supervisor *all, struct setup *setup, int proc)
{
	sockets_end(setup, HEAR_MS);
	kill_all(all);
	sys_sync();
	settle_disks(proc);
	/* At once, where the host watches this port; else by whatever the machine has. */
	sys_report_status(0);
	sys_power_off();
	sys_restart();
	sys_exit(0);
}

/* Descriptors 0 to 2 are something, or pipes would get their numbers. */
static void fill_streams(void)
{
	long fd;

	do {
		fd = sys_open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd < 3);
	if (fd >= 3)
		sys_close((int)fd);
}

void machine_run(void)
{
	struct setup setup = { .initramfs = -1 };
	struct supervisor *all;

	/* Ours, also when /proc shows the container's processes only. */
	long proc = sys_open("/proc", O_PATH | O_DIRECTORY);

	fill_streams();
	/* As in any container: none of them is the one that a machine begins with. */
	sys_call(__NR_unshare, CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP, 0, 0, 0, 0);
	all = supervise_create(connect_host());
	if (!all)
		fail("no memory to begin with", -ENOMEM);
	all->listen = listen_for_host;
	all->setup = setup_message;
	all->setup_ctx = &setup;
	setup.waiting = &all->waiting;
	setup.group = &all->group;
	setup.notify = &all->sessions[0].notify;
	network_loopback();
	supervise_loop(all);
	power_off(all, &setup, (int)proc);
}
