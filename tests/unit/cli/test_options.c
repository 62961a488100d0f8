/* The table of options, from the command line and from the config file. */
#include "cli/options.h"
#include "cli/status.h"

#include "util/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <unistd.h>

enum { WORDS_MAX = 64 };

/* Options from the words of a line, split at blanks. The words live as long as the fixture. */
struct fixture {
	struct options o;
	struct error err;
	char line[4096];
	char file[64];
};

static int parse(struct fixture *f, const char *line)
{
	char *argv[WORDS_MAX], *at = f->line, *word;
	int argc = 0;

	options_release(&f->o);
	options_init(&f->o);
	f->err = (struct error){ 0 };
	snprintf(f->line, sizeof(f->line), "%s", line);
	while ((word = strsep(&at, " ")))
		if (*word)
			argv[argc++] = word;
	return options_parse(&f->o, argc, argv, &f->err);
}

/* The same from a config file with @text, and @line as the rest of the command line. */
static int parse_file(struct fixture *f, const char *text, const char *line)
{
	char all[4096];
	FILE *out = fopen(f->file, "w");

	assert_non_null(out);
	fputs(text, out);
	fclose(out);
	snprintf(all, sizeof(all), "--config %s %s", f->file, line);
	return parse(f, all);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	*state = f;
	strcpy(f->file, "/tmp/microvm-test-XXXXXX");
	fd = mkstemp(f->file);
	return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	options_release(&f->o);
	unlink(f->file);
	free(f);
	return 0;
}

/* Of each option a value as it is said on both sides, and another one. */
static const struct {
	const char *name, *text, *json, *other;
	bool job; /* for a machine that runs a command */
} samples[] = {
	{ "kernel", "/boot/k", "\"/boot/k\"", "/boot/other" },
	{ "initrd", "/boot/i", "\"/boot/i\"", "/boot/other" },
	{ "modules", "/lib/m", "\"/lib/m\"", "/lib/other" },
	{ "append", "quiet", "\"quiet\"", "debug" },
	{ "rootfs", "root.img,ro", "\"root.img,ro\"", "other.img" },
	{ "disk", "a.img,ro", "[\"a.img,ro\"]", "b.img" },
	{ "net", "user,hostfwd=tcp::2222-:22", "\"user,hostfwd=tcp::2222-:22\"", "tap=t0" },
	{ "cpus", "4", "4", "3" },
	{ "memory", "1073741824", "1073741824", "1M" },
	{ "workers", "2", "\"2\"", "3" },
	{ "hw", "fdt", "\"fdt\"", "cmdline" },
	{ "console", "file=c.log", "\"file=c.log\"", "none" },
	{ "timeout", "90", "90", "5m" },
	{ "no-sandbox", NULL, "true", NULL },
	{ "log-level", "debug", "\"debug\"", "error" },
	{ "log-format", "json", "\"json\"", "text" },
	{ "image", "debian", "\"debian\"", "other" },
	{ "publish", "8080:80", "[\"8080:80\"]", "5353:53/udp" },
	{ "volume", "/:/mnt:ro", "[\"/:/mnt:ro\"]", "/etc:/mnt/etc", true },
	{ "tmpfs", "/t:size=1M,ro", "[\"/t:size=1M,ro\"]", "/u", true },
	{ "cache", "always", "\"always\"", "none", true },
	{ "keep", NULL, "true", NULL, true },
	{ "read-only", NULL, "true", NULL, true },
	{ "env", "A=b", "[\"A=b\"]", "PATH", true },
	{ "workdir", "/src", "\"/src\"", "/", true },
	{ "user", "nobody:nogroup", "\"nobody:nogroup\"", "1000", true },
	{ "interactive", NULL, "true", NULL, true },
	{ "tty", NULL, "true", NULL, true },
	{ "hostname", "box", "\"box\"", "other", true },
	{ "name", "box", "\"box\"", "other" },
	{ "vsock", "/run/v", "\"/run/v\"", "v" },
	{ "grace", "3s", "\"3s\"", "500ms", true },
};

static void assert_same_text(const char *a, const char *b)
{
	assert_string_equal(a ? a : "", b ? b : "");
}

