/* unit_ns_map -- commit, getmap, compact, truncate, chunks, garbage. */
#include "ns_fixture.h"

static struct m_getmap_r map_of(struct fix *f, uint64_t ino)
{
	struct m_getmap_r r;

	assert_int_equal(ns_getmap(f->ns, &f->a, ino, 0, MSG_SLOTS_MAX, &r),
			 0);
	return r;
}

static uint64_t garbage(struct fix *f)
{
	struct ns_count c;

	ns_count(f->ns, &c);
	return c.garbage;
}

static void check_slice(const struct m_slice *s, uint32_t pos, uint32_t len,
			uint64_t chunk, uint32_t off)
{
	assert_int_equal(s->pos, pos);
	assert_int_equal(s->len, len);
	assert_int_equal(s->chunk, chunk);
	assert_int_equal(s->off, off);
}

/* ---------------------------------------------------------------- commit */

static void commit_pushes_slices(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f");
	struct m_push p[] = { fix_push(f, 0, 0, 64), fix_push(f, 2, 10, 20),
			      fix_push(f, 0, 5, 6) };
	struct m_commit m = { .ino = ino, .pushes = p, .n_pushes = 3,
			      .mtime_s = 2000000, .mtime_ns = 5 };
	struct m_commit_r r;
	struct m_getmap_r g;
	struct m_attr was = fix_attr(f, ino);

	assert_int_equal(ns_commit(f->ns, &f->a, &m, fix_now(f), &r,
				   fix_t(f)), 0);
	assert_true(fix_was_touched(f, ino) && f->t.n == 1);
	assert_int_equal(r.before, was.version);
	assert_true(r.attr.version > was.version);
	assert_int_equal(r.attr.size, 2 * 64 + 30);
	assert_int_equal(r.attr.stored, 64 + 20);
	assert_true(r.attr.mtime_s == 2000000 && r.attr.mtime_ns == 5);
	assert_int_equal(r.attr.ctime_ns, f->tick);
	assert_int_equal(r.n_placed, 3);
	assert_int_equal(r.placed[0], 0);
	assert_int_equal(r.placed[1], 138);
	assert_int_equal(r.placed[2], 5);
	assert_int_equal(r.n_deep, 0);

	g = map_of(f, ino);
	fix_same_attr(&g.attr, &r.attr);
	assert_int_equal(g.n_slots, 2);
	assert_int_equal(g.slots[0].index, 0);
	assert_int_equal(g.slots[0].n_slices, 2);
	check_slice(&g.slots[0].slices[0], 0, 64, p[0].chunk, 0);
	check_slice(&g.slots[0].slices[1], 5, 6, p[2].chunk, 0);
	assert_int_equal(g.slots[1].index, 2);
	check_slice(&g.slots[1].slices[0], 10, 20, p[1].chunk, 0);
	assert_int_equal(g.n_chunks, 3);
	assert_int_equal(g.chunks[0].id, p[0].chunk);
	assert_int_equal(g.chunks[0].len, 64);
	assert_memory_equal(g.chunks[0].md5, p[0].md5, MD5_LEN);
	assert_int_equal(g.chunks[0].n_holders, 0);

	/* mtime grows although the writer's clock is behind */
	m.n_pushes = 1;
	m.mtime_s = 5;
	assert_int_equal(ns_commit(f->ns, &f->a, &m, fix_now(f), &r,
				   fix_t(f)), 0);
	assert_true(r.attr.mtime_s == 2000000 && r.attr.mtime_ns == 6);
	/* nothing pushed, nothing changed */
	was = r.attr;
	m.n_pushes = 0;
	m.sync = 1;
	assert_int_equal(ns_commit(f->ns, &f->a, &m, fix_now(f), &r,
				   fix_t(f)), 0);
	fix_same_attr(&was, &r.attr);
	assert_int_equal(f->t.n, 0);
}

