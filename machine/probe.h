/*
 * What this host offers to a machine, looked at thing by thing: for `microvm doctor`. Changes nothing
 * on the host.
 */
#pragma once

#include <stdbool.h>

enum probe_verdict {
	PROBE_GOOD,
	PROBE_LACKING, /* machines run without it; the advice says what is lost */
	PROBE_MISSING  /* no machine runs without it */
};

struct probe_item {
	const char *group; /* "KVM", "io_uring", ... */
	char name[64];
	enum probe_verdict verdict;
	char found[160];  /* what there is */
	char advice[256]; /* what to do about it; empty if nothing */
};

enum { PROBE_ITEMS_MAX = 96 };

struct probe_report {
	unsigned count;
	struct probe_item item[PROBE_ITEMS_MAX];
};

/* Main. Fill in @report; true if a machine can run here. */
bool machine_probe(struct probe_report *report);