static void assert_job_alike(const struct job_options *a, const struct job_options *b)
{
	assert_int_equal(a->words, b->words);
	for (unsigned i = 0; i < a->words; i++)
		assert_string_equal(a->command[i], b->command[i]);
	assert_int_equal(a->volumes, b->volumes);
	for (unsigned i = 0; i < a->volumes; i++) {
		assert_string_equal(a->volume[i].source, b->volume[i].source);
		assert_string_equal(a->volume[i].target, b->volume[i].target);
		assert_int_equal(a->volume[i].read_only, b->volume[i].read_only);
	}
	assert_int_equal(a->tmpfses, b->tmpfses);
	for (unsigned i = 0; i < a->tmpfses; i++) {
		assert_string_equal(a->tmpfs[i].target, b->tmpfs[i].target);
		assert_same_text(a->tmpfs[i].options, b->tmpfs[i].options);
		assert_int_equal(a->tmpfs[i].flags, b->tmpfs[i].flags);
	}
	assert_int_equal(a->envs, b->envs);
	for (unsigned i = 0; i < a->envs; i++)
		assert_string_equal(a->env[i], b->env[i]);
	assert_same_text(a->workdir, b->workdir);
	assert_same_text(a->user, b->user);
	assert_same_text(a->hostname, b->hostname);
	assert_same_text(a->name, b->name);
	assert_same_text(a->image, b->image);
	assert_same_text(a->vsock, b->vsock);
	assert_int_equal(a->interactive, b->interactive);
	assert_int_equal(a->tty, b->tty);
	assert_int_equal(a->read_only, b->read_only);
	assert_int_equal(a->keep, b->keep);
	assert_int_equal(a->cache, b->cache);
	assert_int_equal(a->grace_ms, b->grace_ms);
}

/* Two results are alike if everything a machine is made of is. */
static void assert_alike(const struct options *a, const struct options *b)
{
	const struct vm_config *x = &a->config, *y = &b->config;

	assert_string_equal(x->kernel, y->kernel);
	assert_string_equal(x->initrd ? x->initrd : "", y->initrd ? y->initrd : "");
	assert_string_equal(x->modules ? x->modules : "", y->modules ? y->modules : "");
	assert_string_equal(x->append ? x->append : "", y->append ? y->append : "");
	assert_int_equal(x->has_root, y->has_root);
	assert_int_equal(x->make_initrd, y->make_initrd);
	assert_int_equal(x->disks, y->disks);
	for (unsigned i = 0; i < x->disks; i++) {
		assert_string_equal(x->disk[i].path, y->disk[i].path);
		assert_int_equal(x->disk[i].read_only, y->disk[i].read_only);
	}
	assert_int_equal(x->nets, y->nets);
	for (unsigned i = 0; i < x->nets; i++) {
		assert_int_equal(x->net[i].kind, y->net[i].kind);
		assert_string_equal(
			x->net[i].tap ? x->net[i].tap : "", y->net[i].tap ? y->net[i].tap : "");
		assert_int_equal(x->net[i].forwards, y->net[i].forwards);
	}
	assert_int_equal(x->cpus, y->cpus);
	assert_true(x->memory == y->memory);
	assert_int_equal(x->workers, y->workers);
	assert_int_equal(x->hw, y->hw);
	assert_int_equal(x->console, y->console);
	assert_string_equal(
		x->console_path ? x->console_path : "", y->console_path ? y->console_path : "");
	assert_int_equal(x->timeout_ms, y->timeout_ms);
	assert_int_equal(x->sandbox, y->sandbox);
	assert_job_alike(&a->job, &b->job);
	assert_int_equal(a->log_level, b->log_level);
	assert_int_equal(a->log_format, b->log_format);
}

/* What @line makes of the defaults, in a fixture of its own. */
static struct fixture *made_by(const char *line)
{
	struct fixture *f;

	assert_int_equal(setup((void **)&f), 0);
	assert_int_equal(parse(f, line), 0);
	return f;
}

/* @line with what makes it whole: the kernel (--initrd is said beside it), for a job the rest. */
static const char *whole(char *buf, size_t size, const char *name, bool job, const char *line)
{
	snprintf(buf, size, "%s %s %s%s", strcmp(name, "kernel") ? "--kernel k" : "",
		job ? "--rootfs /" : "", line, job ? " -- true" : "");
	return buf;
}

