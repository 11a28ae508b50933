/* unit_ns_attr -- setattr, xattrs, small values; what an error leaves. */
#include <sys/xattr.h>

#include "ns_fixture.h"

static int set(struct fix *f, struct m_setattr m, struct m_attr *out)
{
	return ns_setattr(f->ns, &m, fix_now(f), out, fix_t(f));
}

static int set_mode(struct fix *f, uint64_t ino, uint32_t mode)
{
	struct m_attr a;

	return set(f, (struct m_setattr){ .ino = ino, .set = SET_MODE,
					  .mode = mode }, &a);
}

static void attributes_are_set(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f");
	struct m_attr a, was = fix_attr(f, ino);

	assert_int_equal(set(f, (struct m_setattr){
		.ino = ino, .mode = S_IFDIR | 0123, .uid = 5, .gid = 6,
		.set = SET_MODE | SET_UID | SET_GID | SET_ATIME | SET_MTIME,
		.atime_s = -9, .atime_ns = 1, .mtime_s = INT64_MAX,
		.mtime_ns = 999999999 }, &a), 0);
	assert_int_equal(a.mode, S_IFREG | 0123);
	assert_true(a.uid == 5 && a.gid == 6);
	assert_true(a.atime_s == -9 && a.atime_ns == 1);
	assert_true(a.mtime_s == INT64_MAX && a.mtime_ns == 999999999);
	assert_true(a.ctime_ns > was.ctime_ns);
	assert_true(fix_was_touched(f, ino));
	was = fix_attr(f, ino);
	fix_same_attr(&a, &was);
	/* the end of time does not wrap around */
	assert_int_equal(fix_truncate(f, ino, 5), 0);
	assert_true(fix_attr(f, ino).mtime_s == INT64_MAX);

	assert_int_equal(set(f, (struct m_setattr){ .ino = ino,
		.set = SET_ATIME_NOW | SET_MTIME_NOW }, &a), 0);
	assert_true(a.atime_s == 1000000 && a.mtime_s == 1000000);
	assert_true(a.atime_ns == f->tick && a.ctime_ns == f->tick);
	/* nothing asked, nothing done */
	assert_int_equal(set(f, (struct m_setattr){ .ino = ino }, &was), 0);
	fix_same_attr(&a, &was);
	assert_int_equal(f->t.n, 0);
}

static void what_the_kernel_judges_by_is_told(void **state)
{
	static const struct {
		struct m_setattr m;
		int told;
	} steps[] = {
		{ { .set = SET_UID, .uid = 5 }, 1 },
		{ { .set = SET_UID, .uid = 5 }, 0 },	/* as it was */
		{ { .set = SET_GID, .gid = 6 }, 1 },
		{ { .set = SET_MODE, .mode = 0644 }, 0 },
		{ { .set = SET_MODE, .mode = 0600 }, 0 },
		{ { .set = SET_MODE, .mode = 06711 }, 1 },
		{ { .set = SET_SIZE | SET_KILL_SUID, .size = 5 }, 1 },
		{ { .set = SET_MTIME_NOW }, 0 },
	};
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f");
	struct m_setattr m;
	struct m_attr a;

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		m = steps[i].m;
		m.ino = ino;
		assert_int_equal(set(f, m, &a), 0);
		assert_true(fix_was_touched(f, ino));
		assert_int_equal(fix_also(f, ino),
				 steps[i].told ? REVOKE_NAMES | REVOKE_OWNER
					       : 0);
	}
}

static void senseless_attributes_are_refused(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f"), dir = fix_dir(f, 1, "d");
	uint64_t link = (uint64_t)fix_mknod(f, 1, "l", S_IFLNK);
	struct m_attr was = fix_attr(f, ino), a;
	const struct {
		struct m_setattr m;
		int err;
	} bad[] = {
		{ { .ino = ino, .set = 1u << 20 }, -EINVAL },
		{ { .ino = ino, .set = SET_MODE | SET_ATIME,
		    .atime_ns = 1000000000 }, -EINVAL },
		{ { .ino = ino, .set = SET_MTIME, .mtime_ns = UINT32_MAX },
		  -EINVAL },
		{ { .ino = ino, .set = SET_UID, .uid = UINT32_MAX }, -EINVAL },
		{ { .ino = ino, .set = SET_GID, .gid = UINT32_MAX }, -EINVAL },
		{ { .ino = dir, .set = SET_SIZE }, -EISDIR },
		{ { .ino = link, .set = SET_SIZE }, -EINVAL },
		{ { .ino = link, .set = SET_MODE }, -EOPNOTSUPP },
		{ { .ino = ino, .set = SET_SIZE | SET_UID,
		    .size = 1ull << 63 }, -EFBIG },
		{ { .ino = 999, .set = SET_MODE }, -ENOENT },
		{ { .ino = UINT64_MAX, .set = SET_MODE }, -ENOENT },
	};
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(set(f, bad[i].m, &a), bad[i].err);
		assert_int_equal(f->t.n, 0);
	}
	a = fix_attr(f, ino);
	fix_same_attr(&a, &was);
}

