/*
 * Processes that a container has beside its machine: in its network namespace and its control group,
 * for as long as the machine is there, with next to no rights. Nobody waits for them: whoever started
 * the container has an end soon.
 */
#pragma once

#include "oci/state.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * True in the child, which is in the container's network and control group then, whose standard
 * streams are nothing, and which has a pidfd of the machine's process; it must end when that says so. False for whoever called.
 */
bool beside_fork(const struct oci_state *state, int *process);

/*
 * In the child: of all that is open the @count descriptors @keep are left, of all capabilities (bits,
 * 0 to 31) @capabilities, and none can be gained.
 */
void beside_settle(const int *keep, unsigned count, uint32_t capabilities);
