/*
 * What is done to a container by its cgroup: ps, pause, resume, update, events.
 */
#include "oci/verbs.h"

#include "oci/cgroup.h"
#include "oci/guest_limits.h"
#include "oci/lifecycle.h"
#include "oci/rootless.h"
#include "oci/state.h"

#include "util/cleanup.h"

#include <errno.h>
#include <getopt.h>
#include <json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_SECONDS = 5 };

/* The container, which must be one of @wanted (bits of 1 << enum oci_status), and its cgroup. */
static int open_both(struct oci_state **s, struct oci_cgroup **cgroup,
	const struct oci_globals *globals, const char *id, unsigned wanted, struct error *err)
{
	int r = oci_state_open(s, globals->root, id, true, err);
	enum oci_status status;

	if (r < 0)
		return r;
	rootless_join(*s);
	status = oci_state_status(*s);
	if (!(wanted >> status & 1))
		r = error_set(err, ERROR_USAGE, EINVAL, "container %s is %s", id,
			oci_status_name(status));
	else if (!*(*s)->cgroup)
		r = error_set(err, ERROR_HOST, ENOENT, "container %s has no cgroup", id);
	else
		r = oci_cgroup_open(cgroup, (*s)->cgroup, (*s)->systemd_cgroup, err);
	if (r < 0)
		oci_state_close(*s);
	return r;
}

/* ---- ps ---- */

static const struct option ps_flags[] = {
	{ "format", required_argument, NULL, 'f' },
	{ 0 },
};

/* One process of the host is all there is: the others are the guest's own. */
int oci_ps(const struct oci_globals *globals, int argc, char **argv)
{
	struct error err = { 0 };
	struct oci_state *s;
	bool json = false;
	int o;

	while ((o = getopt_long(argc, argv, "+f:", ps_flags, NULL)) != -1) {
		if (o == '?')
			return oci_usage("ps", "[--format table|json] ID");
		json |= !strcmp(optarg, "json");
	}
	if (optind >= argc)
		return oci_usage("ps", "[--format table|json] ID");
	if (oci_state_open(&s, globals->root, argv[optind], false, &err) < 0)
		return oci_report(&err);
	if (oci_state_status(s) == OCI_STOPPED)
		puts(json ? "[]" : "PID");
	else
		printf(json ? "[%d]\n" : "PID\n%d\n", s->pid);
	oci_state_close(s);
	return fflush(stdout) ? 1 : 0;
}

/* ---- pause and resume ---- */

static int freeze(const struct oci_globals *globals, int argc, char **argv, bool pause)
{
	struct oci_cgroup *cgroup;
	struct error err = { 0 };
	struct oci_state *s;
	int r;

	if (argc < 2)
		return oci_usage(pause ? "pause" : "resume", "ID");
	r = open_both(&s, &cgroup, globals, argv[1],
		pause ? 1U << OCI_RUNNING | 1U << OCI_CREATED : 1U << OCI_PAUSED, &err);
	if (r < 0)
		return oci_report(&err);
	r = pause ? oci_cgroup_freeze(cgroup, &err) : oci_cgroup_thaw(cgroup, &err);
	if (r == 0) {
		s->paused = pause;
		r = oci_state_save(s, &err);
	}
	oci_cgroup_free(cgroup);
	oci_state_close(s);
	return r < 0 ? oci_report(&err) : 0;
}

int oci_pause(const struct oci_globals *globals, int argc, char **argv)
{
	return freeze(globals, argc, argv, true);
}

int oci_resume(const struct oci_globals *globals, int argc, char **argv)
{
	return freeze(globals, argc, argv, false);
}

/* ---- update ---- */

enum {
	FLAG_MEMORY = 256,
	FLAG_RESERVATION,
	FLAG_SWAP,
	FLAG_PIDS,
	FLAG_SHARES,
	FLAG_QUOTA,
	FLAG_PERIOD,
	FLAG_CPUS,
	FLAG_MEMS,
	FLAG_BLKIO
};

static const struct option update_flags[] = {
	{ "resources", required_argument, NULL, 'r' },
	{ "memory", required_argument, NULL, FLAG_MEMORY },
	{ "memory-reservation", required_argument, NULL, FLAG_RESERVATION },
	{ "memory-swap", required_argument, NULL, FLAG_SWAP },
	{ "pids-limit", required_argument, NULL, FLAG_PIDS },
	{ "cpu-share", required_argument, NULL, FLAG_SHARES },
	{ "cpu-shares", required_argument, NULL, FLAG_SHARES },
	{ "cpu-quota", required_argument, NULL, FLAG_QUOTA },
	{ "cpu-period", required_argument, NULL, FLAG_PERIOD },
	{ "cpuset-cpus", required_argument, NULL, FLAG_CPUS },
	{ "cpuset-mems", required_argument, NULL, FLAG_MEMS },
	{ "blkio-weight", required_argument, NULL, FLAG_BLKIO },
	{ 0 },
};

