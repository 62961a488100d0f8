/*
 * What a machine is to be: flags, the JSON file and (later) an OCI config all end here. Plain data;
 * strings are owned by whoever filled it and must outlive the machine.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	VM_DISKS_MAX = 8,
	VM_NETS_MAX = 4,
	VM_FORWARDS_MAX = 16,
	VM_CPUS_MAX = 64,
	VM_WORKERS_MAX = 16,
	VM_SHARES_MAX = 18,
	VM_LISTENS_MAX = 32
};

enum vm_hw { VM_HW_ACPI, VM_HW_FDT, VM_HW_CMDLINE };
enum vm_console {
	VM_CONSOLE_STDIO,
	VM_CONSOLE_FILE,
	VM_CONSOLE_NONE,
	VM_CONSOLE_KEEP /* its end is kept for machine_console_tail() */
};
enum vm_cache { VM_CACHE_AUTO, VM_CACHE_NONE, VM_CACHE_ALWAYS };
enum vm_net_kind { VM_NET_TAP, VM_NET_USER };

struct vm_disk {
	const char *path;
	bool read_only;
};

struct vm_forward {
	bool udp;
	char host_addr[16]; /* dotted quad; "127.0.0.1" when not given */
	uint16_t host_port;
	uint16_t guest_port;
};

struct vm_net {
	enum vm_net_kind kind;
	const char *tap;      /* interface name */
	unsigned queue_pairs; /* tap only; 1 when not given */
	bool has_mac;
	uint8_t mac[6];
	/* For a command's machine only, which is told its addresses: dotted quads, "" for none. */
	char address[16], gateway[16], dns[16];
	uint8_t prefix; /* bits of address */
	unsigned forwards;
	struct vm_forward forward[VM_FORWARDS_MAX];
};

/* The name of the one file in a share whose source is a file. */
#define VM_SHARE_FILE "file"

/* A directory of the host (or one file) as a file system of the guest, over virtio-fs. */
struct vm_share {
	const char *source;
	char tag[16];
	bool read_only;
	enum vm_cache cache;
};

/* The port of the host at which the guest program finds it (guest/protocol.h: AGENT_PORT). */
enum { VM_AGENT_PORT = 1 };

/* A unix stream socket of the host's, for who knows the key. */
struct vm_listen {
	uint32_t port; /* at which it is called */
	const char *path;
	uint8_t key[16]; /* that is to be said first */
};

/* Streams between the guest and sockets of the host, over virtio-vsock. */
struct vm_vsock {
	bool present;
	int agent_fd;  /* -1, or what the guest program's connection is handed to. Taken over */
	int listen_fd; /* -1, or a listening unix socket for connections to the guest. Taken over */
	const char *prefix; /* NULL, or: the guest's connections to port N go to PREFIX_N */
	unsigned listens;
	struct vm_listen listen[VM_LISTENS_MAX];
};

struct vm_config {
	const char *kernel;
	int kernel_fd; /* -1, or an open file that takes the place of kernel, which it came from */
	const char *initrd; /* NULL: none (rootfs/ may have made one and put its path or fd here) */
	int initrd_fd;	    /* -1, or an open file that takes the place of initrd */
	const char *append; /* put behind the built-in command line; NULL: nothing */
	bool has_root;	    /* disk[0] is the root disk */
	bool make_initrd;   /* no initrd was given: the CLI lets rootfs/ build one */
	const char *modules; /* directory of modules for it; NULL: /lib/modules/VERSION */
	unsigned disks;
	struct vm_disk disk[VM_DISKS_MAX];
	unsigned nets;
	struct vm_net net[VM_NETS_MAX];
	unsigned shares;
	struct vm_share share[VM_SHARES_MAX];
	struct vm_vsock vsock;
	unsigned cpus;
	uint64_t memory; /* bytes */
	unsigned workers;
	enum vm_hw hw;
	enum vm_console console;
	const char *console_path;
	unsigned timeout_ms; /* 0: none */
	bool all_signals;    /* every signal there is to take is offered to the attendant */
	bool sandbox;
	int violation_status; /* of the process, when a seccomp filter ends it */
};

/* The defaults: 1 CPU, 512 MiB, 1 worker, ACPI, console on stdio, sandbox on. */
void vm_config_init(struct vm_config *config);

/*
 * What can be told to be wrong from the numbers alone: -EINVAL with ERROR_USAGE, the message naming
 * the option. (What needs a look at the host or at a file comes later, from machine_create().)
 */
int vm_config_check(const struct vm_config *config, struct error *err);
