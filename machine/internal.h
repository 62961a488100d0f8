/*
 * struct machine, shared by the files of machine/ only. Everything is built and taken down on the
 * main thread; nothing here changes while the guest runs, but for what the loop owns.
 */
#pragma once

#include "machine/machine.h"

#include "block/block.h"
#include "boot/boot.h"
#include "console/console.h"
#include "fs/fs.h"
#include "net/net.h"
#include "platform/serial.h"
#include "virtio/device.h"
#include "vmm/vm.h"
#include "vmm/worker.h"

struct machine_device {
	struct virtio_device *device; /* owned; destroy() releases it */
	void (*destroy)(struct virtio_device *device);
};

struct machine {
	const struct vm_config *config;

	/* In the order they are made; machine_destroy() goes the other way round. */
	struct vm vm;
	bool vm_made;
	struct console *console;
	unsigned workers;
	/* One more for each user network, each share, and vsock. */
	struct worker *worker[VM_WORKERS_MAX + VM_NETS_MAX + VM_SHARES_MAX + 1];
	unsigned next_worker; /* of config->workers, for the next queue */
	struct serial *serial;
	struct block *disk[VM_DISKS_MAX];
	struct net *net[VM_NETS_MAX];
	struct fs_server *share[VM_SHARES_MAX];
	uint64_t capabilities;		    /* 1 << CAP_...: what some workers' threads keep */
	struct virtio_device *vsock_device; /* one of device[], or NULL */
	unsigned devices;
	struct machine_device device[LAYOUT_VIRTIO_MAX];
	struct virtio_device *console_device; /* one of device[], or NULL */

	/* The loop's. */
	int signal_fd;
	int timer_fd;
};

/* machine/devices.c: make every device of the configuration and put it on the bus. */
int machine_add_devices(struct machine *m, struct error *err);
void machine_remove_devices(struct machine *m);

/* machine/cmdline.c: the kernel's command line; the caller frees it. NULL when out of memory. */
char *machine_cmdline(const struct vm_config *config);
/* Whether the serial port is the console: --append says so, or nobody looks at it. */
bool machine_serial_console(const struct vm_config *config);

/* machine/loop.c: wait for the end of the machine. Signals: before the first thread exists. */
void machine_block_signals(const struct vm_config *config);
int machine_loop_create(struct machine *m, struct error *err);
void machine_loop(struct machine *m, const struct machine_attendant *attendant,
	struct machine_result *result);
void machine_loop_destroy(struct machine *m);
