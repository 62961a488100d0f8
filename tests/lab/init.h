/*
 * Process 1 of the lab: what its files share.
 */
#ifndef LAB_INIT_H
#define LAB_INIT_H

#include <stddef.h>
#include <stdint.h>

#include "proto.h"

extern int port; /* the open LAB_PORT */

/* init.c */
void write_all(int fd, const void *data, size_t len);
void read_all(int fd, void *data, size_t len);
void send_frame(uint32_t type, const void *data, uint32_t len);
void __attribute__((noreturn, format(printf, 1, 2))) fault(const char *fmt, ...);

/* root.c: makes the new root of the machine's files, and goes there */
void make_root(const char *work, const char *modules);
void set_system(void);

/*
 * task.c: runs a command, carries its input and output as frames, reaps every
 * other process, and returns its exit status, or 128 + signal.
 */
int run_command(const struct lab_job *job, const char *dir, char **argv, char **envp);

#endif
