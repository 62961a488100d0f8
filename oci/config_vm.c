/*
 * What the machine is to be: annotations "microvm.KEY", the section "vm" (config-vm.md), limits in
 * linux.resources, and /etc/microvm/config.json, in this order; the first that says something wins.
 */
#include "oci/config_internal.h"

#include "machine/config.h"
#include "util/cleanup.h"
#include "util/macros.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULTS_FILE "/etc/microvm/config.json"
#define PREFIX	      "microvm."

/* A guest with less cannot unpack its kernel and run anything beside it. */
enum { MEMORY_MIN_MIB = 128 };

enum kind { PATH, TEXT, HW, CACHE, COUNT, SIZE };

/* The keys are those of `microvm run --config`. */
static const struct {
	const char *key;
	enum kind kind;
	size_t offset;
	unsigned max; /* of COUNT */
} keys[] = {
	{ "kernel", PATH, offsetof(struct oci_vm, kernel), 0 },
	{ "initrd", PATH, offsetof(struct oci_vm, initrd), 0 },
	{ "modules", PATH, offsetof(struct oci_vm, modules), 0 },
	{ "append", TEXT, offsetof(struct oci_vm, kernel_parameters), 0 },
	{ "hw", HW, offsetof(struct oci_vm, hw), 0 },
	{ "cache", CACHE, offsetof(struct oci_vm, cache), 0 },
	{ "cpus", COUNT, offsetof(struct oci_vm, cpus), VM_CPUS_MAX },
	{ "workers", COUNT, offsetof(struct oci_vm, workers), VM_WORKERS_MAX },
	{ "memory", SIZE, offsetof(struct oci_vm, memory), 0 },
};

static bool is_word(const char *text, const char *a, const char *b, const char *c)
{
	return !strcmp(text, a) || !strcmp(text, b) || !strcmp(text, c);
}

static int set_count(
	struct cfg *cfg, const char *name, const char *text, unsigned max, unsigned *to)
{
	uint64_t n = 0;

	if (strspn(text, "0123456789") != strlen(text) || !cfg_size(text, &n) || !n || n > max)
		return cfg_fail(cfg, name, "'%s' is not a number from 1 to %u", text, max);
	if (!*to)
		*to = (unsigned)n;
	return 0;
}

static int set_size(struct cfg *cfg, const char *name, const char *text, uint64_t *to)
{
	uint64_t bytes;

	if (!cfg_size(text, &bytes))
		return cfg_fail(cfg, name,
			"'%s' is not a size: use bytes, or a number with K, M, G or T", text);
	if (bytes < MEMORY_MIN_MIB * MIB || bytes >> 46)
		return cfg_fail(cfg, name, "'%s' is %s: a machine needs %u MiB", text,
			bytes >> 46 ? "too much" : "too little", MEMORY_MIN_MIB);
	if (!*to)
		*to = align_down(bytes, 2 * MIB);
	return 0;
}

/* @name: as it is called where it was found. What was said already stays. */
static int set(struct cfg *cfg, struct oci_vm *vm, unsigned i, const char *name, const char *text)
{
	void *to = (char *)vm + keys[i].offset;
	const char **string = to;

	switch (keys[i].kind) {
	case COUNT:
		return set_count(cfg, name, text, keys[i].max, to);
	case SIZE:
		return set_size(cfg, name, text, to);
	case PATH:
		if (*text != '/')
			return cfg_fail(cfg, name, "'%s' is not an absolute path", text);
		break;
	case HW:
		if (!is_word(text, "acpi", "fdt", "cmdline"))
			return cfg_fail(cfg, name, "'%s' is not acpi, fdt or cmdline", text);
		break;
	case CACHE:
		if (!is_word(text, "auto", "none", "always"))
			return cfg_fail(cfg, name, "'%s' is not auto, none or always", text);
		break;
	case TEXT:
		break;
	}
	if (!*string)
		*string = text;
	return 0;
}

static int unknown(struct cfg *cfg, const char *name)
{
	return cfg_fail(cfg, name,
		"is not a setting of the machine: kernel, initrd, modules, append, hw, cache, "
		"cpus, workers, memory");
}

