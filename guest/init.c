/*
 * Process 1 of the initramfs that microvm makes: load the modules that this machine's devices and
 * root file system need, mount the root, hand over to its init; or, where the host supervises, do
 * as it says (guest/machine.h). What is in the archive, and what the host reads from the exit
 * status, is in guest/initramfs.h.
 *
 * Static, without a C library, a few KiB: the kernel unpacks and starts it in no time.
 */
#include "guest/cmdline.h"
#include "guest/initramfs.h"
#include "guest/machine.h"
#include "guest/modules.h"
#include "guest/report.h"
#include "guest/root.h"
#include "guest/sys.h"

#include <string.h>

enum { CONSOLE_WAIT_MS = 200 };

/* What is read at the start, kept in guest_start()'s frame for the life of the program. */
struct boot {
	char text[CMDLINE_MAX];	 /* the command line as it was given */
	char words[CMDLINE_MAX]; /* taken apart; what @cmdline points into */
	char plan[INITRAMFS_PLAN_MAX];
	struct cmdline cmdline;
	struct root_hints hints; /* points into @plan */
};

static void __attribute__((noreturn)) fail(const char *what, const char *name, long err)
{
	struct text line = { 0 };

	report_begin(&line);
	text_add(&line, what);
	text_add(&line, name);
	report_add_error(&line, err);
	report_fail(&line);
}

static void read_whole(const char *path, char *buf, size_t size)
{
	long fd = sys_open(path, O_RDONLY), n = fd;
	size_t len = 0;

	while (fd >= 0 && len < size - 1 && (n = sys_read((int)fd, buf + len, size - 1 - len)) > 0)
		len += (size_t)n;
	if (n < 0)
		fail("cannot read ", path, n);
	sys_close((int)fd);
	if (len && buf[len - 1] == '\n')
		len--;
	buf[len] = 0;
}

static void mount_here(const char *type, const char *where, unsigned long flags)
{
	long err = sys_mount(type, where, type, flags, NULL);

	if (err < 0 && err != -EBUSY)
		fail("cannot mount ", type, err);
}

/* Is @console in /proc/consoles, whose lines begin with a console's name? */
static bool console_is_there(const char *console)
{
	char buf[1024], *cursor = buf, *line, *rest;

	read_whole("/proc/consoles", buf, sizeof(buf));
	while ((line = text_line(&cursor)))
		if ((rest = text_after(line, console)) && (*rest == ' ' || !*rest))
			return true;
	return false;
}

/*
 * Move to the console whose driver has just been loaded. It is there at once, but where the device
 * negotiates several ports: then the kernel adds it a little later, and lists it (/proc/consoles)
 * even before it can be opened.
 */
static void change_console(const char *console)
{
	unsigned left = CONSOLE_WAIT_MS;

	for (; console && left && !console_is_there(console); left--)
		sys_sleep_ms(1);
	for (; !report_open_console() && left; left--)
		sys_sleep_ms(1);
}

/* Returns whether the host supervises, over vsock. */
static bool carry_out(struct boot *boot)
{
	char *cursor = boot->plan, *line, *rest;

	while ((line = text_line(&cursor))) {
		if ((rest = text_after(line, "need "))) {
			modules_load(rest, true, boot->text);
		} else if ((rest = text_after(line, "try "))) {
			modules_load(rest, false, boot->text);
		} else if (text_equal(line, "console")) {
			change_console(boot->cmdline.console);
		} else if ((rest = text_after(line, "type "))) {
			boot->hints.type = rest;
		} else if ((rest = text_after(line, "part "))) {
			boot->hints.part = rest;
		} else if (text_equal(line, "readonly")) {
			boot->hints.read_only = true;
		} else if (text_equal(line, "supervise")) {
			return true;
		} else {
			fail("the initramfs has a plan that this program does not know: ", line,
				-EINVAL);
		}
	}
	return false;
}

/* As the kernel does it (run_init_process() in init/main.c). Returns the error that tells most. */
static long run_init(const struct cmdline *cmdline, char **argv, char **envp)
{
	static const char *const usual[] = { "/sbin/init", "/etc/init", "/bin/init", "/bin/sh" };
	long err = -ENOENT, last;

	if (cmdline->init) {
		argv[0] = (char *)cmdline->init;
		return sys_execve(argv[0], argv, envp);
	}
	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++) {
		argv[0] = (char *)usual[i];
		last = sys_execve(argv[0], argv, envp);
		if (err == -ENOENT)
			err = last;
	}
	return err;
}

/* Called by _start. What the kernel did not know of its command line is in argv and envp. */
void __attribute__((noreturn)) guest_start(long *stack);

void __attribute__((noreturn)) guest_start(long *stack)
{
	char **argv = (char **)(stack + 1);
	char **envp = argv + stack[0] + 1;
	struct boot boot;
	long err;

	boot.hints = (struct root_hints){ 0 };
	sys_unlink("/dev/console");
	mount_here("devtmpfs", "/dev", 0);
	report_open_console();
	mount_here("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC);
	read_whole("/proc/cmdline", boot.text, sizeof(boot.text));
	memcpy(boot.words, boot.text, sizeof(boot.words));
	cmdline_parse(&boot.cmdline, boot.words);
	read_whole(INITRAMFS_PLAN, boot.plan, sizeof(boot.plan));
	if (carry_out(&boot))
		machine_run();
	root_mount(&boot.cmdline, &boot.hints);
	sys_unlink(INITRAMFS_PLAN);
	sys_unlink("/init");
	root_switch();
	err = run_init(&boot.cmdline, argv, envp);
	if (boot.cmdline.init)
		fail("cannot start init=", boot.cmdline.init, err);
	fail("the root file system has no init that starts (/sbin/init, /etc/init, /bin/init, "
	     "/bin/sh; another is named with init=)",
		"", err);
}
