/* Limits of all processes together. */
#pragma once

#include "guest/text.h"
#include "guest/wire.h"

#include <stdint.h>

/*
 * At most @limit processes and threads (0: any) in a control group that is made the first time, when
 * *@group is -1: it is the root of what is seen from then on, and *@group, for sys_fork_into(). 0, or
 * a negative errno with what failed in @why; without a limit nothing fails.
 */
long limits_pids(uint64_t limit, int *group, struct text *why);
/* Write to a file of that group, if there is such. */
void limits_group(const char *file, const char *value);
/* What that group may do with devices, if this kernel can tell it; else an errno. */
long limits_devices(const struct wire_bytes *program, struct text *why);
/* This process goes into @group, below that group. */
long limits_enter(const char *group);
