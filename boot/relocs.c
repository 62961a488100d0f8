/*
 * Kernel address space layout randomization for a vmlinux.
 *
 * A bzImage's own loader unpacks the kernel and moves it to a random virtual address: behind the
 * ELF file that it unpacks there is a table of the places that have to change with it. We boot such
 * a file unpacked, so this is ours to do. (The physical address stays that of the file.) The table
 * is words of 32 bits, each the low half of a virtual address:
 *
 *	0, places of 64 bits..., [0, places of 32 bits that shrink...,] 0, places of 32 bits...
 *
 * A table that is not one to the letter is left alone, and so is the kernel.
 */
#include "boot/image.h"

#include "util/cleanup.h"
#include "util/macros.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define KERNEL_MAP   0xffffffff80000000 /* where Linux/x86-64 maps its image (__START_KERNEL_map) */
#define KERNEL_ROOM  (1 * GIB)		/* for it there (KERNEL_IMAGE_SIZE) */
#define KERNEL_STEP  (2 * MIB)		/* it is mapped with pages of this size */
#define RELOCS_MAX   (16 * MIB)
#define RELOCS_LISTS 3

/* Places that change in one way: @count words of the table. */
struct list {
	const uint32_t *place;
	size_t count;
};

/* The kernel's image in guest memory. */
struct image {
	uint8_t *at;
	gpa_t start;
	uint64_t size;
};

void relocs_find(struct boot_kernel *k, uint64_t elf_end)
{
	uint64_t offset = align_up(elf_end, sizeof(uint32_t));

	if (offset >= k->file_size || k->file_size - offset > RELOCS_MAX ||
		(k->file_size - offset) % sizeof(uint32_t))
		return;
	k->relocs = offset;
	k->relocs_size = k->file_size - offset;
}

/* The offset in the image of the place that a word of the table names; at least 8 bytes are there. */
static bool find_place(const struct image *image, uint32_t word, uint64_t *offset)
{
	uint64_t gpa = (uint64_t)(int64_t)(int32_t)word - KERNEL_MAP;

	*offset = gpa - image->start;
	return gpa >= image->start && image->size >= sizeof(uint64_t) &&
	       *offset <= image->size - sizeof(uint64_t);
}

/* Take the table apart; the number of its lists, or 0: this is none. */
static unsigned read_lists(const struct image *image, const uint32_t *word, size_t words,
	struct list list[RELOCS_LISTS])
{
	unsigned lists = 0;
	uint64_t offset;

	for (size_t i = 0; i < words; i++) {
		if (word[i] == 0) {
			if (lists == RELOCS_LISTS)
				return 0;
			list[lists++] = (struct list){ .place = &word[i + 1] };
		} else if (!lists || !find_place(image, word[i], &offset)) {
			return 0;
		} else {
			list[lists - 1].count++;
		}
	}
	return lists >= 2 ? lists : 0;
}

static void change_64(const struct image *image, const struct list *list, uint64_t delta)
{
	for (size_t i = 0; i < list->count; i++) {
		uint64_t offset, value;

		find_place(image, list->place[i], &offset);
		memcpy(&value, image->at + offset, sizeof(value));
		value += delta;
		memcpy(image->at + offset, &value, sizeof(value));
	}
}

static void change_32(const struct image *image, const struct list *list, uint32_t delta)
{
	for (size_t i = 0; i < list->count; i++) {
		uint64_t offset;
		uint32_t value;

		find_place(image, list->place[i], &offset);
		memcpy(&value, image->at + offset, sizeof(value));
		value += delta;
		memcpy(image->at + offset, &value, sizeof(value));
	}
}

/*
 * By how much the image moves up: a multiple of KERNEL_STEP, 0 only where there is no room or no
 * randomness yet.
 */
static uint64_t choose_delta(const struct image *image)
{
	uint64_t end = image->start + image->size, random;

	if (end + KERNEL_STEP > KERNEL_ROOM ||
		getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
		return 0;
	return (random % ((KERNEL_ROOM - end) / KERNEL_STEP) + 1) * KERNEL_STEP;
}

/* Is @word one of the words of @cmdline? */
static bool has_word(const char *cmdline, const char *word)
{
	size_t len = strlen(word);

	for (const char *s = cmdline; (s = strstr(s, word)); s += len) {
		bool begins = s == cmdline || isspace((unsigned char)s[-1]);

		if (begins && (!s[len] || isspace((unsigned char)s[len])))
			return true;
	}
	return false;
}

int relocs_randomize(const struct boot_kernel *k, const struct guest_memory *mem,
	const char *cmdline, bool *randomized, struct error *err)
{
	_cleanup_free_ uint32_t *word = NULL;
	struct list list[RELOCS_LISTS];
	struct image image = { .start = k->start, .size = k->end - k->start };
	unsigned lists;
	uint64_t delta;
	int r;

	*randomized = false;
	if (!k->relocs_size || has_word(cmdline, "nokaslr"))
		return 0;
	word = malloc(k->relocs_size);
	image.at = memory_at(mem, image.start, image.size);
	if (!word || !image.at)
		return image_error(k, err, ENOMEM, "out of memory for its table of places");
	r = image_read(k->fd, word, k->relocs_size, k->relocs);
	if (r < 0)
		return image_error(k, err, -r, "cannot read it: %m");
	lists = read_lists(&image, word, k->relocs_size / sizeof(*word), list);
	delta = lists ? choose_delta(&image) : 0;
	if (!delta)
		return 0;
	change_64(&image, &list[0], delta);
	change_32(&image, &list[lists - 1], (uint32_t)delta);
	if (lists == RELOCS_LISTS)
		change_32(&image, &list[1], -(uint32_t)delta);
	*randomized = true;
	return 0;
}
