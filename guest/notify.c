/* The socket to which the container says that it is ready, and other such things (sd_notify(3)). */
#include "guest/setup.h"
#include "guest/sys.h"

#include <sys/un.h>

static long make_socket(const char *name, const void *what)
{
	const int *fd = what;
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	long err;

	memcpy(at.sun_path, name, strlen(name) + 1);
	err = sys_call(__NR_bind, *fd, SYS_PTR(&at), sizeof(at), 0, 0);
	/* Whoever is in the container may speak, whatever user he is. */
	return err < 0 ? err : sys_call(__NR_fchmodat, AT_FDCWD, SYS_PTR(name), 0666, 0, 0);
}

long notify_open(struct setup *setup, const char *path, struct text *why)
{
	int fd = (int)sys_socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	long err = fd;

	text_add(why, "cannot make the socket for notifications ");
	text_add(why, path);
	if (fd >= 0)
		err = *setup->notify >= 0 ? -EBUSY : mounts_hide(setup, path, make_socket, &fd);
	if (err == 0)
		*setup->notify = fd;
	else if (fd >= 0)
		sys_close(fd);
	return err;
}
