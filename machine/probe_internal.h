/* Shared by the files of the probe only. */
#pragma once

#include "machine/probe.h"

/* Add an item; the caller goes on to fill in advice, if any. Never NULL. */
struct probe_item *probe_add(struct probe_report *report, const char *group, const char *name,
	enum probe_verdict verdict, const char *found, ...) __attribute__((format(printf, 5, 6)));

/* probe.c: /dev/kvm and the processor. */
void probe_kvm(struct probe_report *report);
/* probe_host.c: memory, networks, io_uring. */
void probe_memory(struct probe_report *report);
void probe_networks(struct probe_report *report);
void probe_io_uring(struct probe_report *report);
