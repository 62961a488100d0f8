/* Limits of all processes together. */
#pragma once

#include "guest/text.h"

#include <stdint.h>

/*
 * At most @limit processes and threads (0: any number) beside this one, which goes into a control
 * group of its own for it the first time, with all there are and everything that it starts; that
 * group is the root of what it and its children from then on see. 0, or a negative errno with what
 * failed in @why.
 */
long limits_pids(uint64_t limit, struct text *why);
