#include "rootfs/modules.h"

#include "util/macros.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
	DEPTH_MAX = 64,	    /* of modules that need modules; Linux has not ten */
	LIST_MAX = 512,	    /* modules to load */
	NAME_MAX_LEN = 200, /* of a module's name, in bytes */
	LINES_MAX = 1 << 18
};

/* FAILED: could not be had as an optional module; not tried again as such. */
enum state { UNSEEN, VISITING, LISTED, FAILED };

/* A line of modules.dep. */
struct entry {
	struct modules_item item;
	struct modules_text needs; /* paths of what it needs, separated by blanks */
	enum state state;
	uint32_t hash;
	struct entry *next; /* in its bucket */
};

struct modules {
	struct modules_texts texts;
	struct modules_text alias;
	bool have_alias;
	struct entry *entry;
	size_t entries;
	struct entry **bucket;
	uint32_t bucket_mask;
	struct entry **list;
	size_t listed;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static char plain(char c)
{
	return c == '-' ? '_' : c;
}

static uint32_t hash_name(struct modules_text name)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < name.len; i++)
		hash = (hash ^ (uint8_t)plain(name.p[i])) * 16777619u;
	return hash;
}

static bool same_name(struct modules_text a, struct modules_text b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (plain(a.p[i]) != plain(b.p[i]))
			return false;
	return true;
}

static struct modules_text span_of(const char *s)
{
	return (struct modules_text){ s, strlen(s) };
}

/* The next line of @rest, without its newline; false at the end. */
static bool next_line(struct modules_text *rest, struct modules_text *line)
{
	const char *end;

	if (!rest->len)
		return false;
	end = memchr(rest->p, '\n', rest->len);
	*line = (struct modules_text){ rest->p, end ? (size_t)(end - rest->p) : rest->len };
	rest->p += line->len + (end ? 1 : 0);
	rest->len -= line->len + (end ? 1 : 0);
	return true;
}

/* The next word of @rest; false at the end. */
static bool next_word(struct modules_text *rest, struct modules_text *word)
{
	while (rest->len && is_blank(*rest->p)) {
		rest->p++;
		rest->len--;
	}
	*word = (struct modules_text){ rest->p, 0 };
	while (rest->len && !is_blank(*rest->p)) {
		rest->p++;
		rest->len--;
		word->len++;
	}
	return word->len > 0;
}

/* "kernel/fs/xfs/xfs.ko.xz" -> "xfs"; empty where it is no module's path. */
static struct modules_text name_of_path(struct modules_text path)
{
	const char *slash = memrchr(path.p, '/', path.len);
	struct modules_text name = path;
	const char *ko;

	if (slash) {
		name.p = slash + 1;
		name.len = path.len - (size_t)(name.p - path.p);
	}
	ko = memmem(name.p, name.len, ".ko", 3);
	name.len = ko ? (size_t)(ko - name.p) : 0;
	return name;
}

static struct entry *find(const struct modules *m, struct modules_text name)
{
	uint32_t hash = hash_name(name);
	struct entry *e = m->bucket[hash & m->bucket_mask];

	while (e &&
		(e->hash != hash ||
			!same_name((struct modules_text){ e->item.name, e->item.name_len }, name)))
		e = e->next;
	return e;
}

/* Take line "PATH: PATH PATH" into the index. Lines without a module in them are passed over. */
static void take_line(struct modules *m, struct modules_text line)
{
	const char *colon = memchr(line.p, ':', line.len);
	struct entry *e = &m->entry[m->entries], **bucket;
	struct modules_text path = { line.p, colon ? (size_t)(colon - line.p) : 0 };
	struct modules_text name = name_of_path(path);

	if (!name.len || find(m, name))
		return;
	*e = (struct entry){ .item = { .path = path.p,
				     .path_len = path.len,
				     .name = name.p,
				     .name_len = name.len,
				     .optional = true },
		.needs = { colon + 1, line.len - path.len - 1 },
		.hash = hash_name(name) };
	bucket = &m->bucket[e->hash & m->bucket_mask];
	e->next = *bucket;
	*bucket = e;
	m->entries++;
}

