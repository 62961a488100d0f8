#include "cli/environment.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* @text is NAME=VALUE and takes the place of what has that name. @env has room. */
static int put(char **env, const char *text)
{
	size_t name = strcspn(text, "="), i = 0;
	char *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	while (env[i] && (strncmp(env[i], text, name) || env[i][name] != '='))
		i++;
	free(env[i]);
	env[i] = copy;
	return 0;
}

/* NAME alone: our own value, or nothing at all. */
static int put_ours(char **env, const char *name)
{
	const char *value = getenv(name);
	char *text;
	int r;

	if (!value)
		return 0;
	if (asprintf(&text, "%s=%s", name, value) < 0)
		return -ENOMEM;
	r = put(env, text);
	free(text);
	return r;
}

static int fill(char **env, const struct job_options *job, const char *const *base)
{
	int r = put(env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");

	if (r == 0)
		r = put(env, "container=microvm");
	if (r == 0 && job->tty)
		r = put(env, "TERM=xterm");
	if (r == 0 && job->tty)
		r = put_ours(env, "TERM");
	for (unsigned i = 0; base && base[i] && r == 0; i++)
		if (strchr(base[i], '='))
			r = put(env, base[i]);
	for (unsigned i = 0; i < job->envs && r == 0; i++)
		r = strchr(job->env[i], '=') ? put(env, job->env[i]) : put_ours(env, job->env[i]);
	return r;
}

char **environment_make(const struct job_options *job, const char *const *base, struct error *err)
{
	size_t room = 4 + job->envs;
	char **env;

	for (unsigned i = 0; base && base[i]; i++)
		room++;
	env = calloc(room, sizeof(*env));
	if (!env || fill(env, job, base) < 0) {
		environment_free(env);
		error_set(err, ERROR_HOST, ENOMEM, "out of memory");
		return NULL;
	}
	return env;
}

void environment_free(char **env)
{
	for (size_t i = 0; env && env[i]; i++)
		free(env[i]);
	free(env);
}

void environment_terminal(const struct job_options *job, struct agent_process *process)
{
	struct winsize ws;

	process->flags |= job->interactive ? AGENT_START_STDIN : 0;
	if (!job->tty)
		return;
	process->flags |= AGENT_START_TERMINAL;
	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &ws) < 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) < 0)
		return;
	process->rows = ws.ws_row;
	process->columns = ws.ws_col;
}

void environment_ipv4(const char *text, uint8_t bytes[16])
{
	struct in_addr addr;

	if (inet_pton(AF_INET, text, &addr) == 1)
		memcpy(bytes, &addr, sizeof(addr));
}
