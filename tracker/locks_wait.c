#include <stdlib.h>

#include "locks_internal.h"

/* ------------------------------------------------------ who is in the way */

enum lk_kind locks_against(const struct lk_holder *h, uint64_t session,
			   const struct m_byte_lock *k)
{
	if (k->alone && h->session->id != session && k->kind != LK_NONE)
		return LK_WRITE;
	return k->kind;
}

struct lk_holder *locks_blocker(const struct lk_file *f, uint64_t session,
				const struct m_byte_lock *k)
{
	struct lk_holder *h;

	TAILQ_FOREACH(h, &f->holders[k->space], link) {
		if (h->session->id == session && h->owner == k->owner)
			continue;
		if (lockset_conflict(&h->set, k->start, k->end,
				     locks_against(h, session, k)))
			return h;
	}
	return NULL;
}

static int meet(const struct m_byte_lock *a, const struct m_byte_lock *b)
{
	return a->start <= b->end && b->start <= a->end &&
	       (a->kind == LK_WRITE || b->kind == LK_WRITE);
}

/* Does this process hold any lock?  One that is not seen from its mount (0)
 * might.  Then it must not stand in line for fairness' sake: whoever it would
 * wait for may be waiting for what it holds. */
static int holds_any(const struct lk_session *s, uint32_t pid)
{
	const struct lk_holder *h;

	if (!pid)
		return 1;
	LIST_FOREACH(h, &s->holders, by_session)
		if (h->pid == pid)
			return 1;
	return 0;
}

/* Stands somebody in line for what @k would take? */
static int in_line(const struct lk_file *f, const struct lk_session *s,
		   const struct m_byte_lock *k, const struct lk_wait *before)
{
	const struct lk_wait *w;

	TAILQ_FOREACH(w, &f->waits[k->space], link) {
		if (w == before)
			return 0;
		if (w->session == s && w->k.owner == k->owner)
			continue;
		if (meet(&w->k, k))
			return !holds_any(s, k->pid);
	}
	return 0;
}

int locks_may(const struct lk_file *f, const struct lk_session *s,
	      const struct m_byte_lock *k, const struct lk_wait *before)
{
	return !locks_blocker(f, s->id, k) && !in_line(f, s, k, before);
}

/* -------------------------------------------------------------- circles */

STAILQ_HEAD(todo, lk_wait);

/* An owner is a process, or a number that one open file had (an OFD lock) and
 * the next one has: another process's, as often as not. */
static int one_process(const struct lk_holder *h, const struct lk_wait *w)
{
	return h->session == w->session && h->owner == w->k.owner &&
	       (h->pid == w->k.pid || !h->pid || !w->k.pid);
}

/* What @h's owner waits for is to be looked at. */
static void add_waits(struct locks *l, const struct lk_holder *h,
		      struct todo *todo)
{
	struct lk_wait *w;

	TAILQ_FOREACH(w, &h->session->waits, by_session) {
		if (!one_process(h, w) || w->k.space != LK_FCNTL || w->once ||
		    w->mark == l->mark)
			continue;
		w->mark = l->mark;
		STAILQ_INSERT_TAIL(todo, w, todo);
	}
}

int locks_circle(struct locks *l, struct lk_wait *from)
{
	struct todo todo = STAILQ_HEAD_INITIALIZER(todo);
	const struct lk_holder *h;
	struct lk_wait *w;

	from->mark = ++l->mark;
	STAILQ_INSERT_TAIL(&todo, from, todo);
	while ((w = STAILQ_FIRST(&todo))) {
		STAILQ_REMOVE_HEAD(&todo, todo);
		TAILQ_FOREACH(h, &w->file->holders[LK_FCNTL], link) {
			if ((h->session == w->session &&
			     h->owner == w->k.owner) ||
			    !lockset_conflict(&h->set, w->k.start, w->k.end,
					      locks_against(h, w->session->id,
							    &w->k)))
				continue;
			if (one_process(h, from))
				return 1;
			add_waits(l, h, &todo);
		}
	}
	return 0;
}

/* ------------------------------------------------------------- going on */

void locks_decide(struct locks *l, struct lk_wait *w, enum lk_state state)
{
	uint64_t session = w->session->id, ticket = w->ticket;
	struct m_byte_lock k = w->k;

	locks_wait_free(w);
	l->ops.decided(l->ops.arg, session, ticket, &k, state);
}

/* It waits no more before it has the lock: who holds and waits may be in a
 * circle. */
static void grant_one(struct locks *l, struct lk_file *f, struct lk_wait *w)
{
	uint64_t ticket = w->ticket;
	struct lk_session *s = w->session;
	struct m_byte_lock k = w->k;

	locks_wait_free(w);
	l->ops.decided(l->ops.arg, s->id, ticket, &k,
		       locks_apply(l, s, f, &k));
}

/* Grants what can be had, in line's order; 1: something. */
static int grant(struct locks *l, struct lk_file *f, uint8_t space)
{
	struct lk_wait *w, *next;
	int any = 0;

	for (w = TAILQ_FIRST(&f->waits[space]); w; w = next) {
		next = TAILQ_NEXT(w, link);
		if (!locks_may(f, w->session, &w->k, w))
			continue;
		grant_one(l, f, w);
		any = 1;
	}
	return any;
}

/* Who waited for one owner waits for another now.  That closes a circle only
 * if the other waits, too: else it is not searched for, which takes long where
 * many wait for many. */
static int break_circles(struct locks *l, struct lk_file *f)
{
	struct lk_wait *w, *next;
	int any = 0;

	if (!f->suspect)
		return 0;
	for (w = TAILQ_FIRST(&f->waits[LK_FCNTL]); w; w = next) {
		next = TAILQ_NEXT(w, link);
		if (w->once || !locks_circle(l, w))
			continue;
		locks_decide(l, w, LK_DEADLOCK);
		any = 1;
	}
	f->suspect = any;
	return any;
}

/* One of @s that may go on now, or NULL. */
static struct lk_wait *stuck(const struct lk_session *s)
{
	struct lk_wait *w;

	TAILQ_FOREACH(w, &s->waits, by_session)
		if (locks_may(w->file, s, &w->k, w))
			return w;
	return NULL;
}

void locks_settle(struct locks *l)
{
	struct lk_session *s, *next;
	struct lk_wait *w;

	while (l->woken && !l->grace) {
		l->woken = 0;
		HASH_ITER (hh, l->sessions, s, next) {
			while (s->woken && (w = stuck(s)))
				locks_advance(l, w->file, w->k.space);
			s->woken = 0;
		}
	}
}

void locks_advance(struct locks *l, struct lk_file *f, uint8_t space)
{
	if (l->grace)
		return;
	f->pins++;
	/* a grant may be a downgrade, one who gave up stood in line */
	while (grant(l, f, space) ||
	       (space == LK_FCNTL && break_circles(l, f)))
		;
	f->pins--;
}
