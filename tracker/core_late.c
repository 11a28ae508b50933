/*
 * When the answer to a change leaves: not before every other session that had
 * a lease on what was touched has given it up; and two answers to one session
 * about the same inode in the order of the changes.  See core_out.c.
 *
 * An answer that is given again, perhaps to a session that had no lease in
 * between and heard nothing of what others did: its attributes are read again
 * just before it leaves, and whatever else the client may conclude from it is
 * revoked behind it.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "core_change.h"

enum { AHEAD_AFTER = 3, AHEAD_MOST = 256 };

/* ----------------------------------------------------------------- waiting */

/* Others' leases on what was touched end before it is answered. */
void core_withhold(struct core *c, struct req *r, struct out *o,
		   const struct ns_touched *t)
{
	const struct holder *h = &r->session->holder;
	int err = 0;

	for (unsigned i = 0; !err && i < t->n; i++)
		err = leases_touch(c->leases, h, t->ino[i],
				   t->also[i], o->order, &o->wait);
	if (!err && t->n)
		err = leases_wait_assumed(c->leases, h, &o->wait);
	if (err)
		core_poison(c, err);
}

/*
 * Who removes one entry after the other waits for others each time, if they
 * have looked at all of them.  So after a few such removals the leases on the
 * next ones end with this one's, in one message.
 */
void core_withhold_more(struct core *c, struct req *r, struct out *o,
			uint64_t dir)
{
	struct session *s = r->session;
	uint64_t next[AHEAD_MOST];
	int n, err = 0;

	if (s->removes_in != dir) {
		s->removes_in = dir;
		s->removes_late = 0;
	}
	if (!o->wait.n || ++s->removes_late < AHEAD_AFTER)
		return;
	s->removes_late = 0;
	n = ns_dir_inos(c->ns, dir, next, AHEAD_MOST);
	for (int i = 0; !err && i < n; i++)
		err = leases_touch(c->leases, &s->holder, next[i], 0, o->order,
				   &o->wait);
	if (err)
		core_poison(c, err);
}

int core_lease_attrs(struct core *c, struct session *s, struct out *o,
		     const struct change *ch, union change_r *m)
{
	int err = 0;

	o->n_inos = ch->n_attrs;
	for (unsigned i = 0; !err && i < ch->n_attrs; i++) {
		o->inos[i] = core_attr_at(ch, m, i)->ino;
		err = core_lease(c, s, o->inos[i]);
	}
	return err;
}

static int waiting(const struct core *c, uint64_t session, uint64_t ino,
		   uint64_t before)
{
	const struct out *o;

	TAILQ_FOREACH(o, &c->late, late_link) {
		if (o->session != session || o->order >= before)
			continue;
		for (unsigned i = 0; i < o->n_inos; i++)
			if (o->inos[i] == ino)
				return 1;
	}
	return 0;
}

int core_waiting(const struct holder *h, uint64_t ino, uint64_t before,
		 void *core)
{
	const struct session *s = (const struct session *)
		((const char *)h - offsetof(struct session, holder));

	return waiting(core, s->id, ino, before);
}

int core_behind(const struct core *c, const struct out *o)
{
	for (unsigned i = 0; i < o->n_inos; i++)
		if (waiting(c, o->session, o->inos[i], o->order))
			return 1;
	return 0;
}

void core_set_late(struct core *c, struct out *o)
{
	if (o->late || (!o->wait.n && !core_behind(c, o)))
		return;
	o->late = 1;
	TAILQ_INSERT_TAIL(&c->late, o, late_link);
}

/* ------------------------------------------------------------------- again */

static struct out *find_in(struct outs *q, uint64_t session, uint64_t seq)
{
	struct out *o;

	TAILQ_FOREACH(o, q, link)
		if (o->seq == seq && o->session == session && !o->request)
			return o;
	return NULL;
}

