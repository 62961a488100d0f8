/*
 * Tiny guests, one for each behaviour of the KVM core. Each is position independent, is copied to
 * GUEST_CODE and starts in 64-bit mode with the first 4 GiB mapped one to one; rdi is 0, rsi is the
 * address of a page to leave results in. Writing a byte to port 0xf4 ends the machine.
 */
	.section .rodata
	.code64

	.macro guest name
	.balign 16
	.globl guest_\name, guest_\name\()_end
guest_\name:
	.endm
	.macro end name
1:	hlt
	jmp 1b
guest_\name\()_end:
	.endm
	.macro exit value
	movb \value, %al
	outb %al, $0xf4
	.endm

	guest status
	exit $42
	end status

	/* Each access size to a register window that remembers what was written. */
	guest mmio
	mov $0xd0000000, %ebx
	movabs $0x1122334455667788, %rax
	mov %rax, (%rbx)
	mov (%rbx), %rdx
	mov %rdx, (%rsi)
	movl $0xa1b2c3d4, 8(%rbx)
	movl 8(%rbx), %eax
	mov %eax, 8(%rsi)
	movw $0x1234, 16(%rbx)
	movw 16(%rbx), %ax
	mov %ax, 12(%rsi)
	movb $0x77, 24(%rbx)
	movb 24(%rbx), %al
	mov %al, 14(%rsi)
	movl 0x100000(%rbx), %eax	/* nobody there: all ones */
	mov %eax, 16(%rsi)
	exit $1
	end mmio

	/* A string instruction is several accesses in one exit. */
	guest string_io
	mov %rsi, %r8
	lea hello(%rip), %rsi
	mov $5, %ecx
	mov $0x510, %edx
	cld
	rep outsb
	mov %r8, %rdi
	mov $3, %ecx
	rep insb
	inw $0x99, %ax			/* nobody there */
	mov %ax, 4(%r8)
	exit $2
1:	hlt
	jmp 1b
hello:	.ascii "hello"
	end string_io

	guest spin
	movb $1, (%rsi)
1:	pause
	jmp 1b
	end spin

	guest sleep
	cli
	movb $1, (%rsi)
	end sleep

	guest triple_fault
	ud2				/* no IDT: fault, double fault, shutdown */
	end triple_fault

	guest cpuid
	mov %rsi, %rdi
	mov $1, %eax
	xor %ecx, %ecx
	cpuid
	mov %ebx, (%rdi)
	mov %ecx, 4(%rdi)
	mov %edx, 8(%rdi)
	mov $0x40000000, %eax
	cpuid
	mov %ebx, 12(%rdi)
	mov %ecx, 16(%rdi)
	mov %edx, 20(%rdi)
	mov $0xb, %eax
	mov $1, %ecx
	cpuid
	mov %ebx, 24(%rdi)
	mov %edx, 28(%rdi)
	exit $3
	end cpuid

	/* Kick the doorbell at 0xd0000050 with values 0 and 1, then end. */
	guest doorbell
	mov $0xd0000000, %ebx
	movl $1, 0x50(%rbx)
	movl $0, 0x50(%rbx)
	movl $1, 0x50(%rbx)
	exit $4
	end doorbell

	/* Write at the last byte of low RAM, past it, and above the hole. */
	guest high_memory
	mov $0xbffffff8, %eax
	movabs $0x0102030405060708, %rdx
	mov %rdx, (%rax)
	mov (%rax), %rcx
	mov %rcx, (%rsi)
	movabs $0x100000000, %rax
	mov %rdx, (%rax)
	mov (%rax), %rcx
	mov %rcx, 8(%rsi)
	exit $5
	end high_memory

	/* INIT and SIPI to all others; each adds one at results + 8; ends when (rsi) of them did. */
	guest smp
	mov %rsi, %rbx
	lea trampoline(%rip), %rsi	/* to 0x8000: the SIPI vector is its page */
	mov $0x8000, %edi
	mov $(trampoline_end - trampoline), %ecx
	cld
	rep movsb
	mov $0xfee00000, %ebp
	movl $0x000c4500, 0x300(%rbp)	/* INIT, all but self */
	mov $0x100000, %ecx
1:	pause
	dec %ecx
	jnz 1b
	movl $0x000c4608, 0x300(%rbp)	/* SIPI to 0x8000, all but self */
2:	pause
	mov 8(%rbx), %eax
	cmp (%rbx), %eax
	jb 2b
	exit $6
3:	hlt
	jmp 3b
	.code16
trampoline:
	cli
	xor %ax, %ax
	mov %ax, %ds
	lock incl 0x7008		/* results page: 0x7000 */
4:	hlt
	jmp 4b
trampoline_end:
	.code64
	end smp

	/* An interrupt by irqfd: IDT gate for vector 0x30, IOAPIC pin 5, local APIC on; then wait. */
	guest irq
	mov $0xff, %al			/* the old PICs share the line: mask them */
	outb %al, $0x21
	outb %al, $0xa1
	lea handler(%rip), %rax
	mov $0x6000, %edi		/* IDT at 0x6000; gate 0x30 */
	lea 0x300(%rdi), %rbx
	mov %ax, (%rbx)
	movw $0x10, 2(%rbx)
	movw $0x8e00, 4(%rbx)
	shr $16, %rax
	mov %ax, 6(%rbx)
	movq $0, 8(%rbx)
	movw $0xfff, -16(%rdi)
	movq $0x6000, -14(%rdi)
	lidt -16(%rdi)
	mov $0xfee00000, %ebp
	movl $0x1ff, 0xf0(%rbp)		/* spurious vector register: APIC on */
	movl $0, 0x80(%rbp)		/* task priority: take all */
	mov $0xfec00000, %ebx
	movl $0x1b, (%rbx)		/* pin 5, high half: to APIC 0 */
	movl $0, 0x10(%rbx)
	movl $0x1a, (%rbx)		/* low half: vector 0x30, edge, high, unmasked */
	movl $0x30, 0x10(%rbx)
	movb $1, (%rsi)			/* ready */
	sti
	jmp 1f
handler:
	exit $7
	end irq

	.section .note.GNU-stack,"",@progbits
