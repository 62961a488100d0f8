#include "rootfs/strip.h"

#include "util/macros.h"

#include <elf.h>
#include <endian.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { SECTIONS_MAX = 256 };

/* What the kernel's scripts/sign-file appends: names, the signature, this, and the magic. */
struct signature_tail {
	uint8_t algorithm, hash, id_type, signer_len, key_id_len, pad[3];
	uint32_t signature_len; /* big-endian */
};

static size_t without_signature(const uint8_t *elf, size_t len)
{
	static const char magic[] = "~Module signature appended~\n";
	const size_t magic_len = sizeof(magic) - 1;
	struct signature_tail tail;
	size_t whole = magic_len + sizeof(tail);

	if (len < whole || memcmp(elf + len - magic_len, magic, magic_len) != 0)
		return len;
	memcpy(&tail, elf + len - whole, sizeof(tail));
	whole += (size_t)be32toh(tail.signature_len) + tail.signer_len + tail.key_id_len;
	return whole < len ? len - whole : len;
}

struct sections {
	uint8_t *elf;
	size_t len;
	Elf64_Ehdr header;
	Elf64_Shdr at[SECTIONS_MAX];
	uint16_t order[SECTIONS_MAX]; /* those with bytes in the file, as they lie there */
	unsigned ordered;
};

static bool within(const struct sections *s, uint64_t offset, uint64_t size)
{
	return offset <= s->len && size <= s->len - offset;
}

static const char *name_of(const struct sections *s, unsigned i)
{
	const Elf64_Shdr *names = &s->at[s->header.e_shstrndx];
	uint64_t at = s->at[i].sh_name;

	if (at >= names->sh_size || !memchr(s->elf + names->sh_offset + at, 0, names->sh_size - at))
		return "";
	return (const char *)s->elf + names->sh_offset + at;
}

/* 0: there is none; it is always the null section. */
static unsigned find(const struct sections *s, const char *name)
{
	for (unsigned i = s->header.e_shnum; i-- > 1;)
		if (strcmp(name_of(s, i), name) == 0)
			return i;
	return 0;
}

/* Insertion: they lie nearly in order. */
static void put_in_order(struct sections *s, uint16_t i)
{
	unsigned k = s->ordered++;

	for (; k > 0 && s->at[s->order[k - 1]].sh_offset > s->at[i].sh_offset; k--)
		s->order[k] = s->order[k - 1];
	s->order[k] = i;
}

/* Every section within the file, where its alignment wants it, and none upon another. */
static bool read_sections(struct sections *s)
{
	const Elf64_Ehdr *e = &s->header;
	uint64_t end = sizeof(*e);

	if (s->len < sizeof(*e))
		return false;
	memcpy(&s->header, s->elf, sizeof(*e));
	if (memcmp(e->e_ident, ELFMAG, SELFMAG) != 0 || e->e_type != ET_REL || e->e_phnum ||
		e->e_ehsize != sizeof(*e) || e->e_shentsize != sizeof(Elf64_Shdr) ||
		e->e_shnum < 2 || e->e_shnum > SECTIONS_MAX || e->e_shstrndx >= e->e_shnum ||
		!within(s, e->e_shoff, e->e_shnum * sizeof(Elf64_Shdr)))
		return false;
	memcpy(s->at, s->elf + e->e_shoff, e->e_shnum * sizeof(Elf64_Shdr));
	for (uint16_t i = 1; i < e->e_shnum; i++)
		if (s->at[i].sh_type != SHT_NULL && s->at[i].sh_type != SHT_NOBITS &&
			s->at[i].sh_size)
			put_in_order(s, i);
	for (unsigned k = 0; k < s->ordered; k++) {
		const Elf64_Shdr *h = &s->at[s->order[k]];
		uint64_t align = MAX(h->sh_addralign, 1);

		if (!within(s, h->sh_offset, h->sh_size) || h->sh_offset < end ||
			(align & (align - 1)) || align > 4096 || (h->sh_offset & (align - 1)))
			return false;
		end = h->sh_offset + h->sh_size;
	}
	/* The table comes last, as every linker has it: what moves below cannot run into it. */
	return s->at[e->e_shstrndx].sh_type == SHT_STRTAB && e->e_shoff >= end;
}

/* The bytes of section @gone go, and all that lie behind them move up; numbers stay. */
static size_t without_section(struct sections *s, unsigned gone)
{
	size_t end = sizeof(s->header), table;

	for (unsigned k = 0; k < s->ordered; k++) {
		Elf64_Shdr *h = &s->at[s->order[k]];
		uint64_t to = align_up(end, MAX(h->sh_addralign, 1));

		if (s->order[k] == gone)
			continue;
		memmove(s->elf + to, s->elf + h->sh_offset, h->sh_size);
		h->sh_offset = to;
		end = to + h->sh_size;
	}
	s->at[gone] = (Elf64_Shdr){ .sh_name = s->at[gone].sh_name, .sh_offset = end };
	table = s->header.e_shnum * sizeof(Elf64_Shdr);
	s->header.e_shoff = align_up(end, 8);
	memcpy(s->elf, &s->header, sizeof(s->header));
	memcpy(s->elf + s->header.e_shoff, s->at, table);
	return s->header.e_shoff + table;
}

size_t strip_module(uint8_t *elf, size_t len)
{
	struct sections s = { .elf = elf, .len = without_signature(elf, len) };
	unsigned types;

	if (!read_sections(&s))
		return s.len;
	types = find(&s, ".BTF");
	if (!types || find(&s, ".BTF_ids"))
		return s.len;
	return without_section(&s, types);
}
