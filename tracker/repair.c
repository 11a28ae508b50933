#include "repair.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "counters.h"
#include "log.h"

#define REST_MS 1000		/* between two walks, when poked */
#define ROUND_MS 30000		/* and when nothing is known to have changed */

/* A copy on its way. */
struct flight {
	TAILQ_ENTRY(flight) link;
	uint64_t chunk;
	uint32_t peer, number;
};

struct repair {
	struct repair_env env;
	int walking, poked;
	int second;			/* the walk's second round */
	int left, safer;		/* still to be copied; of those with
					   more than one copy */
	uint64_t at;			/* the walk has looked up to here */
	uint64_t next_ms;		/* the next starts, poked or not */
	uint64_t rest_ms;		/* not before */
	struct repair_counts now, last;
	TAILQ_HEAD(flight_list, flight) flights;
	unsigned n_flights;
};

int repair_new(struct repair **out, const struct repair_env *env)
{
	struct repair *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->env = *env;
	TAILQ_INIT(&r->flights);
	*out = r;
	return 0;
}

void repair_free(struct repair *r)
{
	struct flight *f;

	if (!r)
		return;
	while ((f = TAILQ_FIRST(&r->flights))) {
		TAILQ_REMOVE(&r->flights, f, link);
		free(f);
	}
	free(r);
}

void repair_poke(struct repair *r)
{
	r->poked = 1;
}

/* -------------------------------------------------------------- one chunk */

/* @copies: the chunk's own number, or 0. */
static unsigned wanted(const struct repair *r, uint8_t copies)
{
	return swarm_want(r->env.swarm, copies ? copies : r->env.copies);
}

static void tally(const struct repair *r, const struct ns_chunk_row *row,
		  struct repair_counts *c)
{
	struct copies have = swarm_copies(r->env.swarm, row->chunk.id);

	if (!have.all)
		c->missing++;
	if (have.replicas < wanted(r, row->copies))
		c->under++;
}

/* Assigned peers whose copy may well come back by itself. */
static unsigned excused(const struct repair *r, const uint32_t *peers,
			uint32_t n, uint64_t chunk, uint64_t now_ms)
{
	unsigned count = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct peer *p = swarm_num(r->env.swarm, peers[i]);

		if (!p)
			continue;
		if (peer_live(p))
			count += !p->told &&
				 swarm_holds(r->env.swarm, p, chunk) != 2;
		else
			count += now_ms - p->gone_ms < r->env.gone_ms;
	}
	return count;
}

static int flying(const struct repair *r, uint64_t chunk)
{
	const struct flight *f;

	TAILQ_FOREACH(f, &r->flights, link)
		if (f->chunk == chunk)
			return 1;
	return 0;
}

static unsigned flying_to(const struct repair *r, uint32_t peer)
{
	const struct flight *f;
	unsigned n = 0;

	TAILQ_FOREACH(f, &r->flights, link)
		n += f->peer == peer;
	return n;
}

/* A live peer that has it cached already, else one with room. */
static struct peer *target(struct repair *r, const struct m_chunk *c)
{
	uint32_t num;

	for (uint32_t i = 0; i < c->n_holders; i++) {
		struct peer *p = swarm_num(r->env.swarm, c->holders[i]);

		if (!p->guest && swarm_holds(r->env.swarm, p, c->id) == 1)
			return p;
	}
	if (!swarm_place(r->env.swarm, 0, 0, c->len, c->holders, c->n_holders,
			 1, r->env.rng, &num))
		return NULL;
	return swarm_num(r->env.swarm, num);
}

static int copy_to(struct repair *r, struct peer *p, const struct m_chunk *c)
{
	struct m_copy m = { .chunk = *c };
	struct flight *f = calloc(1, sizeof(*f));
	struct wr w = WR_INIT;

	if (!f)
		return -ENOMEM;
	f->chunk = c->id;
	f->peer = p->num;
	if (!m_copy_encode(&w, &m))
		f->number = r->env.send(r->env.arg, p, M_copy, &w);
	if (!f->number) {
		wr_fini(&w);
		free(f);
		return 0;	/* the next walk comes by again */
	}
	TAILQ_INSERT_TAIL(&r->flights, f, link);
	r->n_flights++;
	return 0;
}

static int mend(struct repair *r, struct ns_chunk_row *row, uint64_t now_ms)
{
	unsigned want = wanted(r, row->copies);
	struct m_chunk *c = &row->chunk;
	struct copies live = swarm_copies(r->env.swarm, c->id);
	struct arena a = ARENA_INIT;
	uint32_t *peers, n;
	struct peer *p;
	int err;

	if (!live.all || live.replicas >= want || flying(r, c->id))
		return 0;
	if (!r->second && live.all > 1) {
		r->safer = 1;
		return 0;
	}
	if (r->n_flights == REPAIR_FLIGHT) {
		r->left = r->poked = 1;
		return 0;
	}
	err = ns_assigned(r->env.ns, &a, c->id, &peers, &n);
	if (err || live.replicas + excused(r, peers, n, c->id, now_ms) >= want)
		goto out;
	err = swarm_holders(r->env.swarm, &a, c);
	p = err ? NULL : target(r, c);
	if (p && flying_to(r, p->num) < REPAIR_FLIGHT_PEER)
		err = copy_to(r, p, c);
	else if (p)
		r->left = 1;
	if (p)
		r->poked = 1;	/* there may be more to do */
out:
	arena_fini(&a);
	return err == -ENOENT ? 0 : err;
}

