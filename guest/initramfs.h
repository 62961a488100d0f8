/*
 * What the host's archive and the guest program in it agree on: the only header that both sides
 * share.
 *
 * The archive (newc cpio, built by rootfs/initramfs.c) holds
 *
 *	/init             the guest program, process 1
 *	/dev/console      character device 5:1, which the kernel opens before it starts /init
 *	/dev /proc /sys   mount points
 *	/root             where the root file system is mounted first
 *	/plan             what to do, one line each, in order (below)
 *	/modules/NAME.ko  kernel modules, unpacked
 *
 * Lines of the plan; a word that is not known is a fault:
 *
 *	need NAME.ko   load this module; the machine cannot start without it
 *	try NAME.ko    load this module; it may fail (an accelerated checksum on a CPU without it)
 *	console        the console's driver is there now: open /dev/console anew
 *	type FS        the file system that the host saw in the root image
 *	part N         the root image is a partitioned disk, and its partition N is the root
 *	readonly       the root disk takes no writes, whatever the command line says
 *	supervise      the host says over vsock what to mount and to start (guest/protocol.h), not
 *	               the command line; behind all modules, and the last line
 */
#pragma once

#define INITRAMFS_PLAN	     "/plan"
#define INITRAMFS_MODULES    "/modules/"
#define INITRAMFS_ROOT	     "/root"
#define INITRAMFS_PLAN_MAX   65536 /* bytes */
#define INITRAMFS_MODULE_MAX 255   /* bytes of NAME.ko */

/*
 * The exit status that the guest program reports (through LAYOUT_PORT_EXIT) when it cannot hand
 * over to the root file system's init. One line on the console says why.
 */
#define INITRAMFS_FAILED 255
