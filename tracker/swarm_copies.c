/* swarm_copies -- who has a chunk, and who is to have it; see swarm.h. */
#include "swarm.h"

#include <errno.h>
#include <string.h>

/* ------------------------------------------------------------------- copies */

struct copies swarm_copies(const struct swarm *s, uint64_t chunk)
{
	size_t n = locations_count(s->locations, chunk);
	struct copies c = { 0 };

	for (size_t i = 0; i < n; i++) {
		struct location at = locations_at(s->locations, chunk, i);
		struct peer *p = swarm_num(s, at.peer);

		if (!p || !peer_live(p))
			continue;
		c.all++;
		c.replicas += at.replica && !p->guest;
	}
	return c;
}

int swarm_holders(const struct swarm *s, struct arena *a, struct m_chunk *c)
{
	size_t n = locations_count(s->locations, c->id);

	c->n_holders = 0;
	c->holders = NULL;
	if (!n)
		return 0;
	c->holders = arena_alloc(a, n * sizeof(*c->holders));
	if (!c->holders)
		return -ENOMEM;
	for (size_t i = 0; i < n && c->n_holders < MSG_HOLDERS_MAX; i++) {
		struct location at = locations_at(s->locations, c->id, i);
		struct peer *p = swarm_num(s, at.peer);

		if (p && peer_live(p))
			c->holders[c->n_holders++] = p->num;
	}
	return 0;
}

int swarm_holds(const struct swarm *s, const struct peer *p, uint64_t chunk)
{
	size_t n = locations_count(s->locations, chunk);

	for (size_t i = 0; i < n; i++) {
		struct location at = locations_at(s->locations, chunk, i);

		if (at.peer == p->num)
			return at.replica ? 2 : 1;
	}
	return 0;
}

/* ---------------------------------------------------------------- placement */

unsigned swarm_want(const struct swarm *s, uint8_t copies)
{
	return copies == UINT8_MAX ? s->n_live : copies;
}

/* Who comes into question, in s->candidates; how many. */
static size_t list_candidates(struct swarm *s, uint32_t writer, int pushed,
			      int sure)
{
	size_t n = 0;

	for (uint32_t i = 0; i < s->n; i++) {
		struct peer *p = s->by_num[i];

		if (!p || !peer_live(p) || p->capacity <= p->used)
			continue;
		if (pushed && p->num != writer &&
		    (p->reach == REACH_NO || (sure && p->reach != REACH_YES)))
			continue;
		s->candidates[n++] = (struct candidate){
			.num = p->num,
			.free = p->capacity - p->used,
			.queued = p->queued,
		};
	}
	return n;
}

size_t swarm_place(struct swarm *s, uint32_t writer, int pushed,
		   uint64_t need, const uint32_t *except, size_t n_except,
		   size_t want, uint64_t *rng, uint32_t *out)
{
	uint32_t taken[2 * MSG_HOLDERS_MAX];
	size_t n, got;

	if (want > MSG_HOLDERS_MAX)
		want = MSG_HOLDERS_MAX;
	if (n_except > MSG_HOLDERS_MAX)
		n_except = MSG_HOLDERS_MAX;
	n = list_candidates(s, writer, pushed, 1);
	got = placement_choose(s->candidates, n, writer, need, except,
			       n_except, want, rng, out);
	if (pushed && got < want) {
		/* then also those that nobody has tried to reach yet */
		memcpy(taken, out, got * sizeof(*out));
		if (n_except)
			memcpy(taken + got, except, n_except * sizeof(*out));
		n = list_candidates(s, writer, pushed, 0);
		got += placement_choose(s->candidates, n, 0, need, taken,
					got + n_except, want - got, rng,
					out + got);
	}
	for (size_t i = 0; i < got; i++)
		swarm_num(s, out[i])->queued++;
	return got;
}
