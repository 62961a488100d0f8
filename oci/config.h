/*
 * config.json of a bundle, as the OCI runtime specification has it (config.md, config-linux.md,
 * config-vm.md), and process.json of an exec: typed, checked, and everything that this runtime
 * cannot do refused by name. Nothing here touches the host.
 *
 * All strings point into the parsed document and live until oci_config_free().
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_object;

/* A NULL-terminated list of strings, count of them; list is never NULL. */
struct oci_strings {
	size_t count;
	const char **list;
};

struct oci_pair {
	const char *key, *value;
};

struct oci_pairs {
	size_t count;
	struct oci_pair *list;
};

struct oci_rlimit {
	unsigned resource; /* RLIMIT_* */
	uint64_t soft, hard;
};

struct oci_caps { /* bit N is capability N */
	uint64_t bounding, effective, inheritable, permitted, ambient;
};

struct oci_process {
	bool terminal;
	uint16_t rows, columns; /* consoleSize; 0: none */
	struct oci_strings args, env;
	const char *cwd;
	uint32_t uid, gid;
	bool has_umask;
	uint32_t umask;
	size_t groups;
	uint32_t *group; /* additionalGids */
	bool has_caps;
	struct oci_caps caps;
	size_t rlimits;
	struct oci_rlimit *rlimit;
	bool no_new_privileges;
	bool has_oom_score_adj;
	int32_t oom_score_adj;
	const char *apparmor, *selinux; /* NULL: none */
};

struct oci_mount {
	const char *destination, *type, *source;
	/* Destinations are absolute and clean; a bind's source may be relative to the bundle. */
	bool bind, recursive; /* bind and rbind, whether by type or option; type is "bind" then */
	/* Of the options: */
	bool read_only, nosuid, nodev, noexec, noatime, nodiratime, strictatime, sync, dirsync;
	bool tmpcopyup;
	unsigned long
		propagation; /* MS_PRIVATE, MS_SHARED, MS_SLAVE ..., with MS_REC; 0: none said */
	const char *data;    /* the others, comma-separated, for the file system; "": none */
	/* Only the host's kernel can make it (overlay): mount it there, give it like a bind. */
	bool on_host;
	/* Of a bind, once oci_check_mounts() has looked: not a directory; and of these, a socket. */
	bool file, socket;
};

enum oci_namespace {
	OCI_NS_PID,
	OCI_NS_NETWORK,
	OCI_NS_MOUNT,
	OCI_NS_IPC,
	OCI_NS_UTS,
	OCI_NS_USER,
	OCI_NS_CGROUP,
	OCI_NS_TIME,
	OCI_NAMESPACES
};

struct oci_id_map {
	uint32_t container, host, size;
};

struct oci_hook {
	const char *path;
	struct oci_strings args, env; /* args empty: the path alone */
	int timeout_s;		      /* 0: none */
};

struct oci_hooks {
	size_t count;
	struct oci_hook *list;
};

struct oci_device {
	const char *path;
	char type; /* 'c', 'b', 'u', 'p' */
	int64_t major, minor;
	bool has_mode; /* else the usual 0666 */
	uint32_t mode, uid, gid;
};

/* linux.resources.blockIO, for one device of the host. */
enum oci_io_kind {
	OCI_IO_WEIGHT, /* value is the weight */
	OCI_IO_READ_BPS,
	OCI_IO_WRITE_BPS,
	OCI_IO_READ_IOPS,
	OCI_IO_WRITE_IOPS
};

struct oci_io {
	enum oci_io_kind kind;
	int64_t major, minor;
	uint64_t value;
};

struct oci_hugepages {
	const char *size; /* 2MB */
	uint64_t limit;	  /* bytes */
};

struct oci_device_rule {
	bool allow;
	char type;	      /* 'a', 'b', 'c' */
	int64_t major, minor; /* -1: any */
	unsigned access;      /* BPF_DEVCG_ACC_* */
};

/* linux.resources; has_*: it was there. Limits of -1 mean none. */
struct oci_resources {
	bool has_memory_limit, has_memory_reservation, has_memory_swap, has_pids, has_cpu_shares,
		has_cpu_quota, has_cpu_period, has_cpu_burst, has_cpu_idle, has_blkio_weight;
	int64_t memory_limit, memory_reservation, memory_swap, pids, cpu_quota, cpu_idle;
	uint64_t cpu_shares, cpu_period, cpu_burst;
	uint16_t blkio_weight;
	bool check_before_update; /* `update` refuses a memory limit below what is used */
	const char *cpuset_cpus, *cpuset_mems; /* NULL: none */
	size_t ios, hugepages;
	struct oci_io *io;
	struct oci_hugepages *hugepage;
	struct oci_pairs unified; /* files of cgroup v2: the keys have no slash in them */
	bool all_devices;	  /* the device rules allow everything: --privileged */
	bool no_terminals;	  /* that, and of the terminals of a host none is listed */
	size_t device_rules;
	struct oci_device_rule *device_rule;
	struct json_object *json; /* the section, or NULL */
};

