#include "oci/state.h"

#include "oci/userns.h"
#include "util/cleanup.h"
#include "util/macros.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { RECORD_MAX = 4 << 20, ID_MAX = 1024 };

#define OCI_VERSION "1.0.2"

static int no_memory(struct error *err)
{
	return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
}

char *oci_state_root(const char *given)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char *path = NULL;

	if (given)
		return strdup(given);
	/* Root of an engine's user namespace is an ordinary user, whose own directory it is. */
	if (userns_host_root() || !runtime || *runtime != '/')
		return strdup("/run/microvm-oci");
	return asprintf(&path, "%s/microvm-oci", runtime) < 0 ? NULL : path;
}

int oci_state_check_id(const char *id, struct error *err)
{
	size_t len = strlen(id);

	if (!len || len > 255 || !strcmp(id, ".") || !strcmp(id, ".."))
		return error_set(err, ERROR_USAGE, EINVAL,
			"container id '%.64s': it must have 1 to 255 characters", id);
	for (const char *c = id; *c; c++)
		if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-.@:",
			    *c))
			return error_set(err, ERROR_USAGE, EINVAL,
				"container id '%.64s': letters, digits and _ + - . @ : only", id);
	return 0;
}

static struct oci_state *new_state(const char *root, const char *id)
{
	struct oci_state *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->dir = s->lock = -1;
	s->root = strdup(root);
	s->id = strdup(id);
	if (s->root && s->id)
		return s;
	oci_state_close(s);
	return NULL;
}

void oci_state_close(struct oci_state *s)
{
	if (!s)
		return;
	cleanup_close_fd(&s->lock);
	cleanup_close_fd(&s->dir);
	json_object_put(s->annotations);
	free(s->bundle);
	free(s->cgroup);
	free(s->created);
	free(s->root);
	free(s->id);
	free(s);
}

/* Every directory of @path. */
static int make_root(const char *path, struct error *err)
{
	_cleanup_free_ char *copy = strdup(path);

	if (!copy)
		return no_memory(err);
	for (char *c = copy + 1;; c++) {
		char was = *c;

		if (was && was != '/')
			continue;
		*c = 0;
		if (mkdir(copy, 0700) < 0 && errno != EEXIST)
			return error_set(err, ERROR_HOST, errno, "cannot make %s: %m", copy);
		*c = was;
		if (!was)
			return 0;
	}
}