static void chown_takes_suid_away(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f"), dir = fix_dir(f, 1, "d");
	struct m_attr a;

	assert_int_equal(set_mode(f, ino, 06755), 0);
	assert_int_equal(set(f, (struct m_setattr){ .ino = ino,
		.set = SET_UID, .uid = 3 }, &a), 0);
	assert_int_equal(a.mode, S_IFREG | 0755);
	/* no group execution: the bit means mandatory locking, and stays */
	assert_int_equal(set_mode(f, ino, 06745), 0);
	assert_int_equal(set(f, (struct m_setattr){ .ino = ino,
		.set = SET_GID, .gid = 3 }, &a), 0);
	assert_int_equal(a.mode, S_IFREG | 02745);
	/* an explicit mode has the last word */
	assert_int_equal(set(f, (struct m_setattr){ .ino = ino,
		.set = SET_GID | SET_MODE, .mode = 04711, .gid = 4 }, &a), 0);
	assert_int_equal(a.mode, S_IFREG | 04711);
	assert_int_equal(set_mode(f, dir, 03775), 0);
	assert_int_equal(set(f, (struct m_setattr){ .ino = dir,
		.set = SET_UID, .uid = 3 }, &a), 0);
	assert_int_equal(a.mode, S_IFDIR | 03775);
}

static int set_caps(struct fix *f, uint64_t ino)
{
	struct m_setxattr m = { .ino = ino, .value = STR_LIT("caps"),
				.name = STR_LIT("security.capability") };
	struct m_attr a;

	return ns_setxattr(f->ns, &m, fix_now(f), &a, fix_t(f));
}

static void writes_take_privileges_away(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f");
	struct m_push p = fix_push(f, 0, 0, 10);
	struct m_commit m = { .ino = ino, .pushes = &p, .n_pushes = 1 };
	struct m_commit_r r;
	struct m_attr a;

	assert_int_equal(set_mode(f, ino, 06755), 0);
	assert_int_equal(set_caps(f, ino), 0);
	/* by root: suid stays, capabilities go all the same */
	assert_int_equal(ns_commit(f->ns, &f->a, &m, fix_now(f), &r,
				   fix_t(f)), 0);
	assert_int_equal(r.attr.mode, S_IFREG | 06755);
	assert_int_equal(r.attr.has_xattrs, 0);
	assert_int_equal(fix_also(f, ino), 0);
	m.clear_suid = 1;
	m.n_pushes = 0;
	assert_int_equal(ns_commit(f->ns, &f->a, &m, fix_now(f), &r,
				   fix_t(f)), 0);
	assert_int_equal(r.attr.mode, S_IFREG | 0755);
	assert_int_equal(fix_also(f, ino), REVOKE_NAMES | REVOKE_OWNER);
	assert_int_equal(set_mode(f, ino, 06755), 0);
	assert_int_equal(set_caps(f, ino), 0);
	assert_int_equal(set(f, (struct m_setattr){ .ino = ino, .size = 3,
		.set = SET_SIZE | SET_KILL_SUID }, &a), 0);
	assert_int_equal(a.mode, S_IFREG | 0755);
	assert_int_equal(a.has_xattrs, 0);
}

/* ---------------------------------------------------------------- xattrs */

static int setx(struct fix *f, uint64_t ino, struct str name,
		struct str value, uint32_t flags)
{
	struct m_setxattr m = { .ino = ino, .name = name, .value = value,
				.flags = flags };
	struct m_attr a;

	return ns_setxattr(f->ns, &m, fix_now(f), &a, fix_t(f));
}

static int removex(struct fix *f, uint64_t ino, struct str name)
{
	struct m_removexattr m = { .ino = ino, .name = name };
	struct m_attr a;

	return ns_removexattr(f->ns, &m, fix_now(f), &a, fix_t(f));
}

