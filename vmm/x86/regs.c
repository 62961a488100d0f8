/*
 * The state in which a 64-bit guest starts (Documentation/arch/x86/boot.rst, "64-bit Boot
 * Protocol"): long mode, paging on, flat segments __BOOT_CS and __BOOT_DS, interrupts off. The
 * tables that CR3 and GDTR point to were written by boot/.
 */
#include "vmm/kvm.h"
#include "vmm/vcpu.h"

#include <errno.h>

#define CR0_PE		(1ULL << 0)
#define CR0_MP		(1ULL << 1)
#define CR0_ET		(1ULL << 4)
#define CR0_NE		(1ULL << 5)
#define CR0_WP		(1ULL << 16)
#define CR0_PG		(1ULL << 31)
#define CR4_PAE		(1ULL << 5)
#define CR4_OSFXSR	(1ULL << 9)
#define CR4_OSXMMEXCPT	(1ULL << 10)
#define EFER_LME	(1ULL << 8)
#define EFER_LMA	(1ULL << 10)
#define RFLAGS_RESERVED 2ULL

/* Selectors of the GDT that boot/ writes. */
#define BOOT_CS 0x10
#define BOOT_DS 0x18
#define BOOT_TR 0x20

static struct kvm_segment flat(uint16_t selector, uint8_t type, bool code)
{
	return (struct kvm_segment){
		.base = 0,
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.s = 1,
		.g = 1,
		.l = code,
		.db = !code,
	};
}

int regs_setup(struct vcpu *cpu, const struct vcpu_entry *entry, struct error *err)
{
	struct kvm_regs regs = {
		.rip = entry->rip,
		.rsi = entry->rsi,
		.rsp = entry->rsp,
		.rbp = entry->rsp,
		.rflags = RFLAGS_RESERVED,
	};
	struct kvm_sregs sregs;
	long r;

	r = kvm_ioctl(cpu->fd, KVM_GET_SREGS, &sregs);
	if (r < 0)
		return error_set(err, ERROR_HOST, (int)-r, "KVM_GET_SREGS: %m");
	sregs.cs = flat(BOOT_CS, 0xb, true);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat(BOOT_DS, 0x3, false);
	sregs.tr = (struct kvm_segment){
		.selector = BOOT_TR, .limit = 0x67, .type = 0xb, .present = 1
	};
	sregs.gdt.base = entry->gdt;
	sregs.gdt.limit = entry->gdt_limit;
	sregs.idt.base = 0;
	sregs.idt.limit = 0;
	sregs.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
	sregs.cr3 = entry->cr3;
	sregs.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;
	sregs.efer = EFER_LME | EFER_LMA;
	r = kvm_ioctl(cpu->fd, KVM_SET_SREGS, &sregs);
	if (r < 0)
		return error_set(err, ERROR_HOST, (int)-r, "KVM_SET_SREGS: %m");
	r = kvm_ioctl(cpu->fd, KVM_SET_REGS, &regs);
	if (r < 0)
		return error_set(err, ERROR_HOST, (int)-r, "KVM_SET_REGS: %m");
	return 0;
}
