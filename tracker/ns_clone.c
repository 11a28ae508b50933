/*
 * Clones: slices of one file that name the chunks of another.
 *
 * A step goes up to the next border of a slot, of either file, or over a hole
 * of the source; a request does steps until its budget is used up.  What the
 * target had there is taken away before, so that holes need no zeros.
 */
#include <errno.h>
#include <stdlib.h>

#include "ns_internal.h"
#include "slices.h"

struct cloning {
	struct ns *ns;
	struct ns_inode from, to;
	struct ns_now now;
	uint64_t from_off, off;	/* of the request */
	uint64_t len, done;
	uint32_t budget;
	struct ns_stack src, dst;
	struct m_clone_r *out;
};

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The next @len bytes are a hole. */
static int clone_hole(struct cloning *c, uint64_t len)
{
	uint64_t off = c->off + c->done;
	int err;

	err = ns_hole(c->ns, &c->to, &off, off + len, &c->budget, c->now);
	c->done = off - c->off;
	return err;
}

static void note_deep(struct cloning *c)
{
	struct m_clone_r *out = c->out;

	if (c->dst.n <= NS_DEEP || out->n_deep == NS_CLONE_SLICES)
		return;
	if (!out->n_deep || out->deep[out->n_deep - 1] != c->dst.index)
		out->deep[out->n_deep++] = c->dst.index;
}

/* @v, in place of what [pos, pos+len) of the slot in c->dst had. */
static int put_slices(struct cloning *c, const struct m_slice *v, size_t n,
		      uint32_t pos, uint32_t len)
{
	size_t i;
	int err = 0;

	/* references first: what goes may be the last of the same chunk */
	for (i = 0; !err && i < n; i++)
		err = ns_chunk_share(c->ns, v[i].chunk);
	if (!err)
		err = ns_stack_hole(c->ns, &c->to, &c->dst, pos, pos + len,
				    c->now);
	for (i = 0; !err && i < n; i++) {
		struct ns_slice s = { v[i], c->to.map };

		err = ns_stack_push(c->ns, &c->dst, &s, c->now);
	}
	if (!err)
		err = ns_stack_save(c->ns, &c->to, &c->dst);
	if (!err)
		note_deep(c);
	return err;
}

/* The next @len bytes, from @pos in the slot in c->src. */
static int clone_part(struct cloning *c, uint32_t pos, uint32_t len)
{
	uint64_t off = c->off + c->done;
	uint32_t at = (uint32_t)(off % c->to.a.slot_size);
	struct m_slice *all = ns_stack_slices(&c->src), *v = NULL;
	size_t n = 0;
	int err = all ? slices_take(all, c->src.n, pos, len, at, &v, &n)
		      : -ENOMEM;

	free(all);
	if (!err)
		err = ns_stack_load(c->ns, &c->to, off / c->to.a.slot_size,
				    &c->dst);
	if (!err && c->dst.n + n > NS_CLONE_DEEP)
		err = -EOPNOTSUPP;
	if (!err)
		err = put_slices(c, v, n, at, len);
	free(v);
	if (err)
		return err;
	c->done += len;
	n += 1 + c->src.n / 8;	/* what that took, about */
	c->budget -= n < c->budget ? (uint32_t)n : c->budget;
	return 0;
}

static int clone_step(struct cloning *c)
{
	uint32_t from_size = c->from.a.slot_size, size = c->to.a.slot_size;
	uint64_t at = c->from_off + c->done, left = c->len - c->done;
	uint32_t pos = (uint32_t)(at % from_size);
	int got;

	got = ns_stack_next(c->ns, &c->from, at / from_size, &c->src);
	if (got < 0)
		return got;
	if (!got)
		return clone_hole(c, left);
	if (c->src.index > at / from_size)
		return clone_hole(c, least(left, c->src.index * from_size -
						 at));
	left = least(left, from_size - pos);
	left = least(left, size - (c->off + c->done) % size);
	return clone_part(c, pos, (uint32_t)left);
}

/* Whatever can be done; a part is better than an error. */
static int clone_steps(struct cloning *c)
{
	int err = 0;

	c->to.map++;
	while (!err && c->done < c->len && c->budget)
		err = clone_step(c);
	if (err == -EOPNOTSUPP && c->done)
		err = 0;
	if (!err && c->to.a.size < c->off + c->done)
		c->to.a.size = c->off + c->done;
	return err;
}

static int clone_all(struct cloning *c, const struct m_clone *m,
		     struct ns_touched *t)
{
	const struct m_attr was = c->to.a;
	int err = c->len ? clone_steps(c) : 0;

	if (err || !c->len)
		return err;
	if (m->clear_suid)
		ns_kill_suid(&c->to, m->clear_suid & CLEAR_SGID);
	err = ns_kill_caps(c->ns, &c->to);
	ns_new_content(&c->to, c->now);
	ns_touch_attr(t, &was, &c->to.a);
	return err ? err : ns_inode_put(c->ns, &c->to);
}

static int clone_check(struct cloning *c, const struct m_clone *m)
{
	uint64_t gap = m->off > m->from_off ? m->off - m->from_off
					    : m->from_off - m->off;
	int err = ns_file_get(c->ns, m->from, &c->from);

	if (!err)
		err = ns_file_get(c->ns, m->ino, &c->to);
	if (err)
		return err;
	if (m->from_off < c->from.a.size)
		c->len = least(m->len, c->from.a.size - m->from_off);
	if (m->ino == m->from && gap < c->len)
		return -EINVAL;
	if (m->off > NS_SIZE_MAX || c->len > NS_SIZE_MAX - m->off)
		return -EFBIG;
	return 0;
}

int ns_clone(struct ns *ns, struct arena *a, const struct m_clone *m,
	     struct ns_now now, struct m_clone_r *out, struct ns_touched *t)
{
	struct cloning c = { .ns = ns, .now = now, .from_off = m->from_off,
			     .off = m->off, .budget = NS_CLONE_SLICES,
			     .out = out };
	struct ns_undo u;
	int err;

	err = clone_check(&c, m);
	if (err)
		return err;
	*out = (struct m_clone_r){
		.deep = arena_alloc(a, NS_CLONE_SLICES * sizeof(uint64_t)),
	};
	if (!out->deep)
		return -ENOMEM;
	err = ns_op_begin(ns, &u, t);
	if (err)
		return err;
	err = clone_all(&c, m, t);
	ns_stack_fini(&c.src);
	ns_stack_fini(&c.dst);
	err = ns_op_end(ns, &u, t, err);
	out->attr = c.to.a;
	out->done = c.done;
	out->more = c.done < c.len;
	return err;
}
