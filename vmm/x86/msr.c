/*
 * The model-specific registers a 64-bit Linux expects firmware to have set.
 */
#include "util/macros.h"
#include "vmm/kvm.h"
#include "vmm/vcpu.h"

#include <errno.h>
#include <string.h>

#define MSR_IA32_TSC	       0x10
#define MSR_IA32_SYSENTER_CS   0x174
#define MSR_IA32_SYSENTER_ESP  0x175
#define MSR_IA32_SYSENTER_EIP  0x176
#define MSR_IA32_MISC_ENABLE   0x1a0
#define MSR_IA32_MTRR_DEF_TYPE 0x2ff
#define MSR_STAR	       0xc0000081
#define MSR_LSTAR	       0xc0000082
#define MSR_CSTAR	       0xc0000083
#define MSR_SYSCALL_MASK       0xc0000084
#define MSR_KERNEL_GS_BASE     0xc0000102

#define MISC_ENABLE_FAST_STRING 1ULL
#define MTRR_ENABLED_WRITE_BACK (1ULL << 11 | 6) /* all memory write-back: no MTRR ranges */

int msr_setup(struct vcpu *cpu, struct error *err)
{
	static const struct kvm_msr_entry wanted[] = {
		{ .index = MSR_IA32_SYSENTER_CS },
		{ .index = MSR_IA32_SYSENTER_ESP },
		{ .index = MSR_IA32_SYSENTER_EIP },
		{ .index = MSR_STAR },
		{ .index = MSR_LSTAR },
		{ .index = MSR_CSTAR },
		{ .index = MSR_SYSCALL_MASK },
		{ .index = MSR_KERNEL_GS_BASE },
		{ .index = MSR_IA32_TSC },
		{ .index = MSR_IA32_MISC_ENABLE, .data = MISC_ENABLE_FAST_STRING },
		{ .index = MSR_IA32_MTRR_DEF_TYPE, .data = MTRR_ENABLED_WRITE_BACK },
	};
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[ARRAY_SIZE(wanted)];
	} msrs = { .head = { .nmsrs = ARRAY_SIZE(wanted) } };
	long r;

	memcpy(msrs.entries, wanted, sizeof(wanted));
	r = kvm_ioctl(cpu->fd, KVM_SET_MSRS, &msrs.head);
	if (r < 0)
		return error_set(
			err, ERROR_HOST, (int)-r, "KVM_SET_MSRS for vCPU %u: %m", cpu->index);
	if (r < (long)ARRAY_SIZE(wanted)) /* KVM stops at the first one it refuses */
		return error_set(err, ERROR_HOST, ENOTSUP, "KVM_SET_MSRS: KVM refuses MSR %#x",
			wanted[r].index);
	return 0;
}
