#include "cli/options.h"

#include "cli/setters.h"
#include "cli/suggest.h"
#include "util/cleanup.h"
#include "util/macros.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Those that options_parse() itself understands have no function. */
const struct option_def option_table[] = {
	{ "kernel", "FILE", OPTION_STRING, false, option_set_kernel,
		"the kernel: a bzImage or an ELF vmlinux" },
	{ "initrd", "FILE", OPTION_STRING, false, option_set_initrd,
		"an initial RAM disk; without one, microvm makes one of the\n"
		"kernel's modules if there is a --rootfs" },
	{ "modules", "DIR", OPTION_STRING, false, option_set_modules,
		"where those modules are (default: /lib/modules/VERSION)" },
	{ "append", "TEXT", OPTION_STRING, false, option_set_append,
		"more words for the kernel's command line" },
	{ "rootfs", "IMAGE[,ro]", OPTION_STRING, false, option_set_rootfs,
		"the root disk: a raw image of a file system" },
	{ "disk", "IMAGE[,ro]", OPTION_LIST, false, option_set_disk, "a further disk" },
	{ "net", "tap=NAME[,mac=ADDRESS][,queues=N]", OPTION_LIST, false, option_set_net,
		"a network card at a tap interface,\n"
		"or: user[,mac=ADDRESS][,hostfwd=[tcp:|udp:][ADDRESS:]PORT-:GUESTPORT]...\n"
		"    a network of its own behind this host's, needs no privileges,\n"
		"or: none (default)" },
	{ "cpus", "N", OPTION_NUMBER, false, option_set_cpus, "processors (default: 1)" },
	{ "memory", "SIZE", OPTION_NUMBER, false, option_set_memory,
		"memory, such as 512M or 2G (default: 512M)" },
	{ "workers", "N", OPTION_NUMBER, false, option_set_workers,
		"threads that do the devices' work (default: 1)" },
	{ "hw", "acpi|fdt|cmdline", OPTION_STRING, false, option_set_hw,
		"how the kernel is told of its hardware (default: acpi)" },
	{ "console", "stdio|file=FILE|none", OPTION_STRING, false, option_set_console,
		"the guest's console (default: stdio)" },
	{ "timeout", "TIME", OPTION_NUMBER, false, option_set_timeout,
		"stop the machine after so long: 10s, 500ms, 5m (default: never)" },
	{ "no-sandbox", NULL, OPTION_SWITCH, false, option_set_no_sandbox,
		"keep all privileges and filter no system calls: for debugging" },
	{ "log-level", "error|warn|info|debug", OPTION_STRING, false, option_set_log_level,
		"what is said on standard error (default: warn)" },
	{ "log-format", "text|json", OPTION_STRING, false, option_set_log_format,
		"how it is said (default: text)" },
	{ "config", "FILE", OPTION_STRING, true, NULL,
		"read options from a JSON file; each has its key. The command line\n"
		"counts for more" },
	{ "help", NULL, OPTION_SWITCH, true, NULL, "show this" },
	{ "version", NULL, OPTION_SWITCH, true, NULL, "show the version" },
};
const unsigned option_table_count = ARRAY_SIZE(option_table);

void options_init(struct options *o)
{
	*o = (struct options){ .log_level = LOG_LEVEL_WARN, .log_format = LOG_FORMAT_TEXT };
	vm_config_init(&o->config);
}

void options_release(struct options *o)
{
	for (unsigned i = 0; i < o->strings; i++)
		free(o->string[i]);
	free(o->string);
	config_file_release(o);
	*o = (struct options){ 0 };
}

char *options_keep(struct options *o, const char *text, size_t len)
{
	char **more = reallocarray(o->string, o->strings + 1, sizeof(*more));

	if (!more)
		return NULL;
	o->string = more;
	o->string[o->strings] = strndup(text, len);
	return o->string[o->strings] ? o->string[o->strings++] : NULL;
}

const struct option_def *option_find(const char *name, size_t len)
{
	for (unsigned i = 0; i < option_table_count; i++)
		if (strlen(option_table[i].name) == len && !memcmp(option_table[i].name, name, len))
			return &option_table[i];
	return NULL;
}

const char *option_hint(const char *name, bool in_file, char *buf, size_t size)
{
	const char *names[ARRAY_SIZE(option_table)];
	const char *near;
	unsigned n = 0;

	for (unsigned i = 0; i < option_table_count; i++)
		if (!in_file || !option_table[i].not_in_file)
			names[n++] = option_table[i].name;
	near = suggest(name, names, n);
	snprintf(buf, size, near ? ": did you mean '%s%s'?" : "", in_file ? "" : "--", near);
	return buf;
}

static bool is(const struct option_def *def, const char *name)
{
	return !strcmp(def->name, name);
}

