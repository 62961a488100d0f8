/*
 * The host's terminal in raw mode, and the way back. There is one for the process, and one user of
 * it: the console, or whoever carries a terminal's bytes himself. All of it main.
 * console_restore_terminal() is the way back.
 */
#pragma once

#include <stdbool.h>

/* Is @fd a terminal that this process may set? Remembers its mode. */
bool terminal_usable(int fd);
/* Before the walls go up: a crash leaves no terminal raw. */
void terminal_catch_faults(void);
/* @fd, which was usable, is raw from now on. */
void terminal_raw(int fd);
