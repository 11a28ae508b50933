/* unit_ns_copies -- how many copies chunks are to have; files' chunk sizes. */
#include "ns_fixture.h"

static uint8_t copies_of(struct fix *f, uint64_t chunk)
{
	uint8_t n = 77;

	assert_int_equal(ns_copies(f->ns, chunk, &n), 0);
	return n;
}

static void a_push_says_how_many(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f");
	struct m_push p[] = { fix_push(f, 0, 0, 64), fix_push(f, 1, 0, 64) };
	struct ns_chunk_row *v;
	uint8_t copies;
	uint32_t n;

	p[1].copies = 3;
	assert_int_equal(fix_commit(f, ino, p, 2, NULL), 0);
	assert_int_equal(copies_of(f, p[0].chunk), 0);
	assert_int_equal(copies_of(f, p[1].chunk), 3);
	assert_int_equal(ns_copies(f->ns, 9999, &copies), -ENOENT);
	assert_int_equal(ns_chunks(f->ns, &f->a, 0, 9, &v, &n), 0);
	assert_true(n == 2 && v[0].copies == 0 && v[1].copies == 3);
}

static void of_a_whole_file(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f"), other = fix_file(f, 1, "g"), at = 0;
	struct m_push p[] = { fix_push(f, 0, 0, 64), fix_push(f, 0, 10, 20),
			      fix_push(f, 7, 0, 64) };
	struct m_push q = fix_push(f, 0, 0, 64);

	assert_int_equal(fix_commit(f, ino, p, 3, NULL), 0);
	assert_int_equal(fix_commit(f, other, &q, 1, NULL), 0);
	assert_int_equal(ns_set_copies(f->ns, ino, &at, 255), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(copies_of(f, p[i].chunk), 255);
	assert_int_equal(copies_of(f, q.chunk), 0);
	/* from a slot on */
	at = 1;
	assert_int_equal(ns_set_copies(f->ns, ino, &at, 1), 0);
	assert_int_equal(copies_of(f, p[0].chunk), 255);
	assert_int_equal(copies_of(f, p[2].chunk), 1);
	at = 0;
	assert_int_equal(ns_set_copies(f->ns, 1, &at, 1), -EISDIR);
	assert_int_equal(ns_set_copies(f->ns, 999, &at, 1), -ENOENT);
	assert_int_equal(at, 0);
}

static void a_step_at_a_time(void **state)
{
	enum { SLOTS = 2 * NS_COPIES_STEP + 100 };
	static struct m_push p[SLOTS];
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f"), at = 0;
	int steps = 1, got;

	for (int i = 0; i < SLOTS; i++)
		p[i] = fix_push(f, 3 * (uint64_t)i, 0, 64);
	assert_int_equal(fix_commit(f, ino, p, SLOTS, NULL), 0);
	assert_int_equal(ns_set_copies(f->ns, ino, &at, 5), 1);
	assert_int_equal(at, 3 * (NS_COPIES_STEP - 1) + 1);
	assert_int_equal(copies_of(f, p[NS_COPIES_STEP - 1].chunk), 5);
	assert_int_equal(copies_of(f, p[NS_COPIES_STEP].chunk), 0);
	while ((got = ns_set_copies(f->ns, ino, &at, 5)) == 1)
		steps++;
	assert_int_equal(got, 0);
	assert_int_equal(steps, 2);
	for (int i = 0; i < SLOTS; i++)
		assert_int_equal(copies_of(f, p[i].chunk), 5);
}

/* The merged chunk of a slot whose chunks wanted @a and @b. */
static uint8_t merged(struct fix *f, const char *name, uint8_t a, uint8_t b,
		      uint8_t own)
{
	struct m_push p[] = { fix_push(f, 0, 0, 40), fix_push(f, 0, 10, 20) };
	uint64_t ino = fix_file(f, 1, name);
	struct m_compact m = { .ino = ino, .push = fix_push(f, 0, 0, 40) };
	struct m_compact_r r;

	p[0].copies = a;
	p[1].copies = b;
	m.push.copies = own;
	assert_int_equal(fix_commit(f, ino, p, 2, NULL), 0);
	m.expect = fix_map(f, ino).slots[0].version;
	assert_int_equal(ns_compact(f->ns, &m, fix_now(f), &r, fix_t(f)), 0);
	assert_int_equal(r.done, 1);
	return copies_of(f, m.push.chunk);
}

static void compaction_keeps_the_highest(void **state)
{
	struct ns_config cfg = { .slot_size = FIX_SLOT, .copies = 2 };
	struct fix *f = *state;

	assert_int_equal(db_commit(f->db, 0), 0);
	ns_close(f->ns);
	assert_int_equal(ns_open(&f->ns, f->db, &cfg, fix_now(f)), 0);
	assert_int_equal(db_begin(f->db), 0);
	assert_int_equal(merged(f, "1 1", 1, 1, 0), 1);
	assert_int_equal(merged(f, "1 3", 1, 3, 0), 3);
	assert_int_equal(merged(f, "255 1", 255, 1, 0), 255);
	/* 0 is two here */
	assert_int_equal(merged(f, "1 0", 1, 0, 0), 0);
	assert_int_equal(merged(f, "2 0", 2, 0, 0), 0);
	assert_int_equal(merged(f, "0 3", 0, 3, 0), 3);
	assert_int_equal(merged(f, "own", 1, 3, 4), 4);
}

static int make(struct fix *f, const char *name, uint32_t slot_size,
		struct m_mknod_r *r)
{
	struct m_mknod m = { .parent = 1, .name = fix_str(name),
			     .mode = S_IFREG | 0644, .excl = 1,
			     .slot_size = slot_size };

	return ns_mknod(f->ns, &m, fix_now(f), r, fix_t(f));
}

static void a_file_has_its_own_chunk_size(void **state)
{
	static const uint32_t bad[] = { 1, 512, 1023, 1025, 3000, 1u << 25,
					UINT32_MAX };
	struct fix *f = *state;
	struct m_push p = { .len = 0 };
	struct m_mknod_r r;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(make(f, "bad", bad[i], &r), -EINVAL);
	assert_int_equal(make(f, "least", 1024, &r), 0);
	assert_int_equal(r.attr.slot_size, 1024);
	p = fix_push(f, 3, 0, 1024);
	assert_int_equal(fix_commit(f, r.attr.ino, &p, 1, NULL), 0);
	assert_int_equal(fix_attr(f, r.attr.ino).size, 4096);
	assert_int_equal(make(f, "most", 16 << 20, &r), 0);
	assert_int_equal(r.attr.slot_size, 16 << 20);
	p = fix_push(f, 1, 5, 10 << 20);
	assert_int_equal(fix_commit(f, r.attr.ino, &p, 1, NULL), 0);
	assert_int_equal(make(f, "usual", 0, &r), 0);
	assert_int_equal(r.attr.slot_size, FIX_SLOT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIX_TEST(a_push_says_how_many),
		FIX_TEST(of_a_whole_file),
		FIX_TEST(a_step_at_a_time),
		FIX_TEST(compaction_keeps_the_highest),
		FIX_TEST(a_file_has_its_own_chunk_size),
	};

	alarm(120);
	return FIX_RUN(tests);
}
