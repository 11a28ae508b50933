/* unit_ns_chunk -- compact, reap, chunks, garbage. */
#include "ns_fixture.h"

static void orphans_take_commits(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f");
	struct m_push p = fix_push(f, 0, 0, 64);

	assert_int_equal(fix_unlink(f, 1, "f", 0), 0);
	assert_int_equal(fix_commit(f, ino, &p, 1, NULL), 0);
	assert_int_equal(fix_truncate(f, ino, 10), 0);
	assert_int_equal(fix_map(f, ino).slots[0].slices[0].len, 10);
	assert_int_equal(ns_reap(f->ns, ino, fix_now(f)), 0);
	assert_int_equal(fix_garbage(f), 1);
}

/* A file of more slots than one call takes. */
static void reaping_goes_in_parts(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f");
	static struct m_push p[MSG_PUSHES_MAX];
	struct ns_count c;
	int i;

	p[0] = fix_push(f, 0, 0, 64);
	for (i = 1; i < MSG_PUSHES_MAX; i++) {
		p[i] = p[0];
		p[i].slot = 3 * i;
	}
	assert_int_equal(fix_commit(f, ino, p, MSG_PUSHES_MAX, NULL), 0);
	for (i = 0; i < 100; i++)
		p[i].slot = 100000 + i;
	assert_int_equal(fix_commit(f, ino, p, 100, NULL), 0);
	assert_int_equal(fix_unlink(f, 1, "f", 0), 0);
	assert_int_equal(ns_reap(f->ns, ino, fix_now(f)), 1);
	fix_check(f);
	assert_int_equal(fix_attr(f, ino).stored, 6400);
	assert_int_equal(ns_reap(f->ns, ino, fix_now(f)), 0);
	ns_count(f->ns, &c);
	assert_int_equal(c.bytes, 0);
	assert_int_equal(c.files, 1);
	assert_int_equal(c.garbage, 1);
}

/* --------------------------------------------------------------- compact */

static int compact(struct fix *f, uint64_t ino, uint64_t expect,
		   struct m_push p, struct m_compact_r *r)
{
	struct m_compact m = { .ino = ino, .expect = expect, .push = p };

	return ns_compact(f->ns, &m, fix_now(f), r, fix_t(f));
}

static void compact_swaps_the_stack(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f"), version;
	struct m_push p[] = { fix_push(f, 1, 0, 40), fix_push(f, 1, 10, 20),
			      fix_push(f, 1, 50, 5) };
	struct m_push whole = fix_push(f, 1, 0, 64), late;
	struct m_attr was;
	struct m_compact_r r;
	struct m_getmap_r g;
	struct m_chunk c;

	assert_int_equal(fix_commit(f, ino, p, 3, NULL), 0);
	version = fix_map(f, ino).slots[0].version;
	was = fix_attr(f, ino);
	assert_int_equal(compact(f, ino, version, whole, &r), 0);
	assert_int_equal(r.done, 1);
	assert_true(fix_was_touched(f, ino));
	/* the content is the same, and so are its version and times */
	assert_int_equal(r.attr.version, was.version);
	assert_int_equal(r.attr.mtime_ns, was.mtime_ns);
	assert_int_equal(r.attr.size, was.size);
	assert_int_equal(r.attr.stored, 45);
	g = fix_map(f, ino);
	/* padded by the compactor, cut at the file's end; the hole is one */
	assert_int_equal(g.slots[0].n_slices, 2);
	fix_check_slice(&g.slots[0].slices[0], 0, 40, whole.chunk, 0);
	fix_check_slice(&g.slots[0].slices[1], 50, 5, whole.chunk, 50);
	assert_true(g.slots[0].version > version);
	assert_int_equal(fix_garbage(f), 3);

	late = fix_push(f, 1, 0, 55);
	assert_int_equal(compact(f, ino, version, late, &r), 0);
	assert_int_equal(r.done, 0);
	assert_int_equal(f->t.n, 0);
	assert_int_equal(ns_chunk(f->ns, late.chunk, &c), -ENOENT);
	late.slot = 8;			/* nothing is there */
	assert_int_equal(compact(f, ino, 0, late, &r), 0);
	assert_int_equal(r.done, 0);
	late.slot = UINT64_MAX;
	assert_int_equal(compact(f, ino, 0, late, &r), 0);
	assert_int_equal(r.done, 0);
	assert_int_equal(fix_map(f, ino).n_slots, 1);
}

