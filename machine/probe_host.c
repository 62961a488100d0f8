#include "machine/probe_internal.h"

#include "util/cleanup.h"
#include "util/macros.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* The first line of a small file, without its newline. False if it cannot be read. */
static bool first_line(const char *path, char *buf, size_t size)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");

	if (!f || !fgets(buf, (int)size, f))
		return false;
	buf[strcspn(buf, "\n")] = 0;
	return true;
}

static void advise(struct probe_item *item, const char *text)
{
	snprintf(item->advice, sizeof(item->advice), "%s", text);
}

/* ---- memory ---- */

/* The number behind @key in /proc/meminfo; -1 if there is none. */
static long long meminfo(const char *key)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/meminfo", "re");
	size_t len = strlen(key);
	char line[128];
	long long n;

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, len) && sscanf(line + len, ": %lld", &n) == 1)
			return n;
	return -1;
}

void probe_memory(struct probe_report *report)
{
	char thp[128];
	struct probe_item *item;

	probe_add(report, "memory", "available", PROBE_GOOD, "%lld MiB of %lld MiB",
		meminfo("MemAvailable") / 1024, meminfo("MemTotal") / 1024);
	if (!first_line("/sys/kernel/mm/transparent_hugepage/enabled", thp, sizeof(thp)))
		snprintf(thp, sizeof(thp), "not in this kernel");
	item = probe_add(report, "memory", "transparent huge pages",
		strstr(thp, "[always]") || strstr(thp, "[madvise]") ? PROBE_GOOD : PROBE_LACKING,
		"%s", thp);
	if (item->verdict != PROBE_GOOD)
		advise(item, "guests run slower with small pages: echo madvise > "
			     "/sys/kernel/mm/transparent_hugepage/enabled");
	probe_add(report, "memory", "hugetlb pages", PROBE_GOOD, "%lld free of %lld, %lld KiB each",
		meminfo("HugePages_Free"), meminfo("HugePages_Total"), meminfo("Hugepagesize"));
}

/* ---- networks ---- */

static void probe_tap(struct probe_report *report)
{
	static const char path[] = "/dev/net/tun";
	_cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
	struct probe_item *item;
	struct group *group = NULL;
	struct stat st;

	if (fd >= 0) {
		probe_add(
			report, "network", path, PROBE_GOOD, "can be opened: tap interfaces work");
		return;
	}
	item = probe_add(
		report, "network", path, PROBE_LACKING, "cannot be opened: %s", strerror(errno));
	if (errno == ENOENT || errno == ENXIO || errno == ENODEV) {
		advise(item, "for --net tap=: modprobe tun");
		return;
	}
	if (stat(path, &st) == 0)
		group = getgrgid(st.st_gid);
	snprintf(item->advice, sizeof(item->advice),
		"for --net tap=: it belongs to group %s, mode %o: join that group, or chmod 666 %s "
		"(a tap itself belongs to a user: ip tuntap add NAME mode tap user $USER)",
		group ? group->gr_name : "?", st.st_mode & 0777U, path);
}

static void probe_slirp(struct probe_report *report)
{
	void *lib = dlopen("libslirp.so.0", RTLD_LAZY | RTLD_LOCAL);
	struct probe_item *item;
	const char *(*version)(void);

	if (!lib) {
		item = probe_add(report, "network", "libslirp", PROBE_LACKING, "not there");
		advise(item, "for --net user: apt-get install libslirp0");
		return;
	}
	version = (const char *(*)(void))dlsym(lib, "slirp_version_string");
	probe_add(report, "network", "libslirp", PROBE_GOOD, "%s",
		version ? version() : "of unknown version");
	dlclose(lib);
}

void probe_networks(struct probe_report *report)
{
	probe_tap(report);
	probe_slirp(report);
}

/* ---- io_uring ---- */

static const struct {
	uint8_t opcode;
	bool required;
	const char *name, *why;
} operations[] = {
	{ IORING_OP_POLL_ADD, true, "IORING_OP_POLL_ADD", "kicks" },
	{ IORING_OP_ASYNC_CANCEL, true, "IORING_OP_ASYNC_CANCEL", "stopping" },
	{ IORING_OP_READ, true, "IORING_OP_READ", "console, network" },
	{ IORING_OP_WRITE, true, "IORING_OP_WRITE", "interrupts, console, network" },
	{ IORING_OP_READV, true, "IORING_OP_READV", "disks, network, entropy" },
	{ IORING_OP_WRITEV, true, "IORING_OP_WRITEV", "disks, network" },
	{ IORING_OP_FSYNC, true, "IORING_OP_FSYNC", "disks" },
	{ IORING_OP_FALLOCATE, true, "IORING_OP_FALLOCATE", "discard" },
	{ IORING_OP_TIMEOUT, true, "IORING_OP_TIMEOUT", "console" },
};

