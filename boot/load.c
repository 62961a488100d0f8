/* boot_load(): everything into guest memory, in order. */
#include "boot/describe.h"
#include "boot/image.h"

#include "util/macros.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define SEED_BYTES 32

static_assert(sizeof(struct setup_data) + SEED_BYTES <= LAYOUT_SEED_SIZE, "seed");

static int check(const struct guest_memory *mem, const struct boot_params_in *in, struct error *err)
{
	uint64_t need = boot_memory_needed(in->kernel, 0);

	if (!in->cpus || in->cpus > BOOT_CPUS_MAX)
		return error_set(err, ERROR_USAGE, EINVAL, "--cpus: %u: give 1 to %d", in->cpus,
			BOOT_CPUS_MAX);
	if (in->devices > BOOT_DEVICES_MAX)
		return error_set(err, ERROR_USAGE, EINVAL,
			"%u devices are too many: a machine has interrupts for %d", in->devices,
			BOOT_DEVICES_MAX);
	for (unsigned i = 0; i < in->devices; i++) {
		const struct boot_device *d = &in->device[i];

		if (d->gsi >= LAYOUT_IOAPIC_PINS || d->base < LAYOUT_HOLE_START || !d->size ||
			d->base >= LAYOUT_HOLE_END || d->size > LAYOUT_HOLE_END - d->base)
			return error_set(err, ERROR_USAGE, EINVAL,
				"device %u at %#llx, interrupt %u: not in the hole below 4 GiB", i,
				(unsigned long long)d->base, d->gsi);
	}
	if (need > memory_low_end(mem))
		return image_error(in->kernel, err, ENOMEM,
			"needs at least %llu MiB of memory to be loaded, the machine has %llu MiB: "
			"give more --memory",
			(unsigned long long)(align_up(need, MIB) / MIB),
			(unsigned long long)(mem->bytes / MIB));
	return 0;
}

/* Put a node in front of the list. @data lies behind its header in guest memory already. */
static int link_setup_data(const struct guest_memory *mem, struct boot_placed *placed, gpa_t gpa,
	uint32_t type, uint32_t len)
{
	struct setup_data node = { .next = placed->setup_data, .type = type, .len = len };

	placed->setup_data = gpa;
	return memory_write(mem, gpa, &node, sizeof(node));
}

/* A guest without a seed has to wait for its first random numbers. Best effort. */
static int put_seed(const struct guest_memory *mem, struct boot_placed *placed)
{
	uint8_t *seed = memory_at(mem, LAYOUT_SEED + sizeof(struct setup_data), SEED_BYTES);

	if (!seed || getrandom(seed, SEED_BYTES, GRND_NONBLOCK) != SEED_BYTES)
		return 0;
	return link_setup_data(mem, placed, LAYOUT_SEED, SETUP_RNG_SEED, SEED_BYTES);
}

static int put_fdt(
	const struct guest_memory *mem, const struct boot_params_in *in, struct boot_placed *placed)
{
	const size_t room = LAYOUT_FDT_MAX - sizeof(struct setup_data);
	uint8_t *blob = memory_at(mem, LAYOUT_FDT + sizeof(struct setup_data), room);
	int n;

	if (!blob)
		return -EFAULT;
	n = fdt_build(blob, room, in, mem, placed);
	if (n < 0)
		return n;
	return link_setup_data(mem, placed, LAYOUT_FDT, SETUP_DTB, (uint32_t)n);
}

static int put_hardware(const struct guest_memory *mem, const struct boot_params_in *in,
	struct boot_placed *placed, struct error *err)
{
	uint8_t *area = memory_at(mem, LAYOUT_ACPI, LAYOUT_ACPI_MAX);
	uint8_t *ebda = memory_at(mem, LAYOUT_EBDA, 16);
	int r = -EFAULT;

	if (area && ebda) {
		switch (in->hw) {
		case BOOT_HW_ACPI:
			r = acpi_build(area, LAYOUT_ACPI_MAX, in);
			placed->rsdp = LAYOUT_ACPI;
			break;
		case BOOT_HW_FDT:
			r = put_fdt(mem, in, placed);
			break;
		case BOOT_HW_CMDLINE:
			r = mptable_build(area, LAYOUT_ACPI_MAX, ebda, in);
			break;
		}
	}
	if (r < 0)
		return error_set(err, ERROR_IMAGE, -r,
			"the description of the hardware does not fit its place: %m");
	return 0;
}

int boot_load(const struct guest_memory *mem, const struct boot_params_in *in,
	struct boot_entry *entry, struct error *err)
{
	char cmdline[LAYOUT_CMDLINE_MAX];
	struct boot_placed placed = { .cmdline = cmdline };
	int r;

	*entry = (struct boot_entry){ .rip = in->kernel->entry, .rsi = LAYOUT_ZERO_PAGE };
	r = check(mem, in, err);
	if (r < 0)
		return r;
	if (boot_cmdline(in, cmdline, sizeof(cmdline)) < 0)
		return error_set(err, ERROR_USAGE, E2BIG,
			"--append: the command line is longer than %llu bytes: shorten it",
			LAYOUT_CMDLINE_MAX - 1);
	r = image_load(in->kernel, mem, err);
	if (!r)
		r = relocs_randomize(in->kernel, mem, cmdline, &placed.randomized, err);
	if (!r)
		r = boot_initrd(mem, in, &placed, err);
	if (!r)
		r = put_hardware(mem, in, &placed, err);
	if (r < 0)
		return r;
	if (put_seed(mem, &placed) < 0 || boot_tables(mem, entry) < 0)
		return error_set(err, ERROR_IMAGE, EFAULT, "no memory for the boot structures");
	return boot_zero_page(mem, in, &placed, err);
}
