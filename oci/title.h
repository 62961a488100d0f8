/* What `ps` shows of a process. */
#pragma once

#include <stddef.h>

/*
 * The command line of the calling process is @len bytes at @title from now on, which are anonymous
 * memory and stay: strings, each with its NUL. Without privileges; needs /proc. What fails leaves the old one.
 */
void title_set(char *title, size_t len);
