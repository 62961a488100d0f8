#include "job/sockets.h"

#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

bool job_sockets_is_datagram(int fd)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	_cleanup_close_ int probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d", fd);
	/* Nothing is sent, so nobody hears of it; a socket of another type says so. */
	return connect(probe, (struct sockaddr *)&at, sizeof(at)) == 0;
}

int job_sockets_add(struct job_sockets *sockets, const char *source, const char *target,
	struct vm_vsock *vsock, struct error *err)
{
	unsigned i = sockets->count;
	_cleanup_close_ int fd = -1;

	if (i == VM_LISTENS_MAX)
		return error_set(err, ERROR_USAGE, E2BIG,
			"%s: a machine takes %d sockets of the host's at most", source,
			VM_LISTENS_MAX);
	fd = open(source, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, ERROR_USAGE, errno, "%s: %m", source);
	if (job_sockets_is_datagram(fd))
		return error_set(err, ERROR_USAGE, EPROTOTYPE,
			"%s: a socket for datagrams: only streams are carried into a machine",
			source);
	sockets->fd[i] = take_fd(&fd);
	snprintf(sockets->path[i], sizeof(sockets->path[i]), "/proc/self/fd/%d", sockets->fd[i]);
	sockets->socket[i] =
		(struct agent_socket){ .path = target, .port = AGENT_SOCKETS_PORT + i };
	vsock->listen[vsock->listens++] =
		(struct vm_listen){ .port = AGENT_SOCKETS_PORT + i, .path = sockets->path[i] };
	sockets->count++;
	return 0;
}

static bool leads_to(const char *path, int fd, struct stat *st)
{
	struct stat found;

	return fstat(fd, st) == 0 && stat(path, &found) == 0 && found.st_dev == st->st_dev &&
	       found.st_ino == st->st_ino;
}

int job_sockets_look(struct job_sockets *sockets, struct error *err)
{
	uid_t user = geteuid();
	struct stat st;

	for (unsigned i = 0; i < sockets->count; i++) {
		struct agent_socket *s = &sockets->socket[i];

		if (!leads_to(sockets->path[i], sockets->fd[i], &st))
			return error_set(err, ERROR_HOST, ENOENT,
				"%s: the socket for it cannot be reached without /proc in the root",
				s->path);
		s->mode = st.st_mode & 07777;
		/* As with files: what is a plain user's looks to be the guest's root's. */
		s->uid = st.st_uid == user ? 0 : st.st_uid;
		s->gid = st.st_gid;
	}
	return 0;
}
