/*
 * NOTIFY_SOCKET, sd_notify(3): what a container has to say to whoever manages it as a service. Where
 * an engine binds a socket of the host's and names it in the process's environment, that one is
 * meant; else the one that our own environment names, and then the container finds it at
 * NOTIFY_OWN_PATH, as with other runtimes.
 *
 * In the guest the guest program listens there. What it hears comes to the VMM, which passes on of it
 * what means something on the host, by a socket that is connected before its walls.
 */
#pragma once

#include "oci/config.h"
#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct container;

#define NOTIFY_OWN_PATH "/run/notify/notify"

enum { NOTIFY_TEXT_MAX = 4096 }; /* as much as systemd reads at once */

/*
 * The lines of @text that the host's manager may hear, into @out. What would be about processes,
 * descriptors or clocks of the guest is left out, and so is what is not known. Returns the length; 0:
 * there is none.
 */
size_t notify_filter(char out[NOTIFY_TEXT_MAX], const char *text);

/* ---- create ---- */

struct notify_host {
	int manager;  /* connected to the socket of our environment; -1: none */
	int relay[2]; /* ours, the container's; -1: it has the manager's itself */
};

/*
 * @relay: we stay while the container runs, and are the process that the manager knows: it may hear
 * nobody else. A socket at which nobody listens is none.
 */
void notify_host_open(struct notify_host *n, const struct oci_config *config, bool relay);
void notify_host_close(struct notify_host *n);
/* What the container is to have, or -1. */
int notify_host_end(const struct notify_host *n);
/* We go, and @pid is what is to be watched from now on. Nothing with a relay. */
void notify_host_leave(const struct notify_host *n, pid_t pid);
/* With a relay: until child @pid has ended. */
void notify_host_relay(const struct notify_host *n, pid_t pid);

/* ---- the container's process ---- */

struct notify {
	int fd; /* connected; -1: none */
	unsigned left;
	int64_t since_ms;
};

/*
 * What the guest is told, into c->job_config, whose process and whose mounts are there by now.
 * c->notify.fd is the end that create has given us, or -1; then it may be an engine's.
 */
int notify_tell(struct container *c, struct error *err);
/* Never blocks. What is too much, or is not heard, is dropped. */
void notify_pass(struct notify *n, const char *text);
