#include "images.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEVICE(n)                                                               \
	{                                                                       \
		LAYOUT_VIRTIO + (n)*LAYOUT_VIRTIO_STRIDE, LAYOUT_VIRTIO_STRIDE, \
			LAYOUT_VIRTIO_GSI_BASE + (n)                            \
	}

const struct boot_device test_devices[LAYOUT_VIRTIO_MAX] = {
	DEVICE(0),
	DEVICE(1),
	DEVICE(2),
	DEVICE(3),
	DEVICE(4),
	DEVICE(5),
	DEVICE(6),
	DEVICE(7),
	DEVICE(8),
	DEVICE(9),
	DEVICE(10),
	DEVICE(11),
	DEVICE(12),
	DEVICE(13),
	DEVICE(14),
	DEVICE(15),
	DEVICE(16),
	DEVICE(17),
	DEVICE(18),
};

uint8_t test_pattern(size_t i)
{
	return (uint8_t)(i * 7 + (i >> 8) + 1);
}

struct setup_header *test_setup(uint8_t *bzimage)
{
	return (void *)(bzimage + offsetof(struct boot_params, hdr));
}

uint8_t *test_bzimage(void)
{
	static const char version[] = TEST_VERSION " (someone@somewhere) #1 SMP";
	uint8_t *image = calloc(1, TEST_BZIMAGE);
	struct setup_header *hdr = test_setup(image);

	image[0] = 'M';
	image[1] = 'Z';
	hdr->setup_sects = TEST_SETUP_SECTS;
	hdr->syssize = TEST_PAYLOAD / 16;
	hdr->boot_flag = 0xaa55;
	hdr->jump = 0x6aeb; /* to 0x26c */
	hdr->header = 0x53726448;
	hdr->version = 0x020f;
	hdr->kernel_version = 0x300 - 0x200;
	memcpy(image + 0x300, version, sizeof(version));
	hdr->loadflags = LOADED_HIGH;
	hdr->initrd_addr_max = 0x7fffffff;
	hdr->kernel_alignment = 0x1000;
	hdr->relocatable_kernel = 1;
	hdr->xloadflags = XLF_KERNEL_64 | XLF_CAN_BE_LOADED_ABOVE_4G;
	hdr->cmdline_size = 2047;
	hdr->pref_address = TEST_LOAD;
	hdr->init_size = TEST_INIT_SIZE;
	for (size_t i = 0; i < TEST_PAYLOAD; i++)
		image[TEST_SETUP_SIZE + i] = test_pattern(i);
	return image;
}

Elf64_Ehdr *test_ehdr(uint8_t *elf)
{
	return (void *)elf;
}

Elf64_Phdr *test_phdr(uint8_t *elf, unsigned i)
{
	return (Elf64_Phdr *)(elf + sizeof(Elf64_Ehdr)) + i;
}

uint8_t *test_elf(void)
{
	uint8_t *elf = calloc(1, TEST_ELF);
	Elf64_Ehdr *e = test_ehdr(elf);

	memcpy(e->e_ident, ELFMAG, SELFMAG);
	e->e_ident[EI_CLASS] = ELFCLASS64;
	e->e_ident[EI_DATA] = ELFDATA2LSB;
	e->e_ident[EI_VERSION] = EV_CURRENT;
	e->e_type = ET_EXEC;
	e->e_machine = EM_X86_64;
	e->e_version = EV_CURRENT;
	e->e_entry = 0x100010;
	e->e_phoff = sizeof(*e);
	e->e_ehsize = sizeof(*e);
	e->e_phentsize = sizeof(Elf64_Phdr);
	e->e_phnum = 3;
	*test_phdr(elf, 0) = (Elf64_Phdr){ .p_type = PT_LOAD,
		.p_flags = PF_R | PF_X,
		.p_offset = TEST_ELF_TEXT,
		.p_vaddr = 0xffffffff80000000,
		.p_paddr = 0x100000,
		.p_filesz = 0x1000,
		.p_memsz = 0x1000 };
	*test_phdr(elf, 1) = (Elf64_Phdr){ .p_type = PT_LOAD,
		.p_flags = PF_R | PF_W,
		.p_offset = TEST_ELF_DATA,
		.p_vaddr = 0xffffffff81000000,
		.p_paddr = 0x200000,
		.p_filesz = 0x800,
		.p_memsz = 0x3001 };
	*test_phdr(elf, 2) = (Elf64_Phdr){ .p_type = PT_NOTE };
	for (size_t i = TEST_ELF_TEXT; i < TEST_ELF; i++)
		elf[i] = test_pattern(i);
	return elf;
}

int test_file(const void *bytes, size_t n)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	if (fd < 0 || write(fd, bytes, n) != (ssize_t)n)
		abort();
	return fd;
}

int test_open(struct boot_kernel **out, const void *bytes, size_t n, struct error *err)
{
	return boot_kernel_from_fd(out, test_file(bytes, n), "test", err);
}

int test_load(const struct guest_memory *mem, const void *bytes, size_t n,
	struct boot_params_in *in, struct boot_entry *entry, struct error *err)
{
	struct boot_kernel *k;
	int r = test_open(&k, bytes, n, err);

	if (r < 0)
		return r;
	in->kernel = k;
	r = boot_load(mem, in, entry, err);
	boot_kernel_close(k);
	return r;
}

struct boot_params_in test_params(void)
{
	return (struct boot_params_in){ .initrd_fd = -1, .cmdline = "quiet", .cpus = 1 };
}
