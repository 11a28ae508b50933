/*
 * Changes.  Each is applied once, and its answer recorded with it; asked for
 * again it gets the recorded answer.  Only that others may have changed
 * things since, of which this session, having had no lease, heard nothing:
 * the attributes are read again just before it leaves, and whatever else the
 * client may conclude from it is revoked behind it (core_refresh).
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "core_internal.h"
#include "counters.h"

union change_r {
	struct m_mknod_r mknod;
	struct m_setattr_r setattr;
	struct m_link_r link;
	struct m_unlink_r unlink;
	struct m_rename_r rename;
	struct m_setxattr_r setxattr;
	struct m_removexattr_r removexattr;
	struct m_commit_r commit;
	struct m_compact_r compact;
};

struct change {
	uint16_t type;
	int (*apply)(struct core *c, struct req *r, union change_r *out,
		     struct ns_touched *t);
	int (*encode)(struct wr *w, const union change_r *m);
	int (*decode)(union change_r *m, struct arena *a, const void *body,
		      size_t len);
	unsigned n_attrs;
	size_t attrs[CORE_ATTRS_MAX];	/* where they are in the answer */
};

/* ---------------------------------------------------------------- applying */

/* It lost its last name: gone once this session and all others say so. */
static int bereave(struct core *c, struct req *r, uint64_t ino,
		   struct ns_touched *t)
{
	size_t cap = c->cap_bereft ? c->cap_bereft * 2 : 64;
	struct bereft *b;

	if (c->n_bereft == c->cap_bereft) {
		b = realloc(c->bereft, cap * sizeof(*b));
		if (!b) {
			core_poison(c, -ENOMEM);
			return -ENOMEM;
		}
		c->bereft = b;
		c->cap_bereft = cap;
	}
	c->bereft[c->n_bereft++] = (struct bereft){ ino, r->session->id };
	for (unsigned i = 0; i < t->n; i++)
		if (t->ino[i] == ino)
			return 0;
	if (t->n < NS_TOUCHED_MAX)
		t->ino[t->n++] = ino;
	return 0;
}

static int apply_mknod(struct core *c, struct req *r, union change_r *out,
		       struct ns_touched *t)
{
	struct m_mknod m;
	int err = m_mknod_decode(&m, &r->arena, r->body, r->len);

	return err ? err : ns_mknod(c->ns, &m, core_ns_now(c), &out->mknod, t);
}

static int apply_setattr(struct core *c, struct req *r, union change_r *out,
			 struct ns_touched *t)
{
	struct m_setattr m;
	int err = m_setattr_decode(&m, &r->arena, r->body, r->len);

	return err ? err : ns_setattr(c->ns, &m, core_ns_now(c),
				      &out->setattr.attr, t);
}

static int apply_link(struct core *c, struct req *r, union change_r *out,
		      struct ns_touched *t)
{
	struct m_link m;
	int err = m_link_decode(&m, &r->arena, r->body, r->len);

	return err ? err : ns_link(c->ns, &m, core_ns_now(c), &out->link, t);
}

static int apply_unlink(struct core *c, struct req *r, union change_r *out,
			struct ns_touched *t)
{
	struct m_unlink m;
	int err = m_unlink_decode(&m, &r->arena, r->body, r->len);

	if (!err)
		err = ns_unlink(c->ns, &m, core_ns_now(c), &out->unlink, t);
	if (!err && !out->unlink.nlink)
		err = bereave(c, r, out->unlink.ino, t);
	return err;
}

static int apply_rename(struct core *c, struct req *r, union change_r *out,
			struct ns_touched *t)
{
	struct m_rename m;
	int err = m_rename_decode(&m, &r->arena, r->body, r->len);

	if (!err)
		err = ns_rename(c->ns, &m, core_ns_now(c), &out->rename, t);
	if (!err && out->rename.gone && !out->rename.gone_nlink)
		err = bereave(c, r, out->rename.gone, t);
	return err;
}

static int apply_setxattr(struct core *c, struct req *r, union change_r *out,
			  struct ns_touched *t)
{
	struct m_setxattr m;
	int err = m_setxattr_decode(&m, &r->arena, r->body, r->len);

	return err ? err : ns_setxattr(c->ns, &m, core_ns_now(c),
				       &out->setxattr.attr, t);
}

