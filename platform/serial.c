#include "platform/serial.h"

#include "util/macros.h"

#include <errno.h>
#include <linux/serial_reg.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	FIFO_BYTES = 16,
	IER_BITS = UART_IER_RDI | UART_IER_THRI | UART_IER_RLSI | UART_IER_MSI,
	MCR_BITS = UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT1 | UART_MCR_OUT2 | UART_MCR_LOOP,
	MSR_HERE = UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS, /* a terminal that is always there */
	IIR_FIFO = 0xc0
};

struct serial {
	/* Constant after start. */
	struct console *console;
	int irq_fd;

	pthread_mutex_t lock;
	/* Under lock. */
	uint8_t ier, lcr, mcr, scr, dll, dlm;
	uint8_t msr; /* lines and their changes */
	bool overrun;
	bool fifo;	  /* FIFOs enabled */
	uint8_t trigger;  /* bytes in the FIFO that raise the interrupt */
	bool thr_empty;	  /* "transmitter holding register empty" was not yet reported */
	bool starving;	  /* the console has more for us */
	uint8_t received; /* bytes in rx */
	uint8_t rx_from;
	uint8_t rx[FIFO_BYTES];
};

/* ---- interrupts; all under lock ---- */

/* IIR without the FIFO bits: the most urgent cause that is enabled (PC16550D, table IV). */
static uint8_t cause(const struct serial *s)
{
	if (s->ier & UART_IER_RLSI && s->overrun)
		return UART_IIR_RLSI;
	if (s->ier & UART_IER_RDI && s->received)
		return s->fifo && s->received < s->trigger ? UART_IIR_RX_TIMEOUT : UART_IIR_RDI;
	if (s->ier & UART_IER_THRI && s->thr_empty)
		return UART_IIR_THRI;
	if (s->ier & UART_IER_MSI && s->msr & UART_MSR_ANY_DELTA)
		return UART_IIR_MSI;
	return UART_IIR_NO_INT;
}

static bool line(const struct serial *s)
{
	return cause(s) != UART_IIR_NO_INT;
}

/*
 * The end of an access that began with the interrupt line at @before. A line that fell and rose
 * within it makes no edge: sixteen bytes into the FIFO are one interrupt, not sixteen.
 */
static void settle(struct serial *s, bool before)
{
	static const uint64_t one = 1;

	if (before || !line(s))
		return;
	/* Fails only when the count is full, and then the interrupt is on its way. */
	if (write(s->irq_fd, &one, sizeof(one)) < 0)
		return;
}

/* ---- receiving ---- */

static uint8_t capacity(const struct serial *s)
{
	return s->fifo ? FIFO_BYTES : 1;
}

static void receive(struct serial *s, uint8_t byte)
{
	if (s->received == capacity(s)) {
		s->overrun = true;
		return;
	}
	s->rx[(s->rx_from + s->received++) % FIFO_BYTES] = byte;
}

/* Does the guest listen? */
static bool listens(const struct serial *s)
{
	return !(s->mcr & UART_MCR_LOOP) && (s->mcr & UART_MCR_RTS || s->ier & UART_IER_RDI);
}

/* Worker thread, the console's sink. */
static size_t input(void *ctx, const uint8_t *data, size_t len)
{
	struct serial *s = ctx;
	size_t n = 0;
	bool before;

	pthread_mutex_lock(&s->lock);
	before = line(s);
	if (listens(s)) {
		n = MIN(len, (size_t)(capacity(s) - s->received));
		for (size_t i = 0; i < n; i++)
			receive(s, data[i]);
	}
	s->starving = n < len;
	settle(s, before);
	pthread_mutex_unlock(&s->lock);
	return n;
}

static uint8_t read_received(struct serial *s)
{
	uint8_t byte = s->rx[s->rx_from];

	if (!s->received)
		return 0;
	s->rx_from = (uint8_t)((s->rx_from + 1) % FIFO_BYTES);
	s->received--;
	return byte;
}

/* ---- registers; all under lock ---- */

/* In loopback the outputs are wired to the inputs; else the terminal holds its lines up. */
static void update_lines(struct serial *s)
{
	uint8_t lines = MSR_HERE, changed;

	if (s->mcr & UART_MCR_LOOP) {
		lines = 0;
		lines |= s->mcr & UART_MCR_DTR ? UART_MSR_DSR : 0;
		lines |= s->mcr & UART_MCR_RTS ? UART_MSR_CTS : 0;
		lines |= s->mcr & UART_MCR_OUT1 ? UART_MSR_RI : 0;
		lines |= s->mcr & UART_MCR_OUT2 ? UART_MSR_DCD : 0;
	}
	/* A change shows four bits lower; that of the ring indicator only when it ends. */
	changed = (uint8_t)(s->msr ^ lines) & 0xf0;
	if (lines & UART_MSR_RI)
		changed &= (uint8_t)~UART_MSR_RI;
	s->msr = (uint8_t)(lines | (s->msr & UART_MSR_ANY_DELTA) | changed >> 4);
}

static uint8_t read_iir(struct serial *s)
{
	uint8_t iir = cause(s);

	if (iir == UART_IIR_THRI) /* reported now */
		s->thr_empty = false;
	return (uint8_t)(iir | (s->fifo ? IIR_FIFO : 0));
}