/* A slot that was emptied and filled again is not the one that was read. */
static void compact_is_not_fooled_by_a_new_slot(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f"), version, i;
	struct m_push p = fix_push(f, 0, 0, 64), again;
	struct m_compact_r r;

	assert_int_equal(fix_commit(f, ino, &p, 1, NULL), 0);
	for (i = 0; i < 3; i++) {
		version = fix_map(f, ino).slots[0].version;
		again = fix_push(f, 0, 0, 64);
		assert_int_equal(compact(f, ino, version, again, &r), 0);
		assert_int_equal(r.done, 1);
	}
	version = fix_map(f, ino).slots[0].version;
	assert_int_equal(fix_truncate(f, ino, 0), 0);
	for (i = 0; i < 10; i++) {
		p = fix_push(f, 0, 0, 64);
		assert_int_equal(fix_commit(f, ino, &p, 1, NULL), 0);
		again = fix_push(f, 0, 0, 64);
		assert_int_equal(compact(f, ino, version, again, &r), 0);
		assert_int_equal(r.done, 0);
	}
}

/* A file of one slot with these pushes; *@version: as it is then. */
static uint64_t file_of(struct fix *f, const char *name, struct m_push *p,
			uint32_t n, uint64_t *version)
{
	uint64_t ino = fix_file(f, 1, name);

	assert_int_equal(fix_commit(f, ino, p, n, NULL), 0);
	*version = fix_map(f, ino).slots[0].version;
	return ino;
}

static void compact_goes_beneath_later_pushes(void **state)
{
	struct fix *f = *state;
	struct m_push p[] = { fix_push(f, 0, 0, 40), fix_push(f, 0, 10, 20) };
	struct m_push top[] = { fix_push(f, 0, 5, 10), fix_push(f, 0, 30, 20),
				{ .pos = 35, .len = 2 } };
	struct m_push merged = fix_push(f, 0, 0, 40), next;
	uint64_t version, ino = file_of(f, "f", p, 2, &version);
	struct m_compact_r r;
	struct m_getmap_r g;
	struct m_slice *v;
	int i;

	for (i = 0; i < 3; i++)		/* each a version of its own */
		assert_int_equal(fix_commit(f, ino, &top[i], 1, NULL), 0);
	assert_int_equal(compact(f, ino, version, merged, &r), 0);
	assert_int_equal(r.done, 1);
	assert_true(fix_was_touched(f, ino));
	assert_int_equal(r.attr.size, 50);
	g = fix_map(f, ino);
	assert_int_equal(g.slots[0].n_slices, 4);
	v = g.slots[0].slices;
	fix_check_slice(&v[0], 0, 40, merged.chunk, 0);
	fix_check_slice(&v[1], 5, 10, top[0].chunk, 0);
	fix_check_slice(&v[2], 30, 20, top[1].chunk, 0);
	fix_check_slice(&v[3], 35, 2, 0, 0);
	assert_int_equal(fix_garbage(f), 2);

	/* a version that it had in between, or has yet to get */
	next = fix_push(f, 0, 0, 50);
	assert_int_equal(compact(f, ino, g.slots[0].version - 1, next, &r), 0);
	assert_int_equal(r.done, 0);
	assert_int_equal(compact(f, ino, g.slots[0].version + 1, next, &r), 0);
	assert_int_equal(r.done, 0);
	assert_int_equal(f->t.n, 0);
	/* the next one finds all four */
	assert_int_equal(compact(f, ino, g.slots[0].version, next, &r), 0);
	assert_int_equal(r.done, 1);
	g = fix_map(f, ino);
	assert_int_equal(g.slots[0].n_slices, 2);	/* zeros between */
	fix_check_slice(&g.slots[0].slices[0], 0, 35, next.chunk, 0);
	fix_check_slice(&g.slots[0].slices[1], 37, 13, next.chunk, 37);
	assert_int_equal(fix_garbage(f), 5);
}

