/*
 * The zero page: struct boot_params of Linux's x86 boot protocol, and the command line it points
 * to. A bare program gets the same.
 */
#include "boot/describe.h"
#include "boot/image.h"

#include "util/macros.h"

#include <errno.h>
#include <string.h>

#define E820_RAM      1
#define E820_RESERVED 2

static_assert(sizeof(struct boot_params) == 4096, "struct boot_params is one page");

static void e820_add(struct boot_params *bp, gpa_t start, gpa_t end, uint32_t type)
{
	if (start < end)
		bp->e820_table[bp->e820_entries++] = (struct boot_e820_entry){
			.addr = start, .size = end - start, .type = type
		};
}

static void e820(struct boot_params *bp, const struct guest_memory *mem)
{
	e820_add(bp, 0, LAYOUT_EBDA, E820_RAM);
	e820_add(bp, LAYOUT_EBDA, LAYOUT_EBDA_END, E820_RESERVED);
	e820_add(bp, LAYOUT_ACPI, LAYOUT_ACPI + LAYOUT_ACPI_MAX, E820_RESERVED);
	e820_add(bp, LAYOUT_HIGH_RAM, memory_low_end(mem), E820_RAM);
	for (unsigned i = 1; i < mem->regions; i++)
		e820_add(bp, mem->region[i].base, mem->region[i].base + mem->region[i].size,
			E820_RAM);
}

static int put_cmdline(const struct guest_memory *mem, const struct boot_kernel *k,
	const char *cmdline, struct error *err)
{
	uint64_t max = MIN(k->setup.cmdline_size, LAYOUT_CMDLINE_MAX - 1);
	size_t len = strlen(cmdline);

	if (len > max)
		return error_set(err, ERROR_IMAGE, E2BIG,
			"--append: the command line is %zu bytes, kernel %s takes at most %llu: "
			"shorten it",
			len, k->path, (unsigned long long)max);
	return memory_write(mem, LAYOUT_CMDLINE, cmdline, len + 1);
}

int boot_zero_page(const struct guest_memory *mem, const struct boot_params_in *in,
	const struct boot_placed *placed, struct error *err)
{
	struct boot_params *bp = memory_at(mem, LAYOUT_ZERO_PAGE, sizeof(*bp));
	const struct boot_kernel *k = in->kernel;
	int r;

	r = put_cmdline(mem, k, placed->cmdline, err);
	if (r < 0)
		return r;
	if (!bp)
		return error_set(err, ERROR_IMAGE, EFAULT, "no memory at %#llx", LAYOUT_ZERO_PAGE);
	/* Only the header comes from the image; all else is zero (boot.rst, 64-bit protocol). */
	memset(bp, 0, sizeof(*bp));
	bp->hdr = k->setup;
	if (placed->randomized)
		bp->hdr.loadflags |= KASLR_FLAG; /* the kernel then spreads its memory, too */
	bp->hdr.type_of_loader = 0xff;		 /* none of the registered ones */
	bp->hdr.vid_mode = 0xffff;		 /* normal */
	bp->hdr.cmd_line_ptr = LAYOUT_CMDLINE;
	bp->hdr.code32_start = (uint32_t)k->segment[0].gpa;
	bp->hdr.ramdisk_image = (uint32_t)placed->initrd; /* below 3 GiB */
	bp->hdr.ramdisk_size = (uint32_t)placed->initrd_size;
	bp->hdr.setup_data = placed->setup_data;
	bp->acpi_rsdp_addr = placed->rsdp;
	e820(bp, mem);
	return 0;
}
