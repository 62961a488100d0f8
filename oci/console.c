#include "oci/console.h"

#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

static int dial(const char *path, struct error *err)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), dir = -1;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const char *slash = strrchr(path, '/');

	if (strlen(path) < sizeof(addr.sun_path)) {
		strcpy(addr.sun_path, path);
	} else if (slash) { /* longer than an address may be: by its directory */
		_cleanup_free_ char *parent = strndup(path, (size_t)(slash - path));

		dir = parent ? open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
		snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/%.64s", dir,
			slash + 1);
	}
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return error_set(err, ERROR_HOST, errno, "--console-socket %s: %m", path);
	return take_fd(&fd);
}

static int send_master(int fd, int master, struct error *err)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	char name[64] = "/dev/ptmx";
	struct iovec iov = { name, strlen(name) };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &master, sizeof(int));
	if (sendmsg(fd, &msg, MSG_NOSIGNAL) < 0)
		return error_set(
			err, ERROR_HOST, errno, "--console-socket: nobody takes the terminal: %m");
	return 0;
}

int console_open_pair(struct console_pair *pair, const char *path,
	const struct oci_process *process, struct error *err)
{
	struct winsize ws = { .ws_row = process->rows, .ws_col = process->columns };
	_cleanup_close_ int fd = dial(path, err);

	if (fd < 0)
		return fd;
	pair->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (pair->master < 0 || grantpt(pair->master) < 0 || unlockpt(pair->master) < 0)
		return error_set(err, ERROR_HOST, errno, "process.terminal: %m");
	pair->slave = ioctl(pair->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (pair->slave < 0)
		return error_set(err, ERROR_HOST, errno, "process.terminal: %m");
	if (ws.ws_row && ws.ws_col)
		ioctl(pair->master, TIOCSWINSZ, &ws);
	return send_master(fd, pair->master, err);
}

void console_take_foreground(struct foreground *own)
{
	struct termios raw;

	own->taken = isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp() &&
		     tcgetattr(STDIN_FILENO, &own->saved) == 0;
	if (!own->taken)
		return;
	raw = own->saved;
	cfmakeraw(&raw);
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

void console_leave_foreground(const struct foreground *own)
{
	if (own->taken)
		tcsetattr(STDIN_FILENO, TCSANOW, &own->saved);
}

int console_take(int slave, struct error *err)
{
	setsid();
	if (slave < 0)
		return 0;
	if (ioctl(slave, TIOCSCTTY, 0) < 0 || dup2(slave, STDIN_FILENO) < 0 ||
		dup2(slave, STDOUT_FILENO) < 0 || dup2(slave, STDERR_FILENO) < 0)
		return error_set(err, ERROR_HOST, errno, "process.terminal: %m");
	close(slave);
	return 0;
}
