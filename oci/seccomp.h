/*
 * linux.seccomp (config-linux.md, "Seccomp"): a filter for the container's processes in the guest,
 * made here so that the guest needs no libseccomp. The machine's own filters (vmm/) are another
 * matter.
 */
#pragma once

#include "util/error.h"

#include <stddef.h>
#include <stdint.h>

struct json_object;

struct oci_filter {
	void *program; /* struct sock_filter[]; NULL: no filter */
	size_t bytes;
	uint32_t flags; /* for seccomp(2) */
};

/*
 * Make the filter that @section asks for, for this machine's architecture, which is the guest's.
 * NULL makes none. System calls that are not known here are passed over: what a kernel does not
 * have needs no rule. ERROR_USAGE, naming the place, for what cannot be meant or done.
 */
int oci_seccomp_compile(
	struct oci_filter *out, struct json_object *section, const char *name, struct error *err);
/* The same; out of the cache, where this section was seen before. */
int oci_seccomp_get(
	struct oci_filter *out, struct json_object *section, const char *name, struct error *err);
void oci_seccomp_free(struct oci_filter *filter);

/*
 * What linux.seccomp may name, for `features`: the @i-th, or NULL behind the last one.
 */
const char *oci_seccomp_action(unsigned i);
const char *oci_seccomp_operator(unsigned i);
const char *oci_seccomp_arch(unsigned i);
const char *oci_seccomp_flag(unsigned i);
