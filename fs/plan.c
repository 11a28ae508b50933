/* plan -- see plan.h. */
#include "plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rng.h"

const struct track_piece *plan_piece(const struct plan *p, uint32_t chunk,
				     uint32_t i)
{
	return &p->track->pieces[p->order[p->chunks[chunk].first + i]];
}

/* ---------------------------------------------------------------- chunks */

static int by_chunk(const void *a, const void *b, void *track)
{
	const struct track *t = track;
	const struct track_piece *x = &t->pieces[*(const uint32_t *)a];
	const struct track_piece *y = &t->pieces[*(const uint32_t *)b];

	if (x->chunk != y->chunk)
		return x->chunk < y->chunk ? -1 : 1;
	return (x->at > y->at) - (x->at < y->at);
}

/* Those pieces that are wanted, and the chunks that they are of. */
static void gather(struct plan *p, const uint8_t *have)
{
	const struct track *t = p->track;
	size_t n = 0;

	for (size_t i = 0; i < t->n_pieces; i++)
		if (!have[i])
			p->order[n++] = (uint32_t)i;
	qsort_r(p->order, n, sizeof(*p->order), by_chunk, (void *)t);
	for (size_t i = 0; i < n; i++) {
		const struct track_piece *piece = &t->pieces[p->order[i]];
		struct plan_chunk *c = &p->chunks[p->n_chunks];

		if (p->n_chunks && c[-1].id == piece->chunk) {
			c[-1].n++;
			continue;
		}
		*c = (struct plan_chunk){ .id = piece->chunk, .n = 1,
					  .len = piece->chunk_len,
					  .first = (uint32_t)i };
		p->n_chunks++;
	}
}

static uint32_t count_holders(const struct plan *p, uint32_t chunk,
			      uint32_t *out)
{
	const struct track_piece *piece = plan_piece(p, chunk, 0);
	uint32_t n = 0;

	for (size_t i = 0; i < p->track->n_holders; i++) {
		const struct track_holder *h = &p->track->holders[i];

		if (n == MSG_HOLDERS_MAX ||
		    !track_holds(h, piece->at, piece->len))
			continue;
		if (out)
			out[n] = h->num;
		n++;
	}
	return n;
}

struct rank {
	uint32_t chunk, holders;
	uint64_t chance;
};

static int by_rank(const void *a, const void *b)
{
	const struct rank *x = a, *y = b;

	if (x->holders != y->holders)	/* the rarest last */
		return x->holders > y->holders ? -1 : 1;
	return (x->chance > y->chance) - (x->chance < y->chance);
}

static int rank_all(struct plan *p, uint64_t *rng)
{
	struct rank *r = malloc((p->n_chunks + 1) * sizeof(*r));

	if (!r)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->n_chunks; i++)
		r[i] = (struct rank){ i, count_holders(p, i, NULL),
				      rng_next(rng) };
	qsort(r, p->n_chunks, sizeof(*r), by_rank);
	for (size_t i = 0; i < p->n_chunks; i++)
		p->todo[i] = r[i].chunk;
	p->n_todo = p->n_chunks;
	free(r);
	return 0;
}

int plan_init(struct plan *p, const struct track *track, const uint8_t *have,
	      uint64_t rng)
{
	size_t n = track->n_pieces + 1;
	int err = -ENOMEM;

	*p = (struct plan){
		.track = track,
		.chunks = malloc(n * sizeof(*p->chunks)),
		.order = malloc(n * sizeof(*p->order)),
		.todo = malloc(n * sizeof(*p->todo)),
		.aside = malloc(n * sizeof(*p->aside)),
		.batch = malloc(PLAN_BATCH * sizeof(*p->batch)),
	};
	if (p->chunks && p->order && p->todo && p->aside && p->batch) {
		gather(p, have);
		err = rank_all(p, &rng);
	}
	if (err)
		plan_fini(p);
	return err;
}

void plan_fini(struct plan *p)
{
	free(p->chunks);
	free(p->order);
	free(p->todo);
	free(p->aside);
	free(p->batch);
	memset(p, 0, sizeof(*p));
}

/* ----------------------------------------------------------------- batches */

void plan_fill(struct plan *p)
{
	if (p->n_batch)
		return;
	while (p->n_todo && p->n_batch < PLAN_BATCH) {
		struct plan_item *b = &p->batch[p->n_batch++];

		b->chunk = p->todo[--p->n_todo];
		b->n_holders = 0;
	}
}

void plan_known(struct plan *p, size_t i, const uint32_t *holders, uint32_t n)
{
	struct plan_item *b = &p->batch[i];

	b->n_holders = n < MSG_HOLDERS_MAX ? n : MSG_HOLDERS_MAX;
	if (b->n_holders)
		memcpy(b->holders, holders, b->n_holders * sizeof(*holders));
}

void plan_known_from_track(struct plan *p, size_t i)
{
	struct plan_item *b = &p->batch[i];

	b->n_holders = count_holders(p, b->chunk, b->holders);
}

/* Insertion, which keeps the order of equals: they came in a random one. */
void plan_sort(struct plan *p)
{
	struct plan_item it;
	size_t kept = 0, k;

	for (size_t i = 0; i < p->n_batch; i++) {
		if (!p->batch[i].n_holders) {
			plan_aside(p, p->batch[i].chunk);
			continue;
		}
		if (kept && p->batch[kept - 1].n_holders <
				    p->batch[i].n_holders) {
			it = p->batch[i];
			for (k = kept; k && p->batch[k - 1].n_holders <
						    it.n_holders; k--)
				p->batch[k] = p->batch[k - 1];
			p->batch[k] = it;
		} else if (kept != i) {
			p->batch[kept] = p->batch[i];
		}
		kept++;
	}
	p->n_batch = kept;
}

const struct plan_item *plan_next(struct plan *p)
{
	return p->n_batch ? &p->batch[--p->n_batch] : NULL;
}

void plan_aside(struct plan *p, uint32_t chunk)
{
	p->aside[p->n_aside++] = chunk;
}

void plan_again(struct plan *p)
{
	while (p->n_aside)
		p->todo[p->n_todo++] = p->aside[--p->n_aside];
}

/* ----------------------------------------------------------------- missing */

static int by_at(const void *a, const void *b)
{
	const struct track_range *x = a, *y = b;

	return (x->at > y->at) - (x->at < y->at);
}

int plan_missing(const struct plan *p, struct track_range **out, size_t *n)
{
	struct track_range *v;
	size_t most = 0, kept = 0;

	for (size_t i = 0; i < p->n_aside; i++)
		most += p->chunks[p->aside[i]].n;
	v = malloc((most + 1) * sizeof(*v));
	if (!v)
		return -ENOMEM;
	most = 0;
	for (size_t i = 0; i < p->n_aside; i++)
		for (uint32_t k = 0; k < p->chunks[p->aside[i]].n; k++) {
			const struct track_piece *c =
				plan_piece(p, p->aside[i], k);

			v[most++] = (struct track_range){ c->at,
							  c->at + c->len };
		}
	qsort(v, most, sizeof(*v), by_at);
	for (size_t i = 0; i < most; i++)
		if (kept && v[kept - 1].end == v[i].at)
			v[kept - 1].end = v[i].end;
		else
			v[kept++] = v[i];
	*out = v;
	*n = kept;
	return 0;
}
