/*
 * The three stages of a start, and the way back.
 */
#include "machine/internal.h"

#include "platform/power.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/macros.h"
#include "virtio/vsock.h"
#include "vmm/sandbox.h"
#include "vmm/vcpu.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* For programs of the host to take what the guest sent them, when it has gone. */
enum { VSOCK_DRAIN_MS = 1000 };

static int add_workers(struct machine *m, struct error *err)
{
	for (unsigned i = 0; i < m->config->workers; i++) {
		char name[24];
		struct worker_params p = { .name = name, .sandbox = m->config->sandbox };
		int r;

		snprintf(name, sizeof(name), "worker%u", i);
		r = worker_create(&m->worker[m->workers], &p, err);
		if (r < 0)
			return r;
		m->workers++;
	}
	return 0;
}

/* The person at the terminal, or whoever read our output, has left. On the console's worker. */
static void on_leave(void *ctx, int signal)
{
	struct machine *m = ctx;

	vm_request_stop(&m->vm, VM_STOP_HOST, signal);
}

/* The kernel goes into guest memory and the first vCPU is set to its entry. */
static int load_kernel(struct machine *m, const struct boot_kernel *kernel, struct error *err)
{
	struct boot_device window[LAYOUT_VIRTIO_MAX];
	static const enum boot_hw hw[] = {
		[VM_HW_ACPI] = BOOT_HW_ACPI,
		[VM_HW_FDT] = BOOT_HW_FDT,
		[VM_HW_CMDLINE] = BOOT_HW_CMDLINE,
	};
	_cleanup_free_ char *cmdline = machine_cmdline(m->config);
	_cleanup_close_ int opened = -1;
	struct boot_params_in in = {
		.kernel = kernel,
		.initrd_fd = m->config->initrd_fd,
		.initrd_name = m->config->initrd ? m->config->initrd : "the built-in initramfs",
		.cmdline = cmdline,
		.cpus = m->config->cpus,
		.hw = hw[m->config->hw],
		.devices = m->devices,
		.device = window,
	};
	struct boot_entry e;
	int r;

	if (!cmdline)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory for the command line");
	log_debug("kernel command line: %s", cmdline);
	if (in.initrd_fd < 0 && m->config->initrd) {
		opened = open(m->config->initrd, O_RDONLY | O_CLOEXEC | O_NOCTTY);
		if (opened < 0)
			return error_set(err, ERROR_IMAGE, errno,
				"--initrd %s: %m: give the path of a cpio archive",
				m->config->initrd);
		in.initrd_fd = opened;
	}
	for (unsigned i = 0; i < m->devices; i++)
		window[i] = (struct boot_device){
			.base = LAYOUT_VIRTIO + i * LAYOUT_VIRTIO_STRIDE,
			.size = VIRTIO_MMIO_WINDOW,
			.gsi = LAYOUT_VIRTIO_GSI_BASE + i,
		};
	r = boot_load(&m->vm.memory, &in, &e, err);
	if (r < 0)
		return r;
	return vcpu_set_entry(m->vm.cpu[0],
		&(struct vcpu_entry){ .rip = e.rip,
			.rsi = e.rsi,
			.rsp = e.rsp,
			.cr3 = e.cr3,
			.gdt = e.gdt,
			.gdt_limit = e.gdt_limit },
		err);
}

