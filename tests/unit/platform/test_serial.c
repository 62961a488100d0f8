/* The 16550's registers, seen as a driver sees them. The console is a fake that keeps everything. */
#include "platform/serial.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <linux/serial_reg.h>
#include <unistd.h>

struct console {
	struct console_sink sink;
	char out[256];
	size_t len;
	unsigned wanted;
};

void console_set_sink(struct console *c, const struct console_sink *sink)
{
	c->sink = *sink;
}

void console_write(struct console *c, const void *data, size_t len)
{
	assert_true(c->len + len < sizeof(c->out));
	memcpy(c->out + c->len, data, len);
	c->len += len;
}

void console_input_wanted(struct console *c)
{
	c->wanted++;
}

struct fixture {
	struct console console;
	struct serial *serial;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct error err;

	*state = f;
	return f && serial_create(&f->serial, &f->console, &err) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	serial_destroy(f->serial);
	free(f);
	return 0;
}

static uint8_t in(struct fixture *f, unsigned reg)
{
	uint8_t v = 0xaa;

	serial_bus_ops.read(f->serial, reg, &v, 1);
	return v;
}

static void out(struct fixture *f, unsigned reg, uint8_t v)
{
	serial_bus_ops.write(f->serial, reg, &v, 1);
}

/* How many edges there were since the last look. */
static uint64_t edges(struct fixture *f)
{
	uint64_t n = 0;

	return read(serial_irq_fd(f->serial), &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static size_t type(struct fixture *f, const char *text)
{
	return f->console.sink.input(f->console.sink.ctx, (const uint8_t *)text, strlen(text));
}

/* A driver that has opened the port: FIFOs on with trigger 8, RTS and OUT2, receive interrupt. */
static void open_port(struct fixture *f)
{
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_R_TRIG_10);
	out(f, UART_MCR, UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT2);
	out(f, UART_IER, UART_IER_RDI | UART_IER_RLSI);
}

static void test_output(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
	out(f, UART_TX, 'h');
	out(f, UART_TX, 'i');
	assert_int_equal(f->console.len, 2);
	assert_memory_equal(f->console.out, "hi", 2);
	assert_int_equal(in(f, UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
	assert_int_equal(edges(f), 0);
}

/* The questions by which Linux tells a 16550A from its relatives. */
static void test_probe(void **state)
{
	struct fixture *f = *state;

	out(f, UART_IER, 0);
	assert_int_equal(in(f, UART_IER) & 0x0f, 0);
	out(f, UART_IER, 0xff); /* the upper bits are those of newer chips */
	assert_int_equal(in(f, UART_IER), 0x0f);
	out(f, UART_IER, 0);

	out(f, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
	assert_int_equal(in(f, UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_CTS);
	out(f, UART_MCR, 0);
	assert_int_equal(in(f, UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);

	out(f, UART_LCR, UART_LCR_CONF_MODE_B);
	out(f, UART_EFR, 0);
	out(f, UART_LCR, 0);
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO);
	assert_int_equal(in(f, UART_IIR) >> 6, 3);

	out(f, UART_LCR, UART_LCR_CONF_MODE_A);
	assert_int_not_equal(in(f, UART_EFR), 0); /* a 16650 would answer 0 */
	out(f, UART_LCR, UART_LCR_CONF_MODE_B);
	assert_int_not_equal(in(f, UART_EFR), 0);
	out(f, UART_LCR, 0);
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR7_64BYTE);
	assert_int_equal(in(f, UART_IIR) >> 5, 6); /* a 16750 would answer 7 */

	out(f, UART_SCR, 0x5a);
	assert_int_equal(in(f, UART_SCR), 0x5a);
}

static void test_divisor(void **state)
{
	struct fixture *f = *state;

	out(f, UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
	out(f, UART_DLL, 0x34);
	out(f, UART_DLM, 0x12);
	assert_int_equal(in(f, UART_DLL), 0x34);
	assert_int_equal(in(f, UART_DLM), 0x12);
	out(f, UART_LCR, UART_LCR_WLEN8);
	assert_int_equal(in(f, UART_IER), 0);
	assert_int_equal(f->console.len, 0);
	assert_int_equal(in(f, UART_LCR), UART_LCR_WLEN8);
}

/* Linux tests that enabling the interrupt of an empty transmitter raises it, each time. */
static void test_transmit_interrupt(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, UART_IIR), UART_IIR_NO_INT);
	out(f, UART_IER, UART_IER_THRI);
	assert_int_equal(edges(f), 1);
	assert_int_equal(in(f, UART_IIR), UART_IIR_THRI);
	assert_int_equal(in(f, UART_IIR), UART_IIR_NO_INT);
	out(f, UART_IER, 0);
	out(f, UART_IER, UART_IER_THRI);
	assert_int_equal(edges(f), 1);
	assert_int_equal(in(f, UART_IIR), UART_IIR_THRI);
	out(f, UART_IER, UART_IER_THRI); /* enabled already: nothing new */
	assert_int_equal(edges(f), 0);

	for (unsigned i = 0; i < 16; i++) /* a FIFO full of bytes is one interrupt */
		out(f, UART_TX, 'x');
	assert_int_equal(edges(f), 1);
	assert_int_equal(in(f, UART_IIR), UART_IIR_THRI);
	assert_int_equal(edges(f), 0);
}

static void test_receive(void **state)
{
	struct fixture *f = *state;

	open_port(f);
	assert_int_equal(type(f, "abc"), 3);
	assert_int_equal(edges(f), 1);
	/* Less than the trigger: the timeout's interrupt. */
	assert_int_equal(in(f, UART_IIR), 0xc0 | UART_IIR_RX_TIMEOUT);
	assert_true(in(f, UART_LSR) & UART_LSR_DR);
	assert_int_equal(in(f, UART_RX), 'a');
	assert_int_equal(in(f, UART_RX), 'b');
	assert_int_equal(in(f, UART_RX), 'c');
	assert_false(in(f, UART_LSR) & UART_LSR_DR);
	assert_int_equal(in(f, UART_IIR), 0xc0 | UART_IIR_NO_INT);
	assert_int_equal(f->console.wanted, 0);

	assert_int_equal(type(f, "12345678"), 8);
	assert_int_equal(in(f, UART_IIR), 0xc0 | UART_IIR_RDI);
	assert_int_equal(edges(f), 1);
}

/* More than fits waits in the console, and is asked for when the FIFO has run empty. */
static void test_receive_flow(void **state)
{
	struct fixture *f = *state;

	open_port(f);
	assert_int_equal(type(f, "0123456789abcdefghij"), 16);
	for (unsigned i = 0; i < 15; i++)
		in(f, UART_RX);
	assert_int_equal(f->console.wanted, 0);
	assert_int_equal(in(f, UART_RX), 'f');
	assert_int_equal(f->console.wanted, 1);
	assert_int_equal(type(f, "ghij"), 4);
	assert_int_equal(in(f, UART_RX), 'g');
	assert_false(in(f, UART_LSR) & UART_LSR_OE);
}

static void test_receive_without_fifo(void **state)
{
	struct fixture *f = *state;

	out(f, UART_IER, UART_IER_RDI);
	assert_int_equal(type(f, "xy"), 1);
	assert_int_equal(in(f, UART_IIR), UART_IIR_RDI);
	assert_int_equal(in(f, UART_RX), 'x');
	assert_int_equal(f->console.wanted, 1);
	assert_int_equal(type(f, "y"), 1);
}

/* Nothing is let in before the guest listens, so that the driver's start loses nothing. */
static void test_receive_waits_for_the_driver(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(type(f, "early"), 0);
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT);
	assert_int_equal(f->console.wanted, 0);
	out(f, UART_MCR, UART_MCR_DTR | UART_MCR_RTS);
	assert_int_equal(f->console.wanted, 1);
	assert_int_equal(type(f, "early"), 5);
	assert_int_equal(in(f, UART_RX), 'e');
	out(f, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	assert_false(in(f, UART_LSR) & UART_LSR_DR);
}

static void test_loopback(void **state)
{
	struct fixture *f = *state;

	out(f, UART_FCR, UART_FCR_ENABLE_FIFO);
	out(f, UART_IER, UART_IER_RDI | UART_IER_RLSI);
	out(f, UART_MCR, UART_MCR_LOOP);
	assert_int_equal(type(f, "outside"), 0);
	for (unsigned i = 0; i < 17; i++)
		out(f, UART_TX, (uint8_t)('A' + i));
	assert_int_equal(f->console.len, 0);
	assert_int_equal(in(f, UART_IIR), 0xc0 | UART_IIR_RLSI);
	assert_true(in(f, UART_LSR) & UART_LSR_OE);
	assert_false(in(f, UART_LSR) & UART_LSR_OE);
	assert_int_equal(in(f, UART_RX), 'A');
	out(f, UART_MCR, 0);
	out(f, UART_TX, '!');
	assert_int_equal(f->console.len, 1);
}

static void test_modem_changes(void **state)
{
	struct fixture *f = *state;

	out(f, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT1);
	in(f, UART_MSR);
	edges(f);
	out(f, UART_IER, UART_IER_MSI);
	assert_int_equal(in(f, UART_IIR), UART_IIR_NO_INT);
	out(f, UART_MCR, UART_MCR_LOOP); /* the ring ends */
	assert_int_equal(edges(f), 1);
	assert_int_equal(in(f, UART_IIR), UART_IIR_MSI);
	assert_int_equal(in(f, UART_MSR), UART_MSR_TERI);
	assert_int_equal(in(f, UART_IIR), UART_IIR_NO_INT);
	out(f, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT1); /* its beginning says nothing */
	assert_int_equal(in(f, UART_MSR), UART_MSR_RI);
}

static void test_priorities(void **state)
{
	struct fixture *f = *state;

	open_port(f);
	out(f, UART_IER, UART_IER_RDI | UART_IER_THRI);
	type(f, "12345678");
	assert_int_equal(in(f, UART_IIR), 0xc0 | UART_IIR_RDI);
	/* Reading of another cause leaves that of the transmitter in place. */
	while (in(f, UART_LSR) & UART_LSR_DR)
		in(f, UART_RX);
	assert_int_equal(in(f, UART_IIR), 0xc0 | UART_IIR_THRI);
}

static void test_wide_access(void **state)
{
	struct fixture *f = *state;
	uint8_t two[2] = { 'A', UART_IER_RDI }, eight[8];

	serial_bus_ops.write(f->serial, UART_TX, two, 2); /* outw */
	assert_int_equal(f->console.out[0], 'A');
	assert_int_equal(in(f, UART_IER), UART_IER_RDI);
	serial_bus_ops.read(f->serial, 0, eight, 8);
	assert_int_equal(eight[UART_LSR], UART_LSR_THRE | UART_LSR_TEMT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_output, setup, teardown),
		cmocka_unit_test_setup_teardown(test_probe, setup, teardown),
		cmocka_unit_test_setup_teardown(test_divisor, setup, teardown),
		cmocka_unit_test_setup_teardown(test_transmit_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_receive, setup, teardown),
		cmocka_unit_test_setup_teardown(test_receive_flow, setup, teardown),
		cmocka_unit_test_setup_teardown(test_receive_without_fifo, setup, teardown),
		cmocka_unit_test_setup_teardown(test_receive_waits_for_the_driver, setup, teardown),
		cmocka_unit_test_setup_teardown(test_loopback, setup, teardown),
		cmocka_unit_test_setup_teardown(test_modem_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_priorities, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wide_access, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
