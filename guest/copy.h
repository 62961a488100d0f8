/* Copies of trees of files: what is below a tmpfs that shall not hide it. */
#pragma once

#include <stdbool.h>

/*
 * Copy all that is in the folder @from into the empty folder @to, with owners, modes and times;
 * @root_too: @to itself gets those of @from. No hard links, no extended attributes. 0 or a negative
 * errno.
 */
long copy_tree(const char *from, const char *to, bool root_too);