static int open_kernel(struct boot_kernel **out, const struct vm_config *config, struct error *err)
{
	int fd;

	if (config->kernel_fd < 0)
		return boot_kernel_open(out, config->kernel, err);
	*out = NULL;
	fd = fcntl(config->kernel_fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return error_set(err, ERROR_HOST, errno, "kernel %s: %m", config->kernel);
	return boot_kernel_from_fd(out, fd, config->kernel, err);
}

int machine_create(struct machine **out, const struct vm_config *config, struct error *err)
{
	struct boot_kernel *kernel = NULL;
	struct machine *m = calloc(1, sizeof(*m));
	static const enum console_mode mode[] = {
		[VM_CONSOLE_STDIO] = CONSOLE_STDIO,
		[VM_CONSOLE_FILE] = CONSOLE_FILE,
		[VM_CONSOLE_NONE] = CONSOLE_NONE,
		[VM_CONSOLE_KEEP] = CONSOLE_KEEP,
	};
	int r;

	*out = NULL;
	if (!m)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory for the machine");
	m->config = config;
	m->signal_fd = m->timer_fd = -1;
	machine_block_signals(config);

	/* What can be wrong with the user's files comes before anything is made of the host's. */
	r = open_kernel(&kernel, config, err);
	if (r < 0)
		goto fail;
	r = vm_create(&m->vm, config->memory, err);
	if (r < 0)
		goto fail;
	m->vm_made = true;
	m->vm.sandbox = config->sandbox;
	r = vm_add_cpus(&m->vm, config->cpus, err);
	if (r < 0)
		goto fail;
	r = console_open(&m->console, mode[config->console], config->console_path, err);
	if (r < 0)
		goto fail;
	r = add_workers(m, err);
	if (r < 0)
		goto fail;
	r = console_attach(m->console, m->worker[0], on_leave, m, err);
	if (r < 0)
		goto fail;
	r = power_add_ports(&m->vm, err);
	if (r < 0)
		goto fail;
	r = machine_add_devices(m, err);
	if (r < 0)
		goto fail;
	r = load_kernel(m, kernel, err);
	if (r < 0)
		goto fail;
	r = machine_loop_create(m, err);
	if (r < 0)
		goto fail;
	boot_kernel_close(kernel);
	*out = m;
	return 0;
fail:
	boot_kernel_close(kernel);
	machine_destroy(m);
	return r;
}

static int start_threads(struct machine *m, sem_t *ready, sem_t *gate, struct error *err)
{
	int r = 0;

	for (unsigned i = 0; i < m->workers && r == 0; i++)
		r = worker_start(m->worker[i], err);
	for (unsigned i = 0; i < m->vm.cpus && r == 0; i++)
		r = vcpu_start(m->vm.cpu[i], ready, gate, err);
	return r;
}

/*
 * Reverse of start_threads(). A device's queues come to rest while their worker still runs, and so
 * does the console: what the guest said before it ended is all written.
 */
static void stop_threads(struct machine *m, sem_t *gate, bool patient)
{
	console_stop(m->console);
	atomic_store(&m->vm.stopping, true);
	for (unsigned i = 0; i < m->vm.cpus; i++) /* those that never got through the gate */
		sem_post(gate);
	vm_stop_cpus(&m->vm);
	for (unsigned i = m->devices; i-- > 0;)
		virtio_device_quiesce(m->device[i].device);
	console_drain(m->console, patient);
	for (unsigned i = m->workers; i-- > 0;)
		worker_stop(m->worker[i]);
	/* Programs of the host that are slow to read have a little more time for the rest. */
	if (patient && m->vsock_device)
		virtio_vsock_drain(m->vsock_device, VSOCK_DRAIN_MS);
}

int machine_run(struct machine *m, const struct machine_attendant *attendant,
	struct machine_result *result, struct error *err)
{
	sem_t ready, gate;
	int r = 0;

	*result = (struct machine_result){ .end = MACHINE_FAILED };
	sem_init(&ready, 0, 0);
	sem_init(&gate, 0, 0);
	if (m->config->sandbox) {
		r = sandbox_process(m->capabilities, err);
		if (r == 0)
			r = sandbox_handle_violations(
				console_restore_terminal, m->config->violation_status, err);
	}
	if (r == 0)
		r = start_threads(m, &ready, &gate, err);
	if (r == 0 && m->config->sandbox) {
		r = sandbox_thread(SANDBOX_MAIN, 0);
		if (r < 0)
			error_set(err, ERROR_HOST, -r, "cannot put the seccomp filter on: %m");
	}
	if (r == 0) {
		console_begin(m->console);
		for (unsigned i = 0; i < m->vm.cpus; i++)
			sem_post(&gate);
		machine_loop(m, attendant, result);
	}
	/* Whoever wants it over does not wait for a reader who may never come. */
	stop_threads(m, &gate,
		result->end != MACHINE_SIGNALLED && result->end != MACHINE_LEFT &&
			result->end != MACHINE_TIMED_OUT);
	if (r == 0 && result->end == MACHINE_FAILED) {
		*err = m->vm.failure;
		r = -EIO;
	}
	sem_destroy(&gate);
	sem_destroy(&ready);
	return r;
}

size_t machine_console_tail(struct machine *m, char *text, size_t size)
{
	return console_tail(m->console, text, size);
}

void machine_destroy(struct machine *m)
{
	if (!m)
		return;
	machine_loop_destroy(m);
	machine_remove_devices(m);
	for (unsigned i = m->workers; i-- > 0;)
		worker_destroy(m->worker[i]);
	console_close(m->console);
	if (m->vm_made)
		vm_destroy(&m->vm);
	free(m);
}
