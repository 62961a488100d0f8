/*
 * Run while the program is built: compiles the seccomp filters with libseccomp and prints them as C
 * arrays, sandbox_filters.h. What each kind of thread may call is listed here, with the reason.
 *
 * Whatever is not listed raises SIGSYS (sandbox_handle_violations() reports it and ends the
 * process).
 */
#include <err.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* Every thread: the C library's own needs (locks, memory, thread end), log lines, the way out. */
static const char *const common[] = { "futex", "sched_yield", "clock_gettime", "clock_nanosleep",
	"restart_syscall",			      /* waiting */
	"mmap", "munmap", "madvise", "brk", "mremap", /* malloc; see below for what mmap may not */
	"rt_sigreturn", "rt_sigprocmask", "getpid", "gettid", "tgkill", /* pthread_kill, abort */
	"write", "writev",						/* log, eventfds, console */
	"poll", "ppoll", /* a console that cannot take more yet */
	"close", "exit", "exit_group", "rseq", "set_robust_list", NULL };

/* Main waits on its descriptors, joins threads, releases what was set up. */
static const char *const main_calls[] = { "read", "fcntl", "fstat", "newfstatat", "lseek", "sendto",
	"recvfrom", "accept4", /* the guest program's connection; commands */
	"unlinkat",	       /* the machine's entry among those that run */
	"dup3", /* an output that the guest's process has closed is to end here, too */
	NULL };

/* A vCPU runs the guest; its device callbacks are in `common`. */
static const char *const vcpu_calls[] = { NULL };

/* A worker has its ring, makes small writes to a disk itself, and reads a terminal. */
static const char *const worker_calls[] = { "io_uring_enter", "pwritev", "read", "readv", NULL };

/* libslirp: sockets for each connection of the guest, and the host's resolver settings. */
static const char *const user_net_calls[] = { "socket", "socketpair", "bind", "listen", "accept",
	"accept4", "connect", "shutdown", "getsockname", "getpeername", "getsockopt", "setsockopt",
	"sendto", "sendmsg", "recvfrom", "recvmsg", "epoll_ctl", "epoll_wait", "epoll_pwait",
	"fcntl", "fstat", "newfstatat", "lseek", "getrandom", "uname", "gettimeofday", "time",
	NULL };

/* Streams between the guest and unix sockets (vsock/). */
static const char *const vsock_calls[] = { "io_uring_enter", "accept4",
	"recvfrom",	      /* the host's calls, and the line each begins with */
	"recvmsg", "sendmsg", /* what flows */
	"shutdown",	      /* one side is done */
	"epoll_ctl", "epoll_wait", "epoll_pwait", /* who can go on */
	NULL };

/*
 * The guest's calls to what listens on the host, where that was asked for. A filter cannot see
 * which path is connected to; but socket() makes AF_UNIX ones only, see allow_unix_socket().
 */
static const char *const vsock_connect_calls[] = { "connect", NULL };

/*
 * A shared directory: names are looked up, made and removed relative to a directory's descriptor,
 * content is read and written, locks are tried. The thread's own ids and capabilities are switched
 * within what it kept. Of fcntl only locks that do not wait.
 */
static const char *const fs_calls[] = { "openat", "statx", "fstat", "newfstatat", "fstatfs",
	"readlinkat", "getdents64", "lseek", /* look */
	"mkdirat", "mknodat", "symlinkat", "linkat", "unlinkat", "renameat",
	"renameat2",								 /* names */
	"fchmodat", "fchownat", "utimensat", "truncate", "ftruncate",		 /* attributes */
	"getxattr", "setxattr", "listxattr", "removexattr",			 /* more of them */
	"preadv", "preadv2", "pread64", "pwritev2", "pwrite64",			 /* content */
	"fsync", "fdatasync", "syncfs", "fallocate", "copy_file_range", "flock", /* and the rest */
	"setfsuid", "setfsgid", "capset", NULL };
static const int fs_fcntls[] = { F_OFD_SETLK, F_OFD_GETLK, 0 };

/* What the run-time of a sanitizer does besides; only in such builds. */
static const char *const sanitizer_calls[] = { "sigaltstack", "prctl", "sched_getaffinity",
	"readlink", "prlimit64", "getrandom", "process_vm_readv", "pipe2", "read", "rt_sigaction",
	"openat", "clone", "wait4", "ptrace", "getppid", "getdents64", "fstat", "newfstatat",
	"lseek", "set_tid_address", NULL };

static const unsigned long common_ioctls[] = { TCGETS, TCSETS, TCSETSW,
	TCSETSF, /* the terminal, put back on any way out */
	0 };
static const unsigned long main_ioctls[] = { TIOCGWINSZ, 0 };
static const unsigned long vcpu_ioctls[] = { KVM_RUN, KVM_GET_REGS, KVM_GET_SREGS, 0 };
static const unsigned long worker_ioctls[] = { TUNSETOFFLOAD,
	TUNSETQUEUE, /* what the driver negotiated and how many queues it uses */
	0 };
