/* relay -- see relay.h; here: peers, wants, deliveries. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "counters.h"
#include "relay_internal.h"

int relay_new(struct relay **out, const struct relay_config *cfg,
	      const struct relay_io *io)
{
	struct relay *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	err = lru_new(&r->lru, cfg->cache_bytes);
	if (err) {
		free(r);
		return err;
	}
	r->cfg = *cfg;
	r->io = *io;
	r->rng = cfg->seed;
	TAILQ_INIT(&r->queued);
	TAILQ_INIT(&r->seeking);
	TAILQ_INIT(&r->met);
	*out = r;
	return 0;
}

/* --------------------------------------------------------------- wants */

struct rpeer *relay_peer(const struct relay *r, uint64_t id)
{
	struct rpeer *p;

	HASH_FIND(hh, r->peers, &id, sizeof(id), p);
	return p;
}

static struct wanted *wanted_find(const struct relay *r, uint64_t peer,
				  uint64_t chunk)
{
	struct wanted key, *w;

	memset(&key.key, 0, sizeof(key.key));
	key.key.peer = peer;
	key.key.chunk = chunk;
	HASH_FIND(hh, r->wanted, &key.key, sizeof(key.key), w);
	return w;
}

int relay_waits(const struct relay *r, uint64_t peer, uint64_t chunk)
{
	const struct wanted *w = wanted_find(r, peer, chunk);

	return w && w->flight;
}

static struct wanted *wanted_new(struct relay *r, struct rpeer *p,
				 uint64_t chunk)
{
	struct wanted *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->key.peer = p->id;
	w->key.chunk = chunk;
	w->peer = p;
	HASH_ADD(hh, r->wanted, key, sizeof(w->key), w);
	if (!TABLE_ADDED(w)) {
		free(w);
		return NULL;
	}
	LIST_INSERT_HEAD(&p->wants, w, of_peer);
	p->n_wants++;
	return w;
}

static int is_met(const struct wanted *w)
{
	return !w->flight && !w->entry;
}

/* It waits nowhere any more. */
static void wanted_free(struct relay *r, struct wanted *w)
{
	HASH_DELETE(hh, r->wanted, w);
	LIST_REMOVE(w, of_peer);
	if (w->met_ms) {
		TAILQ_REMOVE(&r->met, w, wait);
		r->n_met--;
	} else {
		w->peer->n_wants--;
	}
	free(w);
}

void relay_forget_met(struct relay *r, uint64_t now_ms)
{
	struct wanted *w;

	while ((w = TAILQ_FIRST(&r->met)) &&
	       now_ms - w->met_ms >= RELAY_STRAY_MS)
		wanted_free(r, w);
}

static void leave_flight(struct wanted *w)
{
	TAILQ_REMOVE(&w->flight->waiting, w, wait);
	w->flight = NULL;
}

static void send_to(struct relay *r, struct wanted *w, struct lru_entry *e)
{
	lru_pin(e);
	w->entry = e;
	if (r->io.deliver(r->io.arg, w->key.peer, e)) {
		lru_unpin(e);
		wanted_free(r, w);	/* it will ask again */
		return;
	}
	counter_add(CNT_RELAY_BYTES_OUT, e->len);
}

void relay_serve(struct relay *r, struct flight *f, struct lru_entry *e)
{
	struct wanted *w;

	while ((w = TAILQ_FIRST(&f->waiting))) {
		leave_flight(w);
		send_to(r, w, e);
	}
	relay_flight_end(r, f);
}

void relay_give_up(struct relay *r, struct flight *f)
{
	struct wanted *w;

	counter_add(CNT_RELAY_NOWHERE, 1);
	while ((w = TAILQ_FIRST(&f->waiting))) {
		leave_flight(w);
		r->io.nowhere(r->io.arg, w->key.peer, f->chunk);
		wanted_free(r, w);
	}
	relay_flight_end(r, f);
}

static struct flight *flight_new(struct relay *r, uint64_t chunk)
{
	struct flight *f;

	if (HASH_COUNT(r->flights) >= RELAY_FLIGHTS_MAX)
		return NULL;
	f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	f->chunk = chunk;
	TAILQ_INIT(&f->waiting);
	HASH_ADD(hh, r->flights, chunk, sizeof(f->chunk), f);
	if (TABLE_ADDED(f))
		return f;
	free(f);
	return NULL;
}

