#include "tests/unit/vmm/guest.h"

#include "util/macros.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { CODE = 0x100000, TABLES = 0x9000, GDT = 0x1000, STACK = 0x7000 - 16 };

static void stop_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned len)
{
	vm_request_stop(ctx, VM_STOP_STATUS, data[0]);
}

static void stop_read(void *ctx, uint64_t offset, uint8_t *data, unsigned len)
{
	memset(data, 0, len);
}

/* Identity map of 6 GiB by 2 MiB pages: PML4, PDPT, six page directories. */
static void write_tables(struct guest_memory *mem)
{
	uint64_t *t = memory_at(mem, TABLES, 8 * 4096);

	memset(t, 0, 8 * 4096);
	t[0] = (TABLES + 0x1000) | 3;
	for (unsigned i = 0; i < 6; i++)
		t[512 + i] = (TABLES + 0x2000 + i * 0x1000) | 3;
	for (uint64_t i = 0; i < 6 * 512; i++)
		t[1024 + i] = i * 2 * MIB | 0x83;
}

void guest_open(struct guest *g, uint64_t memory, unsigned cpus, struct guest_code code)
{
	static const struct bus_ops stop_ops = { .read = stop_read, .write = stop_write };
	static const uint64_t gdt[] = { 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff,
		0x00008b0000000067, 0 };
	struct vcpu_entry entry = { .rip = CODE,
		.rsi = GUEST_RESULTS,
		.rsp = STACK,
		.cr3 = TABLES,
		.gdt = GDT,
		.gdt_limit = sizeof(gdt) - 1 };
	struct error err = { 0 };
	int r;

	if (access("/dev/kvm", R_OK | W_OK) < 0) {
		print_message("no usable /dev/kvm here\n");
		skip();
	}
	memset(g, 0, sizeof(*g));
	sem_init(&g->ready, 0, 0);
	sem_init(&g->gate, 0, 0);
	r = vm_create(&g->vm, memory, &err);
	if (r == -ENOMEM) {
		print_message("%s\n", err.msg);
		skip();
	}
	if (r < 0 || vm_add_cpus(&g->vm, cpus, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(bus_add(&g->vm.pio, 0xf4, 1, &stop_ops, &g->vm, &err), 0);
	write_tables(&g->vm.memory);
	memory_write(&g->vm.memory, GDT, gdt, sizeof(gdt));
	memory_write(&g->vm.memory, CODE, code.begin, (size_t)(code.end - code.begin));
	g->results = memory_at(&g->vm.memory, GUEST_RESULTS, 4096);
	if (vcpu_set_entry(g->vm.cpu[0], &entry, &err) < 0)
		fail_msg("%s", err.msg);
}

void guest_start(struct guest *g)
{
	struct error err = { 0 };

	for (unsigned i = 0; i < g->vm.cpus; i++)
		if (vcpu_start(g->vm.cpu[i], &g->ready, &g->gate, &err) < 0)
			fail_msg("%s", err.msg);
	for (unsigned i = 0; i < g->vm.cpus; i++)
		sem_post(&g->gate);
}

enum vm_stop_reason guest_wait(struct guest *g)
{
	struct pollfd p = { .fd = g->vm.stop_fd, .events = POLLIN };
	int n = poll(&p, 1, 20000);

	vm_stop_cpus(&g->vm);
	if (n != 1)
		fail_msg("the guest did not end within 20 s");
	return (enum vm_stop_reason)g->vm.stop_reason;
}

void guest_stop(struct guest *g)
{
	vm_stop_cpus(&g->vm);
}

void guest_close(struct guest *g)
{
	vm_destroy(&g->vm);
	sem_destroy(&g->ready);
	sem_destroy(&g->gate);
}
