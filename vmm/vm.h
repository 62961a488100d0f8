/*
 * One virtual machine: its KVM descriptors, memory, buses and vCPUs. Knows no devices.
 *
 * Life (all on main): vm_create() -> devices are put on the buses, vm_ioeventfd(), vm_irqfd() ->
 * vm_add_cpus() -> vcpu_start() for each -> ... -> vm_stop_cpus() -> vm_destroy().
 */
#pragma once

#include "util/error.h"
#include "vmm/bus.h"
#include "vmm/memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { VM_VCPUS_MAX = 64 };

/* Why a machine stops. The first request wins. */
enum vm_stop_reason {
	VM_STOP_NONE = 0,
	VM_STOP_POWEROFF, /* the guest powered off */
	VM_STOP_RESET,	  /* the guest asked for a reboot */
	VM_STOP_STATUS,	  /* the guest wrote a status to the exit port */
	VM_STOP_PANIC,	  /* the guest's kernel gave up */
	VM_STOP_FAULT,	  /* triple fault: KVM_EXIT_SHUTDOWN */
	VM_STOP_FAILED,	  /* KVM failed: vm->failure says how */
	VM_STOP_HOST,	  /* somebody on the host wants it so */
};

struct vcpu;

struct vm {
	/* Constant after start. */
	int kvm_fd; /* -1 once the vCPUs are made */
	int vm_fd;
	struct guest_memory memory;
	struct bus pio;
	struct bus mmio;
	unsigned cpus;
	struct vcpu *cpu[VM_VCPUS_MAX];
	bool sandbox;
	int stop_fd; /* eventfd: readable once somebody asked for a stop */

	/* Any thread. */
	_Atomic int stop_reason; /* enum vm_stop_reason */
	_Atomic int stop_value;	 /* written once by the winner, before stop_fd is */
	_Atomic bool stopping;	 /* vCPUs leave their loops */

	pthread_mutex_t failure_lock;
	struct error failure; /* under failure_lock: the first one */
};

/* Open KVM and make the VM: memory, TSS and identity map, interrupt controllers, timer. */
int vm_create(struct vm *vm, uint64_t memory_bytes, struct error *err);
/* Once. Make @cpus vCPUs and let go of /dev/kvm. ERROR_USAGE beyond what KVM allows. */
int vm_add_cpus(struct vm *vm, unsigned cpus, struct error *err);
/* Everything must be stopped. Safe on a zeroed struct with fds of -1. */
void vm_destroy(struct vm *vm);

/* Signal @fd when the guest writes @value (@len bytes; 0: any length and value) to MMIO @gpa. */
int vm_ioeventfd(struct vm *vm, gpa_t gpa, unsigned len, uint64_t value, int fd, struct error *err);
/* Raise interrupt @gsi (edge) whenever @fd is signalled. */
int vm_irqfd(struct vm *vm, unsigned gsi, int fd, struct error *err);

/* Any thread. Ask for the machine to stop; main, which waits on stop_fd, does it. */
void vm_request_stop(struct vm *vm, enum vm_stop_reason reason, int value);
/* Any thread. The same with VM_STOP_FAILED and a message. */
void vm_fail(struct vm *vm, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Main. Get every vCPU out of KVM_RUN and join its thread. Idempotent. */
void vm_stop_cpus(struct vm *vm);
