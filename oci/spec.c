#include "oci/verbs.h"

#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <json.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#define CAPABILITIES "[\"CAP_AUDIT_WRITE\", \"CAP_KILL\", \"CAP_NET_BIND_SERVICE\"]"

/* A shell in the directory rootfs/, with no more than a program usually needs. */
static const char usual[] =
	"{\"ociVersion\": \"1.0.2\","
	" \"process\": {"
	"  \"terminal\": true, \"user\": {\"uid\": 0, \"gid\": 0}, \"args\": [\"sh\"],"
	"  \"env\": [\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\","
	"   \"TERM=xterm\"],"
	"  \"cwd\": \"/\","
	"  \"capabilities\": {\"bounding\": " CAPABILITIES ", \"effective\": " CAPABILITIES ","
	"   \"permitted\": " CAPABILITIES "},"
	"  \"rlimits\": [{\"type\": \"RLIMIT_NOFILE\", \"hard\": 1024, \"soft\": 1024}],"
	"  \"noNewPrivileges\": true},"
	" \"root\": {\"path\": \"rootfs\", \"readonly\": true},"
	" \"hostname\": \"microvm\","
	" \"mounts\": ["
	"  {\"destination\": \"/proc\", \"type\": \"proc\", \"source\": \"proc\"},"
	"  {\"destination\": \"/dev\", \"type\": \"tmpfs\", \"source\": \"tmpfs\","
	"   \"options\": [\"nosuid\", \"strictatime\", \"mode=755\", \"size=65536k\"]},"
	"  {\"destination\": \"/dev/pts\", \"type\": \"devpts\", \"source\": \"devpts\","
	"   \"options\": [\"nosuid\", \"noexec\", \"newinstance\", \"ptmxmode=0666\","
	"    \"mode=0620\", \"gid=5\"]},"
	"  {\"destination\": \"/dev/shm\", \"type\": \"tmpfs\", \"source\": \"shm\","
	"   \"options\": [\"nosuid\", \"noexec\", \"nodev\", \"mode=1777\", \"size=65536k\"]},"
	"  {\"destination\": \"/dev/mqueue\", \"type\": \"mqueue\", \"source\": \"mqueue\","
	"   \"options\": [\"nosuid\", \"noexec\", \"nodev\"]},"
	"  {\"destination\": \"/sys\", \"type\": \"sysfs\", \"source\": \"sysfs\","
	"   \"options\": [\"nosuid\", \"noexec\", \"nodev\", \"ro\"]},"
	"  {\"destination\": \"/sys/fs/cgroup\", \"type\": \"cgroup\", \"source\": \"cgroup\","
	"   \"options\": [\"nosuid\", \"noexec\", \"nodev\", \"relatime\", \"ro\"]}],"
	" \"linux\": {"
	"  \"resources\": {\"devices\": [{\"allow\": false, \"access\": \"rwm\"}]},"
	"  \"namespaces\": [{\"type\": \"pid\"}, {\"type\": \"network\"}, {\"type\": \"ipc\"},"
	"   {\"type\": \"uts\"}, {\"type\": \"mount\"}],"
	"  \"maskedPaths\": [\"/proc/acpi\", \"/proc/asound\", \"/proc/kcore\", \"/proc/keys\","
	"   \"/proc/latency_stats\", \"/proc/timer_list\", \"/proc/timer_stats\","
	"   \"/proc/sched_debug\", \"/sys/firmware\", \"/proc/scsi\"],"
	"  \"readonlyPaths\": [\"/proc/bus\", \"/proc/fs\", \"/proc/irq\", \"/proc/sys\","
	"   \"/proc/sysrq-trigger\"]}}";

/* One id: this user's, who is root in the container. */
static struct json_object *one_id(unsigned host)
{
	struct json_object *map = json_object_new_object(), *list = json_object_new_array();

