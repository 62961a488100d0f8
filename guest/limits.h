/* Limits of all processes together. */
#pragma once

#include "guest/text.h"

#include <stdint.h>

/*
 * At most @limit processes and threads beside this one, which goes into a control group of its own
 * for it, and everything that it starts with it; that group is the root of what they see. 0, or a
 * negative errno with what failed in @why.
 */
long limits_pids(uint64_t limit, struct text *why);
