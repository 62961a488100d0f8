/*
 * linux.resources (config-linux.md, "Control groups"): limits of the control group around the
 * machine, whose memory limit and processors size the machine as well.
 */
#include "oci/config_internal.h"

#include "util/macros.h"

#include <errno.h>
#include <string.h>

static int read_memory(struct cfg *cfg, struct json_object *in, struct oci_resources *out)
{
	int64_t kernel = -1, tcp = -1;
	struct json_object *memory = NULL;
	bool no_killer = false;
	size_t mark;
	int r = cfg_object(cfg, in, "memory", &memory);

	if (r < 0 || !memory)
		return r;
	mark = cfg_enter(cfg, "memory");
	if ((r = cfg_int(cfg, memory, "limit", -1, INT64_MAX, &out->memory_limit,
		     &out->has_memory_limit)) < 0 ||
		(r = cfg_int(cfg, memory, "reservation", -1, INT64_MAX, &out->memory_reservation,
			 &out->has_memory_reservation)) < 0 ||
		(r = cfg_int(cfg, memory, "swap", -1, INT64_MAX, &out->memory_swap,
			 &out->has_memory_swap)) < 0 ||
		(r = cfg_int(cfg, memory, "kernel", -1, INT64_MAX, &kernel, NULL)) < 0 ||
		(r = cfg_int(cfg, memory, "kernelTCP", -1, INT64_MAX, &tcp, NULL)) < 0 ||
		(r = cfg_refuse(cfg, memory, "swappiness",
			 "the guest never swaps, and control groups of version 2 have no such "
			 "setting")) < 0 ||
		(r = cfg_bool(cfg, memory, "disableOOMKiller", &no_killer)) < 0 ||
		(r = cfg_bool(cfg, memory, "checkBeforeUpdate", &out->check_before_update)) < 0)
		return r;
	/* The guest's kernel lives in the guest's memory: what is not below its limit is kept. */
	if ((kernel > 0 || tcp > 0) &&
		(out->memory_limit <= 0 || (kernel > 0 && kernel < out->memory_limit) ||
			(tcp > 0 && tcp < out->memory_limit)))
		return cfg_fail(cfg, kernel > 0 ? "kernel" : "kernelTCP",
			"the machine's kernel has no limit of its own; use limit");
	if (no_killer)
		return cfg_fail(cfg, "disableOOMKiller",
			"the machine's kernel ends a process when memory runs out, and cannot be "
			"told not to");
	cfg_leave(cfg, mark);
	return 0;
}

/* A list such as "0-3,5". */
static int check_list(struct cfg *cfg, const char *key, const char **list)
{
	const char *p = *list;

	if (!p || !*p) {
		*list = NULL;
		return 0;
	}
	for (;;) {
		uint64_t ends[2];

		for (int i = 0; i < 2; i++) {
			size_t digits = strspn(p, "0123456789");

			if (!digits || digits > 5)
				return cfg_fail(
					cfg, key, "'%s' is not a list such as 0-3,5", *list);
			ends[i] = 0;
			while (digits--)
				ends[i] = 10 * ends[i] + (uint64_t)(*p++ - '0');
			if (i == 0 && *p == '-')
				p++;
			else if (i == 0)
				ends[++i] = ends[0];
		}
		if (ends[1] < ends[0])
			return cfg_fail(
				cfg, key, "'%s' has a range that ends before it begins", *list);
		if (!*p)
			return 0;
		if (*p++ != ',')
			return cfg_fail(cfg, key, "'%s' is not a list such as 0-3,5", *list);
	}
}

