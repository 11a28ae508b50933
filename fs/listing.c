/* listing -- see listing.h. */
#include "listing.h"

#include <stdlib.h>
#include <string.h>

#include "table.h"

/* Its name is at @at of the names. */
struct entry {
	uint64_t cookie, ino;
	uint32_t mode, at, len;
};

struct listing {
	int refs;		/* atomic */
	int eof;
	uint64_t parent;
	size_t bytes;		/* of all of it */
	uint32_t n, names_len;
	char *names;		/* behind the entries */
	struct entry entries[];
};

struct kept_listing {
	uint64_t dir;
	struct listing *listing;
	TAILQ_ENTRY(kept_listing) lru;
	UT_hash_handle hh;
};

/* ------------------------------------------------------------ one of them */

static struct listing *alloc(size_t n, size_t names_len)
{
	size_t bytes = sizeof(struct listing) + n * sizeof(struct entry) +
		       names_len;
	struct listing *l = NULL;

	if (n <= UINT32_MAX && names_len <= UINT32_MAX)
		l = malloc(bytes);
	if (!l)
		return NULL;
	*l = (struct listing){ .refs = 1, .bytes = bytes, .n = (uint32_t)n,
			       .names_len = (uint32_t)names_len,
			       .names = (char *)&l->entries[n] };
	return l;
}

struct listing *listing_new(const struct m_readdir_r *page)
{
	struct listing *l;
	size_t len = 0;

	for (uint32_t i = 0; i < page->n_entries; i++)
		len += page->entries[i].name.len;
	l = alloc(page->n_entries, len);
	if (!l)
		return NULL;
	l->parent = page->parent;
	l->eof = page->eof;
	len = 0;
	for (uint32_t i = 0; i < page->n_entries; i++) {
		const struct m_entry *e = &page->entries[i];

		l->entries[i] = (struct entry){ e->cookie, e->attr.ino,
						e->attr.mode, (uint32_t)len,
						e->name.len };
		if (e->name.len)
			memcpy(l->names + len, e->name.p, e->name.len);
		len += e->name.len;
	}
	return l;
}

struct listing *listing_join(const struct listing *a, const struct listing *b)
{
	struct listing *l = alloc((size_t)a->n + b->n,
				  (size_t)a->names_len + b->names_len);

	if (!l)
		return NULL;
	l->parent = b->parent;
	l->eof = b->eof;
	memcpy(l->entries, a->entries, a->n * sizeof(*a->entries));
	memcpy(l->entries + a->n, b->entries, b->n * sizeof(*b->entries));
	for (uint32_t i = a->n; i < l->n; i++)
		l->entries[i].at += a->names_len;
	memcpy(l->names, a->names, a->names_len);
	memcpy(l->names + a->names_len, b->names, b->names_len);
	return l;
}

struct listing *listing_ref(struct listing *l)
{
	__atomic_add_fetch(&l->refs, 1, __ATOMIC_RELAXED);
	return l;
}

void listing_unref(struct listing *l)
{
	if (l && !__atomic_sub_fetch(&l->refs, 1, __ATOMIC_ACQ_REL))
		free(l);
}

uint64_t listing_parent(const struct listing *l)
{
	return l->parent;
}

int listing_eof(const struct listing *l)
{
	return l->eof;
}

size_t listing_bytes(const struct listing *l)
{
	return l->bytes;
}

uint32_t listing_count(const struct listing *l)
{
	return l->n;
}

void listing_at(const struct listing *l, uint32_t n, struct listed *out)
{
	const struct entry *e = &l->entries[n];

	*out = (struct listed){ e->cookie, e->ino, e->mode,
				{ l->names + e->at, e->len } };
}

