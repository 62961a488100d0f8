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
