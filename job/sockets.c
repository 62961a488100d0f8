#include "job/sockets.h"

#include "util/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

static_assert((int)VM_LISTENS_MAX == AGENT_SOCKETS_MAX, "as many as the guest takes");
static_assert(sizeof(((struct vm_listen *)0)->key) == AGENT_KEY, "the same key");

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
	uint8_t key[AGENT_KEY];
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
	snprintf(sockets->path[i], sizeof(sockets->path[i]), "/proc/self/fd/%d", take_fd(&fd));
	if (getrandom(key, AGENT_KEY, 0) != AGENT_KEY)
		return error_set(
			err, ERROR_HOST, errno, "%s: cannot make a key for it: %m", source);
	sockets->socket[i] =
		(struct agent_socket){ .path = target, .port = AGENT_SOCKETS_PORT + i };
	vsock->listen[vsock->listens] =
		(struct vm_listen){ .port = AGENT_SOCKETS_PORT + i, .path = sockets->path[i] };
	memcpy(sockets->socket[i].key, key, AGENT_KEY);
	memcpy(vsock->listen[vsock->listens++].key, key, AGENT_KEY);
	sockets->count++;
	return 0;
}

/* Whether /proc is the kernel's: the root is the guest's, which might put something else there. */
static bool has_proc(void)
{
	_cleanup_close_ int fd = open("/proc", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct statfs fs;

	return fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

/* As with files: what is a plain user's looks to be the guest's root's, and the other way round. */
static uint32_t swap(uint32_t id, uint32_t own)
{
	return id == own ? 0 : id == 0 ? own : id;
}

int job_sockets_look(struct job_sockets *sockets, struct error *err)
{
	struct stat st;

	for (unsigned i = 0; i < sockets->count; i++) {
		struct agent_socket *s = &sockets->socket[i];

		if (!has_proc() || stat(sockets->path[i], &st) < 0)
			return error_set(err, ERROR_HOST, ENOENT,
				"%s: the socket for it cannot be reached without /proc in the root",
				s->path);
		s->mode = st.st_mode & 07777;
		s->uid = geteuid() ? swap(st.st_uid, geteuid()) : st.st_uid;
		s->gid = geteuid() ? swap(st.st_gid, getegid()) : st.st_gid;
	}
	return 0;
}