static void xattrs_are_kept(void **state)
{
	struct fix *f = *state;
	const struct str a = STR_LIT("user.a"), b = STR_LIT("user.b");
	uint64_t ino = fix_file(f, 1, "f");
	uint32_t ctime = fix_attr(f, ino).ctime_ns;
	struct m_listxattr_r list;
	struct str got;

	assert_int_equal(ns_getxattr(f->ns, &f->a, ino, a, &got), -ENODATA);
	assert_int_equal(setx(f, ino, a, STR_LIT("1"), XATTR_REPLACE),
			 -ENODATA);
	assert_int_equal(setx(f, ino, a, STR_LIT("1\0two"), XATTR_CREATE), 0);
	assert_true(fix_was_touched(f, ino));
	assert_true(fix_attr(f, ino).ctime_ns > ctime);
	assert_int_equal(fix_attr(f, ino).has_xattrs, 1);
	assert_int_equal(setx(f, ino, a, STR_LIT("x"), XATTR_CREATE),
			 -EEXIST);
	assert_int_equal(ns_getxattr(f->ns, &f->a, ino, a, &got), 0);
	assert_true(str_eq(got, STR_LIT("1\0two")));
	assert_int_equal(setx(f, ino, b, STR_LIT(""), 0), 0);
	assert_int_equal(ns_getxattr(f->ns, &f->a, ino, b, &got), 0);
	assert_int_equal(got.len, 0);
	assert_int_equal(setx(f, ino, a, STR_LIT("new"), XATTR_REPLACE), 0);
	assert_int_equal(ns_getxattr(f->ns, &f->a, ino, a, &got), 0);
	assert_true(str_eq(got, STR_LIT("new")));
	assert_int_equal(ns_listxattr(f->ns, &f->a, ino, &list), 0);
	assert_int_equal(list.n_names, 2);
	assert_true(str_eq(list.names[0].name, a));
	assert_true(str_eq(list.names[1].name, b));
	assert_int_equal(removex(f, ino, a), 0);
	assert_int_equal(removex(f, ino, a), -ENODATA);
	assert_int_equal(removex(f, ino, b), 0);
	assert_int_equal(fix_attr(f, ino).has_xattrs, 0);
	assert_int_equal(setx(f, ino, b, STR_LIT("goes with it"), 0), 0);
	assert_int_equal(fix_unlink(f, 1, "f", 0), 0);
	assert_int_equal(ns_reap(f->ns, ino, fix_now(f)), 0);
}

static void xattrs_have_limits(void **state)
{
	struct fix *f = *state;
	static char big[MSG_XATTR_MAX + 1];
	uint64_t ino = fix_file(f, 1, "f");
	struct str a = STR_LIT("user.a"), got, name = { big, 256 };
	struct m_listxattr_r list;
	char text[24];
	int i;

	memset(big, 'v', sizeof(big));
	assert_int_equal(setx(f, ino, a, STR_LIT("v"), 3), -EINVAL);
	assert_int_equal(setx(f, ino, a, STR_LIT("v"), 8), -EINVAL);
	assert_int_equal(setx(f, ino, STR_LIT(""), a, 0), -ERANGE);
	assert_int_equal(setx(f, ino, name, a, 0), -ERANGE);
	assert_int_equal(setx(f, ino, STR_LIT("a\0b"), a, 0), -EINVAL);
	assert_int_equal(setx(f, 999, a, a, 0), -ENOENT);
	assert_int_equal(setx(f, ino, a, (struct str){ big, sizeof(big) }, 0),
			 -E2BIG);
	assert_int_equal(setx(f, ino, a, (struct str){ big, MSG_XATTR_MAX },
			      0), -ENOSPC);
	assert_int_equal(setx(f, ino, a, STR_LIT("old"), 0), 0);
	/* what does not fit leaves the old value */
	assert_int_equal(setx(f, ino, a, (struct str){ big, MSG_XATTR_MAX },
			      0), -ENOSPC);
	assert_int_equal(ns_getxattr(f->ns, &f->a, ino, a, &got), 0);
	assert_true(str_eq(got, STR_LIT("old")));
	assert_int_equal(setx(f, ino, a,
		(struct str){ big, NS_XATTR_TOTAL - a.len }, 0), 0);
	assert_int_equal(setx(f, ino, STR_LIT("b"), STR_LIT(""), 0), -ENOSPC);
	assert_int_equal(setx(f, ino, a, STR_LIT(""), 0), 0);
	for (i = 1; i <= MSG_XATTRS_MAX; i++) {
		snprintf(text, sizeof(text), "user.%d", i);
		assert_int_equal(setx(f, ino, fix_str(text), STR_LIT("v"), 0),
				 i < MSG_XATTRS_MAX ? 0 : -ENOSPC);
	}
	assert_int_equal(ns_listxattr(f->ns, &f->a, ino, &list), 0);
	assert_int_equal(list.n_names, MSG_XATTRS_MAX);
}

