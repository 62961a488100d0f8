#include "rootfs/probe.h"

#include "util/cleanup.h"
#include "util/macros.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/*
 * Magic numbers, the first that fits wins. Where each is from:
 * squashfs, xfs, btrfs, erofs, f2fs, iso9660, cramfs, ext: include/uapi/linux/magic.h and the file
 * systems' own headers; vfat: the boot sector's type string and signature; the rest: each format's
 * specification.
 */
static const struct magic {
	uint32_t offset;
	uint8_t len;
	enum probe_kind kind;
	const char *bytes;
	const char *name;
} magics[] = {
	{ 0, 4, PROBE_FOREIGN, "QFI\xfb", "a qcow2 image" },
	{ 0, 4, PROBE_FOREIGN, "KDMV", "a VMDK image" },
	{ 0, 8, PROBE_FOREIGN, "vhdxfile", "a VHDX image" },
	{ 0, 8, PROBE_FOREIGN, "conectix", "a VHD image" },
	{ 0, 2, PROBE_FOREIGN, "\x1f\x8b", "compressed with gzip" },
	{ 0, 6, PROBE_FOREIGN, "\xfd\x37zXZ\0", "compressed with xz" },
	{ 0, 4, PROBE_FOREIGN, "\x28\xb5\x2f\xfd", "compressed with zstd" },
	{ 0, 4, PROBE_FOREIGN, "\x7f\x45LF", "a program or kernel, not a disk image" },
	{ 257, 5, PROBE_FOREIGN, "ustar", "a tar archive, not a disk image" },
	{ 0, 4, PROBE_FILESYSTEM, "hsqs", "squashfs" },
	{ 0, 4, PROBE_FILESYSTEM, "XFSB", "xfs" },
	{ 0, 4, PROBE_FILESYSTEM, "\x45\x3d\xcd\x28", "cramfs" },
	{ 0x400, 4, PROBE_FILESYSTEM, "\xe2\xe1\xf5\xe0", "erofs" },
	{ 0x400, 4, PROBE_FILESYSTEM, "\x10\x20\xf5\xf2", "f2fs" },
	{ 0x438, 2, PROBE_FILESYSTEM, "\x53\xef", "ext4" },
	{ 0x10040, 8, PROBE_FILESYSTEM, "_BHRfS_M", "btrfs" },
	{ 0x8001, 5, PROBE_FILESYSTEM, "CD001", "iso9660" },
};

static bool has(const uint8_t *bytes, size_t len, size_t offset, const char *magic, size_t size)
{
	return offset <= len && len - offset >= size && memcmp(bytes + offset, magic, size) == 0;
}

static uint32_t le32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t le64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

/* A boot sector with FAT's type string at either of its places. */
static bool is_fat(const uint8_t *bytes, size_t len)
{
	return has(bytes, len, 510, "\x55\xaa", 2) &&
	       (has(bytes, len, 82, "FAT32   ", 8) || has(bytes, len, 54, "FAT16   ", 8) ||
		       has(bytes, len, 54, "FAT12   ", 8) || has(bytes, len, 54, "FAT     ", 8));
}

struct probe probe_bytes(const uint8_t *bytes, size_t len)
{
	struct probe_partition partition[PROBE_PARTITIONS_MAX];

	/* A hybrid ISO image carries both; its file system is what the whole disk mounts as. */
	for (size_t i = 0; i < ARRAY_SIZE(magics); i++)
		if (has(bytes, len, magics[i].offset, magics[i].bytes, magics[i].len))
			return (struct probe){ magics[i].kind, magics[i].name };
	if (is_fat(bytes, len))
		return (struct probe){ PROBE_FILESYSTEM, "vfat" };
	if (probe_partitions(bytes, len, partition))
		return (struct probe){ PROBE_PARTITIONED, "partitions" };
	if (has(bytes, len, 0, "LUKS\xba\xbe", 6))
		return (struct probe){ PROBE_UNKNOWN, "an encrypted disk (LUKS)" };
	if (has(bytes, len, 0x218, "LVM2 001", 8))
		return (struct probe){ PROBE_UNKNOWN, "an LVM volume" };
	return (struct probe){ PROBE_UNKNOWN, NULL };
}

enum {
	SECTOR = 512,
	GPT_HEADER = 512, /* LBA 1; UEFI specification 2.10, 5.3.2 */
	GPT_ENTRIES_LBA = 72,
	GPT_ENTRY_COUNT = 80,
	GPT_ENTRY_SIZE = 84,
	GPT_ENTRY = 128, /* 5.3.3: the least size of an entry */
	GPT_FIRST_LBA = 32,
	GPT_LAST_LBA = 40,
	MBR_TABLE = 446,
	MBR_ENTRY = 16
};

/* 4f68bce3-e8cd-4db1-96e7-fbcaf984b709: the Discoverable Partitions Specification's root, x86-64. */
static const uint8_t gpt_root_type[16] = { 0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d, 0x96,
	0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7, 0x09 };

