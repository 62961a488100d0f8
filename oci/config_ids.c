/* linux.uidMappings, linux.gidMappings: which ids of the host the container's are. */
#include "oci/config_internal.h"

#include <errno.h>

enum {
	RANGES_MAX = 340 /* user_namespaces(7) */
};

static int read_one(struct cfg *cfg, struct json_object *in, struct oci_id_map *map)
{
	int r;

	if ((r = cfg_need(cfg, in, "containerID")) < 0 || (r = cfg_need(cfg, in, "hostID")) < 0 ||
		(r = cfg_need(cfg, in, "size")) < 0 ||
		(r = cfg_u32(cfg, in, "containerID", &map->container)) < 0 ||
		(r = cfg_u32(cfg, in, "hostID", &map->host)) < 0 ||
		(r = cfg_u32(cfg, in, "size", &map->size)) < 0)
		return r;
	if (!map->size)
		return cfg_fail(cfg, "size", "is 0");
	if ((uint64_t)map->container + map->size > UINT32_MAX ||
		(uint64_t)map->host + map->size > UINT32_MAX)
		return cfg_fail(cfg, "size", "goes beyond the last id");
	return 0;
}

static int read_maps(struct cfg *cfg, struct json_object *in, const char *key,
	struct oci_id_map **maps, size_t *maps_count)
{
	struct json_object *array = NULL, *item;
	size_t count;
	int r = cfg_array(cfg, in, key, &array, &count);

	if (r < 0)
		return r;
	if (count > RANGES_MAX)
		return cfg_fail(cfg, key, "%zu ranges: the kernel takes no more than %d", count,
			RANGES_MAX);
	*maps = cfg_alloc(cfg, count, sizeof(**maps));
	if (!*maps)
		return -ENOMEM;
	for (; *maps_count < count; ++*maps_count) {
		size_t mark;

		r = cfg_item(cfg, array, key, *maps_count, &item);
		if (r < 0)
			return r;
		mark = cfg_enter_item(cfg, key, *maps_count);
		r = read_one(cfg, item, &(*maps)[*maps_count]);
		if (r < 0)
			return r;
		cfg_leave(cfg, mark);
	}
	return 0;
}

static bool overlap(uint32_t a, uint32_t a_size, uint32_t b, uint32_t b_size)
{
	return a < (uint64_t)b + b_size && b < (uint64_t)a + a_size;
}

/* An id means one thing on either side. */
static int check_apart(struct cfg *cfg, const char *key, const struct oci_id_map *map, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		for (size_t k = 0; k < i; k++) {
			const struct oci_id_map *a = &map[i], *b = &map[k];
			bool inside = overlap(a->container, a->size, b->container, b->size);
			size_t mark;

			if (!inside && !overlap(a->host, a->size, b->host, b->size))
				continue;
			mark = cfg_enter_item(cfg, key, i);
			cfg_fail(cfg, inside ? "containerID" : "hostID",
				"the %u ids from %u on overlap those of %s[%zu]", a->size,
				inside ? a->container : a->host, key, k);
			cfg_leave(cfg, mark);
			return -EINVAL;
		}
	}
	return 0;
}

static bool has(const struct oci_id_map *map, size_t count, uint32_t id)
{
	for (size_t i = 0; i < count; i++)
		if (id >= map[i].container && id - map[i].container < map[i].size)
			return true;
	return false;
}

static int check_maps(struct cfg *cfg, const char *key, const struct oci_id_map *map, size_t count)
{
	if (!count)
		return cfg_fail(cfg, key, "is missing: a user namespace needs it");
	if (!has(map, count, 0))
		return cfg_fail(cfg, key,
			"has no containerID 0: the machine's process is root of the user "
			"namespace, so that root must be mapped");
	return check_apart(cfg, key, map, count);
}

int config_ids(struct cfg *cfg, struct json_object *in, struct oci_config *out)
{
	bool present = out->ns[OCI_NS_USER].present;
	int r;

	if ((r = read_maps(cfg, in, "uidMappings", &out->uid_map, &out->uid_maps)) < 0 ||
		(r = read_maps(cfg, in, "gidMappings", &out->gid_map, &out->gid_maps)) < 0)
		return r;
	if ((out->uid_maps || out->gid_maps) && !present)
		return cfg_fail(cfg, out->uid_maps ? "uidMappings" : "gidMappings",
			"there is no user namespace in namespaces");
	/* One that is joined has mappings already; engines fill these in for form's sake. */
	if (!present || out->ns[OCI_NS_USER].path)
		return 0;
	if ((r = check_maps(cfg, "uidMappings", out->uid_map, out->uid_maps)) < 0)
		return r;
	return check_maps(cfg, "gidMappings", out->gid_map, out->gid_maps);
}

static int unknown_id(const char *key, uint32_t id, const char *maps, struct error *err)
{
	return error_set(err, ERROR_USAGE, EINVAL,
		"process.user.%s: %u is not mapped: the ranges of linux.%s do not have it", key, id,
		maps);
}

int oci_config_check_ids(
	const struct oci_config *config, const struct oci_process *process, struct error *err)
{
	if (!config->ns[OCI_NS_USER].present || config->ns[OCI_NS_USER].path)
		return 0;
	if (!has(config->uid_map, config->uid_maps, process->uid))
		return unknown_id("uid", process->uid, "uidMappings", err);
	if (!has(config->gid_map, config->gid_maps, process->gid))
		return unknown_id("gid", process->gid, "gidMappings", err);
	for (size_t i = 0; i < process->groups; i++)
		if (!has(config->gid_map, config->gid_maps, process->group[i]))
			return unknown_id("additionalGids", process->group[i], "gidMappings", err);
	return 0;
}