/* ------------------------------------------------- numbers and disasters */

static void small_values(void **state)
{
	struct fix *f = *state;
	uint64_t v, first;
	int i;

	assert_int_equal(ns_meta_get(f->ns, "swarm", &v), -ENOENT);
	assert_int_equal(ns_meta_set(f->ns, "swarm", UINT64_MAX), 0);
	assert_int_equal(ns_meta_set(f->ns, "swarm", UINT64_MAX - 1), 0);
	for (i = 0; i < 2; i++) {
		assert_int_equal(ns_meta_get(f->ns, "swarm", &v), 0);
		assert_true(v == UINT64_MAX - 1);
		assert_int_equal(ns_reserve_ids(f->ns, 10, &first), 0);
		assert_int_equal(first, FIX_IDS + 1 + 10 * i);
		if (!fix_on_disk)
			continue;
		fix_close(f);
		fix_open(f);
	}
	assert_int_equal(ns_reserve_ids(f->ns, 0, &first), -EINVAL);
	assert_int_equal(ns_reserve_ids(f->ns, UINT64_MAX, &first), -ENOSPC);
	assert_int_equal(ns_reserve_ids(f->ns, INT64_MAX, &first), -ENOSPC);
	assert_int_equal(ns_reserve_ids(f->ns, 1, &first), 0);
	assert_int_equal(first, FIX_IDS + 21);
}

/* End the batch of one operation that gave @err: if that was an error the
 * batch may be lost, and then says why. */
static void end_batch(struct fix *f, int err)
{
	int end = db_commit(f->db, 0);

	assert_true(!err || err == -ENOSPC);
	assert_true(!end || (err && end == err));
	assert_int_equal(db_begin(f->db), 0);
}

/* The disk fills up in the middle of an operation, at every place where it
 * can: the operation leaves nothing behind. */
static void a_full_disk_changes_nothing(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f");
	struct ns_count before, after;
	int64_t made;
	char name[256];
	int i, err, full = 0;

	memset(name, 'n', 250);
	end_batch(f, 0);
	assert_int_equal(db_run(db_prep(f->db,
					"PRAGMA max_page_count=60")), 0);
	for (i = 0; i < 4000 && full < 10; i++) {
		struct m_push p = fix_push(f, i, 0, 64);

		ns_count(f->ns, &before);
		snprintf(name + 240, 16, "%d", i);
		made = fix_mknod(f, 1, name, S_IFDIR | 0755);
		assert_int_equal(f->t.n, made > 0);
		end_batch(f, made < 0 ? (int)made : 0);
		err = fix_commit(f, ino, &p, 1, NULL);
		end_batch(f, err);
		ns_count(f->ns, &after);
		assert_int_equal(after.files, before.files + (made > 0));
		assert_int_equal(after.chunks, before.chunks + !err);
		assert_int_equal(after.bytes, before.bytes + (err ? 0 : 64));
		if (made < 0) {
			full++;
			assert_int_equal(fix_lookup(f, 1, name), -ENOENT);
		}
	}
	assert_int_equal(full, 10);
	assert_int_equal(db_run(db_prep(f->db,
					"PRAGMA max_page_count=100000")), 0);
	fix_check(f);
	fix_file(f, 1, "room again");
}

static void rolled_back_batches_are_forgotten(void **state)
{
	struct fix *f = *state;
	struct m_push p = fix_push(f, 0, 0, 64);
	struct ns_count before, after;

	assert_int_equal(db_commit(f->db, 0), 0);
	ns_count(f->ns, &before);
	assert_int_equal(db_begin(f->db), 0);
	assert_int_equal(fix_commit(f, fix_file(f, 1, "f"), &p, 1, NULL), 0);
	ns_count(f->ns, &after);
	assert_int_equal(after.files, before.files + 1);
	assert_int_equal(after.bytes, 64);
	db_rollback(f->db);
	ns_count(f->ns, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(fix_lookup(f, 1, "f"), -ENOENT);
	assert_int_equal(db_begin(f->db), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIX_TEST(attributes_are_set),
		FIX_TEST(what_the_kernel_judges_by_is_told),
		FIX_TEST(senseless_attributes_are_refused),
		FIX_TEST(chown_takes_suid_away),
		FIX_TEST(writes_take_privileges_away),
		FIX_TEST(xattrs_are_kept),
		FIX_TEST(xattrs_have_limits),
		FIX_TEST(small_values),
		FIX_TEST(a_full_disk_changes_nothing),
		FIX_TEST(rolled_back_batches_are_forgotten),
	};

	alarm(120);
	return FIX_RUN(tests);
}
