/*
 * The smallest firmware, for QEMU: what the processor does first of all (at the reset vector, the
 * last 16 bytes below 4 GiB) is to write one byte to the serial port.
 */
	.text
	.code16
	.globl _start
	.fill 0x10000 - 16, 1, 0xf4
_start:
	mov $0x3f8, %dx
	mov $'!', %al
	out %al, %dx
1:	hlt
	jmp 1b
	.balign 16, 0xf4
