/* The figures of a control group, named as `runc events --stats` names them. */
#include "oci/cgroup_internal.h"

#include <errno.h>
#include <json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 65536 };

static struct json_object *add_object(struct json_object *to, const char *key)
{
	struct json_object *made = json_object_new_object();

	json_object_object_add(to, key, made);
	return made;
}

static void add_number(struct json_object *to, const char *key, uint64_t n)
{
	json_object_object_add(to, key, json_object_new_uint64(n));
}

/* "max" is all that there is. */
static uint64_t number_in(const struct oci_cgroup *cgroup, const char *file)
{
	char text[64];
	uint64_t n = 0;

	if (cgroup_read(cgroup, file, text, sizeof(text)) <= 0)
		return 0;
	return cgroup_number(text, NULL, &n) ? n : strncmp(text, "max", 3) ? 0 : UINT64_MAX;
}

static uint64_t keyed(const char *text, const char *key, uint64_t times)
{
	uint64_t n = 0;

	return cgroup_number(text, key, &n) ? n * times : 0;
}

static void add_cpu(struct json_object *data, const struct oci_cgroup *cgroup, char *text)
{
	struct json_object *cpu = add_object(data, "cpu"), *usage, *throttling;

	if (cgroup_read(cgroup, "cpu.stat", text, FILE_MAX) < 0)
		*text = 0;
	usage = add_object(cpu, "usage");
	add_number(usage, "total", keyed(text, "usage_usec", 1000));
	add_number(usage, "kernel", keyed(text, "system_usec", 1000));
	add_number(usage, "user", keyed(text, "user_usec", 1000));
	throttling = add_object(cpu, "throttling");
	add_number(throttling, "periods", keyed(text, "nr_periods", 1));
	add_number(throttling, "throttledPeriods", keyed(text, "nr_throttled", 1));
	add_number(throttling, "throttledTime", keyed(text, "throttled_usec", 1000));
}

static void add_entry(struct json_object *to, const char *key, const struct oci_cgroup *cgroup,
	const char *current, const char *max, const char *peak)
{
	struct json_object *entry = add_object(to, key);

	add_number(entry, "usage", number_in(cgroup, current));
	add_number(entry, "limit", number_in(cgroup, max));
	add_number(entry, "max", number_in(cgroup, peak));
}

static void add_memory(struct json_object *data, const struct oci_cgroup *cgroup, char *text)
{
	struct json_object *memory = add_object(data, "memory"), *raw;
	char *line, *rest = NULL;

	add_entry(memory, "usage", cgroup, "memory.current", "memory.max", "memory.peak");
	add_entry(memory, "swap", cgroup, "memory.swap.current", "memory.swap.max",
		"memory.swap.peak");
	if (cgroup_read(cgroup, "memory.stat", text, FILE_MAX) < 0)
		*text = 0;
	add_number(memory, "cache", keyed(text, "file", 1));
	raw = add_object(memory, "raw");
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *space = strchr(line, ' ');

		if (!space)
			continue;
		*space = 0;
		add_number(raw, line, strtoull(space + 1, NULL, 10));
	}
}

/* "8:0 rbytes=1 wbytes=2 rios=3 wios=4 ..." */
static void add_device(struct json_object *bytes, struct json_object *operations, const char *line)
{
	static const struct {
		const char *word, *name;
		bool operations;
	} figures[] = { { " rbytes=", "Read", false }, { " wbytes=", "Write", false },
		{ " rios=", "Read", true }, { " wios=", "Write", true } };
	unsigned major, minor;

	if (sscanf(line, "%u:%u ", &major, &minor) != 2)
		return;
	for (unsigned i = 0; i < sizeof(figures) / sizeof(figures[0]); i++) {
		const char *at = strstr(line, figures[i].word);
		struct json_object *entry;

		if (!at)
			continue;
		entry = json_object_new_object();
		add_number(entry, "major", major);
		add_number(entry, "minor", minor);
		json_object_object_add(entry, "op", json_object_new_string(figures[i].name));
		add_number(entry, "value", strtoull(at + strlen(figures[i].word), NULL, 10));
		json_object_array_add(figures[i].operations ? operations : bytes, entry);
	}
}

static void add_io(struct json_object *data, const struct oci_cgroup *cgroup, char *text)
{
	struct json_object *io = add_object(data, "blkio");
	struct json_object *bytes = json_object_new_array(), *operations = json_object_new_array();
	char *line, *rest = NULL;

	json_object_object_add(io, "ioServiceBytesRecursive", bytes);
	json_object_object_add(io, "ioServicedRecursive", operations);
	if (cgroup_read(cgroup, "io.stat", text, FILE_MAX) < 0)
		*text = 0;
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		add_device(bytes, operations, line);
}

int oci_cgroup_stat(struct oci_cgroup *cgroup, struct json_object **data, struct error *err)
{
	struct json_object *all, *pids;
	char *text;

	if (cgroup->dir < 0)
		return error_set(err, ERROR_HOST, EOPNOTSUPP,
			"the container has no control group, which counts what it uses");
	text = malloc(FILE_MAX);
	all = json_object_new_object();
	if (!text || !all) {
		free(text);
		json_object_put(all);
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	}
	add_cpu(all, cgroup, text);
	add_object(all, "cpuset");
	add_memory(all, cgroup, text);
	pids = add_object(all, "pids");
	add_number(pids, "current", number_in(cgroup, "pids.current"));
	add_number(pids, "limit", number_in(cgroup, "pids.max"));
	add_io(all, cgroup, text);
	add_object(all, "hugetlb");
	add_object(all, "intel_rdt");
	free(text);
	*data = all;
	return 0;
}
