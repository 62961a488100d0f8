/* What the KVM core does for a guest, each behaviour shown by a guest of a few instructions. */
#include "tests/unit/vmm/guest.h"
#include "util/macros.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

/* A register window that remembers what was written. */
struct window {
	uint8_t bytes[256];
	unsigned writes;
};

static void window_read(void *ctx, uint64_t offset, uint8_t *data, unsigned len)
{
	struct window *w = ctx;

	memcpy(data, w->bytes + offset, len);
}

static void window_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned len)
{
	struct window *w = ctx;

	memcpy(w->bytes + offset, data, len);
	w->writes++;
}

static const struct bus_ops window_ops = { .read = window_read, .write = window_write };

static void test_status(void **state)
{
	struct guest g;

	guest_open(&g, 16 * MIB, 1, GUEST_CODE(status));
	guest_start(&g);
	assert_int_equal(guest_wait(&g), VM_STOP_STATUS);
	assert_int_equal(g.vm.stop_value, 42);
	guest_close(&g);
}

static void test_mmio(void **state)
{
	struct window w = { 0 };
	struct guest g;

	guest_open(&g, 16 * MIB, 1, GUEST_CODE(mmio));
	bus_add(&g.vm.mmio, 0xd0000000, sizeof(w.bytes), &window_ops, &w, NULL);
	guest_start(&g);
	assert_int_equal(guest_wait(&g), VM_STOP_STATUS);
	assert_int_equal(*(volatile uint64_t *)g.results, 0x1122334455667788);
	assert_int_equal(*(volatile uint32_t *)(g.results + 8), 0xa1b2c3d4);
	assert_int_equal(*(volatile uint16_t *)(g.results + 12), 0x1234);
	assert_int_equal(g.results[14], 0x77);
	assert_int_equal(*(volatile uint32_t *)(g.results + 16), 0xffffffff);
	assert_int_equal(w.writes, 4);
	guest_close(&g);
}

struct port {
	char seen[16];
	unsigned n;
};

static void port_read(void *ctx, uint64_t offset, uint8_t *data, unsigned len)
{
	static const char text[] = "abc";
	struct port *p = ctx;

	data[0] = (uint8_t)text[p->n++ % 3];
}

static void port_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned len)
{
	struct port *p = ctx;
	size_t at = strlen(p->seen);

	if (at + 1 < sizeof(p->seen))
		p->seen[at] = (char)data[0];
}

static void test_string_io(void **state)
{
	static const struct bus_ops ops = { .read = port_read, .write = port_write };
	struct port p = { 0 };
	struct guest g;

	guest_open(&g, 16 * MIB, 1, GUEST_CODE(string_io));
	bus_add(&g.vm.pio, 0x510, 1, &ops, &p, NULL);
	guest_start(&g);
	assert_int_equal(guest_wait(&g), VM_STOP_STATUS);
	assert_string_equal(p.seen, "hello");
	assert_memory_equal((const void *)g.results, "abc", 3);
	assert_int_equal(*(volatile uint16_t *)(g.results + 4), 0xffff);
	guest_close(&g);
}

static void wait_ready(struct guest *g)
{
	for (int i = 0; i < 20000 && !g->results[0]; i++)
		usleep(1000);
	assert_int_equal(g->results[0], 1);
}

/* A guest that never exits, and one that sleeps for ever, are both got out of KVM_RUN. */
static void test_stop_running(void **state)
{
	struct guest g;

	guest_open(&g, 16 * MIB, 1, GUEST_CODE(spin));
	guest_start(&g);
	wait_ready(&g);
	guest_stop(&g);
	assert_int_equal(g.vm.stop_reason, VM_STOP_NONE);
	guest_close(&g);
}

static void test_stop_halted(void **state)
{
	struct guest g;

	guest_open(&g, 16 * MIB, 1, GUEST_CODE(sleep));
	guest_start(&g);
	wait_ready(&g);
	guest_stop(&g);
	guest_close(&g);
}

static void test_triple_fault(void **state)
{
	struct guest g;

	guest_open(&g, 16 * MIB, 1, GUEST_CODE(triple_fault));
	guest_start(&g);
	assert_int_equal(guest_wait(&g), VM_STOP_FAULT);
	guest_close(&g);
}