/* Every flag has its key; a flag with a blank and one with "=" are the same; the flag wins. */
static void test_flags_and_keys(void **state)
{
	struct fixture *f = *state;
	unsigned known = 0;

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		const char *name = samples[i].name, *text = samples[i].text;
		const char *kernel_json = strcmp(name, "kernel") ? "\"kernel\": \"k\"," : "";
		bool job = samples[i].job;
		struct fixture *by_flag, *other = NULL;
		char part[128], line[256], json[256];

		assert_non_null(option_find(name, strlen(name)));
		snprintf(part, sizeof(part), "--%s %s", name, text ? text : "");
		by_flag = made_by(whole(line, sizeof(line), name, job, part));
		if (text) {
			snprintf(part, sizeof(part), "--%s=%s", name, text);
			assert_int_equal(parse(f, whole(line, sizeof(line), name, job, part)), 0);
			assert_alike(&f->o, &by_flag->o);
		}
		snprintf(json, sizeof(json), "{ %s %s \"%s\": %s }", kernel_json,
			job ? "\"rootfs\": \"/\", \"command\": [ \"true\" ]," : "", name,
			samples[i].json);
		assert_int_equal(parse_file(f, json, ""), 0);
		assert_alike(&f->o, &by_flag->o);
		if (samples[i].other) {
			snprintf(part, sizeof(part), "--%s %s", name, samples[i].other);
			other = made_by(whole(line, sizeof(line), name, job, part));
			assert_int_equal(parse_file(f, json, part), 0);
			assert_alike(&f->o, &other->o);
			teardown((void **)&other);
		}
		teardown((void **)&by_flag);
	}
	for (unsigned i = 0; i < option_table_count; i++)
		known += !option_table[i].not_in_file && option_table[i].type != OPTION_COMMAND;
	assert_int_equal(known, ARRAY_SIZE(samples));
}

static void test_defaults(void **state)
{
	struct fixture *f = *state;
	struct vm_config *c = &f->o.config;

	assert_int_equal(parse(f, "--kernel k"), 0);
	assert_string_equal(c->kernel, "k");
	assert_int_equal(c->cpus, 1);
	assert_true(c->memory == 512 * MIB);
	assert_int_equal(c->workers, 1);
	assert_int_equal(c->hw, VM_HW_ACPI);
	assert_int_equal(c->console, VM_CONSOLE_STDIO);
	assert_int_equal(c->initrd_fd, -1);
	assert_int_equal(c->disks, 0);
	assert_int_equal(c->nets, 0);
	assert_int_equal(c->timeout_ms, 0);
	assert_true(c->sandbox);
	assert_false(c->make_initrd);
	assert_int_equal(f->o.log_level, LOG_LEVEL_WARN);
}

static void test_disks(void **state)
{
	struct fixture *f = *state;
	struct vm_config *c = &f->o.config;

	assert_int_equal(parse(f, "--disk a.img --kernel k --rootfs r.img,ro --disk b,c,ro.img,rw "
				  "--disk=d.img,ro"),
		0);
	assert_true(c->has_root);
	assert_true(c->make_initrd);
	assert_int_equal(c->disks, 4);
	assert_string_equal(c->disk[0].path, "r.img");
	assert_true(c->disk[0].read_only);
	assert_string_equal(c->disk[1].path, "a.img");
	assert_false(c->disk[1].read_only);
	assert_string_equal(c->disk[2].path, "b,c,ro.img");
	assert_false(c->disk[2].read_only);
	assert_string_equal(c->disk[3].path, "d.img");
	assert_true(c->disk[3].read_only);

	assert_int_equal(parse(f, "--kernel k --rootfs a --rootfs b --initrd i"), 0);
	assert_int_equal(c->disks, 1);
	assert_string_equal(c->disk[0].path, "b");
	assert_false(c->make_initrd);

	assert_int_equal(parse(f, "--kernel k --disk 1 --disk 2 --disk 3 --disk 4 --disk 5 "
				  "--disk 6 --disk 7 --rootfs r"),
		0);
	assert_int_equal(c->disks, VM_DISKS_MAX);
	assert_true(parse(f, "--kernel k --disk 1 --disk 2 --disk 3 --disk 4 --disk 5 --disk 6 "
			     "--disk 7 --disk 8") < 0);
}

