#include "oci/config.h"

#include "oci/config_internal.h"

#include "util/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *no_strings[] = { NULL };

/* So that no list is NULL, whatever sections are absent. */
static void init_process(struct oci_process *process)
{
	process->args.list = process->env.list = no_strings;
	process->cwd = "/";
}

static int check_version(struct cfg *cfg, const char *version)
{
	unsigned long major, minor;
	const char *p = version;
	char *end;

	if (*p < '0' || *p > '9')
		goto bad;
	major = strtoul(p, &end, 10);
	if (*end != '.' || end[1] < '0' || end[1] > '9')
		goto bad;
	minor = strtoul(end + 1, &end, 10);
	if (*end != '.' || end[1] < '0' || end[1] > '9')
		goto bad;
	(void)minor; /* what it adds is compatible */
	if (major != 1)
		return cfg_fail(cfg, "ociVersion", "'%s': this runtime reads version 1", version);
	return 0;
bad:
	return cfg_fail(cfg, "ociVersion", "'%s' is not a version such as 1.0.2", version);
}

static int read_root(struct cfg *cfg, struct json_object *in, struct oci_config *out)
{
	struct json_object *root = NULL;
	size_t mark;
	int r;

	if ((r = cfg_need(cfg, in, "root")) < 0 || (r = cfg_object(cfg, in, "root", &root)) < 0)
		return r;
	mark = cfg_enter(cfg, "root");
	if ((r = cfg_need(cfg, root, "path")) < 0 ||
		(r = cfg_string(cfg, root, "path", &out->root)) < 0 ||
		(r = cfg_bool(cfg, root, "readonly", &out->root_read_only)) < 0)
		return r;
	if (!*out->root)
		return cfg_fail(cfg, "path", "is empty");
	cfg_leave(cfg, mark);
	return 0;
}

static int read_names(struct cfg *cfg, struct json_object *in, struct oci_config *out)
{
	int r;

	if ((r = cfg_string(cfg, in, "hostname", &out->hostname)) < 0 ||
		(r = cfg_string(cfg, in, "domainname", &out->domainname)) < 0)
		return r;
	if (out->hostname && !*out->hostname)
		out->hostname = NULL;
	if (out->domainname && !*out->domainname)
		out->domainname = NULL;
	/* The kernel's limit for both. */
	if (out->hostname && strlen(out->hostname) > 64)
		return cfg_fail(cfg, "hostname", "is longer than 64 bytes");
	if (out->domainname && strlen(out->domainname) > 64)
		return cfg_fail(cfg, "domainname", "is longer than 64 bytes");
	return 0;
}

static int check_names(struct cfg *cfg, const struct oci_config *out)
{
	if (out->hostname && !out->ns[OCI_NS_UTS].present)
		return cfg_fail(cfg, "hostname", "there is no uts namespace in linux.namespaces");
	if (out->domainname && !out->ns[OCI_NS_UTS].present)
		return cfg_fail(cfg, "domainname", "there is no uts namespace in linux.namespaces");
	return 0;
}

static int read_all(struct cfg *cfg, struct oci_config *out)
{
	struct json_object *in = cfg->root, *process = NULL;
	int r;

	if ((r = cfg_need(cfg, in, "ociVersion")) < 0 ||
		(r = cfg_string(cfg, in, "ociVersion", &out->version)) < 0 ||
		(r = check_version(cfg, out->version)) < 0 || (r = read_root(cfg, in, out)) < 0 ||
		(r = cfg_object(cfg, in, "process", &process)) < 0)
		return r;
	if (process) {
		size_t mark = cfg_enter(cfg, "process");

		r = config_process(cfg, process, &out->process);
		if (r < 0)
			return r;
		out->has_process = true;
		cfg_leave(cfg, mark);
	}
	if ((r = read_names(cfg, in, out)) < 0 || (r = config_mounts(cfg, in, out)) < 0 ||
		(r = config_hooks(cfg, in, out)) < 0 ||
		(r = cfg_pairs(cfg, in, "annotations", &out->annotations)) < 0 ||
		(r = config_linux(cfg, in, out)) < 0 || (r = check_names(cfg, out)) < 0)
		return r;
	return config_vm(cfg, in, out);
}

