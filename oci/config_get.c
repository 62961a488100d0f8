/* The getters of config_internal.h: what leaves here has the type that was asked for. */
#include "oci/config_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *type_name(struct json_object *value)
{
	switch (json_object_get_type(value)) {
	case json_type_null:
		return "null";
	case json_type_boolean:
		return "a boolean";
	case json_type_double:
		return "a fraction";
	case json_type_int:
		return "a number";
	case json_type_object:
		return "an object";
	case json_type_array:
		return "an array";
	case json_type_string:
		return "a string";
	}
	return "something else";
}

static int wrong(struct cfg *cfg, const char *key, const char *wanted, struct json_object *value)
{
	return cfg_fail(cfg, key, "must be %s, not %s", wanted, type_name(value));
}

struct json_object *cfg_get(struct json_object *in, const char *key)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(in, key, &value);
	return value;
}

int cfg_need(struct cfg *cfg, struct json_object *in, const char *key)
{
	return cfg_get(in, key) ? 0 : cfg_fail(cfg, key, "is missing");
}

int cfg_refuse(struct cfg *cfg, struct json_object *in, const char *key, const char *why)
{
	return cfg_get(in, key) ? cfg_fail(cfg, key, "%s", why) : 0;
}

int cfg_object(struct cfg *cfg, struct json_object *in, const char *key, struct json_object **out)
{
	struct json_object *value = cfg_get(in, key);

	if (!value)
		return 0;
	if (!json_object_is_type(value, json_type_object))
		return wrong(cfg, key, "an object", value);
	if (json_object_object_length(value) > CFG_LIST_MAX)
		return cfg_fail(cfg, key, "has more than %d keys", CFG_LIST_MAX);
	*out = value;
	return 0;
}

int cfg_array(struct cfg *cfg, struct json_object *in, const char *key, struct json_object **out,
	size_t *count)
{
	struct json_object *value = cfg_get(in, key);

	*count = 0;
	if (!value)
		return 0;
	if (!json_object_is_type(value, json_type_array))
		return wrong(cfg, key, "an array", value);
	if (json_object_array_length(value) > CFG_LIST_MAX)
		return cfg_fail(cfg, key, "has more than %d items", CFG_LIST_MAX);
	*out = value;
	*count = json_object_array_length(value);
	return 0;
}

int cfg_item(struct cfg *cfg, struct json_object *array, const char *key, size_t i,
	struct json_object **out)
{
	struct json_object *value = json_object_array_get_idx(array, i);
	char name[64];

	if (json_object_is_type(value, json_type_object)) {
		*out = value;
		return 0;
	}
	snprintf(name, sizeof(name), "%s[%zu]", key, i);
	return wrong(cfg, name, "an object", value);
}

static int take_string(
	struct cfg *cfg, const char *key, struct json_object *value, const char **out)
{
	if (!json_object_is_type(value, json_type_string))
		return wrong(cfg, key, "a string", value);
	*out = json_object_get_string(value);
	if (strlen(*out) != (size_t)json_object_get_string_len(value))
		return cfg_fail(cfg, key, "has a NUL in it");
	return 0;
}

int cfg_string(struct cfg *cfg, struct json_object *in, const char *key, const char **out)
{
	struct json_object *value = cfg_get(in, key);

	return value ? take_string(cfg, key, value, out) : 0;
}

int cfg_bool(struct cfg *cfg, struct json_object *in, const char *key, bool *out)
{
	struct json_object *value = cfg_get(in, key);

	if (!value)
		return 0;
	if (!json_object_is_type(value, json_type_boolean))
		return wrong(cfg, key, "true or false", value);
	*out = json_object_get_boolean(value);
	return 0;
}

int cfg_int(struct cfg *cfg, struct json_object *in, const char *key, int64_t min, int64_t max,
	int64_t *out, bool *has)
{
	struct json_object *value = cfg_get(in, key);
	int64_t v;

	if (has)
		*has = value;
	if (!value)
		return 0;
	if (!json_object_is_type(value, json_type_int))
		return wrong(cfg, key, "a whole number", value);
	v = json_object_get_int64(value);
	/* json-c gives the nearest that fits. */
	if (v < min || v > max ||
		(v == INT64_MAX && json_object_get_uint64(value) > (uint64_t)INT64_MAX))
		return cfg_fail(cfg, key, "%s is not between %lld and %lld",
			json_object_get_string(value), (long long)min, (long long)max);
	*out = v;
	return 0;
}

int cfg_u64(struct cfg *cfg, struct json_object *in, const char *key, uint64_t *out, bool *has)
{
	struct json_object *value = cfg_get(in, key);

	if (has)
		*has = value;
	if (!value)
		return 0;
	if (!json_object_is_type(value, json_type_int))
		return wrong(cfg, key, "a whole number", value);
	if (json_object_get_int64(value) < 0)
		return cfg_fail(cfg, key, "%s is negative", json_object_get_string(value));
	*out = json_object_get_uint64(value);
	return 0;
}

int cfg_u32(struct cfg *cfg, struct json_object *in, const char *key, uint32_t *out)
{
	int64_t v = *out;
	int r = cfg_int(cfg, in, key, 0, UINT32_MAX, &v, NULL);

	*out = (uint32_t)v;
	return r;
}

int cfg_strings(struct cfg *cfg, struct json_object *in, const char *key, struct oci_strings *out)
{
	struct json_object *array = NULL;
	char name[96];
	size_t count;
	int r = cfg_array(cfg, in, key, &array, &count);

	if (r < 0)
		return r;
	out->count = 0;
	out->list = cfg_alloc(cfg, count + 1, sizeof(*out->list));
	if (!out->list)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%s[%zu]", key, i);
		r = take_string(cfg, name, json_object_array_get_idx(array, i), &out->list[i]);
		if (r < 0)
			return r;
		out->count++;
	}
	return 0;
}

int cfg_pairs(struct cfg *cfg, struct json_object *in, const char *key, struct oci_pairs *out)
{
	struct json_object *object = NULL;
	int r = cfg_object(cfg, in, key, &object);
	size_t count = 0;

	if (r < 0)
		return r;
	if (object)
		count = (size_t)json_object_object_length(object);
	out->count = 0;
	out->list = cfg_alloc(cfg, count + 1, sizeof(*out->list));
	if (!out->list)
		return -ENOMEM;
	if (!object)
		return 0;
	json_object_object_foreach(object, name, value)
	{
		size_t mark = cfg_enter(cfg, key);

		r = take_string(cfg, name, value, &out->list[out->count].value);
		cfg_leave(cfg, mark);
		if (r < 0)
			return r;
		out->list[out->count++].key = name;
	}
	return 0;
}
