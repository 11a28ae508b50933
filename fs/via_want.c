/*
 * via_want -- what this peer wants, until it comes.
 *
 * A want is queued, then flies: its id goes out with those of the same turn
 * of the loop.  Until the tracker says that it is at it, it is sent again
 * VIA_TRIES times, each pause about twice the last, then on the connection.
 * Where datagrams never arrive, after VIA_UDP_DEAD of these all go on the
 * connection at once, and one in VIA_UDP_PROBE tries whether that has changed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "counters.h"
#include "rng.h"
#include "via_internal.h"

#define SOON_MS 12		/* while something may have to be sent again */
#define LATER_MS 200		/* while all is acknowledged */

static void pump(struct via *v);

static struct want *find(struct via *v, uint64_t chunk)
{
	struct want *w;

	HASH_FIND(hh, v->wants, &chunk, sizeof(chunk), w);
	return w;
}

/* ------------------------------------------------------------------ ends */

static void take_off(struct via *v, struct want *w)
{
	HASH_DELETE(hh, v->wants, w);
	if (!w->flying) {
		TAILQ_REMOVE(&v->queue, w, link);
		return;
	}
	TAILQ_REMOVE(&v->flying, w, link);
	v->n_flying--;
	v->flying_bytes -= w->len;
}

static void finish(struct via *v, struct want *w, int err,
		   const struct m_deliver *m, struct buf *bulk)
{
	struct m_deliver none = { .chunk = w->chunk };

	w->done(w->arg, err, m ? m : &none, bulk);
	free(w);
	gate_leave(&v->gate);
}

int via_want_met(struct via *v, const struct m_deliver *m, struct buf *bulk)
{
	struct want *w = find(v, m->chunk);

	if (!w)
		return 0;
	take_off(v, w);
	counter_add(CNT_RELAY_FETCHES, 1);
	finish(v, w, 0, m, bulk);
	pump(v);
	return 1;
}

void via_want_nowhere(struct via *v, const uint64_t *ids, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct want *w = find(v, ids[i]);

		if (!w)
			continue;
		take_off(v, w);
		finish(v, w, -ENOENT, NULL, NULL);
	}
	pump(v);
}

void via_want_end(struct via *v, int err)
{
	struct want *w, *next;

	HASH_ITER (hh, v->wants, w, next) {
		take_off(v, w);
		finish(v, w, err, NULL, NULL);
	}
	if (v->timer)
		loop_timer_free(v->timer);
	v->timer = NULL;
}

/* --------------------------------------------------------------- sending */

static int by_tcp_now(struct via *v, const struct want *w)
{
	if (w->try >= VIA_TRIES)
		return 1;
	return !w->try && v->by_tcp >= VIA_UDP_DEAD &&
	       v->probe++ % VIA_UDP_PROBE;
}

static void sent(struct via *v, struct want *w, int tcp, uint64_t now)
{
	uint64_t ms = (uint64_t)VIA_TRY_MS << w->try;

	w->sent = 1;
	if (tcp) {
		counter_add(CNT_RELAY_BY_TCP, 1);
		v->by_tcp += w->try >= VIA_TRIES;
		w->acked = 1;		/* TCP saw to it */
		w->next_ms = now + VIA_AGAIN_MS;
		return;
	}
	if (w->try)
		counter_add(CNT_RELAY_RESENT, 1);
	w->next_ms = now + ms * 3 / 4 + rng_next(&v->rng) % (ms / 2 + 1);
	w->try++;
}

static void send_ids(struct via *v, uint64_t *ids, uint32_t n, int tcp)
{
	struct m_want m = { .ids = ids, .n_ids = n };
	struct wr w = WR_INIT;

	m_want_encode(&w, &m);		/* a failure shows in w.err */
	if (tcp)
		rpc_send(v->rpc, M_want, &w);
	else
		link_dgram(v->parts->link, M_want, &w);
}

/* All that has not been sent since it became due. */
static void on_flush(struct loop_work *work)
{
	struct via *v = container_of(work, struct via, flush);
	uint64_t ids[2][MSG_WANT_MAX], now = now_ms();
	uint32_t n[2] = { 0 };
	struct want *w;

	v->flushing = 0;
	TAILQ_FOREACH(w, &v->flying, link) {
		int tcp;

		if (!v->up || w->sent)
			continue;
		tcp = by_tcp_now(v, w);
		sent(v, w, tcp, now);
		ids[tcp][n[tcp]++] = w->chunk;
		if (n[tcp] == MSG_WANT_MAX) {
			send_ids(v, ids[tcp], n[tcp], tcp);
			n[tcp] = 0;
		}
	}
	for (int tcp = 0; tcp < 2; tcp++)
		if (n[tcp])
			send_ids(v, ids[tcp], n[tcp], tcp);
	gate_leave(&v->gate);
}

