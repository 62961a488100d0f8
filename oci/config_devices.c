/*
 * linux.devices (config-linux.md, "Devices"). The guest's kernel has the devices that every
 * container is promised; what else the host has stays with the host.
 */
#include "oci/config_internal.h"

#include "util/macros.h"

#include <errno.h>
#include <linux/bpf.h>
#include <string.h>

static const struct {
	unsigned major, minor;
	const char *path;
} guest_devices[] = {
	{ 1, 3, "/dev/null" },
	{ 1, 5, "/dev/zero" },
	{ 1, 7, "/dev/full" },
	{ 1, 8, "/dev/random" },
	{ 1, 9, "/dev/urandom" },
	{ 5, 0, "/dev/tty" },
	{ 5, 1, "/dev/console" },
	{ 5, 2, "/dev/ptmx" },
	{ 10, 200, "/dev/net/tun" },
	{ 10, 229, "/dev/fuse" },
};

const char *oci_device_guest_path(const struct oci_device *device)
{
	if (device->type == 'b' || device->type == 'p')
		return NULL;
	for (unsigned i = 0; i < ARRAY_SIZE(guest_devices); i++)
		if (device->major == guest_devices[i].major &&
			device->minor == guest_devices[i].minor)
			return guest_devices[i].path;
	return NULL;
}

bool oci_config_has_device(const struct oci_config *config, unsigned major, unsigned minor)
{
	for (size_t i = 0; i < config->devices; i++)
		if (config->device[i].type != 'p' && config->device[i].major == major &&
			config->device[i].minor == minor)
			return true;
	return false;
}

static int read_device(struct cfg *cfg, struct json_object *in, struct oci_device *device)
{
	const char *type = "";
	int64_t mode = 0666;
	bool has = true;
	int r;

	if ((r = cfg_need(cfg, in, "type")) < 0 || (r = cfg_need(cfg, in, "path")) < 0 ||
		(r = cfg_string(cfg, in, "type", &type)) < 0 ||
		(r = cfg_string(cfg, in, "path", &device->path)) < 0 ||
		(r = cfg_int(cfg, in, "fileMode", 0, 0177777, &mode, &device->has_mode)) < 0 ||
		(r = cfg_u32(cfg, in, "uid", &device->uid)) < 0 ||
		(r = cfg_u32(cfg, in, "gid", &device->gid)) < 0)
		return r;
	if (strlen(type) != 1 || !strchr("cbup", *type))
		return cfg_fail(cfg, "type", "'%s' is not a kind of device", type);
	if (device->path[0] != '/')
		return cfg_fail(cfg, "path", "'%s' is not an absolute path", device->path);
	device->type = *type;
	device->mode = (uint32_t)mode & 07777;
	if (*type == 'p')
		return 0;
	if ((r = cfg_int(cfg, in, "major", 0, UINT32_MAX, &device->major, &has)) < 0)
		return r;
	if (!has)
		return cfg_fail(cfg, "major", "is missing");
	if ((r = cfg_int(cfg, in, "minor", 0, UINT32_MAX, &device->minor, &has)) < 0)
		return r;
	return has ? 0 : cfg_fail(cfg, "minor", "is missing");
}

static unsigned access_of(const char *text)
{
	if (!*text)
		text = "rwm";
	return (strchr(text, 'r') ? BPF_DEVCG_ACC_READ : 0U) |
	       (strchr(text, 'w') ? BPF_DEVCG_ACC_WRITE : 0U) |
	       (strchr(text, 'm') ? BPF_DEVCG_ACC_MKNOD : 0U);
}

/*
 * Whether the rules, in their order, end with everything being allowed: what --privileged asks for,
 * which also lists every device of the host.
 */
int config_device_rules(struct cfg *cfg, struct json_object *resources, struct oci_resources *out)
{
	struct json_object *array = NULL, *item;
	size_t count;
	int r = cfg_array(cfg, resources, "devices", &array, &count);

	if (r < 0)
		return r;
	out->device_rule = cfg_alloc(cfg, count, sizeof(*out->device_rule));
	if (!out->device_rule)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		const char *type = "a", *access = "rwm";
		int64_t major = -1, minor = -1;
		bool allow = false;
		size_t mark;

		if ((r = cfg_item(cfg, array, "devices", i, &item)) < 0)
			return r;
		mark = cfg_enter_item(cfg, "devices", i);
		if ((r = cfg_need(cfg, item, "allow")) < 0 ||
			(r = cfg_bool(cfg, item, "allow", &allow)) < 0 ||
			(r = cfg_string(cfg, item, "type", &type)) < 0 ||
			(r = cfg_string(cfg, item, "access", &access)) < 0 ||
			(r = cfg_int(cfg, item, "major", -1, UINT32_MAX, &major, NULL)) < 0 ||
			(r = cfg_int(cfg, item, "minor", -1, UINT32_MAX, &minor, NULL)) < 0)
			return r;
		if (*type && (strlen(type) != 1 || !strchr("abcu", *type)))
			return cfg_fail(cfg, "type", "'%s' is not a kind of device", type);
		if (strspn(access, "rwm") != strlen(access))
			return cfg_fail(cfg, "access", "'%s' is not made of r, w and m", access);
		if ((!*type || *type == 'a') && major < 0 && minor < 0 && strchr(access, 'r') &&
			strchr(access, 'w'))
			out->all_devices = allow;
		out->device_rule[out->device_rules++] = (struct oci_device_rule){ .allow = allow,
			.type = !*type	       ? 'a'
				: *type == 'u' ? 'c'
					       : *type,
			.major = major,
			.minor = minor,
			.access = access_of(access) };
		cfg_leave(cfg, mark);
	}
	return 0;
}

/*
 * An engine that passes all of the host's devices leaves out the terminals if the container has an
 * init of its own, which would start a getty on each.
 */
static bool is_terminal(const struct oci_device *device)
{
	return !strncmp(device->path, "/dev/tty", 8) && device->path[8];
}

int config_devices(struct cfg *cfg, struct json_object *in, struct oci_config *out)
{
	struct json_object *array = NULL, *item;
	size_t count, terminals = 0;
	int r = cfg_array(cfg, in, "devices", &array, &count);

	if (r < 0)
		return r;
	out->device = cfg_alloc(cfg, count, sizeof(*out->device));
	if (!out->device)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		struct oci_device *device = &out->device[out->devices];
		size_t mark;

		r = cfg_item(cfg, array, "devices", i, &item);
		if (r < 0)
			return r;
		mark = cfg_enter_item(cfg, "devices", i);
		*device = (struct oci_device){ 0 };
		r = read_device(cfg, item, device);
		if (r < 0)
			return r;
		terminals += is_terminal(device);
		/* --privileged lists all that the host has. */
		if (oci_device_guest_path(device) || device->type == 'p' ||
			!out->resources.all_devices)
			out->devices++;
		cfg_leave(cfg, mark);
	}
	out->resources.no_terminals = out->resources.all_devices && count && !terminals;
	return 0;
}
