/*
 * ops_lock_call -- a request for a lock: asked, in line, interrupted, granted.
 *
 * Ends: each way out takes the call off the active list under waits.lock, so
 * that there is one; lock_reply() answers the kernel once.
 *
 * What is held (held.h) is changed when the tracker's answer comes, but what
 * is given up at once, before it is sent.  A lock of the same owner that was
 * asked for earlier and is answered later (two threads of a process) would
 * then be noted in the wrong order: such a call is marked, and asks again.
 * One that is asked for later is sent later: noting and sending, and being
 * active and sending, are one step each under waits.order.  So is asking
 * again, or it might be sent before the release that it is to come after.
 */
#include <errno.h>
#include <stdlib.h>

#include "ops_lock.h"

enum {
	CANCEL_MS = 500,	/* an interrupted call ends after so long */
	CIRCLE_TRIES = 200,	/* round trips: some 50 ms */
};

int ops_lock_new(struct ops *o)
{
	pthread_mutexattr_t recursive;
	int err = held_new(&o->held);

	if (err)
		return err;
	o->waits = calloc(1, sizeof(*o->waits));
	if (!o->waits)
		return -ENOMEM;
	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&o->waits->order, &recursive);
	pthread_mutexattr_destroy(&recursive);
	pthread_mutex_init(&o->waits->lock, NULL);
	TAILQ_INIT(&o->waits->active);
	return 0;
}

void ops_lock_free(struct ops *o)
{
	held_free(o->held);
	if (o->waits) {
		pthread_mutex_destroy(&o->waits->order);
		pthread_mutex_destroy(&o->waits->lock);
	}
	free(o->waits);
}

/* ---------------------------------------------------------------- its life */

static struct lock_waits *waits_of(const struct lock_call *lc)
{
	return lc->c->ops->waits;
}

struct lock_call *lock_new(fuse_req_t req, const struct m_byte_lock *k,
			   enum lk_op op, uint64_t handle)
{
	struct call *c = call_new(req);
	struct lock_call *lc;

	if (!c)
		return NULL;
	lc = calloc(1, sizeof(*lc));
	if (!lc) {
		call_fail(c, -ENOMEM);
		return NULL;
	}
	lc->c = c;
	lc->k = *k;
	lc->op = op;
	lc->handle = handle;
	lc->refs = 1;
	pthread_mutex_lock(&waits_of(lc)->lock);
	lc->ticket = ++waits_of(lc)->ticket;
	pthread_mutex_unlock(&waits_of(lc)->lock);
	return lc;
}

void lock_put(struct lock_call *lc)
{
	struct lock_waits *w = waits_of(lc);
	int last;

	pthread_mutex_lock(&w->lock);
	last = --lc->refs == 0;
	pthread_mutex_unlock(&w->lock);
	if (!last)
		return;
	call_free(lc->c);
	free(lc);
}

static void lock_reply(struct lock_call *lc, int err)
{
	struct lock_waits *w = waits_of(lc);
	int first;

	pthread_mutex_lock(&w->lock);
	first = !lc->replied;
	lc->replied = 1;
	pthread_mutex_unlock(&w->lock);
	if (!first)
		return;
	/* it waits for an interruption that is being noted */
	fuse_req_interrupt_func(lc->c->req, NULL, NULL);
	fuse_reply_err(lc->c->req, ops_errno(err));
}

void lock_end(struct lock_call *lc, int err)
{
	lock_reply(lc, err);
	lock_put(lc);
}

/* Locked. */
static void deactivate(struct lock_call *lc)
{
	if (lc->active)
		TAILQ_REMOVE(&waits_of(lc)->active, lc, link);
	lc->active = lc->waiting = 0;
}

void lock_tell(struct ops *o, enum lk_op op, uint64_t ticket,
	       const struct m_byte_lock *k, uint32_t timeout_ms,
	       rpc_done done, void *arg)
{
	struct m_lock m = { (uint8_t)op, ticket, *k };
	struct wr w = WR_INIT;

	m.lock.alone = (uint8_t)held_is_alone(o->held, k->ino);
	m_lock_encode(&w, &m);
	link_call_for(o->link, M_lock, &w, timeout_ms, done, arg);
}

