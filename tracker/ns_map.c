#include <errno.h>
#include <stdlib.h>

#include "ns_internal.h"

/* ---------------------------------------------------------------- getmap */

static int slot_read(struct db_stmt *s, struct arena *a, uint64_t ino,
		     struct m_slot *out)
{
	const void *blob;
	uint32_t i;
	size_t len;

	*out = (struct m_slot){
		.index = db_u64(s, 0), .version = db_u64(s, 1),
	};
	blob = db_blob(s, 2, &len);
	if (ns_slices_count(len, &out->n_slices))
		return ns_damaged("a slot of inode", ino);
	out->slices = arena_alloc(a, (out->n_slices + 1) *
					     sizeof(*out->slices));
	if (!out->slices)
		return -ENOMEM;
	for (i = 0; i < out->n_slices; i++)
		out->slices[i] = ns_slices_get(blob, i).s;
	return 0;
}

/* The slots [first, last]; *@slices: how many slices they have together. */
static int read_slots(struct ns *ns, struct arena *a, uint64_t first,
		      uint64_t last, struct m_getmap_r *out, uint32_t *slices)
{
	uint64_t ino = out->attr.ino;
	struct db_stmt *s;
	int err, got;

	s = db_prep(ns->db, "SELECT slot,version,slices FROM slots "
			    "WHERE ino=?1 AND slot BETWEEN ?2 AND ?3 "
			    "ORDER BY slot");
	db_bind_u64(s, 1, ino);
	db_bind_u64(s, 2, first);
	db_bind_u64(s, 3, last);
	*slices = 0;
	while ((got = db_step(s)) == 1) {
		struct m_slot *slot = &out->slots[out->n_slots++];

		err = slot_read(s, a, ino, slot);
		if (!err && slot->n_slices > MSG_CHUNKS_MAX - *slices)
			err = -E2BIG;
		if (err) {
			db_reset(s);
			return err;
		}
		*slices += slot->n_slices;
	}
	return got;
}

