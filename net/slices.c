/*
 * slices -- resolved by painting.
 *
 * The ends of all slices cut the range into intervals that no slice enters
 * half way.  From the newest slice to the oldest each paints those of its
 * intervals that are still bare; skip[] jumps over what is painted, so that
 * every interval is painted once: O(n log n) however they overlap.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "slices.h"

#define NOBODY UINT32_MAX

struct painting {
	uint32_t *cuts;		/* ascending, distinct; intervals between */
	uint32_t *owner;	/* of interval i, cuts[i] to cuts[i + 1] */
	uint32_t *skip;		/* a step towards the next bare interval */
	size_t n;		/* cuts */
};

static int check(const struct m_slice *stack, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct m_slice *s = &stack[i];

		if (s->len > UINT32_MAX - s->pos)
			return -EBADMSG;
		if (s->chunk && s->len > UINT32_MAX - s->off)
			return -EBADMSG;
	}
	return 0;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static uint32_t clamp(uint32_t v, uint32_t low, uint32_t high)
{
	return v < low ? low : v > high ? high : v;
}

static void cut(struct painting *p, const struct m_slice *stack, size_t n,
		uint32_t pos, uint32_t end)
{
	size_t k = 0, distinct = 0;

	p->cuts[k++] = pos;
	p->cuts[k++] = end;
	for (size_t i = 0; i < n; i++) {
		p->cuts[k++] = clamp(stack[i].pos, pos, end);
		p->cuts[k++] = clamp(stack[i].pos + stack[i].len, pos, end);
	}
	qsort(p->cuts, k, sizeof(*p->cuts), by_value);
	for (size_t i = 0; i < k; i++)
		if (!i || p->cuts[i] != p->cuts[i - 1])
			p->cuts[distinct++] = p->cuts[i];
	p->n = distinct;
	for (size_t i = 0; i < distinct; i++) {
		p->owner[i] = NOBODY;
		p->skip[i] = i;
	}
}

/* The first cut at or after @pos, which is one of them. */
static size_t cut_at(const struct painting *p, uint32_t pos)
{
	size_t low = 0, high = p->n - 1;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (p->cuts[mid] < pos)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static size_t next_bare(struct painting *p, size_t i)
{
	while (p->skip[i] != i) {
		p->skip[i] = p->skip[p->skip[i]];
		i = p->skip[i];
	}
	return i;
}

static void paint(struct painting *p, const struct m_slice *stack, size_t n)
{
	uint32_t first = p->cuts[0], last = p->cuts[p->n - 1];

	for (size_t i = n; i-- > 0;) {
		uint32_t from = clamp(stack[i].pos, first, last);
		uint32_t to = clamp(stack[i].pos + stack[i].len, first, last);
		size_t k = next_bare(p, cut_at(p, from));

		while (p->cuts[k] < to) {
			p->owner[k] = i;
			p->skip[k] = k + 1;
			k = next_bare(p, k + 1);
		}
	}
}

/* Neighbouring intervals of one owner become one piece. */
static size_t gather(const struct painting *p, const struct m_slice *stack,
		     struct piece *out)
{
	size_t n = 0;

	for (size_t i = 0; i + 1 < p->n; i++) {
		uint32_t from = p->owner[i], len = p->cuts[i + 1] - p->cuts[i];
		struct piece *q = &out[n];

		if (n && out[n - 1].from == from) {
			out[n - 1].len += len;
			continue;
		}
		*q = (struct piece){ p->cuts[i], len, 0, 0, from };
		if (from != NOBODY && stack[from].chunk) {
			q->chunk = stack[from].chunk;
			q->off = stack[from].off + (q->pos - stack[from].pos);
		}
		n++;
	}
	return n;
}

int slices_resolve(const struct m_slice *stack, size_t n, uint32_t pos,
		   uint32_t len, struct piece **out, size_t *n_out)
{
	struct painting p;
	struct piece *pieces;
	size_t most;

	if (n > MSG_SLICES_MAX || len > UINT32_MAX - pos || check(stack, n))
		return -EBADMSG;
	most = 2 * n + 2;
	p.cuts = calloc(3 * most, sizeof(*p.cuts));
	pieces = calloc(most, sizeof(*pieces));
	if (!p.cuts || !pieces) {
		free(p.cuts);
		free(pieces);
		return -ENOMEM;
	}
	p.owner = p.cuts + most;
	p.skip = p.owner + most;
	cut(&p, stack, n, pos, pos + len);
	paint(&p, stack, n);
	*n_out = gather(&p, stack, pieces);
	*out = pieces;
	free(p.cuts);
	return 0;
}

/* Does @s go on where @v ends, in the slot and in the chunk? */
static int goes_on(const struct m_slice *v, const struct m_slice *s)
{
	return v->chunk == s->chunk && v->pos + v->len == s->pos &&
	       v->off + v->len == s->off;
}

int slices_take(const struct m_slice *stack, size_t n, uint32_t pos,
		uint32_t len, uint32_t to, struct m_slice **out,
		size_t *n_out)
{
	struct piece *pieces;
	struct m_slice *v;
	size_t i, n_pieces, kept = 0;
	int err;

	if (len > UINT32_MAX - to)
		return -EBADMSG;
	err = slices_resolve(stack, n, pos, len, &pieces, &n_pieces);
	if (err)
		return err;
	v = malloc((n_pieces + 1) * sizeof(*v));
	for (i = 0; v && i < n_pieces; i++) {
		const struct piece *p = &pieces[i];
		struct m_slice s = { .pos = p->pos - pos + to, .len = p->len,
				     .chunk = p->chunk, .off = p->off };

		if (!s.chunk)
			continue;
		if (kept && goes_on(&v[kept - 1], &s))
			v[kept - 1].len += s.len;
		else
			v[kept++] = s;
	}
	free(pieces);
	*out = v;
	*n_out = kept;
	return v ? 0 : -ENOMEM;
}

uint32_t slices_end(const struct m_slice *stack, size_t n)
{
	uint32_t end = 0;

	for (size_t i = 0; i < n; i++) {
		uint32_t room = UINT32_MAX - stack[i].pos;
		uint32_t len = stack[i].len < room ? stack[i].len : room;

		if (len && stack[i].pos + len > end)
			end = stack[i].pos + len;
	}
	return end;
}

int slices_deep(size_t n)
{
	return n > SLICES_DEEP;
}
