#include "locks_internal.h"

#include <errno.h>
#include <stdlib.h>

/* -------------------------------------------------------------------- parts */

static struct lk_session *session_find(const struct locks *l, uint64_t id)
{
	struct lk_session *s;

	HASH_FIND(hh, l->sessions, &id, sizeof(id), s);
	return s;
}

static struct lk_session *session_get(struct locks *l, uint64_t id)
{
	struct lk_session *s = session_find(l, id);

	if (s)
		return s;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->id = id;
	LIST_INIT(&s->holders);
	TAILQ_INIT(&s->waits);
	HASH_ADD(hh, l->sessions, id, sizeof(s->id), s);
	if (TABLE_ADDED(s))
		return s;
	free(s);
	return NULL;
}

static struct lk_file *file_find(const struct locks *l, uint64_t ino)
{
	struct lk_file *f;

	HASH_FIND(hh, l->files, &ino, sizeof(ino), f);
	return f;
}

static struct lk_file *file_get(struct locks *l, uint64_t ino)
{
	struct lk_file *f = file_find(l, ino);

	if (f)
		return f;
	f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	f->ino = ino;
	for (int i = 0; i < 2; i++) {
		TAILQ_INIT(&f->holders[i]);
		TAILQ_INIT(&f->waits[i]);
	}
	HASH_ADD(hh, l->files, ino, sizeof(f->ino), f);
	if (TABLE_ADDED(f))
		return f;
	free(f);
	return NULL;
}

void locks_file_unused(struct locks *l, struct lk_file *f)
{
	if (f->pins)
		return;
	for (int i = 0; i < 2; i++)
		if (!TAILQ_EMPTY(&f->holders[i]) || !TAILQ_EMPTY(&f->waits[i]))
			return;
	HASH_DELETE(hh, l->files, f);
	free(f);
}

struct lk_holder *locks_holder(const struct lk_file *f, uint8_t space,
			       uint64_t session, uint64_t owner)
{
	struct lk_holder *h;

	TAILQ_FOREACH(h, &f->holders[space], link)
		if (h->owner == owner && h->session->id == session)
			return h;
	return NULL;
}

static void holder_unused(struct lk_holder *h)
{
	if (h->set.n)
		return;
	TAILQ_REMOVE(&h->file->holders[h->space], h, link);
	LIST_REMOVE(h, by_session);
	lockset_fini(&h->set);
	free(h);
}

static struct lk_holder *holder_get(struct lk_session *s, struct lk_file *f,
				    const struct m_byte_lock *k)
{
	struct lk_holder *h = locks_holder(f, k->space, s->id, k->owner);

	if (h)
		return h;
	h = calloc(1, sizeof(*h));
	if (!h)
		return NULL;
	h->file = f;
	h->session = s;
	h->space = k->space;
	h->owner = k->owner;
	TAILQ_INSERT_TAIL(&f->holders[k->space], h, link);
	LIST_INSERT_HEAD(&s->holders, h, by_session);
	return h;
}

/* Does an owner wait for any fcntl lock?  (In a thread of its own.) */
static int waits(const struct lk_session *s, uint64_t owner)
{
	const struct lk_wait *w;

	TAILQ_FOREACH(w, &s->waits, by_session)
		if (w->k.owner == owner && w->k.space == LK_FCNTL)
			return 1;
	return 0;
}

enum lk_state locks_apply(struct locks *l, struct lk_session *s,
			  struct lk_file *f, const struct m_byte_lock *k)
{
	struct lk_holder *h = holder_get(s, f, k);
	uint32_t most, before;
	int err;

	if (!h)
		return LK_FULL;
	before = h->set.n;
	most = before + (LOCKS_SESSION_MAX - s->n_ranges);
	if (most > LOCKS_OWNER_MAX)
		most = LOCKS_OWNER_MAX;
	err = lockset_set(&h->set, k->start, k->end, k->kind, most);
	s->n_ranges += h->set.n - before;
	if (!err)
		h->pid = k->pid;
	if (s->n_waits)
		s->woken = l->woken = 1;
	if (k->kind != LK_NONE && k->space == LK_FCNTL && waits(s, k->owner))
		f->suspect = 1;
	holder_unused(h);
	return err ? LK_FULL : LK_GRANTED;
}

void locks_wait_free(struct lk_wait *w)
{
	TAILQ_REMOVE(&w->file->waits[w->k.space], w, link);
	TAILQ_REMOVE(&w->session->waits, w, by_session);
	w->session->n_waits--;
	free(w);
}

/* ------------------------------------------------------------------- asking */

int locks_sound(const struct m_byte_lock *k)
{
	return k->ino && k->space <= LK_FLOCK && k->kind <= LK_WRITE &&
	       k->start <= k->end && k->end <= LOCKSET_END &&
	       (k->space == LK_FCNTL || (!k->start && k->end == LOCKSET_END));
}

