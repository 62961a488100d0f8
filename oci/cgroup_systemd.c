/*
 * Scopes of systemd, by its D-Bus interface (man 5 org.freedesktop.systemd1, systemd.io/
 * CONTROL_GROUP_INTERFACE). The scope is delegated: what is below it is ours, and systemd leaves its
 * limits alone.
 *
 * libsystemd is loaded when it is needed, and only then: hosts without systemd do without it. Its
 * interface is declared here, as sd-bus(3) has it.
 */
#include "oci/cgroup_internal.h"

#include "util/cleanup.h"
#include "util/macros.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { START_WAIT_MS = 10000, NAME_MAX_UNIT = 255 };

#define SYSTEMD	     "org.freedesktop.systemd1"
#define SYSTEMD_PATH "/org/freedesktop/systemd1"
#define MANAGER	     "org.freedesktop.systemd1.Manager"

struct bus;
struct message;

struct bus_error {
	const char *name, *message;
	int need_free;
};

struct library {
	void *handle;
	int (*open_system)(struct bus **bus);
	int (*open_user)(struct bus **bus);
	int (*new_bus)(struct bus **bus);
	int (*set_address)(struct bus *bus, const char *address);
	int (*start)(struct bus *bus);
	int (*new_call)(struct bus *bus, struct message **m, const char *to, const char *path,
		const char *interface, const char *member);
	int (*append)(struct message *m, const char *types, ...);
	int (*call)(struct bus *bus, struct message *m, uint64_t usec, struct bus_error *error,
		struct message **reply);
	struct message *(*message_unref)(struct message *m);
	struct bus *(*unref)(struct bus *bus);
	void (*error_free)(struct bus_error *error);
};

/* ---- the library, and a connection ---- */

static int load(struct library *l, struct error *err)
{
	const struct {
		const char *name;
		void *to;
	} wanted[] = { { "sd_bus_open_system", &l->open_system },
		{ "sd_bus_open_user", &l->open_user }, { "sd_bus_new", &l->new_bus },
		{ "sd_bus_set_address", &l->set_address }, { "sd_bus_start", &l->start },
		{ "sd_bus_message_new_method_call", &l->new_call },
		{ "sd_bus_message_append", &l->append }, { "sd_bus_call", &l->call },
		{ "sd_bus_message_unref", &l->message_unref },
		{ "sd_bus_flush_close_unref", &l->unref },
		{ "sd_bus_error_free", &l->error_free } };

	l->handle = dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);
	if (!l->handle)
		return error_set(err, ERROR_HOST, ENOSYS,
			"--systemd-cgroup: libsystemd.so.0 is not installed: install libsystemd0, or "
			"use --cgroup-manager cgroupfs");
	for (unsigned i = 0; i < ARRAY_SIZE(wanted); i++) {
		void *found = dlsym(l->handle, wanted[i].name);

		if (!found)
			return error_set(err, ERROR_HOST, ENOSYS,
				"--systemd-cgroup: libsystemd.so.0 has no %s", wanted[i].name);
		memcpy(wanted[i].to, &found, sizeof(found));
	}
	return 0;
}

static int open_private(const struct library *l, struct bus **bus)
{
	int r = l->new_bus(bus);

	if (r >= 0)
		r = l->set_address(*bus, "unix:path=/run/systemd/private");
	return r < 0 ? r : l->start(*bus);
}

/* systemd itself, if nothing passes messages on: to root it speaks directly. */
static int connect_bus(const struct library *l, struct bus **bus, bool user, struct error *err)
{
	int r = user ? l->open_user(bus) : l->open_system(bus);

	if (r < 0 && !user) {
		*bus = l->unref(*bus);
		r = open_private(l, bus);
	}
	if (r >= 0)
		return 0;
	errno = -r;
	return error_set(err, ERROR_HOST, -r,
		"--systemd-cgroup: %s does not answer (%s): without systemd use --cgroup-manager "
		"cgroupfs",
		user ? "the user's systemd" : "systemd", strerrorname_np(-r) ?: "?");
}

static int send_call(
	const struct library *l, struct bus *bus, struct message *m, struct bus_error *error)
{
	struct message *reply = NULL;
	int r = l->call(bus, m, 25000000, error, &reply);

	l->message_unref(reply);
	return r;
}

static int call_unit(const struct library *l, struct bus *bus, const char *what, const char *unit,
	bool with_mode)
{
	struct bus_error error = { 0 };
	struct message *m = NULL;
	int r = l->new_call(bus, &m, SYSTEMD, SYSTEMD_PATH, MANAGER, what);

	if (r >= 0)
		r = with_mode ? l->append(m, "ss", unit, "fail") : l->append(m, "s", unit);
	if (r >= 0)
		r = send_call(l, bus, m, &error);
	l->message_unref(m);
	l->error_free(&error);
	return r;
}

/* ---- names ---- */

static bool fit_for_unit(const char *name)
{
	static const char *const letters =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@";

	return *name && strspn(name, letters) == strlen(name) && strlen(name) <= NAME_MAX_UNIT;
}

static bool is_slice(const char *name)
{
	size_t len = strlen(name);

	if (len < 7 || strcmp(name + len - 6, ".slice") || !fit_for_unit(name))
		return false;
	/* "-.slice" is the root; elsewhere a dash stands between two parts. */
	return !strcmp(name, "-.slice") ||
	       (*name != '-' && name[len - 7] != '-' && !strstr(name, "--"));
}

