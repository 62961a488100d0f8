/*
 * The 16550's registers under any sequence of accesses and input. Each step takes two bytes: what,
 * and a value. The port must stay within its FIFO, lose no input, and raise its line when it says so.
 */
#include "platform/serial.h"

#include <linux/serial_reg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct console {
	struct console_sink sink;
	bool wanted;
	size_t written;
};

void console_set_sink(struct console *c, const struct console_sink *sink)
{
	c->sink = *sink;
}

void console_write(struct console *c, const void *data, size_t len)
{
	c->written += len;
}

void console_input_wanted(struct console *c)
{
	c->wanted = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void step(struct console *c, struct serial *s, uint8_t what, uint8_t value)
{
	uint8_t buf[8];
	unsigned offset = what & 7, len = 1U << (what >> 3 & 3);

	memset(buf, value, sizeof(buf));
	if (what & 0x80) {
		size_t taken = c->sink.input(c->sink.ctx, buf, value % 8);

		if (taken > value % 8)
			abort();
	} else if (offset + len > SERIAL_PORTS) {
		return;
	} else if (what & 0x40) {
		serial_bus_ops.write(s, offset, buf, len);
	} else {
		serial_bus_ops.read(s, offset, buf, len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct console c = { 0 };
	struct serial *s;
	struct error err;
	uint8_t iir, zero = 0, listening = UART_IER_RDI;
	uint64_t edges;

	if (serial_create(&s, &c, &err) < 0)
		abort();
	for (size_t i = 0; i + 1 < size; i += 2)
		step(&c, s, data[i], data[i + 1]);

	/* From any state: a driver that starts anew gets its interrupt and its byte. */
	serial_bus_ops.write(s, UART_LCR, &zero, 1);
	serial_bus_ops.write(s, UART_MCR, &zero, 1);
	serial_bus_ops.write(s, UART_IER, &zero, 1);
	serial_bus_ops.write(s, UART_FCR, (uint8_t[]){ UART_FCR_CLEAR_RCVR }, 1);
	serial_bus_ops.read(s, UART_LSR, &iir, 1);
	if (read(serial_irq_fd(s), &edges, sizeof(edges)) < 0)
		edges = 0;
	serial_bus_ops.write(s, UART_IER, &listening, 1);
	if (c.sink.input(c.sink.ctx, (const uint8_t *)"!", 1) != 1 ||
		read(serial_irq_fd(s), &edges, sizeof(edges)) != sizeof(edges))
		abort();
	serial_bus_ops.read(s, UART_IIR, &iir, 1);
	if ((iir & 0x0f) != UART_IIR_RDI)
		abort();
	serial_bus_ops.read(s, UART_RX, &iir, 1);
	if (iir != '!')
		abort();
	serial_destroy(s);
	return 0;
}
