#include "garbage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "counters.h"
#include "log.h"

#define COLLECT_MS 500		/* between two looks */
#define JUMP_MS 1000		/* of the wall clock against the other */

/* Chunks that a peer was told to delete. */
struct drop {
	TAILQ_ENTRY(drop) link;
	uint32_t number;
	uint32_t n;
	uint64_t ids[];
};

struct untold {
	uint64_t id;
	UT_hash_handle hh;
};

struct garbage {
	uint32_t grace_ms;
	uint64_t hold_ms;	/* nothing is dropped before */
	uint64_t next_ms;
	int64_t offset_ms;	/* wall clock minus monotonic */
	uint64_t due[GARBAGE_BATCH];
	int n_due;
	TAILQ_HEAD(drop_list, drop) drops;
	struct untold *untold;
};

static int64_t offset_of(struct core_time t)
{
	return t.wall_s * 1000 + t.wall_ns / 1000000 - (int64_t)t.ms;
}

int garbage_new(struct garbage **out, uint32_t grace_ms,
		struct core_time now)
{
	struct garbage *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	g->grace_ms = grace_ms;
	g->hold_ms = now.ms + grace_ms;
	g->offset_ms = offset_of(now);
	TAILQ_INIT(&g->drops);
	*out = g;
	return 0;
}

void garbage_free(struct garbage *g)
{
	struct untold *u, *next;
	struct drop *d;

	if (!g)
		return;
	while ((d = TAILQ_FIRST(&g->drops))) {
		TAILQ_REMOVE(&g->drops, d, link);
		free(d);
	}
	HASH_ITER (hh, g->untold, u, next) {
		HASH_DELETE(hh, g->untold, u);
		free(u);
	}
	free(g);
}

/* ------------------------------------------------------------- first phase */

static void watch_clock(struct garbage *g, struct core_time now)
{
	int64_t offset = offset_of(now), by = offset - g->offset_ms;

	if (by > -JUMP_MS && by < JUMP_MS) {
		/* follow a clock that is being slewed */
		g->offset_ms = offset;
		return;
	}
	log_warn("the clock jumped by %lld ms: no chunk is deleted for %u s",
		 (long long)by, g->grace_ms / 1000);
	g->offset_ms = offset;
	g->hold_ms = now.ms + g->grace_ms;
}

/* The time of grace before now, or (@by 1) after it. */
static struct ns_now grace_from(const struct garbage *g, struct core_time now,
				int by)
{
	int64_t ms = now.wall_s * 1000 + now.wall_ns / 1000000 +
		     by * (int64_t)g->grace_ms;

	if (ms < 0)
		ms = 0;
	return (struct ns_now){ ms / 1000, (uint32_t)(ms % 1000) * 1000000 };
}

int garbage_collect(struct garbage *g, struct ns *ns, struct core_time now)
{
	int n, err;

	watch_clock(g, now);
	if (now.ms < g->hold_ms || now.ms < g->next_ms || g->n_due)
		return 0;
	/* What waits since a time to come: the clock has jumped back since,
	 * which was more than the time of grace ago (watch_clock()). */
	n = ns_garbage_due(ns, grace_from(g, now, -1), grace_from(g, now, 1),
			   g->due, GARBAGE_BATCH);
	if (n < GARBAGE_BATCH)
		g->next_ms = now.ms + COLLECT_MS;
	if (n <= 0)
		return n;
	err = ns_garbage_drop(ns, g->due, n);
	if (err)
		return err;
	g->n_due = n;
	return n;
}

void garbage_rolled_back(struct garbage *g)
{
	g->n_due = 0;
}

/* ------------------------------------------------------------ second phase */

static void remember(struct garbage *g, uint64_t id)
{
	struct untold *u;

	if (garbage_untold(g, id) ||
	    HASH_COUNT(g->untold) >= GARBAGE_UNTOLD_MAX)
		return;
	u = calloc(1, sizeof(*u));
	if (!u)
		return;
	u->id = id;
	HASH_ADD(hh, g->untold, id, sizeof(u->id), u);
	if (!TABLE_ADDED(u))
		free(u);
}

int garbage_untold(const struct garbage *g, uint64_t chunk)
{
	struct untold *u;

	HASH_FIND(hh, g->untold, &chunk, sizeof(chunk), u);
	return u != NULL;
}

static void send_drop(struct garbage *g, struct peer *p, const uint64_t *ids,
		      uint32_t n, peer_send_fn send, void *arg)
{
	struct drop *d = malloc(sizeof(*d) + n * sizeof(*ids));
	struct m_drop m = { .n_chunks = n };
	struct wr w = WR_INIT;

	if (!d)
		goto untold;
	memcpy(d->ids, ids, n * sizeof(*ids));
	d->n = n;
	m.chunks = d->ids;
	if (m_drop_encode(&w, &m) || !(d->number = send(arg, p, M_drop, &w)))
		goto untold;
	TAILQ_INSERT_TAIL(&g->drops, d, link);
	counter_add(CNT_DELETED, n);
	return;

untold:
	wr_fini(&w);
	free(d);
	for (uint32_t i = 0; i < n; i++)
		remember(g, ids[i]);
}

void garbage_tell(struct garbage *g, struct swarm *s, peer_send_fn send,
		  void *arg)
{
	uint64_t ids[GARBAGE_BATCH];

	if (!g->n_due)
		return;
	for (struct peer *p = s->peers; p; p = p->hh.next) {
		uint32_t n = 0;

		for (int i = 0; i < g->n_due; i++)
			if (swarm_holds(s, p, g->due[i]))
				ids[n++] = g->due[i];
		if (n && peer_live(p))
			send_drop(g, p, ids, n, send, arg);
		else
			while (n)
				remember(g, ids[--n]);
	}
	for (int i = 0; i < g->n_due; i++)
		locations_forget(s->locations, g->due[i]);
	g->n_due = 0;
}

void garbage_tell_one(struct garbage *g, uint64_t chunk, struct peer *p,
		      peer_send_fn send, void *arg)
{
	send_drop(g, p, &chunk, 1, send, arg);
}

void garbage_answered(struct garbage *g, uint32_t number, int ok)
{
	struct drop *d;

	TAILQ_FOREACH(d, &g->drops, link)
		if (d->number == number)
			break;
	if (!d)
		return;
	TAILQ_REMOVE(&g->drops, d, link);
	for (uint32_t i = 0; !ok && i < d->n; i++)
		remember(g, d->ids[i]);
	free(d);
}