int modules_open(struct modules **out, const struct modules_texts *texts, struct error *err)
{
	struct modules_text rest = texts->dep, line;
	size_t lines = 0, buckets = 64;
	struct modules *m;

	*out = NULL;
	while (next_line(&rest, &line))
		lines++;
	if (lines > LINES_MAX)
		return error_set(err, ERROR_IMAGE, EFBIG,
			"%s/modules.dep has %zu lines; run depmod again", texts->where, lines);
	while (buckets < lines)
		buckets *= 2;
	m = calloc(1, sizeof(*m));
	if (m) {
		m->texts = *texts;
		m->entry = calloc(lines + 1, sizeof(*m->entry));
		m->bucket = calloc(buckets, sizeof(struct entry *));
		m->list = calloc(LIST_MAX, sizeof(struct entry *));
		m->bucket_mask = (uint32_t)buckets - 1;
	}
	if (!m || !m->entry || !m->bucket || !m->list) {
		modules_close(m);
		return error_set(err, ERROR_HOST, ENOMEM, "out of memory");
	}
	for (rest = texts->dep; next_line(&rest, &line);)
		take_line(m, line);
	*out = m;
	return 0;
}

void modules_close(struct modules *modules)
{
	if (!modules)
		return;
	free(modules->entry);
	free(modules->bucket);
	free(modules->list);
	free(modules);
}

/* Below the directory, and printable? */
static bool path_is_tame(struct modules_text path)
{
	if (path.len >= PATH_MAX - NAME_MAX || path.p[0] == '/')
		return false;
	for (size_t i = 0; i < path.len; i++) {
		if ((uint8_t)path.p[i] < ' ' || path.p[i] == 0x7f)
			return false;
		if (path.p[i] == '.' && (i == 0 || path.p[i - 1] == '/') &&
			(i + 1 == path.len || path.p[i + 1] == '/' ||
				(path.p[i + 1] == '.' &&
					(i + 2 == path.len || path.p[i + 2] == '/'))))
			return false;
	}
	return true;
}

static int wrong(
	const struct modules *m, struct modules_text name, const char *what, struct error *err)
{
	return error_set(err, ERROR_IMAGE, EINVAL,
		"%s/modules.dep: module %.*s %s; make it new with depmod", m->texts.where,
		(int)MIN(name.len, (size_t)NAME_MAX_LEN), name.p, what);
}

static int visit(
	struct modules *m, struct entry *e, bool optional, unsigned depth, struct error *err);

/* What line @e names behind its colon. depmod writes it so that the last is to be loaded first. */
static int visit_needs(
	struct modules *m, struct entry *e, bool optional, unsigned depth, struct error *err)
{
	struct modules_text rest = e->needs, word, self = { e->item.name, e->item.name_len };
	int ret = 0;

	while (rest.len && ret == 0) {
		while (rest.len && is_blank(rest.p[rest.len - 1]))
			rest.len--;
		for (word = (struct modules_text){ rest.p + rest.len, 0 };
			rest.len && !is_blank(rest.p[rest.len - 1]); rest.len--) {
			word.p--;
			word.len++;
		}
		if (!word.len)
			break;
		struct entry *need = find(m, name_of_path(word));

		if (!need || !name_of_path(word).len)
			return wrong(m, self, "needs a module that has no line", err);
		if (need->state == VISITING && need->item.optional == optional)
			return wrong(m, self, "is in a loop of modules that need one another", err);
		ret = visit(m, need, optional, depth + 1, err);
	}
	return ret;
}

