/*
 * Becomes QEMU, with a virtiofsd beside it:
 *
 *	peer_virtiofs VIRTIOFSD SOCKET DIRECTORY COMMAND...
 *
 * The socket listens before either starts, so both start at the same time and neither waits for
 * the other's file to appear: quicker than any script could. virtiofsd ends when QEMU does.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(int argc, char **argv)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char fd_word[32], source[4200];
	int null, fd;
	pid_t pid;

	if (argc < 5 || strlen(argv[2]) >= sizeof(addr.sun_path))
		return 2;
	strcpy(addr.sun_path, argv[2]);
	unlink(argv[2]);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 1) < 0)
		return fail(argv[2]);
	snprintf(fd_word, sizeof(fd_word), "--fd=%d", fd);
	snprintf(source, sizeof(source), "source=%s", argv[3]);
	pid = fork();
	if (pid < 0)
		return fail("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		null = open("/dev/null", O_RDWR);
		dup2(null, 0);
		dup2(null, 1);
		execl(argv[1], argv[1], fd_word, "-o", source, "-o", "cache=auto", (char *)NULL);
		_exit(fail(argv[1]));
	}
	close(fd);
	execvp(argv[4], argv + 4);
	return fail(argv[4]);
}
