/*
 * ops_lock_release -- locks given up: released, by a close too, or lowered.
 *
 * Noting what is given up and sending it is one step, under waits.order: see
 * ops_lock_call.c.
 */
#include <errno.h>
#include <stdlib.h>

#include "log.h"
#include "ops_lock.h"

/* Requests of the same owner that are under way may be noted after @k was
 * given up, but were asked for before.  Locked. */
static void mark_crossed(struct lock_waits *w, const struct m_byte_lock *k)
{
	struct lock_call *x;

	TAILQ_FOREACH(x, &w->active, link)
		if (x->k.ino == k->ino && x->k.space == k->space &&
		    x->k.owner == k->owner && x->k.start <= k->end &&
		    k->start <= x->k.end)
			x->crossed = 1;
}

/* ------------------------------------------------------------ giving back */

/* To the tracker, too, the range is to be what it is here. */
void lock_give_back(struct ops *o, const struct m_byte_lock *k)
{
	struct m_byte_lock all = *k, *v = NULL;
	struct held_state s;
	int n;

	pthread_mutex_lock(&o->waits->order);
	pthread_mutex_lock(&o->waits->lock);
	mark_crossed(o->waits, k);
	held_look(o->held, k, &s);
	n = s.lost ? -ESTALE : held_pieces(o->held, k, &v);
	pthread_mutex_unlock(&o->waits->lock);
	for (int i = 0; i < n; i++)
		lock_tell(o, LK_TRY, 0, &v[i], 0, lock_unheard, NULL);
	free(v);
	if (n < 0) {
		all.kind = LK_NONE;	/* rather too little than too much */
		if (!s.lost)
			held_lose(o->held, k->ino);
		lock_tell(o, LK_TRY, 0, &all, 0, lock_unheard, NULL);
	}
	pthread_mutex_unlock(&o->waits->order);
}

/* --------------------------------------------------------------- releasing */

/* Give up, as far as this mount knows: @k becomes what it says.  -ENOLCK: no
 * memory to cut a range in two. */
static int give_up(struct lock_call *lc, const struct m_byte_lock *k)
{
	struct lock_waits *w = lc->c->ops->waits;
	int err;

	pthread_mutex_lock(&w->lock);
	err = held_set(lc->c->ops->held, k, lc->handle);
	if (!err)
		mark_crossed(w, k);
	pthread_mutex_unlock(&w->lock);
	return err ? -ENOLCK : 0;
}

static void released(void *arg, int err, const struct rpc_answer *ra)
{
	struct lock_call *lc = arg;

	(void)ra;
	lock_end(lc, lc->flush_err ? lc->flush_err : err);
}

static void let_be_written(struct ops *o, uint64_t ino)
{
	if (held_is_sound(o->held, ino))
		files_fence(o->files, ino, 0);
}

static void release_one(struct lock_call *lc)
{
	struct ops *o = lc->c->ops;
	struct held_state s;
	int err;

	pthread_mutex_lock(&o->waits->order);
	held_look(o->held, &lc->k, &s);
	err = give_up(lc, &lc->k);
	if (!err && !s.lost)
		lock_tell(o, LK_TRY, lc->ticket, &lc->k, 0, released, lc);
	pthread_mutex_unlock(&o->waits->order);
	if (!err && s.lost)
		let_be_written(o, lc->k.ino);
	if (err || s.lost)
		lock_end(lc, err ? err : lc->flush_err);
}

/* What was locked again since by another file stays; the kernel waits for no
 * answer. */
static void release_handle(struct lock_call *lc)
{
	struct ops *o = lc->c->ops;
	struct m_byte_lock *v;
	uint32_t n;

	pthread_mutex_lock(&o->waits->order);
	pthread_mutex_lock(&o->waits->lock);
	if (held_drop_handle(o->held, lc->k.ino, lc->handle, &v, &n))
		log_error("no memory to list what a closed file had locked: "
			  "the tracker keeps it until the next connection");
	for (uint32_t i = 0; i < n; i++)
		mark_crossed(o->waits, &v[i]);
	pthread_mutex_unlock(&o->waits->lock);
	for (uint32_t i = 0; i < n; i++)
		lock_tell(o, LK_TRY, 0, &v[i], 0, lock_unheard, NULL);
	pthread_mutex_unlock(&o->waits->order);
	free(v);
	let_be_written(o, lc->k.ino);
	lock_end(lc, 0);
}

/* What was written is committed, or lost: the lock goes either way. */
void lock_release_flushed(void *arg, int err)
{
	struct lock_call *lc = arg;

	lc->flush_err = err;
	if (lc->closed)
		release_handle(lc);
	else
		release_one(lc);
}

/* flock(2) gives up the old lock before it asks for the new one; fcntl(2)'s
 * is kept, but for what is a downgrade in any case. */
void lock_downgrade_flushed(void *arg, int err)
{
	struct lock_call *lc = arg;
	struct m_byte_lock now = lc->k;
	struct held_state s;

	held_look(lc->c->ops->held, &lc->k, &s);
	if (now.space == LK_FLOCK)
		now.kind = LK_NONE;
	if (!err && (now.space == LK_FLOCK || s.covered))
		err = give_up(lc, &now);
	if (err)
		lock_end(lc, err);
	else
		lock_ask(lc);
}
