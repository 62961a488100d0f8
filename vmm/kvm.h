/*
 * The /dev/kvm system descriptor: its version and what it can do.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>

/* An extension the program uses (KVM_CHECK_EXTENSION). */
struct kvm_extension {
	int id;
	const char *name; /* "KVM_CAP_IRQCHIP" */
	bool required;
	const char *why; /* what it is used for, for `microvm doctor` */
};

extern const struct kvm_extension kvm_extensions[];
extern const unsigned kvm_extensions_count;

/* Main. Open /dev/kvm; the message says what to do where it is missing or not permitted. */
int kvm_open(struct error *err);

/* Main. The API version is 12 and every required extension is there; else ERROR_HOST naming it. */
int kvm_check(int kvm_fd, struct error *err);

/* What the host recommends and allows: KVM_CAP_NR_VCPUS and KVM_CAP_MAX_VCPUS. */
unsigned kvm_cpus_recommended(int kvm_fd);
unsigned kvm_cpus_max(int kvm_fd);

/* ioctl() that starts over when a signal interrupts it. Returns the result or -errno. */
long kvm_ioctl(int fd, unsigned long request, void *arg);
