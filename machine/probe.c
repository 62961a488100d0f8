#include "machine/probe_internal.h"

#include "machine/config.h"
#include "util/cleanup.h"
#include "util/macros.h"
#include "vmm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>

struct probe_item *probe_add(struct probe_report *report, const char *group, const char *name,
	enum probe_verdict verdict, const char *found, ...)
{
	/* A full report overwrites its last item: there is a place for every one we know of. */
	unsigned n = MIN(report->count, (unsigned)PROBE_ITEMS_MAX - 1);
	struct probe_item *item = &report->item[n];
	va_list ap;

	*item = (struct probe_item){ .group = group, .verdict = verdict };
	snprintf(item->name, sizeof(item->name), "%s", name);
	va_start(ap, found);
	vsnprintf(item->found, sizeof(item->found), found, ap);
	va_end(ap);
	report->count = n + 1;
	return item;
}

/* "vmx" (Intel), "svm" (AMD) or NULL: what the processor says of itself. */
static const char *virtualization_flag(void)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/cpuinfo", "re");
	_cleanup_free_ char *line = NULL;
	const char *flag = NULL;
	size_t size = 0;

	while (f && !flag && getline(&line, &size, f) > 0) {
		if (strncmp(line, "flags", 5))
			continue;
		line[strcspn(line, "\n")] = ' ';
		flag = strstr(line, " vmx ") ? "vmx" : strstr(line, " svm ") ? "svm" : NULL;
		break;
	}
	return flag;
}

static void probe_processor(struct probe_report *report, bool have_kvm)
{
	const char *flag = virtualization_flag();
	struct probe_item *item;

	if (flag) {
		probe_add(report, "KVM", "processor", PROBE_GOOD, "has %s", flag);
		return;
	}
	item = probe_add(report, "KVM", "processor", PROBE_LACKING, "shows neither vmx nor svm");
	snprintf(item->advice, sizeof(item->advice), "%s",
		have_kvm
			? "there is a /dev/kvm all the same: if it is done in software, small guests "
			  "run and Linux may not"
			: "switch virtualization on in the firmware, or allow nesting on the "
			  "hypervisor below");
}

static void probe_extensions(struct probe_report *report, int kvm)
{
	for (unsigned i = 0; i < kvm_extensions_count; i++) {
		const struct kvm_extension *e = &kvm_extensions[i];
		long n = kvm_ioctl(kvm, KVM_CHECK_EXTENSION, (void *)(long)e->id);
		struct probe_item *item;

		if (n > 0) {
			probe_add(report, "KVM", e->name, PROBE_GOOD, "there (%s)", e->why);
			continue;
		}
		item = probe_add(report, "KVM", e->name,
			e->required ? PROBE_MISSING : PROBE_LACKING, "not there (%s)", e->why);
		snprintf(item->advice, sizeof(item->advice), "use a newer kernel");
	}
}

static void probe_limits(struct probe_report *report, int kvm)
{
	long slots = kvm_ioctl(kvm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_NR_MEMSLOTS);

	probe_add(report, "KVM", "processors of a machine", PROBE_GOOD,
		"%u recommended, %u at most; microvm takes up to %d", kvm_cpus_recommended(kvm),
		kvm_cpus_max(kvm), VM_CPUS_MAX);
	probe_add(report, "KVM", "memory slots", PROBE_GOOD, "%ld; microvm uses 2",
		slots > 0 ? slots : 32);
}

/* The proof of the pudding: a machine without memory and processors. */
static void probe_create(struct probe_report *report, int kvm)
{
	long fd = kvm_ioctl(kvm, KVM_CREATE_VM, NULL);
	struct probe_item *item;

	if (fd >= 0) {
		close((int)fd);
		probe_add(report, "KVM", "KVM_CREATE_VM", PROBE_GOOD, "works");
		return;
	}
	item = probe_add(
		report, "KVM", "KVM_CREATE_VM", PROBE_MISSING, "fails: %s", strerror((int)-fd));
	snprintf(item->advice, sizeof(item->advice), "%s",
		fd == -EBUSY ? "another hypervisor holds the processor: stop it"
			     : "see the kernel's log (dmesg)");
}

void probe_kvm(struct probe_report *report)
{
	struct error err = { 0 };
	_cleanup_close_ int kvm = kvm_open(&err);
	struct probe_item *item;
	long version;

	probe_processor(report, kvm >= 0);
	if (kvm < 0) {
		item = probe_add(report, "KVM", "/dev/kvm", PROBE_MISSING, "cannot be opened: %s",
			strerror(-kvm));
		snprintf(item->advice, sizeof(item->advice), "%.*s", (int)sizeof(item->advice) - 1,
			err.msg);
		return;
	}
	probe_add(report, "KVM", "/dev/kvm", PROBE_GOOD, "can be opened");
	version = kvm_ioctl(kvm, KVM_GET_API_VERSION, NULL);
	item = probe_add(report, "KVM", "API version",
		version == KVM_API_VERSION ? PROBE_GOOD : PROBE_MISSING, "%ld", version);
	if (version != KVM_API_VERSION) {
		snprintf(item->advice, sizeof(item->advice), "it must be %d: this is no Linux KVM",
			KVM_API_VERSION);
		return;
	}
	probe_create(report, kvm);
	probe_extensions(report, kvm);
	probe_limits(report, kvm);
}

bool machine_probe(struct probe_report *report)
{
	struct utsname u;

	report->count = 0;
	if (uname(&u) == 0)
		probe_add(report, "host", "kernel", PROBE_GOOD, "%s %s, %s", u.sysname, u.release,
			u.machine);
	probe_kvm(report);
	probe_memory(report);
	probe_io_uring(report);
	probe_networks(report);
	for (unsigned i = 0; i < report->count; i++)
		if (report->item[i].verdict == PROBE_MISSING)
			return false;
	return true;
}
