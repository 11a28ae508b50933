/* unit_ns_map -- commit, getmap, truncate. */
#include "ns_fixture.h"

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
	/* ctime is the write's, too: close() does not move what fstat showed */
	assert_true(r.attr.ctime_s == 2000000 && r.attr.ctime_ns == 5);
	assert_int_equal(r.n_placed, 3);
	assert_int_equal(r.placed[0], 0);
	assert_int_equal(r.placed[1], 138);
	assert_int_equal(r.placed[2], 5);
	assert_int_equal(r.n_deep, 0);

	g = fix_map(f, ino);
	fix_same_attr(&g.attr, &r.attr);
	assert_int_equal(g.n_slots, 2);
	assert_int_equal(g.slots[0].index, 0);
	assert_int_equal(g.slots[0].n_slices, 2);
	fix_check_slice(&g.slots[0].slices[0], 0, 64, p[0].chunk, 0);
	fix_check_slice(&g.slots[0].slices[1], 5, 6, p[2].chunk, 0);
	assert_int_equal(g.slots[1].index, 2);
	fix_check_slice(&g.slots[1].slices[0], 10, 20, p[1].chunk, 0);
	assert_int_equal(g.n_chunks, 3);
	assert_int_equal(g.chunks[0].id, p[0].chunk);
	assert_int_equal(g.chunks[0].len, 64);
	assert_memory_equal(g.chunks[0].md5, p[0].md5, MD5_LEN);
	assert_int_equal(g.chunks[0].n_holders, 0);

	/* times grow although the writer's clock is behind */
	m.n_pushes = 1;
	m.mtime_s = 5;
	assert_int_equal(ns_commit(f->ns, &f->a, &m, fix_now(f), &r,
				   fix_t(f)), 0);
	assert_true(r.attr.mtime_s == 2000000 && r.attr.mtime_ns == 6);
	assert_true(r.attr.ctime_s == 2000000 && r.attr.ctime_ns == 6);
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
	assert_int_equal(fix_map(f, ino).slots[0].n_slices, 2);
	assert_int_equal(fix_commit(f, ino, &c, 1, NULL), 0);
	g = fix_map(f, ino);
	assert_int_equal(g.slots[0].n_slices, 2);
	fix_check_slice(&g.slots[0].slices[0], 15, 10, b.chunk, 0);
	fix_check_slice(&g.slots[0].slices[1], 10, 10, c.chunk, 0);
	assert_int_equal(fix_garbage(f), 1);
	/* named again it is no garbage any more */
	a.slot = 7;
	assert_int_equal(fix_commit(f, ino, &a, 1, NULL), 0);
	assert_int_equal(fix_garbage(f), 0);
	/* the same chunk over itself */
	assert_int_equal(fix_commit(f, ino, &a, 1, NULL), 0);
	assert_int_equal(fix_garbage(f), 0);
	/* zeros over a part stay, over everything leave a hole */
	hole.pos = 12;
	hole.len = 2;
	assert_int_equal(fix_commit(f, ino, &hole, 1, NULL), 0);
	assert_int_equal(fix_map(f, ino).slots[0].n_slices, 3);
	assert_int_equal(fix_attr(f, ino).stored, 30);
	hole.pos = 0;
	hole.len = 64;
	assert_int_equal(fix_commit(f, ino, &hole, 1, NULL), 0);
	g = fix_map(f, ino);
	assert_int_equal(g.n_slots, 1);
	assert_int_equal(g.slots[0].index, 7);
	assert_int_equal(fix_garbage(f), 2);
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
	g = fix_map(f, ino);
	assert_int_equal(g.n_slots, 3);
	assert_int_equal(g.n_chunks, 3);	/* each once */
	fix_check_slice(&g.slots[0].slices[1], 50, 14, p[1].chunk, 0);
	fix_check_slice(&g.slots[1].slices[0], 0, 26, p[1].chunk, 14);
	fix_check_slice(&g.slots[1].slices[1], 26, 38, p[2].chunk, 0);
	fix_check_slice(&g.slots[2].slices[0], 0, 26, p[2].chunk, 38);
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