static int apply_removexattr(struct core *c, struct req *r,
			     union change_r *out, struct ns_touched *t)
{
	struct m_removexattr m;
	int err = m_removexattr_decode(&m, &r->arena, r->body, r->len);

	return err ? err : ns_removexattr(c->ns, &m, core_ns_now(c),
					  &out->removexattr.attr, t);
}

static int apply_commit(struct core *c, struct req *r, union change_r *out,
			struct ns_touched *t)
{
	struct m_commit m;
	int err = m_commit_decode(&m, &r->arena, r->body, r->len);

	if (err)
		return err;
	if (m.sync)
		c->sync = 1;
	err = ns_commit(c->ns, &r->arena, &m, core_ns_now(c), &out->commit, t);
	if (err)
		return err;
	counter_add(CNT_COMMITS, 1);
	for (uint32_t i = 0; !err && i < m.n_pushes; i++)
		err = core_stored(c, &m.pushes[i]);
	if (err)
		core_poison(c, err);
	return err;
}

/* Somebody wrote meanwhile: no map will ever name its chunk. */
static void unwanted(struct core *c, const struct m_push *p)
{
	struct m_chunk chunk;

	if (ns_chunk(c->ns, p->chunk, &chunk) != -ENOENT)
		return;
	for (uint32_t i = 0; i < p->n_stored; i++) {
		struct peer *at = swarm_num(c->swarm, p->stored[i]);

		if (at)
			garbage_tell_one(c->garbage, p->chunk, at, core_ask,
					 c);
	}
}

static int apply_compact(struct core *c, struct req *r, union change_r *out,
			 struct ns_touched *t)
{
	struct m_compact m;
	int err = m_compact_decode(&m, &r->arena, r->body, r->len);

	if (!err)
		err = ns_compact(c->ns, &m, core_ns_now(c), &out->compact, t);
	if (err)
		return err;
	if (!out->compact.done) {
		unwanted(c, &m.push);
		return 0;
	}
	counter_add(CNT_COMPACTIONS, 1);
	err = core_stored(c, &m.push);
	if (err)
		core_poison(c, err);
	return err;
}

/* ------------------------------------------------------------------- table */

#define CODEC(name)                                                        \
	static int enc_##name(struct wr *w, const union change_r *m)        \
	{                                                                  \
		return m_##name##_r_encode(w, &m->name);                    \
	}                                                                  \
	static int dec_##name(union change_r *m, struct arena *a,           \
			      const void *body, size_t len)                 \
	{                                                                  \
		return m_##name##_r_decode(&m->name, a, body, len);         \
	}

CODEC(mknod)
CODEC(setattr)
CODEC(link)
CODEC(unlink)
CODEC(rename)
CODEC(setxattr)
CODEC(removexattr)
CODEC(commit)
CODEC(compact)

#define CHANGE(name, n, ...)                                               \
	{ M_##name, apply_##name, enc_##name, dec_##name, n, { __VA_ARGS__ } }
#define AT(name, field) offsetof(struct m_##name##_r, field)

static const struct change changes[] = {
	CHANGE(mknod, 2, AT(mknod, attr), AT(mknod, parent)),
	CHANGE(setattr, 1, AT(setattr, attr)),
	CHANGE(link, 2, AT(link, attr), AT(link, parent)),
	CHANGE(unlink, 1, AT(unlink, parent)),
	CHANGE(rename, 3, AT(rename, attr), AT(rename, parent),
	       AT(rename, newparent)),
	CHANGE(setxattr, 1, AT(setxattr, attr)),
	CHANGE(removexattr, 1, AT(removexattr, attr)),
	CHANGE(commit, 1, AT(commit, attr)),
	CHANGE(compact, 1, AT(compact, attr)),
};

static const struct change *change_of(uint16_t type)
{
	for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++)
		if (changes[i].type == type)
			return &changes[i];
	return NULL;
}

static struct m_attr *attr_at(const struct change *ch, union change_r *m,
			      unsigned i)
{
	return (struct m_attr *)((char *)m + ch->attrs[i]);
}

/* ----------------------------------------------------------------- answers */

static struct out *find_in(struct outs *q, uint64_t session, uint64_t seq)
{
	struct out *o;