static void test_cpuid(void **state)
{
	struct guest g;
	volatile uint32_t *r;

	guest_open(&g, 16 * MIB, 3, GUEST_CODE(cpuid));
	guest_start(&g);
	assert_int_equal(guest_wait(&g), VM_STOP_STATUS);
	r = (volatile uint32_t *)g.results;
	assert_int_equal(r[0] >> 24, 0);	/* APIC id of the first vCPU */
	assert_int_equal(r[0] >> 16 & 0xff, 4); /* ids for 3 cores take 2 bits */
	assert_true(r[1] & 1u << 31);		/* hypervisor */
	assert_true(r[1] & 1u << 21);		/* x2APIC */
	assert_true(r[2] & 1u << 28);		/* more than one core */
	assert_memory_equal((const void *)&r[3], "KVMKVMKVM\0\0\0", 12);
	assert_int_equal(r[6] & 0xffff, 3); /* cores of the package */
	assert_int_equal(r[7], 0);	    /* x2APIC id */
	guest_close(&g);
}

/* KVM matches the written value and signals the right eventfd; nothing reaches the bus. */
static void test_ioeventfd(void **state)
{
	struct window w = { 0 };
	struct error err = { 0 };
	struct guest g;
	uint64_t count;
	int fd[2];

	guest_open(&g, 16 * MIB, 1, GUEST_CODE(doorbell));
	bus_add(&g.vm.mmio, 0xd0000000, sizeof(w.bytes), &window_ops, &w, NULL);
	for (unsigned i = 0; i < 2; i++) {
		fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (vm_ioeventfd(&g.vm, 0xd0000050, 4, i, fd[i], &err) < 0)
			fail_msg("%s", err.msg);
	}
	guest_start(&g);
	assert_int_equal(guest_wait(&g), VM_STOP_STATUS);
	assert_int_equal(read(fd[0], &count, 8), 8);
	assert_int_equal(count, 1);
	assert_int_equal(read(fd[1], &count, 8), 8);
	assert_int_equal(count, 2);
	assert_int_equal(w.writes, 0);
	guest_close(&g);
	close(fd[0]);
	close(fd[1]);
}

static void test_irqfd(void **state)
{
	static const uint64_t one = 1;
	struct error err = { 0 };
	struct guest g;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	guest_open(&g, 16 * MIB, 1, GUEST_CODE(irq));
	if (vm_irqfd(&g.vm, 5, fd, &err) < 0)
		fail_msg("%s", err.msg);
	guest_start(&g);
	wait_ready(&g);
	usleep(10000);
	assert_int_equal(write(fd, &one, 8), 8);
	assert_int_equal(guest_wait(&g), VM_STOP_STATUS);
	assert_int_equal(g.vm.stop_value, 7);
	guest_close(&g);
	close(fd);
}

static void test_high_memory(void **state)
{
	struct guest g;

	guest_open(&g, 4 * GIB, 1, GUEST_CODE(high_memory));
	guest_start(&g);
	assert_int_equal(guest_wait(&g), VM_STOP_STATUS);
	assert_int_equal(*(volatile uint64_t *)g.results, 0x0102030405060708);
	assert_int_equal(*(volatile uint64_t *)(g.results + 8), 0x0102030405060708);
	assert_non_null(memory_at(&g.vm.memory, 0x100000000, 8));
	assert_memory_equal(memory_at(&g.vm.memory, 0x100000000, 8), (const void *)g.results, 8);
	guest_close(&g);
}

static void smp(unsigned cpus)
{
	struct guest g;

	guest_open(&g, 16 * MIB, cpus, GUEST_CODE(smp));
	*(volatile uint32_t *)g.results = cpus - 1;
	guest_start(&g);
	assert_int_equal(guest_wait(&g), VM_STOP_STATUS);
	assert_int_equal(*(volatile uint32_t *)(g.results + 8), cpus - 1);
	guest_close(&g);
}

static void test_smp_4(void **state)
{
	smp(4);
}

static void test_smp_32(void **state)
{
	smp(32);
}

