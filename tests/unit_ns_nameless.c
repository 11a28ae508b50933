/* unit_ns_nameless -- O_TMPFILE; how many files there may be; reads. */
#include "ns_fixture.h"

static int tmpfile_in(struct fix *f, uint64_t dir, struct m_mknod_r *r)
{
	struct m_mknod m = { .parent = dir, .mode = S_IFREG | 0600,
			     .excl = 1, .tmpfile = 1 };

	return ns_mknod(f->ns, &m, fix_now(f), r, fix_t(f));
}

static void a_file_without_a_name(void **state)
{
	struct fix *f = *state;
	uint64_t dir = fix_dir(f, 1, "d"), ino, list[4];
	struct m_attr was = fix_attr(f, dir), now;
	struct m_mknod_r r;

	assert_int_equal(tmpfile_in(f, dir, &r), 0);
	ino = r.attr.ino;
	assert_true(r.created && !r.attr.nlink && S_ISREG(r.attr.mode));
	now = fix_attr(f, dir);
	fix_same_attr(&was, &now);
	assert_int_equal(f->t.n, 0);
	assert_int_equal(ns_orphans(f->ns, 0, list, 4), 1);
	/* a name, and it is like any other */
	assert_int_equal(fix_link(f, ino, dir, "name"), 0);
	assert_int_equal(fix_attr(f, ino).nlink, 1);
	assert_int_equal(ns_orphans(f->ns, 0, list, 4), 0);
	assert_int_equal(ns_reap(f->ns, ino, fix_now(f)), 0);
	assert_int_equal(fix_attr(f, ino).nlink, 1);
	/* but what has lost its name gets no other */
	assert_int_equal(fix_unlink(f, dir, "name", 0), 0);
	assert_int_equal(fix_link(f, ino, dir, "again"), -ENOENT);
	assert_int_equal(ns_reap(f->ns, ino, fix_now(f)), 0);
	assert_int_equal(ns_getattr(f->ns, ino, &now), -ENOENT);
}

/* Its session was away for too long: what is left of it gets no name. */
static void a_part_of_a_file_gets_no_name(void **state)
{
	struct fix *f = *state;
	struct m_push p[64];
	struct m_mknod_r r;

	assert_int_equal(tmpfile_in(f, 1, &r), 0);
	for (uint32_t i = 0; i <= NS_REAP_SLOTS; i += 64) {
		for (uint32_t k = 0; k < 64; k++)
			p[k] = fix_push(f, i + k, 0, FIX_SLOT);
		assert_int_equal(fix_commit(f, r.attr.ino, p, 64, NULL), 0);
	}
	assert_int_equal(ns_reap(f->ns, r.attr.ino, fix_now(f)), 1);
	assert_int_equal(fix_link(f, r.attr.ino, 1, "name"), -ENOENT);
	assert_int_equal(ns_reap(f->ns, r.attr.ino, fix_now(f)), 0);
	assert_int_equal(ns_getattr(f->ns, r.attr.ino, &r.attr), -ENOENT);
}

static void nonsense_is_refused(void **state)
{
	struct fix *f = *state;
	struct m_mknod m = { .parent = 1, .mode = S_IFDIR | 0700,
			     .tmpfile = 1 };
	uint64_t file = fix_file(f, 1, "f");
	struct m_mknod_r r;

	assert_int_equal(ns_mknod(f->ns, &m, fix_now(f), &r, fix_t(f)),
			 -EINVAL);
	assert_int_equal(tmpfile_in(f, file, &r), -ENOTDIR);
	assert_int_equal(tmpfile_in(f, 999, &r), -ENOENT);
}

static void no_more_files_than_there_may_be(void **state)
{
	struct fix *f = *state;
	struct ns_config cfg = { .slot_size = FIX_SLOT, .files_max = 4 };
	struct m_mknod_r r;
	struct ns_count c;

	fix_file(f, 1, "a");
	assert_int_equal(db_commit(f->db, 0), 0);
	ns_close(f->ns);
	assert_int_equal(ns_open(&f->ns, f->db, &cfg, fix_now(f)), 0);
	assert_int_equal(db_begin(f->db), 0);
	fix_dir(f, 1, "b");
	assert_int_equal(tmpfile_in(f, 1, &r), 0);
	assert_int_equal(fix_mknod(f, 1, "c", S_IFREG), -ENOSPC);
	assert_int_equal(fix_mknod(f, 1, "c", S_IFDIR), -ENOSPC);
	assert_int_equal(fix_lookup(f, 1, "c"), -ENOENT);
	ns_count(f->ns, &c);
	assert_int_equal(c.files, 4);
	/* a name is no file */
	assert_int_equal(fix_link(f, r.attr.ino, 1, "c"), 0);
	assert_int_equal(fix_rename(f, 1, "a", 1, "d", 0, NULL), 0);
	assert_int_equal(fix_unlink(f, 1, "d", 0), 0);
	assert_int_equal(fix_mknod(f, 1, "e", S_IFREG), -ENOSPC);
	assert_int_equal(ns_reap(f->ns, 2, fix_now(f)), 0);
	assert_true(fix_mknod(f, 1, "e", S_IFREG) > 0);
}

static void reads_are_noted(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f");
	struct m_attr was = fix_attr(f, ino), a;
	struct m_access at = { .ino = ino, .atime_s = was.ctime_s,
			       .atime_ns = was.ctime_ns };

	/* before its last change: that has the last word */
	assert_int_equal(ns_accessed(f->ns, &at), 0);
	a = fix_attr(f, ino);
	fix_same_attr(&was, &a);
	at.atime_ns++;
	assert_int_equal(ns_accessed(f->ns, &at), 0);
	a = fix_attr(f, ino);
	assert_true(a.atime_s == at.atime_s && a.atime_ns == at.atime_ns);
	was.atime_ns = a.atime_ns;
	fix_same_attr(&was, &a);
	at.atime_ns = 1000000000;
	assert_int_equal(ns_accessed(f->ns, &at), -EINVAL);
	at = (struct m_access){ .ino = 999, .atime_s = INT64_MAX };
	assert_int_equal(ns_accessed(f->ns, &at), 0);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, fix_up, fix_down)
	const struct CMUnitTest tests[] = {
		TEST(a_file_without_a_name),
		TEST(a_part_of_a_file_gets_no_name), TEST(nonsense_is_refused),
		TEST(no_more_files_than_there_may_be), TEST(reads_are_noted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