static struct lk_wait *wait_find(const struct lk_session *s, uint64_t ticket)
{
	struct lk_wait *w;

	TAILQ_FOREACH(w, &s->waits, by_session)
		if (w->ticket == ticket)
			return w;
	return NULL;
}

static enum lk_state stand_in_line(struct locks *l, struct lk_session *s,
				   struct lk_file *f, uint64_t ticket,
				   const struct m_byte_lock *k, int wait)
{
	struct lk_wait *w;

	if (wait_find(s, ticket))
		return LK_WAITS;
	w = s->n_waits < LOCKS_WAITS_MAX ? calloc(1, sizeof(*w)) : NULL;
	if (!w)
		return LK_FULL;
	w->file = f;
	w->session = s;
	w->ticket = ticket;
	w->k = *k;
	w->once = !wait;
	TAILQ_INSERT_TAIL(&f->waits[k->space], w, link);
	TAILQ_INSERT_TAIL(&s->waits, w, by_session);
	s->n_waits++;
	if (k->space != LK_FCNTL || l->grace || !locks_circle(l, w))
		return LK_WAITS;
	locks_wait_free(w);
	return LK_DEADLOCK;
}

/* flock(2): converting is releasing, then asking. */
static void let_go_first(struct locks *l, struct lk_session *s,
			 struct lk_file *f, const struct m_byte_lock *k)
{
	const struct lk_holder *h = locks_holder(f, k->space, s->id, k->owner);
	struct m_byte_lock none = *k;

	if (!h || h->set.v[0].kind == k->kind)
		return;
	none.kind = LK_NONE;
	locks_apply(l, s, f, &none);
	locks_advance(l, f, k->space);
}

static enum lk_state get_or_wait(struct locks *l, struct lk_session *s,
				 struct lk_file *f, uint64_t ticket,
				 const struct m_byte_lock *k, int wait)
{
	const struct lk_holder *h;
	enum lk_state state;

	if (k->space == LK_FLOCK)
		let_go_first(l, s, f, k);
	h = locks_holder(f, k->space, s->id, k->owner);
	if (l->grace &&
	    !(h && lockset_covers(&h->set, k->start, k->end, k->kind)))
		return stand_in_line(l, s, f, ticket, k, wait);
	if (locks_may(f, s, k, NULL)) {
		state = locks_apply(l, s, f, k);
		/* it may have been a downgrade; or others wait for it now */
		locks_advance(l, f, k->space);
		return state;
	}
	return wait ? stand_in_line(l, s, f, ticket, k, wait) : LK_REFUSED;
}

enum lk_state locks_ask(struct locks *l, uint64_t session, uint64_t ticket,
			const struct m_byte_lock *k, int wait)
{
	struct lk_session *s = session_get(l, session);
	struct lk_file *f = s ? file_get(l, k->ino) : NULL;
	enum lk_state state = LK_GRANTED;

	if (!f)
		return LK_FULL;
	f->pins++;
	if (k->kind != LK_NONE) {
		state = get_or_wait(l, s, f, ticket, k, wait);
	} else if (locks_holder(f, k->space, session, k->owner)) {
		state = locks_apply(l, s, f, k);
		locks_advance(l, f, k->space);
	}
	f->pins--;
	locks_file_unused(l, f);
	locks_settle(l);
	return state;
}

void locks_get(const struct locks *l, uint64_t session,
	       const struct m_byte_lock *k, struct m_byte_lock *out)
{
	const struct lk_file *f = file_find(l, k->ino);
	const struct lk_holder *h = f ? locks_blocker(f, session, k) : NULL;
	const struct lock_range *r;

	*out = *k;
	out->kind = LK_NONE;
	if (!h)
		return;
	r = lockset_conflict(&h->set, k->start, k->end,
			     locks_against(h, session, k));
	out->kind = r->kind;
	out->start = r->start;
	out->end = r->end;
	out->pid = h->pid;
	out->owner = h->owner;
}

/* Out of the line: who stood behind may go on. */
static void wait_end(struct locks *l, struct lk_wait *w)
{
	struct lk_file *f = w->file;
	uint8_t space = w->k.space;

	locks_wait_free(w);
	locks_advance(l, f, space);
	locks_file_unused(l, f);
}

void locks_cancel(struct locks *l, uint64_t session, uint64_t ticket)
{
	struct lk_session *s = session_find(l, session);
	struct lk_wait *w = s ? wait_find(s, ticket) : NULL;

	if (w)
		wait_end(l, w);
	locks_settle(l);
}

/* ----------------------------------------------------------------- sessions */

/* Of a file that was pinned once for each thing that was taken away from it:
 * when all are gone, and not after each, is seen who goes on. */
