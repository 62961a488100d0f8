#include "oci/cgroup_internal.h"

#include "oci/userns.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/macros.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

enum { REMOVE_WAIT_MS = 1000, DEPTH_MAX = 16 };

/* ---- files ---- */

int cgroup_read(const struct oci_cgroup *cgroup, const char *name, char *text, size_t size)
{
	_cleanup_close_ int fd = openat(cgroup->dir, name, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	while (len < size - 1 && (n = read(fd, text + len, size - 1 - len)) != 0) {
		if (n < 0 && errno != EINTR)
			return -errno;
		len += n > 0 ? (size_t)n : 0;
	}
	text[len] = 0;
	return (int)len;
}

int cgroup_write(const struct oci_cgroup *cgroup, const char *name, const char *text)
{
	_cleanup_close_ int fd = openat(cgroup->dir, name, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	do {
		n = write(fd, text, strlen(text));
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

bool cgroup_number(const char *text, const char *key, uint64_t *n)
{
	size_t len = key ? strlen(key) : 0;

	for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
		const char *at = text;
		char *end;

		if (key && (strncmp(at, key, len) || at[len] != ' '))
			continue;
		at += key ? len + 1 : 0;
		if (!isdigit((unsigned char)*at))
			return false;
		errno = 0;
		*n = strtoull(at, &end, 10);
		return !errno && (*end == '\n' || !*end);
	}
	return false;
}

/* ---- making one ---- */

static int check_root(struct error *err)
{
	struct statfs fs;

	if (statfs(CGROUP_ROOT, &fs) < 0)
		return error_set(err, ERROR_HOST, errno, CGROUP_ROOT ": %m");
	if (fs.f_type == CGROUP2_SUPER_MAGIC)
		return 0;
	return error_set(err, ERROR_HOST, EOPNOTSUPP,
		"this host's control groups are of version 1, of which nothing is made here: boot it "
		"with systemd.unified_cgroup_hierarchy=1, or mount cgroup2 on " CGROUP_ROOT);
}

/*
 * Each by itself: that one is not to be had keeps no other away. Limits tell later what lacks. A group
 * that has processes itself would become a threaded one, below which ours could not be; only the
 * kernel's first group, which has no type, may.
 */
static void enable_controllers(const struct oci_cgroup *cgroup)
{
	static const char *const wanted[] = { "+cpu", "+memory", "+io", "+pids", "+cpuset",
		"+hugetlb" };
	char text[32];

	if (cgroup_read(cgroup, "cgroup.type", text, sizeof(text)) > 0 &&
		cgroup_read(cgroup, "cgroup.procs", text, sizeof(text)) != 0)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(wanted); i++)
		(void)cgroup_write(cgroup, "cgroup.subtree_control", wanted[i]);
}

/* The group @path and those above it that are not there yet. 1: we may not. */
static int make_groups(struct oci_cgroup *cgroup, const char *path, struct error *err)
{
	_cleanup_close_ int dir = open(cgroup->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char part[NAME_MAX + 1];

	if (dir < 0)
		return error_set(err, ERROR_HOST, errno, "%s: %m", cgroup->root);
	while (*(path += strspn(path, "/"))) {
		struct oci_cgroup above = { .dir = dir };
		size_t len = strcspn(path, "/");
		int next;

		snprintf(part, sizeof(part), "%.*s", (int)MIN(len, sizeof(part)), path);
		if (len >= sizeof(part) || !strcmp(part, "..") || !strcmp(part, "."))
			return error_set(err, ERROR_USAGE, EINVAL,
				"linux.cgroupsPath: \"%s\" cannot be part of the path of a group",
				part);
		path += len;
		if (!cgroup->systemd) /* which does it for those that it delegates */
			enable_controllers(&above);
		if (mkdirat(dir, part, 0755) < 0 && errno != EEXIST) {
			if ((errno == EACCES || errno == EPERM || errno == EROFS) &&
				!userns_host_root())
				return 1;
			return error_set(err, ERROR_HOST, errno,
				"linux.cgroupsPath: cannot make the group \"%s\": %m", part);
		}
		next = openat(dir, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0)
			return error_set(err, ERROR_HOST, errno,
				"linux.cgroupsPath: cannot open the group \"%s\": %m", part);
		close(dir);
		dir = next;
	}
	cgroup->dir = take_fd(&dir);
	return 0;
}

static int check_empty(const struct oci_cgroup *cgroup, struct error *err)
{
	char pids[64];

	if (cgroup_read(cgroup, "cgroup.procs", pids, sizeof(pids)) > 0)
		return error_set(err, ERROR_BUSY, EBUSY,
			"linux.cgroupsPath: there are processes in the group \"%s\" already (%.*s): "
			"is it another container's?",
			cgroup->path, (int)strcspn(pids, "\n"), pids);
	return 0;
}

char *oci_cgroup_path_wanted(const char *path, const char *id)
{
	const char *slash = path && *path == '/' ? "" : "/";
	char *wanted;

	return asprintf(&wanted, "%s%s", slash, path && *path ? path : id) < 0 ? NULL : wanted;
}

static int make_with_cgroupfs(
	struct oci_cgroup *cgroup, const char *path, const char *id, struct error *err)
{
	int r;

	cgroup->path = oci_cgroup_path_wanted(path, id);
	if (!cgroup->path)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	r = make_groups(cgroup, cgroup->path, err);
	if (r == 1) {
		*cgroup->path = 0;
		return 0;
	}
	return r < 0 ? r : check_empty(cgroup, err);
}

/* Where systemd has put process @pid. */
static char *group_of(pid_t pid)
{
	_cleanup_fclose_ FILE *f = NULL;
	char file[64], line[PATH_MAX];

	snprintf(file, sizeof(file), "/proc/%d/cgroup", pid);
	f = fopen(file, "re");
	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		if (!strncmp(line, "0::", 3))
			return strdup(line + 3);
	}
	return NULL;
}

static int make_with_systemd(
	struct oci_cgroup *cgroup, const char *path, const char *id, pid_t pid, struct error *err)
{
	_cleanup_free_ char *slice = NULL, *unit = NULL, *scope = NULL;
	bool user = !userns_host_root();
	int r = cgroup_systemd_names(&slice, &unit, path, id, user, err);

	if (r == 0)
		r = cgroup_systemd_start(slice, unit, pid, user, err);
	if (r < 0)
		return r;
	scope = group_of(pid);
	if (!scope || asprintf(&cgroup->path, "%s/container", scope) < 0) {
		cgroup->path = NULL;
		cgroup_systemd_stop(unit, user);
		return error_set(err, ERROR_HOST, ENOMEM, "cannot tell the group of %s", unit);
	}
	/* The process must go in first: a group with processes takes no controllers for those below. */
	r = make_groups(cgroup, cgroup->path, err);
	if (r == 0)
		r = oci_cgroup_enter(cgroup, pid, err);
	if (r == 0) {
		struct oci_cgroup above = { .dir = openat(cgroup->dir, "..", O_PATH | O_CLOEXEC) };

		enable_controllers(&above);
		close(above.dir);
	}
	if (r != 0)
		cgroup_systemd_stop(unit, user);
	return r == 1 ? error_set(err, ERROR_HOST, EACCES,
				"linux.cgroupsPath: systemd's scope %s is not delegated to us",
				unit)
		      : r;
}

static struct oci_cgroup *new_cgroup(const char *root, bool systemd)
{
	struct oci_cgroup *cgroup = calloc(1, sizeof(*cgroup));

	if (!cgroup)
		return NULL;
	cgroup->root = strdup(root);
	cgroup->systemd = systemd;
	cgroup->dir = -1;
	return cgroup;
}

int cgroup_create_in(struct oci_cgroup **out, const char *root, const char *path, const char *id,
	bool systemd, pid_t pid, struct error *err)
{
	struct oci_cgroup *cgroup = new_cgroup(root, systemd);
	int r;

	if (!cgroup || !cgroup->root) {
		oci_cgroup_free(cgroup);
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	}
	if (systemd) {
		r = make_with_systemd(cgroup, path, id, pid, err);
	} else {
		r = make_with_cgroupfs(cgroup, path, id, err);
		if (r == 0 && cgroup->dir >= 0)
			r = oci_cgroup_enter(cgroup, pid, err);
	}
	if (r < 0) {
		oci_cgroup_free(cgroup);
		return r;
	}
	*out = cgroup;
	return 0;
}

int oci_cgroup_create(struct oci_cgroup **out, const char *path, const char *id, bool systemd,
	pid_t pid, struct error *err)
{
	int r = check_root(err);

	return r < 0 ? r : cgroup_create_in(out, CGROUP_ROOT, path, id, systemd, pid, err);
}

int cgroup_open_in(struct oci_cgroup **out, const char *root, const char *path, bool systemd,
	struct error *err)
{
	struct oci_cgroup *cgroup = new_cgroup(root, systemd);
	_cleanup_free_ char *whole = NULL;

	if (cgroup)
		cgroup->path = strdup(path);
	if (!cgroup || !cgroup->root || !cgroup->path || asprintf(&whole, "%s%s", root, path) < 0) {
		whole = NULL;
		oci_cgroup_free(cgroup);
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	}
	if (*path)
		cgroup->dir = open(whole, O_PATH | O_DIRECTORY | O_CLOEXEC);
	*out = cgroup;
	return 0;
}

int oci_cgroup_open(struct oci_cgroup **out, const char *path, bool systemd, struct error *err)
{
	return cgroup_open_in(out, CGROUP_ROOT, path, systemd, err);
}

void oci_cgroup_free(struct oci_cgroup *cgroup)
{
	if (!cgroup)
		return;
	cleanup_close_fd(&cgroup->dir);
	free(cgroup->path);
	free(cgroup->root);
	free(cgroup);
}

const char *oci_cgroup_path(const struct oci_cgroup *cgroup)
{
	return cgroup->path;
}

void oci_cgroup_set_guest_memory(struct oci_cgroup *cgroup, uint64_t bytes)
{
	cgroup->guest_memory = bytes;
}

int oci_cgroup_enter(struct oci_cgroup *cgroup, pid_t pid, struct error *err)
{
	char text[16];
	int r;

	snprintf(text, sizeof(text), "%d", pid);
	r = cgroup->dir < 0 ? -ENOENT : cgroup_write(cgroup, "cgroup.procs", text);
	if (r == 0)
		return 0;
	errno = -r;
	return error_set(err, ERROR_HOST, -r,
		"linux.cgroupsPath: cannot put process %d into the group \"%s\": %m", pid,
		cgroup->path);
}

int oci_cgroup_leave(struct oci_cgroup *cgroup, pid_t pid, struct error *err)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;

	if (asprintf(&path, "%s/cgroup.procs", cgroup->root) < 0) {
		path = NULL;
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	}
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || dprintf(fd, "%d", pid) < 0)
		return error_set(err, ERROR_HOST, errno,
			"linux.cgroupsPath: the devices /dev/kvm and /dev/net/tun are forbidden in "
			"the group \"%s\", and process %d cannot leave it for a while: %m",
			cgroup->path, pid);
	return 0;
}