static void flush_soon(struct via *v)
{
	if (v->flushing)
		return;
	v->flushing = 1;
	gate_enter_more(&v->gate);
	v->flush.fn = on_flush;
	loop_post(v->home, &v->flush);
}

/* ----------------------------------------------------------------- time */

static void arm(struct via *v, uint32_t ms);

static void on_timer(void *arg)
{
	struct via *v = arg;
	struct want *w, *next;
	uint64_t now = now_ms();
	int unsure = 0;

	loop_timer_free(v->timer);
	v->timer = NULL;
	HASH_ITER (hh, v->wants, w, next) {
		if (w->deadline_ms <= now) {
			take_off(v, w);
			finish(v, w, -ETIMEDOUT, NULL, NULL);
			continue;
		}
		if (w->flying && w->next_ms <= now && w->sent) {
			if (w->acked)
				w->try = 0;	/* it was not seen to */
			w->acked = w->sent = 0;
		}
		unsure |= w->flying && !w->acked;
	}
	flush_soon(v);
	pump(v);
	if (v->wants)
		arm(v, unsure ? SOON_MS : LATER_MS);
}

static void arm(struct via *v, uint32_t ms)
{
	if (!v->timer && !v->closing &&
	    loop_after(v->home, &v->timer, ms, on_timer, v))
		v->timer = NULL;	/* the next want sets one */
}

void via_want_acked(struct via *v, const uint64_t *ids, uint32_t n)
{
	uint64_t now = now_ms();

	v->by_tcp = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct want *w = find(v, ids[i]);

		if (!w || !w->flying)
			continue;
		w->acked = 1;
		w->next_ms = now + VIA_AGAIN_MS;
	}
}

void via_want_all(struct via *v)
{
	struct want *w;

	TAILQ_FOREACH(w, &v->flying, link) {
		w->try = 0;
		w->acked = w->sent = 0;
	}
	flush_soon(v);
}

/* ------------------------------------------------------------- beginning */

static void pump(struct via *v)
{
	struct want *w;
	int any = 0;

	while ((w = TAILQ_FIRST(&v->queue)) &&
	       (!v->n_flying ||
		(v->n_flying < VIA_FLYING_MAX &&
		 v->flying_bytes + w->len <= VIA_FLYING_BYTES))) {
		TAILQ_REMOVE(&v->queue, w, link);
		TAILQ_INSERT_TAIL(&v->flying, w, link);
		w->flying = 1;
		v->n_flying++;
		v->flying_bytes += w->len;
		counter_add(CNT_RELAY_WANTS, 1);
		any = 1;
	}
	if (any) {
		flush_soon(v);
		arm(v, SOON_MS);
	}
}

static void on_get(struct loop_work *work)
{
	struct want *w = container_of(work, struct want, work);
	struct via *v = w->via;
	int err = 0;

	if (v->closing)
		err = -ECANCELED;
	else if (find(v, w->chunk))
		err = -EALREADY;	/* fetch asks once */
	if (!err) {
		HASH_ADD(hh, v->wants, chunk, sizeof(w->chunk), w);
		err = TABLE_ADDED(w) ? 0 : -ENOMEM;
	}
	if (err) {
		finish(v, w, err, NULL, NULL);
		return;
	}
	TAILQ_INSERT_TAIL(&v->queue, w, link);
	pump(v);
	arm(v, LATER_MS);
}

void via_get(struct via *v, uint64_t chunk, uint32_t len, uint32_t timeout_ms,
	     via_done done, void *arg)
{
	struct m_deliver none = { .chunk = chunk };
	struct want *w = NULL;
	int err = gate_enter(&v->gate);

	if (!err) {
		w = calloc(1, sizeof(*w));
		if (!w) {
			gate_leave(&v->gate);
			err = -ENOMEM;
		}
	}
	if (err) {
		done(arg, err, &none, NULL);
		return;
	}
	*w = (struct want){ .chunk = chunk, .via = v, .len = len,
			    .deadline_ms = now_ms() + timeout_ms,
			    .done = done, .arg = arg };
	w->work.fn = on_get;
	loop_post(v->home, &w->work);
}