/* So many holes that the slices would be as deep as before: one, and zeros. */
static void compact_fills_many_small_holes(void **state)
{
	struct fix *f = *state;
	struct m_push p[NS_MERGE_RUNS + 1];
	struct m_push merged = fix_push(f, 0, 0, 60);
	uint64_t version, ino;
	struct m_compact_r r;
	struct m_getmap_r g;
	uint32_t i;

	for (i = 0; i <= NS_MERGE_RUNS; i++)
		p[i] = fix_push(f, 0, 10 * i, 5);
	ino = file_of(f, "f", p, NS_MERGE_RUNS + 1, &version);
	assert_int_equal(fix_truncate(f, ino, 64), 0);
	assert_int_equal(compact(f, ino, version, merged, &r), 0);
	assert_int_equal(r.done, 1);
	g = fix_map(f, ino);
	assert_int_equal(g.slots[0].n_slices, 1);
	fix_check_slice(&g.slots[0].slices[0], 0, 60, merged.chunk, 0);
}

static void compact_is_refused_after_other_changes(void **state)
{
	struct fix *f = *state;
	struct m_push p[] = { fix_push(f, 0, 0, 40), fix_push(f, 0, 50, 5) };
	struct m_push late = fix_push(f, 0, 0, 55), other;
	uint64_t version, ino = file_of(f, "cut", p, 2, &version);
	struct m_compact_r r;

	/* the end is cut, and comes back as zeros */
	assert_int_equal(fix_truncate(f, ino, 30), 0);
	assert_int_equal(fix_truncate(f, ino, 64), 0);
	assert_int_equal(compact(f, ino, version, late, &r), 0);
	assert_int_equal(r.done, 0);

	/* two compactors saw the same, and something was written */
	ino = file_of(f, "compacted", p, 2, &version);
	other = fix_push(f, 0, 20, 10);
	assert_int_equal(fix_commit(f, ino, &other, 1, NULL), 0);
	other = fix_push(f, 0, 0, 55);
	assert_int_equal(compact(f, ino, version, other, &r), 0);
	assert_int_equal(r.done, 1);
	assert_int_equal(compact(f, ino, version, late, &r), 0);
	assert_int_equal(r.done, 0);

	/* it was empty in between */
	ino = file_of(f, "emptied", p, 2, &version);
	other = (struct m_push){ .len = 64 };
	assert_int_equal(fix_commit(f, ino, &other, 1, NULL), 0);
	other = fix_push(f, 0, 60, 4);
	assert_int_equal(fix_commit(f, ino, &other, 1, NULL), 0);
	assert_int_equal(compact(f, ino, version, late, &r), 0);
	assert_int_equal(r.done, 0);
}

/* Zeros over [30, 64) sink to the bottom and are forgotten, and with them
 * that they deleted something: it must not come back. */
static void compact_brings_nothing_back(void **state)
{
	struct fix *f = *state;
	struct m_push p[] = { fix_push(f, 0, 0, 40), fix_push(f, 0, 50, 5) };
	struct m_push late = fix_push(f, 0, 0, 55);
	struct m_push after[] = { { .pos = 30, .len = 34 },
				  fix_push(f, 0, 0, 40) };
	uint64_t version, ino = file_of(f, "f", p, 2, &version);
	struct m_compact_r r;
	struct m_getmap_r g;
	struct m_chunk c;

	assert_int_equal(fix_commit(f, ino, after, 2, NULL), 0);
	assert_int_equal(compact(f, ino, version, late, &r), 0);
	assert_int_equal(r.done, 1);
	g = fix_map(f, ino);
	assert_int_equal(g.slots[0].n_slices, 1);
	fix_check_slice(&g.slots[0].slices[0], 0, 40, after[1].chunk, 0);
	assert_int_equal(ns_chunk(f->ns, late.chunk, &c), -ENOENT);
}

