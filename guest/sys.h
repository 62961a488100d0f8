/*
 * The few system calls that the guest program makes, straight: there is no C library here. Each
 * returns what the kernel returns, a negative errno on failure. What is not commented is as in
 * section 2 of the manual.
 */
#pragma once

#if defined(__x86_64__)
#include "guest/sys_x86_64.h"
#else
#error "the guest program is not ported to this architecture"
#endif

#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/mount.h>
#include <linux/reboot.h>
#include <linux/sched.h>
#include <linux/time_types.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>

#define SYS_PTR(p) ((long)(uintptr_t)(p))

/* S_IFMT, S_IFBLK and so on: linux/stat.h hides them where glibc has been included. */
#define SYS_MODE_TYPE	   0170000
#define SYS_MODE_CHARACTER 0020000
#define SYS_MODE_BLOCK	   0060000
#define SYS_MODE_FOLDER	   0040000
#define SYS_MODE_FILE	   0100000
#define SYS_MODE_LINK	   0120000

/* As getdents64(2) has it. */
struct sys_entry {
	uint64_t inode;
	int64_t offset;
	uint16_t length;
	uint8_t type;
	char name[];
};

static inline long sys_open(const char *path, int flags)
{
	return sys_call(__NR_openat, AT_FDCWD, SYS_PTR(path), flags | O_CLOEXEC, 0, 0);
}

static inline long sys_open_at(int dir, const char *path, int flags)
{
	return sys_call(__NR_openat, dir, SYS_PTR(path), flags | O_CLOEXEC, 0, 0);
}

/* Without a NUL at the end. */
static inline long sys_readlink_at(int dir, const char *path, char *buf, size_t size)
{
	return sys_call(__NR_readlinkat, dir, SYS_PTR(path), SYS_PTR(buf), (long)size, 0);
}

static inline long sys_close(int fd)
{
	return sys_call(__NR_close, fd, 0, 0, 0, 0);
}

/* Nothing where @first is above @last. */
static inline void sys_close_range(unsigned first, unsigned last)
{
	sys_call(__NR_close_range, first, last, 0, 0, 0);
}

static inline long sys_read(int fd, void *buf, size_t len)
{
	return sys_call(__NR_read, fd, SYS_PTR(buf), (long)len, 0, 0);
}

static inline long sys_write(int fd, const void *buf, size_t len)
{
	return sys_call(__NR_write, fd, SYS_PTR(buf), (long)len, 0, 0);
}

static inline long sys_ioctl(int fd, unsigned long request, long arg)
{
	return sys_call(__NR_ioctl, fd, (long)request, arg, 0, 0);
}

/* Without FD_CLOEXEC. @to may be @from. */
static inline long sys_dup2(int from, int to)
{
	if (from == to)
		return sys_call(__NR_fcntl, from, F_SETFD, 0, 0, 0);
	return sys_call(__NR_dup3, from, to, 0, 0, 0);
}

static inline long sys_mknod(const char *path, unsigned mode, unsigned dev)
{
	return sys_call(__NR_mknodat, AT_FDCWD, SYS_PTR(path), mode, dev, 0);
}

static inline long sys_unlink(const char *path)
{
	return sys_call(__NR_unlinkat, AT_FDCWD, SYS_PTR(path), 0, 0, 0);
}

static inline long sys_mount(const char *what, const char *where, const char *type,
	unsigned long flags, const char *data)
{
	return sys_call(__NR_mount, SYS_PTR(what), SYS_PTR(where), SYS_PTR(type), (long)flags,
		SYS_PTR(data));
}

/* A new mount of @type to which no path leads: its root. */
static inline long sys_mount_detached(const char *type)
{
	long context = sys_call(__NR_fsopen, SYS_PTR(type), FSOPEN_CLOEXEC, 0, 0, 0), err;

	if (context < 0)
		return context;
	err = sys_call(__NR_fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0);
	if (err == 0)
		err = sys_call(__NR_fsmount, context, FSMOUNT_CLOEXEC, 0, 0, 0);
	sys_close((int)context);
	return err;
}

/* @where goes from sight at once, and for good when nothing uses it any more. */
static inline long sys_detach(const char *where)
{
	return sys_call(__NR_umount2, SYS_PTR(where), 2 /* MNT_DETACH */, 0, 0, 0);
}

static inline long sys_chdir(const char *path)
{
	return sys_call(__NR_chdir, SYS_PTR(path), 0, 0, 0, 0);
}

static inline long sys_chroot(const char *path)
{
	return sys_call(__NR_chroot, SYS_PTR(path), 0, 0, 0, 0);
}

static inline long sys_finit_module(int fd, const char *params)
{
	return sys_call(__NR_finit_module, fd, SYS_PTR(params), 0, 0, 0);
}

static inline long sys_execve(const char *path, char *const *argv, char *const *envp)
{
	return sys_call(__NR_execve, SYS_PTR(path), SYS_PTR(argv), SYS_PTR(envp), 0, 0);
}

static inline long sys_mkdir(const char *path, unsigned mode)
{
	return sys_call(__NR_mkdirat, AT_FDCWD, SYS_PTR(path), mode, 0, 0);
}

static inline long sys_symlink(const char *to, const char *path)
{
	return sys_call(__NR_symlinkat, SYS_PTR(to), AT_FDCWD, SYS_PTR(path), 0, 0);
}

/* @flags may hold O_CREAT. */
static inline long sys_create(const char *path, int flags, unsigned mode)
{
	return sys_call(__NR_openat, AT_FDCWD, SYS_PTR(path), flags | O_CLOEXEC, mode, 0);
}

