/*
 * Locks of sessions: asked for, decided at once or later, resumed.
 *
 * A request that waits is answered at once ("it waits"), so that nothing is
 * held up by it; what becomes of it is told (M_locked) with the batch that
 * decides it.  If that is lost with the connection, the session's next hello
 * does not list the lock, which ends it, and it asks again.
 *
 * Locks are not in the database, so a batch that fails cannot undo them:
 * whoever was concerned has its connection closed, and its hello makes the
 * table what it believes (locks.h).
 *
 * What is in the way of a lock (F_GETLK) is not known before all who had locks
 * are back after a restart: the answer is withheld so long, which is a lease
 * at most.
 */
#include <errno.h>

#include "core_change.h"
#include "log.h"

static void decided(void *core, uint64_t session, uint64_t ticket,
		    const struct m_byte_lock *k, enum lk_state state)
{
	struct core *c = core;
	struct session *s = sessions_find(c->sessions, session);
	struct m_locked m = { ticket, (uint8_t)state, *k };
	struct wr w = WR_INIT;

	if (!s)
		return;
	s->locked = 1;
	if (!s->conn || !core_conn(c, s->conn))
		return;		/* it will ask again, or is dropped */
	if (m_locked_encode(&w, &m)) {
		wr_fini(&w);
		core_poison(c, -ENOMEM);
		return;
	}
	core_push(c, s->conn, M_locked, &w);
}

int core_locks_new(struct core *c)
{
	const struct locks_ops ops = { decided, c };

	return locks_new(&c->locks, &ops);
}

/* Who is not back yet after a restart may have such a lock: answered when all
 * are, or their leases have ended. */
static int get_late(struct core *c, struct req *r, const struct m_lock_r *m)
{
	struct wr w = WR_INIT;
	struct out *o;

	if (m_lock_r_encode(&w, m)) {
		wr_fini(&w);
		return -ENOMEM;
	}
	o = core_put(c, r->conn->conn, r->number, M_lock_r, ST_OK, &w);
	r->later = 1;
	if (!o)
		return 0;	/* the batch is lost */
	o->session = r->session->id;
	o->again = 1;
	if (leases_wait_assumed(c->leases, &r->session->holder, &o->wait))
		core_poison(c, -ENOMEM);
	core_set_late(c, o);
	return 0;
}

int core_lock_again(struct core *c, struct out *o, struct arena *a)
{
	struct m_lock_r asked, m;
	struct wr w = WR_INIT;
	int err = m_lock_r_decode(&asked, a, o->body.p, o->body.len);

	if (err)
		return err;
	m = asked;
	locks_get(c->locks, o->session, &asked.lock, &m.lock);
	err = m_lock_r_encode(&w, &m);
	if (err) {
		wr_fini(&w);
		return err;
	}
	wr_fini(&o->body);
	o->body = w;
	o->again = 0;	/* it is no question any more */
	return 0;
}

/* @asked: of which nothing is in the way. */
static int get(struct core *c, struct req *r, struct wr *w,
	       const struct m_lock_r *asked)
{
	struct m_lock_r m = *asked;

	locks_get(c->locks, r->session->id, &asked->lock, &m.lock);
	if (m.lock.kind == LK_NONE && leases_assumed(c->leases))
		return get_late(c, r, asked);
	return m_lock_r_encode(w, &m);
}

int core_serve_lock(struct core *c, struct req *r, struct wr *w)
{
	struct session *s = r->session;
	struct m_lock m;
	struct m_lock_r out = { .state = LK_GRANTED };
	int err;

	err = m_lock_decode(&m, &r->arena, r->body, r->len);
	if (err)
		return err;
	if (m.op > LK_CANCEL || !locks_sound(&m.lock))
		return -EINVAL;
	out.lock = m.lock;
	if (m.op == LK_GET)
		return get(c, r, w, &out);
	s->locked = 1;
	if (m.op == LK_CANCEL)
		locks_cancel(c->locks, s->id, m.ticket);
	else
		out.state = (uint8_t)locks_ask(c->locks, s->id, m.ticket,
					       &m.lock, m.op == LK_WAIT);
	return m_lock_r_encode(w, &out);
}

int core_locks_resume(struct core *c, const struct session *s,
		      const struct m_hello *m, struct arena *a,
		      struct m_hello_r *out)
{
	if (m->n_locks) {
		out->lost = arena_alloc(a, m->n_locks * sizeof(*out->lost));
		if (!out->lost)
			return -ENOMEM;
	}
	out->n_lost = locks_resume(c->locks, s->id, m->epoch == s->epoch,
				   m->locks, m->n_locks, out->lost);
	if (out->n_lost)
		log_warn("session %016llx lost its locks on %u inodes: its "
			 "lease had ended", (unsigned long long)s->id,
			 out->n_lost);
	return 0;
}

void core_locks_settle(struct core *c)
{
	if (!leases_assumed(c->leases))
		locks_grace(c->locks, 0);
}

void core_locks_rolled_back(struct core *c)
{
	struct conn *n, *next;

	HASH_ITER (hh, c->conns, n, next)
		if (n->session && n->session->locked && !n->closing) {
			n->session->locked = 0;
			core_close(c, n, "its locks have to be told anew");
		}
}