static int by_id(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int read_chunks(struct ns *ns, struct arena *a, uint32_t slices,
		       struct m_getmap_r *out)
{
	uint64_t *ids = arena_alloc(a, ((size_t)slices + 1) * sizeof(*ids));
	uint32_t i, j, n = 0;
	int err;

	out->chunks = arena_alloc(a, ((size_t)slices + 1) *
					     sizeof(*out->chunks));
	if (!ids || !out->chunks)
		return -ENOMEM;
	for (i = 0; i < out->n_slots; i++)
		for (j = 0; j < out->slots[i].n_slices; j++)
			ids[n++] = out->slots[i].slices[j].chunk;
	qsort(ids, n, sizeof(*ids), by_id);
	for (i = 0; i < n; i++) {
		if (!ids[i] || (i && ids[i] == ids[i - 1]))
			continue;
		err = ns_chunk(ns, ids[i], &out->chunks[out->n_chunks++]);
		if (err)
			return err == -ENOENT ?
			       ns_damaged("no row of chunk", ids[i]) : err;
	}
	return 0;
}

int ns_getmap(struct ns *ns, struct arena *a, uint64_t ino, uint64_t first,
	      uint32_t count, struct m_getmap_r *out)
{
	struct ns_inode in;
	uint32_t slices;
	int err;

	if (count > MSG_SLOTS_MAX)
		return -EINVAL;
	err = ns_file_get(ns, ino, &in);
	if (err)
		return err;
	*out = (struct m_getmap_r){ .attr = in.a };
	if (!count || first > NS_SIZE_MAX - count)
		return 0;	/* no slot is there */
	out->slots = arena_alloc(a, count * sizeof(*out->slots));
	if (!out->slots)
		return -ENOMEM;
	err = read_slots(ns, a, first, first + count - 1, out, &slices);
	return err ? err : read_chunks(ns, a, slices, out);
}

/* ---------------------------------------------------------------- commit */

struct commit {
	struct ns *ns;
	struct ns_inode in;
	struct ns_now now;
	struct ns_stack st;	/* the slot that is being pushed to */
	int open;		/* there is one */
	struct m_commit_r *out;
};

/* Does the slice lie in its slot and its chunk? */
static int push_check(const struct m_push *p, uint32_t slot_size)
{
	if (!p->len || p->len > slot_size)
		return -EINVAL;
	if (!p->append && p->pos > slot_size - p->len)
		return -EINVAL;
	if (!p->chunk)
		return 0;
	if (p->chunk > INT64_MAX || p->chunk_len > slot_size ||
	    p->len > p->chunk_len || p->off > p->chunk_len - p->len)
		return -EINVAL;
	return 0;
}

/* Compacting costs the slot's bytes: one that is long bears more slices, so
 * that lines at the end of it do not each cost a part of it. */
static int is_deep(const struct ns_stack *st)
{
	uint32_t end = 0;

	for (uint32_t i = 0; i < st->n; i++)
		if (end < st->v[i].s.pos + st->v[i].s.len)
			end = st->v[i].s.pos + st->v[i].s.len;
	return st->n > NS_DEEP + end / NS_DEEP_BYTES;
}

static int slot_done(struct commit *c)
{
	struct m_commit_r *out = c->out;
	uint32_t i;

	if (!c->open)
		return 0;
	c->open = 0;
	if (is_deep(&c->st) && out->n_deep < MSG_PUSHES_MAX) {
		for (i = 0; i < out->n_deep; i++)
			if (out->deep[i] == c->st.index)
				break;
		if (i == out->n_deep)
			out->deep[out->n_deep++] = c->st.index;
	}
	return ns_stack_save(c->ns, &c->in, &c->st);
}

static int slot_open(struct commit *c, uint64_t index)
{
	int err;

	if (c->open && c->st.index == index)
		return 0;
	err = slot_done(c);
	if (!err)
		err = ns_stack_load(c->ns, &c->in, index, &c->st);
	c->open = !err;
	return err;
}

/* A piece of @p, @done bytes into it, that lies in one slot. */
static int push_piece(struct commit *c, const struct m_push *p, uint32_t done,
		      uint64_t at, uint32_t len)
{
	struct ns_slice s = {
		.s = {
			.pos = (uint32_t)(at % c->in.a.slot_size),
			.len = len,
			.chunk = p->chunk,
			.off = p->chunk ? p->off + done : 0,
		},
		.pushed = c->in.map,
	};
	int err;

	/* the reference first: what the slice covers may be its own chunk */
	err = ns_chunk_ref(c->ns, p);
	if (!err)
		err = slot_open(c, at / c->in.a.slot_size);
	if (!err)
		err = ns_stack_push(c->ns, &c->st, &s, c->now);
	return err;
}

static int push_one(struct commit *c, const struct m_push *p, uint64_t *placed)
{
	uint32_t slot_size = c->in.a.slot_size, done = 0, len;
	uint64_t at;
	int err;

	err = push_check(p, slot_size);
	if (err)
		return err;
	if (!p->append && p->slot > (NS_SIZE_MAX - p->pos) / slot_size)
		return -EFBIG;
	at = p->append ? c->in.a.size : p->slot * slot_size + p->pos;
	if (p->len > NS_SIZE_MAX - at)
		return -EFBIG;
	*placed = at;
	for (; !err && done < p->len; done += len, at += len) {
		len = slot_size - (uint32_t)(at % slot_size);
		if (len > p->len - done)
			len = p->len - done;
		err = push_piece(c, p, done, at, len);
	}
	if (at > c->in.a.size)
		c->in.a.size = at;
	return err;
}

static int push_all(struct commit *c, const struct m_commit *m)
{
	uint32_t i;
	int err = 0;

	if (!m->n_pushes)
		return 0;
	c->in.map++;
	for (i = 0; !err && i < m->n_pushes; i++)
		err = push_one(c, &m->pushes[i], &c->out->placed[i]);
	if (!err)
		err = slot_done(c);
	if (!err)
		err = ns_kill_caps(c->ns, &c->in);
	ns_new_content(&c->in, (struct ns_now){ m->mtime_s, m->mtime_ns });
	return err;
}

static int commit_all(struct commit *c, const struct m_commit *m,
		      struct ns_touched *t)
{
	const struct m_attr was = c->in.a;
	int err;

	c->out->before = c->in.a.version;
	err = push_all(c, m);
	if (m->clear_suid)
		ns_kill_suid(&c->in, m->clear_suid & CLEAR_SGID);
	if (was.mode != c->in.a.mode)
		ns_set_ctime(&c->in, c->now);
	if (!err && (m->n_pushes || was.mode != c->in.a.mode)) {
		ns_touch_attr(t, &was, &c->in.a);
		err = ns_inode_put(c->ns, &c->in);
	}
	c->out->attr = c->in.a;
	return err;
}

int ns_commit(struct ns *ns, struct arena *a, const struct m_commit *m,
	      struct ns_now now, struct m_commit_r *out,
	      struct ns_touched *t)
{
	struct commit c = { .ns = ns, .now = now, .out = out };
	struct ns_undo u;
	int err;

	if (m->n_pushes > MSG_PUSHES_MAX || !ns_time_ok(m->mtime_ns))
		return -EINVAL;
	/* a directory can be synced, but not written */
	err = m->n_pushes ? ns_file_get(ns, m->ino, &c.in)
			  : ns_inode_get(ns, m->ino, &c.in);
	if (!err && m->only && m->only != c.in.a.version)
		err = -ESTALE;
	if (err)
		return err;
	*out = (struct m_commit_r){
		.placed = arena_alloc(a, (m->n_pushes + 1) * sizeof(uint64_t)),
		.deep = arena_alloc(a, (m->n_pushes + 1) * 2 *
					       sizeof(uint64_t)),
		.n_placed = m->n_pushes,
	};
	if (!out->placed || !out->deep)
		return -ENOMEM;
	err = ns_op_begin(ns, &u, t);
	if (err)
		return err;
	err = commit_all(&c, m, t);
	ns_stack_fini(&c.st);
	return ns_op_end(ns, &u, t, err);
}

/* --------------------------------------------------------------- compact */

static int merge(struct ns *ns, struct ns_inode *in, struct ns_stack *st,
		 const struct m_compact *m, struct ns_now now)
{
	uint64_t left = in->a.size - st->index * in->a.slot_size;
	uint32_t len = m->push.len;
	int err;

	/* a compactor that padded to the slot's end must not make the file
	 * read anything but zeros when it grows */
	if (left <= m->push.pos)
		return -EINVAL;
	if (len > left - m->push.pos)
		len = (uint32_t)(left - m->push.pos);
	in->map++;
	err = ns_stack_merge(ns, in, st, m->expect, &m->push, len, now);
	if (!err)
		err = ns_stack_save(ns, in, st);
	return err ? err : ns_inode_put(ns, in);
}

static int compact(struct ns *ns, const struct m_compact *m,
		   struct ns_now now, struct ns_inode *in,
		   struct ns_stack *st, uint8_t *done)
{
	int err;

	err = ns_file_get(ns, m->ino, in);
	if (!err)
		err = push_check(&m->push, in->a.slot_size);
	if (!err && m->push.append)
		err = -EINVAL;
	if (!err)
		err = ns_stack_load(ns, in, m->push.slot, st);
	if (err)
		return err;
	*done = st->version && m->expect >= st->base &&
		m->expect <= st->version;
	return *done ? merge(ns, in, st, m, now) : 0;
}

int ns_compact(struct ns *ns, const struct m_compact *m, struct ns_now now,
	       struct m_compact_r *out, struct ns_touched *t)
{
	struct ns_stack st = { 0 };
	struct ns_inode in;
	struct ns_undo u;
	uint8_t done = 0;
	int err;

	err = ns_op_begin(ns, &u, t);
	if (err)
		return err;
	err = compact(ns, m, now, &in, &st, &done);
	ns_stack_fini(&st);
	if (!err && done)
		ns_touch(t, m->ino);
	err = ns_op_end(ns, &u, t, err);
	if (!err)
		*out = (struct m_compact_r){ .attr = in.a, .done = done };
	return err;
}