static void let_go(struct locks *l, struct lk_file *f)
{
	if (--f->pins)
		return;
	for (int i = 0; i < 2; i++)
		locks_advance(l, f, (uint8_t)i);
	locks_file_unused(l, f);
}

static void end_waits(struct locks *l, struct lk_session *s)
{
	struct lk_waits old = TAILQ_HEAD_INITIALIZER(old);
	struct lk_wait *w;

	TAILQ_FOREACH(w, &s->waits, by_session) {
		TAILQ_REMOVE(&w->file->waits[w->k.space], w, link);
		w->file->pins++;
	}
	TAILQ_CONCAT(&old, &s->waits, by_session);
	s->n_waits = 0;
	while ((w = TAILQ_FIRST(&old))) {
		TAILQ_REMOVE(&old, w, by_session);
		let_go(l, w->file);
		free(w);
	}
}

/* What it had is put aside, and (locks_resume) taken again as far as it is
 * listed; nobody else goes on between. */
static void put_aside(struct lk_session *s, struct lk_holder **old)
{
	struct lk_holder *h;

	*old = NULL;
	while ((h = LIST_FIRST(&s->holders))) {
		LIST_REMOVE(h, by_session);
		TAILQ_REMOVE(&h->file->holders[h->space], h, link);
		h->file->pins++;
		h->by_session.le_next = *old;
		*old = h;
	}
	s->n_ranges = 0;
}

static void forget_old(struct locks *l, struct lk_holder *h)
{
	struct lk_holder *next;

	for (; h; h = next) {
		next = h->by_session.le_next;
		let_go(l, h->file);
		lockset_fini(&h->set);
		free(h);
	}
}

void locks_drop(struct locks *l, uint64_t session)
{
	struct lk_session *s = session_find(l, session);
	struct lk_holder *old;

	if (!s)
		return;
	end_waits(l, s);
	put_aside(s, &old);
	HASH_DELETE(hh, l->sessions, s);
	free(s);
	forget_old(l, old);
	locks_settle(l);
}

static int believe(struct locks *l, struct lk_session *s,
		   const struct m_byte_lock *k)
{
	struct lk_file *f = file_get(l, k->ino);
	int ok = f && !locks_blocker(f, s->id, k) &&
		 locks_apply(l, s, f, k) == LK_GRANTED;

	if (f)
		locks_file_unused(l, f);
	return ok;
}

uint32_t locks_resume(struct locks *l, uint64_t session, int sure,
		      const struct m_byte_lock *v, uint32_t n, uint64_t *lost)
{
	struct lk_session *s = session_find(l, session);
	struct lk_holder *old = NULL;
	uint32_t n_lost = 0;

	if (s && s->expected && !sure) {
		locks_drop(l, session);
		s = NULL;
	}
	if (s) {
		s->expected = 0;
		end_waits(l, s);
		put_aside(s, &old);
	}
	for (uint32_t i = 0; i < n; i++) {
		if (s && locks_sound(&v[i]) && v[i].kind != LK_NONE &&
		    believe(l, s, &v[i]))
			continue;
		/* an inode's locks are listed one behind the other */
		if (!n_lost || lost[n_lost - 1] != v[i].ino)
			lost[n_lost++] = v[i].ino;
	}
	forget_old(l, old);
	locks_settle(l);
	return n_lost;
}

int locks_expect(struct locks *l, uint64_t session)
{
	struct lk_session *s = session_get(l, session);

	if (!s)
		return -ENOMEM;
	s->expected = 1;
	return 0;
}

void locks_grace(struct locks *l, int on)
{
	struct lk_file *f, *next;
	struct lk_wait *w, *after;

	if (l->grace == on)
		return;
	l->grace = on;
	if (on)
		return;
	HASH_ITER (hh, l->files, f, next) {
		f->pins++;
		f->suspect = 1;
		for (int i = 0; i < 2; i++) {
			locks_advance(l, f, (uint8_t)i);
			for (w = TAILQ_FIRST(&f->waits[i]); w; w = after) {
				after = TAILQ_NEXT(w, link);
				if (w->once)
					locks_decide(l, w, LK_REFUSED);
			}
			locks_advance(l, f, (uint8_t)i);
		}
		f->pins--;
		locks_file_unused(l, f);
	}
	locks_settle(l);
}

/* -------------------------------------------------------------------- life */

int locks_new(struct locks **out, const struct locks_ops *ops)
{
	struct locks *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->ops = *ops;
	*out = l;
	return 0;
}

void locks_free(struct locks *l)
{
	struct lk_session *s, *next;

	if (!l)
		return;
	l->grace = 1;		/* nobody is told any more */
	HASH_ITER (hh, l->sessions, s, next)
		locks_drop(l, s->id);
	free(l);
}
