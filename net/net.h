/*
 * A network behind one opaque handle: a tap, or user-mode networking. Packets carry the virtio-net
 * header (virtio 1.2, 5.1.6, 12 bytes, struct virtio_net_hdr_v1) in front, whatever the backend.
 *
 * The frontend (virtio/net.c) owns rings and buffers; the backend moves bytes between them and the
 * outside on the queue pair's worker thread. This header is the contract between the two.
 */
#pragma once
