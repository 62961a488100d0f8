/*
 * Containers that share a network: of one pod, with `--network container:X`, with the host's network.
 * What listens in one of the machines is reached at the same port in the namespace they stand in, and
 * in the other machines (agent/ports.h). For each that is a process of its own beside the machine
 * (oci/beside.h), with the rights to listen at ports below 1024 and, where a machine has the
 * interfaces, to set filters (oci/network_share.h).
 */
#pragma once

#include "oci/network.h"
#include "oci/state.h"

/*
 * Before the container's process starts, for one that shares (state->shares): the namespace's own
 * stack is to get its part of the frames.
 */
int oci_share_prepare(const struct oci_state *state, struct error *err);

/* Whether others are in the network of the container @state, or it is in the host's. */
bool oci_share_wanted(const struct oci_state *state, enum oci_network_kind kind);

/*
 * Before the process starts and once more behind it: begin what the container @state needs, whose
 * network is of @kind, and what those need that were alone in its namespace so far; @wait, for a
 * while, until what listens there is in its place. What fails is missed when others look for it.
 */
void oci_share(const struct oci_state *state, enum oci_network_kind kind, bool wait);

/* By which the container's filters are known, as far as the few in one namespace go. */
uint16_t oci_share_number(const char *id);
