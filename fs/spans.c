/* spans -- see spans.h. */
#include "spans.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void spans_init(struct spans *s, uint64_t off, uint64_t len)
{
	s->v = s->few;
	s->cap = SPANS_FEW;
	s->err = 0;
	s->n = len ? 1 : 0;
	s->few[0] = (struct span){ off, len, NULL, 0, 0 };
}

void spans_fini(struct spans *s)
{
	if (s->v != s->few)
		free(s->v);
}

static uint64_t end_of(const struct span *v)
{
	return v->off + v->len;
}

static int grow(struct spans *s, size_t n)
{
	size_t cap = s->cap;
	struct span *v;

	while (cap < n)
		cap *= 2;
	if (cap == s->cap)
		return 0;
	v = malloc(cap * sizeof(*v));
	if (!v)
		return -ENOMEM;
	memcpy(v, s->v, s->n * sizeof(*v));
	spans_fini(s);
	s->v = v;
	s->cap = cap;
	return 0;
}

/* The first span that ends after @off. */
static size_t find(const struct spans *s, uint64_t off)
{
	size_t low = 0, high = s->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (end_of(&s->v[mid]) <= off)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* v[i, j) are covered by @new: put it there with what it leaves of them. */
static void splice(struct spans *s, size_t i, size_t j,
		   const struct span *new)
{
	struct span out[3], tail = s->v[j - 1];
	size_t n = 0;

	if (s->v[i].off < new->off) {
		out[n] = s->v[i];
		out[n++].len = new->off - s->v[i].off;
	}
	out[n++] = *new;
	if (end_of(&tail) > end_of(new)) {
		uint64_t cut = end_of(new) - tail.off;

		tail.off += cut;
		tail.len -= cut;
		tail.at += tail.b ? cut : 0;
		out[n++] = tail;
	}
	memmove(&s->v[i + n], &s->v[j], (s->n - j) * sizeof(*s->v));
	memcpy(&s->v[i], out, n * sizeof(*out));
	s->n = s->n - (j - i) + n;
}

void spans_paint(struct spans *s, uint64_t off, uint64_t len, struct buf *b,
		 int hot)
{
	struct span new = { off, len, b, 0, hot };
	size_t i, j;

	if (s->err || !s->n || !len || off >= end_of(&s->v[s->n - 1]) ||
	    off + len <= s->v[0].off)
		return;
	if (off < s->v[0].off) {
		new.at = s->v[0].off - off;
		new.off += new.at;
		new.len -= new.at;
	}
	if (end_of(&new) > end_of(&s->v[s->n - 1]))
		new.len = end_of(&s->v[s->n - 1]) - new.off;
	i = find(s, new.off);
	for (j = i; j < s->n && s->v[j].off < end_of(&new); j++)
		;
	s->err = grow(s, s->n + 2);
	if (!s->err)
		splice(s, i, j, &new);
}