void lock_unheard(void *arg, int err, const struct rpc_answer *ra)
{
	(void)arg;
	(void)err;
	(void)ra;
}

static void cancel_quietly(struct lock_call *lc)
{
	lock_tell(lc->c->ops, LK_CANCEL, lc->ticket, &lc->k, 0, lock_unheard,
		  NULL);
}

/* ---------------------------------------------------------------- decided */

static int errno_of(enum lk_state state)
{
	switch (state) {
	case LK_GRANTED:
		return 0;
	case LK_REFUSED:
		return -EAGAIN;
	case LK_DEADLOCK:
		return -EDEADLK;
	case LK_FULL:
		return -ENOLCK;
	default:
		return -EPROTO;
	}
}

static void answered(void *arg, int err, const struct rpc_answer *ra);

/* Active. */
static void ask(struct lock_call *lc)
{
	struct lock_waits *w = waits_of(lc);

	pthread_mutex_lock(&w->order);
	lock_tell(lc->c->ops, lc->op, lc->ticket, &lc->k, 0, answered, lc);
	pthread_mutex_unlock(&w->order);
}

/* Still wanted?  Then the table says so before anybody is told. */
static void granted(struct lock_call *lc)
{
	struct ops *o = lc->c->ops;
	struct lock_waits *w = waits_of(lc);
	struct held_state s;
	int err = 0, wanted, again;

	pthread_mutex_lock(&w->lock);
	wanted = !lc->replied;
	again = wanted && lc->crossed;
	lc->crossed = 0;
	held_look(o->held, &lc->k, &s);
	if (wanted && !again)
		err = s.lost ? -EIO : held_set(o->held, &lc->k, lc->handle);
	if (!again)
		deactivate(lc);
	pthread_mutex_unlock(&w->lock);
	if (again) {
		ask(lc);
		return;
	}
	if (!wanted || err)
		lock_give_back(o, &lc->k);
	lock_end(lc, err);
}

static void refused(struct lock_call *lc, int err)
{
	struct lock_waits *w = waits_of(lc);

	pthread_mutex_lock(&w->lock);
	deactivate(lc);
	pthread_mutex_unlock(&w->lock);
	lock_end(lc, err);
}

/* A circle may be one of names only: an OFD lock's owner is the number of an
 * open file, which the next file may have before the kernel tells of the
 * close.  That is over soon; a true one stays. */
static int ask_once_more(struct lock_call *lc)
{
	struct lock_waits *w = waits_of(lc);
	int more;

	pthread_mutex_lock(&w->lock);
	more = lc->active && !lc->interrupted && !lc->replied &&
	       lc->circles++ < CIRCLE_TRIES;
	pthread_mutex_unlock(&w->lock);
	if (more)
		ask(lc);
	return more;
}

void lock_decided(struct lock_call *lc, enum lk_state state)
{
	if (state == LK_GRANTED)
		granted(lc);
	else if (state != LK_DEADLOCK || !ask_once_more(lc))
		refused(lc, errno_of(state));
}

/* ------------------------------------------------------------ interrupted */

/* The tracker lets the request go, or does not answer: either way the call
 * ends if it was in line; what is not answered at all is not waited for. */
static void cancelled(void *arg, int err, const struct rpc_answer *ra)
{
	struct lock_call *lc = arg;
	struct lock_waits *w = waits_of(lc);
	int waited;

	(void)ra;
	pthread_mutex_lock(&w->lock);
	waited = lc->waiting;
	if (waited)
		deactivate(lc);
	pthread_mutex_unlock(&w->lock);
	if (waited || err)
		lock_reply(lc, -EINTR);
	if (waited)
		lock_put(lc);	/* the request's */
	lock_put(lc);
}

/* Takes a reference of the caller's. */
static void cancel(struct lock_call *lc)
{
	lock_tell(lc->c->ops, LK_CANCEL, lc->ticket, &lc->k, CANCEL_MS,
		  cancelled, lc);
}

