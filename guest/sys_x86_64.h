/*
 * What differs between architectures: how a system call is made, and how the exit status reaches
 * the host. Another architecture adds sys_ARCH.h and start_ARCH.S.
 */
#pragma once

#include <asm/unistd.h>
#include <stddef.h>
#include <stdint.h>

static inline long sys_call6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static inline long sys_call(long nr, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return ret;
}

/* Forwards; the processor's own way is the quickest for more than a few bytes. */
static inline void sys_copy(void *to, const void *from, size_t len)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(len) : : "memory");
}

static inline void sys_fill(void *to, int byte, size_t len)
{
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(len) : "a"(byte) : "memory");
}

/* The status port, LAYOUT_PORT_EXIT in vmm/layout.h: one byte written there ends the machine. */
#define SYS_EXIT_PORT 0xf4

/* Returns if nobody listens at the port, or the kernel does not let us near it. */
static inline void sys_report_status(uint8_t status)
{
	if (sys_call(__NR_ioperm, SYS_EXIT_PORT, 1, 1, 0, 0) == 0)
		__asm__ volatile("outb %0, %1" : : "a"(status), "Nd"((uint16_t)SYS_EXIT_PORT));
}
