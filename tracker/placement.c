#include "placement.h"

#include "rng.h"

static int among(uint32_t num, const uint32_t *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == num)
			return 1;
	return 0;
}

/* What is asked of a candidate, and what was chosen so far. */
struct choice {
	const struct candidate *c;
	size_t n;
	uint64_t need;
	const uint32_t *except;
	size_t n_except;
	uint32_t *out;
	size_t n_out;
};

static int fits(const struct choice *ch, const struct candidate *c)
{
	return c->free >= ch->need &&
	       !among(c->num, ch->except, ch->n_except) &&
	       !among(c->num, ch->out, ch->n_out);
}

static int zone_taken(const struct choice *ch, uint32_t zone)
{
	if (!zone)
		return 0;
	for (size_t i = 0; i < ch->n; i++)
		if (ch->c[i].zone == zone &&
		    among(ch->c[i].num, ch->out, ch->n_out))
			return 1;
	return 0;
}

/* Free space as a weight that no sum of many can overflow. */
static uint64_t weight(const struct candidate *c)
{
	return 1 + (c->free >> 20 < UINT32_MAX ? c->free >> 20 : UINT32_MAX);
}

static int may_take(const struct choice *ch, const struct candidate *c,
		    int new_zone)
{
	return fits(ch, c) && !(new_zone && zone_taken(ch, c->zone));
}

/* One candidate, with a chance that grows with its free space. */
static const struct candidate *draw(const struct choice *ch, int new_zone,
				    uint64_t total, uint64_t *rng)
{
	uint64_t at = rng_next(rng) % total;

	for (size_t i = 0; i < ch->n; i++) {
		const struct candidate *c = &ch->c[i];

		if (!may_take(ch, c, new_zone))
			continue;
		if (at < weight(c))
			return c;
		at -= weight(c);
	}
	return NULL;	/* not reached: @total is the sum of these weights */
}

/*
 * The better of two random choices: the longest queue stays short without
 * anybody looking for the shortest (Mitzenmacher 2001), and a new empty peer
 * is not flooded.
 */
static const struct candidate *choose(const struct choice *ch, int new_zone,
				      uint64_t *rng)
{
	const struct candidate *a, *b;
	uint64_t total = 0;

	for (size_t i = 0; i < ch->n; i++)
		if (may_take(ch, &ch->c[i], new_zone))
			total += weight(&ch->c[i]);
	if (!total)
		return NULL;
	a = draw(ch, new_zone, total, rng);
	b = draw(ch, new_zone, total, rng);
	if (a && b && (b->queued < a->queued ||
		       (b->queued == a->queued && b->free > a->free)))
		return b;
	return a;
}

size_t placement_choose(const struct candidate *c, size_t n, uint32_t writer,
			uint64_t need, const uint32_t *except,
			size_t n_except, size_t want, uint64_t *rng,
			uint32_t *out)
{
	struct choice ch = { c, n, need, except, n_except, out, 0 };

	for (size_t i = 0; writer && i < n && ch.n_out < want; i++)
		if (c[i].num == writer && fits(&ch, &c[i]))
			out[ch.n_out++] = writer;
	while (ch.n_out < want) {
		const struct candidate *p = choose(&ch, 1, rng);

		if (!p)
			p = choose(&ch, 0, rng);
		if (!p)
			break;
		out[ch.n_out++] = p->num;
	}
	return ch.n_out;
}
