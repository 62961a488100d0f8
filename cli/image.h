/*
 * A root from podman's local storage. podman mounts the image and says what its configuration is; it
 * is an ordinary program that is run, nothing of it is linked in.
 *
 * The mount is let go by a child that waits for our end, however that comes, and then runs
 * `podman image unmount`: behind the walls nothing can be started any more.
 */
#pragma once

#include "util/error.h"

struct image;

/*
 * Main, before anything is opened that a child must not have. @command: what was given on the command
 * line, or NULL. ERROR_IMAGE if there is no such image or it has no command and none was given,
 * ERROR_HOST without podman.
 */
int image_open(struct image **out, const char *ref, const char *const *command, struct error *err);
void image_close(struct image *image); /* NULL is allowed */

const char *image_path(const struct image *image);	     /* its root directory */
const char *const *image_env(const struct image *image);     /* NAME=VALUE, NULL-terminated */
const char *const *image_command(const struct image *image); /* what to run, NULL-terminated */
const char *image_workdir(const struct image *image);	     /* NULL: none */
const char *image_user(const struct image *image);	     /* NULL: none */
