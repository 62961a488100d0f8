/* The socket to which the container says that it is ready, and other such things (sd_notify(3)). */
#include "guest/setup.h"
#include "guest/sys.h"

long notify_open(struct setup *setup, const char *path, struct text *why)
{
	/* Whoever is in the container may speak, whatever user he is. */
	struct placed_socket placed = { .path = path, .mode = 0666 };
	long err;

	text_add(why, "cannot make the socket for notifications ");
	text_add(why, path);
	if (*setup->notify >= 0)
		return -EBUSY;
	placed.fd = (int)sys_socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	if (placed.fd < 0)
		return placed.fd;
	err = sockets_place(setup, &placed);
	if (err == 0)
		*setup->notify = placed.fd;
	else
		sys_close(placed.fd);
	return err;
}
