/*
 * The devices of a machine: each is made, its queues are given to workers, its window goes on the
 * MMIO bus, its doorbells and its interrupt are wired to KVM.
 *
 * Device n has the window LAYOUT_VIRTIO + n * stride and GSI base + n, in this order: console,
 * entropy, disks, networks, vsock, shares.
 */
#include "machine/internal.h"

#include "util/macros.h"
#include "virtio/blk.h"
#include "virtio/console.h"
#include "virtio/fs.h"
#include "virtio/net.h"
#include "virtio/rng.h"
#include "virtio/vsock.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>

static struct worker *next_worker(struct machine *m)
{
	return m->worker[m->next_worker++ % m->config->workers];
}

/* Take @device over (destroyed with the machine) and wire it to the guest. */
static int add(struct machine *m, struct virtio_device *device,
	void (*destroy)(struct virtio_device *device), struct error *err)
{
	unsigned n = m->devices;
	gpa_t base = LAYOUT_VIRTIO + n * LAYOUT_VIRTIO_STRIDE;
	int r;

	if (n == LAYOUT_VIRTIO_MAX) {
		destroy(device);
		return error_set(err, ERROR_USAGE, ENOSPC,
			"too many devices: the machine has interrupts for %d; leave out volumes, "
			"disks or networks",
			LAYOUT_VIRTIO_MAX);
	}
	m->device[m->devices++] = (struct machine_device){ device, destroy };
	r = bus_add(&m->vm.mmio, base, VIRTIO_MMIO_WINDOW, &virtio_mmio_ops, device, err);
	for (unsigned q = 0; q < device->queues && r == 0; q++)
		r = vm_ioeventfd(
			&m->vm, base + VIRTIO_MMIO_NOTIFY, 4, q, device->queue[q].kick_fd, err);
	if (r == 0)
		r = vm_irqfd(&m->vm, LAYOUT_VIRTIO_GSI_BASE + n, device->irq_fd, err);
	return r;
}

static int add_serial(struct machine *m, struct error *err)
{
	int r = serial_create(&m->serial, m->console, err);

	if (r == 0)
		r = bus_add(&m->vm.pio, LAYOUT_PORT_SERIAL, SERIAL_PORTS, &serial_bus_ops,
			m->serial, err);
	if (r == 0)
		r = vm_irqfd(&m->vm, LAYOUT_SERIAL_GSI, serial_irq_fd(m->serial), err);
	return r;
}

static int add_console(struct machine *m, struct error *err)
{
	struct virtio_device *device;
	int r = virtio_console_create(&device, &m->vm.memory, m->console, err);

	if (r < 0)
		return r;
	r = add(m, device, virtio_console_destroy, err);
	if (r < 0)
		return r;
	m->console_device = device;
	return virtio_console_attach(device, m->worker[0], err);
}

static int add_rng(struct machine *m, struct error *err)
{
	struct virtio_device *device;
	int r = virtio_rng_create(&device, &m->vm.memory, "rng0", err);

	if (r < 0)
		return r;
	r = add(m, device, virtio_rng_destroy, err);
	return r < 0 ? r : virtio_rng_attach(device, m->worker[0], err);
}

/* A disk gets as many queues as there are workers to serve them and CPUs to fill them. */
static int add_disk(struct machine *m, unsigned i, struct error *err)
{
	const struct vm_disk *disk = &m->config->disk[i];
	unsigned queues = MIN(m->config->workers, m->config->cpus);
	struct virtio_blk_params p = { .mem = &m->vm.memory, .queues = queues };
	struct virtio_device *device;
	char label[16];
	int r;

	snprintf(label, sizeof(label), "blk%u", i);
	r = block_open(&m->disk[i], disk->path, disk->read_only, err);
	if (r < 0) {
		error_prefix(err, i == 0 && m->config->has_root ? "--rootfs" : "--disk");
		return r;
	}
	p.block = m->disk[i];
	p.label = label;
	r = virtio_blk_create(&device, &p, err);
	if (r < 0)
		return r;
	r = add(m, device, virtio_blk_destroy, err);
	for (unsigned q = 0; q < queues && r == 0; q++) {
		struct worker *worker = next_worker(m);

		r = block_attach(m->disk[i], worker, err);
		if (r == 0)
			r = virtio_queue_assign(device, q, worker, err);
	}
	return r;
}

static int open_net(struct machine *m, unsigned i, struct error *err)
{
	const struct vm_net *net = &m->config->net[i];
	struct net_forward forward[VM_FORWARDS_MAX];

	if (net->kind == VM_NET_TAP)
		return net_open_tap(&m->net[i], net->tap, net->queue_pairs, err);
	for (unsigned f = 0; f < net->forwards; f++)
		forward[f] = (struct net_forward){
			.udp = net->forward[f].udp,
			.host_addr = net->forward[f].host_addr,
			.host_port = net->forward[f].host_port,
			.guest_port = net->forward[f].guest_port,
		};
	return net_open_user(&m->net[i], forward, net->forwards, err);
}

/*
 * A worker of a kind: some devices' threads make system calls, and wear another filter. Its thread
 * keeps the capabilities @keep, if we have them.
 */
static int own_worker(struct machine *m, const char *base, unsigned i, enum worker_kind kind,
	uint64_t keep, struct worker **out, struct error *err)
{
	char name[24];
	struct worker_params p = {
		.name = name, .kind = kind, .sandbox = m->config->sandbox, .capabilities = keep
	};
	int r;

	snprintf(name, sizeof(name), "%s%u", base, i);
	r = worker_create(out, &p, err);
	if (r == 0)
		m->worker[m->workers++] = *out;
	m->capabilities |= keep;
	return r;
}

