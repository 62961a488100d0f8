/*
 * What an initramfs is made from: a kernel's lists of modules, an image's first bytes, names that
 * go into an archive; and the guest program's reading of its command line. The first byte of the
 * input says which.
 */
#include "guest/cmdline.h"
#include "rootfs/cpio.h"
#include "rootfs/modules.h"
#include "rootfs/probe.h"
#include "util/macros.h"

#include "../unit/rootfs/archive.h"
#include "input.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECK(c)                          \
	do {                              \
		if (!(c))                 \
			__builtin_trap(); \
	} while (0)

/* A copy of its very own size, so that a read beyond its end is seen. */
static char *copy(const uint8_t *data, size_t len)
{
	char *to = malloc(len ? len : 1);

	CHECK(to);
	memcpy(to, data, len);
	return to;
}

/* What comes before the next 0xff. */
static struct modules_text take_text(struct input *in)
{
	const uint8_t *end = in->left ? memchr(in->data, 0xff, in->left) : NULL;
	size_t len = end ? (size_t)(end - in->data) : in->left;
	struct modules_text text = { copy(in->data, len), len };

	in->data += len + (end ? 1 : 0);
	in->left -= len + (end ? 1 : 0);
	return text;
}

static struct modules_text give_alias(void *ctx)
{
	return *(struct modules_text *)ctx;
}

static void check_list(const struct modules *m)
{
	for (size_t i = 0; i < modules_count(m); i++) {
		const struct modules_item *item = modules_item(m, i);

		CHECK(item->path_len && item->path[0] != '/' && item->name_len);
		CHECK(item->name_len <= 200 && item->path_len < 4096);
		CHECK(!memmem(item->path, item->path_len, "/../", 4));
		CHECK(!memchr(item->name, '/', item->name_len));
		for (size_t j = 0; j < i; j++)
			CHECK(modules_item(m, j) != item);
	}
}

static void fuzz_modules(struct input *in)
{
	struct modules_texts texts = { .where = "/m", .alias = give_alias };
	struct modules_text alias, wanted;
	struct error err;
	struct modules *m;

	texts.dep = take_text(in);
	texts.softdep = take_text(in);
	alias = take_text(in);
	texts.builtin = take_text(in);
	wanted = take_text(in);
	texts.ctx = &alias;
	if (modules_open(&m, &texts, &err) == 0) {
		char name[64] = { 0 };

		memcpy(name, wanted.p, MIN(wanted.len, sizeof(name) - 1));
		modules_add(m, name, true, &err);
		modules_add(m, "a", true, &err);
		if (modules_add(m, "a", false, &err) >= 0)
			modules_add(m, "b", false, &err);
		check_list(m);
		modules_close(m);
	}
	free((void *)texts.dep.p);
	free((void *)texts.softdep.p);
	free((void *)texts.builtin.p);
	free((void *)alias.p);
	free((void *)wanted.p);
}

/* The input's bytes go where the first two of them say, so that far superblocks are met. */
static void fuzz_probe(struct input *in)
{
	size_t offset = take16(in) * 8UL % PROBE_BYTES, len = MIN(offset + in->left, PROBE_BYTES);
	struct probe_partition part[PROBE_PARTITIONS_MAX];
	uint8_t *bytes = calloc(1, len ? len : 1);
	unsigned count;

	CHECK(bytes);
	memcpy(bytes + offset, in->data, len - offset);
	if (probe_bytes(bytes, len).kind == PROBE_FILESYSTEM)
		CHECK(probe_bytes(bytes, len).name);
	count = probe_partitions(bytes, len, part);
	CHECK(count <= PROBE_PARTITIONS_MAX);
	for (unsigned i = 0; i < count; i++)
		CHECK(part[i].number && part[i].size &&
			part[i].start + part[i].size > part[i].start);
	free(bytes);
}

/* Whatever goes into an archive comes out of it. */
static void fuzz_cpio(struct input *in)
{
	struct archive_entry entry[16];
	size_t names_len[16], sizes[16];
	unsigned written = 0;
	struct error err;
	struct cpio cpio;
	uint8_t *map;
	int fd;

	CHECK(cpio_begin(&cpio, &err) == 0);
	while (in->left && written < 16) {
		size_t len = take8(in) % 70, size = take8(in);
		char name[72] = { 0 };

		take_bytes(in, name, len);
		sizes[written] = MIN(size, in->left);
		names_len[written] = strlen(name[0] == '/' ? name + 1 : name);
		if (cpio_file(&cpio, name, 0600, in->data, sizes[written], &err) == 0)
			written++;
		in->data += MIN(size, in->left);
		in->left -= MIN(size, in->left);
	}
	CHECK(cpio_end(&cpio, &fd, &err) == 0);
	size_t len = (size_t)lseek(fd, 0, SEEK_END);

	map = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK(map != MAP_FAILED);
	int count = archive_read(map, len, entry, 16);

	/* An entry that is called as the trailer is ends it early. */
	CHECK(count == (int)written || memmem(map, len - 124, "TRAILER!!!", 11));
	for (int i = 0; i < count; i++)
		CHECK(entry[i].len == sizes[i] && strlen(entry[i].name) == names_len[i]);
	munmap(map, len);
	close(fd);
	cpio_discard(&cpio);
}

static void fuzz_cmdline(struct input *in)
{
	size_t len = MIN(in->left, (size_t)CMDLINE_MAX - 1);
	char *line = malloc(len + 1);
	struct text params = { 0 };
	struct cmdline out;

	CHECK(line);
	memcpy(line, in->data, len);
	line[len] = 0;
	cmdline_module_params(&params, line, "a-b.ko");
	CHECK(strlen(params.buf) == params.len && params.len < sizeof(params.buf));
	cmdline_parse(&out, line);
	const char *const got[] = { out.root, out.rootfstype, out.rootflags, out.init,
		out.console };

	for (size_t i = 0; i < ARRAY_SIZE(got); i++)
		CHECK(!got[i] || (got[i] >= line && got[i] + strlen(got[i]) <= line + len));
	free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const parts[])(
		struct input *) = { fuzz_modules, fuzz_probe, fuzz_cpio, fuzz_cmdline };
	struct input in = { data, size };

	parts[take8(&in) % ARRAY_SIZE(parts)](&in);
	return 0;
}
