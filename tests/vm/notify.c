/*
 * Both ends of sd_notify(3): `notify listen PATH` prints what comes to the socket PATH (@NAME for an
 * abstract one), a line behind each, until it is killed; `notify TEXT...` sends each TEXT to
 * $NOTIFY_SOCKET, with \n in it for the ends of lines.
 */
#include <err.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static socklen_t address(struct sockaddr_un *at, const char *name)
{
	size_t len = strlen(name);

	*at = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (len >= sizeof(at->sun_path))
		errx(1, "%s: too long", name);
	memcpy(at->sun_path, name, len);
	if (*name == '@')
		at->sun_path[0] = 0;
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (*name != '@'));
}

static void put(int fd, char *text)
{
	char *to = text;

	for (const char *from = text; *from; from++) {
		if (from[0] == '\\' && from[1] == 'n') {
			*to++ = '\n';
			from++;
		} else {
			*to++ = *from;
		}
	}
	if (send(fd, text, (size_t)(to - text), 0) < 0)
		err(1, "send");
}

int main(int argc, char **argv)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	const char *name = getenv("NOTIFY_SOCKET");
	struct sockaddr_un at;
	char text[8192];
	socklen_t len;
	ssize_t n;

	if (argc == 3 && !strcmp(argv[1], "listen")) {
		len = address(&at, argv[2]);
		if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) < 0)
			err(1, "%s", argv[2]);
		while ((n = recv(fd, text, sizeof(text), 0)) >= 0)
			if (write(1, text, (size_t)n) != n || write(1, "\n", 1) != 1)
				return 1;
		err(1, "recv");
	}
	if (!name)
		errx(1, "NOTIFY_SOCKET is not set");
	len = address(&at, name);
	if (fd < 0 || connect(fd, (struct sockaddr *)&at, len) < 0)
		err(1, "%s", name);
	for (int i = 1; i < argc; i++)
		put(fd, argv[i]);
	return 0;
}
