/* The life of a machine whose plan says `supervise`. */
#pragma once

/* Connect to the host, do as it says (guest/supervise.h), and power off. */
void __attribute__((noreturn)) machine_run(void);
