/*
 * What the lab's two ends say to each other over one virtio-serial port: run.c
 * on the host, init.c as process 1 of the emulated host. A frame is a header
 * and LEN bytes; both ends are x86-64, so integers go as they lie in memory.
 */
#ifndef LAB_PROTO_H
#define LAB_PROTO_H

#include <stdint.h>

#define LAB_PORT       "/dev/vport0p1"
#define LAB_DEBUG_EXIT 0xf4
#define LAB_FRAME_MAX  (1 << 20)
#define LAB_CHUNK      16384 /* most data in a frame, but for the job */

enum lab_frame_type {
	/* lab to host */
	LAB_READY = 1, /* modules are loaded; freeze me */
	LAB_STARTED,   /* the command runs */
	LAB_BEAT,      /* still alive; every few seconds */
	LAB_OUT,       /* bytes of standard output */
	LAB_ERR,       /* bytes of standard error */
	LAB_STATUS,    /* int32_t: exit status, or 128 + signal; the last frame */
	LAB_FAULT,     /* text: the lab itself failed */

	/* host to lab */
	LAB_JOB,     /* struct lab_job and its strings */
	LAB_STDIN,   /* bytes of standard input; an empty frame is its end */
	LAB_WINSIZE, /* struct lab_winsize */
};

struct lab_frame {
	uint32_t type;
	uint32_t len;
};

struct lab_winsize {
	uint16_t rows;
	uint16_t cols;
};

/*
 * Followed by NUL-terminated strings: the current directory, the writable work
 * folder, the modules folder of the lab's kernel, then argc and envc of them.
 */
struct lab_job {
	int64_t sec; /* the wall clock: the frozen one is old */
	int64_t nsec;
	uint8_t seed[32]; /* the frozen random state is the same every time */
	uint32_t tty;	  /* give the command a terminal */
	uint32_t argc;
	uint32_t envc;
	struct lab_winsize win;
};

#endif
