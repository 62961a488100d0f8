/* A ring in guest memory with a driver on one side and ring.c on the other. */
#pragma once

#include "driver.h"

enum { RAM = 4 * 1024 * 1024, RING = 0x1000, DATA = 0x10000, TABLE = 0x8000, SIZE = 8 };

#define NEXT	 VRING_DESC_F_NEXT
#define WRITE	 VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

struct fixture {
	struct guest_memory mem;
	struct driver d;
	struct ring ring;
	struct iovec iov[1100];
	struct ring_chain chain;
};

int setup(void **state);
int teardown(void **state);
/* Begin anew: fresh memory, an empty ring. */
void again(struct fixture *f, uint16_t size, bool event_idx);
/* ring_pop() into f->chain. */
int pop(struct fixture *f);
/* The ring must break with these words in its fault, stay broken, and touch nothing more. */
void expect_fault(struct fixture *f, const char *words);
/* The host's address of a guest's byte. */
void *host(struct fixture *f, gpa_t gpa);