/* The failures no guest here can provoke: the exit is written into the shared page by hand. */
static void test_failure_exits(void **state)
{
	struct guest g;

	guest_open(&g, 16 * MIB, 1, GUEST_CODE(status));
	g.vm.cpu[0]->run->exit_reason = KVM_EXIT_FAIL_ENTRY;
	g.vm.cpu[0]->run->fail_entry.hardware_entry_failure_reason = 0x80000021;
	assert_false(vcpu_handle_exit(g.vm.cpu[0]));
	assert_int_equal(g.vm.stop_reason, VM_STOP_FAILED);
	assert_non_null(strstr(g.vm.failure.msg, "KVM_EXIT_FAIL_ENTRY"));
	assert_non_null(strstr(g.vm.failure.msg, "0x80000021"));
	guest_close(&g);

	guest_open(&g, 16 * MIB, 1, GUEST_CODE(status));
	g.vm.cpu[0]->run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	g.vm.cpu[0]->run->internal.suberror = 1;
	g.vm.cpu[0]->run->internal.ndata = 0xffffffff; /* more than there is room for */
	assert_false(vcpu_handle_exit(g.vm.cpu[0]));
	assert_non_null(strstr(g.vm.failure.msg, "emulation failed"));
	guest_close(&g);

	guest_open(&g, 16 * MIB, 1, GUEST_CODE(status));
	g.vm.cpu[0]->run->exit_reason = KVM_EXIT_SYSTEM_EVENT;
	g.vm.cpu[0]->run->system_event.type = KVM_SYSTEM_EVENT_RESET;
	assert_false(vcpu_handle_exit(g.vm.cpu[0]));
	assert_int_equal(g.vm.stop_reason, VM_STOP_RESET);
	guest_close(&g);
}

static unsigned entries(const char *path)
{
	DIR *d = opendir(path);
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* A hundred machines made, run and destroyed leave no descriptor, thread or mapping. */
static void test_no_leaks(void **state)
{
	unsigned fds = 0, maps = 0, tasks = 0;

	for (unsigned i = 0; i < 101; i++) {
		struct guest g;
		unsigned lines = 0;
		int c;
		FILE *f;

		guest_open(&g, 16 * MIB, 2, GUEST_CODE(status));
		guest_start(&g);
		assert_int_equal(guest_wait(&g), VM_STOP_STATUS);
		guest_close(&g);
		if (i != 0 && i != 100)
			continue;
		f = fopen("/proc/self/maps", "r");
		while ((c = getc(f)) != EOF)
			lines += c == '\n';
		fclose(f);
		if (i == 0) {
			fds = entries("/proc/self/fd");
			tasks = entries("/proc/self/task");
			maps = lines;
			continue;
		}
		assert_int_equal(entries("/proc/self/fd"), fds);
		assert_int_equal(entries("/proc/self/task"), tasks);
		if (!SANITIZED) /* whose run-time maps shadow memory as it goes */
			assert_true(lines <= maps + 2); /* the allocator may keep an arena */
	}
}

static void test_cpu_limits(void **state)
{
	struct error err = { 0 };
	struct vm vm;

	if (access("/dev/kvm", R_OK | W_OK) < 0)
		skip();
	assert_int_equal(vm_create(&vm, 16 * MIB, &err), 0);
	assert_true(vm_add_cpus(&vm, 0, &err) < 0);
	assert_int_equal(err.kind, ERROR_USAGE);
	assert_true(vm_add_cpus(&vm, VM_VCPUS_MAX + 1, &err) < 0);
	assert_non_null(strstr(err.msg, "--cpus"));
	vm_destroy(&vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_mmio),
		cmocka_unit_test(test_string_io),
		cmocka_unit_test(test_stop_running),
		cmocka_unit_test(test_stop_halted),
		cmocka_unit_test(test_triple_fault),
		cmocka_unit_test(test_cpuid),
		cmocka_unit_test(test_ioeventfd),
		cmocka_unit_test(test_irqfd),
		cmocka_unit_test(test_high_memory),
		cmocka_unit_test(test_smp_4),
		cmocka_unit_test(test_smp_32),
		cmocka_unit_test(test_failure_exits),
		cmocka_unit_test(test_cpu_limits),
		cmocka_unit_test(test_no_leaks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