/* It is on its way already: to two now. */
static int join(struct core *c, struct req *r, uint64_t seq)
{
	uint64_t session = r->session->id;
	struct out *o = find_in(&c->out, session, seq);
	struct dup *d;

	if (!o)
		o = find_in(&c->withheld, session, seq);
	if (!o)
		o = find_in(&c->ready, session, seq);
	if (!o)
		return 0;
	d = malloc(sizeof(*d));
	if (!d) {
		core_poison(c, -ENOMEM);
		return 1;
	}
	*d = (struct dup){ o->dups, r->conn->conn, r->number };
	o->dups = d;
	o->again |= o->conn != r->conn->conn;
	return 1;
}

struct out *core_put_change(struct core *c, struct req *r, uint64_t seq,
			    const struct reply *rep)
{
	struct wr w = WR_INIT;
	struct out *o;

	wr_bytes(&w, rep->body, rep->len);
	if (w.err)
		core_poison(c, w.err);
	o = core_put(c, r->conn->conn, r->number, rep->type, rep->status, &w);
	if (!o)
		return NULL;
	o->session = r->session->id;
	o->seq = seq;
	return o;
}

void core_again(struct core *c, struct req *r, uint64_t seq,
		const struct reply *rep)
{
	struct out *o;

	/* a restart lies between, perhaps: then it was not synced here */
	if (r->type == M_commit)
		c->sync = 1;
	if (join(c, r, seq))
		return;
	o = core_put_change(c, r, seq, rep);
	if (!o)
		return;
	o->again = 1;
	if (leases_wait_assumed(c->leases, &r->session->holder, &o->wait))
		core_poison(c, -ENOMEM);
	core_set_late(c, o);
}

/* Which of those who wait for it is the session that may have leases? */
static struct session *asker(struct core *c, const struct out *o)
{
	struct session *s = sessions_find(c->sessions, o->session);

	if (!s || !s->live || !s->conn)
		return NULL;
	if (s->conn == o->conn)
		return s;
	for (const struct dup *d = o->dups; d; d = d->next)
		if (d->conn == s->conn)
			return s;
	return NULL;
}

static int refresh(struct core *c, struct out *o, const struct change *ch,
		   struct arena *a)
{
	struct session *s = asker(c, o);
	struct wr w = WR_INIT;
	union change_r m;
	int err;

	if (!s)
		return 0;
	err = ch->decode(&m, a, o->body.p, o->body.len);
	for (unsigned i = 0; !err && i < ch->n_attrs; i++) {
		struct m_attr now;

		err = ns_getattr(c->ns, core_attr_at(ch, &m, i)->ino, &now);
		if (!err)
			*core_attr_at(ch, &m, i) = now;
		if (err == -ENOENT || err == -ESTALE)
			err = 0;	/* it is gone: nothing can change */
	}
	if (!err)
		err = core_lease_attrs(c, s, o, ch, &m);
	/* behind all that is decided by now, not only behind this answer */
	for (unsigned i = 0; !err && i < o->n_inos; i++)
		err = leases_end(c->leases, &s->holder, o->inos[i],
				 c->order + 1);
	if (!err)
		err = ch->encode(&w, &m);
	if (err) {
		wr_fini(&w);
		return err;
	}
	wr_fini(&o->body);
	o->body = w;
	return 0;
}

void core_refresh(struct core *c, struct out *o)
{
	const struct change *ch = core_change_of(o->type & ~M_REPLY);
	struct arena a = ARENA_INIT;

	if (ch && o->status == ST_OK)
		core_poison(c, refresh(c, o, ch, &a));
	else if (o->type == M_lock_r)
		core_poison(c, core_lock_again(c, o, &a));
	arena_fini(&a);
}

void core_out_free(struct core *c, struct out *o)
{
	struct dup *d;

	if (o->late)
		TAILQ_REMOVE(&c->late, o, late_link);
	while ((d = o->dups)) {
		o->dups = d->next;
		free(d);
	}
	waiter_fini(&o->wait);
	wr_fini(&o->body);
	free(o);
}
