/* Kernel modules, as the plan lists them. */
#pragma once

#include <stdbool.h>

/*
 * Load the module in /modules/@file, with its parameters from the command line @cmdline, and
 * remove the file. Does not return if it fails and @needed.
 */
void modules_load(const char *file, bool needed, const char *cmdline);
