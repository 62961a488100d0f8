#include "cli/setters.h"

#include "cli/values.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int setter_text(const char **to, const char *value, struct error *err)
{
	if (!*value)
		return error_set(err, ERROR_USAGE, EINVAL, "the value is empty");
	*to = value;
	return 0;
}

OPTION_SETTER(kernel)
{
	return setter_text(&o->config.kernel, value, err);
}

OPTION_SETTER(initrd)
{
	return setter_text(&o->config.initrd, value, err);
}

OPTION_SETTER(modules)
{
	return setter_text(&o->config.modules, value, err);
}

OPTION_SETTER(append)
{
	o->config.append = value;
	return 0;
}

/* "IMAGE", "IMAGE,ro" or "IMAGE,rw": any other comma is the file name's. */
static int parse_disk(
	struct options *o, const char *value, const char **path, bool *read_only, struct error *err)
{
	size_t len = strlen(value);
	bool suffix =
		len >= 3 && (!strcmp(value + len - 3, ",ro") || !strcmp(value + len - 3, ",rw"));

	*read_only = suffix && value[len - 1] == 'o';
	if (suffix)
		len -= 3;
	if (!len)
		return error_set(err, ERROR_USAGE, EINVAL, "'%s' names no image file", value);
	*path = suffix ? options_keep(o, value, len) : value;
	return *path ? 0 : error_set(err, ERROR_HOST, ENOMEM, "out of memory");
}

OPTION_SETTER(rootfs)
{
	return parse_disk(o, value, &o->root, &o->root_read_only, err);
}

OPTION_SETTER(disk)
{
	struct vm_config *c = &o->config;
	/* One place is the root disk's, wherever it comes on the command line. */
	if (c->disks == VM_DISKS_MAX - 1)
		return error_set(err, ERROR_USAGE, ENOSPC, "at most %d disks beside the root disk",
			VM_DISKS_MAX - 1);
	if (parse_disk(o, value, &c->disk[c->disks].path, &c->disk[c->disks].read_only, err) < 0)
		return -EINVAL;
	c->disks++;
	return 0;
}

/* One "NAME=VALUE" of --net behind its kind. */
static int net_option(struct vm_net *net, const char *item, struct error *err)
{
	uint64_t n;

	if (!strncmp(item, "mac=", 4)) {
		net->has_mac = true;
		return value_mac(item + 4, net->mac, err);
	}
	if (net->kind == VM_NET_TAP && !strncmp(item, "queues=", 7)) {
		if (value_number(item + 7, 1, 8, &n, err) < 0) {
			error_prefix(err, "queues");
			return -EINVAL;
		}
		net->queue_pairs = (unsigned)n;
		return 0;
	}
	if (net->kind == VM_NET_TAP && !strncmp(item, "ip=", 3))
		return value_network(item + 3, net->address, &net->prefix, err);
	if (net->kind == VM_NET_TAP && !strncmp(item, "gw=", 3))
		return value_address(item + 3, net->gateway, err);
	if (net->kind == VM_NET_TAP && !strncmp(item, "dns=", 4))
		return value_address(item + 4, net->dns, err);
	if (net->kind == VM_NET_USER && !strncmp(item, "hostfwd=", 8)) {
		if (net->forwards == VM_FORWARDS_MAX)
			return error_set(
				err, ERROR_USAGE, ENOSPC, "at most %d hostfwd", VM_FORWARDS_MAX);
		return value_forward(item + 8, &net->forward[net->forwards++], err);
	}
	return error_set(err, ERROR_USAGE, EINVAL,
		"'%s' means nothing for %s: there is mac=ADDRESS and %s", item,
		net->kind == VM_NET_TAP ? "a tap" : "the user network",
		net->kind == VM_NET_TAP ? "queues=N, ip=ADDRESS/BITS, gw=ADDRESS and dns=ADDRESS"
					: "hostfwd=[tcp:|udp:][ADDRESS:]PORT-:GUESTPORT");
}

static int net_kind(struct vm_net *net, const char *item, struct error *err)
{
	*net = (struct vm_net){ .queue_pairs = 1 };
	if (!strcmp(item, "user")) {
		net->kind = VM_NET_USER;
		return 0;
	}
	if (!strncmp(item, "tap=", 4)) {
		net->kind = VM_NET_TAP;
		net->tap = item + 4;
		return value_interface(net->tap, err);
	}
	return error_set(err, ERROR_USAGE, EINVAL,
		"'%s' is no kind of network: use tap=NAME, user or none", item);
}

