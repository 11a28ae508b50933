/*
 * fetch -- who waits for which chunk.
 *
 * Happy path: a hit in the memory cache is answered at once; a miss makes a
 * flight (or joins the one that is there), which ends in flight_end().
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "counters.h"
#include "fetch_internal.h"

int fetch_new(struct fetch **out, const struct parts *p)
{
	struct fetch *ft = calloc(1, sizeof(*ft));
	int err;

	if (!ft)
		return -ENOMEM;
	err = fetch_keep_start(ft);
	if (err) {
		free(ft);
		return err;
	}
	ft->parts = p;
	gate_init(&ft->gate);
	pthread_mutex_init(&ft->lock, NULL);
	*out = ft;
	return 0;
}

void fetch_shut(struct fetch *ft)
{
	gate_shut(&ft->gate);
}

void fetch_free(struct fetch *ft)
{
	if (!ft)
		return;
	gate_fini(&ft->gate);
	pool_free(ft->keeper);
	pthread_mutex_destroy(&ft->lock);
	free(ft);
}

/* ---------------------------------------------------------- the end of one */

void flight_end(struct flight *f, int err, struct buf *buf)
{
	struct fetch_waiters waiters = STAILQ_HEAD_INITIALIZER(waiters);
	struct fetch *ft = f->fetch;
	struct fetch_waiter *w;

	f->ended = 1;
	if (f->timer)
		loop_timer_free(f->timer);
	f->timer = NULL;
	/* First the cache, then out of the table: who comes in between finds
	 * it in one or the other. */
	if (buf)
		cache_put(ft->parts->cache, f->id, buf);
	pthread_mutex_lock(&ft->lock);
	HASH_DEL(ft->flights, f);
	STAILQ_CONCAT(&waiters, &f->waiters);
	pthread_mutex_unlock(&ft->lock);
	while ((w = STAILQ_FIRST(&waiters))) {
		STAILQ_REMOVE_HEAD(&waiters, next);
		w->done(w->arg, err, buf);
		free(w);
	}
}

int flight_is_waited_for(struct flight *f)
{
	int is;

	pthread_mutex_lock(&f->fetch->lock);
	is = !STAILQ_EMPTY(&f->waiters);
	pthread_mutex_unlock(&f->fetch->lock);
	return is;
}

void flight_free_if_idle(struct flight *f)
{
	struct fetch *ft = f->fetch;

	if (!f->ended || f->out)
		return;
	free(f);
	gate_leave(&ft->gate);
}

/* ---------------------------------------------------------- the beginning */

static struct flight *flight_new(struct fetch *ft, const struct fetch_want *w)
{
	static const uint32_t relay = FETCH_RELAY;
	struct flight *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->id = w->chunk.id;
	f->fetch = ft;
	f->home = ft->parts->bulk[f->id % PARTS_BULK_LOOPS];
	f->want = *w;
	f->want.chunk.holders = NULL;
	f->want.chunk.n_holders = 0;
	STAILQ_INIT(&f->waiters);
	f->rng = random_u64();
	f->deadline_ms = now_ms() + (w->timeout_ms ? w->timeout_ms
						   : ft->parts->timeout_ms);
	f->how = w->via ? (enum way)w->via : (enum way)ft->parts->how;
	if (f->how != VIA_PEERS)
		flight_sources(f, &relay, 1);
	flight_sources(f, w->chunk.holders, w->chunk.n_holders);
	f->work.fn = flight_start;
	return f;
}

/* Joins the flight of that chunk, or starts @f (which it takes): 0, and the
 * bytes in *@b when they have come into the cache meanwhile; -ENOMEM. */
static int join(struct fetch *ft, struct flight *f, struct fetch_waiter *w,
		struct buf **b)
{
	struct flight *there;
	int err = 0;

	*b = NULL;
	pthread_mutex_lock(&ft->lock);
	HASH_FIND(hh, ft->flights, &f->id, sizeof(f->id), there);
	if (!there)
		*b = cache_get(ft->parts->cache, f->id);
	if (!there && !*b) {
		HASH_ADD(hh, ft->flights, id, sizeof(f->id), f);
		if (TABLE_ADDED(f))
			there = f;
		else
			err = -ENOMEM;
	}
	if (there && there != f && w && !f->want.patient)
		__atomic_store_n(&there->want.patient, 0, __ATOMIC_RELAXED);
	if (there && there != f && f->want.prove)
		__atomic_store_n(&there->want.prove, 1, __ATOMIC_RELAXED);
	if (there && w)
		STAILQ_INSERT_TAIL(&there->waiters, w, next);
	/* Before the lock goes: once it runs it may end. */
	if (there == f)
		loop_post(f->home, &f->work);
	pthread_mutex_unlock(&ft->lock);
	if (there != f) {
		if (there && w)		/* read-ahead that is waited for now */
			hasher_hurry(ft->parts->hasher);
		free(f);
		gate_leave(&ft->gate);
	}
	return err;
}

int fetch_join(struct fetch *ft, uint64_t chunk, fetch_done done, void *arg)
{
	struct fetch_waiter *w = malloc(sizeof(*w));
	struct flight *there;

	if (!w)
		return -ENOMEM;
	*w = (struct fetch_waiter){ .done = done, .arg = arg };
	pthread_mutex_lock(&ft->lock);
	HASH_FIND(hh, ft->flights, &chunk, sizeof(chunk), there);
	if (there)
		STAILQ_INSERT_TAIL(&there->waiters, w, next);
	pthread_mutex_unlock(&ft->lock);
	if (!there)
		free(w);
	return there ? 0 : -ENOENT;
}

static void answer(fetch_done done, void *arg, int err, struct buf *b)
{
	if (done)
		done(arg, err, b);
	buf_unref(b);
}

void fetch_chunk(struct fetch *ft, const struct fetch_want *want,
		 fetch_done done, void *arg)
{
	struct buf *b = cache_get(ft->parts->cache, want->chunk.id);
	struct fetch_waiter *w = NULL;
	struct flight *f = NULL;
	int err;

	if (b && b->len == want->chunk.len) {
		counter_add(CNT_CACHE_HITS, 1);
		answer(done, arg, 0, b);
		return;
	}
	buf_unref(b);
	err = gate_enter(&ft->gate);
	if (err) {
		answer(done, arg, err, NULL);
		return;
	}
	if (done)
		w = malloc(sizeof(*w));
	if (!done || w)
		f = flight_new(ft, want);
	if (!f) {
		free(w);
		gate_leave(&ft->gate);
		answer(done, arg, -ENOMEM, NULL);
		return;
	}
	if (w)
		*w = (struct fetch_waiter){ .done = done, .arg = arg };
	err = join(ft, f, w, &b);
	if (b)
		counter_add(CNT_CACHE_HITS, 1);
	if (b || err) {
		free(w);
		answer(done, arg, err, b);
	}
}
