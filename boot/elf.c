/*
 * x86-64 ELF: vmlinux, or a bare program. Segments go where p_paddr says; the entry is physical in
 * vmlinux and both at once in a bare program, but a virtual one is understood, too.
 */
#include "boot/image.h"

#include "util/macros.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PHDRS_MAX 64

static const struct {
	uint16_t machine;
	const char *name;
} machines[] = {
	{ EM_386, "32-bit x86" },
	{ EM_AARCH64, "arm64" },
	{ EM_ARM, "32-bit ARM" },
	{ EM_RISCV, "RISC-V" },
	{ EM_PPC64, "POWER" },
	{ EM_S390, "s390" },
	{ EM_MIPS, "MIPS" },
	{ EM_BPF, "BPF" },
	{ EM_LOONGARCH, "LoongArch" },
};

static const char *machine_name(uint16_t machine)
{
	for (unsigned i = 0; i < ARRAY_SIZE(machines); i++) {
		if (machines[i].machine == machine)
			return machines[i].name;
	}
	return "another machine";
}

static int check_type(const struct boot_kernel *k, const Elf64_Ehdr *e, struct error *err)
{
	switch (e->e_type) {
	case ET_EXEC:
	case ET_DYN:
		return 0;
	case ET_REL:
		return image_error(k, err, ENOEXEC,
			"an ELF object or module, not linked: give a vmlinux or bzImage");
	case ET_CORE:
		return image_error(k, err, ENOEXEC, "an ELF core dump: give a vmlinux or bzImage");
	}
	return image_error(k, err, ENOEXEC, "an ELF file of unknown type %u", e->e_type);
}

static int check_header(
	const struct boot_kernel *k, const struct boot_head *head, struct error *err)
{
	const Elf64_Ehdr *e = (const void *)head->byte;

	if (head->len < sizeof(*e))
		return image_error(k, err, ENOEXEC,
			"the file is truncated: it ends inside the ELF header; get a whole copy");
	if (e->e_ident[EI_CLASS] == ELFCLASS32)
		return image_error(k, err, ENOEXEC, "a 32-bit ELF file: give one built for x86-64");
	if (e->e_ident[EI_CLASS] != ELFCLASS64 || e->e_ident[EI_DATA] != ELFDATA2LSB ||
		e->e_machine != EM_X86_64)
		return image_error(k, err, ENOEXEC, "an ELF file for %s: give one built for x86-64",
			machine_name(e->e_machine));
	if (e->e_ident[EI_VERSION] != EV_CURRENT)
		return image_error(k, err, ENOEXEC, "the ELF header is damaged: unknown version");
	if (e->e_phentsize != sizeof(Elf64_Phdr) || !e->e_phnum || e->e_phnum > PHDRS_MAX)
		return image_error(k, err, ENOEXEC,
			"the ELF header is damaged: %u program headers of %u bytes", e->e_phnum,
			e->e_phentsize);
	return check_type(k, e, err);
}

static int add_segments(
	struct boot_kernel *k, const Elf64_Phdr *ph, unsigned phnum, struct error *err)
{
	for (unsigned i = 0; i < phnum; i++) {
		struct boot_segment s = {
			.offset = ph[i].p_offset,
			.bytes = ph[i].p_filesz,
			.gpa = ph[i].p_paddr,
			.size = ph[i].p_memsz,
		};
		char what[32];
		int r;

		if (ph[i].p_type == PT_INTERP)
			return image_error(k, err, ENOEXEC,
				"a dynamically linked program for an operating system, not a kernel");
		if (ph[i].p_type != PT_LOAD || !s.size)
			continue;
		snprintf(what, sizeof(what), "ELF segment %u", i);
		r = image_add(k, &s, what, err);
		if (r < 0)
			return r;
	}
	if (!k->segments)
		return image_error(k, err, ENOEXEC, "an ELF file without a segment to load");
	return 0;
}

/* The physical address first: vmlinux has segments at virtual address 0 that prove nothing. */
static int find_entry(struct boot_kernel *k, const Elf64_Phdr *ph, unsigned phnum, uint64_t entry,
	struct error *err)
{
	for (unsigned i = 0; i < phnum; i++) {
		if (ph[i].p_type == PT_LOAD && entry - ph[i].p_paddr < ph[i].p_memsz) {
			k->entry = entry;
			return 0;
		}
	}
	for (unsigned i = 0; i < phnum; i++) {
		if (ph[i].p_type == PT_LOAD && entry - ph[i].p_vaddr < ph[i].p_memsz) {
			k->entry = entry - ph[i].p_vaddr + ph[i].p_paddr;
			return 0;
		}
	}
	return image_error(k, err, ENOEXEC, "the ELF entry %#llx lies in no segment",
		(unsigned long long)entry);
}

/* What the zero page wants to know of a kernel that has no header of its own. */
static void make_setup(struct boot_kernel *k)
{
	k->setup = (struct setup_header){
		.boot_flag = 0xaa55,
		.header = 0x53726448, /* "HdrS" */
		.version = 0x020f,
		.loadflags = LOADED_HIGH,
		.initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 2 * MIB,
		.xloadflags = XLF_KERNEL_64,
		.cmdline_size = 2047, /* COMMAND_LINE_SIZE of x86, without the final zero */
	};
}

/* The first byte of the file that is none of the ELF file's, unless it says nonsense. */
static uint64_t file_end(const struct boot_kernel *k, const Elf64_Ehdr *e)
{
	uint64_t end = e->e_phoff + e->e_phnum * sizeof(Elf64_Phdr);

	if (e->e_shnum && e->e_shoff <= k->file_size)
		end = MAX(end, e->e_shoff + (uint64_t)e->e_shnum * e->e_shentsize);
	for (unsigned i = 0; i < k->segments; i++)
		end = MAX(end, k->segment[i].offset + k->segment[i].bytes);
	return end;
}

int elf_parse(struct boot_kernel *k, const struct boot_head *head, struct error *err)
{
	const Elf64_Ehdr *e = (const void *)head->byte;
	Elf64_Phdr ph[PHDRS_MAX];
	int r;

	r = check_header(k, head, err);
	if (r < 0)
		return r;
	/* Reading past the end is the check: no sum here that could wrap. */
	if (e->e_phoff > k->file_size)
		r = -ENODATA;
	else
		r = image_read(k->fd, ph, e->e_phnum * sizeof(ph[0]), e->e_phoff);
	if (r == -ENODATA)
		return image_error(k, err, ENOEXEC,
			"the file is truncated: it ends before its program headers; get a whole copy");
	if (r < 0)
		return image_error(k, err, -r, "cannot read it: %m");
	r = add_segments(k, ph, e->e_phnum, err);
	if (r < 0)
		return r;
	make_setup(k);
	relocs_find(k, file_end(k, e));
	return find_entry(k, ph, e->e_phnum, e->e_entry, err);
}