static int read_cpu(struct cfg *cfg, struct json_object *in, struct oci_resources *out)
{
	int64_t realtime = 0, realtime_period = 0;
	struct json_object *cpu = NULL;
	size_t mark;
	int r = cfg_object(cfg, in, "cpu", &cpu);

	if (r < 0 || !cpu)
		return r;
	mark = cfg_enter(cfg, "cpu");
	if ((r = cfg_u64(cfg, cpu, "shares", &out->cpu_shares, &out->has_cpu_shares)) < 0 ||
		(r = cfg_int(cfg, cpu, "quota", INT64_MIN, INT64_MAX, &out->cpu_quota,
			 &out->has_cpu_quota)) < 0 ||
		(r = cfg_u64(cfg, cpu, "period", &out->cpu_period, &out->has_cpu_period)) < 0 ||
		(r = cfg_u64(cfg, cpu, "burst", &out->cpu_burst, &out->has_cpu_burst)) < 0 ||
		(r = cfg_int(cfg, cpu, "idle", 0, 1, &out->cpu_idle, &out->has_cpu_idle)) < 0 ||
		(r = cfg_int(cfg, cpu, "realtimeRuntime", 0, INT64_MAX, &realtime, NULL)) < 0 ||
		(r = cfg_int(cfg, cpu, "realtimePeriod", 0, INT64_MAX, &realtime_period, NULL)) <
			0 ||
		(r = cfg_string(cfg, cpu, "cpus", &out->cpuset_cpus)) < 0 ||
		(r = cfg_string(cfg, cpu, "mems", &out->cpuset_mems)) < 0 ||
		(r = check_list(cfg, "cpus", &out->cpuset_cpus)) < 0 ||
		(r = check_list(cfg, "mems", &out->cpuset_mems)) < 0)
		return r;
	if (realtime)
		return cfg_fail(cfg, "realtimeRuntime",
			"a machine's processors are never scheduled in real time");
	cfg_leave(cfg, mark);
	return 0;
}

static int read_io(
	struct cfg *cfg, struct json_object *in, enum oci_io_kind kind, struct oci_io *io)
{
	const char *key = kind == OCI_IO_WEIGHT ? "weight" : "rate";
	int r;

	io->kind = kind;
	if ((r = cfg_need(cfg, in, "major")) < 0 || (r = cfg_need(cfg, in, "minor")) < 0 ||
		(r = cfg_int(cfg, in, "major", 0, UINT32_MAX, &io->major, NULL)) < 0 ||
		(r = cfg_int(cfg, in, "minor", 0, UINT32_MAX, &io->minor, NULL)) < 0)
		return r;
	return cfg_u64(cfg, in, key, &io->value, NULL);
}

static int read_ios(struct cfg *cfg, struct json_object *in, const char *key, enum oci_io_kind kind,
	struct oci_resources *out)
{
	struct json_object *array = NULL, *item;
	struct oci_io *more;
	size_t count;
	int r = cfg_array(cfg, in, key, &array, &count);

	if (r < 0 || !count)
		return r;
	more = cfg_alloc(cfg, out->ios + count, sizeof(*more));
	if (!more)
		return -ENOMEM;
	if (out->ios)
		memcpy(more, out->io, out->ios * sizeof(*more));
	out->io = more;
	for (size_t i = 0; i < count; i++) {
		size_t mark;

		r = cfg_item(cfg, array, key, i, &item);
		if (r < 0)
			return r;
		mark = cfg_enter_item(cfg, key, i);
		r = read_io(cfg, item, kind, &out->io[out->ios]);
		if (r < 0)
			return r;
		out->ios++;
		cfg_leave(cfg, mark);
	}
	return 0;
}

static int read_block_io(struct cfg *cfg, struct json_object *in, struct oci_resources *out)
{
	struct json_object *block = NULL;
	int64_t weight = 0;
	size_t mark;
	int r = cfg_object(cfg, in, "blockIO", &block);

	if (r < 0 || !block)
		return r;
	mark = cfg_enter(cfg, "blockIO");
	if ((r = cfg_int(cfg, block, "weight", 0, 10000, &weight, &out->has_blkio_weight)) < 0 ||
		(r = cfg_refuse(cfg, block, "leafWeight",
			 "a machine's control group has no groups below it; use weight")) < 0 ||
		(r = read_ios(cfg, block, "weightDevice", OCI_IO_WEIGHT, out)) < 0 ||
		(r = read_ios(cfg, block, "throttleReadBpsDevice", OCI_IO_READ_BPS, out)) < 0 ||
		(r = read_ios(cfg, block, "throttleWriteBpsDevice", OCI_IO_WRITE_BPS, out)) < 0 ||
		(r = read_ios(cfg, block, "throttleReadIOPSDevice", OCI_IO_READ_IOPS, out)) < 0 ||
		(r = read_ios(cfg, block, "throttleWriteIOPSDevice", OCI_IO_WRITE_IOPS, out)) < 0)
		return r;
	out->blkio_weight = (uint16_t)weight;
	cfg_leave(cfg, mark);
	return 0;
}

