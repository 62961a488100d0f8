/* What people give as a kernel by mistake, so that the refusal can name it. */
#include "boot/image.h"

#include "util/macros.h"

#include <errno.h>
#include <string.h>

struct lookalike {
	unsigned offset;
	unsigned len;
	const char *magic;
	const char *what; /* "the file is %s" */
};

static const struct lookalike lookalikes[] = {
	{ 56, 4, "ARM\x64", "an arm64 Image: a kernel for x86-64 is needed" },
	{ 56, 4, "RSC\x05", "a RISC-V Image: a kernel for x86-64 is needed" },
	{ 0x24, 4, "\x18\x28\x6f\x01", "a 32-bit ARM zImage: a kernel for x86-64 is needed" },
	{ 4, 4, "zimg", "an EFI zboot image of another architecture: a bzImage is needed" },
	{ 0, 4, "\x27\x05\x19\x56", "a U-Boot image: a bzImage or vmlinux is needed" },
	{ 0, 4, "\xd0\x0d\xfe\xed", "a device tree or FIT image: a bzImage or vmlinux is needed" },
	{ 0, 2, "\x1f\x8b", "compressed with gzip: unpack it first (zcat)" },
	{ 0, 6,
		"\xfd"
		"7zXZ\0",
		"compressed with xz: unpack it first (xzcat)" },
	{ 0, 4, "\x28\xb5\x2f\xfd", "compressed with zstd: unpack it first (zstdcat)" },
	{ 0, 4, "\x02\x21\x4c\x18", "compressed with lz4: unpack it first (lz4cat)" },
	{ 0, 4, "\x04\x22\x4d\x18", "compressed with lz4: unpack it first (lz4cat)" },
	{ 0, 3, "BZh", "compressed with bzip2: unpack it first (bzcat)" },
	{ 0, 4, "\x89LZO", "compressed with lzop: unpack it first (lzop -dc)" },
	{ 0, 5, "\x5d\0\0\x80\0", "compressed with lzma: unpack it first (lzcat)" },
	{ 0, 5, "07070", "a cpio archive: give that as --initrd" },
	{ 0, 4, "QFI\xfb", "a qcow2 disk image: a bzImage or vmlinux is needed" },
	{ 0, 4, "hsqs", "a squashfs image: a bzImage or vmlinux is needed" },
	{ 0x438, 2, "\x53\xef", "an ext2/3/4 file system: give that as --rootfs" },
	{ 0, 8, "!<arch>\n", "an archive (.deb or .a): take the kernel out of it first" },
	{ 0, 2, "#!", "a script: a bzImage or vmlinux is needed" },
	{ 0, 2, "MZ", "an EFI program without Linux's boot header: a bzImage is needed" },
	{ 0x1fe, 2, "\x55\xaa", "a boot sector or disk image: a bzImage or vmlinux is needed" },
};

int image_not_a_kernel(const struct boot_kernel *k, const struct boot_head *head, struct error *err)
{
	const struct lookalike *found = NULL;

	for (unsigned i = 0; i < ARRAY_SIZE(lookalikes) && !found; i++) {
		const struct lookalike *l = &lookalikes[i];

		if (l->offset + l->len <= head->len &&
			!memcmp(head->byte + l->offset, l->magic, l->len))
			found = l;
	}
	/* A bzImage is an EFI program at first sight, too: it may be just its first bytes. */
	if (head->len < 0x206)
		return image_error(k, err, ENOEXEC,
			"the file has %zu bytes only, too few for a kernel: is it truncated%s?",
			head->len, found ? " or of another kind" : "");
	if (found)
		return image_error(k, err, ENOEXEC, "the file is %s", found->what);
	return image_error(k, err, ENOEXEC,
		"not a kernel: give a bzImage (vmlinuz) or an x86-64 ELF (vmlinux)");
}
