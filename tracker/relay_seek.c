/*
 * relay_seek -- a flight's course: resolve, room, one holder, everybody.
 *
 * A flight has room reserved in the cache from when it leaves FLIGHT_QUEUED
 * until it ends.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "counters.h"
#include "log.h"
#include "relay_internal.h"
#include "rng.h"

struct flight *relay_flight(const struct relay *r, uint64_t chunk)
{
	struct flight *f;

	HASH_FIND(hh, r->flights, &chunk, sizeof(chunk), f);
	return f;
}

static int is_seeking(const struct flight *f)
{
	return f->state == FLIGHT_DIRECTED || f->state == FLIGHT_BROADCAST ||
	       f->state == FLIGHT_CHECKING;
}

static void give_room_back(struct relay *r, struct flight *f)
{
	TAILQ_REMOVE(&r->seeking, f, link);
	r->n_seeking--;
	lru_unreserve(r->lru, f->len);
}

static void tell_evicted(struct relay *r)
{
	uint64_t n = lru_evicted(r->lru);

	counter_add(CNT_RELAY_EVICTED, n - r->evicted);
	r->evicted = n;
}

void relay_flight_end(struct relay *r, struct flight *f)
{
	if (is_seeking(f))
		give_room_back(r, f);
	else if (f->state == FLIGHT_QUEUED)
		TAILQ_REMOVE(&r->queued, f, link);
	buf_unref(f->come.buf);
	HASH_DELETE(hh, r->flights, f);
	free(f);
}

/* -------------------------------------------------------------- asking */

/* Three quarters to five quarters of what is due, so that those who began
 * together do not go on together. */
static uint64_t pause_ms(struct relay *r, uint32_t try)
{
	uint64_t ms = (uint64_t)RELAY_TRY_MS << (try < 6 ? try : 6);

	return ms * 3 / 4 + rng_next(&r->rng) % (ms / 2 + 1);
}

static void seek(struct relay *r, const struct flight *f, uint64_t peer,
		 int directed)
{
	struct relay_seek s = {
		.chunk = f->chunk, .try = f->try, .directed = directed,
		.by_tcp = f->try >= RELAY_TRIES,
	};

	if (s.by_tcp)
		counter_add(CNT_RELAY_BY_TCP, 1);
	else if (f->try)
		counter_add(CNT_RELAY_RESENT, 1);
	r->io.seek(r->io.arg, peer, &s);
}

/* Ask everybody but those who wait for it; how many were asked. */
static unsigned seek_all(struct relay *r, const struct flight *f)
{
	struct rpeer *p, *next;
	unsigned n = 0;

	HASH_ITER (hh, r->peers, p, next) {
		if (relay_waits(r, p->id, f->chunk))
			continue;
		seek(r, f, p->id, 0);
		n++;
	}
	return n;
}

static void sent(struct relay *r, struct flight *f, uint64_t now_ms)
{
	f->next_ms = now_ms + (f->try < RELAY_TRIES ? pause_ms(r, f->try)
						    : RELAY_ANSWER_MS);
	f->try++;
}

static void broadcast(struct relay *r, struct flight *f, uint64_t now_ms)
{
	if (f->state != FLIGHT_BROADCAST) {
		f->state = FLIGHT_BROADCAST;
		f->try = 0;
		counter_add(CNT_RELAY_BROADCASTS, 1);
	}
	if (f->try > RELAY_TRIES || !seek_all(r, f))
		relay_give_up(r, f);
	else
		sent(r, f, now_ms);
}

/* A holder that is connected, by chance; 0: none. */
static uint64_t choose_holder(struct relay *r, const struct flight *f)
{
	uint64_t up[RELAY_HOLDERS_MAX];
	uint32_t n = 0;

	for (uint32_t i = 0; i < f->n_holders; i++)
		if (relay_peer(r, f->holders[i]) &&
		    !relay_waits(r, f->holders[i], f->chunk))
			up[n++] = f->holders[i];
	return n ? up[rng_next(&r->rng) % n] : 0;
}

static void begin(struct relay *r, struct flight *f, uint64_t now_ms)
{
	f->try = 0;
	f->asked = r->cfg.broadcast ? 0 : choose_holder(r, f);
	f->state = FLIGHT_DIRECTED;
	if (!f->asked) {
		broadcast(r, f, now_ms);
		return;
	}
	counter_add(CNT_RELAY_DIRECTED, 1);
	seek(r, f, f->asked, 1);
	sent(r, f, now_ms);
}

/* What is due: once more, or another way. */
static void go_on(struct relay *r, struct flight *f, uint64_t now_ms)
{
	if (f->state == FLIGHT_BROADCAST || f->try > RELAY_TRIES ||
	    !relay_peer(r, f->asked)) {
		broadcast(r, f, now_ms);
		return;
	}
	seek(r, f, f->asked, 1);
	sent(r, f, now_ms);
}

