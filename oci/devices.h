/* linux.resources.devices as a program for the guest's control group (BPF_PROG_TYPE_CGROUP_DEVICE). */
#pragma once

#include "oci/config.h"

struct oci_device_filter {
	void *program; /* struct bpf_insn[]; NULL: nothing is kept from anybody */
	size_t bytes;
};

/*
 * The rules in their order, the last that fits decides, and behind them what every container may use.
 * Without rules, and where they allow everything, there is no program. -ENOMEM, -E2BIG.
 */
int oci_device_filter(struct oci_device_filter *out, const struct oci_resources *resources);
