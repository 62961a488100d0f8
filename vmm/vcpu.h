/*
 * A vCPU: one thread that runs the guest and answers its exits. vmm/exits.c has the switch.
 */
#pragma once

#include "util/error.h"
#include "util/log.h"
#include "vmm/vm.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <semaphore.h>

struct vcpu {
	/* Constant after creation. */
	struct vm *vm;
	unsigned index;
	int fd;
	struct kvm_run *run; /* shared with KVM; the vCPU's thread only, but for immediate_exit */
	size_t run_size;
	pthread_t thread;
	bool started; /* main only */

	/* The thread's. */
	struct log_limit complaints;
};

/* The state a 64-bit guest starts in; what boot/ made up. */
struct vcpu_entry {
	gpa_t rip, rsi, rsp, cr3, gdt;
	uint16_t gdt_limit;
};

/* Main. Make the vCPU, its CPUID leaves and MSRs. */
int vcpu_create(struct vcpu **out, struct vm *vm, unsigned index, struct error *err);
void vcpu_destroy(struct vcpu *cpu); /* NULL is allowed; the thread must have ended */

/* Main, before start. Only for the first vCPU: the others wait for INIT and SIPI. */
int vcpu_set_entry(struct vcpu *cpu, const struct vcpu_entry *entry, struct error *err);

/*
 * Main. Start the thread: it puts its filter on, says so, and waits at @gate (posted once for each
 * vCPU) before the first guest instruction.
 */
int vcpu_start(struct vcpu *cpu, sem_t *ready, sem_t *gate, struct error *err);

/* Main. Make KVM_RUN return as soon as possible; the thread then looks at vm->stopping. */
void vcpu_kick(struct vcpu *cpu);

/* The vCPU's thread. Answer one exit; false ends the loop. (vmm/exits.c) */
bool vcpu_handle_exit(struct vcpu *cpu);

/* The vCPU's thread. Log registers and what to look at, after a failure. (vmm/exits.c) */
void vcpu_report(struct vcpu *cpu);

/* Set up by vcpu_create(), each in a file of its own under vmm/x86/. */
int cpuid_setup(struct vcpu *cpu, unsigned cpus, struct error *err);
int msr_setup(struct vcpu *cpu, struct error *err);
int regs_setup(struct vcpu *cpu, const struct vcpu_entry *entry, struct error *err);