static void test_nets(void **state)
{
	struct fixture *f = *state;
	struct vm_config *c = &f->o.config;

	assert_int_equal(
		parse(f, "--kernel k --net tap=t0,queues=2,mac=52:54:00:00:00:01 "
			 "--net user,hostfwd=tcp::2222-:22,hostfwd=udp::53-:53 --net none"),
		0);
	assert_int_equal(c->nets, 2);
	assert_int_equal(c->net[0].kind, VM_NET_TAP);
	assert_string_equal(c->net[0].tap, "t0");
	assert_int_equal(c->net[0].queue_pairs, 2);
	assert_true(c->net[0].has_mac);
	assert_int_equal(c->net[1].kind, VM_NET_USER);
	assert_int_equal(c->net[1].forwards, 2);
	assert_true(c->net[1].forward[1].udp);

	/* "none" on the command line takes the file's away. */
	assert_int_equal(
		parse_file(f, "{\"kernel\":\"k\",\"net\":[\"user\",\"tap=t1\"]}", "--net none"), 0);
	assert_int_equal(c->nets, 0);
	assert_int_equal(parse_file(f, "{\"kernel\":\"k\",\"net\":[\"user\",\"tap=t1\"]}", ""), 0);
	assert_int_equal(c->nets, 2);
}

/* What is wrong, and words that the one line about it must have. */
static void test_wrong_arguments(void **state)
{
	static const struct {
		const char *line, *says[3];
	} cases[] = {
		{ "k", { "unexpected argument 'k'", "--rootfs" } },
		{ "--kernel", { "--kernel needs a value" } },
		{ "--kernel=", { "--kernel: ", "empty" } },
		{ "--kernel k --rootfs --cpus 2", { "--rootfs needs a value", "--cpus" } },
		{ "--kernle k", { "unknown option '--kernle'", "did you mean '--kernel'?" } },
		{ "--zzz", { "unknown option '--zzz'" } },
		{ "-k", { "unknown option '-k'" } },
		{ "-iqt -- c", { "unknown option '-q' in '-iqt'" } },
		{ "-v", { "-v needs a value", "HOST:GUEST" } },
		{ "-v -- c", { "-v needs a value", "--volume=--" } },
		{ "--", { "no command" } },
		{ "-- c", { "no root", "--rootfs DIR" } },
		{ "--command c", { "unknown option '--command'" } },
		{ "--rootfs /", { "--rootfs / is a directory", "needs a command" } },
		{ "-v /:/a", { "--volume is for a machine that runs a command" } },
		{ "-t", { "--tty is for" } },
		{ "--net tap=t0,ip=10.0.0.2/24", { "tap=t0", "ip, gw and dns" } },
		{ "--net tap=t0,ip=10.0.0.2/33", { "'10.0.0.2/33' is not ADDRESS/BITS" } },
		{ "--rootfs / --image i -- c", { "both given" } },
		{ "--rootfs / --initrd i -- c", { "--initrd i" } },
		{ "--image i --keep", { "--keep", "never written to" } },
		{ "--rootfs / -v /:a -- c", { "--volume: 'a' is not an absolute path" } },
		{ "--rootfs / -v /:/a/../b -- c", { "'/a/../b' has a . or .." } },
		{ "--rootfs / -v /:/ -- c", { "the guest's root" } },
		{ "--rootfs / -v /a -- c", { "'/a' is not HOST:GUEST" } },
		{ "--rootfs / -v :/a -- c", { "':/a' is not HOST:GUEST" } },
		{ "--rootfs / -v /:/a -v /etc:/a/ -- c", { "two things", "at /a in" } },
		{ "--rootfs / -v /:/a --tmpfs //a -- c", { "two things", "at /a in" } },
		{ "--rootfs / --tmpfs /a:bogus -- c", { "'bogus' is no option of a tmpfs" } },
		{ "--rootfs / -e =x -- c", { "'=x' is not NAME=VALUE" } },
		{ "--rootfs / -w src -- c", { "'src' is not an absolute path" } },
		{ "--rootfs / -u a:b:c -- c", { "'a:b:c' is not USER" } },
		{ "-p 80", { "'80' is not [ADDRESS:]PORT:GUESTPORT" } },
		{ "-p 1:2/sctp", { "'1:2/sctp' is not" } },
		{ "--name a/b", { "'a/b' is no name" } },
		{ "--name .a", { "'.a' is no name" } },
		{ "--kernel k --no-sandbox=1", { "--no-sandbox takes no value" } },
		{ "--kernel k --cpus 0", { "--cpus: '0'", "1 to 64" } },
		{ "--kernel k --cpus 65", { "--cpus: '65'" } },
		{ "--kernel k --cpus two", { "--cpus: 'two'" } },
		{ "--kernel k --memory 0", { "--memory: ", "needs memory" } },
		{ "--kernel k --memory 12x", { "--memory: '12x' is not a size", "512M" } },
		{ "--kernel k --memory 1234567", { "multiple of 4 KiB" } },
		{ "--kernel k --workers 17", { "--workers: '17'", "1 to 16" } },
		{ "--kernel k --hw dt", { "--hw: 'dt' is not one of: acpi, fdt or cmdline" } },
		{ "--kernel k --console tty", { "--console: 'tty'", "file=FILE" } },
		{ "--kernel k --console file=", { "--console: 'file='" } },
		{ "--kernel k --timeout soon", { "--timeout: 'soon' is not a time" } },
		{ "--kernel k --log-level loud", { "--log-level: 'loud'", "debug" } },
		{ "--kernel k --log-format xml", { "--log-format: 'xml'", "text or json" } },
		{ "--kernel k --rootfs ,ro", { "--rootfs: ", "names no image" } },
		{ "--kernel k --net tap", { "--net: 'tap' is no kind of network" } },
		{ "--kernel k --net tap=", { "--net: ", "name of a network interface" } },
		{ "--kernel k --net tap=t0,queues=9", { "--net: queues: '9'" } },
		{ "--kernel k --net tap=t0,hostfwd=1-:1", { "means nothing for a tap" } },
		{ "--kernel k --net user,queues=2", { "means nothing for the user network" } },
		{ "--kernel k --net user,hostfwd=22", { "hostfwd='22'" } },
		{ "--kernel k --net user,", { "--net: ''" } },
		{ "--kernel k --config /nowhere/x.json", { "/nowhere/x.json", "No such file" } },
		{ "--kernel k --config /", { "--config /", "directory" } },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_true(parse(f, cases[i].line) < 0);
		assert_int_equal(status_of_error(f->err.kind), EXIT_USAGE);
		for (size_t s = 0; s < 3 && cases[i].says[s]; s++)
			if (!strstr(f->err.msg, cases[i].says[s]))
				fail_msg("%s: '%s' lacks '%s'", cases[i].line, f->err.msg,
					cases[i].says[s]);
	}
}

