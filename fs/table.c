#include "fs/internal.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1024 };

void *fs_table_at(const struct fs_table *t, uint32_t index)
{
	return (uint8_t *)t->chunk[index / CHUNK] + t->item * (index % CHUNK);
}

static bool grow(struct fs_table *t)
{
	void **chunk = realloc(t->chunk, (t->chunks + 1) * sizeof(*chunk));

	if (!chunk)
		return false;
	t->chunk = chunk;
	chunk[t->chunks] = calloc(CHUNK, t->item);
	if (!chunk[t->chunks])
		return false;
	t->chunks++;
	return true;
}

void *fs_table_add(struct fs_table *t)
{
	struct fs_slot *slot, kept;

	if (t->count == t->max)
		return NULL;
	if (t->free) {
		slot = fs_table_at(t, t->free - 1);
		t->free = slot->next_free;
	} else {
		if (t->used == t->chunks * CHUNK && !grow(t))
			return NULL;
		slot = fs_table_at(t, t->used);
		slot->index = t->used++;
	}
	kept = *slot;
	memset(slot, 0, t->item);
	slot->index = kept.index;
	slot->generation = kept.generation;
	slot->live = true;
	t->count++;
	return slot;
}

void *fs_table_get(const struct fs_table *t, uint64_t id)
{
	uint32_t place = (uint32_t)id;
	struct fs_slot *slot;

	if (!place || place > t->used)
		return NULL;
	slot = fs_table_at(t, place - 1);
	return slot->live && slot->generation == id >> 32 ? slot : NULL;
}

void fs_table_remove(struct fs_table *t, void *entry)
{
	struct fs_slot *slot = entry;

	slot->live = false;
	slot->generation++;
	slot->next_free = t->free;
	t->free = slot->index + 1;
	t->count--;
}

void fs_table_free(struct fs_table *t)
{
	for (uint32_t i = 0; i < t->chunks; i++)
		free(t->chunk[i]);
	free(t->chunk);
	t->chunk = NULL;
	t->chunks = t->used = t->free = t->count = 0;
}
