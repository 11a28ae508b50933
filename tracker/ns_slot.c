#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ns_internal.h"
#include "slices.h"

/* --------------------------------------------------------------- packing */

int ns_slices_count(size_t len, uint32_t *n)
{
	if (len % NS_SLICE_BYTES || len / NS_SLICE_BYTES > NS_STACK_MAX)
		return -EIO;
	*n = (uint32_t)(len / NS_SLICE_BYTES);
	return 0;
}

struct ns_slice ns_slices_get(const void *blob, uint32_t i)
{
	const uint8_t *p = (const uint8_t *)blob + (size_t)i * NS_SLICE_BYTES;

	return (struct ns_slice){
		.s = {
			.pos = get_u32(p),
			.len = get_u32(p + 4),
			.chunk = get_u64(p + 8),
			.off = get_u32(p + 16),
		},
		.pushed = get_u64(p + 20),
	};
}

static void pack(uint8_t *p, const struct ns_slice *v, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++, p += NS_SLICE_BYTES) {
		put_u32(p, v[i].s.pos);
		put_u32(p + 4, v[i].s.len);
		put_u64(p + 8, v[i].s.chunk);
		put_u32(p + 16, v[i].s.off);
		put_u64(p + 20, v[i].pushed);
	}
}

/* ---------------------------------------------------------------- stacks */

uint64_t ns_stack_bytes(const struct ns_stack *st, uint32_t slot_size)
{
	uint64_t sum = 0;
	uint32_t i;

	for (i = 0; i < st->n; i++)
		if (st->v[i].s.chunk)
			sum += st->v[i].s.len;
	return sum < slot_size ? sum : slot_size;
}

void ns_stack_fini(struct ns_stack *st)
{
	free(st->v);
	free(st->packed);
}

struct m_slice *ns_stack_slices(const struct ns_stack *st)
{
	struct m_slice *v = malloc((st->n + 1) * sizeof(*v));
	uint32_t i;

	for (i = 0; v && i < st->n; i++)
		v[i] = st->v[i].s;
	return v;
}

static int stack_room(struct ns_stack *st, uint32_t n)
{
	uint32_t cap = st->cap ? st->cap : 16;
	void *p;

	if (n <= st->cap)
		return 0;
	while (cap < n)
		cap *= 2;
	p = realloc(st->v, cap * sizeof(*st->v));
	if (!p)
		return -ENOMEM;
	st->v = p;
	p = realloc(st->packed, (size_t)cap * NS_SLICE_BYTES);
	if (!p)
		return -ENOMEM;
	st->packed = p;
	st->cap = cap;
	return 0;
}

/* What stack_read() wants of the table slots. */
#define COLUMNS "slot,version,base,slices"

static int stack_read(struct db_stmt *s, const struct ns_inode *in,
		      struct ns_stack *st)
{
	const void *blob;
	uint32_t i, n;
	size_t len;
	int err;

	blob = db_blob(s, 3, &len);
	if (ns_slices_count(len, &n))
		return ns_damaged("a slot of inode", in->a.ino);
	err = stack_room(st, n);
	if (err)
		return err;
	for (i = 0; i < n; i++)
		st->v[i] = ns_slices_get(blob, i);
	st->n = n;
	st->index = db_u64(s, 0);
	st->version = db_u64(s, 1);
	st->base = db_u64(s, 2);
	st->bytes = ns_stack_bytes(st, in->a.slot_size);
	return 0;
}

int ns_stack_next(struct ns *ns, const struct ns_inode *in, uint64_t index,
		  struct ns_stack *st)
{
	struct db_stmt *s;
	int got, err;

	s = db_prep(ns->db, "SELECT " COLUMNS " FROM slots "
			    "WHERE ino=?1 AND slot>=?2 ORDER BY slot LIMIT 1");
	db_bind_u64(s, 1, in->a.ino);
	db_bind_u64(s, 2, ns_min_i63(index));
	got = db_step(s);
	if (got != 1)
		return got;
	err = stack_read(s, in, st);
	db_reset(s);
	return err ? err : 1;
}

int ns_stack_load(struct ns *ns, const struct ns_inode *in, uint64_t index,
		  struct ns_stack *st)
{
	struct db_stmt *s;
	int got;

	s = db_prep(ns->db, "SELECT " COLUMNS " FROM slots "
			    "WHERE ino=?1 AND slot=?2");
	db_bind_u64(s, 1, in->a.ino);
	db_bind_u64(s, 2, index);
	got = db_step(s);
	if (got < 0)
		return got;
	if (!got) {
		st->index = index;
		st->version = 0;
		st->base = in->map;	/* a new slot is a change, too */
		st->n = 0;
		st->bytes = 0;
		return 0;
	}
	got = stack_read(s, in, st);
	db_reset(s);
	return got;
}

/* Zeros at the bottom lie on a hole: they say nothing. */
static void drop_bottom_zeros(struct ns_stack *st)
{
	uint32_t i = 0;

	while (i < st->n && !st->v[i].s.chunk)
		i++;
	if (i)
		memmove(st->v, st->v + i, (st->n - i) * sizeof(*st->v));
	st->n -= i;
}

