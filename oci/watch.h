/*
 * What becomes of a running container's interfaces: engines take one away and put another in its
 * place (podman network reload, disconnect and connect), and say so to nobody. A process of its own
 * watches the container's network namespace for as long as the machine is there. It ties what has
 * come in the place of an interface to the machine's card, and tells the container's process which
 * addresses the guest is to have now. It reads nothing but the kernel's words, and keeps no power
 * but that over networks.
 */
#pragma once

#include "oci/network.h"
#include "oci/state.h"

/* Begin, behind a start which found @found. What fails is only missed when interfaces change. */
void oci_watch(const struct oci_state *state, const struct oci_interfaces *found);
