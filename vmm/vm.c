#include "vmm/vm.h"

#include "util/log.h"
#include "util/macros.h"
#include "vmm/kvm.h"
#include "vmm/vcpu.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static int set_memory(struct vm *vm, struct error *err)
{
	for (unsigned i = 0; i < vm->memory.regions; i++) {
		const struct memory_region *m = &vm->memory.region[i];
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = m->base,
			.memory_size = m->size,
			.userspace_addr = (uintptr_t)m->host,
		};
		long r = kvm_ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot);

		if (r < 0)
			return error_set(err, ERROR_HOST, (int)-r,
				"KVM_SET_USER_MEMORY_REGION for %llu MiB at %#llx: %m",
				(unsigned long long)(m->size / MIB), (unsigned long long)m->base);
	}
	return 0;
}

/*
 * KVM_SET_TSS_ADDR and KVM_SET_IDENTITY_MAP_ADDR before the first vCPU; the interrupt controllers
 * before it as well, so that it gets a local APIC.
 */
static int set_platform(struct vm *vm, struct error *err)
{
	uint64_t identity = LAYOUT_IDENTITY_MAP;
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	long r;

	r = kvm_ioctl(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	if (r < 0)
		return error_set(err, ERROR_HOST, (int)-r, "KVM_SET_IDENTITY_MAP_ADDR: %m");
	r = kvm_ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, (void *)LAYOUT_TSS);
	if (r < 0)
		return error_set(err, ERROR_HOST, (int)-r, "KVM_SET_TSS_ADDR: %m");
	r = kvm_ioctl(vm->vm_fd, KVM_CREATE_IRQCHIP, NULL);
	if (r < 0)
		return error_set(err, ERROR_HOST, (int)-r, "KVM_CREATE_IRQCHIP: %m");
	if (kvm_ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_PIT2) > 0) {
		r = kvm_ioctl(vm->vm_fd, KVM_CREATE_PIT2, &pit);
		if (r < 0)
			return error_set(err, ERROR_HOST, (int)-r, "KVM_CREATE_PIT2: %m");
	}
	return 0;
}

int vm_create(struct vm *vm, uint64_t memory_bytes, struct error *err)
{
	int r;

	*vm = (struct vm){ .kvm_fd = -1, .vm_fd = -1, .stop_fd = -1 };
	vm->pio.name = "pio";
	vm->mmio.name = "mmio";
	pthread_mutex_init(&vm->failure_lock, NULL);

	r = vm->kvm_fd = kvm_open(err);
	if (r < 0)
		goto fail;
	r = kvm_check(vm->kvm_fd, err);
	if (r < 0)
		goto fail;
	vm->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->stop_fd < 0) {
		r = error_set(err, ERROR_HOST, errno, "cannot make an eventfd: %m");
		goto fail;
	}
	r = memory_create(&vm->memory, memory_bytes, err);
	if (r < 0)
		goto fail;
	r = (int)kvm_ioctl(vm->kvm_fd, KVM_CREATE_VM, NULL); /* can be interrupted: starts over */
	if (r < 0) {
		error_set(err, ERROR_HOST, -r, "KVM_CREATE_VM: %m; see `microvm doctor`");
		goto fail;
	}
	vm->vm_fd = r;
	/* In this order: with interrupt controllers there, a new memory slot waits for readers. */
	r = set_memory(vm, err);
	if (r < 0)
		goto fail;
	r = set_platform(vm, err);
	if (r < 0)
		goto fail;
	return 0;
fail:
	vm_destroy(vm);
	return r;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

int vm_add_cpus(struct vm *vm, unsigned cpus, struct error *err)
{
	unsigned max = MIN(kvm_cpus_max(vm->kvm_fd), (unsigned)VM_VCPUS_MAX);

	if (cpus == 0 || cpus > max)
		return error_set(err, ERROR_USAGE, EINVAL,
			"--cpus: %u is not possible: give 1 to %u (what KVM and microvm allow here)",
			cpus, max);
	vm->cpus = cpus;
	for (unsigned i = 0; i < cpus; i++) {
		int r = vcpu_create(&vm->cpu[i], vm, i, err);

		if (r < 0)
			return r;
	}
	/* It has told what it can do and made what there is to make: the guest's life needs neither. */
	close_fd(&vm->kvm_fd);
	return 0;
}

void vm_destroy(struct vm *vm)
{
	for (unsigned i = 0; i < VM_VCPUS_MAX; i++) {
		vcpu_destroy(vm->cpu[i]);
		vm->cpu[i] = NULL;
	}
	close_fd(&vm->vm_fd);
	close_fd(&vm->kvm_fd);
	close_fd(&vm->stop_fd);
	memory_destroy(&vm->memory);
	pthread_mutex_destroy(&vm->failure_lock);
}

int vm_ioeventfd(struct vm *vm, gpa_t gpa, unsigned len, uint64_t value, int fd, struct error *err)
{
	struct kvm_ioeventfd e = {
		.addr = gpa,
		.len = len,
		.fd = fd,
		.datamatch = value,
		.flags = len ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0,
	};
	long r = kvm_ioctl(vm->vm_fd, KVM_IOEVENTFD, &e);

	if (r < 0)
		return error_set(err, ERROR_HOST, (int)-r, "KVM_IOEVENTFD at %#llx: %m",
			(unsigned long long)gpa);
	return 0;
}

int vm_irqfd(struct vm *vm, unsigned gsi, int fd, struct error *err)
{
	struct kvm_irqfd e = { .fd = (uint32_t)fd, .gsi = gsi };
	long r = kvm_ioctl(vm->vm_fd, KVM_IRQFD, &e);

	if (r < 0)
		return error_set(err, ERROR_HOST, (int)-r, "KVM_IRQFD for GSI %u: %m", gsi);
	return 0;
}

void vm_request_stop(struct vm *vm, enum vm_stop_reason reason, int value)
{
	static const uint64_t one = 1;
	int none = VM_STOP_NONE;

	if (!atomic_compare_exchange_strong(&vm->stop_reason, &none, reason))
		return;
	/* Main reads the value only after stop_fd: the write below orders the two. */
	vm->stop_value = value;
	if (write(vm->stop_fd, &one, sizeof(one)) < 0)
		log_error("cannot ask for the machine to stop: %m");
}

void vm_fail(struct vm *vm, const char *fmt, ...)
{
	va_list ap;

	pthread_mutex_lock(&vm->failure_lock);
	if (vm->failure.kind == ERROR_NONE) {
		vm->failure.kind = ERROR_MACHINE;
		va_start(ap, fmt);
		vsnprintf(vm->failure.msg, sizeof(vm->failure.msg), fmt, ap);
		va_end(ap);
	}
	pthread_mutex_unlock(&vm->failure_lock);
	vm_request_stop(vm, VM_STOP_FAILED, 0);
}

void vm_stop_cpus(struct vm *vm)
{
	atomic_store(&vm->stopping, true);
	for (unsigned i = 0; i < vm->cpus; i++)
		if (vm->cpu[i] && vm->cpu[i]->started)
			vcpu_kick(vm->cpu[i]);
	for (unsigned i = 0; i < vm->cpus; i++) {
		struct vcpu *cpu = vm->cpu[i];

		if (!cpu || !cpu->started)
			continue;
		pthread_join(cpu->thread, NULL);
		cpu->started = false;
	}
}
