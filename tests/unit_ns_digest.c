/* unit_ns_digest -- MD5s of whole files, and files of other chunk sizes. */
#include "ns_fixture.h"

static struct m_digest_r digest(struct fix *f, uint64_t ino)
{
	struct m_digest_r r;

	assert_int_equal(ns_digest(f->ns, ino, &r), 0);
	return r;
}

static int told(struct fix *f, uint64_t ino, uint64_t version, char c)
{
	struct m_digested m = { .ino = ino, .version = version };
	uint8_t kept = 77;
	int err;

	memset(m.md5, c, sizeof(m.md5));
	err = ns_digested(f->ns, &m, &kept);
	return err ? err : kept;
}

static void known_while_the_content_is_the_same(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f"), was = fix_attr(f, ino).version;
	struct m_push p = fix_push(f, 0, 0, 64), q = fix_push(f, 0, 5, 6);
	struct m_digest_r r = digest(f, ino);

	assert_false(r.known);
	assert_int_equal(r.version, was);
	assert_int_equal(fix_commit(f, ino, &p, 1, NULL), 0);
	assert_int_equal(told(f, ino, was, 'x'), 0);	/* too late */
	assert_false(digest(f, ino).known);
	was = fix_attr(f, ino).version;
	assert_int_equal(told(f, ino, was + 1, 'x'), 0);
	assert_int_equal(told(f, ino, was, 'a'), 1);
	assert_int_equal(told(f, ino, was, 'b'), 1);	/* the last word */
	r = digest(f, ino);
	assert_true(r.known);
	assert_int_equal(r.version, was);
	assert_int_equal(r.md5[0], 'b');
	assert_int_equal(r.md5[15], 'b');

	/* another name, another mode: the same content */
	assert_int_equal(fix_rename(f, 1, "f", 1, "g", 0, NULL), 0);
	assert_true(digest(f, ino).known);
	assert_int_equal(fix_commit(f, ino, &q, 1, NULL), 0);
	assert_false(digest(f, ino).known);
	assert_int_equal(told(f, ino, fix_attr(f, ino).version, 'c'), 1);
	assert_int_equal(fix_truncate(f, ino, 500), 0);
	assert_false(digest(f, ino).known);
}

static void compaction_keeps_it(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f");
	struct m_push p[] = { fix_push(f, 0, 0, 40), fix_push(f, 0, 10, 20) };
	struct m_compact m = { .ino = ino, .push = fix_push(f, 0, 0, 40) };
	struct m_compact_r r;

	assert_int_equal(fix_commit(f, ino, p, 2, NULL), 0);
	assert_int_equal(told(f, ino, fix_attr(f, ino).version, 'x'), 1);
	m.expect = fix_map(f, ino).slots[0].version;
	assert_int_equal(ns_compact(f->ns, &m, fix_now(f), &r, fix_t(f)), 0);
	assert_int_equal(r.done, 1);
	assert_true(digest(f, ino).known);
}

static void only_files_have_one(void **state)
{
	struct fix *f = *state;
	struct m_digest_r r;
	uint64_t ino;

	assert_int_equal(ns_digest(f->ns, 1, &r), -EISDIR);
	assert_int_equal(ns_digest(f->ns, 99, &r), -ENOENT);
	assert_int_equal(told(f, 1, 1, 'x'), -EISDIR);
	assert_int_equal(told(f, 99, 1, 'x'), -ENOENT);
	ino = (uint64_t)fix_mknod(f, 1, "fifo", S_IFIFO | 0600);
	assert_int_equal(ns_digest(f->ns, ino, &r), -EINVAL);
}

/* fix_down() finds rows that are left over. */
static void gone_with_the_file(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f");

	assert_int_equal(told(f, ino, fix_attr(f, ino).version, 'x'), 1);
	assert_int_equal(fix_unlink(f, 1, "f", 0), 0);
	assert_true(digest(f, ino).known);	/* it is open, perhaps */
	assert_int_equal(ns_reap(f->ns, ino, fix_now(f)), 0);
	assert_int_equal(fix_number(f, "SELECT count(*) FROM digests"), 0);
}

static void files_may_have_chunks_of_their_own_size(void **state)
{
	static const uint32_t bad[] = { 1, 512, 1023, 1025, 3000,
					2 * NS_SLOT_MAX, UINT32_MAX };
	struct fix *f = *state;
	struct m_mknod m = { .parent = 1, .name = STR_LIT("f"),
			     .mode = S_IFREG | 0644, .excl = 1 };
	struct m_mknod_r r;
	struct m_push p;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		m.slot_size = bad[i];
		assert_int_equal(ns_mknod(f->ns, &m, fix_now(f), &r,
					  fix_t(f)), -EINVAL);
	}
	m.slot_size = 4096;
	assert_int_equal(ns_mknod(f->ns, &m, fix_now(f), &r, fix_t(f)), 0);
	assert_int_equal(r.attr.slot_size, 4096);
	p = fix_push(f, 1, 0, 4096);
	assert_int_equal(fix_commit(f, r.attr.ino, &p, 1, NULL), 0);
	assert_int_equal(fix_attr(f, r.attr.ino).size, 8192);
	m.name = STR_LIT("g");
	m.slot_size = NS_SLOT_MAX;
	assert_int_equal(ns_mknod(f->ns, &m, fix_now(f), &r, fix_t(f)), 0);
	assert_int_equal(r.attr.slot_size, NS_SLOT_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIX_TEST(known_while_the_content_is_the_same),
		FIX_TEST(compaction_keeps_it),
		FIX_TEST(only_files_have_one),
		FIX_TEST(gone_with_the_file),
		FIX_TEST(files_may_have_chunks_of_their_own_size),
	};

	return FIX_RUN(tests);
}
