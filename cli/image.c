#include "cli/image.h"

#include "util/cleanup.h"
#include "util/log.h"
#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <json.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OUTPUT_MAX = 4 << 20 };

struct image {
	char *path;
	struct json_object *config; /* what podman says of it; the strings below are in it */
	const char **env, **command;
	const char *workdir, *user;
	int keeper; /* closing it lets the mount go */
};

extern char **environ;

/* ---- podman ---- */

/* All that comes from @fd, NUL-terminated; NULL if it is too much or out of memory. */
static char *read_all(int fd)
{
	_cleanup_free_ char *text = malloc(OUTPUT_MAX);
	size_t len = 0;
	ssize_t n;

	while (text && len < OUTPUT_MAX - 1) {
		n = read(fd, text + len, OUTPUT_MAX - 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	if (!text || len == OUTPUT_MAX - 1)
		return NULL;
	text[len] = 0;
	return take_ptr(text);
}

/* Run podman; its standard output is returned, its errors are the user's to read. */
static char *podman(const char *const *argv, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	posix_spawn_file_actions_t actions;
	int out[2], status, r;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0) {
		error_set(err, ERROR_HOST, errno, "cannot make a pipe: %m");
		return NULL;
	}
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	r = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(out[1]);
	if (r == 0)
		text = read_all(out[0]);
	close(out[0]);
	if (r != 0) {
		error_set(err, ERROR_HOST, r,
			"cannot run podman, which keeps the images: %s: install podman, or give a "
			"directory with --rootfs",
			strerror(r));
		return NULL;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!text || status != 0) {
		error_set(err, ERROR_IMAGE, ENOENT,
			"`podman %s %s %s` failed: `podman image ls` lists the images, `podman "
			"pull` gets more",
			argv[1], argv[2], argv[3]);
		return NULL;
	}
	return take_ptr(text);
}

/* ---- what the image says ---- */

static struct json_object *member(struct json_object *o, const char *key)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(o, key, &value);
	return value;
}

static size_t count(struct json_object *list)
{
	return json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
}

static void append(const char **to, size_t *n, struct json_object *list)
{
	for (size_t i = 0; i < count(list); i++)
		to[(*n)++] = json_object_get_string(json_object_array_get_idx(list, i));
}

static const char *text_of(struct json_object *o, const char *key)
{
	struct json_object *value = member(o, key);
	const char *text =
		json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";

	return *text ? text : NULL;
}

/* As engines have it: the entrypoint, then what was given, else the image's own command. */
static int read_config(
	struct image *image, const char *ref, const char *const *command, struct error *err)
{
	struct json_object *c = member(json_object_array_get_idx(image->config, 0), "Config");
	struct json_object *entry = member(c, "Entrypoint"), *cmd = member(c, "Cmd");
	struct json_object *env = member(c, "Env");
	size_t given = 0, n = 0;

	while (command && command[given])
		given++;
	image->env = calloc(count(env) + 1, sizeof(*image->env));
	image->command = calloc(count(entry) + count(cmd) + given + 1, sizeof(*image->command));
	if (!image->env || !image->command)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	append(image->env, &n, env);
	n = 0;
	append(image->command, &n, entry);
	for (size_t i = 0; i < given; i++)
		image->command[n++] = command[i];
	if (!given)
		append(image->command, &n, cmd);
	if (!n)
		return error_set(err, ERROR_IMAGE, EINVAL,
			"--image %s: it has no command of its own: put one behind --", ref);
	image->workdir = text_of(c, "WorkingDir");
	image->user = text_of(c, "User");
	return 0;
}

static int inspect(
	struct image *image, const char *ref, const char *const *command, struct error *err)
{
	const char *const argv[] = { "podman", "image", "inspect", ref, NULL };
	_cleanup_free_ char *text = podman(argv, err);

	if (!text)
		return -ENOENT;
	image->config = json_tokener_parse(text);
	if (!json_object_is_type(image->config, json_type_array) ||
		!json_object_array_length(image->config))
		return error_set(err, ERROR_IMAGE, EINVAL,
			"--image %s: podman does not tell what is in it", ref);
	return read_config(image, ref, command, err);
}

/* ---- the mount ---- */

/* The child: waits for the end of whoever holds the other end, however it comes. */
static void __attribute__((noreturn)) keep_mount(int fd, const char *ref)
{
	char byte;

	setsid(); /* Ctrl-C is not for us */
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	while (read(fd, &byte, 1) < 0 && errno == EINTR)
		;
	for (int i = 0; i <= STDERR_FILENO; i++) {
		int null = open("/dev/null", O_RDWR);

		if (null >= 0)
			dup2(null, i);
	}
	execlp("podman", "podman", "image", "unmount", ref, (char *)NULL);
	_exit(127);
}

static int start_keeper(struct image *image, const char *ref, struct error *err)
{
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set(err, ERROR_HOST, errno, "cannot make a pipe: %m");
	pid = fork();
	if (pid == 0) {
		close(ends[1]);
		keep_mount(ends[0], ref);
	}
	close(ends[0]);
	image->keeper = ends[1];
	return pid < 0 ? error_set(err, ERROR_HOST, errno, "cannot start a process: %m") : 0;
}

static int mount_image(struct image *image, const char *ref, struct error *err)
{
	const char *const argv[] = { "podman", "image", "mount", ref, NULL };
	int r = start_keeper(image, ref, err);

	if (r < 0)
		return r;
	image->path = podman(argv, err);
	if (!image->path)
		return -ENOENT;
	image->path[strcspn(image->path, "\n")] = 0;
	if (image->path[0] != '/')
		return error_set(err, ERROR_IMAGE, EINVAL,
			"--image %s: podman does not say where it is mounted (without root: run "
			"microvm inside `podman unshare`)",
			ref);
	return 0;
}

int image_open(struct image **out, const char *ref, const char *const *command, struct error *err)
{
	struct image *image = calloc(1, sizeof(*image));
	int r;

	*out = NULL;
	if (!image)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	image->keeper = -1;
	r = inspect(image, ref, command, err);
	if (r == 0)
		r = mount_image(image, ref, err);
	if (r < 0) {
		image_close(image);
		return r;
	}
	*out = image;
	return 0;
}

void image_close(struct image *image)
{
	if (!image)
		return;
	cleanup_close_fd(&image->keeper);
	free(image->path);
	free(image->env);
	free(image->command);
	json_object_put(image->config);
	free(image);
}

const char *image_path(const struct image *image)
{
	return image->path;
}

const char *const *image_env(const struct image *image)
{
	return image->env;
}

const char *const *image_command(const struct image *image)
{
	return image->command;
}

const char *image_workdir(const struct image *image)
{
	return image->workdir;
}

const char *image_user(const struct image *image)
{
	return image->user;
}
