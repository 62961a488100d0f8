/* Starting a thread of the machine: what vCPUs and workers have in common. */
#pragma once

#include <pthread.h>

/*
 * Main. As pthread_create(), with every signal blocked but those that tell of a fault in the thread
 * itself, and @open (0: none). Signals meant for the process are main's. Returns 0 or -errno.
 */
int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg, int open);
