/*
 * vmexit STATUS: tells microvm how the guest went, by one byte to its status
 * port. Debian's cloud kernels have no /dev/port, so ioperm it is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/io.h>

#define STATUS_PORT 0xf4

int main(int argc, char **argv)
{
	if (argc != 2 || ioperm(STATUS_PORT, 1, 1)) {
		perror("usage: vmexit STATUS, as root");
		return 1;
	}
	outb(atoi(argv[1]), STATUS_PORT);
	return 0;
}
