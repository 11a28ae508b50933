/*
 * Changes.  Each is applied once, and its answer recorded with it; asked for
 * again it gets the recorded answer.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "core_change.h"
#include "counters.h"

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
	if (t->n < NS_TOUCHED_MAX) {
		t->ino[t->n] = ino;
		t->also[t->n++] = 0;
	}
	return 0;
}

static int apply_mknod(struct core *c, struct req *r, union change_r *out,
		       struct ns_touched *t)
{
	struct m_mknod m;
	int err = m_mknod_decode(&m, &r->arena, r->body, r->len);

	if (!err)
		err = ns_mknod(c->ns, &m, core_ns_now(c), &out->mknod, t);
	if (!err && m.tmpfile)
		err = bereave(c, r, out->mknod.attr.ino, t);
	return err;
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

	if (!err)
		err = ns_link(c->ns, &m, core_ns_now(c), &out->link, t);
	if (!err)
		core_orphan_named(c, m.ino);
	return err;
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
	err = ns_copies(c->ns, m.push.chunk, &m.push.copies);
	if (!err || err == -ENOENT)	/* it was not needed any more */
		err = core_stored(c, &m.push);
	if (err)
		core_poison(c, err);
	return err;
}

/* Is there clearly no room for what is to be allocated?  None is reserved. */
static int room_for(struct core *c, const struct m_allocate *m)
{
	struct m_attr attr;
	uint64_t have;
	int err;

	if (m->mode & ALLOCATE_PUNCH)
		return 0;
	err = ns_getattr(c->ns, m->ino, &attr);
	if (err)
		return err;
	have = attr.stored;	/* some of it is elsewhere in the file */
	if (m->len > have && m->len - have > core_room(c))
		return -ENOSPC;
	return 0;
}

static int apply_allocate(struct core *c, struct req *r, union change_r *out,
			  struct ns_touched *t)
{
	struct m_allocate m;
	int err = m_allocate_decode(&m, &r->arena, r->body, r->len);

	if (!err)
		err = room_for(c, &m);
	return err ? err : ns_allocate(c->ns, &m, core_ns_now(c),
				       &out->allocate, t);
}

static int apply_clone(struct core *c, struct req *r, union change_r *out,
		       struct ns_touched *t)
{
	struct m_clone m;
	int err = m_clone_decode(&m, &r->arena, r->body, r->len);

	return err ? err : ns_clone(c->ns, &r->arena, &m, core_ns_now(c),
				    &out->clone, t);
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
CODEC(allocate)
CODEC(clone)

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
	CHANGE(allocate, 1, AT(allocate, attr)),
	CHANGE(clone, 1, AT(clone, attr)),
};

const struct change *core_change_of(uint16_t type)
{
	for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++)
		if (changes[i].type == type)
			return &changes[i];
	return NULL;
}

struct m_attr *core_attr_at(const struct change *ch, union change_r *m,
			      unsigned i)
{
	return (struct m_attr *)((char *)m + ch->attrs[i]);
}

/* ---------------------------------------------------------------- serving */

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

	if (db_full(c->db)) {
		core_fail(c, r, core_no_room(c, r));
		return;
	}
	err = ch->apply(c, r, &m, &t);
	lost = err ? m_error_encode(&w, &none) : ch->encode(&w, &m);
	rep = (struct reply){ r->type | M_REPLY, status_of_errno(err), w.p,
			      w.len };
	if (!lost)
		lost = sessions_record(c->sessions, r->session, seq, &rep);
	if (lost)	/* a full disk may have undone the whole batch */
		core_poison(c, err ? err : lost);
	o = core_put_change(c, r, seq, &rep);
	if (o && !err) {
		core_withhold(c, r, o, &t);
		if (r->type == M_unlink)
			core_withhold_more(c, r, o, m.unlink.parent.ino);
		core_poison(c, core_lease_attrs(c, r->session, o, ch, &m));
		core_set_late(c, o);
	}
	wr_fini(&w);
}

/*
 * Was the file without a name deleted that this answer tells of?  Its session
 * did not hear of it, so said with its hello that it has no such file open,
 * and then nobody has.  Another is as good: nobody has seen that one.
 */
static int made_in_vain(struct core *c, struct req *r, const struct reply *rep)
{
	struct m_mknod_r made;
	struct m_mknod m;
	struct m_attr attr;

	if (r->type != M_mknod || rep->status != ST_OK ||
	    m_mknod_decode(&m, &r->arena, r->body, r->len) || !m.tmpfile ||
	    m_mknod_r_decode(&made, &r->arena, rep->body, rep->len))
		return 0;
	return ns_getattr(c->ns, made.attr.ino, &attr) == -ENOENT;
}

void core_change(struct core *c, struct req *r)
{
	const struct change *ch = core_change_of(r->type);
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
	if (got == SEQ_KNOWN && rep.type != (r->type | M_REPLY))
		got = core_refuse(r, ST_PROTO, "this number was given to "
				  "another change: report this with both logs");
	if (got == SEQ_NEW ||
	    (got == SEQ_KNOWN && made_in_vain(c, r, &rep)))
		first_time(c, r, seq, ch);
	else if (got == SEQ_KNOWN)
		core_again(c, r, seq, &rep);
	else if (got == SEQ_STALE)
		core_fail(c, r, -ESTALE);
	else
		core_fail(c, r, got);
}