static const unsigned long user_net_ioctls[] = { FIONREAD, 0 };

static void check(int r, const char *what)
{
	if (r < 0) {
		fprintf(stderr, "sandbox_gen: %s: %s\n", what, strerror(-r));
		exit(1);
	}
}

static void allow(scmp_filter_ctx ctx, const char *const *calls)
{
	for (; *calls; calls++) {
		int nr = seccomp_syscall_resolve_name(*calls);

		if (nr == __NR_SCMP_ERROR) {
			fprintf(stderr, "sandbox_gen: no system call %s\n", *calls);
			exit(1);
		}
		/* No memory that is both written and run: the only argument checks malloc needs. */
		if (!strcmp(*calls, "mmap"))
			check(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 1,
				      SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)),
				*calls);
		else
			check(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0), *calls);
	}
	/* Thread stacks and heaps change protection, never to executable. */
	check(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
		      SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)),
		"mprotect");
}

static void allow_ioctls(scmp_filter_ctx ctx, const unsigned long *requests)
{
	for (; *requests; requests++)
		check(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
			      SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff, *requests)),
			"ioctl");
}

static void allow_fcntls(scmp_filter_ctx ctx, const int *commands)
{
	for (; *commands; commands++)
		check(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
			      SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)*commands)),
			"fcntl");
}

/* Files for reading only: the resolver settings that libslirp looks at again as they change. */
static void allow_open_readonly(scmp_filter_ctx ctx)
{
	check(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
		      SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY)),
		"openat");
}

/* How much the kernel holds for a stream: less where there are many. */
static void allow_send_buffer(scmp_filter_ctx ctx)
{
	check(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 2,
		      SCMP_A1(SCMP_CMP_EQ, SOL_SOCKET), SCMP_A2(SCMP_CMP_EQ, SO_SNDBUF)),
		"setsockopt");
}

static void allow_unix_socket(scmp_filter_ctx ctx)
{
	check(seccomp_rule_add(
		      ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, AF_UNIX)),
		"socket");
}

static scmp_filter_ctx begin(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_TRAP);

	if (!ctx)
		errx(1, "seccomp_init failed");
	/* A binary search instead of a long walk: the filter runs at every call. */
	check(seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2), "optimize");
	allow(ctx, common);
	if (SANITIZED)
		allow(ctx, sanitizer_calls);
	allow_ioctls(ctx, common_ioctls);
	return ctx;
}

static void print_filter(scmp_filter_ctx ctx, const char *name)
{
	int fd = memfd_create(name, 0);
	struct sock_filter insn;

	if (fd < 0)
		err(1, "memfd_create");
	check(seccomp_export_bpf(ctx, fd), "export");
	lseek(fd, 0, SEEK_SET);
	printf("static const struct sock_filter %s[] = {\n", name);
	while (read(fd, &insn, sizeof(insn)) == sizeof(insn))
		printf("\t{ %#x, %u, %u, %#x },\n", insn.code, insn.jt, insn.jf, insn.k);
	printf("};\n\n");
	close(fd);
	seccomp_release(ctx);
}

int main(void)
{
	scmp_filter_ctx ctx;

	printf("/* Generated by vmm/sandbox_gen.c: do not edit. */\n#include <linux/filter.h>\n\n");

	ctx = begin();
	allow(ctx, main_calls);
	allow_ioctls(ctx, main_ioctls);
	print_filter(ctx, "filter_main");

	ctx = begin();
	allow(ctx, vcpu_calls);
	allow_ioctls(ctx, vcpu_ioctls);
	print_filter(ctx, "filter_vcpu");

	ctx = begin();
	allow(ctx, worker_calls);
	allow_ioctls(ctx, worker_ioctls);
	print_filter(ctx, "filter_worker");

	ctx = begin();
	allow(ctx, worker_calls);
	allow(ctx, user_net_calls);
	allow_ioctls(ctx, worker_ioctls);
	allow_ioctls(ctx, user_net_ioctls);
	allow_open_readonly(ctx);
	print_filter(ctx, "filter_user_net");

	ctx = begin();
	allow(ctx, vsock_calls);
	allow_send_buffer(ctx);
	print_filter(ctx, "filter_vsock");

	ctx = begin();
	allow(ctx, vsock_calls);
	allow_send_buffer(ctx);
	allow(ctx, vsock_connect_calls);
	allow_unix_socket(ctx);
	print_filter(ctx, "filter_vsock_connect");

	ctx = begin();
	allow(ctx, worker_calls);
	allow(ctx, fs_calls);
	allow_ioctls(ctx, worker_ioctls);
	allow_fcntls(ctx, fs_fcntls);
	print_filter(ctx, "filter_fs");
	return 0;
}