/* What nobody would see is not kept. */
static void compact_may_come_too_late(void **state)
{
	struct fix *f = *state;
	struct m_push p = fix_push(f, 0, 0, 40), merged = fix_push(f, 0, 0, 40);
	struct m_push top[] = { fix_push(f, 0, 25, 20), fix_push(f, 0, 0, 15),
				fix_push(f, 0, 10, 20) };
	uint64_t version, ino = file_of(f, "f", &p, 1, &version);
	struct m_compact_r r;
	struct m_getmap_r g;
	struct m_chunk c;

	/* only together do they cover it */
	assert_int_equal(fix_commit(f, ino, top, 3, NULL), 0);
	assert_int_equal(fix_map(f, ino).slots[0].n_slices, 4);
	assert_int_equal(compact(f, ino, version, merged, &r), 0);
	assert_int_equal(r.done, 1);
	g = fix_map(f, ino);
	assert_int_equal(g.slots[0].n_slices, 3);
	assert_int_equal(g.slots[0].slices[0].chunk, top[0].chunk);
	assert_int_equal(ns_chunk(f->ns, merged.chunk, &c), -ENOENT);
	assert_int_equal(fix_garbage(f), 1);

	/* a byte is missing between the last two, and at the end */
	top[2].len = 14;
	ino = file_of(f, "gap", &p, 1, &version);
	assert_int_equal(fix_commit(f, ino, top, 3, NULL), 0);
	assert_int_equal(compact(f, ino, version, merged, &r), 0);
	assert_int_equal(fix_map(f, ino).slots[0].n_slices, 4);
	assert_int_equal(ns_chunk(f->ns, merged.chunk, &c), 0);
	top[2].len = 20;
	top[0].len = 14;
	ino = file_of(f, "end", &p, 1, &version);
	assert_int_equal(fix_commit(f, ino, top, 3, NULL), 0);
	assert_int_equal(compact(f, ino, version, merged, &r), 0);
	assert_int_equal(fix_map(f, ino).slots[0].n_slices, 4);
}

/* Somebody pushes and pushes; every compaction is computed from a slot that
 * has changed since. */
static void compact_keeps_up_with_a_writer(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f"), version = 0;
	struct m_compact_r r;
	struct m_push p;
	uint32_t i;

	for (i = 0; i < 2 * NS_STACK_MAX; i++) {
		/* none of the last 32 covers another */
		p = fix_push(f, 0, i % 32, 32);
		assert_int_equal(fix_commit(f, ino, &p, 1, NULL), 0);
		if (i % 16 == 5)
			version = fix_map(f, ino).slots[0].version;
		if (i % 16 != 15)
			continue;
		p = fix_push(f, 0, 0, 64);
		assert_int_equal(compact(f, ino, version, p, &r), 0);
		assert_int_equal(r.done, 1);
		assert_int_equal(fix_map(f, ino).slots[0].n_slices, 11);
	}
}

/* @n pushes of [0, 250) in parts, none of which covers an older one. */
static void fill(struct fix *f, uint64_t ino, uint32_t n)
{
	struct m_push p[NS_STACK_MAX], whole = fix_push(f, 0, 0, 250);
	uint32_t len = 250, pos = 0, i;

	assert_true(n <= NS_STACK_MAX);
	for (i = 0; i < n; i++) {
		p[i] = whole;
		p[i].pos = pos++;
		p[i].len = len;
		if (pos + len > 250) {
			pos = 0;
			len--;
		}
	}
	assert_int_equal(fix_commit(f, ino, p, n, NULL), 0);
}

