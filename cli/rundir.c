#include "cli/rundir.h"

#include "util/cleanup.h"
#include "util/log.h"
#include "util/macros.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { INFO_BYTES_MAX = 1 << 20 };

struct rundir {
	char name[RUNDIR_NAME_MAX + 1];
	int base; /* the directory above */
	int dir;
	int lock;
	char *socket; /* that of --vsock, which is to be removed; or NULL */
};

/* ---- the directory above ---- */

static void base_path(char *path, size_t size)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	if (geteuid() == 0)
		snprintf(path, size, "/run/microvm");
	else if (runtime && *runtime == '/')
		snprintf(path, size, "%s/microvm", runtime);
	else
		snprintf(path, size, "/tmp/microvm-%u", geteuid());
}

/* Open it; it must be ours alone, for whoever may write there decides who is called what. */
static int open_base(bool make, struct error *err)
{
	_cleanup_close_ int fd = -1;
	char path[256];
	struct stat st;

	base_path(path, sizeof(path));
	if (make && mkdir(path, 0700) < 0 && errno != EEXIST)
		return error_set(err, ERROR_HOST, errno, "cannot make %s: %m", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return -ENOENT;
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(err, ERROR_HOST, errno, "cannot open %s: %m", path);
	if (st.st_uid != geteuid() || (st.st_mode & 022))
		return error_set(err, ERROR_HOST, EPERM,
			"%s belongs to somebody else, or others may write there: remove it", path);
	return take_fd(&fd);
}

static int lock_base(int base, struct error *err)
{
	int fd = openat(base, ".lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0 || flock(fd, LOCK_EX) < 0) {
		error_set(err, ERROR_HOST, errno, "cannot lock the list of machines: %m");
		if (fd >= 0)
			close(fd);
		return -EIO;
	}
	return fd;
}

/* ---- one directory ---- */

static void wipe(int base, int dir, const char *name)
{
	static const char *const files[] = { "vsock", "info", "info.new", "lock" };

	for (unsigned i = 0; i < ARRAY_SIZE(files); i++)
		unlinkat(dir, files[i], 0);
	if (unlinkat(base, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		log_debug("%s: cannot be removed: %m", name);
}

/* Its directory if the machine @name lives, -ESTALE (and *@out) if it died, -ENOENT. */
static int open_living(int base, const char *name, int *out)
{
	_cleanup_close_ int dir =
		openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_close_ int lock = -1;
	bool alive;

	if (dir < 0)
		return -ENOENT;
	lock = openat(dir, "lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	alive = lock >= 0 && flock(lock, LOCK_SH | LOCK_NB) < 0;
	*out = take_fd(&dir);
	return alive ? 0 : -ESTALE;
}

/* A socket that nobody listens at. -EADDRINUSE: somebody does; -EEXIST: it is no socket. */
static int remove_dead_socket(const struct sockaddr_un *addr)
{
	_cleanup_close_ int probe = -1;
	struct stat st;

	/* A file of somebody's: connect() would say of that as well that nobody listens. */
	if (lstat(addr->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return -EEXIST;
	probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (probe < 0 || connect(probe, (const struct sockaddr *)addr, sizeof(*addr)) == 0 ||
		errno != ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(addr->sun_path) < 0 ? -errno : 0;
}

/* The socket of a killed machine's --vsock, to which its directory has a link. */
static void remove_own_socket(int dir)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	ssize_t n = readlinkat(dir, "vsock", addr.sun_path, sizeof(addr.sun_path));

	if (n <= 0 || (size_t)n >= sizeof(addr.sun_path))
		return;
	addr.sun_path[n] = 0;
	if (remove_dead_socket(&addr) < 0)
		log_debug("%s: left as it is", addr.sun_path);
}

/* Remove what killed machines left; under the lock of the directory above. */
static void sweep(int base)
{
	int copy = openat(base, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;

	if (!d) {
		cleanup_close_fd(&copy);
		return;
	}
	while ((e = readdir(d))) {
		_cleanup_close_ int dir = -1;

		if (e->d_name[0] == '.' || open_living(base, e->d_name, &dir) != -ESTALE)
			continue;
		remove_own_socket(dir);
		wipe(base, dir, e->d_name);
	}
	closedir(d);
}

static void make_name(char *name, size_t size)
{
	uint32_t n = 0;

	if (getrandom(&n, sizeof(n), GRND_NONBLOCK) < 0)
		n = (uint32_t)getpid();
	snprintf(name, size, "vm-%08x", n);
}

/* Under the lock of the directory above. */
static int make(struct rundir *r, const char *name, struct error *err)
{
	for (int i = 0;; i++) {
		if (name)
			snprintf(r->name, sizeof(r->name), "%s", name);
		else
			make_name(r->name, sizeof(r->name));
		if (mkdirat(r->base, r->name, 0700) == 0)
			break;
		if (errno == EEXIST && name)
			return error_set(err, ERROR_BUSY, EEXIST,
				"--name %s: a machine of that name is running: see `microvm ps`",
				name);
		if (errno != EEXIST || i == 100)
			return error_set(err, ERROR_HOST, errno,
				"cannot make a directory for the machine %s: %m", r->name);
	}
	r->dir = openat(r->base, r->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (r->dir >= 0)
		r->lock = openat(r->dir, "lock", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (r->lock < 0 || flock(r->lock, LOCK_EX | LOCK_NB) < 0)
		return error_set(err, ERROR_HOST, errno,
			"cannot lock the directory of the machine %s: %m", r->name);
	return 0;
}

int rundir_create(struct rundir **out, const char *name, struct error *err)
{
	struct rundir *r = calloc(1, sizeof(*r));
	_cleanup_close_ int lock = -1;
	int e;

	*out = NULL;
	if (!r)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	r->dir = r->lock = -1;
	e = r->base = open_base(true, err);
	if (e >= 0)
		e = lock = lock_base(r->base, err);
	if (e >= 0) {
		sweep(r->base);
		e = make(r, name, err);
	}
	if (e < 0) {
		rundir_destroy(r);
		return e;
	}
	*out = r;
	return 0;
}

void rundir_destroy(struct rundir *r)
{
	if (!r)
		return;
	if (r->socket)
		unlinkat(AT_FDCWD, r->socket, 0);
	free(r->socket);
	if (r->lock >= 0)
		wipe(r->base, r->dir, r->name);
	cleanup_close_fd(&r->lock);
	cleanup_close_fd(&r->dir);
	cleanup_close_fd(&r->base);
	free(r);
}

const char *rundir_name(const struct rundir *r)
{
	return r->name;
}

/* Bind to @addr, in the place of a socket that nobody listens at. */
static int bind_anew(int fd, const struct sockaddr_un *addr)
{
	const struct sockaddr *sa = (const struct sockaddr *)addr;
	int r;

	if (bind(fd, sa, sizeof(*addr)) == 0)
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	r = remove_dead_socket(addr);
	if (r < 0)
		return r;
	return bind(fd, sa, sizeof(*addr)) < 0 ? -errno : 0;
}

/* The user's own place; `microvm exec` finds it by a link. */
static int listen_at(
	struct rundir *r, const char *path, struct sockaddr_un *addr, struct error *err)
{
	_cleanup_free_ char *whole = NULL;
	char *cwd = *path == '/' ? NULL : getcwd(NULL, 0);

	if (asprintf(&whole, "%s%s%s", cwd ? cwd : "", cwd ? "/" : "", path) < 0)
		whole = NULL;
	free(cwd);
	if (!whole || symlinkat(whole, r->dir, "vsock") < 0)
		return error_set(err, ERROR_HOST, errno, "--vsock %s: %m", path);
	if (strlen(path) >= sizeof(addr->sun_path) - sizeof("_4294967295"))
		return error_set(err, ERROR_USAGE, ENAMETOOLONG,
			"--vsock %s: longer than a socket's name may be (%zu bytes)", path,
			sizeof(addr->sun_path) - sizeof("_4294967295") - 1);
	strcpy(addr->sun_path, path);
	return 0;
}

int rundir_listen(struct rundir *r, const char *path, struct error *err)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int e;

	/* Through /proc/self/fd: the path may be longer than a socket's address. */
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/vsock", r->dir);
	e = path ? listen_at(r, path, &addr, err) : 0;
	if (e < 0)
		return e;
	e = fd < 0 ? -errno : bind_anew(fd, &addr);
	if (e == 0 && path)
		r->socket = strdup(path);
	if (e == 0 && listen(fd, 64) < 0)
		e = -errno;
	if (e < 0)
		return error_set(err, e == -EADDRINUSE ? ERROR_BUSY : ERROR_HOST, -e,
			"cannot make the socket %s of the machine %s: %s", path ? path : "vsock",
			r->name, strerror(-e));
	return take_fd(&fd);
}

static struct json_object *describe(
	const struct rundir *r, const char *root, const char *const *words)
{
	struct json_object *info = json_object_new_object(), *list = json_object_new_array();

	for (unsigned i = 0; words && words[i]; i++)
		json_object_array_add(list, json_object_new_string(words[i]));
	json_object_object_add(info, "name", json_object_new_string(r->name));
	json_object_object_add(info, "pid", json_object_new_int64(getpid()));
	json_object_object_add(info, "started", json_object_new_int64(time(NULL)));
	json_object_object_add(info, "root", json_object_new_string(root));
	json_object_object_add(info, "command", list);
	return info;
}

int rundir_describe(struct rundir *r, const char *root, const char *const *words, struct error *err)
{
	_cleanup_close_ int fd =
		openat(r->dir, "info.new", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct json_object *info = describe(r, root, words);
	const char *text = json_object_to_json_string_ext(info, JSON_C_TO_STRING_PLAIN);
	ssize_t len = (ssize_t)strlen(text), n = fd < 0 ? -1 : write(fd, text, (size_t)len);

	json_object_put(info);
	if (n != len || renameat(r->dir, "info.new", r->dir, "info") < 0)
		return error_set(err, ERROR_HOST, n >= 0 && n < len ? ENOSPC : errno,
			"cannot write what `microvm ps` tells of the machine %s: %m", r->name);
	return 0;
}

/* ---- those that run ---- */

static struct json_object *read_info(int dir)
{
	_cleanup_close_ int fd = openat(dir, "info", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	_cleanup_free_ char *text = malloc(INFO_BYTES_MAX + 1);
	ssize_t n = fd < 0 || !text ? -1 : read(fd, text, INFO_BYTES_MAX);

	if (n < 0)
		return NULL;
	text[n] = 0;
	return json_tokener_parse(text);
}

static const char *text_of(struct json_object *info, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(info, key, &value) ? json_object_get_string(value) : "";
}

static long long number_of(struct json_object *info, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(info, key, &value) ? json_object_get_int64(value) : 0;
}

static void fill(struct rundir_info *out, const char *name, struct json_object *info)
{
	char path[256];

	base_path(path, sizeof(path));
	*out = (struct rundir_info){ .pid = (pid_t)number_of(info, "pid"),
		.pidfd = -1,
		.started = number_of(info, "started"),
		.root = text_of(info, "root"),
		.command = text_of(info, "command") };
	snprintf(out->name, sizeof(out->name), "%s", name);
	snprintf(out->socket, sizeof(out->socket), "%.*s/%s/vsock",
		(int)(sizeof(out->socket) - sizeof("//vsock") - RUNDIR_NAME_MAX), path, out->name);
}

int rundir_find(struct rundir_info *out, const char *name, struct error *err)
{
	_cleanup_close_ int base = open_base(false, err);
	_cleanup_close_ int dir = -1, again = -1;
	struct json_object *info;

	if (base < 0 && base != -ENOENT)
		return base;
	info = base < 0 || open_living(base, name, &dir) < 0 ? NULL : read_info(dir);
	if (!info)
		return error_set(err, ERROR_USAGE, ESRCH,
			"no machine called '%s' is running: `microvm ps` lists them", name);
	fill(out, name, info);
	out->root = out->command = NULL;
	json_object_put(info);
	/* It still lives after the pidfd was made, so the pid is not somebody else's yet. */
	out->pidfd = pidfd_open(out->pid, 0);
	if (out->pidfd < 0 || open_living(base, name, &again) < 0) {
		cleanup_close_fd(&out->pidfd);
		return error_set(err, ERROR_USAGE, ESRCH, "the machine '%s' has just ended", name);
	}
	return 0;
}

static int is_machine(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

int rundir_list(
	void (*each)(void *ctx, const struct rundir_info *info), void *ctx, struct error *err)
{
	_cleanup_close_ int base = open_base(false, err);
	struct dirent **names;
	int n;

	if (base == -ENOENT)
		return 0;
	if (base < 0)
		return base;
	n = scandirat(base, ".", &names, is_machine, alphasort);
	if (n < 0)
		return error_set(err, ERROR_HOST, errno, "cannot read the list of machines: %m");
	for (int i = 0; i < n; i++) {
		_cleanup_close_ int dir = -1;
		struct json_object *json =
			open_living(base, names[i]->d_name, &dir) < 0 ? NULL : read_info(dir);
		struct rundir_info info;

		if (json) {
			fill(&info, names[i]->d_name, json);
			each(ctx, &info);
			json_object_put(json);
		}
		free(names[i]);
	}
	free(names);
	return 0;
}