void relay_tick(struct relay *r, uint64_t now_ms)
{
	struct flight *f, *next;

	for (f = TAILQ_FIRST(&r->seeking); f; f = next) {
		next = TAILQ_NEXT(f, link);
		if (f->state != FLIGHT_CHECKING && f->next_ms <= now_ms)
			go_on(r, f, now_ms);
	}
	relay_forget_met(r, now_ms);
	relay_start_queued(r, now_ms);
}

/* ---------------------------------------------------------------- room */

void relay_start_queued(struct relay *r, uint64_t now_ms)
{
	struct flight *f;

	while ((f = TAILQ_FIRST(&r->queued)) &&
	       r->n_seeking < RELAY_SEEKING_MAX) {
		int err = lru_reserve(r->lru, f->len);

		if (err == -EAGAIN)
			break;
		if (err) {
			log_warn("a chunk of %u bytes does not fit the relay's "
				 "cache: give psptrackerd a larger --cache",
				 f->len);
			relay_give_up(r, f);
			continue;
		}
		TAILQ_REMOVE(&r->queued, f, link);
		TAILQ_INSERT_TAIL(&r->seeking, f, link);
		r->n_seeking++;
		begin(r, f, now_ms);
	}
	tell_evicted(r);
}

void relay_resolved(struct relay *r, uint64_t chunk, uint32_t len,
		    const uint8_t md5[MD5_LEN], const uint64_t *holders,
		    uint32_t n_holders, uint64_t now_ms)
{
	struct flight *f = relay_flight(r, chunk);

	if (!f || f->state != FLIGHT_RESOLVING)
		return;
	if (!len) {
		relay_give_up(r, f);
		return;
	}
	f->len = len;
	memcpy(f->md5, md5, MD5_LEN);
	if (n_holders > RELAY_HOLDERS_MAX)
		n_holders = RELAY_HOLDERS_MAX;
	f->n_holders = n_holders;
	for (uint32_t i = 0; i < n_holders; i++)
		f->holders[i] = holders[i];
	f->state = FLIGHT_QUEUED;
	TAILQ_INSERT_TAIL(&r->queued, f, link);
	relay_start_queued(r, now_ms);
}

/* ------------------------------------------------------------- answers */

void relay_here(struct relay *r, uint64_t peer, uint64_t chunk,
		uint64_t now_ms)
{
	struct flight *f = relay_flight(r, chunk);

	(void)peer;
	if (!f || (f->state != FLIGHT_DIRECTED &&
		   f->state != FLIGHT_BROADCAST))
		return;
	f->next_ms = now_ms + RELAY_ANSWER_MS;
}

void relay_absent(struct relay *r, uint64_t peer, uint64_t chunk,
		  uint64_t now_ms)
{
	struct flight *f = relay_flight(r, chunk);

	if (f && f->state == FLIGHT_DIRECTED && f->asked == peer)
		broadcast(r, f, now_ms);
}

int relay_found(struct relay *r, uint64_t peer, const struct lru_entry *e,
		uint64_t now_ms)
{
	struct flight *f = relay_flight(r, e->id);

	counter_add(CNT_RELAY_BYTES_IN, e->len);
	if (!f || (f->state != FLIGHT_DIRECTED &&
		   f->state != FLIGHT_BROADCAST)) {
		counter_add(CNT_RELAY_DUPLICATES, 1);
		return 0;
	}
	if (e->len != f->len || memcmp(e->md5, f->md5, MD5_LEN)) {
		log_warn("chunk %016llx from peer %016llx is not what the map "
			 "says: asking others",
			 (unsigned long long)e->id, (unsigned long long)peer);
		counter_add(CNT_CORRUPT, 1);
		broadcast(r, f, now_ms);
		return 0;
	}
	if (r->io.check(r->io.arg, e))
		return 0;	/* no memory: it is sought again */
	f->state = FLIGHT_CHECKING;
	f->come = *e;
	buf_ref(e->buf);
	return 1;
}

void relay_checked(struct relay *r, uint64_t chunk, int good,
		   uint64_t now_ms)
{
	struct flight *f = relay_flight(r, chunk);
	struct lru_entry *e;

	if (!f || f->state != FLIGHT_CHECKING)
		return;
	if (!good) {
		log_warn("chunk %016llx came corrupt to the relay: asking "
			 "others", (unsigned long long)chunk);
		counter_add(CNT_CORRUPT, 1);
		buf_unref(f->come.buf);
		f->come.buf = NULL;
		broadcast(r, f, now_ms);
		return;
	}
	e = lru_put(r->lru, &f->come);
	/* the room is the entry's now */
	TAILQ_REMOVE(&r->seeking, f, link);
	r->n_seeking--;
	f->state = FLIGHT_DONE;
	if (e)
		relay_serve(r, f, e);
	else
		relay_give_up(r, f);
	relay_start_queued(r, now_ms);
}