static inline long sys_fchdir(int fd)
{
	return sys_call(__NR_fchdir, fd, 0, 0, 0, 0);
}

static inline long sys_fchmod(int fd, unsigned mode)
{
	return sys_call(__NR_fchmod, fd, mode, 0, 0, 0);
}

/* Whether the file, or what a link there leads to, exists; 0, or why it cannot be seen. */
static inline long sys_access(const char *path)
{
	return sys_call(__NR_faccessat, AT_FDCWD, SYS_PTR(path), 0 /* F_OK */, 0, 0);
}

static inline void sys_sync(void)
{
	sys_call(__NR_sync, 0, 0, 0, 0, 0);
}

/* Zeroed memory, taken from the system page by page as it is touched; a negative errno. */
static inline long sys_map(size_t len)
{
	return sys_call6(__NR_mmap, 0, (long)len, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

static inline void sys_unmap(void *at, size_t len)
{
	sys_call(__NR_munmap, SYS_PTR(at), (long)len, 0, 0, 0);
}

static inline long sys_getpid(void)
{
	return sys_call(__NR_getpid, 0, 0, 0, 0, 0);
}

static inline long sys_fork(void)
{
	return sys_call(__NR_clone, SIGCHLD, 0, 0, 0, 0);
}

/* With the child in the control group @group (O_PATH, or -1) from its beginning, if that can be. */
static inline long sys_fork_into(int group)
{
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)group
	};
	long pid =
		group < 0 ? -ENOSYS : sys_call(__NR_clone3, SYS_PTR(&args), sizeof(args), 0, 0, 0);

	return pid < 0 ? sys_fork() : pid;
}

static inline long sys_kill(int pid, int number)
{
	return sys_call(__NR_kill, pid, number, 0, 0, 0);
}

/* Children that have ended are nobody's business. */
static inline void sys_ignore_children(void)
{
	/* As the kernel has it, which is not glibc's struct sigaction. */
	const struct {
		long handler;
		unsigned long flags;
		long restorer;
		uint64_t mask;
	} ignore = { .handler = 1 /* SIG_IGN */ };

	sys_call(__NR_rt_sigaction, SIGCHLD, SYS_PTR(&ignore), 0, sizeof(ignore.mask), 0);
}

/* Both ends with O_CLOEXEC and @flags. */
static inline long sys_pipe(int ends[2], int flags)
{
	return sys_call(__NR_pipe2, SYS_PTR(ends), flags | O_CLOEXEC, 0, 0, 0);
}

static inline long sys_fcntl(int fd, int what, long arg)
{
	return sys_call(__NR_fcntl, fd, what, arg, 0, 0);
}

/* The kernel's signal set: bit N - 1 is signal N. */
static inline long sys_sigmask(uint64_t set)
{
	return sys_call(__NR_rt_sigprocmask, SIG_SETMASK, SYS_PTR(&set), 0, sizeof(set), 0);
}

static inline long sys_signalfd(uint64_t set)
{
	return sys_call(__NR_signalfd4, -1, SYS_PTR(&set), sizeof(set), O_CLOEXEC | O_NONBLOCK, 0);
}

/* @timeout_ms: -1 is for ever. */
static inline long sys_poll(struct pollfd *fds, unsigned count, int timeout_ms)
{
	struct __kernel_timespec t = { .tv_sec = timeout_ms / 1000,
		.tv_nsec = timeout_ms % 1000 * 1000000L };

	return sys_call(__NR_ppoll, SYS_PTR(fds), count, timeout_ms < 0 ? 0 : SYS_PTR(&t), 0, 0);
}

/* Any child, without waiting. */
static inline long sys_wait(int *status, struct rusage *usage)
{
	return sys_call(__NR_wait4, -1, SYS_PTR(status), WNOHANG, SYS_PTR(usage), 0);
}

static inline long sys_socket(int family, int type, int protocol)
{
	return sys_call(__NR_socket, family, type | SOCK_CLOEXEC, protocol, 0, 0);
}

static inline long sys_accept(int fd)
{
	return sys_call(__NR_accept4, fd, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* Without SIGPIPE. */
static inline long sys_send(int fd, const void *buf, size_t len)
{
	return sys_call6(__NR_sendto, fd, SYS_PTR(buf), (long)len, MSG_NOSIGNAL, 0, 0);
}

/* Nothing more is said there. */
static inline long sys_shutdown(int fd)
{
	return sys_call(__NR_shutdown, fd, SHUT_WR, 0, 0, 0);
}

static inline void sys_sleep_ms(unsigned ms)
{
	struct __kernel_timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	sys_call(__NR_nanosleep, SYS_PTR(&t), 0, 0, 0, 0);
}

/* Milliseconds of CLOCK_MONOTONIC. */
static inline uint64_t sys_now_ms(void)
{
	struct __kernel_timespec t = { 0 };

	sys_call(__NR_clock_gettime, 1 /* CLOCK_MONOTONIC */, SYS_PTR(&t), 0, 0, 0);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline void sys_restart(void)
{
	sys_call(__NR_reboot, (long)LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		LINUX_REBOOT_CMD_RESTART, 0, 0);
}

static inline void sys_power_off(void)
{
	sys_call(__NR_reboot, (long)LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		LINUX_REBOOT_CMD_POWER_OFF, 0, 0);
}

static inline void __attribute__((noreturn)) sys_exit(int status)
{
	for (;;)
		sys_call(__NR_exit_group, status, 0, 0, 0, 0);
}