/* ---- what is done to the processes in it ---- */

/* Linux before 5.14. Those that are made meanwhile are found on the next round. */
static int kill_each(struct oci_cgroup *cgroup)
{
	char text[8192];

	for (int round = 0; round < 100; round++) {
		char *p = text, *end;

		if (cgroup_read(cgroup, "cgroup.procs", text, sizeof(text)) <= 0)
			return 0;
		for (long pid; (pid = strtol(p, &end, 10)) > 0; p = end)
			kill((pid_t)pid, SIGKILL);
		usleep(1000);
	}
	return -EBUSY;
}

int oci_cgroup_kill(struct oci_cgroup *cgroup, struct error *err)
{
	int r = cgroup->dir < 0 ? 0 : cgroup_write(cgroup, "cgroup.kill", "1");

	if (r == -ENOENT)
		r = kill_each(cgroup);
	if (r == 0 || r == -ENODEV)
		return 0;
	errno = -r;
	return error_set(err, ERROR_HOST, -r, "cannot end the processes in the group \"%s\": %m",
		cgroup->path);
}

/* ---- the end ---- */

/* The groups below the open folder @dir, and theirs. 0 or a negative errno. */
static int remove_below(int dir, unsigned depth)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!list)
		return -errno;
	while ((entry = readdir(list))) {
		_cleanup_close_ int child = -1;

		if (entry->d_type != DT_DIR || *entry->d_name == '.')
			continue;
		child = openat(
			dirfd(list), entry->d_name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (child >= 0 && depth < DEPTH_MAX)
			remove_below(child, depth + 1);
		if (unlinkat(dirfd(list), entry->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT)
			r = -errno;
	}
	closedir(list);
	return r;
}

static int remove_group(const char *whole)
{
	_cleanup_close_ int dir = -1;

	for (int64_t end = now_ms() + REMOVE_WAIT_MS;;) {
		if (rmdir(whole) == 0 || errno == ENOENT)
			return 0;
		if (dir < 0)
			dir = open(whole, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (dir >= 0)
			remove_below(dir, 0);
		if (rmdir(whole) == 0 || errno == ENOENT)
			return 0;
		if (errno != EBUSY || now_ms() > end)
			return -errno;
		usleep(2000);
	}
}

/* The scope goes by itself when it is empty; its name must be free when we are done. */
static void await_scope_end(char *whole)
{
	char *slash = strrchr(whole, '/'), *unit;

	*slash = 0;
	unit = strrchr(whole, '/');
	if (!unit || !strstr(unit, ".scope"))
		return;
	for (int64_t end = now_ms() + REMOVE_WAIT_MS; access(whole, F_OK) == 0;) {
		if (now_ms() > end) {
			cgroup_systemd_stop(unit + 1, !userns_host_root());
			return;
		}
		usleep(2000);
	}
}

int oci_cgroup_remove(struct oci_cgroup *cgroup)
{
	_cleanup_free_ char *whole = NULL;
	int r;

	if (!*cgroup->path || !strcmp(cgroup->path, "/"))
		return 0;
	if (asprintf(&whole, "%s%s", cgroup->root, cgroup->path) < 0) {
		whole = NULL;
		return -ENOMEM;
	}
	r = remove_group(whole);
	if (r == 0 && cgroup->systemd)
		await_scope_end(whole);
	return r;
}
