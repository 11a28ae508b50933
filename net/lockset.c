#include "lockset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void lockset_fini(struct lockset *s)
{
	free(s->v);
	*s = LOCKSET_INIT;
}

static int reserve(struct lockset *s, uint32_t n)
{
	uint32_t cap = s->cap ? s->cap : 4;
	struct lock_range *v;

	if (n <= s->cap)
		return 0;
	while (cap < n)
		cap *= 2;
	v = realloc(s->v, cap * sizeof(*v));
	if (!v)
		return -ENOMEM;
	s->v = v;
	s->cap = cap;
	return 0;
}

/* The index of the first range that ends at @start or behind it. */
static uint32_t seek(const struct lockset *s, uint64_t start)
{
	uint32_t low = 0, high = s->n;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (s->v[mid].end < start)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int joins(const struct lock_range *a, const struct lock_range *b)
{
	return a->kind == b->kind && a->end + 1 == b->start;
}

/* What replaces the ranges that meet [start, end]: at most the rest of the
 * first, the new one, the rest of the last; joined where they are one. */
static uint32_t replacement(const struct lockset *s, uint32_t first,
			    uint32_t last, const struct lock_range *set,
			    struct lock_range out[3])
{
	uint32_t n = 0;

	if (first < last && s->v[first].start < set->start) {
		out[n] = s->v[first];
		out[n++].end = set->start - 1;
	}
	if (set->kind != LK_NONE) {
		if (n && joins(&out[n - 1], set))
			out[n - 1].end = set->end;
		else
			out[n++] = *set;
	}
	if (first < last && s->v[last - 1].end > set->end) {
		struct lock_range rest = s->v[last - 1];

		rest.start = set->end + 1;
		if (n && joins(&out[n - 1], &rest))
			out[n - 1].end = rest.end;
		else
			out[n++] = rest;
	}
	return n;
}

int lockset_set(struct lockset *s, uint64_t start, uint64_t end,
		enum lk_kind kind, uint32_t most)
{
	struct lock_range set = { start, end, (uint8_t)kind }, with[3];
	uint32_t first = seek(s, start), last, n;

	/* a neighbour of the same kind is met, too: it is taken in */
	if (kind != LK_NONE && first && joins(&s->v[first - 1], &set))
		set.start = s->v[--first].start;
	for (last = first; last < s->n && s->v[last].start <= end; last++)
		;
	if (kind != LK_NONE && last < s->n && joins(&set, &s->v[last]))
		set.end = s->v[last++].end;
	n = replacement(s, first, last, &set, with);
	if (s->n - (last - first) + n > most && n > last - first)
		return -ENOLCK;
	if (reserve(s, s->n - (last - first) + n))
		return -ENOMEM;
	if (last < s->n)
		memmove(&s->v[first + n], &s->v[last],
			(s->n - last) * sizeof(*s->v));
	if (n)
		memcpy(&s->v[first], with, n * sizeof(*with));
	s->n = s->n - (last - first) + n;
	return 0;
}

const struct lock_range *lockset_first(const struct lockset *s,
				       uint64_t start, uint64_t end)
{
	uint32_t i = seek(s, start);

	return i < s->n && s->v[i].start <= end ? &s->v[i] : NULL;
}

const struct lock_range *lockset_next(const struct lockset *s,
				      const struct lock_range *r,
				      uint64_t end)
{
	r++;
	return r < s->v + s->n && r->start <= end ? r : NULL;
}

const struct lock_range *lockset_conflict(const struct lockset *s,
					  uint64_t start, uint64_t end,
					  enum lk_kind kind)
{
	const struct lock_range *r;

	for (r = lockset_first(s, start, end); r;
	     r = lockset_next(s, r, end))
		if (kind != LK_NONE &&
		    (kind == LK_WRITE || r->kind == LK_WRITE))
			return r;
	return NULL;
}

int lockset_covers(const struct lockset *s, uint64_t start, uint64_t end,
		   enum lk_kind kind)
{
	const struct lock_range *r;

	for (r = lockset_first(s, start, end);
	     r && r->start <= start && r->kind >= kind;
	     r = lockset_next(s, r, end)) {
		if (r->end >= end)
			return 1;
		start = r->end + 1;
	}
	return 0;
}

enum lk_kind lockset_strongest(const struct lockset *s, uint64_t start,
			       uint64_t end)
{
	enum lk_kind kind = LK_NONE;
	const struct lock_range *r;

	for (r = lockset_first(s, start, end); r;
	     r = lockset_next(s, r, end))
		if (r->kind > kind)
			kind = r->kind;
	return kind;
}
