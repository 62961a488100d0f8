/*
 * Filters, kept from one container to the next: to make one of an engine's usual profile takes
 * libseccomp longer than everything else that create does on the host.
 */
#include "oci/seccomp.h"

#include "agent/agent.h"
#include "rootfs/cache.h"
#include "util/cleanup.h"
#include "util/macros.h"

#include <json.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What seccomp.c makes of the same section: to be counted up when that changes. */
enum { FORMAT = 1, INSTRUCTION = 8 };

/* Some KiB each. */
static const struct cache_kind filters = {
	.name = "seccomp", .files_max = 32, .bytes_max = 16 * MIB
};

/* As it is kept. */
struct kept {
	uint32_t flags;
	uint8_t program[AGENT_SECCOMP_MAX];
};

static struct cache_key key_of(const struct scmp_version *version, struct json_object *section)
{
	const char *text = json_object_to_json_string_ext(section, JSON_C_TO_STRING_PLAIN);
	const uint32_t made_by[] = { FORMAT, version->major, version->minor, version->micro,
		seccomp_arch_native() };
	struct cache_key key = { 0 };

	cache_key_add(&key, made_by, sizeof(made_by));
	cache_key_add(&key, text, strlen(text));
	return key;
}

/* 1: it was there. */
static int take(const struct cache *cache, const struct cache_key *key, struct oci_filter *out)
{
	_cleanup_close_ int fd = cache_get(cache, key);
	struct kept kept;
	ssize_t n = fd < 0 ? -1 : pread(fd, &kept, sizeof(kept), 0);

	n -= (ssize_t)sizeof(kept.flags);
	if (n <= 0 || n % INSTRUCTION)
		return 0;
	out->program = malloc((size_t)n);
	if (!out->program)
		return 0;
	memcpy(out->program, kept.program, (size_t)n);
	out->bytes = (size_t)n;
	out->flags = kept.flags;
	return 1;
}

static void keep(
	const struct cache *cache, const struct cache_key *key, const struct oci_filter *filter)
{
	struct kept kept = { .flags = filter->flags };

	memcpy(kept.program, filter->program, filter->bytes);
	cache_put(cache, key, &kept, sizeof(kept.flags) + filter->bytes);
}

int oci_seccomp_get(
	struct oci_filter *out, struct json_object *section, const char *name, struct error *err)
{
	const struct scmp_version *version = seccomp_version();
	struct cache_key key;
	struct cache cache;
	int r = 0;

	*out = (struct oci_filter){ 0 };
	if (!section)
		return 0;
	if (!version)
		return oci_seccomp_compile(out, section, name, err);
	key = key_of(version, section);
	cache_open(&cache, &filters);
	if (!take(&cache, &key, out)) {
		r = oci_seccomp_compile(out, section, name, err);
		if (r == 0)
			keep(&cache, &key, out);
	}
	cache_close(&cache);
	return r;
}