static int wrong_path(const char *path, struct error *err)
{
	return error_set(err, ERROR_USAGE, EINVAL,
		"linux.cgroupsPath: with --systemd-cgroup it is SLICE:PREFIX:NAME, such as "
		"machine.slice:libpod:NAME, not \"%s\"",
		path);
}

/* In front of a name that says already what it is, or of an empty prefix, nothing is put. */
static int make_unit(char **unit, const char *prefix, size_t len, const char *name)
{
	size_t end = strlen(name);
	int r;

	if (end > 6 && !strcmp(name + end - 6, ".scope"))
		r = asprintf(unit, "%s", name);
	else if (!len)
		r = asprintf(unit, "%s.scope", name);
	else
		r = asprintf(unit, "%.*s-%s.scope", (int)len, prefix, name);
	if (r < 0)
		*unit = NULL;
	return r < 0 ? -ENOMEM : 0;
}

int cgroup_systemd_names(
	char **slice, char **unit, const char *path, const char *id, bool user, struct error *err)
{
	const char *prefix = "microvm", *name = id;
	size_t slice_len = 0, prefix_len = 7;

	*slice = *unit = NULL;
	if (path && *path) {
		slice_len = strcspn(path, ":");
		prefix = path + slice_len + 1;
		if (!path[slice_len] || !strchr(prefix, ':'))
			return wrong_path(path, err);
		prefix_len = strcspn(prefix, ":");
		name = prefix + prefix_len + 1;
		if (!*name || strchr(name, ':'))
			return wrong_path(path, err);
	}
	*slice =
		slice_len ? strndup(path, slice_len) : strdup(user ? "user.slice" : "system.slice");
	if (!*slice || make_unit(unit, prefix, prefix_len, name) < 0)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	if (!is_slice(*slice) || !fit_for_unit(*unit))
		return wrong_path(path ?: id, err);
	return 0;
}

/* ---- scopes ---- */

static int start_scope(const struct library *l, struct bus *bus, const char *slice,
	const char *unit, pid_t pid, struct bus_error *error)
{
	struct message *m = NULL;
	int r = l->new_call(bus, &m, SYSTEMD, SYSTEMD_PATH, MANAGER, "StartTransientUnit");

	if (r >= 0)
		r = l->append(m, "ss", unit, "fail");
	if (r >= 0)
		r = l->append(m, "a(sv)", 9, "Description", "s", "microvm container", "Slice", "s",
			slice, "PIDs", "au", 1, (uint32_t)pid, "Delegate", "b", 1,
			"DefaultDependencies", "b", 0, "CPUAccounting", "b", 1, "MemoryAccounting",
			"b", 1, "IOAccounting", "b", 1, "CollectMode", "s", "inactive-or-failed");
	if (r >= 0)
		r = l->append(m, "a(sa(sv))", 0);
	if (r >= 0)
		r = send_call(l, bus, m, error);
	l->message_unref(m);
	return r;
}

static bool process_is_in(pid_t pid, const char *unit)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[64], line[4200];

	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		char *last = strrchr(line, '/');

		line[strcspn(line, "\n")] = 0;
		if (!strncmp(line, "0::", 3) && last && !strcmp(last + 1, unit))
			return true;
	}
	return false;
}

/* The job is answered at once and done a moment later. */
static int await_scope(pid_t pid, const char *unit, struct error *err)
{
	for (int ms = 0; !process_is_in(pid, unit); ms++) {
		struct timespec pause = { .tv_nsec = 1000000 };

		if (ms == START_WAIT_MS)
			return error_set(err, ERROR_HOST, ETIMEDOUT,
				"--systemd-cgroup: systemd did not put process %d into %s within %d s",
				pid, unit, START_WAIT_MS / 1000);
		nanosleep(&pause, NULL);
	}
	return 0;
}

int cgroup_systemd_start(
	const char *slice, const char *unit, pid_t pid, bool user, struct error *err)
{
	struct bus_error error = { 0 };
	struct library l = { 0 };
	struct bus *bus = NULL;
	int r = load(&l, err);

	if (r == 0)
		r = connect_bus(&l, &bus, user, err);
	if (r == 0) {
		r = start_scope(&l, bus, slice, unit, pid, &error);
		/* One of that name that failed, or is about to go. */
		if (r == -EEXIST) {
			l.error_free(&error);
			call_unit(&l, bus, "ResetFailedUnit", unit, false);
			call_unit(&l, bus, "StopUnit", unit, true);
			usleep(100000);
			r = start_scope(&l, bus, slice, unit, pid, &error);
		}
		if (r < 0)
			r = error_set(err, ERROR_HOST, -r,
				"--systemd-cgroup: systemd does not make %s: %s", unit,
				error.message ?: strerrorname_np(-r));
		else
			r = await_scope(pid, unit, err);
		l.error_free(&error);
	}
	if (bus)
		l.unref(bus);
	if (l.handle)
		dlclose(l.handle);
	return r;
}

void cgroup_systemd_stop(const char *unit, bool user)
{
	struct library l = { 0 };
	struct bus *bus = NULL;

	if (load(&l, NULL) == 0 && connect_bus(&l, &bus, user, NULL) == 0) {
		call_unit(&l, bus, "StopUnit", unit, true);
		call_unit(&l, bus, "ResetFailedUnit", unit, false);
	}
	if (bus)
		l.unref(bus);
	if (l.handle)
		dlclose(l.handle);
}
