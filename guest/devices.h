/* What is in /dev. */
#pragma once

#include "guest/messages.h"

/* /dev/fd, /dev/stdin and so on, where there is nothing of that name. */
void devices_link(void);
/* As everybody may use them elsewhere; the kernel makes them root's. They need not be there. */
void devices_open(void);
/* Let go of the terminals of the machine (tty0, ttyS0); /dev/tty, which is a process's own, stays. */
void devices_without_terminals(void);
/* What every container finds in /dev, in the empty file system that has just been mounted there. */
void devices_make(void);
/* Make @node, but at @path. 0 or a negative errno. */
long devices_node(const char *path, const struct message_node *node);
