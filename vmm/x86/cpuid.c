/*
 * CPUID: what KVM supports here, with this machine's topology written over the host's.
 *
 * The host's own topology leaves must not shine through: a guest that believes two of its vCPUs are
 * siblings of one core, or that each sits in a package of its own, schedules badly. Ours is one
 * package of single-threaded cores.
 */
#include "util/macros.h"
#include "vmm/kvm.h"
#include "vmm/vcpu.h"

#include <errno.h>
#include <linux/kvm_para.h>
#include <stdlib.h>
#include <string.h>

enum { ENTRIES_MAX = 256 };

struct cpuid_buf {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entries[ENTRIES_MAX];
};

/* Feature bits by leaf (Intel SDM vol. 2A, CPUID; KVM: Documentation/virt/kvm/x86/cpuid.rst). */
#define LEAF1_ECX_X2APIC       (1u << 21)
#define LEAF1_ECX_TSC_DEADLINE (1u << 24)
#define LEAF1_ECX_HYPERVISOR   (1u << 31)
#define LEAF1_EDX_HTT	       (1u << 28)

/* Bits of an APIC id that number the cores of the one package. */
static unsigned core_bits(unsigned cpus)
{
	unsigned bits = 0;

	while ((1u << bits) < cpus)
		bits++;
	return bits;
}

static void leaf_features(
	struct kvm_cpuid_entry2 *e, const struct vcpu *cpu, unsigned cpus, bool tsc_deadline)
{
	e->ebx = (e->ebx & 0x0000ffff) | cpu->index << 24 | (1u << core_bits(cpus)) << 16;
	e->ecx |= LEAF1_ECX_HYPERVISOR | LEAF1_ECX_X2APIC;
	if (tsc_deadline)
		e->ecx |= LEAF1_ECX_TSC_DEADLINE;
	if (cpus > 1)
		e->edx |= LEAF1_EDX_HTT;
	else
		e->edx &= ~LEAF1_EDX_HTT;
}

/* Deterministic cache parameters: caches up to level 2 belong to one core, the rest to all. */
static void leaf_cache(struct kvm_cpuid_entry2 *e, unsigned cpus)
{
	unsigned level = e->eax >> 5 & 7;
	unsigned sharing = level > 2 ? (1u << core_bits(cpus)) - 1 : 0;

	if ((e->eax & 0x1f) == 0)
		return; /* no more caches */
	e->eax &= 0x00003fff;
	e->eax |= sharing << 14;
	if (e->function == 4)
		e->eax |= ((1u << core_bits(cpus)) - 1) << 26;
}

/* Extended topology (0xb, 0x1f): sub-leaf 0 the threads of a core, 1 the cores of the package. */
static void leaf_topology(struct kvm_cpuid_entry2 *e, const struct vcpu *cpu, unsigned cpus)
{
	uint32_t index = e->index;

	e->eax = e->ebx = e->ecx = 0;
	e->edx = cpu->index;
	e->ecx = index;
	if (index == 0) {
		e->ebx = 1;
		e->ecx |= 1 << 8; /* SMT */
	} else if (index == 1) {
		e->eax = core_bits(cpus);
		e->ebx = cpus;
		e->ecx |= 2 << 8; /* core */
	}
}

static struct kvm_cpuid_entry2 *find(struct cpuid_buf *buf, uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < buf->head.nent; i++)
		if (buf->entries[i].function == function && buf->entries[i].index == index)
			return &buf->entries[i];
	return NULL;
}

/* Make sure that sub-leaves 0 to 2 of @function exist, for leaf_topology() to fill. */
static void add_topology(struct cpuid_buf *buf, uint32_t function)
{
	for (uint32_t index = 0; index < 3; index++) {
		if (find(buf, function, index) || buf->head.nent == ENTRIES_MAX)
			continue;
		buf->entries[buf->head.nent++] = (struct kvm_cpuid_entry2){
			.function = function,
			.index = index,
			.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		};
	}
}

static void adjust(
	struct kvm_cpuid_entry2 *e, const struct vcpu *cpu, unsigned cpus, bool tsc_deadline)
{
	switch (e->function) {
	case 0x1:
		leaf_features(e, cpu, cpus, tsc_deadline);
		break;
	case 0x4:
	case 0x8000001d:
		leaf_cache(e, cpus);
		break;
	case 0x6:		   /* no thermal or power interfaces that no one emulates */
		e->eax &= 1u << 2; /* ARAT: the APIC timer always runs */
		e->ebx = e->ecx = e->edx = 0;
		break;
	case 0xa: /* no performance counters: they need a PMU of the host's own */
		e->eax = e->ebx = e->ecx = e->edx = 0;
		break;
	case 0xb:
	case 0x1f:
		leaf_topology(e, cpu, cpus);
		break;
	case KVM_CPUID_FEATURES:
		/* vCPUs do not own their physical cores: no hint of it (KVM_HINTS_REALTIME). */
		e->edx = 0;
		break;
	case 0x80000008: /* AMD: APIC id size and cores */
		e->ecx = cpus > 1 ? core_bits(cpus) << 12 | (cpus - 1) : 0;
		break;
	case 0x8000001e: /* AMD: extended APIC id, core, node */
		e->eax = cpu->index;
		e->ebx = cpu->index & 0xff;
		e->ecx = 0;
		e->edx = 0;
		break;
	}
}

int cpuid_setup(struct vcpu *cpu, unsigned cpus, struct error *err)
{
	struct cpuid_buf *buf = calloc(1, sizeof(*buf));
	bool tsc_deadline;
	long r;

	if (!buf)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory for CPUID");
	buf->head.nent = ENTRIES_MAX;
	r = kvm_ioctl(cpu->vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, &buf->head);
	if (r < 0) {
		error_set(err, ERROR_HOST, (int)-r, "KVM_GET_SUPPORTED_CPUID: %m");
		goto out;
	}
	tsc_deadline = kvm_ioctl(cpu->vm->kvm_fd, KVM_CHECK_EXTENSION,
			       (void *)KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	if (find(buf, 0, 0) && find(buf, 0, 0)->eax >= 0xb)
		add_topology(buf, 0xb);
	for (uint32_t i = 0; i < buf->head.nent; i++)
		adjust(&buf->entries[i], cpu, cpus, tsc_deadline);
	r = kvm_ioctl(cpu->fd, KVM_SET_CPUID2, &buf->head);
	if (r < 0)
		error_set(err, ERROR_HOST, (int)-r, "KVM_SET_CPUID2 for vCPU %u: %m", cpu->index);
out:
	free(buf);
	return (int)(r < 0 ? r : 0);
}
