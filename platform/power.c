#include "platform/power.h"

#include "util/macros.h"
#include "vmm/layout.h"

#include <string.h>

#define WARM_BOOT_FLAG_ADDR 0x472
#define WARM_BOOT_FLAG	    0x1234

/* ACPI 6.4, 4.8.3.7: sleep control register. */
#define SLEEP_ENABLE	 (1u << 5)
#define SLEEP_TYPE(byte) ((byte) >> 2 & 7)

#define I8042_COMMAND	  (LAYOUT_PORT_I8042 + 4)
#define I8042_PULSE_RESET 0xfe
#define I8042_OUTPUT_FULL 0x01

void power_reset(struct vm *vm)
{
	const uint16_t *flag = memory_at(&vm->memory, WARM_BOOT_FLAG_ADDR, sizeof(*flag));

	if (flag && *flag == WARM_BOOT_FLAG)
		vm_request_stop(vm, VM_STOP_PANIC, 0);
	else
		vm_request_stop(vm, VM_STOP_RESET, 0);
}

static void read_zero(void *ctx, uint64_t offset, uint8_t *data, unsigned len)
{
	memset(data, 0, len);
}

/*
 * The keyboard controller's status: always "output buffer full", never "input buffer full". The
 * first makes a driver that drains the buffer give up after 16 bytes: no keyboard here. The second
 * spares a kernel that resets by this port a wait of 0.1 s.
 */
static void i8042_status(void *ctx, uint64_t offset, uint8_t *data, unsigned len)
{
	memset(data, 0, len);
	data[0] = I8042_OUTPUT_FULL;
}

static void write_nothing(void *ctx, uint64_t offset, const uint8_t *data, unsigned len)
{
}

static void exit_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned len)
{
	vm_request_stop(ctx, VM_STOP_STATUS, data[0]);
}

static void acpi_write(void *ctx, uint64_t offset, const uint8_t *data, unsigned len)
{
	struct vm *vm = ctx;

	if (len != 1)
		return;
	if (offset == 0 && data[0] & SLEEP_ENABLE && SLEEP_TYPE(data[0]) == LAYOUT_ACPI_S5_TYPE)
		vm_request_stop(vm, VM_STOP_POWEROFF, 0);
	else if (offset == LAYOUT_PORT_ACPI_RESET - LAYOUT_PORT_ACPI_SLEEP &&
		 data[0] == LAYOUT_ACPI_RESET_BYTE)
		power_reset(vm);
}

static void i8042_command(void *ctx, uint64_t offset, const uint8_t *data, unsigned len)
{
	if (len == 1 && data[0] == I8042_PULSE_RESET)
		power_reset(ctx);
}

int power_add_ports(struct vm *vm, struct error *err)
{
	static const struct bus_ops exit_ops = { .read = read_zero, .write = exit_write };
	static const struct bus_ops acpi_ops = { .read = read_zero, .write = acpi_write };
	static const struct bus_ops i8042_ops = { .read = i8042_status, .write = i8042_command };
	static const struct bus_ops empty_ops = { .read = read_zero, .write = write_nothing };
	const struct {
		uint64_t port, size;
		const struct bus_ops *ops;
	} ports[] = {
		{ LAYOUT_PORT_EXIT, 1, &exit_ops },
		{ LAYOUT_PORT_ACPI_SLEEP, 3, &acpi_ops },
		{ LAYOUT_PORT_I8042, 1, &empty_ops },
		{ I8042_COMMAND, 1, &i8042_ops },
		{ LAYOUT_PORT_RTC, 2, &empty_ops },
	};
	int r = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(ports) && r == 0; i++)
		r = bus_add(&vm->pio, ports[i].port, ports[i].size, ports[i].ops, vm, err);
	return r;
}