static void covered_slices_go(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f");
	struct m_push a = fix_push(f, 0, 10, 10), b = fix_push(f, 0, 15, 10);
	struct m_push c = fix_push(f, 0, 10, 10), hole = { .len = 64 };
	struct m_getmap_r g;

	assert_int_equal(fix_commit(f, ino, &a, 1, NULL), 0);
	assert_int_equal(fix_commit(f, ino, &b, 1, NULL), 0);
	assert_int_equal(map_of(f, ino).slots[0].n_slices, 2);
	assert_int_equal(fix_commit(f, ino, &c, 1, NULL), 0);
	g = map_of(f, ino);
	assert_int_equal(g.slots[0].n_slices, 2);
	check_slice(&g.slots[0].slices[0], 15, 10, b.chunk, 0);
	check_slice(&g.slots[0].slices[1], 10, 10, c.chunk, 0);
	assert_int_equal(garbage(f), 1);
	/* named again it is no garbage any more */
	a.slot = 7;
	assert_int_equal(fix_commit(f, ino, &a, 1, NULL), 0);
	assert_int_equal(garbage(f), 0);
	/* the same chunk over itself */
	assert_int_equal(fix_commit(f, ino, &a, 1, NULL), 0);
	assert_int_equal(garbage(f), 0);
	/* zeros over a part stay, over everything leave a hole */
	hole.pos = 12;
	hole.len = 2;
	assert_int_equal(fix_commit(f, ino, &hole, 1, NULL), 0);
	assert_int_equal(map_of(f, ino).slots[0].n_slices, 3);
	assert_int_equal(fix_attr(f, ino).stored, 30);
	hole.pos = 0;
	hole.len = 64;
	assert_int_equal(fix_commit(f, ino, &hole, 1, NULL), 0);
	g = map_of(f, ino);
	assert_int_equal(g.n_slots, 1);
	assert_int_equal(g.slots[0].index, 7);
	assert_int_equal(garbage(f), 2);
	assert_int_equal(g.attr.stored, 10);
	assert_int_equal(g.attr.size, 7 * 64 + 20);
}

static void appends_go_to_the_end(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f");
	struct m_push p[3] = { fix_push(f, 99, 99, 50), fix_push(f, 0, 0, 40),
			       fix_push(f, 0, 0, 64) };
	struct m_commit_r r;
	struct m_getmap_r g;

	p[0].append = p[1].append = p[2].append = 1;
	assert_int_equal(fix_commit(f, ino, p, 3, &r), 0);
	assert_int_equal(r.placed[0], 0);
	assert_int_equal(r.placed[1], 50);
	assert_int_equal(r.placed[2], 90);
	assert_int_equal(r.attr.size, 154);
	assert_int_equal(r.attr.stored, 154);
	g = map_of(f, ino);
	assert_int_equal(g.n_slots, 3);
	assert_int_equal(g.n_chunks, 3);	/* each once */
	check_slice(&g.slots[0].slices[1], 50, 14, p[1].chunk, 0);
	check_slice(&g.slots[1].slices[0], 0, 26, p[1].chunk, 14);
	check_slice(&g.slots[1].slices[1], 26, 38, p[2].chunk, 0);
	check_slice(&g.slots[2].slices[0], 0, 26, p[2].chunk, 38);
	/* after a write far away, the end is there */
	p[0] = fix_push(f, 9, 0, 1);
	assert_int_equal(fix_commit(f, ino, p, 1, NULL), 0);
	p[1] = fix_push(f, 0, 0, 5);
	p[1].append = 1;
	assert_int_equal(fix_commit(f, ino, p + 1, 1, &r), 0);
	assert_int_equal(r.placed[0], 9 * 64 + 1);
}

static void deep_slots_are_told(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f");
	struct m_push p[40];
	struct m_commit_r r;
	int i;

	for (i = 0; i < NS_DEEP; i++)
		p[i] = fix_push(f, 3, 2 * i, 1);
	assert_int_equal(fix_commit(f, ino, p, NS_DEEP, &r), 0);
	assert_int_equal(r.n_deep, 0);
	for (i = 0; i < 20; i++) {		/* there and back */
		p[2 * i] = fix_push(f, 3, 30 + i, 1);
		p[2 * i + 1] = fix_push(f, 4, 30 + i, 1);
	}
	assert_int_equal(fix_commit(f, ino, p, 40, &r), 0);
	assert_int_equal(r.n_deep, 2);
	assert_int_equal(r.deep[0], 3);
	assert_int_equal(r.deep[1], 4);
}

static void stacks_have_a_maximum(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f");
	struct m_push p[2] = { fix_push(f, 0, 0, 1), fix_push(f, 1, 0, 1) };
	struct ns_stack st = { 0 };
	struct ns_inode in;
	struct m_slice s = { .pos = 1, .len = 1 };
	int i;

	assert_int_equal(fix_commit(f, ino, p, 1, NULL), 0);
	assert_int_equal(ns_inode_get(f->ns, ino, &in), 0);
	assert_int_equal(ns_stack_load(f->ns, &in, 0, &st), 0);
	st.v[0].len = 2;	/* zeros that cover no older zeros */
	for (i = 1; i < NS_STACK_MAX; i++) {
		s.pos = i % 2;
		s.len = 2 - s.pos;
		if (st.n > 2)
			st.v[st.n - 1].len = 1 + st.v[st.n - 1].pos;
		assert_int_equal(ns_stack_push(f->ns, &st, &s, fix_now(f)), 0);
		st.n = i + 1;
		st.v[i] = (struct m_slice){ .pos = 0, .len = 1, .chunk = 0 };
	}
	assert_int_equal(ns_stack_push(f->ns, &st, &p[0].pos ? &s : &s,
				       fix_now(f)), -EBUSY);
	ns_stack_fini(&st);
}

int main(void)
{
	return 0;
}