OPTION_SETTER(net)
{
	struct vm_config *c = &o->config;
	struct vm_net *net = &c->net[c->nets];
	char *at, *item;
	int r;

	if (!strcmp(value, "none"))
		return 0;
	if (c->nets == VM_NETS_MAX)
		return error_set(err, ERROR_USAGE, ENOSPC, "at most %d networks", VM_NETS_MAX);
	at = options_keep(o, value, strlen(value));
	if (!at)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	r = net_kind(net, strsep(&at, ","), err);
	while (r == 0 && (item = strsep(&at, ",")))
		r = net_option(net, item, err);
	if (r == 0)
		c->nets++;
	return r;
}

OPTION_SETTER(cpus)
{
	uint64_t n;
	int r = value_number(value, 1, VM_CPUS_MAX, &n, err);

	if (r == 0)
		o->config.cpus = (unsigned)n;
	return r;
}

OPTION_SETTER(memory)
{
	int r = value_size(value, &o->config.memory, err);

	if (r == 0 && o->config.memory == 0)
		return error_set(err, ERROR_USAGE, EINVAL, "a machine needs memory: try 512M");
	if (r == 0 && o->config.memory % 4096)
		return error_set(
			err, ERROR_USAGE, EINVAL, "'%s' is not a multiple of 4 KiB", value);
	return r;
}

OPTION_SETTER(workers)
{
	uint64_t n;
	int r = value_number(value, 1, VM_WORKERS_MAX, &n, err);

	if (r == 0)
		o->config.workers = (unsigned)n;
	return r;
}

int setter_one_of(const char *value, const char *const *words, struct error *err)
{
	char list[128] = "";

	for (int i = 0; words[i]; i++) {
		size_t len = strlen(list);

		if (!strcmp(value, words[i]))
			return i;
		snprintf(list + len, sizeof(list) - len, "%s%s",
			i == 0	       ? ""
			: words[i + 1] ? ", "
				       : " or ",
			words[i]);
	}
	return error_set(err, ERROR_USAGE, EINVAL, "'%s' is not one of: %s", value, list);
}

OPTION_SETTER(hw)
{
	static const char *const words[] = {
		[VM_HW_ACPI] = "acpi", [VM_HW_FDT] = "fdt", [VM_HW_CMDLINE] = "cmdline", NULL
	};
	int i = setter_one_of(value, words, err);

	if (i >= 0)
		o->config.hw = (enum vm_hw)i;
	return i < 0 ? i : 0;
}

OPTION_SETTER(console)
{
	if (!strcmp(value, "stdio")) {
		o->config.console = VM_CONSOLE_STDIO;
	} else if (!strcmp(value, "none")) {
		o->config.console = VM_CONSOLE_NONE;
	} else if (!strncmp(value, "file=", 5) && value[5]) {
		o->config.console = VM_CONSOLE_FILE;
		o->config.console_path = value + 5;
	} else {
		return error_set(err, ERROR_USAGE, EINVAL,
			"'%s' is no console: use stdio, file=FILE or none", value);
	}
	return 0;
}

OPTION_SETTER(timeout)
{
	return value_duration(value, &o->config.timeout_ms, err);
}

OPTION_SETTER(no_sandbox)
{
	o->config.sandbox = false;
	return 0;
}

OPTION_SETTER(log_level)
{
	static const char *const words[] = { [LOG_LEVEL_ERROR] = "error",
		[LOG_LEVEL_WARN] = "warn",
		[LOG_LEVEL_INFO] = "info",
		[LOG_LEVEL_DEBUG] = "debug",
		NULL };
	int i = setter_one_of(value, words, err);

	if (i >= 0)
		o->log_level = (enum log_level)i;
	return i < 0 ? i : 0;
}

OPTION_SETTER(log_format)
{
	static const char *const words[] = {
		[LOG_FORMAT_TEXT] = "text", [LOG_FORMAT_JSON] = "json", NULL
	};
	int i = setter_one_of(value, words, err);

	if (i >= 0)
		o->log_format = (enum log_format)i;
	return i < 0 ? i : 0;
}