/* One line more does not make a long slot worth compacting. */
static void long_slots_bear_more(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f");
	struct m_push base, line = fix_push(f, 0, 0, 1);
	const uint32_t parts = 10;
	struct m_commit_r r;
	struct ns_inode in;

	assert_int_equal(ns_inode_get(f->ns, ino, &in), 0);
	in.a.slot_size = 1 << 20;
	assert_int_equal(ns_inode_put(f->ns, &in), 0);
	base = fix_push(f, 0, 0, parts * NS_DEEP_BYTES);
	assert_int_equal(fix_commit(f, ino, &base, 1, &r), 0);
	line.append = 1;
	for (uint32_t n = 2; n <= NS_DEEP + parts; n++) {
		line.chunk = f->next_id++;
		assert_int_equal(fix_commit(f, ino, &line, 1, &r), 0);
		assert_int_equal(r.n_deep, 0);
	}
	line.chunk = f->next_id++;
	assert_int_equal(fix_commit(f, ino, &line, 1, &r), 0);
	assert_int_equal(r.n_deep, 1);
}

/* All intervals of a slot, the long ones first, so that none covers an
 * older one: there are more of them than a stack may have. */
static void stacks_have_a_maximum(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f"), seen;
	struct m_push p[NS_STACK_MAX / 4];
	const int n = NS_STACK_MAX / 4;
	struct m_push chunk = fix_push(f, 0, 0, 256);
	uint32_t len = 256, pos = 0, total = 0;
	struct m_getmap_r g;
	struct ns_inode in;
	int i, err;

	assert_int_equal(ns_inode_get(f->ns, ino, &in), 0);
	in.a.slot_size = 256;
	assert_int_equal(ns_inode_put(f->ns, &in), 0);
	do {
		for (i = 0; i < n; i++) {
			p[i] = chunk;
			p[i].len = len;
			p[i].pos = pos++;
			if (pos + len > 256) {
				pos = 0;
				len--;
			}
		}
		err = fix_commit(f, ino, p, n, NULL);
		total += err ? 0 : n;
	} while (!err);
	assert_int_equal(err, -EBUSY);
	assert_int_equal(total, NS_STACK_MAX);
	g = fix_map(f, ino);
	assert_int_equal(g.slots[0].n_slices, NS_STACK_MAX);
	assert_int_equal(g.n_chunks, 1);
	assert_int_equal(fix_attr(f, ino).stored, 256);

	/* so many such slots are what an answer holds, and no more */
	assert_int_equal(MSG_CHUNKS_MAX / NS_STACK_MAX, 32);
	assert_int_equal(db_run(db_prep(f->db,
		"WITH RECURSIVE k(n) AS (VALUES(1) UNION ALL "
		"SELECT n+1 FROM k WHERE n<32) INSERT INTO slots "
		"SELECT ino, n, version, base, slices FROM slots, k")), 0);
	assert_int_equal(ns_getmap(f->ns, &f->a, ino, 0, 33, &g), -E2BIG);
	assert_int_equal(ns_getmap(f->ns, &f->a, ino, 0, 32, &g), 0);
	assert_int_equal(g.n_slots, 32);
	assert_int_equal(db_run(db_prep(f->db,
		"DELETE FROM slots WHERE slot>0")), 0);
	seen = g.slots[0].version;

	chunk.len = 256;		/* what covers all makes room */
	assert_int_equal(fix_commit(f, ino, &chunk, 1, NULL), 0);
	g = fix_map(f, ino);
	assert_int_equal(g.slots[0].n_slices, 1);
	assert_true(g.slots[0].version > seen);
}

