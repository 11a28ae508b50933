/* fallocate: bytes become holes; lseek: where bytes are none. */
#include <errno.h>
#include <stdlib.h>

#include "ns_internal.h"
#include "slices.h"

#define MODES (ALLOCATE_KEEP_SIZE | ALLOCATE_PUNCH | ALLOCATE_ZERO)

/* ------------------------------------------------------------------ holes */

static int has_slice_in(const struct ns_stack *st, uint32_t pos, uint32_t end)
{
	uint32_t i;

	for (i = 0; i < st->n; i++) {
		const struct m_slice *s = &st->v[i].s;

		if (s->pos < end && s->pos + s->len > pos)
			return 1;
	}
	return 0;
}

/* What is seen before @pos and from @end on, as slices. */
static int take_around(const struct ns_stack *st, uint32_t slot_size,
		       uint32_t pos, uint32_t end, struct m_slice *out[2],
		       size_t n[2])
{
	struct m_slice *v = ns_stack_slices(st);
	int err;

	if (!v)
		return -ENOMEM;
	err = slices_take(v, st->n, 0, pos, 0, &out[0], &n[0]);
	if (!err)
		err = slices_take(v, st->n, end, slot_size - end, end, &out[1],
				  &n[1]);
	free(v);
	return err;
}

int ns_stack_hole(struct ns *ns, const struct ns_inode *in,
		  struct ns_stack *st, uint32_t pos, uint32_t end,
		  struct ns_now now)
{
	const struct ns_slice zeros = {
		.s = { .pos = pos, .len = end - pos }, .pushed = in->map,
	};
	struct m_slice *part[2] = { 0 }, *v;
	size_t n[2] = { 0 }, i;
	int err;

	if (!has_slice_in(st, pos, end))
		return 0;
	err = take_around(st, in->a.slot_size, pos, end, part, n);
	v = malloc((n[0] + n[1] + 1) * sizeof(*v));
	if (!err && !v)
		err = -ENOMEM;
	if (!err && (n[0] + n[1] <= NS_HOLE_DEEP || n[0] + n[1] <= st->n)) {
		for (i = 0; i < n[0] + n[1]; i++)
			v[i] = i < n[0] ? part[0][i] : part[1][i - n[0]];
		err = ns_stack_replace(ns, in, st, v, (uint32_t)i, now);
	} else if (!err) {	/* too many pieces: hidden, not taken away */
		err = st->n < NS_HOLE_DEEP ?
		      ns_stack_push(ns, st, &zeros, now) : -EOPNOTSUPP;
	}
	free(part[0]);
	free(part[1]);
	free(v);
	return err;
}

static int slot_hole(struct ns *ns, struct ns_inode *in, uint64_t index,
		     uint32_t pos, uint32_t end, struct ns_now now)
{
	struct ns_stack st = { 0 };
	int err;

	err = ns_stack_load(ns, in, index, &st);
	if (!err && st.version && has_slice_in(&st, pos, end)) {
		err = ns_stack_hole(ns, in, &st, pos, end, now);
		if (!err)
			err = ns_stack_save(ns, in, &st);
	}
	ns_stack_fini(&st);
	return err;
}

/* Whole slots of [*off, end), which begins with one. */
static int drop_slots(struct ns *ns, struct ns_inode *in, uint64_t *off,
		      uint64_t end, uint32_t *budget, struct ns_now now)
{
	uint64_t first = *off / in->a.slot_size, stop = end / in->a.slot_size;
	int n = ns_slots_drop(ns, in, &first, stop, *budget, now);

	if (n < 0)
		return n;
	*off = ((uint32_t)n < *budget ? stop : first) * in->a.slot_size;
	*budget -= (uint32_t)n;
	return 0;
}

int ns_hole(struct ns *ns, struct ns_inode *in, uint64_t *off, uint64_t end,
	    uint32_t *budget, struct ns_now now)
{
	uint64_t last = end < in->a.size ? end : in->a.size;
	uint32_t size = in->a.slot_size;
	int err = 0;

	while (!err && *off < last && *budget) {
		uint32_t pos = (uint32_t)(*off % size), stop = size;

		if (!pos && last - *off >= size) {
			err = drop_slots(ns, in, off, last, budget, now);
			continue;
		}
		if (size - pos > last - *off)
			stop = pos + (uint32_t)(last - *off);
		err = slot_hole(ns, in, *off / size, pos, stop, now);
		if (!err)
			*off += stop - pos;
		--*budget;
	}
	if (!err && *off >= last)
		*off = end;
	return err;
}

/* --------------------------------------------------------------- allocate */

static int allocate_check(const struct m_allocate *m)
{
	if (m->mode & ~(uint32_t)MODES || !m->len)
		return -EINVAL;
	if (m->mode & ALLOCATE_PUNCH &&
	    m->mode != (ALLOCATE_PUNCH | ALLOCATE_KEEP_SIZE))
		return -EINVAL;
	if (m->off > NS_SIZE_MAX || m->len > NS_SIZE_MAX - m->off)
		return -EFBIG;
	return 0;
}