/* Of a wrong file, where it is wrong: "FILE:LINE:COLUMN: ..." */
static void test_wrong_files(void **state)
{
	static const struct {
		const char *text, *position, *says[2];
	} cases[] = {
		{ "", ":1:1: ", { "ends too early" } },
		{ "{", ":1:2: ", { "ends too early" } },
		{ "{\n  \"kernel\": \"k\",\n", ":3:1: ", { "ends too early" } },
		{ "{\n  \"kernel\" \"k\"\n}", ":2:12: ", { 0 } },
		{ "{\n  \"kernel\": k\n}", ":2:13: ", { 0 } },
		{ "{ \"kernel\": \"k\", }", ":1:18: ", { 0 } },
		{ "{ \"kernel\": \"k\" } x", ":1:19: ", { 0 } },
		{ "{ 'kernel': 'k' }", ":1:13: ", { 0 } },
		{ "{ \"kernel\": \"k\" // comment\n}", ":1:17: ", { 0 } },
		{ "[]", ":1:1: ", { "not an object" } },
		{ "\n \"kernel\"", ":2:2: ", { "not an object" } },
		{ "{\n  \"kernel\": \"k\",\n  \"cpu\": 4\n}",
			":3:3: ", { "unknown key 'cpu'", "did you mean 'cpus'?" } },
		{ "{ \"append\": \"\\\"cpu\\\":\",\n\t\"cpu\": 4}", ":2:2: ", { "unknown key" } },
		{ "{ \"disk\": [\"zzz\"],\n\"zzz\" : {\"zzz\": 1} }", ":2:1: ", { "unknown key" } },
		{ "{ \"config\": \"x\" }", ":1:3: ", { "command line only" } },
		{ "{ \"help\": true }", ":1:3: ", { "command line only" } },
		{ "{ \"kernel\": 7 }", ":1:3: ", { "'kernel' must be a string, not a number" } },
		{ "{ \"kernel\": null }", ":1:3: ", { "not null" } },
		{ "{ \"kernel\": [\"k\"] }", ":1:3: ", { "not an array" } },
		{ "{ \"kernel\": \"a\\u0000b\" }", ":1:3: ", { "NUL" } },
		{ "{ \"cpus\": 1.5 }", ":1:3: ", { "whole number", "fraction" } },
		{ "{ \"cpus\": true }", ":1:3: ", { "not a boolean" } },
		{ "{ \"no-sandbox\": \"yes\" }", ":1:3: ", { "true or false" } },
		{ "{ \"disk\": {} }", ":1:3: ", { "array of strings, not an object" } },
		{ "{ \"disk\": [1] }", ":1:3: ", { "not a number" } },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t len = strlen(f->file);

		assert_true(parse_file(f, cases[i].text, "") < 0);
		assert_int_equal(status_of_error(f->err.kind), EXIT_USAGE);
		if (strncmp(f->err.msg, f->file, len) ||
			strncmp(f->err.msg + len, cases[i].position, strlen(cases[i].position)))
			fail_msg("%s: '%s' is not at '%s'", cases[i].text, f->err.msg,
				cases[i].position);
		for (size_t s = 0; s < 2 && cases[i].says[s]; s++)
			if (!strstr(f->err.msg, cases[i].says[s]))
				fail_msg("%s: '%s' lacks '%s'", cases[i].text, f->err.msg,
					cases[i].says[s]);
	}
	/* A value that cannot be meant names the key. */
	assert_true(parse_file(f, "{ \"kernel\": \"k\", \"cpus\": 1000 }", "") < 0);
	assert_non_null(strstr(f->err.msg, ": cpus: '1000'"));
	assert_true(parse_file(f, "{ \"kernel\": \"k\", \"memory\": -1 }", "") < 0);
	assert_non_null(strstr(f->err.msg, ": memory: '-1'"));
	/* ... but not if the command line says it again. */
	assert_int_equal(parse_file(f, "{ \"kernel\": \"k\", \"cpus\": 1000 }", "--cpus 2"), 0);
}

