#include "machine/internal.h"

#include <stdio.h>
#include <string.h>

/*
 * The words every kernel gets, before the user's own, which therefore win.
 *
 *	panic=-1 reboot=k,panic_warm	end at once, and let platform/power.c tell a panic from a
 *					reboot
 *	quiet loglevel=3		messages are the dearest part of a boot; a panic still shows
 *	tsc=reliable no_timer_check	nothing to measure: KVM says what the TSC is
 *	8250.nr_uarts=1 pci=off		do not look for what is not there
 *	cryptomgr.notests		the kernel tested its ciphers when it was built
 *	random.trust_cpu=on		entropy from the processor while virtio-rng is not there yet
 *	rcupdate.rcu_expedited=1	who sets the guest up (modules, mounts, groups) waits for the kernel's
 *					grace periods a dozen times: not a few ticks each
 *	initcall_blacklist=...		do not look up the name of each of 37,000 functions only to find
 *					those that a tracer would call by another: a tenth of a boot
 */
static const char base[] =
	"panic=-1 reboot=k,panic_warm quiet loglevel=3 tsc=reliable no_timer_check 8250.nr_uarts=1 "
	"pci=off cryptomgr.notests random.trust_cpu=on rcupdate.rcu_expedited=1 "
	"initcall_blacklist=ftrace_check_for_weak_functions";

bool machine_serial_console(const struct vm_config *config)
{
	return config->console == VM_CONSOLE_KEEP ||
	       (config->append && strstr(config->append, "console=ttyS"));
}

char *machine_cmdline(const struct vm_config *config)
{
	const char *console = "", *root = "", *mode = "";
	char *line;

	/* Early messages go out by the serial port until the virtio console takes over. */
	if (config->console == VM_CONSOLE_KEEP)
		console = " earlycon=uart8250,io,0x3f8 console=ttyS0";
	else if (config->console != VM_CONSOLE_NONE && !machine_serial_console(config))
		console = " earlycon=uart8250,io,0x3f8 console=hvc0";
	if (config->has_root) {
		root = " root=/dev/vda";
		mode = config->disk[0].read_only ? " ro" : " rw";
	}
	if (asprintf(&line, "%s%s%s%s%s%s", base, console, root, mode, config->append ? " " : "",
		    config->append ? config->append : "") < 0)
		return NULL;
	return line;
}
