/*
 * What the guest program is told before it starts the process, in the order in which it does it.
 */
#include "job/internal.h"

#include "util/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int put_file(struct job *job, const char *path, const char *text)
{
	unsigned flags = AGENT_FILE_TRY | (job->config->keep ? AGENT_FILE_OVER : 0);

	return agent_setup_file(job->agent, path, 0644, flags, text, strlen(text));
}

static int name_files(struct job *job)
{
	const struct job_config *c = job->config;
	_cleanup_free_ char *hosts = NULL, *hostname = NULL;
	int r;

	if (asprintf(&hosts, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n127.0.1.1\t%s\n",
		    c->hostname) < 0)
		hosts = NULL;
	if (asprintf(&hostname, "%s\n", c->hostname) < 0)
		hostname = NULL;
	if (!hosts || !hostname)
		return -ENOMEM;
	r = put_file(job, "/etc/hosts", hosts);
	if (r == 0)
		r = put_file(job, "/etc/hostname", hostname);
	if (r == 0 && c->resolv_conf)
		r = put_file(job, "/etc/resolv.conf", c->resolv_conf);
	return r;
}

/* A terminal has by now the size that it has; who made it may have said it after its making. */
static int start(struct job *job)
{
	struct agent_process process = job->config->process;
	uint16_t rows, columns;

	if ((process.flags & AGENT_START_TERMINAL) && stdio_size(&rows, &columns) && rows &&
		columns) {
		process.rows = rows;
		process.columns = columns;
	}
	return agent_start(job->agent, &process);
}

static int finish(struct job *job)
{
	const struct job_config *c = job->config;
	int r = 0;

	for (unsigned i = 0; i < c->sockets && r == 0; i++)
		r = agent_setup_socket(job->agent, &c->socket[i]);
	for (unsigned i = 0; i < c->nets && r == 0; i++)
		r = agent_setup_net(job->agent, &c->net[i]);
	return r == 0 ? agent_setup_done(job->agent) : r;
}

static int queue(struct job *job)
{
	const struct job_config *c = job->config;
	struct agent *a = job->agent;
	int r;

	if (c->further)
		return start(job);
	r = agent_setup_root(a, &c->root);
	if (r == 0)
		r = agent_setup_standard(a, c->standard);
	/* Before /proc/sys may become read-only. */
	for (unsigned i = 0; i < c->sysctls && r == 0; i++)
		r = agent_setup_sysctl(a, c->sysctl[i].name, c->sysctl[i].value);
	if (r == 0 && (c->pids || c->grouped))
		r = agent_setup_pids(a, c->pids);
	for (unsigned i = 0; i < c->descriptors && r == 0; i++)
		r = agent_setup_descriptor(a, &c->descriptor[i]);
	if (r == 0 && c->pid_namespace)
		r = agent_setup_pid_namespace(a);
	for (unsigned i = 0; i < c->group_files && r == 0; i++)
		r = agent_setup_group(a, c->group_file[i].name, c->group_file[i].value);
	for (unsigned i = 0; i < c->mounts && r == 0; i++)
		r = agent_setup_mount(a, &c->mount[i]);
	for (unsigned i = 0; i < c->nodes && r == 0; i++)
		r = agent_setup_node(a, &c->node[i]);
	if (r == 0 && c->notify)
		r = agent_setup_notify(a, c->notify);
	if (r == 0 && c->device_filter)
		r = agent_setup_devices(a, c->device_filter, c->device_filter_bytes);
	if (r == 0)
		r = agent_setup_hostname(a, c->hostname);
	if (r == 0)
		r = c->own_files ? 0 : name_files(job);
	if (r == 0 && !c->held)
		r = finish(job);
	return r == 0 && !c->held ? start(job) : r;
}

static int explain(int r, struct error *err)
{

	if (r == -E2BIG || r == -EINVAL)
		return error_set(err, ERROR_USAGE, E2BIG,
			"the command with its environment is too long for the guest: at most %d "
			"words and %d MiB",
			AGENT_ARGS_MAX, AGENT_START_MAX >> 20);
	if (r < 0)
		return error_set(err, ERROR_HOST, -r, "cannot prepare the job: %s", strerror(-r));
	return 0;
}

int setup_queue(struct job *job, struct error *err)
{
	return explain(queue(job), err);
}

int setup_finish(struct job *job, struct error *err)
{
	return explain(finish(job), err);
}

int setup_start(struct job *job, struct error *err)
{
	return explain(start(job), err);
}
