#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ns_internal.h"

/* --------------------------------------------------------------- packing */

int ns_slices_count(size_t len, uint32_t *n)
{
	if (len % NS_SLICE_BYTES || len / NS_SLICE_BYTES > NS_STACK_MAX)
		return -EIO;
	*n = (uint32_t)(len / NS_SLICE_BYTES);
	return 0;
}

void ns_slices_unpack(const void *blob, uint32_t n, struct m_slice *v)
{
	const uint8_t *p = blob;
	uint32_t i;

	for (i = 0; i < n; i++, p += NS_SLICE_BYTES)
		v[i] = (struct m_slice){
			.pos = get_u32(p),
			.len = get_u32(p + 4),
			.chunk = get_u64(p + 8),
			.off = get_u32(p + 16),
		};
}

static void pack(uint8_t *p, const struct m_slice *v, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++, p += NS_SLICE_BYTES) {
		put_u32(p, v[i].pos);
		put_u32(p + 4, v[i].len);
		put_u64(p + 8, v[i].chunk);
		put_u32(p + 16, v[i].off);
	}
}

/* ---------------------------------------------------------------- stacks */

uint64_t ns_stack_bytes(const struct ns_stack *st, uint32_t slot_size)
{
	uint64_t sum = 0;
	uint32_t i;

	for (i = 0; i < st->n; i++)
		if (st->v[i].chunk)
			sum += st->v[i].len;
	return sum < slot_size ? sum : slot_size;
}

void ns_stack_fini(struct ns_stack *st)
{
	free(st->v);
	free(st->packed);
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

/* The stack in columns 0 (slot), 1 (version), 2 (slices) of the row. */
static int stack_read(struct db_stmt *s, const struct ns_inode *in,
		      struct ns_stack *st)
{
	const void *blob;
	uint32_t n;
	size_t len;
	int err;

	blob = db_blob(s, 2, &len);
	if (ns_slices_count(len, &n))
		return ns_damaged("a slot of inode", in->a.ino);
	err = stack_room(st, n);
	if (err)
		return err;
	ns_slices_unpack(blob, n, st->v);
	st->n = n;
	st->index = db_u64(s, 0);
	st->version = db_u64(s, 1);
	st->bytes = ns_stack_bytes(st, in->a.slot_size);
	return 0;
}

int ns_stack_load(struct ns *ns, const struct ns_inode *in, uint64_t index,
		  struct ns_stack *st)
{
	struct db_stmt *s;
	int got;

	s = db_prep(ns->db, "SELECT slot,version,slices FROM slots "
			    "WHERE ino=?1 AND slot=?2");
	db_bind_u64(s, 1, in->a.ino);
	db_bind_u64(s, 2, index);
	got = db_step(s);
	if (got < 0)
		return got;
	if (!got) {
		st->index = index;
		st->version = 0;
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

	while (i < st->n && !st->v[i].chunk)
		i++;
	if (i)
		memmove(st->v, st->v + i, (st->n - i) * sizeof(*st->v));
	st->n -= i;
}

int ns_stack_push(struct ns *ns, struct ns_stack *st, const struct m_slice *s,
		  struct ns_now now)
{
	uint32_t i, kept = 0;
	int err;

	for (i = 0; i < st->n; i++) {
		const struct m_slice *v = &st->v[i];

		if (v->pos < s->pos || v->len > s->len ||
		    v->pos - s->pos > s->len - v->len) {
			st->v[kept++] = *v;
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

int ns_stack_cut(struct ns *ns, struct ns_stack *st, uint32_t len,
		 struct ns_now now)
{
	uint32_t i, kept = 0;
	int err;

	for (i = 0; i < st->n; i++) {
		struct m_slice v = st->v[i];

		if (v.pos >= len) {
			err = ns_chunk_unref(ns, v.chunk, now);
			if (err)
				return err;
			continue;
		}
		if (v.len > len - v.pos)
			v.len = len - v.pos;
		st->v[kept++] = v;
	}
	st->n = kept;
	drop_bottom_zeros(st);
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
	s = db_prep(ns->db, "REPLACE INTO slots VALUES(?1,?2,?3,?4)");
	db_bind_u64(s, 1, in->a.ino);
	db_bind_u64(s, 2, st->index);
	db_bind_u64(s, 3, in->map);
	db_bind_blob(s, 4, st->packed, (size_t)st->n * NS_SLICE_BYTES);
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

static int unref_all(struct ns *ns, const struct ns_stack *st,
		     struct ns_now now)
{
	uint32_t i;
	int err = 0;

	for (i = 0; !err && i < st->n; i++)
		err = ns_chunk_unref(ns, st->v[i].chunk, now);
	return err;
}

int ns_slots_drop(struct ns *ns, struct ns_inode *in, uint64_t first,
		  uint32_t most, struct ns_now now)
{
	struct ns_stack st = { 0 };
	struct db_stmt *s;
	int err, got, n = 0;

	s = db_prep(ns->db, "SELECT slot,version,slices FROM slots "
			    "WHERE ino=?1 AND slot>=?2 ORDER BY slot "
			    "LIMIT ?3");
	db_bind_u64(s, 1, in->a.ino);
	db_bind_u64(s, 2, first);
	db_bind_u64(s, 3, most);
	while ((got = db_step(s)) == 1) {
		err = stack_read(s, in, &st);
		if (!err)
			err = unref_all(ns, &st, now);
		if (err) {
			db_reset(s);
			got = err;
			break;
		}
		account(ns, in, st.bytes, 0);
		n++;
	}
	if (!got && n)
		got = row_del(ns, in->a.ino, first, st.index);
	ns_stack_fini(&st);
	return got ? got : n;
}

int ns_slots_cut(struct ns *ns, struct ns_inode *in, uint64_t size,
		 struct ns_now now)
{
	uint64_t index = size / in->a.slot_size;
	uint32_t len = (uint32_t)(size % in->a.slot_size);
	struct ns_stack st = { 0 };
	int err, n;

	in->map++;
	do
		n = ns_slots_drop(ns, in, len ? index + 1 : index,
				  NS_REAP_SLOTS, now);
	while (n == NS_REAP_SLOTS);
	if (n < 0 || !len)
		return n < 0 ? n : 0;
	err = ns_stack_load(ns, in, index, &st);
	if (!err && st.version)
		err = ns_stack_cut(ns, &st, len, now);
	if (!err && st.version)
		err = ns_stack_save(ns, in, &st);
	ns_stack_fini(&st);
	return err;
}