uint32_t listing_seek(const struct listing *l, uint64_t after)
{
	uint32_t low = 0, high = l->n, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (l->entries[mid].cookie <= after)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* ----------------------------------------------------- page after page */

static uint64_t page_end(const struct pages *p)
{
	uint32_t n = p->page->n;

	return n ? p->page->entries[n - 1].cookie : p->after;
}

struct listing *pages_at(const struct pages *p, uint64_t after, uint64_t *end)
{
	if (!p->page || after < p->after ||
	    (after >= page_end(p) && !p->page->eof))
		return NULL;
	*end = page_end(p);
	return listing_ref(p->page);
}

/* The page that has just come follows the others. */
static void all_add(struct pages *p, size_t most)
{
	struct listing *all = NULL;

	if (p->gapless && p->all && p->all->bytes + p->page->bytes <= most)
		all = listing_join(p->all, p->page);
	listing_unref(p->all);
	p->all = all;
}

static void page_set(struct pages *p, struct listing *page, uint64_t after)
{
	listing_unref(p->page);
	p->page = page;
	p->after = after;
}

int pages_take(struct pages *p, struct listing *page, uint64_t after,
	       uint64_t asked, size_t most, struct listing **all)
{
	if (!after) {
		p->asked = asked;
		p->gapless = 1;
		listing_unref(p->all);
		p->all = listing_ref(page);
	} else if (!p->page || after != page_end(p)) {
		p->gapless = 0;
	}
	page_set(p, page, after);
	if (after)
		all_add(p, most);
	*all = NULL;
	if (!p->gapless || !page->eof)
		return 0;
	*all = p->all;
	p->all = NULL;
	return 1;
}

void pages_take_whole(struct pages *p, struct listing *whole)
{
	page_set(p, whole, 0);
	p->gapless = 0;
	listing_unref(p->all);
	p->all = NULL;
}

void pages_fini(struct pages *p)
{
	listing_unref(p->page);
	listing_unref(p->all);
}

/* --------------------------------------------------------- those kept */

void listings_init(struct listings *ls, size_t most, size_t most_one)
{
	*ls = (struct listings){ .most = most, .most_one = most_one };
	TAILQ_INIT(&ls->lru);
}

static struct kept_listing *find(const struct listings *ls, uint64_t dir)
{
	struct kept_listing *k;

	HASH_FIND(hh, ls->kept, &dir, sizeof(dir), k);
	return k;
}

static void drop(struct listings *ls, struct kept_listing *k)
{
	ls->bytes -= k->listing->bytes + sizeof(*k);
	TAILQ_REMOVE(&ls->lru, k, lru);
	HASH_DELETE(hh, ls->kept, k);
	listing_unref(k->listing);
	free(k);
}

void listings_drop(struct listings *ls, uint64_t dir)
{
	struct kept_listing *k = find(ls, dir);

	if (k)
		drop(ls, k);
}

void listings_drop_all(struct listings *ls)
{
	struct kept_listing *k;

	while ((k = TAILQ_FIRST(&ls->lru)))
		drop(ls, k);
}

void listings_fini(struct listings *ls)
{
	listings_drop_all(ls);
}

void listings_put(struct listings *ls, uint64_t dir, struct listing *l)
{
	struct kept_listing *k;

	listings_drop(ls, dir);
	if (l->bytes > ls->most_one)
		return;
	k = calloc(1, sizeof(*k));
	if (!k)
		return;
	k->dir = dir;
	HASH_ADD(hh, ls->kept, dir, sizeof(k->dir), k);
	if (!TABLE_ADDED(k)) {
		free(k);
		return;
	}
	k->listing = listing_ref(l);
	TAILQ_INSERT_TAIL(&ls->lru, k, lru);
	ls->bytes += l->bytes + sizeof(*k);
	while (ls->bytes > ls->most)
		drop(ls, TAILQ_FIRST(&ls->lru));
}

struct listing *listings_get(struct listings *ls, uint64_t dir)
{
	struct kept_listing *k = find(ls, dir);

	if (!k)
		return NULL;
	TAILQ_REMOVE(&ls->lru, k, lru);
	TAILQ_INSERT_TAIL(&ls->lru, k, lru);
	return listing_ref(k->listing);
}