static void compact_of_a_full_stack(void **state)
{
	struct fix *f = *state;
	struct m_push p = fix_push(f, 0, 0, 40), merged = fix_push(f, 0, 0, 256);
	struct m_push two[2];
	uint64_t version, ino = file_of(f, "f", &p, 1, &version);
	struct m_compact_r r;
	struct ns_inode in;
	struct m_chunk c;

	assert_int_equal(ns_inode_get(f->ns, ino, &in), 0);
	in.a.slot_size = 256;
	in.a.size = 256;
	assert_int_equal(ns_inode_put(f->ns, &in), 0);
	fill(f, ino, NS_STACK_MAX);
	assert_int_equal(fix_map(f, ino).slots[0].n_slices, NS_STACK_MAX);
	/* refused as a whole, what would have had room as well */
	assert_int_equal(ns_inode_get(f->ns, ino, &in), 0);
	two[0] = fix_push(f, 1, 0, 9);
	two[1] = p = fix_push(f, 0, 250, 1);
	assert_int_equal(fix_commit(f, ino, two, 2, NULL), -EBUSY);
	assert_int_equal(ns_chunk(f->ns, two[0].chunk, &c), -ENOENT);
	assert_int_equal(fix_map(f, ino).n_slots, 1);
	assert_int_equal(fix_map(f, ino).attr.size, in.a.size);
	assert_int_equal(fix_map(f, ino).attr.version, in.a.version);
	/* of what this one saw nothing is there: no place, and no need */
	assert_int_equal(compact(f, ino, version, merged, &r), 0);
	assert_int_equal(r.done, 1);
	assert_int_equal(ns_chunk(f->ns, merged.chunk, &c), -ENOENT);
	assert_int_equal(fix_map(f, ino).slots[0].n_slices, NS_STACK_MAX);
	/* this one makes room */
	version = fix_map(f, ino).slots[0].version;
	assert_int_equal(compact(f, ino, version, merged, &r), 0);
	assert_int_equal(fix_map(f, ino).slots[0].n_slices, 1);
	assert_int_equal(fix_commit(f, ino, &p, 1, NULL), 0);
}

static void compact_checks_its_slice(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f"), version;
	struct m_push p = fix_push(f, 0, 0, 30), bad, zeros = { .len = 64 };
	struct m_compact_r r;

	assert_int_equal(fix_commit(f, ino, &p, 1, NULL), 0);
	version = fix_map(f, ino).slots[0].version;
	bad = fix_push(f, 0, 0, 30);
	bad.append = 1;
	assert_int_equal(compact(f, ino, version, bad, &r), -EINVAL);
	bad = fix_push(f, 0, 40, 10);		/* past the end */
	assert_int_equal(compact(f, ino, version, bad, &r), -EINVAL);
	bad = fix_push(f, 0, 60, 30);
	assert_int_equal(compact(f, ino, version, bad, &r), -EINVAL);
	bad = fix_push(f, 0, 0, 30);
	bad.n_stored = 0;
	assert_int_equal(compact(f, ino, version, bad, &r), -EINVAL);
	assert_int_equal(compact(f, 1, version, bad, &r), -EISDIR);
	assert_int_equal(fix_map(f, ino).slots[0].version, version);
	/* nothing but zeros: the slot is a hole again */
	assert_int_equal(compact(f, ino, version, zeros, &r), 0);
	assert_int_equal(r.done, 1);
	assert_int_equal(fix_map(f, ino).n_slots, 0);
	assert_int_equal(r.attr.size, 30);
}

/* ------------------------------------------------- chunks and garbage */