static void senseless_commits_change_nothing(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f"), dir = fix_dir(f, 1, "d");
	uint64_t fifo = (uint64_t)fix_mknod(f, 1, "p", S_IFIFO);
	struct m_push good = fix_push(f, 0, 0, 64), known = good, p[2];
	struct m_push other = fix_push(f, 3, 0, 64);
	static uint32_t many[MSG_HOLDERS_MAX + 1];
	const struct {
		struct m_push p;
		int err;
	} bad[] = {
#define BAD(field, value, e)                                               \
	{ ({ struct m_push x_ = other; x_.field = (value); x_; }), e }
		BAD(len, 0, -EINVAL),
		BAD(len, 65, -EINVAL),
		BAD(len, UINT32_MAX, -EINVAL),
		BAD(pos, 1, -EINVAL),
		BAD(pos, UINT32_MAX, -EINVAL),
		BAD(off, 1, -EINVAL),
		BAD(off, UINT32_MAX, -EINVAL),
		BAD(chunk_len, 63, -EINVAL),
		BAD(chunk_len, 65, -EINVAL),
		BAD(chunk_len, UINT32_MAX, -EINVAL),
		BAD(chunk, FIX_IDS + 1, -EINVAL),	/* not reserved */
		BAD(chunk, UINT64_MAX, -EINVAL),
		BAD(n_stored, 0, -EINVAL),		/* nobody has it */
		BAD(n_stored, MSG_HOLDERS_MAX + 1, -EINVAL),
		BAD(slot, UINT64_MAX, -EFBIG),
		BAD(slot, INT64_MAX / 64, -EFBIG),
		BAD(slot, 1ull << 58, -EFBIG),
		BAD(chunk, known.chunk, -EINVAL),	/* another MD5 */
#undef BAD
	};
	struct m_attr was, now;
	struct m_commit_r r;
	struct ns_count before, after;
	size_t i;

	assert_int_equal(fix_commit(f, ino, &known, 1, NULL), 0);
	was = fix_attr(f, ino);
	ns_count(f->ns, &before);
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		p[0] = fix_push(f, 1, 0, 8);	/* this one is all right */
		p[1] = bad[i].p;
		p[1].stored = many;
		assert_int_equal(fix_commit(f, ino, p, 2, NULL), bad[i].err);
		assert_int_equal(f->t.n, 0);
		ns_count(f->ns, &after);
		assert_memory_equal(&before, &after, sizeof(before));
		now = fix_attr(f, ino);
		fix_same_attr(&was, &now);
		assert_int_equal(fix_map(f, ino).n_slots, 1);
	}
	known.chunk_len = 63;
	known.len = 63;
	assert_int_equal(fix_commit(f, ino, &known, 1, NULL), -EINVAL);
	assert_int_equal(fix_commit(f, dir, &good, 1, NULL), -EISDIR);
	assert_int_equal(fix_commit(f, dir, NULL, 0, NULL), 0);
	assert_int_equal(fix_commit(f, fifo, &good, 1, NULL), -EINVAL);
	assert_int_equal(fix_commit(f, 999, &good, 1, NULL), -ENOENT);
	assert_int_equal(fix_commit(f, ino, p, MSG_PUSHES_MAX + 1, NULL),
			 -EINVAL);
	assert_int_equal(ns_commit(f->ns, &f->a, &(struct m_commit){
		.ino = ino, .mtime_ns = 1000000000 }, fix_now(f), &r,
		fix_t(f)), -EINVAL);
	/* the last byte that a file can have, and none after it */
	p[0] = fix_push(f, INT64_MAX / 64, 0, 63);
	assert_int_equal(fix_commit(f, ino, p, 1, &r), 0);
	assert_true(r.attr.size == INT64_MAX);
	p[0] = fix_push(f, 0, 0, 1);
	p[0].append = 1;
	assert_int_equal(fix_commit(f, ino, p, 1, NULL), -EFBIG);
}

/* What was written under a lease that has ended is for one version only. */
static void commits_for_a_version(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f"), version;
	struct m_commit m = { .ino = ino, .n_pushes = 1 };
	struct m_push p[3];
	struct m_commit_r r;

	for (int i = 0; i < 3; i++)
		p[i] = fix_push(f, 0, 0, 10);
	assert_int_equal(fix_commit(f, ino, &p[0], 1, &r), 0);
	version = r.attr.version;
	m.pushes = &p[1];
	m.only = version + 1;
	assert_int_equal(ns_commit(f->ns, &f->a, &m, fix_now(f), &r,
				   fix_t(f)), -ESTALE);
	assert_true(fix_attr(f, ino).version == version);
	m.only = version;
	assert_int_equal(ns_commit(f->ns, &f->a, &m, fix_now(f), &r,
				   fix_t(f)), 0);
	m.pushes = &p[2];
	assert_int_equal(ns_commit(f->ns, &f->a, &m, fix_now(f), &r,
				   fix_t(f)), -ESTALE);
}

/* ---------------------------------------------------------------- getmap */