static int open_dir(struct oci_state *s)
{
	_cleanup_close_ int root = open(s->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (root < 0)
		return -errno;
	s->dir = openat(root, s->id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return s->dir < 0 ? -errno : 0;
}

static int take_lock(struct oci_state *s, struct error *err)
{
	s->lock = openat(s->dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	while (s->lock >= 0 && flock(s->lock, LOCK_EX) < 0)
		if (errno != EINTR)
			return error_set(err, ERROR_HOST, errno,
				"cannot lock the state of container %s: %m", s->id);
	return s->lock < 0 ? error_set(err, ERROR_HOST, errno,
				     "cannot open the lock of container %s: %m", s->id)
			   : 0;
}

static char *timestamp(void)
{
	struct timespec ts;
	char text[64], *out;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	return asprintf(&out, "%s.%09ldZ", text, ts.tv_nsec) < 0 ? NULL : out;
}

int oci_state_create(struct oci_state **out, const char *root, const char *id, struct error *err)
{
	struct oci_state *s = new_state(root, id);
	_cleanup_free_ char *path = NULL;
	int r;

	*out = NULL;
	if (!s)
		return no_memory(err);
	r = make_root(root, err);
	if (r == 0 && asprintf(&path, "%s/%s", root, id) < 0) {
		path = NULL;
		r = no_memory(err);
	}
	if (r == 0 && mkdir(path, 0700) < 0)
		r = error_set(err, errno == EEXIST ? ERROR_BUSY : ERROR_HOST, errno,
			errno == EEXIST ? "container %s already exists"
					: "cannot make a directory for container %s: %m",
			id);
	if (r == 0 && open_dir(s) < 0)
		r = error_set(err, ERROR_HOST, errno, "%s: %m", path);
	if (r == 0)
		r = take_lock(s, err);
	if (r == 0 && !(s->created = timestamp()))
		r = no_memory(err);
	if (r < 0) {
		oci_state_close(s);
		return r;
	}
	*out = s;
	return 0;
}

/* ---- the record ---- */

static char *text_of(struct json_object *o, const char *key)
{
	struct json_object *v;

	return strdup(json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "");
}

static int64_t number_of(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_int64(v) : 0;
}

static int read_record(struct oci_state *s)
{
	_cleanup_close_ int fd = openat(s->dir, "state.json", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	_cleanup_free_ char *text = malloc(RECORD_MAX + 1);
	ssize_t n = fd < 0 || !text ? -1 : read(fd, text, RECORD_MAX);
	struct json_object *o;

	if (n < 0)
		return -ENOENT;
	text[n] = 0;
	o = json_tokener_parse(text);
	if (!json_object_is_type(o, json_type_object)) {
		json_object_put(o);
		return -EINVAL;
	}
	s->bundle = text_of(o, "bundle");
	s->cgroup = text_of(o, "cgroup");
	s->created = text_of(o, "created");
	s->pid = (pid_t)number_of(o, "pid");
	s->pid_start = (uint64_t)number_of(o, "pidStart");
	s->ready = number_of(o, "ready");
	s->started = number_of(o, "started");
	s->paused = number_of(o, "paused");
	s->systemd_cgroup = number_of(o, "systemdCgroup");
	s->shares = number_of(o, "shares");
	s->annotations = NULL;
	if (json_object_object_get_ex(o, "annotations", &s->annotations))
		json_object_get(s->annotations);
	json_object_put(o);
	return s->bundle && s->cgroup && s->created ? 0 : -ENOMEM;
}

int oci_state_open(
	struct oci_state **out, const char *root, const char *id, bool lock, struct error *err)
{
	struct oci_state *s;
	int r = oci_state_check_id(id, err);

	*out = NULL;
	if (r < 0)
		return r;
	s = new_state(root, id);
	if (!s)
		return no_memory(err);
	if (open_dir(s) < 0) {
		oci_state_close(s);
		return error_set(err, ERROR_USAGE, ENOENT, "container %s does not exist", id);
	}
	r = lock ? take_lock(s, err) : 0;
	/* Whoever held the lock may have removed all of it, or never have come so far as to write. */
	if (r == 0 && read_record(s) < 0 && !lock)
		r = error_set(err, ERROR_USAGE, ENOENT, "container %s does not exist", id);
	if (r < 0) {
		oci_state_close(s);
		return r;
	}
	*out = s;
	return 0;
}

int oci_state_save(struct oci_state *s, struct error *err)
{
	_cleanup_close_ int fd =
		openat(s->dir, "state.json.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct json_object *o = json_object_new_object();
	const char *text;
	ssize_t len, n;

	json_object_object_add(o, "bundle", json_object_new_string(s->bundle ? s->bundle : ""));
	json_object_object_add(o, "cgroup", json_object_new_string(s->cgroup ? s->cgroup : ""));
	json_object_object_add(o, "created", json_object_new_string(s->created));
	json_object_object_add(o, "pid", json_object_new_int64(s->pid));
	json_object_object_add(o, "pidStart", json_object_new_int64((int64_t)s->pid_start));
	json_object_object_add(o, "ready", json_object_new_int64(s->ready));
	json_object_object_add(o, "started", json_object_new_int64(s->started));
	json_object_object_add(o, "paused", json_object_new_int64(s->paused));
	json_object_object_add(o, "systemdCgroup", json_object_new_int64(s->systemd_cgroup));
	json_object_object_add(o, "shares", json_object_new_int64(s->shares));
	if (s->annotations)
		json_object_object_add(o, "annotations", json_object_get(s->annotations));
	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	len = (ssize_t)strlen(text);
	n = fd < 0 ? -1 : write(fd, text, (size_t)len);
	json_object_put(o);
	if (n != len || fsync(fd) < 0 ||
		renameat(s->dir, "state.json.new", s->dir, "state.json") < 0)
		return error_set(err, ERROR_HOST, n >= 0 && n < len ? ENOSPC : errno,
			"cannot write the state of container %s: %m", s->id);
	return 0;
}

void oci_state_remove(struct oci_state *s)
{
	static const char *const files[] = { "control", "vsock", "config.json", "state.json",
		"state.json.new", "binds", "share", "lock" };
	_cleanup_close_ int root = open(s->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (unsigned i = 0; i < ARRAY_SIZE(files); i++)
		if (unlinkat(s->dir, files[i], 0) < 0 && errno == EISDIR)
			unlinkat(s->dir, files[i], AT_REMOVEDIR);
	if (root >= 0)
		unlinkat(root, s->id, AT_REMOVEDIR);
}

/* ---- the process ---- */

/* State and beginning of @pid by /proc/PID/stat; false: there is no such process. */
static bool look_at(pid_t pid, char *state, uint64_t *start)
{
	_cleanup_close_ int fd = -1;
	char path[64], text[1024], *at;
	unsigned long long began;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return false;
	text[n] = 0;
	at = strrchr(text, ')'); /* the name may hold anything */
	if (!at || sscanf(at + 1,
			   " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
			   "%*d %*d %*d %llu",
			   state, &began) != 2)
		return false;
	*start = began;
	return true;
}

int oci_state_set_pid(struct oci_state *s, pid_t pid)
{
	char state;

	if (!look_at(pid, &state, &s->pid_start))
		return -ESRCH;
	s->pid = pid;
	return 0;
}

enum oci_status oci_state_status(const struct oci_state *s)
{
	uint64_t start;
	char state;

	if (!s->pid)
		return s->bundle && s->ready ? OCI_STOPPED : OCI_CREATING;
	if (!look_at(s->pid, &state, &start) || start != s->pid_start || state == 'Z' ||
		state == 'X')
		return OCI_STOPPED;
	if (!s->ready)
		return OCI_CREATING;
	if (s->paused)
		return OCI_PAUSED;
	return s->started ? OCI_RUNNING : OCI_CREATED;
}

const char *oci_status_name(enum oci_status status)
{
	static const char *const names[] = { "creating", "created", "running", "paused",
		"stopped" };

	return names[status];
}

char *oci_state_json(const struct oci_state *s, enum oci_status status)
{
	struct json_object *o = json_object_new_object();
	char *text;

	json_object_object_add(o, "ociVersion", json_object_new_string(OCI_VERSION));
	json_object_object_add(o, "id", json_object_new_string(s->id));
	json_object_object_add(o, "status", json_object_new_string(oci_status_name(status)));
	json_object_object_add(o, "pid", json_object_new_int64(status == OCI_STOPPED ? 0 : s->pid));
	json_object_object_add(o, "bundle", json_object_new_string(s->bundle ? s->bundle : ""));
	json_object_object_add(o, "created", json_object_new_string(s->created));
	json_object_object_add(o, "annotations",
		s->annotations ? json_object_get(s->annotations) : json_object_new_object());
	text = strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));
	json_object_put(o);
	return text;
}

static int is_container(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

int oci_state_list(const char *root, void (*each)(void *ctx, struct oci_state *state), void *ctx,
	struct error *err)
{
	struct dirent **names;
	int n = scandir(root, &names, is_container, alphasort);

	if (n < 0)
		return errno == ENOENT
			       ? 0
			       : error_set(err, ERROR_HOST, errno, "cannot read %s: %m", root);
	for (int i = 0; i < n; i++) {
		struct error ignored = { 0 };
		struct oci_state *s;

		if (oci_state_open(&s, root, names[i]->d_name, false, &ignored) == 0) {
			each(ctx, s);
			oci_state_close(s);
		}
		free(names[i]);
	}
	free(names);
	return 0;
}
