/*
 * The exit switch: why a guest processor stopped running, and what is done about it. Runs on that
 * vCPU's thread.
 */
#include "util/log.h"
#include "vmm/kvm.h"
#include "vmm/vcpu.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

/* A string instruction (INS, OUTS) arrives as several accesses of one size. */
static void handle_pio(struct vcpu *cpu)
{
	struct kvm_run *run = cpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_IN)
			bus_read(&cpu->vm->pio, run->io.port, data, run->io.size);
		else
			bus_write(&cpu->vm->pio, run->io.port, data, run->io.size);
	}
}

static void handle_mmio(struct vcpu *cpu)
{
	struct kvm_run *run = cpu->run;

	if (run->mmio.is_write)
		bus_write(&cpu->vm->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	else
		bus_read(&cpu->vm->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
}

static void handle_system_event(struct vcpu *cpu)
{
	uint32_t type = cpu->run->system_event.type;

	switch (type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		vm_request_stop(cpu->vm, VM_STOP_POWEROFF, 0);
		break;
	case KVM_SYSTEM_EVENT_RESET:
		vm_request_stop(cpu->vm, VM_STOP_RESET, 0);
		break;
	case KVM_SYSTEM_EVENT_CRASH:
		vm_request_stop(cpu->vm, VM_STOP_PANIC, 0);
		break;
	default:
		vm_fail(cpu->vm, "vCPU %u: system event %u, which x86 guests do not send",
			cpu->index, type);
	}
}

static void handle_fail_entry(struct vcpu *cpu)
{
	vm_fail(cpu->vm,
		"vCPU %u: KVM_EXIT_FAIL_ENTRY: the processor refused to enter the guest, hardware "
		"reason %#" PRIx64 ": the guest's state is not valid, or this KVM is broken; the "
		"host's `dmesg` tells more",
		cpu->index, (uint64_t)cpu->run->fail_entry.hardware_entry_failure_reason);
	vcpu_report(cpu);
}

/* KVM_INTERNAL_ERROR_EMULATION may carry the instruction bytes it stumbled over. */
static void handle_internal_error(struct vcpu *cpu)
{
	static const char *const names[] = { "", "emulation failed", "simultaneous exceptions",
		"error while delivering an event", "unexpected exit reason" };
	const struct kvm_run *run = cpu->run;
	uint32_t sub = run->internal.suberror;
	char data[16 * 20 + 1] = "";
	size_t at = 0;

	for (uint32_t i = 0; i < run->internal.ndata && i < 16; i++)
		at += (size_t)snprintf(
			data + at, sizeof(data) - at, " %" PRIx64, (uint64_t)run->internal.data[i]);
	vm_fail(cpu->vm,
		"vCPU %u: KVM_EXIT_INTERNAL_ERROR %u (%s): KVM cannot run what the guest did; data:%s; "
		"a KVM without hardware virtualization does this to every Linux, see `microvm doctor`",
		cpu->index, sub, sub < 5 ? names[sub] : "unknown", data[0] ? data : " none");
	vcpu_report(cpu);
}

bool vcpu_handle_exit(struct vcpu *cpu)
{
	switch (cpu->run->exit_reason) {
	case KVM_EXIT_IO:
		handle_pio(cpu);
		return true;
	case KVM_EXIT_MMIO:
		handle_mmio(cpu);
		return true;
	case KVM_EXIT_INTR: /* a signal: the loop looks at vm->stopping */
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		return true;
	case KVM_EXIT_HLT: /* only without an in-kernel APIC: nothing could wake it */
		vm_request_stop(cpu->vm, VM_STOP_POWEROFF, 0);
		return false;
	case KVM_EXIT_SHUTDOWN: /* triple fault */
		log_info("vCPU %u: triple fault", cpu->index);
		if (log_enabled(LOG_LEVEL_DEBUG))
			vcpu_report(cpu);
		vm_request_stop(cpu->vm, VM_STOP_FAULT, 0);
		return false;
	case KVM_EXIT_SYSTEM_EVENT:
		handle_system_event(cpu);
		return false;
	case KVM_EXIT_FAIL_ENTRY:
		handle_fail_entry(cpu);
		return false;
	case KVM_EXIT_INTERNAL_ERROR:
		handle_internal_error(cpu);
		return false;
	default:
		vm_fail(cpu->vm, "vCPU %u: exit reason %u, which this program never asked for",
			cpu->index, cpu->run->exit_reason);
		vcpu_report(cpu);
		return false;
	}
}

void vcpu_report(struct vcpu *cpu)
{
	struct kvm_regs r;
	struct kvm_sregs s;
	const uint8_t *code;

	if (ioctl(cpu->fd, KVM_GET_REGS, &r) < 0 || ioctl(cpu->fd, KVM_GET_SREGS, &s) < 0) {
		log_error("vCPU %u: its registers cannot be read: %m", cpu->index);
		return;
	}
	log_error("vCPU %u: rip %016llx rsp %016llx rflags %08llx", cpu->index, r.rip, r.rsp,
		r.rflags);
	log_error("vCPU %u: rax %016llx rbx %016llx rcx %016llx rdx %016llx", cpu->index, r.rax,
		r.rbx, r.rcx, r.rdx);
	log_error("vCPU %u: rsi %016llx rdi %016llx rbp %016llx r8 %016llx", cpu->index, r.rsi,
		r.rdi, r.rbp, r.r8);
	log_error(
		"vCPU %u: cr0 %08llx cr2 %016llx cr3 %016llx cr4 %08llx efer %08llx cs %04x ss %04x",
		cpu->index, s.cr0, s.cr2, s.cr3, s.cr4, s.efer, s.cs.selector, s.ss.selector);
	/* With paging off or an identity map, rip is where the instruction lies. */
	code = memory_at(&cpu->vm->memory, r.rip, 8);
	if (code)
		log_error("vCPU %u: code at rip, if mapped one to one: "
			  "%02x %02x %02x %02x %02x %02x %02x %02x",
			cpu->index, code[0], code[1], code[2], code[3], code[4], code[5], code[6],
			code[7]);
}
