/*
 * What create looks at on the host before a machine is started for it: whether the command and the
 * mounts' sources are there. Container engines read these messages: "executable file not found in
 * $PATH" and "no such file or directory" make an exit status of 127, "permission denied" one of 126.
 */
#pragma once

#include "oci/config.h"

/*
 * Look for process.args[0] as the container will: in its own root (@rootfs_fd, a directory), under
 * its mounts, through its own PATH, with its symbolic links. What only the guest can know (in a
 * tmpfs that is copied up, in /proc) passes. -ENOENT, -EACCES, -ENOTDIR or -ELOOP with ERROR_USAGE.
 */
int oci_check_command(const struct oci_config *config, int rootfs_fd, struct error *err);

/*
 * Refuse devices that the host has and the guest has not: they cannot be passed into a machine. Of one
 * that nobody has a node is made, which does as much in the guest as it would elsewhere.
 */
int oci_check_devices(const struct oci_config *config, struct error *err);

/*
 * Follow the symbolic links of the root (@rootfs_fd, a directory) in the destinations of the mounts:
 * where they lead need not be there yet. -ENOMEM.
 */
int oci_resolve_mounts(struct oci_config *config, int rootfs_fd, struct error *err);

/*
 * Look at the bind mounts' sources (relative ones: in @bundle_fd, a directory): sets mount->file.
 * Devices, which engines without privileges pass as binds, leave the list of mounts: those that the
 * guest has itself become config->device entries; of others with --privileged nothing remains.
 * ERROR_USAGE for what is not there, for other devices, and for sockets, at which nobody would listen.
 * Once only.
 */
int oci_check_mounts(struct oci_config *config, int bundle_fd, struct error *err);
