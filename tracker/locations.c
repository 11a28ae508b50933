#include "locations.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"

#define INLINE 3

/* A copy: the peer's number, shifted, and whether it is a replica. */
struct set {
	uint16_t n;
	uint16_t cap;		/* of @many; 0: the copies are in @few */
	union {
		uint32_t few[INLINE];
		struct {
			uint32_t *many;
		} __attribute__((packed)) far;
	};
};

struct page {
	uint64_t no;		/* chunk / LOCATIONS_PAGE */
	UT_hash_handle hh;
	unsigned used;		/* sets that are not empty */
	struct set sets[LOCATIONS_PAGE];
};

_Static_assert(sizeof(struct set) == 16, "a set is kept small");

struct locations {
	struct page *pages;
	size_t bytes;
};

int locations_new(struct locations **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

static uint32_t *copies(struct set *s)
{
	return s->cap ? s->far.many : s->few;
}

static struct page *page_find(const struct locations *l, uint64_t chunk)
{
	uint64_t no = chunk / LOCATIONS_PAGE;
	struct page *p;

	HASH_FIND(hh, l->pages, &no, sizeof(no), p);
	return p;
}

static struct set *set_find(const struct locations *l, uint64_t chunk)
{
	struct page *p = page_find(l, chunk);

	return p ? &p->sets[chunk % LOCATIONS_PAGE] : NULL;
}

static struct page *page_get(struct locations *l, uint64_t chunk)
{
	struct page *p = page_find(l, chunk);

	if (p)
		return p;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->no = chunk / LOCATIONS_PAGE;
	HASH_ADD(hh, l->pages, no, sizeof(p->no), p);
	if (!TABLE_ADDED(p)) {
		free(p);
		return NULL;
	}
	l->bytes += sizeof(*p);
	return p;
}

static void page_put(struct locations *l, struct page *p)
{
	if (p->used)
		return;
	HASH_DELETE(hh, l->pages, p);
	l->bytes -= sizeof(*p);
	free(p);
}

static void set_clear(struct locations *l, struct page *p, struct set *s)
{
	if (!s->n)
		return;
	if (s->cap) {
		l->bytes -= s->cap * sizeof(uint32_t);
		free(s->far.many);
	}
	memset(s, 0, sizeof(*s));
	p->used--;
}

static int set_grow(struct locations *l, struct set *s)
{
	unsigned cap = s->cap ? s->cap * 2u : 8;
	uint32_t *many;

	if (s->n < (s->cap ? s->cap : INLINE))
		return 0;
	if (cap > UINT16_MAX)
		return -ENOMEM;
	many = malloc(cap * sizeof(*many));
	if (!many)
		return -ENOMEM;
	memcpy(many, copies(s), s->n * sizeof(*many));
	if (s->cap)
		free(s->far.many);
	l->bytes += (cap - s->cap) * sizeof(*many);
	s->cap = (uint16_t)cap;
	s->far.many = many;
	return 0;
}

int locations_add(struct locations *l, uint64_t chunk, uint32_t peer,
		  int replica)
{
	struct page *p = page_get(l, chunk);
	uint32_t copy = peer << 1 | !!replica;
	struct set *s;

	assert(peer <= LOCATIONS_PEER_MAX);
	if (!p)
		return -ENOMEM;
	s = &p->sets[chunk % LOCATIONS_PAGE];
	for (unsigned i = 0; i < s->n; i++)
		if (copies(s)[i] >> 1 == peer) {
			copies(s)[i] = copy;
			return 0;
		}
	if (set_grow(l, s)) {
		page_put(l, p);
		return -ENOMEM;
	}
	if (!s->n)
		p->used++;
	copies(s)[s->n++] = copy;
	return 0;
}

static void set_remove(struct locations *l, struct page *p, struct set *s,
		       uint32_t peer)
{
	uint32_t *c = copies(s);

	for (unsigned i = 0; i < s->n; i++) {
		if (c[i] >> 1 != peer)
			continue;
		if (s->n == 1) {
			set_clear(l, p, s);
		} else {
			c[i] = c[s->n - 1];
			s->n--;
		}
		return;
	}
}

void locations_remove(struct locations *l, uint64_t chunk, uint32_t peer)
{
	struct page *p = page_find(l, chunk);

	if (!p)
		return;
	set_remove(l, p, &p->sets[chunk % LOCATIONS_PAGE], peer);
	page_put(l, p);
}

void locations_forget(struct locations *l, uint64_t chunk)
{
	struct page *p = page_find(l, chunk);

	if (!p)
		return;
	set_clear(l, p, &p->sets[chunk % LOCATIONS_PAGE]);
	page_put(l, p);
}

void locations_forget_peer(struct locations *l, uint32_t peer)
{
	struct page *p, *tmp;

	HASH_ITER (hh, l->pages, p, tmp) {
		for (int i = 0; i < LOCATIONS_PAGE; i++)
			set_remove(l, p, &p->sets[i], peer);
		page_put(l, p);
	}
}

size_t locations_count(const struct locations *l, uint64_t chunk)
{
	const struct set *s = set_find(l, chunk);

	return s ? s->n : 0;
}

struct location locations_at(const struct locations *l, uint64_t chunk,
			     size_t i)
{
	struct set *s = set_find(l, chunk);
	uint32_t copy;

	assert(s && i < s->n);
	copy = copies(s)[i];
	return (struct location){ copy >> 1, copy & 1 };
}

size_t locations_bytes(const struct locations *l)
{
	return l->bytes;
}

void locations_free(struct locations *l)
{
	struct page *p, *tmp;

	if (!l)
		return;
	HASH_ITER (hh, l->pages, p, tmp) {
		for (int i = 0; i < LOCATIONS_PAGE; i++)
			set_clear(l, p, &p->sets[i]);
		page_put(l, p);
	}
	free(l);
}
