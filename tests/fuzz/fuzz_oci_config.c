/*
 * config.json, process.json and resources: any bytes. What is refused must say so in one line; what
 * is accepted must hold what its readers build on. A filter that is accepted must be one.
 */
#include "oci/config.h"
#include "oci/process.h"

#include <json.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool yes)
{
	if (!yes)
		abort();
}

static void check_error(const struct error *err)
{
	need(err->kind && err->msg[0] && !strchr(err->msg, '\n'));
}

static void check_strings(const struct oci_strings *strings)
{
	need(strings->list && !strings->list[strings->count]);
	for (size_t i = 0; i < strings->count; i++)
		need(strings->list[i]);
}

static void check_process(const struct oci_process *process, struct json_object *seccomp)
{
	struct oci_agent_extra keep;
	struct agent_process out;
	struct error err = { 0 };

	check_strings(&process->args);
	check_strings(&process->env);
	need(process->args.count && process->cwd[0] == '/');
	if (oci_process_to_agent(process, seccomp, &out, &keep, &err) < 0) {
		check_error(&err);
		return;
	}
	need(out.seccomp_bytes <= AGENT_SECCOMP_MAX && out.seccomp_bytes % 8 == 0);
	need(out.rlimit_count <= AGENT_RLIMITS_MAX && out.group_count <= AGENT_GROUPS_MAX);
	oci_agent_extra_free(&keep);
}

static void check_config(struct oci_config *config)
{
	struct error err = { 0 };

	need(config->root[0] && config->warnings.list);
	for (size_t i = 0; i < config->mounts; i++) {
		const struct oci_mount *mount = &config->mount[i];

		need(mount->destination[0] == '/' && mount->destination[1] && *mount->type);
		need(!strstr(mount->destination, "/../") && (!mount->bind || *mount->source));
	}
	for (size_t i = 0; i < config->devices; i++)
		need(config->device[i].path[0] == '/');
	for (size_t i = 0; i < config->sysctl.count; i++)
		need(!strstr(config->sysctl.list[i].key, ".."));
	check_strings(&config->masked_paths);
	check_strings(&config->readonly_paths);
	if (config->has_process)
		check_process(&config->process, config->seccomp);
	if (oci_config_machine(config, "/dev/null", &err) == 0)
		abort();
	check_error(&err);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Filters are made anew each time. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return setenv("XDG_CACHE_HOME", "/dev/null", 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct oci_config *config;
	struct oci_process *process;
	struct json_object *json;
	struct error err = { 0 };

	if (!size)
		return 0;
	/* The first byte: which of them it is. */
	if (*text == 'p') {
		if (oci_process_parse(&process, &json, "process.json", text + 1, size - 1, &err)) {
			check_error(&err);
			return 0;
		}
		check_process(process, NULL);
		oci_process_free(process, json);
		return 0;
	}
	if (oci_config_parse(&config, "config.json", text, size, &err)) {
		check_error(&err);
		return 0;
	}
	check_config(config);
	oci_config_free(config);
	return 0;
}
