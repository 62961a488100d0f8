/* The kernel enters here with argc at the top of the stack, argv and envp behind it. */
	.section .text
	.globl	_start
	.type	_start, @function
_start:
	xorl	%ebp, %ebp
	movq	%rsp, %rdi
	andq	$-16, %rsp
	call	guest_start
	ud2				/* guest_start() does not return */
	.size	_start, . - _start
	.section .note.GNU-stack, "", @progbits
