/* linux.resources, as files of a control group. */
#include "oci/cgroup_internal.h"

#include "util/macros.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { VALUE_MAX = 128 };

struct limits {
	struct oci_cgroup *cgroup;
	struct error *err;
};

/* @key: in linux.resources. */
static int refused(const struct limits *l, const char *key, const char *file, int r)
{
	char controller[32];

	snprintf(controller, sizeof(controller), "%.*s", (int)strcspn(file, "."), file);
	errno = -r;
	if (l->cgroup->dir < 0)
		return error_set(l->err, ERROR_HOST, EOPNOTSUPP,
			"linux.resources.%s: the container has no control group: we may make none "
			"here (systemd delegates one to a user: --systemd-cgroup)",
			key);
	if (r == -ENOENT)
		return error_set(l->err, ERROR_HOST, EOPNOTSUPP,
			"linux.resources.%s: the group \"%s\" has no %s: the controller %s is not "
			"enabled above it (cgroup.subtree_control)",
			key, l->cgroup->path, file, controller);
	return error_set(l->err, ERROR_HOST, -r,
		"linux.resources.%s: the host takes no such value in %s: %m", key, file);
}

static int __attribute__((format(printf, 4, 5)))
set(const struct limits *l, const char *key, const char *file, const char *format, ...)
{
	char value[VALUE_MAX];
	va_list args;
	int r;

	va_start(args, format);
	vsnprintf(value, sizeof(value), format, args);
	va_end(args);
	r = l->cgroup->dir < 0 ? -ENOENT : cgroup_write(l->cgroup, file, value);
	return r < 0 ? refused(l, key, file, r) : 0;
}

/* A number of bytes, or none. */
static int set_bytes(const struct limits *l, const char *key, const char *file, int64_t bytes)
{
	return bytes < 0 ? set(l, key, file, "max") : set(l, key, file, "%" PRId64, bytes);
}

static bool has(const struct limits *l, const char *file)
{
	char text[8];

	return l->cgroup->dir >= 0 && cgroup_read(l->cgroup, file, text, sizeof(text)) >= 0;
}

/* ---- memory ---- */

static uint64_t with_allowance(const struct limits *l, int64_t limit)
{
	uint64_t bytes = MAX((uint64_t)limit, l->cgroup->guest_memory);

	return bytes > INT64_MAX / 2 ? bytes : bytes + OCI_CGROUP_ALLOWANCE + bytes / 64;
}

static int set_memory_limit(const struct limits *l, int64_t limit)
{
	uint64_t max, current;
	char text[64];

	if (limit < 0)
		return set(l, "memory.limit", "memory.max", "max");
	max = with_allowance(l, limit);
	if (l->cgroup->dir >= 0 &&
		cgroup_read(l->cgroup, "memory.current", text, sizeof(text)) > 0 &&
		cgroup_number(text, NULL, &current) && current > max)
		return error_set(l->err, ERROR_USAGE, EBUSY,
			"linux.resources.memory.limit: the machine uses %" PRIu64
			" bytes already, and gives none back",
			current);
	return set(l, "memory.limit", "memory.max", "%" PRIu64, max);
}

/* memory.swap counts memory and swap together. */
static int set_swap(const struct limits *l, const struct oci_resources *res)
{
	int64_t swap = res->memory_swap;

	if (swap > 0) {
		if (!res->has_memory_limit || res->memory_limit < 0)
			return error_set(l->err, ERROR_USAGE, EINVAL,
				"linux.resources.memory.swap: it counts memory and swap together, and "
				"needs memory.limit beside it");
		if (swap < res->memory_limit)
			return error_set(l->err, ERROR_USAGE, EINVAL,
				"linux.resources.memory.swap: it counts memory and swap together, and "
				"cannot be below memory.limit");
		swap -= res->memory_limit;
	}
	/* A host that counts no swap: there is nothing to keep from being used, or to allow. */
	if (swap <= 0 && !has(l, "memory.swap.max"))
		return 0;
	return set_bytes(l, "memory.swap", "memory.swap.max", swap);
}