/* What the machine is to be: annotations under "microvm.", and the section "vm". */
struct oci_vm {
	const char *kernel, *kernel_parameters, *hw, *initrd; /* NULL: not said */
	const char *modules, *cache; /* as `microvm run` has them; NULL: not said */
	const char *image;	/* a raw image with the root file system; NULL: root.path has it */
	unsigned cpus, workers; /* 0: not said */
	uint64_t memory;	/* bytes; 0: not said */
};

struct oci_config {
	struct json_object *json; /* the whole document */
	const char *version;
	const char *hostname, *domainname; /* NULL: none */
	const char *root;		   /* path, as written: relative to the bundle */
	bool root_read_only;
	bool has_process; /* without: it can be made, not started; args are empty then */
	struct oci_process process;
	size_t mounts;
	struct oci_mount *mount;
	struct {
		bool present;
		const char *path; /* NULL: a new one */
	} ns[OCI_NAMESPACES];
	size_t uid_maps, gid_maps;
	struct oci_id_map *uid_map, *gid_map;
	const char *cgroups_path; /* NULL: not said */
	struct oci_resources resources;
	struct oci_pairs sysctl, annotations;
	struct oci_strings masked_paths, readonly_paths;
	const char *rootfs_propagation; /* NULL: not said */
	/* With --privileged only those that the guest's kernel has: oci_device_guest_path(). */
	size_t devices;
	struct oci_device *device;
	struct json_object *seccomp; /* linux.seccomp, or NULL; oci/seccomp.h */
	const char *mount_label;
	struct oci_hooks prestart, create_runtime, create_container, start_container, poststart,
		poststop;
	struct oci_vm vm;
	struct json_object *defaults; /* the file of oci_config_machine(), or NULL */
	/* One line each: what is different in a machine, but no reason to refuse. */
	struct oci_strings warnings;
};

/*
 * Read @path, a config.json. Every error is one line that names the file and the section
 * ("config.json: process.args: ...") with ERROR_USAGE for what is wrong or cannot be done in a
 * machine (the reason is said), ERROR_IMAGE for a file that cannot be read.
 */
int oci_config_read(struct oci_config **out, const char *path, struct error *err);
/* The same for text already in memory: the fuzz target's and the tests' way in. */
int oci_config_parse(
	struct oci_config **out, const char *name, const char *text, size_t len, struct error *err);
void oci_config_free(struct oci_config *config); /* NULL is allowed */

/*
 * Complete config->vm, which has what annotations and the section "vm" say, by what linux.resources
 * says and then by the file @path (NULL: /etc/microvm/config.json; it may be missing, and a path
 * that was given may not). What is NULL or 0 then is for the runtime's own defaults. Once only.
 */
int oci_config_machine(struct oci_config *config, const char *path, struct error *err);

/*
 * Whether the device @major:@minor is to be in the guest. What takes a driver there that is not
 * always loaded: 10:200, tun.
 */
bool oci_config_has_device(const struct oci_config *config, unsigned major, unsigned minor);

/*
 * Has the container the ids of @process, which is its own or one of an exec? Where the namespace is
 * another's (a path), only the kernel knows, and nothing is refused. ERROR_USAGE that names the id.
 */
int oci_config_check_ids(
	const struct oci_config *config, const struct oci_process *process, struct error *err);

/* Where the guest's own kernel has it, with that kernel's mode and owner. NULL: it has not. */
const char *oci_device_guest_path(const struct oci_device *device);

/* "network", as the configuration has it. */
const char *oci_namespace_name(enum oci_namespace ns);
/* The @i-th option of mounts that is not the file system's own, or NULL behind the last one. */
const char *oci_mount_option(unsigned i);
/* The number of CAP_NAME or NAME, in any case of letters, or -EINVAL; and the NAME of a number. */
int oci_capability(const char *name);
const char *oci_capability_name(unsigned number);

/* A process of its own, for `exec --process FILE`. Freed by oci_process_free(). */
int oci_process_read(
	struct oci_process **out, struct json_object **json, const char *path, struct error *err);
/* The same for text already in memory. */
int oci_process_parse(struct oci_process **out, struct json_object **json, const char *name,
	const char *text, size_t len, struct error *err);
void oci_process_free(struct oci_process *process, struct json_object *json);
/*
 * What a process of an exec takes over from the container's own, where it does not say otherwise:
 * capabilities, limits, no_new_privs, oom_score_adj, labels. Points into @container then.
 */
void oci_process_inherit(struct oci_process *process, const struct oci_process *container);

/*
 * linux.resources alone, for `update --resources FILE` ("-": standard input). All memory goes with
 * json_object_put(*json).
 */
int oci_resources_read(
	struct oci_resources *out, struct json_object **json, const char *path, struct error *err);
