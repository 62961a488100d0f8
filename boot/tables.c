/* What the processor itself needs to be in 64-bit mode: page tables and a GDT. */
#include "boot/describe.h"

#include "util/macros.h"

#include <errno.h>

#define PTE_TABLE 0x03ULL /* present, writable */
#define PTE_PAGE  0x83ULL /* and large: 2 MiB in a page directory */

static_assert(LAYOUT_PAGE_TABLES_SIZE == 6 * 4096, "PML4, PDPT and four page directories");

/* By Linux's 64-bit boot protocol: __BOOT_CS is 0x10, __BOOT_DS 0x18, both flat. */
static const uint64_t gdt[] = {
	0, 0, 0x00af9b000000ffff, /* 64-bit code, accessed */
	0x00cf93000000ffff,	  /* data, accessed */
	0x00008b0000000067,	  /* busy 64-bit TSS at 0, its lower ... */
	0x0000000000000000,	  /* ... and upper half */
};

int boot_tables(const struct guest_memory *mem, struct boot_entry *entry)
{
	uint64_t *table = memory_at(mem, LAYOUT_PAGE_TABLES, LAYOUT_PAGE_TABLES_SIZE);
	uint64_t *pdpt, *pd;

	if (!table || memory_write(mem, LAYOUT_GDT, gdt, sizeof(gdt)) < 0)
		return -EFAULT;
	pdpt = table + 512;
	pd = table + 1024; /* four in a row */
	table[0] = (LAYOUT_PAGE_TABLES + 0x1000) | PTE_TABLE;
	for (uint64_t i = 0; i < 4; i++)
		pdpt[i] = (LAYOUT_PAGE_TABLES + 0x2000 + i * 0x1000) | PTE_TABLE;
	for (uint64_t i = 0; i < 4 * 512; i++)
		pd[i] = i * 2 * MIB | PTE_PAGE;

	entry->cr3 = LAYOUT_PAGE_TABLES;
	entry->gdt = LAYOUT_GDT;
	entry->gdt_limit = sizeof(gdt) - 1;
	entry->rsp = LAYOUT_BOOT_STACK;
	return 0;
}
