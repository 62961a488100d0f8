#include "guest/waiting.h"

#include "guest/sys.h"

#include <linux/sched.h>

enum {
	FDS = 4, /* standard streams, and the pipe for the report */
	ASIDE = 3 + AGENT_DESCRIPTORS_MAX
};

/* Followed by the payload. The descriptors come with it. */
struct order {
	uint32_t len;
	uint8_t owned[3];
};

union control {
	struct cmsghdr header;
	char space[CMSG_SPACE(FDS * sizeof(int))];
};

/* ---- in the process that waits ---- */

static bool read_whole(int socket, uint8_t *to, size_t len)
{
	long n;

	for (; len; to += n, len -= (size_t)n)
		if ((n = sys_read(socket, to, len)) <= 0)
			return false;
	return true;
}

static bool receive(int socket, struct order *order, int fds[FDS])
{
	union control control = { 0 };
	struct iovec part = { order, sizeof(*order) };
	struct msghdr message = { .msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };
	long n = sys_call(__NR_recvmsg, socket, SYS_PTR(&message), MSG_CMSG_CLOEXEC, 0, 0);

	if (n != (long)sizeof(*order) || control.header.cmsg_len != CMSG_LEN(FDS * sizeof(int)))
		return false;
	memcpy(fds, CMSG_DATA(&control.header), FDS * sizeof(int));
	return true;
}

/* Out of the way of numbers that are wanted. */
static int aside(int fd)
{
	return (int)sys_fcntl(fd, F_DUPFD_CLOEXEC, ASIDE);
}

static void take_kept(const struct waiting *w)
{
	int fds[AGENT_DESCRIPTORS_MAX];

	for (unsigned i = 0; i < w->kept; i++)
		fds[i] = aside(w->keep[i].fd);
	for (unsigned i = 0; i < w->kept; i++)
		sys_dup2(fds[i], w->keep[i].number);
}

static void __attribute__((noreturn)) wait_here(const struct waiting *w, int socket)
{
	long err = sys_mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), at;
	struct wire_message m = { .type = AGENT_START };
	struct process_io io = { .in = -1, .out = { -1, -1 } };
	struct message_start start;
	struct order order;
	int fds[FDS];

	sys_write(socket, &err, sizeof(err));
	if (err < 0 || !receive(socket, &order, fds))
		sys_exit(127);
	at = sys_map(order.len);
	if ((at < 0 && at > -4096) || !read_whole(socket, (uint8_t *)at, order.len))
		sys_exit(127);
	m.payload = (const uint8_t *)at;
	m.len = order.len;
	for (int i = 0; i < 3; i++) {
		io.theirs[i] = aside(fds[i]);
		io.theirs_owned[i] = order.owned[i];
	}
	if (!message_start(&m, &start))
		sys_exit(127);
	fds[3] = aside(fds[3]);
	take_kept(w);
	process_become(&start, &io, fds[3]);
}

/* ---- in process 1 of the machine ---- */

long waiting_begin(struct waiting *w, int group, struct text *why)
{
	long err, said = 0;
	int ends[2], proc;

	text_add(why, "cannot make a pid namespace for the container");
	if (w->pid)
		return -EBUSY;
	err = sys_call(__NR_socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, SYS_PTR(ends), 0);
	if (err < 0)
		return err;
	proc = (int)sys_open("/proc", O_PATH | O_DIRECTORY);
	w->home = (int)sys_open_at(proc, "self/ns/pid", O_RDONLY);
	sys_detach("/proc");
	err = sys_call(__NR_unshare, CLONE_NEWPID, 0, 0, 0, 0);
	if (err == 0)
		err = sys_fork_into(group);
	if (err == 0) {
		sys_close(ends[0]);
		wait_here(w, ends[1]);
	}
	sys_close(ends[1]);
	if (err > 0) {
		w->pid = (int)err;
		w->socket = ends[0];
		for (unsigned i = 0; i < w->kept; i++)
			sys_close(w->keep[i].fd);
		w->apart = (int)sys_open_at(proc, "self/ns/pid_for_children", O_RDONLY);
		err = sys_read(ends[0], &said, sizeof(said)) == (long)sizeof(said) ? said : -EIO;
	}
	sys_close(proc);
	return err;
}

static void have_children_in(int namespace)
{
	sys_call(__NR_setns, namespace, CLONE_NEWPID, 0, 0, 0);
}

long waiting_fork_home(const struct waiting *w)
{
	bool changes = w->home > 0 && w->apart > 0;
	long pid;

	if (changes)
		have_children_in(w->home);
	pid = sys_fork();
	if (changes && pid != 0)
		have_children_in(w->apart);
	return pid;
}

static long send_order(int socket, const struct order *order, const int fds[FDS])
{
	union control control = { .header = { .cmsg_len = CMSG_LEN(FDS * sizeof(int)),
					  .cmsg_level = SOL_SOCKET,
					  .cmsg_type = SCM_RIGHTS } };
	struct iovec part = { (void *)order, sizeof(*order) };
	struct msghdr message = { .msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };

	memcpy(CMSG_DATA(&control.header), fds, FDS * sizeof(int));
	return sys_call(__NR_sendmsg, socket, SYS_PTR(&message), MSG_NOSIGNAL, 0, 0);
}

static long write_whole(int socket, const uint8_t *from, size_t len)
{
	long n;

	for (; len; from += n, len -= (size_t)n)
		if ((n = sys_write(socket, from, len)) <= 0)
			return n < 0 ? n : -EIO;
	return 0;
}

long waiting_start(
	struct waiting *w, const struct wire_message *m, const struct process_io *io, int *report)
{
	struct order order = { .len = m->len };
	int ends[2], fds[FDS], pid = w->pid;
	long err = sys_pipe(ends, 0);

	if (err < 0)
		return err;
	for (int i = 0; i < 3; i++) {
		fds[i] = io->theirs[i];
		order.owned[i] = io->theirs_owned[i];
	}
	fds[3] = ends[1];
	err = send_order(w->socket, &order, fds);
	if (err >= 0)
		err = write_whole(w->socket, m->payload, m->len);
	sys_close(ends[1]);
	sys_close(w->socket);
	w->pid = 0;
	if (err < 0) {
		sys_close(ends[0]);
		return err;
	}
	*report = ends[0];
	return pid;
}
