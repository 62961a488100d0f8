#include "guest/process.h"
#include "guest/sys.h"
#include "guest/text.h"

#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <linux/termios.h>

static void close_end(int *fd)
{
	if (*fd >= 0)
		sys_close(*fd);
	*fd = -1;
}

void process_close_theirs(struct process_io *io, bool keep_terminal)
{
	for (int i = keep_terminal; i < 3; i++)
		close_end(&io->theirs[i]);
}

void process_close_io(struct process_io *io)
{
	process_close_theirs(io, false);
	close_end(&io->in);
	close_end(&io->out[0]);
	close_end(&io->out[1]);
}

/* Ours does not block; theirs, the other open file of the two, does. */
static long open_pipe(int *ours, int *theirs, bool we_write)
{
	int ends[2];
	long err = sys_pipe(ends, 0);

	if (err < 0)
		return err;
	*ours = ends[we_write];
	*theirs = ends[!we_write];
	return sys_fcntl(*ours, F_SETFL, O_NONBLOCK | (we_write ? O_WRONLY : O_RDONLY));
}

static long open_pipes(struct process_io *io, bool with_input)
{
	long err = 0;

	if (with_input) {
		err = open_pipe(&io->in, &io->theirs[0], true);
		io->theirs_owned[0] = true;
	} else {
		err = sys_open("/dev/null", O_RDONLY);
		io->theirs[0] = err < 0 ? -1 : (int)err;
	}
	for (int i = 0; err >= 0 && i < 2; i++) {
		err = open_pipe(&io->out[i], &io->theirs[1 + i], false);
		io->theirs_owned[1 + i] = true;
	}
	return err < 0 ? err : 0;
}

static long open_terminal(struct process_io *io, uint16_t rows, uint16_t columns)
{
	long fd = sys_open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK), err;
	int locked = 0;

	if (fd < 0)
		return fd;
	io->out[0] = (int)fd;
	err = sys_ioctl(io->out[0], TIOCSPTLCK, SYS_PTR(&locked));
	if (err == 0)
		err = io->in = (int)sys_fcntl(io->out[0], F_DUPFD_CLOEXEC, 3);
	for (int i = 0; err >= 0 && i < 3; i++) {
		err = sys_ioctl(io->out[0], TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
		io->theirs[i] = err < 0 ? -1 : (int)err;
		io->theirs_owned[i] = true;
	}
	if (err < 0)
		return err;
	if (rows || columns)
		process_resize(io->out[0], rows, columns);
	return 0;
}

long process_open_io(struct process_io *io, const struct message_start *start)
{
	long err;

	*io = (struct process_io){ .in = -1, .out = { -1, -1 }, .theirs = { -1, -1, -1 } };
	if (start->flags & AGENT_START_TERMINAL)
		err = open_terminal(io, start->rows, start->columns);
	else
		err = open_pipes(io, start->flags & AGENT_START_STDIN);
	if (err < 0)
		process_close_io(io);
	return err;
}

void process_be_console(const struct process_io *io)
{
	long tree = sys_call(__NR_open_tree, io->theirs[0], SYS_PTR(""),
		AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC, 0, 0);

	if (tree < 0)
		return;
	sys_call(__NR_move_mount, tree, SYS_PTR(""), AT_FDCWD, SYS_PTR("/dev/console"),
		MOVE_MOUNT_F_EMPTY_PATH);
	sys_close((int)tree);
}

void process_resize(int terminal, uint16_t rows, uint16_t columns)
{
	struct winsize size = { .ws_row = rows, .ws_col = columns };

	sys_ioctl(terminal, TIOCSWINSZ, SYS_PTR(&size));
}

size_t process_end_of_file(int terminal, bool line_begun, char keys[2])
{
	struct termios settings = { 0 };

	if (sys_ioctl(terminal, TCGETS, SYS_PTR(&settings)) < 0 || !(settings.c_lflag & ICANON))
		return 0;
	/* One passes on what was typed so far; one at the beginning of a line is the end. */
	keys[0] = keys[1] = (char)settings.c_cc[VEOF];
	return line_begun ? 2 : 1;
}
