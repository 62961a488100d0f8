/* How a guest ends itself: each port, and a panic told from a reboot. No KVM needed. */
#include "platform/power.h"
#include "util/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

static void vm_open(struct vm *vm)
{
	memset(vm, 0, sizeof(*vm));
	vm->pio.name = "pio";
	vm->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_int_equal(memory_create(&vm->memory, 4 * MIB, NULL), 0);
	assert_int_equal(power_add_ports(vm, NULL), 0);
}

static void vm_end(struct vm *vm)
{
	memory_destroy(&vm->memory);
	close(vm->stop_fd);
}

static void out(struct vm *vm, uint16_t port, uint32_t value, unsigned len)
{
	bus_write(&vm->pio, port, (const uint8_t *)&value, len);
}

static int reason_of(uint16_t port, uint32_t value, unsigned len, uint16_t flag, int *status)
{
	struct vm vm;
	int reason;

	vm_open(&vm);
	memory_write(&vm.memory, 0x472, &flag, sizeof(flag));
	out(&vm, port, value, len);
	reason = vm.stop_reason;
	if (status)
		*status = vm.stop_value;
	vm_end(&vm);
	return reason;
}

static void test_ends(void **state)
{
	int status = -1;

	assert_int_equal(reason_of(0xf4, 42, 1, 0, &status), VM_STOP_STATUS);
	assert_int_equal(status, 42);
	assert_int_equal(reason_of(0xf4, 255, 1, 0, &status), VM_STOP_STATUS);
	assert_int_equal(status, 255);
	assert_int_equal(reason_of(0x600, 5 << 2 | 0x20, 1, 0, NULL), VM_STOP_POWEROFF);
	assert_int_equal(reason_of(0x602, 1, 1, 0, NULL), VM_STOP_RESET);
	assert_int_equal(reason_of(0x64, 0xfe, 1, 0, NULL), VM_STOP_RESET);
	assert_int_equal(reason_of(0x64, 0xfe, 1, 0x1234, NULL), VM_STOP_PANIC);
	assert_int_equal(reason_of(0x602, 1, 1, 0x1234, NULL), VM_STOP_PANIC);
}

/* Other sleep states, no enable bit, other commands, wide writes: nothing happens. */
static void test_no_ends(void **state)
{
	assert_int_equal(reason_of(0x600, 5 << 2, 1, 0, NULL), VM_STOP_NONE);
	assert_int_equal(reason_of(0x600, 3 << 2 | 0x20, 1, 0, NULL), VM_STOP_NONE);
	assert_int_equal(reason_of(0x601, 5 << 2 | 0x20, 1, 0, NULL), VM_STOP_NONE);
	assert_int_equal(reason_of(0x602, 2, 1, 0, NULL), VM_STOP_NONE);
	assert_int_equal(reason_of(0x64, 0xd1, 1, 0, NULL), VM_STOP_NONE);
	assert_int_equal(reason_of(0x60, 0xfe, 1, 0, NULL), VM_STOP_NONE);
	assert_int_equal(reason_of(0xf4, 1, 2, 0, NULL), VM_STOP_NONE);
}

static void test_first_wins(void **state)
{
	struct vm vm;

	vm_open(&vm);
	out(&vm, 0xf4, 7, 1);
	out(&vm, 0x64, 0xfe, 1);
	assert_int_equal(vm.stop_reason, VM_STOP_STATUS);
	assert_int_equal(vm.stop_value, 7);
	vm_end(&vm);
}

/* Linux polls these until they read as idle. */
static void test_reads(void **state)
{
	static const uint16_t ports[] = { 0x60, 0x70, 0x71, 0xf4, 0x600, 0x601 };
	struct vm vm;
	uint8_t status = 0xff;

	vm_open(&vm);
	for (unsigned i = 0; i < ARRAY_SIZE(ports); i++) {
		uint8_t v = 0xff;

		bus_read(&vm.pio, ports[i], &v, 1);
		assert_int_equal(v, 0);
	}
	bus_read(&vm.pio, 0x64, &status, 1);
	assert_int_equal(status, 1); /* something to read for ever, always room to write */
	vm_end(&vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_no_ends),
		cmocka_unit_test(test_first_wins),
		cmocka_unit_test(test_reads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
