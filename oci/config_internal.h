/*
 * What the readers of config.json share: a cursor that knows where in the document it is, so that
 * every complaint can name the place, and getters that give out only what has the right type. All
 * memory hangs on the document's root and goes with it.
 */
#pragma once

#include "oci/config.h"

#include <json.h>

enum {
	CFG_TEXT_MAX = 16 << 20, /* bytes of a document */
	CFG_DEPTH_MAX = 32,
	CFG_LIST_MAX = 65536 /* items of an array or object */
};

struct cfg_memory;

struct cfg {
	const char *name; /* of the file, for messages */
	struct error *err;
	struct cfg_memory *memory;
	struct json_object *root;
	size_t warnings;
	const char **warning;
	size_t len; /* of where */
	char where[192];
};

/* Parse @len bytes at @text into cfg->root, which must be an object; the caller puts the root. */
int cfg_parse(struct cfg *cfg, const char *text, size_t len);
/* For a part of a document that was parsed before: memory of its own, to be freed at the end. */
int cfg_scratch(struct cfg *cfg);
void cfg_scratch_free(struct cfg *cfg);
/* All of @path ("-": standard input), with a NUL behind it; the caller frees it. NULL with err. */
char *cfg_read(const char *name, const char *path, size_t *len, struct error *err);

/* Zeroed memory for @n things that lives as long as the root. NULL: cfg->err is set. */
void *cfg_alloc(struct cfg *cfg, size_t n, size_t size);
char *cfg_text(struct cfg *cfg, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Go into a section; cfg_leave() with what was returned goes back. */
size_t cfg_enter(struct cfg *cfg, const char *key);
size_t cfg_enter_item(struct cfg *cfg, const char *key, size_t index);
void cfg_leave(struct cfg *cfg, size_t mark);

/* "FILE: SECTION.KEY: ..." with ERROR_USAGE; @key may be NULL. Returns -EINVAL. */
int cfg_fail(struct cfg *cfg, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Something to be told, but no reason to refuse. */
int cfg_warn(struct cfg *cfg, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * The getters: 0, or a negative errno with the error. What is absent (or null) leaves *out as it
 * was, and *has (which may be NULL) false.
 */
struct json_object *cfg_get(struct json_object *in, const char *key);
int cfg_object(struct cfg *cfg, struct json_object *in, const char *key, struct json_object **out);
int cfg_array(struct cfg *cfg, struct json_object *in, const char *key, struct json_object **out,
	size_t *count);
/* The @i-th object of the array called @key. */
int cfg_item(struct cfg *cfg, struct json_object *array, const char *key, size_t i,
	struct json_object **out);
int cfg_string(struct cfg *cfg, struct json_object *in, const char *key, const char **out);
int cfg_bool(struct cfg *cfg, struct json_object *in, const char *key, bool *out);
int cfg_int(struct cfg *cfg, struct json_object *in, const char *key, int64_t min, int64_t max,
	int64_t *out, bool *has);
int cfg_u64(struct cfg *cfg, struct json_object *in, const char *key, uint64_t *out, bool *has);
int cfg_u32(struct cfg *cfg, struct json_object *in, const char *key, uint32_t *out);
int cfg_strings(struct cfg *cfg, struct json_object *in, const char *key, struct oci_strings *out);
int cfg_pairs(struct cfg *cfg, struct json_object *in, const char *key, struct oci_pairs *out);
/* Error unless @key is there. */
int cfg_need(struct cfg *cfg, struct json_object *in, const char *key);
/* Error, with the reason, if @key is there at all. */
int cfg_refuse(struct cfg *cfg, struct json_object *in, const char *key, const char *why);

/* @path without ".", "..", doubled and trailing slashes, from "/" on. NULL: cfg->err is set. */
const char *cfg_clean_path(struct cfg *cfg, const char *path);

/* "1048576", "512M", "2GiB". False: not one. */
bool cfg_size(const char *text, uint64_t *bytes);

/* The sections, one file each. */
int config_process(struct cfg *cfg, struct json_object *in, struct oci_process *out);
int config_mounts(struct cfg *cfg, struct json_object *in, struct oci_config *out);
int config_hooks(struct cfg *cfg, struct json_object *in, struct oci_config *out);
int config_linux(struct cfg *cfg, struct json_object *in, struct oci_config *out);
int config_ids(struct cfg *cfg, struct json_object *in, struct oci_config *out);
int config_devices(struct cfg *cfg, struct json_object *in, struct oci_config *out);
int config_device_rules(struct cfg *cfg, struct json_object *resources, struct oci_resources *out);
int config_resources(struct cfg *cfg, struct json_object *in, struct oci_resources *out);
int config_vm(struct cfg *cfg, struct json_object *in, struct oci_config *out);
