/*
 * Values as people write them, read strictly: no sign, no space, nothing behind, no overflow. Each
 * returns 0, or -EINVAL (-ERANGE for too much) with an ERROR_USAGE message that quotes the text and
 * says what is wanted.
 */
#pragma once

#include "machine/config.h"
#include "util/error.h"

#include <stdint.h>

/* Decimal digits, between @min and @max. */
int value_number(const char *text, uint64_t min, uint64_t max, uint64_t *out, struct error *err);

/* Bytes: "1048576", "512M", "2GiB" (K, M, G and T are powers of 1024). */
int value_size(const char *text, uint64_t *bytes, struct error *err);

/* Milliseconds: "10" and "10s", "500ms", "5m", "2h". */
int value_duration(const char *text, unsigned *ms, struct error *err);

/* "52:54:00:12:34:56", not a group address. */
int value_mac(const char *text, uint8_t mac[6], struct error *err);

/* "tcp:127.0.0.1:2222-:22", "udp::5353-:53", "8080-:80" (tcp, of 127.0.0.1). */
int value_forward(const char *text, struct vm_forward *forward, struct error *err);

/* "127.0.0.1:8080:80/tcp", "8080:80", "5353:53/udp". Without an address: of all of the host's. */
int value_publish(const char *text, struct vm_forward *forward, struct error *err);

/* "10.0.0.2", and with its network's bits "10.0.0.2/24". Copied as text. */
int value_address(const char *text, char address[16], struct error *err);
int value_network(const char *text, char address[16], uint8_t *prefix, struct error *err);

/*
 * A path in the guest: absolute, no "." or "..", and not the root itself. @out gets it without
 * doubled or trailing slashes; it needs strlen(text) + 1 bytes.
 */
int value_guest_path(const char *text, char *out, struct error *err);

/* The name of a machine or host: letters, digits, '-', '_' and '.', the first no sign; up to 64. */
int value_name(const char *text, struct error *err);

/* A network interface's name: 1 to 15 bytes, none of them a slash, a space or a control character. */
int value_interface(const char *text, struct error *err);
