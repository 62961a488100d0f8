#include "cli/options.h"

#include "cli/setters.h"
#include "cli/suggest.h"
#include "util/cleanup.h"
#include "util/macros.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Those that options_parse() itself understands have no function. */
const struct option_def option_table[] = {
	{ "kernel", 0, "FILE", OPTION_STRING, 0, 0, option_set_kernel,
		"the kernel: a bzImage or an ELF vmlinux (default: $MICROVM_KERNEL,\n"
		"the newest in /usr/lib/microvm, the newest in /boot with its modules)" },
	{ "initrd", 0, "FILE", OPTION_STRING, 0, 0, option_set_initrd,
		"an initial RAM disk; without one, microvm makes one of the\n"
		"kernel's modules if there is a --rootfs" },
	{ "modules", 0, "DIR", OPTION_STRING, 0, 0, option_set_modules,
		"where those modules are (default: /lib/modules/VERSION)" },
	{ "append", 0, "TEXT", OPTION_STRING, 0, 0, option_set_append,
		"more words for the kernel's command line" },
	{ "rootfs", 0, "IMAGE|DIR[,ro]", OPTION_STRING, 0, 0, option_set_rootfs,
		"the root: a raw image of a file system, or (with a command) a\n"
		"directory" },
	{ "image", 0, "REF", OPTION_STRING, 0, 0, option_set_image,
		"the root: an image in podman's storage, with its command,\n"
		"environment, user and directory where no others are given" },
	{ "disk", 0, "IMAGE[,ro]", OPTION_LIST, 0, 0, option_set_disk, "a further disk" },
	{ "net", 0,
		"tap=NAME[,mac=ADDRESS][,queues=N][,ip=ADDRESS/BITS][,gw=ADDRESS][,dns=ADDRESS]",
		OPTION_LIST, 0, 0, option_set_net,
		"a network card at a tap interface (ip, gw and dns are for a command's\n"
		"machine),\n"
		"or: user[,mac=ADDRESS][,hostfwd=[tcp:|udp:][ADDRESS:]PORT-:GUESTPORT]...\n"
		"    a network of its own behind this host's, needs no privileges,\n"
		"or: none (default)" },
	{ "publish", 'p', "[ADDRESS:]PORT:GUESTPORT[/udp]", OPTION_LIST, 0, 0, option_set_publish,
		"a port of this host that leads to one of the guest (with --net user,\n"
		"which need not be said)" },
	{ "volume", 'v', "HOST:GUEST[:ro]", OPTION_LIST, 0, 0, option_set_volume,
		"a directory, file or stream socket of the host at a place in the guest" },
	{ "tmpfs", 0, "PATH[:OPTIONS]", OPTION_LIST, 0, 0, option_set_tmpfs,
		"an empty file system in memory; OPTIONS such as size=64M,mode=700,ro" },
	{ "cache", 0, "auto|none|always", OPTION_STRING, 0, 0, option_set_cache,
		"how long the guest trusts what it knows of shared directories\n"
		"(default: auto, a second)" },
	{ "keep", 0, NULL, OPTION_SWITCH, 0, 0, option_set_keep,
		"writes to the root last; else they die with the machine" },
	{ "read-only", 0, NULL, OPTION_SWITCH, 0, 0, option_set_read_only,
		"the root takes no writes at all" },
	{ "env", 'e', "NAME[=VALUE]", OPTION_LIST, 0, 1, option_set_env,
		"a variable of the command's environment; without VALUE, ours" },
	{ "workdir", 'w', "DIR", OPTION_STRING, 0, 1, option_set_workdir,
		"the command's working directory" },
	{ "user", 'u', "USER[:GROUP]", OPTION_STRING, 0, 1, option_set_user,
		"who the command runs as: names of the guest, or numbers\n"
		"(default: root)" },
	{ "interactive", 'i', NULL, OPTION_SWITCH, 0, 1, option_set_interactive,
		"our standard input is the command's" },
	{ "tty", 't', NULL, OPTION_SWITCH, 0, 1, option_set_tty, "the command has a terminal" },
	{ "hostname", 0, "NAME", OPTION_STRING, 0, 0, option_set_hostname,
		"the guest's name (default: that of --name, or microvm)" },
	{ "name", 0, "NAME", OPTION_STRING, 0, 0, option_set_name,
		"what `microvm exec`, `ps` and `kill` call this machine" },
	{ "vsock", 0, "PATH", OPTION_STRING, 0, 0, option_set_vsock,
		"a unix socket to reach the guest's vsock ports (\"CONNECT PORT\"); the\n"
		"guest's connections to port N of the host go to the socket PATH_N" },
	{ "cpus", 0, "N", OPTION_NUMBER, 0, 0, option_set_cpus, "processors (default: 1)" },
	{ "memory", 0, "SIZE", OPTION_NUMBER, 0, 0, option_set_memory,
		"memory, such as 512M or 2G (default: 512M)" },
	{ "workers", 0, "N", OPTION_NUMBER, 0, 0, option_set_workers,
		"threads that do the devices' work (default: 1)" },
	{ "hw", 0, "acpi|fdt|cmdline", OPTION_STRING, 0, 0, option_set_hw,
		"how the kernel is told of its hardware (default: acpi)" },
	{ "console", 0, "stdio|file=FILE|none", OPTION_STRING, 0, 0, option_set_console,
		"the guest's console (default: stdio; with a command: none)" },
	{ "timeout", 0, "TIME", OPTION_NUMBER, 0, 0, option_set_timeout,
		"stop the machine after so long: 10s, 500ms, 5m (default: never);\n"
		"a command gets SIGTERM first" },
	{ "grace", 0, "TIME", OPTION_NUMBER, 0, 0, option_set_grace,
		"how long it then has to end (default: 10s)" },
	{ "no-sandbox", 0, NULL, OPTION_SWITCH, 0, 0, option_set_no_sandbox,
		"keep all privileges and filter no system calls: for debugging" },
	{ "log-level", 0, "error|warn|info|debug", OPTION_STRING, 0, 1, option_set_log_level,
		"what is said on standard error (default: warn)" },
	{ "log-format", 0, "text|json", OPTION_STRING, 0, 1, option_set_log_format,
		"how it is said (default: text)" },
	{ "config", 0, "FILE", OPTION_STRING, 1, 0, NULL,
		"read options from a JSON file; each has its key. The command line\n"
		"counts for more" },
	{ "command", 0, "CMD", OPTION_COMMAND, 0, 0, option_set_command,
		"(in the file only: what stands behind -- on the command line)" },
	{ "help", 'h', NULL, OPTION_SWITCH, 1, 1, NULL, "show this" },
	{ "version", 0, NULL, OPTION_SWITCH, 1, 0, NULL, "show the version" },
};
const unsigned option_table_count = ARRAY_SIZE(option_table);

