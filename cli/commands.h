/* The verbs of `microvm`. Each returns the exit status of the process. */
#pragma once

#include "util/error.h"

/* @argv[0] is the first argument behind the verb. */
int command_run(int argc, char **argv);
int command_exec(int argc, char **argv);
int command_ps(int argc, char **argv);
int command_kill(int argc, char **argv);
int command_doctor(int argc, char **argv);

int print_version(void);

/* Say what went wrong, on one line of standard error; returns the exit status for it. */
int report(const struct error *err);