/* 1: it is seen to. */
static int want_missing(struct relay *r, struct rpeer *p, uint64_t chunk)
{
	struct flight *f = relay_flight(r, chunk);
	struct wanted *w;
	int fresh = !f;

	if (fresh)
		f = flight_new(r, chunk);
	w = f ? wanted_new(r, p, chunk) : NULL;
	if (!w || (fresh && r->io.resolve(r->io.arg, chunk))) {
		if (w)
			wanted_free(r, w);
		if (f && fresh)
			relay_flight_end(r, f);
		return 0;
	}
	counter_add(CNT_RELAY_REQUESTS, 1);
	counter_add(CNT_RELAY_MISSES, 1);
	w->flight = f;
	TAILQ_INSERT_TAIL(&f->waiting, w, wait);
	if (!fresh)
		counter_add(CNT_RELAY_COALESCED, 1);
	return 1;
}

static int want_one(struct relay *r, struct rpeer *p, uint64_t chunk)
{
	struct wanted *w = wanted_find(r, p->id, chunk);
	struct lru_entry *e;

	if (w)		/* asked once more; or this was overtaken */
		return !is_met(w);
	if (p->n_wants >= RELAY_PENDING_MAX)
		return 0;
	e = lru_get(r->lru, chunk);
	if (!e)
		return want_missing(r, p, chunk);
	w = wanted_new(r, p, chunk);
	if (!w)
		return 0;
	counter_add(CNT_RELAY_REQUESTS, 1);
	counter_add(CNT_RELAY_HITS, 1);
	send_to(r, w, e);
	return 1;
}

uint32_t relay_want(struct relay *r, uint64_t peer, uint64_t *ids,
		    uint32_t n, uint64_t now_ms)
{
	struct rpeer *p = relay_peer(r, peer);
	uint32_t kept = 0;

	(void)now_ms;
	for (uint32_t i = 0; p && i < n; i++)
		if (want_one(r, p, ids[i]))
			ids[kept++] = ids[i];
	return kept;
}

void relay_delivered(struct relay *r, uint64_t peer, uint64_t chunk,
		     uint64_t now_ms)
{
	struct wanted *w = wanted_find(r, peer, chunk);

	if (!w || !w->entry)
		return;
	lru_unpin(w->entry);
	w->entry = NULL;
	w->met_ms = now_ms ? now_ms : 1;
	w->peer->n_wants--;
	TAILQ_INSERT_TAIL(&r->met, w, wait);
	r->n_met++;
	relay_start_queued(r, now_ms);
}

/* --------------------------------------------------------------- peers */

int relay_peer_up(struct relay *r, uint64_t peer)
{
	struct rpeer *p = relay_peer(r, peer);

	if (p)
		return 0;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->id = peer;
	LIST_INIT(&p->wants);
	HASH_ADD(hh, r->peers, id, sizeof(p->id), p);
	if (TABLE_ADDED(p))
		return 0;
	free(p);
	return -ENOMEM;
}

static void peer_free(struct relay *r, struct rpeer *p)
{
	struct wanted *w;

	while ((w = LIST_FIRST(&p->wants))) {
		if (w->flight)
			leave_flight(w);
		else if (w->entry)
			lru_unpin(w->entry);
		wanted_free(r, w);
	}
	HASH_DELETE(hh, r->peers, p);
	free(p);
}

void relay_peer_down(struct relay *r, uint64_t peer, uint64_t now_ms)
{
	struct rpeer *p = relay_peer(r, peer);
	struct flight *f;

	if (!p)
		return;
	peer_free(r, p);
	TAILQ_FOREACH(f, &r->seeking, link)
		if (f->state == FLIGHT_DIRECTED && f->asked == peer)
			f->next_ms = now_ms;	/* the next tick asks others */
	relay_start_queued(r, now_ms);
}

/* ----------------------------------------------------------- the rest */

void relay_free(struct relay *r)
{
	struct rpeer *p, *next_p;
	struct flight *f, *next_f;

	if (!r)
		return;
	HASH_ITER (hh, r->peers, p, next_p)
		peer_free(r, p);
	HASH_ITER (hh, r->flights, f, next_f)
		relay_flight_end(r, f);
	lru_free(r->lru);
	free(r);
}

void relay_stat(const struct relay *r, struct relay_stat *out)
{
	*out = (struct relay_stat){
		.cached = lru_bytes(r->lru),
		.limit = lru_limit(r->lru),
		.flights = HASH_COUNT(r->flights),
		.pending = HASH_COUNT(r->wanted) - r->n_met,
	};
}