/* Add @name as a module, or what it is an alias of. What cannot be had is left out. */
static void visit_soft(struct modules *m, struct modules_text name, unsigned depth)
{
	struct modules_text rest, line, word;
	struct entry *e = find(m, name);
	struct error ignored;

	if (e) {
		visit(m, e, true, depth + 1, &ignored);
		return;
	}
	if (!m->have_alias && m->texts.alias)
		m->alias = m->texts.alias(m->texts.ctx);
	m->have_alias = true;
	for (rest = m->alias; next_line(&rest, &line);) {
		/* Most lines go out by this: the first letter behind "alias ". */
		if (line.len < 8 || plain(line.p[6]) != plain(name.p[0]))
			continue;
		if (!next_word(&line, &word) || word.len != 5 || memcmp(word.p, "alias", 5) != 0)
			continue;
		if (!next_word(&line, &word) || !same_name(word, name) || !next_word(&line, &word))
			continue;
		e = find(m, word);
		if (e)
			visit(m, e, true, depth + 1, &ignored);
	}
}

/* Lines "softdep NAME pre: A B post: C D". */
static void visit_softdeps(
	struct modules *m, const struct entry *e, const char *when, unsigned depth)
{
	struct modules_text rest = m->texts.softdep, line, word;
	struct modules_text self = { e->item.name, e->item.name_len }, wanted = span_of(when);
	bool now;

	while (next_line(&rest, &line)) {
		if (!next_word(&line, &word) || word.len != 7 || memcmp(word.p, "softdep", 7) != 0)
			continue;
		if (!next_word(&line, &word) || !same_name(word, self))
			continue;
		for (now = false; next_word(&line, &word);) {
			if (word.p[word.len - 1] == ':')
				now = same_name(word, wanted);
			else if (now)
				visit_soft(m, word, depth);
		}
	}
}

/*
 * Depth first: what @e needs, then @e. A module that was optional until now and is needed after
 * all takes those it needs along.
 */
static int visit(
	struct modules *m, struct entry *e, bool optional, unsigned depth, struct error *err)
{
	struct modules_text name = { e->item.name, e->item.name_len };
	int ret;

	if (depth > DEPTH_MAX)
		return wrong(m, name, "needs modules more than 64 deep", err);
	if (e->state == FAILED && optional)
		return -ENOENT;
	if (e->state == VISITING || e->state == LISTED) {
		if (optional || !e->item.optional)
			return 0;
		e->item.optional = false;
		return visit_needs(m, e, false, depth, err);
	}
	if (!path_is_tame((struct modules_text){ e->item.path, e->item.path_len }))
		return wrong(m, name, "has a path that leads out of the directory", err);
	if (name.len > NAME_MAX_LEN)
		return wrong(m, name, "has too long a name", err);
	e->state = VISITING;
	e->item.optional = optional;
	visit_softdeps(m, e, "pre:", depth);
	ret = visit_needs(m, e, optional, depth, err);
	if (ret == 0 && m->listed == LIST_MAX)
		ret = wrong(m, name, "is one of too many", err);
	if (ret < 0) {
		e->state = FAILED;
		return ret;
	}
	e->state = LISTED;
	m->list[m->listed++] = e;
	visit_softdeps(m, e, "post:", depth);
	return 0;
}

static bool is_builtin(const struct modules *m, struct modules_text name)
{
	struct modules_text rest = m->texts.builtin, line;

	if (!m->texts.builtin.p)
		return true;
	while (next_line(&rest, &line))
		if (same_name(name_of_path(line), name))
			return true;
	return false;
}

int modules_add(struct modules *modules, const char *name, bool optional, struct error *err)
{
	struct entry *e = find(modules, span_of(name));
	int ret;

	if (!e)
		return is_builtin(modules, span_of(name)) ? MODULES_BUILTIN : MODULES_ABSENT;
	ret = visit(modules, e, optional, 0, err);
	if (ret < 0)
		return optional ? MODULES_ABSENT : ret;
	return MODULES_LISTED;
}

size_t modules_count(const struct modules *modules)
{
	return modules->listed;
}

const struct modules_item *modules_item(const struct modules *modules, size_t i)
{
	return &modules->list[i]->item;
}
