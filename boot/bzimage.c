/*
 * bzImage by the 64-bit boot protocol (Linux's Documentation/arch/x86/boot.rst): real-mode setup
 * sectors, which we skip but for the header in the first ones, then the 64-bit kernel that is
 * entered 0x200 bytes behind its load address.
 */
#include "boot/image.h"

#include "util/macros.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#define HDR_OFFSET  offsetof(struct boot_params, hdr)
#define HDR_MAGIC   0x53726448 /* "HdrS" */
#define BOOT_FLAG   0xaa55
#define ENTRY_64    0x200  /* from the load address */
#define VERSION_MIN 0x020c /* 2.12 brought xloadflags; Linux 3.8 */
#define HDR_END_MIN 0x264  /* 2.10 and later have init_size, which ends here */
#define SECTOR	    512

/* The header has a jump over itself whose distance gives its end ("setup_header" in boot.rst). */
static size_t header_end(const struct boot_head *head)
{
	return 0x202 + head->byte[0x201];
}

bool bzimage_probe(const struct boot_head *head)
{
	const struct setup_header *hdr = (const void *)(head->byte + HDR_OFFSET);

	return head->len >= HDR_OFFSET + offsetof(struct setup_header, version) &&
	       hdr->boot_flag == BOOT_FLAG && hdr->header == HDR_MAGIC;
}

static int check_header(
	const struct boot_kernel *k, const struct boot_head *head, struct error *err)
{
	const struct setup_header *hdr = &k->setup;

	if (head->len < HDR_END_MIN)
		return image_error(k, err, ENOEXEC,
			"the file is truncated: it ends inside the boot header; get a whole copy");
	if (hdr->version < VERSION_MIN)
		return image_error(k, err, ENOEXEC,
			"boot protocol %u.%02u is too old: 2.12 or later is needed (Linux 3.8)",
			hdr->version >> 8, hdr->version & 0xff);
	if (header_end(head) < HDR_END_MIN)
		return image_error(
			k, err, ENOEXEC, "the boot header is cut short: the file is damaged");
	if (!(hdr->loadflags & LOADED_HIGH))
		return image_error(k, err, ENOEXEC, "a zImage, which loads low: give a bzImage");
	if (!(hdr->xloadflags & XLF_KERNEL_64))
		return image_error(k, err, ENOEXEC,
			"a 32-bit kernel (no XLF_KERNEL_64): give one built for x86-64");
	if (hdr->kernel_alignment < 4096 || (hdr->kernel_alignment & (hdr->kernel_alignment - 1)))
		return image_error(k, err, ENOEXEC,
			"kernel_alignment %#x is not a power of two: the boot header is damaged",
			hdr->kernel_alignment);
	return 0;
}

/*
 * Where to load. A kernel that starts lower than its pref_address only moves itself there, and one
 * that is not relocatable must be there.
 */
static int load_address(const struct boot_kernel *k, gpa_t *out, struct error *err)
{
	const struct setup_header *hdr = &k->setup;

	*out = hdr->pref_address;
	if (hdr->pref_address > LAYOUT_HOLE_START)
		return image_error(k, err, ENOEXEC,
			"pref_address %#llx lies beyond 3 GiB: the boot header is damaged",
			(unsigned long long)hdr->pref_address);
	if (hdr->relocatable_kernel)
		*out = align_up(MAX(*out, BOOT_IMAGE_MIN), hdr->kernel_alignment);
	return 0;
}

/* The word before the first blank, if it can be a version and so a folder's name. */
static void read_version(struct boot_kernel *k, uint64_t setup_size)
{
	uint64_t offset = (uint64_t)k->setup.kernel_version + 0x200;
	char text[BOOT_VERSION_MAX];
	size_t n;

	if (!k->setup.kernel_version || offset >= setup_size)
		return;
	n = MIN(sizeof(text), setup_size - offset);
	if (image_read(k->fd, text, n, offset) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		if (isalnum((unsigned char)text[i]) || (text[i] && strchr("._+-~", text[i])))
			continue;
		if ((text[i] == ' ' || !text[i]) && i && isdigit((unsigned char)text[0]))
			memcpy(k->version, text, i); /* i < n; the rest is zero */
		return;
	}
}

int bzimage_parse(struct boot_kernel *k, const struct boot_head *head, struct error *err)
{
	struct boot_segment s;
	int r;

	memcpy(&k->setup, head->byte + HDR_OFFSET,
		MIN(sizeof(k->setup), header_end(head) - HDR_OFFSET));
	r = check_header(k, head, err);
	if (r < 0)
		return r;
	k->bzimage = true;
	if (!k->setup.setup_sects)
		k->setup.setup_sects = 4;
	s.offset = (k->setup.setup_sects + 1) * SECTOR;
	s.bytes = k->setup.syssize * 16ULL;
	s.size = MAX(s.bytes, k->setup.init_size);
	r = load_address(k, &s.gpa, err);
	if (r < 0)
		return r;
	if (s.bytes <= ENTRY_64)
		return image_error(k, err, ENOEXEC,
			"syssize leaves no room for a kernel: the boot header is damaged");
	r = image_add(k, &s, "the kernel", err);
	if (r < 0)
		return r;
	k->entry = s.gpa + ENTRY_64;
	read_version(k, s.offset);
	return 0;
}
