/*
 * The smallest guest: its first instructions write one byte to the serial port, then it rests.
 *
 * microvm enters it in 64-bit mode at e_entry, QEMU in 32-bit mode at the address of its PVH note;
 * the instructions have the same bytes and the same meaning in both.
 */
	.section .note.pvh, "a", @note
	.balign 4
	.long 4, 4, 18			# name size, value size, XEN_ELFNOTE_PHYS32_ENTRY
	.asciz "Xen"
	.long _start

	.text
	.code64
	.globl _start
_start:
	mov $0x3f8, %dx
	mov $'!', %al
	out %al, %dx
1:	hlt
	jmp 1b

	.section .note.GNU-stack, "", @progbits