static int unexpected(const char *arg, struct error *err)
{
	return error_set(err, ERROR_USAGE, EINVAL,
		"unexpected argument '%s': everything is said with options, such as --kernel FILE; "
		"see `microvm run --help`",
		arg);
}

/* One option of the command line; *@i moves to the last argument it used. */
static int take_argument(struct setting *s, int argc, char **argv, int *i, struct error *err)
{
	const char *arg = argv[*i], *equals;
	char name[64], hint[96];
	size_t len;

	if (!strcmp(arg, "-h"))
		arg = "--help";
	if (strncmp(arg, "--", 2) || !arg[2])
		return unexpected(arg, err);
	arg += 2;
	equals = strchr(arg, '=');
	len = equals ? (size_t)(equals - arg) : strlen(arg);
	s->def = option_find(arg, len);
	if (!s->def) {
		snprintf(name, sizeof(name), "%.*s", (int)MIN(len, sizeof(name)), arg);
		return error_set(err, ERROR_USAGE, EINVAL, "unknown option '--%s'%s", name,
			option_hint(name, false, hint, sizeof(hint)));
	}
	s->value = equals ? equals + 1 : NULL;
	if (!s->def->value && equals)
		return error_set(err, ERROR_USAGE, EINVAL, "--%s takes no value", s->def->name);
	if (s->def->value && !equals) {
		if (*i + 1 >= argc)
			return error_set(err, ERROR_USAGE, EINVAL, "--%s needs a value: %s",
				s->def->name, s->def->value);
		s->value = argv[++*i];
		/* An empty shell variable, most likely. */
		if (!strncmp(s->value, "--", 2) && option_find(s->value + 2, strlen(s->value + 2)))
			return error_set(err, ERROR_USAGE, EINVAL,
				"--%s needs a value, but %s follows; if that is meant: --%s=%s",
				s->def->name, s->value, s->def->name, s->value);
	}
	return 0;
}

static bool is_said(const struct setting *settings, unsigned count, const struct option_def *def)
{
	for (unsigned i = 0; i < count; i++)
		if (settings[i].def == def)
			return true;
	return false;
}

/* The file first, but for what the command line says again. */
static int apply_file(struct options *o, const char *path, const struct setting *said,
	unsigned said_count, struct error *err)
{
	_cleanup_free_ struct setting *settings = NULL;
	unsigned count = 0;
	int r = config_file_read(o, path, &settings, &count, err);

	for (unsigned i = 0; i < count && r == 0; i++) {
		if (is_said(said, said_count, settings[i].def))
			continue;
		r = settings[i].def->set(o, settings[i].value, err);
		if (r < 0)
			error_prefix(err, "%s: %s", path, settings[i].def->name);
	}
	return r;
}

static int apply(struct options *o, const struct setting *said, unsigned count, struct error *err)
{
	for (unsigned i = 0; i < count; i++) {
		const struct setting *s = &said[i];
		int r = s->def->set ? s->def->set(o, s->value, err) : 0;

		if (r < 0) {
			error_prefix(err, "--%s", s->def->name);
			return r;
		}
	}
	return 0;
}

/* The root disk comes first, and decides whether an initial RAM disk is to be made. */
static void compose(struct options *o)
{
	struct vm_config *c = &o->config;

	if (o->root) {
		memmove(&c->disk[1], &c->disk[0], c->disks * sizeof(c->disk[0]));
		c->disk[0] = (struct vm_disk){ o->root, o->root_read_only };
		c->disks++;
		c->has_root = true;
	}
	c->make_initrd = c->has_root && !c->initrd;
}

int options_parse(struct options *o, int argc, char **argv, struct error *err)
{
	_cleanup_free_ struct setting *said = calloc((size_t)argc + 1, sizeof(*said));
	const char *file = NULL;
	unsigned count = 0;
	int r = 0;

	if (!said)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	for (int i = 0; i < argc; i++) {
		struct setting *s = &said[count++];

		r = take_argument(s, argc, argv, &i, err);
		if (r < 0)
			return r;
		o->help |= is(s->def, "help");
		o->version |= is(s->def, "version");
		if (is(s->def, "config"))
			file = s->value;
	}
	if (o->help || o->version)
		return 0;
	if (file)
		r = apply_file(o, file, said, count, err);
	if (r == 0)
		r = apply(o, said, count, err);
	if (r < 0)
		return r;
	compose(o);
	return vm_config_check(&o->config, err);
}

void options_print_help(void)
{
	for (unsigned i = 0; i < option_table_count; i++) {
		const struct option_def *def = &option_table[i];
		const char *line = def->help;

		printf("  --%s%s%s\n", def->name, def->value ? " " : "",
			def->value ? def->value : "");
		while (*line) {
			size_t len = strcspn(line, "\n");

			printf("        %.*s\n", (int)len, line);
			line += len + (line[len] == '\n');
		}
	}
}
