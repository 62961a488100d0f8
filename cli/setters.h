/* What each option does with its value; see struct option_def. */
#pragma once

#include "cli/options.h"

#define OPTION_SETTER(name) \
	int option_set_##name(struct options *o, const char *value, struct error *err)

OPTION_SETTER(kernel);
OPTION_SETTER(initrd);
OPTION_SETTER(modules);
OPTION_SETTER(append);
OPTION_SETTER(rootfs);
OPTION_SETTER(disk);
OPTION_SETTER(net);
OPTION_SETTER(cpus);
OPTION_SETTER(memory);
OPTION_SETTER(workers);
OPTION_SETTER(hw);
OPTION_SETTER(console);
OPTION_SETTER(timeout);
OPTION_SETTER(no_sandbox);
OPTION_SETTER(log_level);
OPTION_SETTER(log_format);

/* setters_job.c */
OPTION_SETTER(image);
OPTION_SETTER(publish);
OPTION_SETTER(volume);
OPTION_SETTER(tmpfs);
OPTION_SETTER(cache);
OPTION_SETTER(keep);
OPTION_SETTER(read_only);
OPTION_SETTER(env);
OPTION_SETTER(workdir);
OPTION_SETTER(user);
OPTION_SETTER(interactive);
OPTION_SETTER(tty);
OPTION_SETTER(hostname);
OPTION_SETTER(name);
OPTION_SETTER(vsock);
OPTION_SETTER(grace);
OPTION_SETTER(command);

/* setters.c: the place of @value among @words, or -EINVAL with the list of them. */
int setter_one_of(const char *value, const char *const *words, struct error *err);
/* setters.c: store @value, which must not be empty. */
int setter_text(const char **to, const char *value, struct error *err);
