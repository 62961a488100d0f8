/*
 * The options that are about a command in the guest.
 */
#include "cli/setters.h"

#include "agent/agent.h"
#include "cli/values.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int no_memory(struct error *err)
{
	return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
}

/* One more string at the end of a NULL-terminated list of @count. */
static int append(const char ***list, unsigned *count, const char *text, struct error *err)
{
	const char **more = reallocarray(*list, *count + 2, sizeof(*more));

	if (!more)
		return no_memory(err);
	*list = more;
	more[(*count)++] = text;
	more[*count] = NULL;
	return 0;
}

int options_add_word(struct options *o, const char *word, struct error *err)
{
	return append(&o->job.command, &o->job.words, word, err);
}

OPTION_SETTER(command)
{
	return options_add_word(o, value, err);
}

OPTION_SETTER(image)
{
	if (value[0] == '-')
		return error_set(err, ERROR_USAGE, EINVAL, "'%s' is no image", value);
	return setter_text(&o->job.image, value, err);
}

OPTION_SETTER(publish)
{
	struct job_options *j = &o->job;

	if (j->published == VM_FORWARDS_MAX)
		return error_set(err, ERROR_USAGE, ENOSPC, "at most %d ports", VM_FORWARDS_MAX);
	return value_publish(value, &j->publish[j->published++], err);
}

/* @path in the guest, tidied up and kept; NULL with the error. */
static const char *guest_path(struct options *o, const char *path, struct error *err)
{
	char *tidy = options_keep(o, path, strlen(path));

	if (!tidy) {
		no_memory(err);
		return NULL;
	}
	return value_guest_path(path, tidy, err) < 0 ? NULL : tidy;
}

/* HOST:GUEST[:ro|:rw]; only the host's path may have colons in it. */
OPTION_SETTER(volume)
{
	struct job_options *j = &o->job;
	struct volume *v = &j->volume[j->volumes];
	char *text = options_keep(o, value, strlen(value)), *colon;

	if (!text)
		return no_memory(err);
	if (j->volumes == JOB_VOLUMES_MAX)
		return error_set(err, ERROR_USAGE, ENOSPC,
			"at most %d: the machine has no interrupts for more", JOB_VOLUMES_MAX);
	*v = (struct volume){ .source = text };
	colon = strrchr(text, ':');
	if (colon && (!strcmp(colon, ":ro") || !strcmp(colon, ":rw"))) {
		v->read_only = colon[2] == 'o';
		*colon = 0;
		colon = strrchr(text, ':');
	}
	if (!colon || colon == text)
		return error_set(err, ERROR_USAGE, EINVAL,
			"'%s' is not HOST:GUEST[:ro], such as \"$PWD:/src\"", value);
	*colon = 0;
	v->target = guest_path(o, colon + 1, err);
	if (!v->target)
		return -EINVAL;
	j->volumes++;
	return 0;
}

/* One word of --tmpfs behind its path: a flag of the mount, or tmpfs's own. */
static bool tmpfs_flag(struct tmpfs *t, const char *word)
{
	static const struct {
		const char *word;
		unsigned set, clear;
	} flags[] = { { "ro", AGENT_MOUNT_READ_ONLY, 0 }, { "rw", 0, AGENT_MOUNT_READ_ONLY },
		{ "nosuid", AGENT_MOUNT_NOSUID, 0 }, { "suid", 0, AGENT_MOUNT_NOSUID },
		{ "nodev", AGENT_MOUNT_NODEV, 0 }, { "dev", 0, AGENT_MOUNT_NODEV },
		{ "noexec", AGENT_MOUNT_NOEXEC, 0 }, { "exec", 0, AGENT_MOUNT_NOEXEC } };

	for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		if (strcmp(word, flags[i].word))
			continue;
		t->flags = (t->flags | flags[i].set) & ~flags[i].clear;
		return true;
	}
	return false;
}

static bool tmpfs_own(const char *word)
{
	static const char *const names[] = { "size=", "mode=", "uid=", "gid=", "nr_inodes=" };

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strncmp(word, names[i], strlen(names[i])))
			return true;
	return false;
}

/* PATH[:OPTIONS]; what is tmpfs's own stays in @options, separated by commas. */
OPTION_SETTER(tmpfs)
{
	struct job_options *j = &o->job;
	struct tmpfs *t = &j->tmpfs[j->tmpfses];
	char *text = options_keep(o, value, strlen(value));
	char *own = options_keep(o, value, strlen(value)), *words, *word; /* no longer than it */

	if (!text || !own)
		return no_memory(err);
	if (j->tmpfses == JOB_TMPFS_MAX)
		return error_set(err, ERROR_USAGE, ENOSPC, "at most %d", JOB_TMPFS_MAX);
	words = strchr(text, ':');
	if (words)
		*words++ = 0;
	*t = (struct tmpfs){ .flags = AGENT_MOUNT_NOSUID | AGENT_MOUNT_NODEV };
	t->target = guest_path(o, text, err);
	if (!t->target)
		return -EINVAL;
	*own = 0;
	while ((word = strsep(&words, ","))) {
		if (tmpfs_flag(t, word))
			continue;
		if (!tmpfs_own(word))
			return error_set(err, ERROR_USAGE, EINVAL,
				"'%s' is no option of a tmpfs: there are size=, mode=, uid=, gid=, "
				"nr_inodes=, ro, noexec, suid and dev",
				word);
		strcat(own, *own ? "," : "");
		strcat(own, word);
	}
	t->options = own;
	j->tmpfses++;
	return 0;
}

OPTION_SETTER(cache)
{
	static const char *const words[] = { [VM_CACHE_AUTO] = "auto",
		[VM_CACHE_NONE] = "none",
		[VM_CACHE_ALWAYS] = "always",
		NULL };
	int i = setter_one_of(value, words, err);

	if (i >= 0)
		o->job.cache = (enum vm_cache)i;
	return i < 0 ? i : 0;
}

OPTION_SETTER(keep)
{
	o->job.keep = true;
	return 0;
}

OPTION_SETTER(read_only)
{
	o->job.read_only = true;
	return 0;
}

OPTION_SETTER(env)
{
	if (!*value || *value == '=')
		return error_set(err, ERROR_USAGE, EINVAL, "'%s' is not NAME=VALUE or NAME", value);
	return append(&o->job.env, &o->job.envs, value, err);
}

OPTION_SETTER(workdir)
{
	if (*value != '/')
		return error_set(err, ERROR_USAGE, EINVAL,
			"'%s' is not an absolute path: in the guest it must begin with /", value);
	o->job.workdir = value;
	return 0;
}

OPTION_SETTER(user)
{
	if (*value == ':' || strchr(value, ':') != strrchr(value, ':'))
		return error_set(err, ERROR_USAGE, EINVAL, "'%s' is not USER or USER:GROUP", value);
	return setter_text(&o->job.user, value, err);
}

OPTION_SETTER(interactive)
{
	o->job.interactive = true;
	return 0;
}

OPTION_SETTER(tty)
{
	o->job.tty = true;
	return 0;
}

OPTION_SETTER(hostname)
{
	o->job.hostname = value;
	return value_name(value, err);
}

OPTION_SETTER(name)
{
	o->job.name = value;
	return value_name(value, err);
}

OPTION_SETTER(vsock)
{
	return setter_text(&o->job.vsock, value, err);
}

OPTION_SETTER(grace)
{
	return value_duration(value, &o->job.grace_ms, err);
}
