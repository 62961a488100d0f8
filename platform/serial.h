/*
 * The 16550A serial port of a PC at LAYOUT_PORT_SERIAL (National Semiconductor PC16550D). Early
 * kernel messages go out here; with console=ttyS0 on the kernel's command line it is the console.
 *
 * The line is infinitely fast: the transmitter is always empty, and a byte that came in has always
 * rested long enough for the FIFO's timeout interrupt. Input is let in while the guest shows that it
 * listens (RTS raised, or the receive interrupt enabled): what is typed or piped in before that waits
 * on the host and is not lost when the driver clears the FIFO.
 *
 * Registers are under a lock, since vCPUs race; the interrupt is an edge, through an irqfd.
 */
#pragma once

#include "console/console.h"
#include "util/error.h"
#include "vmm/bus.h"

struct serial;

enum { SERIAL_PORTS = 8 };

/* Ops for a range of SERIAL_PORTS bytes; ctx is the struct serial. */
extern const struct bus_ops serial_bus_ops;

/*
 * Main. @console is not owned, must outlive the port, and gets it as its sink (until a later
 * console_set_sink()).
 */
int serial_create(struct serial **out, struct console *console, struct error *err);

/* Main, vCPUs and worker stopped. NULL is allowed. */
void serial_destroy(struct serial *serial);

/* The eventfd to be made an irqfd for LAYOUT_SERIAL_GSI. Owned by @serial. */
int serial_irq_fd(const struct serial *serial);