int ns_stack_push(struct ns *ns, struct ns_stack *st,
		  const struct ns_slice *s, struct ns_now now)
{
	const struct m_slice *top = &s->s;
	uint32_t i, kept = 0;
	int err;

	for (i = 0; i < st->n; i++) {
		const struct m_slice *v = &st->v[i].s;

		if (v->pos < top->pos || v->len > top->len ||
		    v->pos - top->pos > top->len - v->len) {
			st->v[kept++] = st->v[i];
			continue;
		}
		err = ns_chunk_unref(ns, v->chunk, now);
		if (err)
			return err;
	}
	st->n = kept;
	if (st->n >= NS_STACK_MAX)
		return -EBUSY;
	err = stack_room(st, st->n + 1);
	if (err)
		return err;
	st->v[st->n++] = *s;
	drop_bottom_zeros(st);
	return 0;
}

/* Nothing at or past @len any more. */
static int stack_cut(struct ns *ns, const struct ns_inode *in,
		     struct ns_stack *st, uint32_t len, struct ns_now now)
{
	uint32_t i, kept = 0;
	int err;

	for (i = 0; i < st->n; i++) {
		struct ns_slice v = st->v[i];

		if (v.s.pos >= len) {
			err = ns_chunk_unref(ns, v.s.chunk, now);
			if (err)
				return err;
			continue;
		}
		if (v.s.len > len - v.s.pos)
			v.s.len = len - v.s.pos;
		st->v[kept++] = v;
	}
	st->n = kept;
	drop_bottom_zeros(st);
	st->base = in->map;
	return 0;
}

static int unref_all(struct ns *ns, const struct ns_slice *v, uint32_t n,
		     struct ns_now now)
{
	uint32_t i;
	int err = 0;

	for (i = 0; !err && i < n; i++)
		err = ns_chunk_unref(ns, v[i].s.chunk, now);
	return err;
}

int ns_stack_replace(struct ns *ns, const struct ns_inode *in,
		     struct ns_stack *st, const struct m_slice *v, uint32_t n,
		     struct ns_now now)
{
	uint32_t i;
	int err = 0;

	/* references first: what goes may be the same chunks */
	for (i = 0; !err && i < n; i++)
		err = ns_chunk_share(ns, v[i].chunk);
	if (!err)
		err = unref_all(ns, st->v, st->n, now);
	if (!err)
		err = stack_room(st, n);
	if (err)
		return err;
	for (i = 0; i < n; i++)
		st->v[i] = (struct ns_slice){ v[i], in->map };
	st->n = n;
	st->base = in->map;
	return 0;
}

/* Do the slices together cover [pos, end)? */
static int is_covered(const struct ns_slice *v, uint32_t n, uint32_t pos,
		      uint32_t end)
{
	uint32_t i, was;

	do {
		was = pos;
		for (i = 0; i < n; i++)
			if (v[i].s.pos <= pos && v[i].s.len > pos - v[i].s.pos)
				pos = v[i].s.pos + v[i].s.len;
	} while (pos < end && pos > was);
	return pos >= end;
}

/* The runs of data that the @old lowest slices show of @whole, which is to be
 * in their place, as slices of its chunk; holes stay holes, unless there are
 * too many.  Runs that newer slices cover are left out: nothing of them would
 * be seen (but the holes between, and what zeros deleted that have sunk to the
 * bottom since, and are forgotten; only then can they: what is older lies
 * beneath them). */
static int merged_runs(const struct ns_stack *st, uint32_t old,
		       const struct m_slice *whole, struct m_slice *out,
		       uint32_t *n)
{
	struct m_slice *all = ns_stack_slices(st), *v = NULL;
	size_t i, n_v = 0;
	uint32_t kept = 0;
	int err = all ? slices_take(all, old, whole->pos, whole->len,
				    whole->pos, &v, &n_v) : -ENOMEM;

	for (i = 0; !err && i < n_v; i++) {
		if (kept && out[kept - 1].pos + out[kept - 1].len == v[i].pos)
			out[kept - 1].len += v[i].len;
		else if (kept == NS_MERGE_RUNS || kept == old)
			break;
		else
			out[kept++] = v[i];
	}
	if (i < n_v) {		/* too many */
		out[0] = *whole;
		kept = 1;
	}
	for (*n = i = 0; i < kept; i++) {
		uint32_t pos = out[i].pos, len = out[i].len;

		if (!is_covered(st->v + old, st->n - old, pos, pos + len))
			out[(*n)++] = (struct m_slice){
				pos, len, whole->chunk,
				whole->chunk ? whole->off + pos - whole->pos
					     : 0 };
	}
	free(all);
	free(v);
	return err;
}