static int allocate(struct ns *ns, struct ns_inode *in,
		    const struct m_allocate *m, struct ns_now now,
		    uint64_t *done)
{
	uint64_t off = m->off, end = m->off + m->len;
	uint32_t budget = NS_HOLE_SLOTS;
	int err = 0;

	if (m->mode & (ALLOCATE_PUNCH | ALLOCATE_ZERO)) {
		in->map++;
		err = ns_hole(ns, in, &off, end, &budget, now);
		if (err == -EOPNOTSUPP && off > m->off)
			err = 0;	/* a part is better than an error */
	} else {
		off = end;	/* room is reserved nowhere */
	}
	if (off == end && end > in->a.size && !(m->mode & ALLOCATE_KEEP_SIZE))
		in->a.size = end;
	if (m->clear_suid)
		ns_kill_suid(in, m->clear_suid & CLEAR_SGID);
	if (!err)
		err = ns_kill_caps(ns, in);
	ns_new_content(in, now);
	*done = off - m->off;
	return err ? err : ns_inode_put(ns, in);
}

int ns_allocate(struct ns *ns, const struct m_allocate *m, struct ns_now now,
		struct m_allocate_r *out, struct ns_touched *t)
{
	struct ns_inode in;
	struct m_attr was;
	struct ns_undo u;
	uint64_t done;
	int err;

	err = allocate_check(m);
	if (!err)
		err = ns_file_get(ns, m->ino, &in);
	if (!err)
		err = ns_op_begin(ns, &u, t);
	if (err)
		return err;
	was = in.a;
	err = allocate(ns, &in, m, now, &done);
	ns_touch_attr(t, &was, &in.a);
	err = ns_op_end(ns, &u, t, err);
	if (!err)
		*out = (struct m_allocate_r){ .attr = in.a, .done = done };
	return err;
}

/* ------------------------------------------------------------------- seek */

enum { SEEK_NONE, SEEK_FOUND, SEEK_ON };	/* seekmap_r.state */

/* In [pos, end) of a slot, the first byte that is data or (@hole) none; @end
 * if there is no such. */
static int first_in(const struct ns_stack *st, uint32_t pos, uint32_t end,
		    int hole, uint32_t *out)
{
	struct m_slice *v = ns_stack_slices(st);
	struct piece *pieces = NULL;
	size_t i, n = 0;
	int err = v ? slices_resolve(v, st->n, pos, end - pos, &pieces, &n)
		    : -ENOMEM;

	*out = end;
	for (i = 0; !err && i < n; i++)
		if (!pieces[i].chunk == !!hole) {
			*out = pieces[i].pos;
			break;
		}
	free(pieces);
	free(v);
	return err == -EBADMSG ? ns_damaged("a slot with index", st->index)
			       : err;
}

/* One slot on: *@off behind what was looked at, or found. */
static int seek_step(struct ns *ns, const struct ns_inode *in, int hole,
		     struct ns_stack *st, uint64_t *off)
{
	uint64_t index = *off / in->a.slot_size, base;
	uint32_t pos = (uint32_t)(*off % in->a.slot_size);
	uint32_t end = in->a.slot_size, at;
	int got = ns_stack_next(ns, in, index, st), err;

	if (got < 0)
		return got;
	if (!got || (hole && st->index > index))
		return hole ? SEEK_FOUND : SEEK_NONE;
	if (st->index > index)
		pos = 0;
	base = st->index * in->a.slot_size;
	if (in->a.size - base < end)
		end = (uint32_t)(in->a.size - base);
	err = first_in(st, pos, end, hole, &at);
	if (err)
		return err;
	*off = base + at;
	if (at < end || (hole && *off == in->a.size))
		return SEEK_FOUND;
	return *off < in->a.size ? SEEK_ON : SEEK_NONE;
}

int ns_seek(struct ns *ns, const struct m_seekmap *m, struct m_seekmap_r *out)
{
	struct ns_stack st = { 0 };
	struct ns_inode in;
	uint64_t off = m->off;
	uint32_t i;
	int state = SEEK_ON, err;

	err = ns_file_get(ns, m->ino, &in);
	if (err)
		return err;
	if (off >= in.a.size)
		state = SEEK_NONE;
	/* deep ones count for more */
	for (i = 0; state == SEEK_ON && i < NS_SEEK_SLOTS; i += 1 + st.n / 8)
		state = seek_step(ns, &in, m->hole, &st, &off);
	ns_stack_fini(&st);
	if (state < 0)
		return state;
	*out = (struct m_seekmap_r){ .state = (uint8_t)state, .off = off,
				     .attr = in.a };
	return 0;
}