static uint8_t read_lsr(struct serial *s)
{
	uint8_t lsr = UART_LSR_THRE | UART_LSR_TEMT;

	if (s->received)
		lsr |= UART_LSR_DR;
	if (s->overrun)
		lsr |= UART_LSR_OE;
	s->overrun = false;
	return lsr;
}

static uint8_t read_register(struct serial *s, uint64_t offset)
{
	bool divisor = s->lcr & UART_LCR_DLAB;
	uint8_t msr;

	switch (offset) {
	case UART_RX:
		return divisor ? s->dll : read_received(s);
	case UART_IER:
		return divisor ? s->dlm : s->ier;
	case UART_IIR:
		return read_iir(s);
	case UART_LCR:
		return s->lcr;
	case UART_MCR:
		return s->mcr;
	case UART_LSR:
		return read_lsr(s);
	case UART_MSR:
		msr = s->msr;
		s->msr &= (uint8_t)~UART_MSR_ANY_DELTA;
		return msr;
	default:
		return s->scr;
	}
}

static void write_fcr(struct serial *s, uint8_t value)
{
	static const uint8_t triggers[] = { 1, 4, 8, 14 };
	bool fifo = value & UART_FCR_ENABLE_FIFO;

	if (fifo != s->fifo || value & UART_FCR_CLEAR_RCVR)
		s->received = 0;
	if (fifo != s->fifo || value & UART_FCR_CLEAR_XMIT)
		s->thr_empty = true;
	s->fifo = fifo;
	s->trigger = fifo ? triggers[value >> 6] : 1;
}

static void write_ier(struct serial *s, uint8_t value)
{
	uint8_t rising = value & (uint8_t)~s->ier;

	s->ier = value & IER_BITS;
	if (rising & UART_IER_THRI) /* the transmitter is empty: that is news to whoever asks */
		s->thr_empty = true;
}

/* True if @value is a byte for the other end of the line. */
static bool write_thr(struct serial *s, uint8_t value)
{
	s->thr_empty = true; /* cleared by the write, set as the byte left */
	if (!(s->mcr & UART_MCR_LOOP))
		return true;
	receive(s, value);
	return false;
}

/* True if @value is to be sent. */
static bool write_register(struct serial *s, uint64_t offset, uint8_t value)
{
	bool divisor = s->lcr & UART_LCR_DLAB;

	switch (offset) {
	case UART_TX:
		if (!divisor)
			return write_thr(s, value);
		s->dll = value;
		break;
	case UART_IER:
		if (divisor)
			s->dlm = value;
		else
			write_ier(s, value);
		break;
	case UART_FCR:
		write_fcr(s, value);
		break;
	case UART_LCR:
		s->lcr = value;
		break;
	case UART_MCR:
		s->mcr = value & MCR_BITS;
		update_lines(s);
		break;
	case UART_SCR:
		s->scr = value;
		break;
	default: /* LSR and MSR are read-only outside of a factory */
		break;
	}
	return false;
}

/* Under lock. True if the console can now go on with what it has for us. */
static bool hungry(struct serial *s)
{
	bool now = s->starving && !s->received && listens(s);

	if (now)
		s->starving = false;
	return now;
}

/* ---- the bus ---- */

static void bus_read_ports(void *ctx, uint64_t offset, uint8_t *data, unsigned len)
{
	struct serial *s = ctx;

	for (unsigned i = 0; i < len; i++) {
		bool before, more;

		pthread_mutex_lock(&s->lock);
		before = line(s);
		data[i] = read_register(s, offset + i);
		settle(s, before);
		more = hungry(s);
		pthread_mutex_unlock(&s->lock);
		if (more)
			console_input_wanted(s->console);
	}
}

static void bus_write_ports(void *ctx, uint64_t offset, const uint8_t *data, unsigned len)
{
	struct serial *s = ctx;

	for (unsigned i = 0; i < len; i++) {
		bool before, more, send;

		pthread_mutex_lock(&s->lock);
		before = line(s);
		send = write_register(s, offset + i, data[i]);
		settle(s, before);
		more = hungry(s);
		pthread_mutex_unlock(&s->lock);
		if (more)
			console_input_wanted(s->console);
		/* May wait for the console's worker, which may want our lock for input. */
		if (send)
			console_write(s->console, &data[i], 1);
	}
}

const struct bus_ops serial_bus_ops = { .read = bus_read_ports, .write = bus_write_ports };

int serial_create(struct serial **out, struct console *console, struct error *err)
{
	struct serial *s = calloc(1, sizeof(*s));

	*out = NULL;
	if (!s)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory for the serial port");
	s->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->irq_fd < 0) {
		free(s);
		return error_set(err, ERROR_HOST, errno, "serial port: cannot make an eventfd: %m");
	}
	pthread_mutex_init(&s->lock, NULL);
	s->console = console;
	s->trigger = 1;
	s->thr_empty = true;
	s->dll = 1; /* 115200 baud, as firmware leaves it */
	s->lcr = UART_LCR_WLEN8;
	s->msr = MSR_HERE;
	console_set_sink(console, &(struct console_sink){ .input = input, .ctx = s });
	*out = s;
	return 0;
}

void serial_destroy(struct serial *s)
{
	if (!s)
		return;
	close(s->irq_fd);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

int serial_irq_fd(const struct serial *s)
{
	return s->irq_fd;
}