static int read_annotations(struct cfg *cfg, struct oci_config *config)
{
	size_t mark = cfg_enter(cfg, "annotations");

	for (size_t i = 0; i < config->annotations.count; i++) {
		const struct oci_pair *pair = &config->annotations.list[i];
		unsigned k = 0;
		int r;

		/* microvm.network is not the machine's but the container's: oci/network.h. */
		if (strncmp(pair->key, PREFIX, strlen(PREFIX)) ||
			!strcmp(pair->key, PREFIX "network"))
			continue;
		while (k < ARRAY_SIZE(keys) && strcmp(pair->key + strlen(PREFIX), keys[k].key))
			k++;
		r = k < ARRAY_SIZE(keys) ? set(cfg, &config->vm, k, pair->key, pair->value)
					 : unknown(cfg, pair->key);
		if (r < 0)
			return r;
	}
	cfg_leave(cfg, mark);
	return 0;
}

static int check_path(struct cfg *cfg, const char *key, const char *path)
{
	return !path || *path == '/' ? 0 : cfg_fail(cfg, key, "'%s' is not an absolute path", path);
}

static int read_kernel(struct cfg *cfg, struct json_object *in, struct oci_vm *vm)
{
	const char *path = NULL, *initrd = NULL;
	struct oci_strings words = { 0 };
	struct json_object *kernel = NULL;
	size_t mark, len = 1;
	char *text;
	int r = cfg_object(cfg, in, "kernel", &kernel);

	if (r < 0 || !kernel)
		return r;
	mark = cfg_enter(cfg, "kernel");
	if ((r = cfg_need(cfg, kernel, "path")) < 0 ||
		(r = cfg_string(cfg, kernel, "path", &path)) < 0 ||
		(r = cfg_strings(cfg, kernel, "parameters", &words)) < 0 ||
		(r = cfg_string(cfg, kernel, "initrd", &initrd)) < 0 ||
		(r = check_path(cfg, "path", path)) < 0 ||
		(r = check_path(cfg, "initrd", initrd)) < 0)
		return r;
	for (size_t i = 0; i < words.count; i++)
		len += strlen(words.list[i]) + 1;
	text = cfg_alloc(cfg, len, 1);
	if (!text)
		return -ENOMEM;
	if (!vm->kernel)
		vm->kernel = path;
	if (!vm->initrd)
		vm->initrd = initrd;
	if (!vm->kernel_parameters && words.count)
		vm->kernel_parameters = text;
	for (size_t i = 0; i < words.count; i++) {
		if (i)
			*text++ = ' ';
		text = stpcpy(text, words.list[i]);
	}
	cfg_leave(cfg, mark);
	return 0;
}

static int read_image(struct cfg *cfg, struct json_object *in, struct oci_vm *vm)
{
	const char *format = "";
	struct json_object *image = NULL;
	size_t mark;
	int r = cfg_object(cfg, in, "image", &image);

	if (r < 0 || !image)
		return r;
	mark = cfg_enter(cfg, "image");
	if ((r = cfg_need(cfg, image, "path")) < 0 || (r = cfg_need(cfg, image, "format")) < 0 ||
		(r = cfg_string(cfg, image, "path", &vm->image)) < 0 ||
		(r = cfg_string(cfg, image, "format", &format)) < 0 ||
		(r = check_path(cfg, "path", vm->image)) < 0)
		return r;
	if (strcmp(format, "raw"))
		return cfg_fail(cfg, "format", "'%s': only raw images can be read", format);
	cfg_leave(cfg, mark);
	return 0;
}

static int read_hardware(struct cfg *cfg, struct json_object *in, struct oci_vm *vm)
{
	int64_t cpus = 0, memory = 0;
	struct json_object *hw = NULL;
	size_t mark;
	int r = cfg_object(cfg, in, "hwConfig", &hw);

	if (r < 0 || !hw)
		return r;
	mark = cfg_enter(cfg, "hwConfig");
	if ((r = cfg_int(cfg, hw, "vcpus", 1, VM_CPUS_MAX, &cpus, NULL)) < 0 ||
		(r = cfg_int(cfg, hw, "memory", (int64_t)(MEMORY_MIN_MIB * MIB), INT64_C(1) << 46,
			 &memory, NULL)) < 0 ||
		(r = cfg_refuse(
			 cfg, hw, "deviceTree", "the runtime describes the machine itself")) < 0 ||
		(r = cfg_refuse(cfg, hw, "dtdevs",
			 "a device of the host cannot be passed into a machine")) < 0 ||
		(r = cfg_refuse(cfg, hw, "iomems",
			 "memory of the host's devices cannot be passed into a machine")) < 0 ||
		(r = cfg_refuse(cfg, hw, "irqs",
			 "interrupts of the host's devices cannot be passed into a machine")) < 0)
		return r;
	if (!vm->cpus)
		vm->cpus = (unsigned)cpus;
	if (!vm->memory)
		vm->memory = align_down((uint64_t)memory, 2 * MIB);
	cfg_leave(cfg, mark);
	return 0;
}