/*
 * Without a group the limit still holds: the guest's RAM is no more than that, and memory and swap
 * together are no more than its RAM.
 */
static bool held_by_guest(const struct limits *l, const struct oci_resources *res)
{
	return l->cgroup->dir < 0 && l->cgroup->guest_memory && res->has_memory_limit &&
	       res->memory_limit > 0 && l->cgroup->guest_memory <= (uint64_t)res->memory_limit;
}

static int set_memory(const struct limits *l, const struct oci_resources *res)
{
	int r = 0;

	if (held_by_guest(l, res))
		return res->has_memory_reservation
			       ? refused(l, "memory.reservation", "memory.low", -ENOENT)
			       : 0;
	if (res->has_memory_limit)
		r = set_memory_limit(l, res->memory_limit);
	if (r == 0 && res->has_memory_swap)
		r = set_swap(l, res);
	if (r == 0 && res->has_memory_reservation)
		r = set_bytes(l, "memory.reservation", "memory.low", res->memory_reservation);
	return r;
}

/* ---- processors ---- */

/* From 2 ... 262144 to 1 ... 10000, as the specification has it. */
static uint64_t weight_of(uint64_t shares)
{
	shares = MAX(shares, 2);
	shares = MIN(shares, 262144);
	return 1 + (shares - 2) * 9999 / 262142;
}

/* cpu.max is "QUOTA PERIOD"; a quota alone leaves the period, a period alone must not lose the quota. */
static int set_quota(const struct limits *l, const struct oci_resources *res)
{
	const char *key = res->has_cpu_quota ? "cpu.quota" : "cpu.period";
	char quota[VALUE_MAX] = "max", period[32] = "";

	if (res->has_cpu_quota && res->cpu_quota > 0)
		snprintf(quota, sizeof(quota), "%" PRId64, res->cpu_quota);
	else if (!res->has_cpu_quota && l->cgroup->dir >= 0 &&
		 cgroup_read(l->cgroup, "cpu.max", quota, sizeof(quota)) > 0)
		quota[strcspn(quota, " \n")] = 0;
	if (res->has_cpu_period)
		snprintf(period, sizeof(period), " %" PRIu64, res->cpu_period);
	return set(l, key, "cpu.max", "%s%s", quota, period);
}

static int set_cpu(const struct limits *l, const struct oci_resources *res)
{
	int r = 0;

	if (res->has_cpu_shares)
		r = set(l, "cpu.shares", "cpu.weight", "%" PRIu64, weight_of(res->cpu_shares));
	if (r == 0 && (res->has_cpu_quota || res->has_cpu_period))
		r = set_quota(l, res);
	if (r == 0 && res->has_cpu_burst && (res->cpu_burst || has(l, "cpu.max.burst")))
		r = set(l, "cpu.burst", "cpu.max.burst", "%" PRIu64, res->cpu_burst);
	if (r == 0 && res->has_cpu_idle && (res->cpu_idle || has(l, "cpu.idle")))
		r = set(l, "cpu.idle", "cpu.idle", "%" PRId64, res->cpu_idle);
	if (r == 0 && res->cpuset_cpus)
		r = set(l, "cpu.cpus", "cpuset.cpus", "%s", res->cpuset_cpus);
	if (r == 0 && res->cpuset_mems)
		r = set(l, "cpu.mems", "cpuset.mems", "%s", res->cpuset_mems);
	return r;
}

/* ---- input and output ---- */

/* BFQ's own file takes the specification's 10 ... 1000; else they become 1 ... 10000. */
static int set_weight(const struct limits *l, const char *key, const char *device, uint64_t weight)
{
	if (has(l, "io.bfq.weight"))
		return set(l, key, "io.bfq.weight", "%s%" PRIu64, device, weight);
	weight = MAX(weight, 10);
	weight = MIN(weight, 1000);
	return set(l, key, "io.weight", "%s%" PRIu64, *device ? device : "default ",
		1 + (weight - 10) * 9999 / 990);
}

