/* Limits of a running container that are the guest's to keep. */
#pragma once

#include "oci/state.h"
#include "util/error.h"

#include <stdint.h>

/* At most @limit processes from now on; 0 or less: any number. Waits for the guest's word. */
int oci_guest_pids(const struct oci_state *state, int64_t limit, struct error *err);