static void chunks_are_assigned(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f");
	uint32_t twice[] = { 4, 5, 4, 5, 6 }, *peers, n;
	struct m_push p[] = { fix_push(f, 0, 0, 64), fix_push(f, 1, 0, 64),
			      fix_push(f, 2, 0, 64) };
	struct ns_chunk_row *v;
	struct m_chunk c;

	p[0].stored = twice;
	p[0].n_stored = 5;
	assert_int_equal(fix_commit(f, ino, p, 3, NULL), 0);
	assert_int_equal(ns_assigned(f->ns, &f->a, p[0].chunk, &peers, &n), 0);
	assert_int_equal(n, 3);
	assert_true(peers[0] == 4 && peers[1] == 5 && peers[2] == 6);
	assert_int_equal(ns_assign(f->ns, p[0].chunk, twice + 4, 1), 0);
	assert_int_equal(ns_assigned(f->ns, &f->a, p[0].chunk, &peers, &n), 0);
	assert_true(n == 1 && peers[0] == 6);
	assert_int_equal(ns_assign(f->ns, p[0].chunk, NULL, 0), 0);
	assert_int_equal(ns_assigned(f->ns, &f->a, p[0].chunk, &peers, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(ns_assign(f->ns, 12345, twice, 1), -ENOENT);
	assert_int_equal(ns_assigned(f->ns, &f->a, 12345, &peers, &n),
			 -ENOENT);
	assert_int_equal(ns_assign(f->ns, p[0].chunk, twice, 256), -EINVAL);

	assert_int_equal(ns_chunk(f->ns, p[1].chunk, &c), 0);
	assert_int_equal(c.len, 64);
	assert_int_equal(ns_chunk(f->ns, UINT64_MAX, &c), -ENOENT);
	assert_int_equal(ns_chunks(f->ns, &f->a, 0, 2, &v, &n), 0);
	assert_true(n == 2 && v[0].chunk.id == p[0].chunk &&
		    v[1].chunk.id == p[1].chunk);
	assert_int_equal(ns_chunks(f->ns, &f->a, v[1].chunk.id, 2, &v, &n), 0);
	assert_true(n == 1 && v[0].chunk.id == p[2].chunk);
	assert_int_equal(ns_chunks(f->ns, &f->a, UINT64_MAX, 2, &v, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(fix_truncate(f, ino, 64), 0);
	assert_int_equal(ns_chunks(f->ns, &f->a, 0, 9, &v, &n), 0);
	assert_int_equal(n, 1);		/* garbage is not to be repaired */
}

static void garbage_waits_and_goes(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f"), out[4];
	struct m_push p[] = { fix_push(f, 0, 0, 64), fix_push(f, 1, 0, 64),
			      fix_push(f, 2, 0, 64) };
	const struct ns_now never = { INT64_MAX, 0 };
	struct ns_now first, last = { 1000000, UINT32_MAX };
	struct m_chunk c;

	assert_int_equal(fix_commit(f, ino, p, 3, NULL), 0);
	assert_int_equal(fix_truncate(f, ino, 128), 0);
	first = (struct ns_now){ 1000000, f->tick };
	assert_int_equal(fix_truncate(f, ino, 64), 0);
	assert_int_equal(ns_garbage_due(f->ns, first, never, out, 4), 0);
	first.ns++;
	assert_int_equal(ns_garbage_due(f->ns, first, never, out, 4), 1);
	assert_int_equal(out[0], p[2].chunk);
	assert_int_equal(ns_garbage_due(f->ns, last, never, out, 4), 2);
	assert_int_equal(out[1], p[1].chunk);
	assert_int_equal(ns_garbage_due(f->ns, last, never, out, 1), 1);
	last.s--;
	assert_int_equal(ns_garbage_due(f->ns, last, never, out, 4), 0);
	last.s++;
	/* one of them is named again: none is dropped */
	assert_int_equal(ns_garbage_due(f->ns, last, never, out, 4), 2);
	assert_int_equal(fix_commit(f, ino, &p[1], 1, NULL), 0);
	assert_int_equal(ns_garbage_drop(f->ns, out, 2), -EBUSY);
	assert_int_equal(fix_garbage(f), 1);
	assert_int_equal(ns_chunk(f->ns, p[2].chunk, &c), 0);
	assert_int_equal(ns_garbage_drop(f->ns, out, 1), 0);
	assert_int_equal(fix_garbage(f), 0);
	assert_int_equal(ns_chunk(f->ns, p[2].chunk, &c), -ENOENT);
	assert_int_equal(ns_garbage_drop(f->ns, out, 1), 0);	/* again */
	/* dropped is dropped: nobody has it any more */
	p[2].n_stored = 0;
	assert_int_equal(fix_commit(f, ino, &p[2], 1, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIX_TEST(orphans_take_commits),
		FIX_TEST(reaping_goes_in_parts),
		FIX_TEST(compact_swaps_the_stack),
		FIX_TEST(compact_is_not_fooled_by_a_new_slot),
		FIX_TEST(compact_goes_beneath_later_pushes),
		FIX_TEST(compact_fills_many_small_holes),
		FIX_TEST(compact_is_refused_after_other_changes),
		FIX_TEST(compact_brings_nothing_back),
		FIX_TEST(compact_may_come_too_late),
		FIX_TEST(compact_keeps_up_with_a_writer),
		FIX_TEST(compact_of_a_full_stack),
		FIX_TEST(compact_checks_its_slice),
		FIX_TEST(chunks_are_assigned),
		FIX_TEST(garbage_waits_and_goes),
	};

	alarm(120);
	return FIX_RUN(tests);
}