static void getmap_gives_a_range(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f"), dir = fix_dir(f, 1, "d");
	struct m_getmap_r g;
	struct m_push p[4];
	int i;

	for (i = 0; i < 4; i++)
		p[i] = fix_push(f, 5 * i, 0, 64);
	assert_int_equal(fix_commit(f, ino, p, 4, NULL), 0);
	assert_int_equal(ns_getmap(f->ns, &f->a, ino, 5, 6, &g), 0);
	assert_int_equal(g.n_slots, 2);
	assert_int_equal(g.slots[0].index, 5);
	assert_int_equal(g.slots[1].index, 10);
	assert_int_equal(g.n_chunks, 2);
	assert_int_equal(ns_getmap(f->ns, &f->a, ino, 6, 4, &g), 0);
	assert_int_equal(g.n_slots, 0);
	assert_int_equal(ns_getmap(f->ns, &f->a, ino, 5, 0, &g), 0);
	assert_int_equal(g.n_slots, 0);
	assert_int_equal(ns_getmap(f->ns, &f->a, ino, UINT64_MAX, 9, &g), 0);
	assert_int_equal(g.n_slots, 0);
	assert_int_equal(ns_getmap(f->ns, &f->a, ino, 0, MSG_SLOTS_MAX + 1,
				   &g), -EINVAL);
	assert_int_equal(ns_getmap(f->ns, &f->a, dir, 0, 1, &g), -EISDIR);
	assert_int_equal(ns_getmap(f->ns, &f->a, 99, 0, 1, &g), -ENOENT);
}

/* -------------------------------------------------------------- truncate */

static void truncate_cuts(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f");
	struct m_push p[] = { fix_push(f, 0, 0, 64), fix_push(f, 1, 0, 64),
			      fix_push(f, 1, 30, 20), fix_push(f, 2, 0, 64),
			      fix_push(f, 1, 5, 10) };
	struct m_attr was;
	struct m_getmap_r g;

	assert_int_equal(fix_commit(f, ino, p, 5, NULL), 0);
	was = fix_attr(f, ino);
	assert_int_equal(fix_truncate(f, ino, 64 + 20), 0);
	assert_true(fix_was_touched(f, ino));
	g = fix_map(f, ino);
	assert_int_equal(g.attr.size, 84);
	assert_int_equal(g.attr.stored, 64 + 30);
	assert_true(g.attr.version > was.version);
	assert_true(g.attr.mtime_ns > was.mtime_ns);
	assert_int_equal(g.n_slots, 2);
	assert_int_equal(g.slots[1].n_slices, 2);
	fix_check_slice(&g.slots[1].slices[0], 0, 20, p[1].chunk, 0);
	fix_check_slice(&g.slots[1].slices[1], 5, 10, p[4].chunk, 0);
	assert_int_equal(fix_garbage(f), 2);
	/* what grows back are zeros */
	assert_int_equal(fix_truncate(f, ino, 1000), 0);
	g = fix_map(f, ino);
	assert_int_equal(g.attr.size, 1000);
	assert_int_equal(g.n_slots, 2);
	assert_int_equal(g.slots[1].slices[0].len, 20);
	assert_int_equal(fix_truncate(f, ino, 64), 0);
	assert_int_equal(fix_map(f, ino).n_slots, 1);
	assert_int_equal(fix_truncate(f, ino, 0), 0);
	g = fix_map(f, ino);
	assert_int_equal(g.n_slots, 0);
	assert_int_equal(g.attr.stored, 0);
	assert_int_equal(fix_garbage(f), 5);
	assert_int_equal(fix_truncate(f, ino, INT64_MAX), 0);
	assert_int_equal(fix_truncate(f, ino, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIX_TEST(commit_pushes_slices),
		FIX_TEST(covered_slices_go),
		FIX_TEST(appends_go_to_the_end),
		FIX_TEST(deep_slots_are_told),
		FIX_TEST(long_slots_bear_more),
		FIX_TEST(stacks_have_a_maximum),
		FIX_TEST(senseless_commits_change_nothing),
		FIX_TEST(commits_for_a_version),
		FIX_TEST(getmap_gives_a_range),
		FIX_TEST(truncate_cuts),
	};

	alarm(120);
	return FIX_RUN(tests);
}