static int read_hugepages(struct cfg *cfg, struct json_object *in, struct oci_resources *out)
{
	struct json_object *array = NULL, *item;
	size_t count;
	int r = cfg_array(cfg, in, "hugepageLimits", &array, &count);

	if (r < 0)
		return r;
	out->hugepage = cfg_alloc(cfg, count, sizeof(*out->hugepage));
	if (!out->hugepage)
		return -ENOMEM;
	for (; out->hugepages < count; out->hugepages++) {
		struct oci_hugepages *limit = &out->hugepage[out->hugepages];
		size_t mark;

		if ((r = cfg_item(cfg, array, "hugepageLimits", out->hugepages, &item)) < 0)
			return r;
		mark = cfg_enter_item(cfg, "hugepageLimits", out->hugepages);
		if ((r = cfg_need(cfg, item, "pageSize")) < 0 ||
			(r = cfg_need(cfg, item, "limit")) < 0 ||
			(r = cfg_string(cfg, item, "pageSize", &limit->size)) < 0 ||
			(r = cfg_u64(cfg, item, "limit", &limit->limit, NULL)) < 0)
			return r;
		if (!*limit->size || strchr(limit->size, '/') || strlen(limit->size) > 16)
			return cfg_fail(
				cfg, "pageSize", "'%s' is not a size of pages", limit->size);
		cfg_leave(cfg, mark);
	}
	return 0;
}

static int read_others(struct cfg *cfg, struct json_object *in, struct oci_resources *out)
{
	struct json_object *section = NULL, *priorities = NULL;
	int64_t class = 0;
	size_t mark, count;
	int r;

	if ((r = cfg_object(cfg, in, "pids", &section)) < 0)
		return r;
	if (section) {
		mark = cfg_enter(cfg, "pids");
		if ((r = cfg_int(cfg, section, "limit", INT64_MIN, INT64_MAX, &out->pids,
			     &out->has_pids)) < 0)
			return r;
		/* 0 and below: none, as engines have it. */
		if (out->pids <= 0)
			out->pids = -1;
		cfg_leave(cfg, mark);
	}
	section = NULL;
	if ((r = cfg_object(cfg, in, "network", &section)) < 0 || !section)
		return r;
	mark = cfg_enter(cfg, "network");
	if ((r = cfg_int(cfg, section, "classID", 0, UINT32_MAX, &class, NULL)) < 0 ||
		(r = cfg_array(cfg, section, "priorities", &priorities, &count)) < 0)
		return r;
	if (class || count)
		return cfg_fail(cfg, class ? "classID" : "priorities",
			"a machine's packets come from its network card, which has no class or "
			"priority: the kernel knows them for sockets only");
	cfg_leave(cfg, mark);
	return 0;
}

/* 0 is how engines write what was not said. */
static void drop_zeroes(struct oci_resources *r)
{
	r->has_memory_limit &= r->memory_limit != 0;
	r->has_memory_reservation &= r->memory_reservation != 0;
	r->has_memory_swap &= r->memory_swap != 0;
	r->has_cpu_shares &= r->cpu_shares != 0;
	r->has_cpu_quota &= r->cpu_quota != 0;
	r->has_cpu_period &= r->cpu_period != 0;
	r->has_blkio_weight &= r->blkio_weight != 0;
}

static int read_unified(struct cfg *cfg, struct json_object *in, struct oci_resources *out)
{
	int r = cfg_pairs(cfg, in, "unified", &out->unified);

	for (size_t i = 0; r == 0 && i < out->unified.count; i++) {
		const char *key = out->unified.list[i].key;

		if (!strchr(key, '.') || strchr(key, '/') || *key == '.')
			r = cfg_fail(cfg, "unified", "'%s' is not a file of a control group", key);
	}
	return r;
}

int config_resources(struct cfg *cfg, struct json_object *in, struct oci_resources *out)
{
	struct json_object *rdma = NULL;
	int r;

	out->json = in;
	/* rdma: a machine has no such device, so what may be used at most is never exceeded. */
	if ((r = read_memory(cfg, in, out)) < 0 || (r = read_cpu(cfg, in, out)) < 0 ||
		(r = read_block_io(cfg, in, out)) < 0 || (r = read_hugepages(cfg, in, out)) < 0 ||
		(r = read_others(cfg, in, out)) < 0 || (r = read_unified(cfg, in, out)) < 0 ||
		(r = cfg_object(cfg, in, "rdma", &rdma)) < 0)
		return r;
	drop_zeroes(out);
	return config_device_rules(cfg, in, out);
}
