/*
 * The control group around a container's machine (config-linux.md, "Control Groups"; the kernel's
 * admin-guide/cgroup-v2.rst). Version 2 only, made by us ("cgroupfs") or by systemd.
 *
 * In the group is the VMM, all of its threads. So what the configuration says of the container is
 * meant for the machine as a whole:
 *
 *	memory.limit	 the guest's RAM is sized by it, so that the guest's kernel enforces it.
 *			 memory.max is that plus what the VMM needs beside: OCI_CGROUP_ALLOWANCE and a
 *			 64th of it (the page tables on both sides of the guest's memory)
 *	memory.swap	 memory.swap.max: how much of the guest's memory the host may swap out
 *	memory.reservation  memory.low
 *	cpu, cpuset, blockIO, hugepageLimits	cpu.*, cpuset.*, io.*, hugetlb.*: of the vCPUs and of
 *			 the threads that serve the devices together
 *	pids		 not here: the guest's processes are none of the host's. The number is for the
 *			 guest (struct oci_resources.pids); pids.max around the VMM would starve its
 *			 own threads
 *	devices		 not here: the guest has devices of its own and reaches none of the host's. What
 *			 the VMM has open is the filter's and the namespaces' matter
 *	unified		 as it stands, file by file, last
 *
 * One thread at a time for each struct oci_cgroup. Errors name the key in config.json.
 */
#pragma once

#include "oci/config.h"
#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct oci_cgroup;
struct json_object;

#define OCI_CGROUP_ALLOWANCE (64ULL << 20) /* bytes */

/*
 * Make the group and put the process @pid into it (which later forks and threads follow).
 *
 * @path is linux.cgroupsPath or NULL. With cgroupfs: below /sys/fs/cgroup, or /ID. With systemd:
 * "SLICE:PREFIX:NAME", which becomes the scope PREFIX-NAME.scope in SLICE, with a group "container"
 * in it that is ours (the scope's own files are systemd's).
 *
 * Who may not make groups (rootless, without a delegated one) gets one without a path, to which no
 * limits can be applied. ERROR_HOST: cgroup v1, or systemd does not answer; ERROR_BUSY: processes are
 * in that group already; ERROR_USAGE: no such path can be.
 */
int oci_cgroup_create(struct oci_cgroup **out, const char *path, const char *id, bool systemd,
	pid_t pid, struct error *err);
/* One that was made before: @path is what oci_cgroup_path() said. It may be gone; see below. */
int oci_cgroup_open(struct oci_cgroup **out, const char *path, bool systemd, struct error *err);
void oci_cgroup_free(struct oci_cgroup *cgroup); /* NULL is allowed; the group stays */

/* Below /sys/fs/cgroup, beginning with a slash; "": there is none. */
const char *oci_cgroup_path(const struct oci_cgroup *cgroup);
/* What that will be, without systemd, before it is made; NULL: out of memory. The caller frees it. */
char *oci_cgroup_path_wanted(const char *path, const char *id);

int oci_cgroup_enter(struct oci_cgroup *cgroup, pid_t pid, struct error *err);
/* For a while, to the root of all groups: a device rule holds for whoever opens a device there. */
int oci_cgroup_leave(struct oci_cgroup *cgroup, pid_t pid, struct error *err);

/*
 * Bytes of RAM that the guest has, if they are not memory_limit: memory.max is never set so low that
 * they do not fit. Before oci_cgroup_apply().
 */
void oci_cgroup_set_guest_memory(struct oci_cgroup *cgroup, uint64_t bytes);
/*
 * Apply what is there; what is not stays as it is, so `update` may use it as well. A limit that the
 * group has no controller for is an error, and so is a memory limit below what is in use already: a
 * machine gives nothing back.
 */
int oci_cgroup_apply(
	struct oci_cgroup *cgroup, const struct oci_resources *resources, struct error *err);

/* Stop all in the group, waiting until it has; go on. */
int oci_cgroup_freeze(struct oci_cgroup *cgroup, struct error *err);
int oci_cgroup_thaw(struct oci_cgroup *cgroup, struct error *err);
/* SIGKILL to all in the group, frozen or not. Fine where it is gone. */
int oci_cgroup_kill(struct oci_cgroup *cgroup, struct error *err);

/* The figures as `events --stats` has them under "data"; the caller puts *@data. */
int oci_cgroup_stat(struct oci_cgroup *cgroup, struct json_object **data, struct error *err);

/*
 * Remove the group and what is below it, waiting a second for processes that are on their way out.
 * Any number of times. -EBUSY: there still are some.
 */
int oci_cgroup_remove(struct oci_cgroup *cgroup);
