/*
 * How a guest ends itself, and the few old ports a PC guest expects to find.
 *
 *	0xf4		  exit port: one byte written becomes the machine's exit status
 *	0x600, 0x601	  ACPI sleep control and status (hardware-reduced): SLP_TYP 5 powers off
 *	0x602		  ACPI reset register
 *	0x60 - 0x64	  keyboard controller: only "pulse the reset line" (0xfe to 0x64); its
 *			  status says that no keyboard answers
 *	0x70, 0x71	  clock and CMOS: always 0, which Linux takes for "no update in progress"
 *
 * A reset after a kernel panic is told from a wanted one by the warm-boot flag, the word at 0x472
 * of guest memory (PC BIOS data area): the kernel is started with reboot=panic_warm, so that it
 * writes 0x1234 there when it resets after a panic, and 0 for every other reboot.
 */
#pragma once

#include "util/error.h"
#include "vmm/vm.h"

/* Main, before start. Put the ports on @vm's bus. */
int power_add_ports(struct vm *vm, struct error *err);

/* Any thread. The guest resets: a reboot, or a panic by the warm-boot flag. */
void power_reset(struct vm *vm);