static int set_io(const struct limits *l, const struct oci_io *io)
{
	static const struct {
		const char *key, *word;
	} how[] = { [OCI_IO_WEIGHT] = { "blockIO.weightDevice", NULL },
		[OCI_IO_READ_BPS] = { "blockIO.throttleReadBpsDevice", "rbps" },
		[OCI_IO_WRITE_BPS] = { "blockIO.throttleWriteBpsDevice", "wbps" },
		[OCI_IO_READ_IOPS] = { "blockIO.throttleReadIOPSDevice", "riops" },
		[OCI_IO_WRITE_IOPS] = { "blockIO.throttleWriteIOPSDevice", "wiops" } };
	char device[48];

	snprintf(device, sizeof(device), "%" PRId64 ":%" PRId64 " ", io->major, io->minor);
	if (io->kind == OCI_IO_WEIGHT)
		return set_weight(l, how[io->kind].key, device, io->value);
	if (!io->value)
		return set(l, how[io->kind].key, "io.max", "%s%s=max", device, how[io->kind].word);
	return set(l, how[io->kind].key, "io.max", "%s%s=%" PRIu64, device, how[io->kind].word,
		io->value);
}

static int set_ios(const struct limits *l, const struct oci_resources *res)
{
	int r = 0;

	if (res->has_blkio_weight)
		r = set_weight(l, "blockIO.weight", "", res->blkio_weight);
	for (size_t i = 0; i < res->ios && r == 0; i++)
		r = set_io(l, &res->io[i]);
	return r;
}

/* The VMM takes none of the host's huge pages: where they are not counted nothing is lost. */
static int set_hugepages(const struct limits *l, const struct oci_resources *res)
{
	int r = 0;

	for (size_t i = 0; i < res->hugepages && r == 0; i++) {
		char file[64];

		snprintf(file, sizeof(file), "hugetlb.%s.max", res->hugepage[i].size);
		if (has(l, file))
			r = set(l, "hugepageLimits", file, "%" PRIu64, res->hugepage[i].limit);
	}
	return r;
}

/* Whether that of the file @key is there for the group: then it is the file that nobody knows. */
static bool has_controller(const struct limits *l, const char *key)
{
	size_t len = strcspn(key, ".");
	char text[512], *save = NULL;

	if (l->cgroup->dir < 0 ||
		cgroup_read(l->cgroup, "cgroup.controllers", text, sizeof(text)) <= 0)
		return false;
	for (char *word = strtok_r(text, " \n", &save); word; word = strtok_r(NULL, " \n", &save))
		if (strlen(word) == len && !strncmp(word, key, len))
			return true;
	return false;
}

static int set_unified(const struct limits *l, const struct oci_resources *res)
{
	for (size_t i = 0; i < res->unified.count; i++) {
		const struct oci_pair *pair = &res->unified.list[i];
		int r = l->cgroup->dir < 0 ? -ENOENT
					   : cgroup_write(l->cgroup, pair->key, pair->value);

		if (r == -ENOENT && has_controller(l, pair->key))
			return error_set(l->err, ERROR_USAGE, ENOENT,
				"linux.resources.unified: %s: no such file or directory in the "
				"group \"%s\"",
				pair->key, l->cgroup->path);
		if (r < 0)
			return refused(l, "unified", pair->key, r);
	}
	return 0;
}

int oci_cgroup_apply(
	struct oci_cgroup *cgroup, const struct oci_resources *resources, struct error *err)
{
	struct limits l = { cgroup, err };
	int r = set_memory(&l, resources);

	if (r == 0)
		r = set_cpu(&l, resources);
	if (r == 0)
		r = set_ios(&l, resources);
	if (r == 0)
		r = set_hugepages(&l, resources);
	return r == 0 ? set_unified(&l, resources) : r;
}
