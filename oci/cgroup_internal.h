/* Shared by the files of the control group. */
#pragma once

#include "oci/cgroup.h"

#include <stddef.h>

#define CGROUP_ROOT "/sys/fs/cgroup"

struct oci_cgroup {
	char *root; /* CGROUP_ROOT; a folder like it in tests */
	char *path; /* below root, "" for none */
	bool systemd;
	int dir; /* root and path; -1: none, or it is gone */
	uint64_t guest_memory;
};

/* As oci_cgroup_create() and oci_cgroup_open(), in the folder @root, which is not checked. */
int cgroup_create_in(struct oci_cgroup **out, const char *root, const char *path, const char *id,
	bool systemd, pid_t pid, struct error *err);
int cgroup_open_in(struct oci_cgroup **out, const char *root, const char *path, bool systemd,
	struct error *err);

/*
 * The file @name of the group, as text of at most @size - 1 bytes with a NUL. Returns its length or a
 * negative errno.
 */
int cgroup_read(const struct oci_cgroup *cgroup, const char *name, char *text, size_t size);
/* One write. 0 or a negative errno. */
int cgroup_write(const struct oci_cgroup *cgroup, const char *name, const char *text);
/* The number behind @key in a file of lines "KEY NUMBER"; without @key: the number that is all of it. */
bool cgroup_number(const char *text, const char *key, uint64_t *n);

/*
 * cgroup_systemd.c: have systemd make the scope @unit in @slice for process @pid, and wait until the
 * process is there.
 */
int cgroup_systemd_start(
	const char *slice, const char *unit, pid_t pid, bool user, struct error *err);
/* Fine where there is none. */
void cgroup_systemd_stop(const char *unit, bool user);
/*
 * "SLICE:PREFIX:NAME" as names for systemd; the strings are the caller's to free. NULL @path: the
 * usual slice, and @id.
 */
int cgroup_systemd_names(
	char **slice, char **unit, const char *path, const char *id, bool user, struct error *err);