/* --------------------------------------------------------------- the walk */

static int start(struct repair *r, uint64_t now_ms)
{
	uint32_t round = r->env.gone_ms / 2 < ROUND_MS ? r->env.gone_ms / 2
						       : ROUND_MS;

	if (now_ms < r->rest_ms || (!r->poked && now_ms < r->next_ms))
		return 0;
	r->poked = 0;
	r->walking = 1;
	r->second = r->left = r->safer = 0;
	r->at = 0;
	r->now = (struct repair_counts){ 0 };
	r->next_ms = now_ms + round;
	return 1;
}

/* A round has seen all chunks. */
static void round_end(struct repair *r, uint64_t now_ms)
{
	if (!r->second)
		r->last = r->now;
	if (!r->second && r->safer && !r->left) {
		r->second = 1;
		r->at = 0;
		return;
	}
	r->walking = 0;
	r->rest_ms = now_ms + REST_MS;
}

int repair_tick(struct repair *r, uint64_t now_ms)
{
	struct arena a = ARENA_INIT;
	struct ns_chunk_row *v;
	uint32_t n = 0;
	int err;

	if (!r->walking && !start(r, now_ms))
		return 0;
	err = ns_chunks(r->env.ns, &a, r->at, REPAIR_PAGE, &v, &n);
	for (uint32_t i = 0; !err && i < n; i++) {
		r->at = v[i].chunk.id;
		tally(r, &v[i], &r->now);
		err = mend(r, &v[i], now_ms);
	}
	arena_fini(&a);
	if (err) {
		r->walking = 0;
		r->rest_ms = now_ms + REST_MS;
	} else if (n < REPAIR_PAGE) {
		round_end(r, now_ms);
	}
	return err;
}

int repair_count(struct repair *r, struct repair_counts *out)
{
	struct arena a = ARENA_INIT;
	struct ns_count count;
	struct ns_chunk_row *v;
	uint64_t after = 0;
	uint32_t n;
	int err;

	*out = r->last;
	ns_count(r->env.ns, &count);
	if (count.chunks > REPAIR_COUNT_NOW)
		return 0;
	*out = (struct repair_counts){ 0 };
	do {
		err = ns_chunks(r->env.ns, &a, after, REPAIR_PAGE, &v, &n);
		for (uint32_t i = 0; !err && i < n; i++) {
			after = v[i].chunk.id;
			tally(r, &v[i], out);
		}
	} while (!err && n == REPAIR_PAGE);
	arena_fini(&a);
	return err;
}

/* ------------------------------------------------------------- its answers */

/* @p keeps it from now on; assigned peers that are away stay, for they may
 * come back with it, as long as there is room for their numbers. */
static int assign(struct repair *r, uint64_t chunk, const struct peer *p)
{
	uint32_t next[MSG_HOLDERS_MAX], *peers, n, k = 0;
	struct arena a = ARENA_INIT;
	uint8_t copies;
	unsigned want;
	int err;

	err = ns_copies(r->env.ns, chunk, &copies);
	if (!err)
		err = ns_assigned(r->env.ns, &a, chunk, &peers, &n);
	if (err)
		goto out;
	want = wanted(r, copies);
	next[k++] = p->num;
	for (uint32_t i = 0; i < n && k < MSG_HOLDERS_MAX; i++) {
		const struct peer *q = swarm_num(r->env.swarm, peers[i]);

		if (q && q != p && (peer_live(q) || k < want))
			next[k++] = q->num;
	}
	err = ns_assign(r->env.ns, chunk, next, k);
out:
	arena_fini(&a);
	return err;
}

int repair_answered(struct repair *r, uint32_t number, int ok)
{
	struct m_chunk known;
	struct flight *f;
	struct peer *p;
	int err = 0;

	TAILQ_FOREACH(f, &r->flights, link)
		if (f->number == number)
			break;
	if (!f)
		return 0;
	TAILQ_REMOVE(&r->flights, f, link);
	r->n_flights--;
	p = swarm_num(r->env.swarm, f->peer);
	if (!ok) {
		log_info("peer %s:%u did not copy chunk %llu: it is tried "
			 "again", p->addr, p->port,
			 (unsigned long long)f->chunk);
		goto out;
	}
	counter_add(CNT_COPIED, 1);
	if (!r->n_flights)
		r->rest_ms = 0;		/* it goes well: no need to rest */
	err = ns_chunk(r->env.ns, f->chunk, &known);
	if (err == -ENOENT)	/* deleted meanwhile */
		garbage_tell_one(r->env.garbage, f->chunk, p, r->env.send,
				 r->env.arg);
	if (!err)
		err = locations_add(r->env.swarm->locations, f->chunk, p->num,
				    1);
	if (!err)
		err = assign(r, f->chunk, p);
out:
	free(f);
	return err == -ENOENT ? 0 : err;
}