static void probe_disabled(struct probe_report *report)
{
	static const char path[] = "/proc/sys/kernel/io_uring_disabled";
	struct probe_item *item;
	char value[16];

	if (!first_line(path, value, sizeof(value))) {
		probe_add(report, "io_uring", "kernel.io_uring_disabled", PROBE_GOOD,
			"not in this kernel");
		return;
	}
	item = probe_add(report, "io_uring", "kernel.io_uring_disabled",
		value[0] == '0' ? PROBE_GOOD : PROBE_LACKING, "%s", value);
	if (value[0] == '1')
		advise(item,
			"only members of the group in kernel.io_uring_group and root may use it");
	else if (value[0] == '2')
		advise(item, "nobody may use it: sysctl kernel.io_uring_disabled=0");
}

static void probe_ring_flags(struct probe_report *report)
{
	static const struct {
		unsigned flags;
		const char *name, *since;
	} setups[] = {
		{ IORING_SETUP_COOP_TASKRUN, "IORING_SETUP_COOP_TASKRUN", "5.19" },
		{ IORING_SETUP_SINGLE_ISSUER, "IORING_SETUP_SINGLE_ISSUER", "6.0" },
		{ IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
			"IORING_SETUP_DEFER_TASKRUN", "6.1" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(setups); i++) {
		struct io_uring ring;
		struct probe_item *item;

		if (io_uring_queue_init(4, &ring, setups[i].flags) == 0) {
			io_uring_queue_exit(&ring);
			probe_add(report, "io_uring", setups[i].name, PROBE_GOOD, "there");
			continue;
		}
		item = probe_add(report, "io_uring", setups[i].name, PROBE_LACKING, "not there");
		snprintf(item->advice, sizeof(item->advice),
			"I/O costs more interrupts without it: Linux %s and later have it",
			setups[i].since);
	}
}

static void probe_operations(struct probe_report *report, struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);

	for (unsigned i = 0; i < ARRAY_SIZE(operations); i++) {
		bool there = probe && io_uring_opcode_supported(probe, operations[i].opcode);
		struct probe_item *item = probe_add(report, "io_uring", operations[i].name,
			there			 ? PROBE_GOOD
			: operations[i].required ? PROBE_MISSING
						 : PROBE_LACKING,
			"%s (%s)", there ? "there" : "not there", operations[i].why);

		if (!there)
			advise(item, "use a newer kernel: Linux 5.15 or later");
	}
	if (probe)
		io_uring_free_probe(probe);
}

/* Can a ring be confined to some operations and files? */
static void probe_restrictions(struct probe_report *report)
{
	struct io_uring_params p = { .flags = IORING_SETUP_R_DISABLED };
	struct io_uring_restriction only = { .opcode = IORING_RESTRICTION_SQE_OP,
		.sqe_op = IORING_OP_NOP };
	struct probe_item *item;
	struct io_uring ring;
	int r = io_uring_queue_init_params(4, &ring, &p);

	if (r == 0) {
		r = io_uring_register_restrictions(&ring, &only, 1);
		io_uring_queue_exit(&ring);
	}
	item = probe_add(report, "io_uring", "restrictions", r == 0 ? PROBE_GOOD : PROBE_MISSING,
		"%s", r == 0 ? "there (sandbox)" : strerror(-r));
	if (r < 0)
		advise(item, "use a newer kernel (Linux 5.10 or later), or --no-sandbox");
}

void probe_io_uring(struct probe_report *report)
{
	struct probe_item *item;
	struct io_uring ring;
	int r;

	probe_disabled(report);
	r = io_uring_queue_init(4, &ring, 0);
	if (r < 0) {
		item = probe_add(report, "io_uring", "io_uring_setup", PROBE_MISSING, "fails: %s",
			strerror(-r));
		advise(item, r == -ENOMEM ? "raise the limit of locked memory (ulimit -l)"
			     : r == -EPERM
				     ? "sysctl kernel.io_uring_disabled=0, or allow it in the "
				       "container's seccomp profile"
				     : "use a newer kernel with CONFIG_IO_URING");
		return;
	}
	probe_add(report, "io_uring", "io_uring_setup", PROBE_GOOD, "works");
	probe_ring_flags(report);
	probe_restrictions(report);
	probe_operations(report, &ring);
	io_uring_queue_exit(&ring);
}