void options_init(struct options *o)
{
	*o = (struct options){ .log_level = LOG_LEVEL_WARN, .log_format = LOG_FORMAT_TEXT };
	vm_config_init(&o->config);
	o->job.grace_ms = 10000;
}

void options_release(struct options *o)
{
	for (unsigned i = 0; i < o->strings; i++)
		free(o->string[i]);
	free(o->string);
	free(o->job.env);
	free(o->job.command);
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
	*buf = 0;
	if (near)
		snprintf(buf, size, ": did you mean '%s%s'?", in_file ? "" : "--", near);
	return buf;
}

static bool is(const struct option_def *def, const char *name)
{
	return !strcmp(def->name, name);
}

/* What is being read, and where that has got to. */
struct arguments {
	struct options *o;
	int count;
	char **word;
	int at;
	struct setting *said;
	unsigned says;
};

static int unexpected(const struct arguments *in, const char *arg, struct error *err)
{
	return error_set(err, ERROR_USAGE, EINVAL,
		in->o->exec ? "unexpected argument '%s': one name of a machine, then -- and the "
			      "command; see `microvm exec --help`"
			    : "unexpected argument '%s': options such as --rootfs DIR, then -- and "
			      "the command; see `microvm run --help`",
		arg);
}

static void say(struct arguments *in, const struct option_def *def, const char *value)
{
	in->said[in->says++] = (struct setting){ def, value };
}

/* The value of an option that stands in the next word. */
static const char *next_word(
	struct arguments *in, const struct option_def *def, const char *as, struct error *err)
{
	const char *value;

	if (in->at + 1 >= in->count) {
		error_set(err, ERROR_USAGE, EINVAL, "%s needs a value: %s", as, def->value);
		return NULL;
	}
	value = in->word[++in->at];
	/* An empty shell variable, most likely. */
	if (!strcmp(value, "--") ||
		(!strncmp(value, "--", 2) && option_find(value + 2, strlen(value + 2)))) {
		error_set(err, ERROR_USAGE, EINVAL,
			"%s needs a value, but %s follows; if that is meant: --%s=%s", as, value,
			def->name, value);
		return NULL;
	}
	return value;
}

/* "--name", "--name=value" or "--name value". */
static int take_long(struct arguments *in, const char *arg, struct error *err)
{
	const char *equals = strchr(arg, '=');
	size_t len = equals ? (size_t)(equals - arg) : strlen(arg);
	const struct option_def *def = option_find(arg, len);
	const char *value = equals ? equals + 1 : NULL;
	char name[64], hint[96];

	snprintf(name, sizeof(name), "--%.*s", (int)MIN(len, sizeof(name)), arg);
	if (!def || def->type == OPTION_COMMAND || (in->o->exec && !def->for_exec))
		return error_set(err, ERROR_USAGE, EINVAL, "unknown option '%s'%s", name,
			def ? "" : option_hint(name + 2, false, hint, sizeof(hint)));
	if (!def->value && equals)
		return error_set(err, ERROR_USAGE, EINVAL, "%s takes no value", name);
	if (def->value && !equals && !(value = next_word(in, def, name, err)))
		return -EINVAL;
	say(in, def, value);
	return 0;
}

static const struct option_def *find_letter(char letter)
{
	for (unsigned i = 0; i < option_table_count; i++)
		if (option_table[i].letter == letter)
			return &option_table[i];
	return NULL;
}