static int number(int64_t *out, bool *has, const char *text, struct error *err)
{
	char *end;

	*out = strtoll(text, &end, 10);
	*has = true;
	if (end == text || *end)
		return error_set(err, ERROR_USAGE, EINVAL, "'%s' is not a number", text);
	return 0;
}

static int take_update(struct oci_resources *res, int o, struct error *err)
{
	int64_t n = 0;
	int r = 0;

	switch (o) {
	case FLAG_MEMORY:
		return number(&res->memory_limit, &res->has_memory_limit, optarg, err);
	case FLAG_RESERVATION:
		return number(&res->memory_reservation, &res->has_memory_reservation, optarg, err);
	case FLAG_SWAP:
		return number(&res->memory_swap, &res->has_memory_swap, optarg, err);
	case FLAG_PIDS:
		return number(&res->pids, &res->has_pids, optarg, err);
	case FLAG_SHARES:
		r = number(&n, &res->has_cpu_shares, optarg, err);
		res->cpu_shares = (uint64_t)n;
		return r;
	case FLAG_QUOTA:
		return number(&res->cpu_quota, &res->has_cpu_quota, optarg, err);
	case FLAG_PERIOD:
		r = number(&n, &res->has_cpu_period, optarg, err);
		res->cpu_period = (uint64_t)n;
		return r;
	case FLAG_BLKIO:
		r = number(&n, &res->has_blkio_weight, optarg, err);
		res->blkio_weight = (uint16_t)n;
		return r;
	case FLAG_CPUS:
		res->cpuset_cpus = optarg;
		return 0;
	case FLAG_MEMS:
		res->cpuset_mems = optarg;
		return 0;
	default:
		return error_set(
			err, ERROR_USAGE, EINVAL, "unknown option: see `microvm-oci --help`");
	}
}

static int update(const struct oci_globals *globals, const char *id,
	const struct oci_resources *res, struct error *err)
{
	struct oci_cgroup *cgroup;
	struct oci_state *s;
	int r = open_both(&s, &cgroup, globals, id,
		1U << OCI_RUNNING | 1U << OCI_CREATED | 1U << OCI_PAUSED, err);

	if (r < 0)
		return r;
	r = oci_cgroup_apply(cgroup, res, err);
	if (r == 0 && res->has_pids)
		r = oci_guest_pids(s, res->pids, err);
	oci_cgroup_free(cgroup);
	oci_state_close(s);
	return r;
}

int oci_update(const struct oci_globals *globals, int argc, char **argv)
{
	struct oci_resources res = { 0 };
	struct json_object *json = NULL;
	struct error err = { 0 };
	const char *file = NULL;
	int o, r = 0;

	while (r == 0 && (o = getopt_long(argc, argv, "r:", update_flags, NULL)) != -1) {
		if (o == 'r')
			file = optarg;
		else
			r = take_update(&res, o, &err);
	}
	if (r == 0 && optind >= argc)
		return oci_usage("update", "[--resources FILE | --memory BYTES ...] ID");
	if (r == 0 && file)
		r = oci_resources_read(&res, &json, file, &err);
	if (r == 0)
		r = update(globals, argv[optind], &res, &err);
	json_object_put(json);
	return r < 0 ? oci_report(&err) : 0;
}

/* ---- events ---- */

static int print_stats(const struct oci_globals *globals, const char *id, struct error *err)
{
	struct json_object *event, *data;
	struct oci_cgroup *cgroup;
	struct oci_state *s;
	int r = open_both(&s, &cgroup, globals, id,
		1U << OCI_RUNNING | 1U << OCI_CREATED | 1U << OCI_PAUSED, err);

	if (r < 0)
		return r;
	r = oci_cgroup_stat(cgroup, &data, err);
	if (r == 0) {
		event = json_object_new_object();
		json_object_object_add(event, "type", json_object_new_string("stats"));
		json_object_object_add(event, "id", json_object_new_string(id));
		json_object_object_add(event, "data", data);
		puts(json_object_to_json_string_ext(event, JSON_C_TO_STRING_PLAIN));
		fflush(stdout);
		json_object_put(event);
	}
	oci_cgroup_free(cgroup);
	oci_state_close(s);
	return r;
}

static const struct option events_flags[] = {
	{ "stats", no_argument, NULL, 's' },
	{ "interval", required_argument, NULL, 'i' },
	{ 0 },
};

int oci_events(const struct oci_globals *globals, int argc, char **argv)
{
	unsigned seconds = EVENTS_SECONDS;
	struct error err = { 0 };
	bool once = false;
	int o, r;

	while ((o = getopt_long(argc, argv, "s", events_flags, NULL)) != -1) {
		if (o == '?')
			return oci_usage("events", "[--stats] [--interval SECONDS] ID");
		once |= o == 's';
		if (o == 'i')
			seconds = (unsigned)strtoul(optarg, NULL, 10);
	}
	if (optind >= argc)
		return oci_usage("events", "[--stats] [--interval SECONDS] ID");
	for (;;) {
		r = print_stats(globals, argv[optind], &err);
		if (r < 0)
			return oci_report(&err);
		if (once)
			return ferror(stdout) ? 1 : 0;
		sleep(seconds ? seconds : 1);
	}
}
