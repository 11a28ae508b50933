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
 */
#include <errno.h>

#include "core_internal.h"
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
	if (m.op == LK_GET) {
		locks_get(c->locks, s->id, &m.lock, &out.lock);
		return m_lock_r_encode(w, &out);
	}
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
