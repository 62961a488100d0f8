#include "vmm/kvm.h"

#include "util/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXT(cap, needed, text)                                           \
	{                                                                \
		.id = cap, .name = #cap, .required = needed, .why = text \
	}

const struct kvm_extension kvm_extensions[] = {
	EXT(KVM_CAP_USER_MEMORY, true, "guest memory"),
	EXT(KVM_CAP_SET_TSS_ADDR, true, "real mode on Intel"),
	EXT(KVM_CAP_SET_IDENTITY_MAP_ADDR, true, "real mode on Intel"),
	EXT(KVM_CAP_IRQCHIP, true, "interrupt controllers in the kernel"),
	EXT(KVM_CAP_IOEVENTFD, true, "guest kicks without an exit to user space"),
	EXT(KVM_CAP_IRQFD, true, "interrupts without a system call"),
	EXT(KVM_CAP_EXT_CPUID, true, "CPUID built from what KVM supports"),
	EXT(KVM_CAP_MP_STATE, true, "starting further processors"),
	EXT(KVM_CAP_IMMEDIATE_EXIT, true, "stopping a vCPU without losing a signal"),
	EXT(KVM_CAP_PIT2, false, "a timer for kernels without ACPI or kvm-clock"),
	EXT(KVM_CAP_TSC_DEADLINE_TIMER, false, "cheap timers in the guest"),
};
const unsigned kvm_extensions_count = ARRAY_SIZE(kvm_extensions);

long kvm_ioctl(int fd, unsigned long request, void *arg)
{
	long r;

	do
		r = ioctl(fd, request, arg);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

/* What a group looks like from a user namespace that has not got it. */
enum { NOBODY = 65534 };

static int no_permission(struct error *err)
{
	struct stat st;
	struct group *gr = NULL;

	if (stat("/dev/kvm", &st) == 0 && st.st_gid != NOBODY)
		gr = getgrgid(st.st_gid);
	return error_set(err, ERROR_HOST, EACCES,
		"/dev/kvm: permission denied: it belongs to group %s; add yourself with "
		"`usermod -aG %s $USER` and log in again, or run as root",
		gr ? gr->gr_name : "kvm", gr ? gr->gr_name : "kvm");
}

int kvm_open(struct error *err)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	if (errno == EACCES || errno == EPERM)
		return no_permission(err);
	if (errno == ENOENT)
		return error_set(err, ERROR_HOST, errno,
			"/dev/kvm does not exist: load the module (modprobe kvm_intel or kvm_amd), "
			"switch virtualization on in the firmware, or allow nesting on the "
			"hypervisor below");
	return error_set(err, ERROR_HOST, errno,
		"/dev/kvm: %m: the processor offers no virtualization, or another hypervisor "
		"holds it; see `microvm doctor`");
}

int kvm_check(int kvm_fd, struct error *err)
{
	long version = kvm_ioctl(kvm_fd, KVM_GET_API_VERSION, NULL);

	if (version != KVM_API_VERSION)
		return error_set(err, ERROR_HOST, ENOTSUP,
			"/dev/kvm: API version %ld, need %d: this is no Linux KVM", version,
			KVM_API_VERSION);
	for (unsigned i = 0; i < kvm_extensions_count; i++) {
		const struct kvm_extension *e = &kvm_extensions[i];

		if (e->required && kvm_ioctl(kvm_fd, KVM_CHECK_EXTENSION, (void *)(long)e->id) <= 0)
			return error_set(err, ERROR_HOST, ENOTSUP,
				"/dev/kvm: this kernel has no %s (%s): use a newer one", e->name,
				e->why);
	}
	return 0;
}

unsigned kvm_cpus_recommended(int kvm_fd)
{
	long n = kvm_ioctl(kvm_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_NR_VCPUS);

	return n > 0 ? (unsigned)n : 4; /* as the API documentation says for older kernels */
}

unsigned kvm_cpus_max(int kvm_fd)
{
	long n = kvm_ioctl(kvm_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_MAX_VCPUS);

	return n > 0 ? (unsigned)n : kvm_cpus_recommended(kvm_fd);
}
