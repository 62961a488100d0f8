#include "vmm/thread.h"

#include "util/macros.h"

#include <signal.h>

int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg, int open)
{
	static const int faults[] = { SIGSYS, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT };
	sigset_t block, old;
	int r;

	sigfillset(&block);
	for (unsigned i = 0; i < ARRAY_SIZE(faults); i++)
		sigdelset(&block, faults[i]);
	if (open)
		sigdelset(&block, open);
	pthread_sigmask(SIG_SETMASK, &block, &old);
	r = pthread_create(thread, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}