static unsigned gpt_partitions(const uint8_t *bytes, size_t len, struct probe_partition *out)
{
	static const uint8_t unused[16];
	const uint8_t *header = bytes + GPT_HEADER;
	uint32_t entry_size = le32(header + GPT_ENTRY_SIZE);
	uint32_t entries = le32(header + GPT_ENTRY_COUNT);
	uint64_t at = le64(header + GPT_ENTRIES_LBA);
	unsigned found = 0;

	if (at > len / SECTOR || entry_size < GPT_ENTRY || entry_size > 4096)
		return 0;
	at *= SECTOR;
	for (unsigned i = 0; i < entries && found < PROBE_PARTITIONS_MAX; i++, at += entry_size) {
		const uint8_t *entry = bytes + at;

		if (at + GPT_ENTRY > len)
			break;
		uint64_t first = le64(entry + GPT_FIRST_LBA), last = le64(entry + GPT_LAST_LBA);

		if (memcmp(entry, unused, 16) == 0 || first == 0 || last < first ||
			last >= UINT64_MAX / SECTOR / 2)
			continue;
		out[found++] = (struct probe_partition){ .number = i + 1,
			.start = first * SECTOR,
			.size = (last - first + 1) * SECTOR,
			.is_root = memcmp(entry, gpt_root_type, 16) == 0 };
	}
	return found;
}

unsigned probe_partitions(const uint8_t *bytes, size_t len, struct probe_partition *out)
{
	unsigned found = 0;

	if (!has(bytes, len, 510, "\x55\xaa", 2))
		return 0;
	if (len >= GPT_HEADER + SECTOR && has(bytes, len, GPT_HEADER, "EFI PART", 8))
		return gpt_partitions(bytes, len, out);
	for (unsigned i = 0; i < 4; i++) {
		const uint8_t *entry = bytes + MBR_TABLE + i * MBR_ENTRY;
		uint64_t start = le32(entry + 8), sectors = le32(entry + 12);

		/* The first byte is 0 or 0x80 in a table; anything else is a boot sector's code. */
		if (entry[0] & 0x7f)
			return 0;
		if (entry[4] == 0 || start == 0 || sectors == 0)
			continue;
		out[found++] = (struct probe_partition){
			.number = i + 1, .start = start * SECTOR, .size = sectors * SECTOR
		};
	}
	return found;
}

/* As much of PROBE_BYTES as there is from @offset; 0 on a fault, too. */
static size_t read_at(int fd, uint8_t *buf, uint64_t offset)
{
	size_t len = 0;
	ssize_t n;

	while (len < PROBE_BYTES &&
		(n = pread(fd, buf + len, PROBE_BYTES - len, (off_t)(offset + len))) > 0)
		len += (size_t)n;
	return len;
}

/* Could this be a root? An EFI system partition is a vfat, and a poor root. */
static bool fit_for_root(const struct probe *probe)
{
	return probe->kind == PROBE_FILESYSTEM && strcmp(probe->name, "vfat") != 0;
}

static void choose_partition(struct probe_root *out, int fd, uint8_t *buf, size_t len)
{
	struct probe_partition partition[PROBE_PARTITIONS_MAX];
	unsigned count = probe_partitions(buf, len, partition);
	uint64_t best = 0;

	for (unsigned i = 0; i < count; i++) {
		struct probe probe = probe_bytes(buf, read_at(fd, buf, partition[i].start));
		uint64_t rank = partition[i].is_root ? UINT64_MAX : partition[i].size;

		if (!fit_for_root(&probe) || rank <= best)
			continue;
		best = rank;
		out->fstype = probe.name;
		out->partition = partition[i].number;
	}
}

int probe_root(struct probe_root *out, const char *path, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	_cleanup_free_ uint8_t *buf = malloc(PROBE_BYTES);
	struct probe probe;
	struct stat st;
	size_t len;

	*out = (struct probe_root){ 0 };
	if (!buf)
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	if (fd < 0)
		return error_set(err, ERROR_IMAGE, errno, "root disk %s: %m", path);
	if (fstat(fd, &st) < 0 || S_ISDIR(st.st_mode) || S_ISFIFO(st.st_mode))
		return error_set(err, ERROR_IMAGE, EISDIR,
			"root disk %s: not a disk image; make one with mke2fs -d DIR IMG SIZE",
			path);
	len = read_at(fd, buf, 0);
	probe = probe_bytes(buf, len);
	if (probe.kind == PROBE_FILESYSTEM)
		out->fstype = probe.name;
	else if (probe.kind == PROBE_PARTITIONED)
		choose_partition(out, fd, buf, len);
	else if (probe.kind == PROBE_FOREIGN)
		return error_set(err, ERROR_IMAGE, EINVAL,
			"root disk %s is %s; make it a raw image (qemu-img convert -O raw, or "
			"unpack it)",
			path, probe.name);
	else if (probe.name)
		return error_set(err, ERROR_IMAGE, EINVAL,
			"root disk %s is %s; that needs an initramfs of your own (--initrd FILE)",
			path, probe.name);
	return 0;
}