int oci_config_parse(
	struct oci_config **out, const char *name, const char *text, size_t len, struct error *err)
{
	struct cfg cfg = { .name = name, .err = err };
	struct oci_config *config;
	int r = cfg_parse(&cfg, text, len);

	*out = NULL;
	if (r < 0)
		return r;
	config = cfg_alloc(&cfg, 1, sizeof(*config));
	if (!config) {
		json_object_put(cfg.root);
		return -ENOMEM;
	}
	config->json = cfg.root;
	init_process(&config->process);
	config->masked_paths.list = config->readonly_paths.list = no_strings;
	r = read_all(&cfg, config);
	if (r < 0) {
		oci_config_free(config);
		return r;
	}
	config->warnings.list = cfg.warnings ? cfg.warning : no_strings;
	config->warnings.count = cfg.warnings;
	*out = config;
	return 0;
}

int oci_config_read(struct oci_config **out, const char *path, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len;

	*out = NULL;
	text = cfg_read(path, path, &len, err);
	if (!text)
		return -EINVAL;
	return oci_config_parse(out, path, text, len, err);
}

void oci_config_free(struct oci_config *config)
{
	if (!config)
		return;
	json_object_put(config->defaults);
	json_object_put(config->json); /* which all the rest hangs on */
}

int oci_process_parse(struct oci_process **out, struct json_object **json, const char *name,
	const char *text, size_t len, struct error *err)
{
	struct cfg cfg = { .name = name, .err = err };
	int r = cfg_parse(&cfg, text, len);

	*out = NULL;
	*json = NULL;
	if (r < 0)
		return r;
	*out = cfg_alloc(&cfg, 1, sizeof(**out));
	r = -ENOMEM;
	if (*out) {
		init_process(*out);
		r = config_process(&cfg, cfg.root, *out);
	}
	if (r < 0) {
		*out = NULL;
		json_object_put(cfg.root);
		return r;
	}
	*json = cfg.root;
	return 0;
}

int oci_process_read(
	struct oci_process **out, struct json_object **json, const char *path, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len;

	*out = NULL;
	*json = NULL;
	text = cfg_read(path, path, &len, err);
	return text ? oci_process_parse(out, json, path, text, len, err) : -EINVAL;
}

void oci_process_free(struct oci_process *process, struct json_object *json)
{
	json_object_put(json);
}

void oci_process_inherit(struct oci_process *process, const struct oci_process *container)
{
	if (!process->has_caps) {
		process->has_caps = container->has_caps;
		process->caps = container->caps;
	}
	if (!process->rlimits) {
		process->rlimits = container->rlimits;
		process->rlimit = container->rlimit;
	}
	if (!process->has_oom_score_adj) {
		process->has_oom_score_adj = container->has_oom_score_adj;
		process->oom_score_adj = container->oom_score_adj;
	}
	if (!process->apparmor)
		process->apparmor = container->apparmor;
	if (!process->selinux)
		process->selinux = container->selinux;
	/* Only ever more: a container that must not gain privileges does not by an exec. */
	process->no_new_privileges |= container->no_new_privileges;
}

int oci_resources_read(
	struct oci_resources *out, struct json_object **json, const char *path, struct error *err)
{
	struct cfg cfg = { .name = strcmp(path, "-") ? path : "standard input", .err = err };
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	*out = (struct oci_resources){ 0 };
	*json = NULL;
	text = cfg_read(cfg.name, path, &len, err);
	if (!text)
		return -EINVAL;
	r = cfg_parse(&cfg, text, len);
	if (r < 0)
		return r;
	r = config_resources(&cfg, cfg.root, out);
	if (r < 0)
		json_object_put(cfg.root);
	else
		*json = cfg.root;
	return r;
}
