/*
 * What the options are together.
 */
#include "cli/options.h"

#include "machine/config.h"

#include <errno.h>
#include <string.h>

static int wrong(struct error *err, const char *text, const char *what)
{
	return error_set(err, ERROR_USAGE, EINVAL, text, what);
}

/* An option that says nothing to a machine without a command. */
static const char *job_only(const struct options *o)
{
	const struct job_options *j = &o->job;

	return j->volumes	? "--volume"
	       : j->tmpfses	? "--tmpfs"
	       : j->envs	? "--env"
	       : j->workdir	? "--workdir"
	       : j->user	? "--user"
	       : j->interactive ? "--interactive"
	       : j->tty		? "--tty"
	       : j->keep	? "--keep"
	       : j->read_only	? "--read-only"
	       : j->hostname	? "--hostname"
				: NULL;
}

static int check_plain(const struct options *o, struct error *err)
{
	const char *option = job_only(o);

	if (option)
		return wrong(
			err, "%s is for a machine that runs a command: put it behind --", option);
	if (o->root_is_dir)
		return wrong(err,
			"--rootfs %s is a directory, and so needs a command: put one behind --, such "
			"as -- /bin/sh",
			o->root);
	for (unsigned i = 0; i < o->config.nets; i++)
		if (o->config.net[i].address[0] || o->config.net[i].gateway[0] ||
			o->config.net[i].dns[0])
			return wrong(err,
				"--net tap=%s: ip, gw and dns are for a machine that runs a command; "
				"another sets its addresses itself",
				o->config.net[i].tap);
	return 0;
}

static int same_place(const char *target, struct error *err)
{
	return wrong(err, "two things are to be at %s in the guest: leave one out", target);
}

static int check_targets(const struct job_options *j, struct error *err)
{
	for (unsigned i = 0; i < j->volumes; i++)
		for (unsigned k = i + 1; k < j->volumes; k++)
			if (!strcmp(j->volume[i].target, j->volume[k].target))
				return same_place(j->volume[i].target, err);
	for (unsigned i = 0; i < j->tmpfses; i++) {
		for (unsigned k = i + 1; k < j->tmpfses; k++)
			if (!strcmp(j->tmpfs[i].target, j->tmpfs[k].target))
				return same_place(j->tmpfs[i].target, err);
		for (unsigned k = 0; k < j->volumes; k++)
			if (!strcmp(j->tmpfs[i].target, j->volume[k].target))
				return same_place(j->tmpfs[i].target, err);
	}
	return 0;
}

static int check_job(const struct options *o, struct error *err)
{
	if (!o->root && !o->job.image)
		return wrong(err, "no root for the command: give one with --rootfs DIR%s",
			", --rootfs IMAGE or --image REF");
	if (o->root && o->job.image)
		return wrong(err, "--rootfs and --image are both given: %s", "leave one out");
	if (o->config.initrd)
		return wrong(err,
			"--initrd %s: a machine that runs a command needs the one that microvm makes",
			o->config.initrd);
	if (o->job.keep && (o->job.read_only || o->root_read_only))
		return wrong(err,
			"--keep is for writes, and the root is to be read-only (%s): leave one out",
			o->job.read_only ? "--read-only" : "--rootfs ...,ro");
	if (o->job.keep && o->job.image)
		return wrong(err,
			"--keep: the image %s is never written to; copy it first "
			"(podman create, podman export)",
			o->job.image);
	return check_targets(&o->job, err);
}

/* Published ports go by the user network; where none was asked for, there is one all the same. */
static int publish(struct options *o, struct error *err)
{
	struct vm_config *c = &o->config;
	struct vm_net *net = NULL;

	if (!o->job.published)
		return 0;
	for (unsigned i = 0; i < c->nets && !net; i++)
		if (c->net[i].kind == VM_NET_USER)
			net = &c->net[i];
	if (!net && c->nets == VM_NETS_MAX)
		return error_set(err, ERROR_USAGE, ENOSPC,
			"--publish needs a user network, and there are %d networks", VM_NETS_MAX);
	if (!net) {
		net = &c->net[c->nets++];
		*net = (struct vm_net){ .kind = VM_NET_USER };
	}
	for (unsigned i = 0; i < o->job.published; i++) {
		if (net->forwards == VM_FORWARDS_MAX)
			return error_set(
				err, ERROR_USAGE, ENOSPC, "at most %d ports", VM_FORWARDS_MAX);
		net->forward[net->forwards++] = o->job.publish[i];
	}
	return 0;
}

int options_check(struct options *o, struct error *err)
{
	int r = publish(o, err);

	if (r == 0)
		r = o->job.command || o->job.image ? check_job(o, err) : check_plain(o, err);
	return r;
}
