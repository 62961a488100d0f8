/* features.md of the runtime specification: what is read here, by the names it has there. */
#include "oci/verbs.h"

#include "oci/config.h"
#include "oci/seccomp.h"

#include <errno.h>
#include <json.h>
#include <stdio.h>

static void add(struct json_object *to, const char *key, struct json_object *value)
{
	json_object_object_add(to, key, value);
}

static struct json_object *names(const char *(*name)(unsigned i))
{
	struct json_object *list = json_object_new_array();

	for (unsigned i = 0; name(i); i++)
		json_object_array_add(list, json_object_new_string(name(i)));
	return list;
}

static struct json_object *enabled(bool yes)
{
	struct json_object *section = json_object_new_object();

	add(section, "enabled", json_object_new_boolean(yes));
	return section;
}

static const char *hook_name(unsigned i)
{
	static const char *const list[] = { "prestart", "createRuntime", "createContainer",
		"startContainer", "poststart", "poststop", NULL };

	return list[i];
}

static const char *namespace_name(unsigned i)
{
	return i < OCI_NAMESPACES ? oci_namespace_name(i) : NULL;
}

static struct json_object *capabilities(void)
{
	struct json_object *list = json_object_new_array();
	char name[64];

	for (unsigned i = 0; oci_capability_name(i); i++) {
		snprintf(name, sizeof(name), "CAP_%s", oci_capability_name(i));
		json_object_array_add(list, json_object_new_string(name));
	}
	return list;
}

static struct json_object *cgroup(void)
{
	struct json_object *section = json_object_new_object();

	add(section, "v1", json_object_new_boolean(0));
	add(section, "v2", json_object_new_boolean(1));
	add(section, "systemd", json_object_new_boolean(1));
	add(section, "systemdUser", json_object_new_boolean(1));
	add(section, "rdma", json_object_new_boolean(0));
	return section;
}

static struct json_object *seccomp(void)
{
	struct json_object *section = enabled(true);

	add(section, "actions", names(oci_seccomp_action));
	add(section, "operators", names(oci_seccomp_operator));
	add(section, "archs", names(oci_seccomp_arch));
	add(section, "knownFlags", names(oci_seccomp_flag));
	add(section, "supportedFlags", names(oci_seccomp_flag));
	return section;
}

static struct json_object *linux_section(void)
{
	struct json_object *section = json_object_new_object();
	struct json_object *extensions = json_object_new_object();

	add(section, "namespaces", names(namespace_name));
	add(section, "capabilities", capabilities());
	add(section, "cgroup", cgroup());
	add(section, "seccomp", seccomp());
	add(section, "apparmor", enabled(true));
	add(section, "selinux", enabled(true));
	add(section, "intelRdt", enabled(false));
	add(extensions, "idmap", enabled(false));
	add(section, "mountExtensions", extensions);
	add(section, "netDevices", enabled(false));
	return section;
}

int oci_features(int argc, char **argv, struct error *err)
{
	struct json_object *all, *unsafe, *annotations;

	if (argc > 1)
		return error_set(err, ERROR_USAGE, EINVAL,
			"features: '%s' is not understood: it "
			"takes no arguments",
			argv[1]);
	all = json_object_new_object();
	unsafe = json_object_new_array();
	annotations = json_object_new_object();
	add(all, "ociVersionMin", json_object_new_string("1.0.0"));
	add(all, "ociVersionMax", json_object_new_string("1.2.0"));
	add(all, "hooks", names(hook_name));
	add(all, "mountOptions", names(oci_mount_option));
	add(all, "linux", linux_section());
	add(annotations, "microvm.version", json_object_new_string(MICROVM_VERSION));
	add(all, "annotations", annotations);
	/* They choose the kernel, and files of the host that the guest gets to see. */
	json_object_array_add(unsafe, json_object_new_string("microvm."));
	add(all, "potentiallyUnsafeConfigAnnotations", unsafe);
	printf("%s\n", json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY |
								   JSON_C_TO_STRING_SPACED |
								   JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(all);
	return fflush(stdout) ? error_set(err, ERROR_HOST, errno, "standard output: %m") : 0;
}
