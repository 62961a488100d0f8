/*
 * The verbs of microvm-oci, one function each: main.c has read the global flags and calls them with
 * the arguments from the verb's own name on (@argv[0]). 0, or a negative errno with one line in @err.
 */
#pragma once

#include "util/error.h"

/* Write a config.json to begin with, as others' `spec` does: spec [--bundle DIR] [--rootless]. */
int oci_spec(int argc, char **argv, struct error *err);

/* Say on standard output, as JSON, what of the specification is done here (features.md). */
int oci_features(int argc, char **argv, struct error *err);
