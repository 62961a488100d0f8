/*
 * `microvm doctor`: what this host offers, and what to do about what is missing.
 */
#include "cli/commands.h"
#include "cli/status.h"

#include "machine/probe.h"
#include "util/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const verdicts[] = {
	[PROBE_GOOD] = "ok", [PROBE_LACKING] = "lacking", [PROBE_MISSING] = "MISSING"
};

static void print_text(const struct probe_report *report, bool able)
{
	const char *group = "";
	unsigned lacking = 0;

	for (unsigned i = 0; i < report->count; i++) {
		const struct probe_item *item = &report->item[i];

		if (strcmp(group, item->group))
			printf("%s%s\n", *group ? "\n" : "", item->group);
		group = item->group;
		printf("  %-8s %-30s %s\n", verdicts[item->verdict], item->name, item->found);
		if (item->advice[0])
			printf("  %8s -> %s\n", "", item->advice);
		lacking += item->verdict == PROBE_LACKING;
	}
	if (able)
		printf("\nMachines can run here%s.\n",
			lacking ? ", without what is marked as lacking" : "");
	else
		printf("\nNo machine can run here: see what is marked MISSING.\n");
}

/* @text as a JSON string. All of it is our own or the kernel's; anything odd becomes a '?'. */
static void print_string(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		putchar((unsigned char)*text < 0x20 ? '?' : *text);
	}
	putchar('"');
}

static void print_json(const struct probe_report *report, bool able)
{
	printf("{\n  \"able\": %s,\n  \"items\": [", able ? "true" : "false");
	for (unsigned i = 0; i < report->count; i++) {
		const struct probe_item *item = &report->item[i];

		printf("%s\n    { \"group\": ", i ? "," : "");
		print_string(item->group);
		printf(", \"name\": ");
		print_string(item->name);
		printf(", \"verdict\": \"%s\", \"found\": ",
			item->verdict == PROBE_MISSING ? "missing" : verdicts[item->verdict]);
		print_string(item->found);
		printf(", \"advice\": ");
		print_string(item->advice);
		printf(" }");
	}
	printf("\n  ]\n}\n");
}

int command_doctor(int argc, char **argv)
{
	_cleanup_free_ struct probe_report *found = malloc(sizeof(*found));
	bool json = argc == 1 && !strcmp(argv[0], "--json");
	bool able;

	if (argc == 1 && (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h"))) {
		printf("usage: microvm doctor [--json]\n");
		return fflush(stdout) ? EXIT_INTERNAL : 0;
	}
	if (argc > 0 && !json) {
		struct error err;

		error_set(&err, ERROR_USAGE, EINVAL,
			"unexpected argument '%s': doctor knows only --json", argv[0]);
		return report(&err);
	}
	if (!found)
		return EXIT_INTERNAL;
	able = machine_probe(found);
	if (json)
		print_json(found, able);
	else
		print_text(found, able);
	if (fflush(stdout))
		return EXIT_INTERNAL;
	return able ? 0 : EXIT_HOST;
}
