/* ranges -- see ranges.h. */
#include "ranges.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum { LEAST = 4096 };		/* the first allocation of a range */

static uint32_t end_of(const struct range *v)
{
	return v->pos + v->len;
}

/* A power of two, so that a range that grows is seldom copied. */
static struct buf *new_buf(uint32_t need, uint32_t room)
{
	uint64_t want = need > room ? need : room, cap = LEAST;

	while (cap < want)
		cap *= 2;
	return buf_new(cap + RANGES_TAIL);
}

/* The ranges [*first, *last) overlap or touch [pos, end). */
static void find(const struct ranges *r, uint32_t pos, uint32_t end,
		 uint32_t *first, uint32_t *last)
{
	uint32_t i = 0, j;

	while (i < r->n && end_of(&r->v[i]) < pos)
		i++;
	for (j = i; j < r->n && r->v[j].pos <= end; j++)
		;
	*first = i;
	*last = j;
}

/*
 * Make v[i] a range with room for [pos, end) that holds what v[i] held from
 * @pos on; *out gets what it will be.  The buffer stays if it fits.
 */
static int make_room(const struct range *old, uint32_t pos, uint32_t end,
		     uint32_t room, struct range *out)
{
	*out = (struct range){ pos, end - pos, NULL };
	if (old && old->pos == pos && end - pos <= old->b->cap - RANGES_TAIL) {
		out->b = old->b;
		return 0;
	}
	out->b = new_buf(end - pos, room);
	if (!out->b)
		return -ENOMEM;
	if (old && old->pos == pos)
		memcpy(out->b->data, old->b->data, old->len);
	return 0;
}

/* The last of the ranges written over may reach beyond the write. */
static void keep_tail(const struct range *dst, const struct range *last,
		      uint32_t end)
{
	uint32_t from = end > last->pos ? end : last->pos;

	if (end_of(last) > from && last->b != dst->b)
		memcpy(dst->b->data + (from - dst->pos),
		       last->b->data + (from - last->pos),
		       end_of(last) - from);
}

/* v[i, j) become @new. */
static void replace(struct ranges *r, uint32_t i, uint32_t j,
		    struct range new)
{
	for (uint32_t k = i; k < j; k++)
		if (r->v[k].b != new.b)
			buf_unref(r->v[k].b);
	memmove(&r->v[i + 1], &r->v[j], (r->n - j) * sizeof(r->v[0]));
	r->n = r->n - (j - i) + 1;
	r->v[i] = new;
}

int ranges_write(struct ranges *r, uint32_t pos, const void *p, uint32_t len,
		 uint32_t room)
{
	uint32_t i, j, end = pos + len, from = pos, to = end;
	const struct range *old = NULL;
	struct range new;
	int err;

	assert(len && end > pos);
	find(r, pos, end, &i, &j);
	if (i == j && r->n == RANGES_MAX)
		return -ENOSPC;
	if (i < j) {
		old = &r->v[i];
		if (old->pos < from)
			from = old->pos;
		if (end_of(&r->v[j - 1]) > to)
			to = end_of(&r->v[j - 1]);
		if (old->pos > from)
			old = NULL;
	}
	err = make_room(old, from, to, room ? pos - from + room : 0, &new);
	if (err)
		return err;
	if (i < j)
		keep_tail(&new, &r->v[j - 1], end);
	memcpy(new.b->data + (pos - from), p, len);
	new.b->len = new.len;
	replace(r, i, j, new);
	return 0;
}

size_t ranges_bytes(const struct ranges *r)
{
	size_t sum = 0;

	for (uint32_t i = 0; i < r->n; i++)
		sum += r->v[i].b->cap;
	return sum;
}

void ranges_fini(struct ranges *r)
{
	for (uint32_t i = 0; i < r->n; i++)
		buf_unref(r->v[i].b);
	r->n = 0;
}