static int add_net(struct machine *m, unsigned i, struct error *err)
{
	const struct vm_net *net = &m->config->net[i];
	struct virtio_net_params p = { .mem = &m->vm.memory };
	struct worker *served_by[NET_PAIRS_MAX];
	struct virtio_device *device;
	unsigned workers = 1;
	char label[16];
	int r;

	snprintf(label, sizeof(label), "net%u", i);
	r = open_net(m, i, err);
	if (r < 0) {
		error_prefix(err, "--net");
		return r;
	}
	p.net = m->net[i];
	p.label = label;
	if (net->has_mac)
		memcpy(p.mac, net->mac, sizeof(p.mac));
	else
		net_default_mac(p.net, i, p.mac);
	if (net_worker_kind(p.net) == WORKER_USER_NET) {
		r = own_worker(m, "usernet", i, WORKER_USER_NET, 0, &served_by[0], err);
		if (r < 0)
			return r;
	} else {
		workers = MIN(net_pairs(p.net), m->config->workers);
		for (unsigned w = 0; w < workers; w++)
			served_by[w] = next_worker(m);
	}
	r = virtio_net_create(&device, &p, err);
	if (r < 0)
		return r;
	r = add(m, device, virtio_net_destroy, err);
	return r < 0 ? r : virtio_net_assign(device, served_by, workers, err);
}

static int add_vsock(struct machine *m, struct error *err)
{
	const struct vm_vsock *v = &m->config->vsock;
	struct vsock_listen listen[1 + VM_LISTENS_MAX];
	struct vsock_params p = { .guest_cid = VSOCK_GUEST_CID_MIN,
		.listen_fd = v->listen_fd,
		.listen = listen,
		.listen_dir_prefix = v->prefix };
	/* They may be another user's: who may is what the guest's kernel is asked (guest/sockets.c). */
	uint64_t keep = v->listens ? 1ULL << CAP_DAC_OVERRIDE : 0;
	struct virtio_device *device;
	struct worker *worker;
	int r;

	if (v->agent_fd >= 0)
		listen[p.listens++] =
			(struct vsock_listen){ .port = VM_AGENT_PORT, .fd = v->agent_fd };
	for (unsigned i = 0; i < v->listens; i++) {
		struct vsock_listen *l = &listen[p.listens++];

		*l = (struct vsock_listen){
			.port = v->listen[i].port, .path = v->listen[i].path, .keyed = true
		};
		memcpy(l->key, v->listen[i].key, sizeof(l->key));
	}
	r = virtio_vsock_create(&device, &m->vm.memory, &p, err);
	if (r < 0)
		return r;
	r = add(m, device, virtio_vsock_destroy, err);
	if (r == 0)
		r = own_worker(m, "vsock", 0, virtio_vsock_worker_kind(&p), keep, &worker, err);
	if (r < 0)
		return r;
	m->vsock_device = device;
	return virtio_vsock_assign(device, worker, err);
}

static_assert((int)VSOCK_KEY_BYTES == sizeof(((struct vm_listen *)0)->key), "the same key");

static_assert(sizeof(VM_SHARE_FILE) == sizeof(FS_FILE_NAME), "the same name");

/* Each share has its own thread, which takes on the ids of the guest's users. */
static int add_share(struct machine *m, unsigned i, struct error *err)
{
	static const enum fs_cache cache[] = { [VM_CACHE_AUTO] = FS_CACHE_AUTO,
		[VM_CACHE_NONE] = FS_CACHE_NONE,
		[VM_CACHE_ALWAYS] = FS_CACHE_ALWAYS };
	const struct vm_share *share = &m->config->share[i];
	struct fs_options options = {
		.path = share->source, .read_only = share->read_only, .cache = cache[share->cache]
	};
	struct virtio_device *device;
	struct worker *worker;
	int r = fs_server_open(&m->share[i], &options, err);

	if (r < 0)
		return r;
	r = virtio_fs_create(&device, &m->vm.memory, share->tag, m->share[i], 1, err);
	if (r < 0)
		return r;
	r = add(m, device, virtio_fs_destroy, err);
	if (r == 0)
		r = own_worker(
			m, "fs", i, WORKER_FS, fs_server_capabilities(m->share[i]), &worker, err);
	return r < 0 ? r : virtio_fs_assign(device, worker, err);
}

int machine_add_devices(struct machine *m, struct error *err)
{
	int r = add_serial(m, err);

	if (r == 0 && m->config->console != VM_CONSOLE_NONE && !machine_serial_console(m->config))
		r = add_console(m, err);
	if (r == 0)
		r = add_rng(m, err);
	for (unsigned i = 0; i < m->config->disks && r == 0; i++)
		r = add_disk(m, i, err);
	for (unsigned i = 0; i < m->config->nets && r == 0; i++)
		r = add_net(m, i, err);
	if (r == 0 && m->config->vsock.present)
		r = add_vsock(m, err);
	for (unsigned i = 0; i < m->config->shares && r == 0; i++)
		r = add_share(m, i, err);
	return r;
}

void machine_remove_devices(struct machine *m)
{
	while (m->devices > 0) {
		struct machine_device *d = &m->device[--m->devices];

		d->destroy(d->device);
	}
	for (unsigned i = VM_SHARES_MAX; i-- > 0;)
		fs_server_close(m->share[i]);
	for (unsigned i = VM_NETS_MAX; i-- > 0;)
		net_close(m->net[i]);
	for (unsigned i = VM_DISKS_MAX; i-- > 0;)
		block_close(m->disk[i]);
	serial_destroy(m->serial);
}
