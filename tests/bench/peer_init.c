/*
 * Process 1 of the peer's initramfs in the group `job`: loads /modules/00.ko, 01.ko ..., mounts the
 * virtio-fs tag "root", runs the words behind "--" of the kernel's command line in it with the
 * console as their streams, and ends the machine. As short as it can be: what it leaves out, the
 * peer need not do.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TRIES = 2000 }; /* ms that the console may take to appear */

static void end(const char *what)
{
	if (what)
		perror(what);
	sync();
	reboot(RB_AUTOBOOT);
	_exit(1);
}

static void load_modules(void)
{
	char path[32];

	for (int i = 0;; i++) {
		int fd;

		snprintf(path, sizeof(path), "/modules/%02d.ko", i);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return;
		if (syscall(SYS_finit_module, fd, "", 0) < 0)
			end(path);
		close(fd);
	}
}

static void open_console(void)
{
	int fd = -1;

	for (int i = 0; i < TRIES && fd < 0; i++) {
		fd = open("/dev/hvc0", O_RDWR);
		if (fd < 0)
			usleep(1000);
	}
	for (int i = 0; i < 3; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
}

int main(int argc, char **argv)
{
	pid_t pid;

	mount("dev", "/dev", "devtmpfs", 0, NULL);
	load_modules();
	open_console();
	if (mount("root", "/root", "virtiofs", 0, NULL) < 0)
		end("mount");
	if (mount("/dev", "/root/dev", NULL, MS_MOVE, NULL) < 0 || chroot("/root") < 0 ||
		chdir("/") < 0)
		end("root");
	mount("proc", "/proc", "proc", 0, NULL);
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	pid = fork();
	if (pid == 0) {
		setsid();
		if (argc > 1)
			execvp(argv[1], argv + 1);
		perror("exec");
		_exit(127);
	}
	while (wait(NULL) != pid)
		;
	end(NULL);
}