/* "-l value", "-lvalue", or several of those without values: "-it". */
static int take_letters(struct arguments *in, const char *arg, struct error *err)
{
	for (const char *c = arg; *c; c++) {
		const struct option_def *def = find_letter(*c);
		const char name[] = { '-', *c, 0 };
		const char *value = NULL;

		if (!def || (in->o->exec && !def->for_exec))
			return error_set(err, ERROR_USAGE, EINVAL, "unknown option '%s' in '-%s'",
				name, arg);
		if (def->value)
			value = c[1] ? c + 1 : next_word(in, def, name, err);
		if (def->value && !value)
			return -EINVAL;
		say(in, def, value);
		if (def->value)
			return 0;
	}
	return 0;
}

static int take_argument(struct arguments *in, struct error *err)
{
	const char *arg = in->word[in->at];

	if (!strncmp(arg, "--", 2) && arg[2])
		return take_long(in, arg + 2, err);
	if (arg[0] == '-' && arg[1] && arg[1] != '-')
		return take_letters(in, arg + 1, err);
	if (!in->o->exec || in->o->job.name)
		return unexpected(in, arg, err);
	in->o->job.name = arg;
	return 0;
}

/* All words up to "--"; what is behind it is the command. */
static int take_arguments(struct arguments *in, struct error *err)
{
	int r = 0;

	for (; in->at < in->count && r == 0; in->at++) {
		if (!strcmp(in->word[in->at], "--"))
			break;
		r = take_argument(in, err);
	}
	for (int i = in->at + 1; i < in->count && r == 0; i++)
		r = options_add_word(in->o, in->word[i], err);
	if (r == 0 && in->at + 1 == in->count)
		return error_set(err, ERROR_USAGE, EINVAL, "no command behind --");
	return r;
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
	bool has_command = o->job.command != NULL;
	int r = config_file_read(o, path, &settings, &count, err);

	for (unsigned i = 0; i < count && r == 0; i++) {
		if (is_said(said, said_count, settings[i].def) ||
			(has_command && settings[i].def->type == OPTION_COMMAND))
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

/* A root image is the first disk, and decides whether an initial RAM disk is to be made. */
static void compose(struct options *o)
{
	struct vm_config *c = &o->config;
	struct stat st;

	if (o->root && stat(o->root, &st) == 0 && S_ISDIR(st.st_mode))
		o->root_is_dir = true;
	if (o->root && !o->root_is_dir) {
		memmove(&c->disk[1], &c->disk[0], c->disks * sizeof(c->disk[0]));
		c->disk[0] = (struct vm_disk){ o->root, o->root_read_only };
		c->disks++;
		c->has_root = true;
	}
	c->make_initrd = c->has_root && !c->initrd;
}

static int read_arguments(struct options *o, int argc, char **argv, struct error *err)
{
	struct arguments in = { .o = o, .count = argc, .word = argv };
	_cleanup_free_ struct setting *said = NULL;
	const char *file = NULL;
	size_t room = 1;
	int r;

	for (int i = 0; i < argc; i++) /* each letter may be an option */
		room += strlen(argv[i]) + 1;
	in.said = said = calloc(room, sizeof(*said));
	if (!said)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	r = take_arguments(&in, err);
	for (unsigned i = 0; i < in.says; i++) {
		o->help |= is(said[i].def, "help");
		o->version |= is(said[i].def, "version");
		if (is(said[i].def, "config"))
			file = said[i].value;
	}
	if (r < 0 || o->help || o->version)
		return r;
	if (file)
		r = apply_file(o, file, said, in.says, err);
	return r == 0 ? apply(o, said, in.says, err) : r;
}

int options_parse(struct options *o, int argc, char **argv, struct error *err)
{
	int r = read_arguments(o, argc, argv, err);

	if (r < 0 || o->help || o->version)
		return r;
	compose(o);
	r = options_check(o, err);
	return r == 0 ? vm_config_check(&o->config, err) : r;
}

int options_parse_exec(struct options *o, int argc, char **argv, struct error *err)
{
	int r;

	o->exec = true;
	r = read_arguments(o, argc, argv, err);
	if (r < 0 || o->help)
		return r;
	if (!o->job.name)
		return error_set(err, ERROR_USAGE, EINVAL,
			"no machine: `microvm exec NAME -- CMD`; `microvm ps` lists them");
	if (!o->job.command)
		return error_set(err, ERROR_USAGE, EINVAL, "no command: `microvm exec %s -- CMD`",
			o->job.name);
	return 0;
}

void options_print_help(bool exec)
{
	for (unsigned i = 0; i < option_table_count; i++) {
		const struct option_def *def = &option_table[i];
		const char *line = def->help;

		if ((exec && !def->for_exec) || def->type == OPTION_COMMAND)
			continue;
		printf("  --%s%s%s", def->name, def->value ? " " : "",
			def->value ? def->value : "");
		printf(def->letter ? ", -%c\n" : "\n", def->letter);
		while (*line) {
			size_t len = strcspn(line, "\n");

			printf("        %.*s\n", (int)len, line);
			line += len + (line[len] == '\n');
		}
	}
}
