/* Runs one of the tiny guests of guests.S in a machine of its own, without boot/ or machine/. */
#pragma once

#include "vmm/vcpu.h"
#include "vmm/vm.h"

#include <semaphore.h>

enum { GUEST_RESULTS = 0x7000 };

struct guest {
	struct vm vm;
	sem_t ready, gate;
	volatile uint8_t *results; /* the guest's page at GUEST_RESULTS */
};

#define GUEST_CODE(name)                                                   \
	({                                                                 \
		extern const uint8_t guest_##name[], guest_##name##_end[]; \
		(struct guest_code){ guest_##name, guest_##name##_end };   \
	})

struct guest_code {
	const uint8_t *begin, *end;
};

/* Each ends the test (cmocka) where it fails; guest_open() skips it where there is no KVM. */
void guest_open(struct guest *g, uint64_t memory, unsigned cpus, struct guest_code code);
void guest_start(struct guest *g);
/* Wait for a stop request, at most 20 s; the vCPUs are stopped on return. */
enum vm_stop_reason guest_wait(struct guest *g);
void guest_stop(struct guest *g);
void guest_close(struct guest *g);