static void test_file_values(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		parse_file(f,
			"{ \"kernel\": \"/boot/vmlinuz\", \"memory\": \"2G\", \"cpus\": \"4\",\n"
			"  \"no-sandbox\": false, \"timeout\": \"500ms\",\n"
			"  \"disk\": [\"a\", \"b,ro\"], \"append\": \"a b \\u00e4\" }\n\n",
			""),
		0);
	assert_true(f->o.config.memory == 2 * GIB);
	assert_int_equal(f->o.config.cpus, 4);
	assert_true(f->o.config.sandbox);
	assert_int_equal(f->o.config.timeout_ms, 500);
	assert_int_equal(f->o.config.disks, 2);
	assert_string_equal(f->o.config.append, "a b \xc3\xa4");
}

static void test_last_wins(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(parse(f, "--kernel a --cpus 2 --kernel b --cpus=3"), 0);
	assert_string_equal(f->o.config.kernel, "b");
	assert_int_equal(f->o.config.cpus, 3);
	assert_int_equal(parse_file(f, "{ \"kernel\": \"a\", \"kernel\": \"b\" }", ""), 0);
	assert_string_equal(f->o.config.kernel, "b");
}

static void test_help(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(parse(f, "--help"), 0);
	assert_true(f->o.help);
	assert_int_equal(parse(f, "--cpus 900 -h"), 0);
	assert_true(f->o.help);
	assert_int_equal(parse(f, "--version"), 0);
	assert_true(f->o.version);
}

static void test_statuses(void **state)
{
	static const struct {
		struct machine_result result;
		int status;
	} cases[] = {
		{ { MACHINE_POWERED_OFF, 0 }, 0 },
		{ { MACHINE_REPORTED, 0 }, 0 },
		{ { MACHINE_REPORTED, 255 }, 255 },
		{ { MACHINE_FAILED, 0 }, 6 },
		{ { MACHINE_REBOOTED, 0 }, 7 },
		{ { MACHINE_PANICKED, 0 }, 8 },
		{ { MACHINE_LEFT, 0 }, 9 },
		{ { MACHINE_TIMED_OUT, 0 }, 124 },
		{ { MACHINE_SIGNALLED, 15 }, 143 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(status_of_result(&cases[i].result), cases[i].status);
	assert_int_equal(status_of_error(ERROR_USAGE), 2);
	assert_int_equal(status_of_error(ERROR_IMAGE), 3);
	assert_int_equal(status_of_error(ERROR_BUSY), 4);
	assert_int_equal(status_of_error(ERROR_HOST), 5);
	assert_int_equal(status_of_error(ERROR_MACHINE), 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_flags_and_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
		cmocka_unit_test_setup_teardown(test_disks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nets, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_arguments, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file_values, setup, teardown),
		cmocka_unit_test_setup_teardown(test_last_wins, setup, teardown),
		cmocka_unit_test_setup_teardown(test_help, setup, teardown),
		cmocka_unit_test(test_statuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