/* On FUSE's thread that read the interrupt, which must not answer. */
void lock_interrupted(fuse_req_t req, void *arg)
{
	struct lock_call *lc = arg;
	struct lock_waits *w = waits_of(lc);
	int now;

	(void)req;
	pthread_mutex_lock(&w->lock);
	now = lc->active && !lc->interrupted && !lc->replied;
	lc->interrupted = 1;
	lc->refs += now;
	pthread_mutex_unlock(&w->lock);
	if (now)
		cancel(lc);
}

static void in_line(struct lock_call *lc)
{
	struct lock_waits *w = waits_of(lc);
	int over, again;

	pthread_mutex_lock(&w->lock);
	over = lc->replied;
	again = !over && lc->interrupted;
	if (over)
		deactivate(lc);
	else
		lc->waiting = 1;
	lc->refs += again;
	pthread_mutex_unlock(&w->lock);
	if (over) {
		cancel_quietly(lc);
		lock_put(lc);
	} else if (again) {
		cancel(lc);	/* the first one may have been too early */
	}
}

/* ---------------------------------------------------------------- asking */

static void answered(void *arg, int err, const struct rpc_answer *ra)
{
	struct lock_call *lc = arg;
	struct arena a = ARENA_INIT;
	struct m_lock_r m;

	if (!err)
		err = m_lock_r_decode(&m, &a, ra->body->data, ra->body->len);
	if (err) {
		/* no answer: it may have been granted all the same */
		if (!ra && err != -ECANCELED)
			lock_give_back(lc->c->ops, &lc->k);
		refused(lc, err);
	} else if (m.state == LK_WAITS) {
		in_line(lc);
	} else {
		lock_decided(lc, m.state);
	}
	arena_fini(&a);
}

void lock_ask(struct lock_call *lc)
{
	struct lock_waits *w = waits_of(lc);
	int gone;

	pthread_mutex_lock(&w->order);
	pthread_mutex_lock(&w->lock);
	gone = lc->interrupted;
	if (!gone) {
		lc->active = 1;
		TAILQ_INSERT_TAIL(&w->active, lc, link);
	}
	pthread_mutex_unlock(&w->lock);
	if (!gone)
		ask(lc);
	pthread_mutex_unlock(&w->order);
	if (!gone)
		return;
	/* for what was given up first */
	lock_give_back(lc->c->ops, &lc->k);
	lock_end(lc, -EINTR);
}

/* ---------------------------------------------------------- all that wait */

/* Takes the waiting ones off their line, first to last, each with the
 * reference of its request; @n of them; free(). */
static struct lock_call **take_waiting(struct ops *o, int active, size_t *n)
{
	struct lock_call *lc, *next, **v;
	size_t most = 0;

	*n = 0;
	pthread_mutex_lock(&o->waits->lock);
	TAILQ_FOREACH(lc, &o->waits->active, link)
		most++;
	v = calloc(most + 1, sizeof(*v));
	for (lc = TAILQ_FIRST(&o->waits->active); v && lc; lc = next) {
		next = TAILQ_NEXT(lc, link);
		if (!lc->waiting)
			continue;
		if (!active)
			deactivate(lc);
		lc->waiting = 0;
		v[(*n)++] = lc;
	}
	pthread_mutex_unlock(&o->waits->lock);
	return v;
}

void lock_ask_again(struct ops *o)
{
	size_t n;
	struct lock_call **v = take_waiting(o, 1, &n);

	for (size_t i = 0; i < n; i++)
		ask(v[i]);
	free(v);
}

void lock_stop(struct ops *o)
{
	size_t n;
	struct lock_call **v = take_waiting(o, 0, &n);

	for (size_t i = 0; i < n; i++) {
		cancel_quietly(v[i]);
		lock_end(v[i], -EIO);
	}
	free(v);
}

struct lock_call *lock_take(struct ops *o, uint64_t ticket)
{
	struct lock_call *lc;

	pthread_mutex_lock(&o->waits->lock);
	TAILQ_FOREACH(lc, &o->waits->active, link)
		if (lc->waiting && lc->ticket == ticket)
			break;
	if (lc)
		lc->waiting = 0;
	pthread_mutex_unlock(&o->waits->lock);
	return lc;
}