int ns_stack_merge(struct ns *ns, const struct ns_inode *in,
		   struct ns_stack *st, uint64_t expect,
		   const struct m_push *p, uint32_t len, struct ns_now now)
{
	struct m_slice whole = { p->pos, len, p->chunk,
				 p->chunk ? p->off : 0 };
	struct m_slice runs[NS_MERGE_RUNS];
	struct m_push push = *p;
	uint32_t old = 0, n = 0, i;
	int err;

	while (old < st->n && st->v[old].pushed <= expect)
		old++;
	err = old ? merged_runs(st, old, &whole, runs, &n) : 0;
	/* the references first: what goes may be its own chunk */
	if (!err && n)
		err = ns_most_copies(ns, st->v, old, &push.copies);
	if (!err && n)
		err = ns_chunk_ref(ns, &push);
	for (i = 1; !err && i < n && p->chunk; i++)
		err = ns_chunk_share(ns, p->chunk);
	if (!err)
		err = unref_all(ns, st->v, old, now);
	if (err)
		return err;
	for (i = 0; i < n; i++)
		st->v[old - n + i] = (struct ns_slice){ runs[i], expect };
	old -= n;
	memmove(st->v, st->v + old, (st->n - old) * sizeof(*st->v));
	st->n -= old;
	drop_bottom_zeros(st);
	st->base = in->map;
	return 0;
}

static int row_del(struct ns *ns, uint64_t ino, uint64_t first, uint64_t last)
{
	struct db_stmt *s;

	s = db_prep(ns->db, "DELETE FROM slots "
			    "WHERE ino=?1 AND slot>=?2 AND slot<=?3");
	db_bind_u64(s, 1, ino);
	db_bind_u64(s, 2, first);
	db_bind_u64(s, 3, last);
	return db_run(s);
}

static int row_put(struct ns *ns, const struct ns_inode *in,
		   struct ns_stack *st)
{
	struct db_stmt *s;

	if (!st->n)
		return st->version ?
		       row_del(ns, in->a.ino, st->index, st->index) : 0;
	pack(st->packed, st->v, st->n);
	s = db_prep(ns->db, "REPLACE INTO slots VALUES(?1,?2,?3,?4,?5)");
	db_bind_u64(s, 1, in->a.ino);
	db_bind_u64(s, 2, st->index);
	db_bind_u64(s, 3, in->map);
	db_bind_u64(s, 4, st->base);
	db_bind_blob(s, 5, st->packed, (size_t)st->n * NS_SLICE_BYTES);
	return db_run(s);
}

static void account(struct ns *ns, struct ns_inode *in, uint64_t before,
		    uint64_t after)
{
	in->a.stored += after - before;		/* modulo 2^64 */
	ns->count.bytes += after - before;
}

int ns_stack_save(struct ns *ns, struct ns_inode *in, struct ns_stack *st)
{
	uint64_t after = ns_stack_bytes(st, in->a.slot_size);
	int err;

	err = row_put(ns, in, st);
	if (err)
		return err;
	account(ns, in, st->bytes, after);
	st->bytes = after;
	st->version = st->n ? in->map : 0;
	return 0;
}

/* ----------------------------------------------------------- many slots */

int ns_slots_drop(struct ns *ns, struct ns_inode *in, uint64_t *first,
		  uint64_t end, uint32_t most, struct ns_now now)
{
	struct ns_stack st = { 0 };
	struct db_stmt *s;
	int err, got, n = 0;

	s = db_prep(ns->db, "SELECT " COLUMNS " FROM slots "
			    "WHERE ino=?1 AND slot>=?2 AND slot<?3 "
			    "ORDER BY slot LIMIT ?4");
	db_bind_u64(s, 1, in->a.ino);
	db_bind_u64(s, 2, *first);
	db_bind_u64(s, 3, ns_min_i63(end));
	db_bind_u64(s, 4, most);
	while ((got = db_step(s)) == 1) {
		err = stack_read(s, in, &st);
		if (!err)
			err = unref_all(ns, st.v, st.n, now);
		if (err) {
			db_reset(s);
			got = err;
			break;
		}
		account(ns, in, st.bytes, 0);
		n++;
	}
	if (!got && n)
		got = row_del(ns, in->a.ino, *first, st.index);
	if (!got && n)
		*first = st.index + 1;
	ns_stack_fini(&st);
	return got ? got : n;
}

int ns_slots_cut(struct ns *ns, struct ns_inode *in, uint64_t size,
		 struct ns_now now)
{
	uint64_t index = size / in->a.slot_size;
	uint32_t len = (uint32_t)(size % in->a.slot_size);
	uint64_t first = len ? index + 1 : index;
	struct ns_stack st = { 0 };
	int err, n;

	in->map++;
	do
		n = ns_slots_drop(ns, in, &first, UINT64_MAX, NS_REAP_SLOTS,
				  now);
	while (n == NS_REAP_SLOTS);
	if (n < 0 || !len)
		return n < 0 ? n : 0;
	err = ns_stack_load(ns, in, index, &st);
	if (!err && st.version)
		err = stack_cut(ns, in, &st, len, now);
	if (!err && st.version)
		err = ns_stack_save(ns, in, &st);
	ns_stack_fini(&st);
	return err;
}