	json_object_object_add(map, "containerID", json_object_new_int(0));
	json_object_object_add(map, "hostID", json_object_new_uint64(host));
	json_object_object_add(map, "size", json_object_new_int(1));
	json_object_array_add(list, map);
	return list;
}

/* Without privileges: no control group, and a user namespace with the one user that there is. */
static void make_rootless(struct json_object *config)
{
	struct json_object *section = json_object_object_get(config, "linux");
	struct json_object *user = json_object_new_object();

	json_object_object_add(user, "type", json_object_new_string("user"));
	json_object_array_add(json_object_object_get(section, "namespaces"), user);
	json_object_object_add(section, "uidMappings", one_id(geteuid()));
	json_object_object_add(section, "gidMappings", one_id(getegid()));
	json_object_object_del(section, "resources");
}

/* Devpts wants a group that a single id does not map. */
static void drop_gid(struct json_object *config)
{
	struct json_object *mounts = json_object_object_get(config, "mounts");

	for (size_t i = 0; i < json_object_array_length(mounts); i++) {
		struct json_object *options =
			json_object_object_get(json_object_array_get_idx(mounts, i), "options");
		size_t count = options ? json_object_array_length(options) : 0;

		for (size_t k = 0; k < count; k++)
			if (!strcmp(json_object_get_string(json_object_array_get_idx(options, k)),
				    "gid=5")) {
				json_object_array_del_idx(options, k, 1);
				break;
			}
	}
}

static int write_new(const char *path, const char *text, struct error *err)
{
	_cleanup_close_ int fd =
		open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
	size_t len = strlen(text), at = 0;

	if (fd < 0 && errno == EEXIST)
		return error_set(
			err, ERROR_USAGE, EEXIST, "%s: is there already; remove it first", path);
	if (fd < 0)
		return error_set(err, ERROR_USAGE, errno, "%s: cannot be made: %m", path);
	while (at < len) {
		ssize_t n = write(fd, text + at, len - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int saved = errno;

			unlink(path);
			errno = saved;
			return error_set(err, ERROR_HOST, saved, "%s: cannot be written: %m", path);
		}
		at += (size_t)n;
	}
	return 0;
}

static int write_spec(const char *bundle, bool rootless, struct error *err)
{
	struct json_object *config = json_tokener_parse(usual);
	_cleanup_free_ char *path = NULL, *text = NULL;

	if (config && rootless) {
		make_rootless(config);
		drop_gid(config);
	}
	if (!config || asprintf(&path, "%s/config.json", bundle) < 0)
		path = NULL;
	else if (asprintf(&text, "%s\n",
			 json_object_to_json_string_ext(
				 config, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_PRETTY_TAB |
						 JSON_C_TO_STRING_SPACED |
						 JSON_C_TO_STRING_NOSLASHESCAPE)) < 0)
		text = NULL;
	json_object_put(config);
	if (!path || !text)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	return write_new(path, text, err);
}

int oci_spec(int argc, char **argv, struct error *err)
{
	static const struct option options[] = {
		{ "bundle", required_argument, NULL, 'b' },
		{ "rootless", no_argument, NULL, 'r' },
		{ NULL, 0, NULL, 0 },
	};
	const char *bundle = ".";
	bool rootless = false;
	int c;

	optind = 0; /* main has used getopt for itself */
	opterr = 0;
	while ((c = getopt_long(argc, argv, "+b:", options, NULL)) != -1)
		switch (c) {
		case 'b':
			bundle = optarg;
			break;
		case 'r':
			rootless = true;
			break;
		default:
			return error_set(err, ERROR_USAGE, EINVAL,
				"spec: '%s' is not understood: spec [--bundle DIR] [--rootless]",
				argv[optind - 1]);
		}
	if (optind < argc)
		return error_set(err, ERROR_USAGE, EINVAL,
			"spec: '%s' is not understood: spec [--bundle DIR] [--rootless]",
			argv[optind]);
	return write_spec(bundle, rootless, err);
}