	TAILQ_FOREACH(o, q, link)
		if (o->seq == seq && o->session == session && !o->request)
			return o;
	return NULL;
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

static void set_late(struct core *c, struct out *o)
{
	if (o->late || (!o->wait.n && !core_behind(c, o)))
		return;
	o->late = 1;
	TAILQ_INSERT_TAIL(&c->late, o, late_link);
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

static struct out *put(struct core *c, struct req *r, uint64_t seq,
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

static void again(struct core *c, struct req *r, uint64_t seq,
		  const struct reply *rep)
{
	struct out *o;

	/* a restart lies between, perhaps: then it was not synced here */
	if (r->type == M_commit)
		c->sync = 1;
	if (join(c, r, seq))
		return;
	o = put(c, r, seq, rep);
	if (!o)
		return;
	o->again = 1;
	if (leases_wait_assumed(c->leases, &r->session->holder, &o->wait))
		core_poison(c, -ENOMEM);
	set_late(c, o);
}

/* Others' leases on what was touched end before it is answered. */
static void withhold(struct core *c, struct req *r, struct out *o,
		     const struct ns_touched *t)
{
	const struct holder *h = &r->session->holder;
	int err = 0;

	for (unsigned i = 0; !err && i < t->n; i++)
		err = leases_touch(c->leases, h, t->ino[i], o->order,
				   &o->wait);
	if (!err && t->n)
		err = leases_wait_assumed(c->leases, h, &o->wait);
	if (err)
		core_poison(c, err);
}

static int lease_attrs(struct core *c, struct session *s, struct out *o,
		       const struct change *ch, union change_r *m)
{
	int err = 0;

	o->n_inos = ch->n_attrs;
	for (unsigned i = 0; !err && i < ch->n_attrs; i++) {
		o->inos[i] = attr_at(ch, m, i)->ino;
		err = core_lease(c, s, o->inos[i]);
	}
	return err;
}

static void first_time(struct core *c, struct req *r, uint64_t seq,
		       const struct change *ch)
{
	const struct m_error none = { .text = str_of("") };
	struct ns_touched t = { .n = 0 };
	union change_r m;
	struct wr w = WR_INIT;
	struct reply rep;
	struct out *o;
	int err, lost;

	err = ch->apply(c, r, &m, &t);
	lost = err ? m_error_encode(&w, &none) : ch->encode(&w, &m);
	rep = (struct reply){ r->type | M_REPLY, status_of_errno(err), w.p,
			      w.len };
	if (!lost)
		lost = sessions_record(c->sessions, r->session, seq, &rep);
	if (lost)	/* a full disk may have undone the whole batch */
		core_poison(c, err ? err : lost);
	o = put(c, r, seq, &rep);
	if (o && !err) {
		withhold(c, r, o, &t);
		core_poison(c, lease_attrs(c, r->session, o, ch, &m));
		set_late(c, o);
	}
	wr_fini(&w);
}

void core_change(struct core *c, struct req *r)
{
	const struct change *ch = change_of(r->type);
	struct reply rep;
	struct rd rd;
	uint64_t seq, ack;
	int got;

	rd_init(&rd, r->body, r->len);
	seq = rd_u64(&rd);
	ack = rd_u64(&rd);
	if (!ch || rd.bad || !r->number) {
		core_fail(c, r, ch ? -EBADMSG : -ENOSYS);
		return;
	}
	got = sessions_check(c->sessions, r->session, seq, ack, &r->arena,
			     &rep);
	if (got == SEQ_NEW)
		first_time(c, r, seq, ch);
	else if (got == SEQ_KNOWN)
		again(c, r, seq, &rep);
	else if (got == SEQ_STALE)
		core_fail(c, r, -ESTALE);
	else
		core_fail(c, r, got);
}

/* -------------------------------------------------------------- refreshing */

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

		err = ns_getattr(c->ns, attr_at(ch, &m, i)->ino, &now);
		if (!err)
			*attr_at(ch, &m, i) = now;
		if (err == -ENOENT || err == -ESTALE)
			err = 0;	/* it is gone: nothing can change */
	}
	if (!err)
		err = lease_attrs(c, s, o, ch, &m);
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
	const struct change *ch = change_of(o->type & ~M_REPLY);
	struct arena a = ARENA_INIT;

	if (ch && o->status == ST_OK)
		core_poison(c, refresh(c, o, ch, &a));
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