int config_vm(struct cfg *cfg, struct json_object *in, struct oci_config *out)
{
	struct json_object *section = NULL;
	size_t mark;
	int r;

	if ((r = read_annotations(cfg, out)) < 0 || (r = cfg_object(cfg, in, "vm", &section)) < 0 ||
		!section)
		return r;
	mark = cfg_enter(cfg, "vm");
	if ((r = cfg_refuse(cfg, section, "hypervisor",
		     "this runtime is the hypervisor itself, and starts no other")) < 0 ||
		(r = read_kernel(cfg, section, &out->vm)) < 0 ||
		(r = read_image(cfg, section, &out->vm)) < 0 ||
		(r = read_hardware(cfg, section, &out->vm)) < 0)
		return r;
	cfg_leave(cfg, mark);
	return 0;
}

/* How many processors a list such as "0-3,5" names; it was checked. */
static unsigned count_list(const char *p)
{
	unsigned long count = 0, first, last;
	char *end;

	while (*p) {
		first = last = strtoul(p, &end, 10);
		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		count += last - first + 1;
		p = *end == ',' ? end + 1 : end;
	}
	return (unsigned)MIN(count, (unsigned long)VM_CPUS_MAX);
}

/* The machine that fits the limits: memory as much as may be used, processors rounded up. */
static void size_by_limits(struct oci_vm *vm, const struct oci_resources *limits)
{
	uint64_t period =
		limits->has_cpu_period && limits->cpu_period ? limits->cpu_period : 100000;
	long host = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t cpus = 0;

	if (limits->has_cpu_quota && limits->cpu_quota > 0)
		cpus = ((uint64_t)limits->cpu_quota - 1) / period + 1;
	if (limits->cpuset_cpus) {
		unsigned count = count_list(limits->cpuset_cpus);

		cpus = cpus ? MIN(cpus, (uint64_t)count) : count;
	}
	if (host > 0)
		cpus = MIN(cpus, (uint64_t)host);
	if (!vm->cpus)
		vm->cpus = (unsigned)MIN(cpus, (uint64_t)VM_CPUS_MAX);
	/* More than the host has is as good as none. */
	if (!vm->memory && limits->has_memory_limit && limits->memory_limit > 0 &&
		(uint64_t)limits->memory_limit <
			(uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE))
		vm->memory = MAX(
			align_up((uint64_t)limits->memory_limit, 2 * MIB), MEMORY_MIN_MIB * MIB);
}

static int read_defaults(struct cfg *cfg, struct json_object *in, struct oci_vm *vm)
{
	json_object_object_foreach(in, key, value)
	{
		const char *text = NULL;
		unsigned k = 0;
		int r = 0;

		while (k < ARRAY_SIZE(keys) && strcmp(key, keys[k].key))
			k++;
		if (k == ARRAY_SIZE(keys))
			return unknown(cfg, key);
		if ((keys[k].kind == COUNT || keys[k].kind == SIZE) &&
			json_object_is_type(value, json_type_int))
			text = json_object_get_string(value);
		else
			r = cfg_string(cfg, in, key, &text);
		if (r == 0 && text)
			r = set(cfg, vm, k, key, text);
		if (r < 0)
			return r;
	}
	return 0;
}

int oci_config_machine(struct oci_config *config, const char *path, struct error *err)
{
	struct cfg cfg = { .name = path ? path : DEFAULTS_FILE, .err = err };
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	size_by_limits(&config->vm, &config->resources);
	if (!path && access(DEFAULTS_FILE, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	text = cfg_read(cfg.name, cfg.name, &len, err);
	if (!text)
		return -EINVAL;
	r = cfg_parse(&cfg, text, len);
	if (r < 0)
		return r;
	r = read_defaults(&cfg, cfg.root, &config->vm);
	/* Its strings are pointed at from now on: it goes with the configuration. */
	json_object_put(config->defaults);
	config->defaults = cfg.root;
	return r;
}
