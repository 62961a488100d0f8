#include "vmm/vcpu.h"

#include "vmm/kvm.h"
#include "vmm/sandbox.h"
#include "vmm/thread.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Gets a thread out of KVM_RUN; the handler does nothing, the interruption is the point. */
#define KICK_SIGNAL SIGRTMIN

struct start {
	struct vcpu *cpu;
	sem_t *ready, *gate;
};

static void on_kick(int sig)
{
}

int vcpu_create(struct vcpu **out, struct vm *vm, unsigned index, struct error *err)
{
	struct vcpu *cpu = calloc(1, sizeof(*cpu));
	long r;

	*out = cpu;
	if (!cpu)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory for vCPU %u", index);
	cpu->vm = vm;
	cpu->index = index;
	cpu->fd = -1;
	cpu->run = MAP_FAILED;

	r = kvm_ioctl(vm->vm_fd, KVM_CREATE_VCPU, (void *)(unsigned long)index);
	if (r < 0)
		return error_set(err, ERROR_HOST, (int)-r, "KVM_CREATE_VCPU %u: %m", index);
	cpu->fd = (int)r;
	r = kvm_ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
	if (r < (long)sizeof(*cpu->run))
		return error_set(err, ERROR_HOST, EINVAL, "KVM_GET_VCPU_MMAP_SIZE: %ld bytes", r);
	cpu->run_size = (size_t)r;
	cpu->run = mmap(NULL, cpu->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
	if (cpu->run == MAP_FAILED)
		return error_set(err, ERROR_HOST, errno, "cannot map vCPU %u: %m", index);

	r = cpuid_setup(cpu, vm->cpus, err);
	if (r < 0)
		return (int)r;
	return msr_setup(cpu, err);
}

void vcpu_destroy(struct vcpu *cpu)
{
	if (!cpu)
		return;
	if (cpu->run != MAP_FAILED)
		munmap(cpu->run, cpu->run_size);
	if (cpu->fd >= 0)
		close(cpu->fd);
	free(cpu);
}

int vcpu_set_entry(struct vcpu *cpu, const struct vcpu_entry *entry, struct error *err)
{
	return regs_setup(cpu, entry, err);
}

/*
 * The loop of a guest processor. KVM_RUN returns for an exit (answered by vmm/exits.c), or because
 * a signal or immediate_exit interrupted it; then vm->stopping decides.
 */
static void run(struct vcpu *cpu)
{
	while (!atomic_load_explicit(&cpu->vm->stopping, memory_order_relaxed)) {
		if (ioctl(cpu->fd, KVM_RUN, 0) < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			vm_fail(cpu->vm, "vCPU %u: KVM_RUN: %s", cpu->index, strerror(errno));
			vcpu_report(cpu);
			return;
		}
		if (!vcpu_handle_exit(cpu))
			return;
	}
}

static void *thread_main(void *arg)
{
	struct start start = *(struct start *)arg;
	struct vcpu *cpu = start.cpu;
	char name[16];
	int r = 0;

	snprintf(name, sizeof(name), "vcpu%u", cpu->index);
	pthread_setname_np(pthread_self(), name);
	if (cpu->vm->sandbox)
		r = sandbox_thread(SANDBOX_VCPU, 0);
	if (r < 0)
		vm_fail(cpu->vm, "vCPU %u: cannot put its seccomp filter on: %s", cpu->index,
			strerror(-r));
	sem_post(start.ready); /* from here on, start.cpu's creator has gone on */
	while (sem_wait(start.gate) < 0)
		;
	if (r == 0)
		run(cpu);
	return NULL;
}

int vcpu_start(struct vcpu *cpu, sem_t *ready, sem_t *gate, struct error *err)
{
	struct start start = { .cpu = cpu, .ready = ready, .gate = gate };
	struct sigaction sa = { .sa_handler = on_kick };
	int r;

	sigaction(KICK_SIGNAL, &sa, NULL);
	r = thread_start(&cpu->thread, thread_main, &start, KICK_SIGNAL);
	if (r < 0)
		return error_set(
			err, ERROR_HOST, -r, "vCPU %u: cannot start a thread: %m", cpu->index);
	cpu->started = true;
	while (sem_wait(ready) < 0) /* start lives on this stack */
		;
	return 0;
}

void vcpu_kick(struct vcpu *cpu)
{
	/* A signal that comes before KVM_RUN is entered would be lost without this. */
	__atomic_store_n(&cpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	pthread_kill(cpu->thread, KICK_SIGNAL);
}
