/* unit_ns_acl -- POSIX ACLs: kept, in step with the mode, inherited; rubbish. */
#include "ns_fixture.h"

#define ACCESS STR_LIT("system.posix_acl_access")
#define DEFAULT STR_LIT("system.posix_acl_default")
#define HEAD "\2\0\0\0"
#define ENTRY(tag, perm, id) tag "\0" perm "\0" id
#define NOBODY "\xff\xff\xff\xff"
/* u::rw-, user 5 rwx, g::r--, m::rw-, o::--- */
#define FULL HEAD ENTRY("\1", "\6", NOBODY) ENTRY("\2", "\7", "\5\0\0\0")   \
	ENTRY("\4", "\4", NOBODY) ENTRY("\20", "\6", NOBODY)                \
	ENTRY("\40", "\0", NOBODY)
/* u::rw-, g::r-x, o::--x */
#define PLAIN HEAD ENTRY("\1", "\6", NOBODY) ENTRY("\4", "\5", NOBODY)       \
	ENTRY("\40", "\1", NOBODY)

static int set(struct fix *f, uint64_t ino, struct str name, struct str value)
{
	struct m_setxattr m = { .ino = ino, .name = name, .value = value };
	struct m_attr a;

	return ns_setxattr(f->ns, &m, fix_now(f), &a, fix_t(f));
}

static int get(struct fix *f, uint64_t ino, struct str name, struct str *out)
{
	return ns_getxattr(f->ns, &f->a, ino, name, out);
}

static uint64_t make(struct fix *f, uint64_t dir, const char *name,
		     uint32_t mode)
{
	struct m_mknod m = { .parent = dir, .name = str_of(name),
			     .mode = mode, .umask = 027,
			     .target = str_of("x") };
	struct m_mknod_r r;

	assert_int_equal(ns_mknod(f->ns, &m, fix_now(f), &r, fix_t(f)), 0);
	return r.attr.ino;
}

static void mode_and_acl_keep_step(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f");
	struct m_setattr chmod = { .ino = ino, .set = SET_MODE, .mode = 0751 };
	struct m_attr a;
	struct str v;

	assert_int_equal(set(f, ino, ACCESS, STR_LIT(FULL)), 0);
	assert_true(fix_was_touched(f, ino));
	assert_int_equal(fix_attr(f, ino).mode & 07777, 0660);
	assert_int_equal(ns_setattr(f->ns, &chmod, fix_now(f), &a, fix_t(f)),
			 0);
	assert_int_equal(get(f, ino, ACCESS, &v), 0);
	assert_int_equal(v.len, sizeof(FULL) - 1);
	assert_int_equal(v.p[6], 7);	/* the user's */
	assert_int_equal(v.p[22], 4);	/* the group's is as it was ... */
	assert_int_equal(v.p[30], 5);	/* ... the mask is what was set */
	assert_int_equal(v.p[38], 1);
	/* what a mode can say is not kept as an ACL */
	assert_int_equal(set(f, ino, ACCESS, STR_LIT(PLAIN)), 0);
	assert_int_equal(get(f, ino, ACCESS, &v), -ENODATA);
	assert_int_equal(fix_attr(f, ino).mode & 07777, 0651);
}

static void children_inherit(void **state)
{
	struct fix *f = *state;
	uint64_t dir = fix_dir(f, 1, "d"), file, sub;
	struct str v;

	file = make(f, dir, "before", S_IFREG | 0777);
	assert_int_equal(fix_attr(f, file).mode & 0777, 0750);
	assert_int_equal(set(f, dir, DEFAULT, STR_LIT(FULL)), 0);
	file = make(f, dir, "f", S_IFREG | 0777);
	assert_int_equal(fix_attr(f, file).mode & 0777, 0660);
	assert_int_equal(get(f, file, ACCESS, &v), 0);
	assert_int_equal(get(f, file, DEFAULT, &v), -ENODATA);
	sub = make(f, dir, "s", S_IFDIR | 0700);
	assert_int_equal(fix_attr(f, sub).mode & 0777, 0600);
	assert_int_equal(get(f, sub, DEFAULT, &v), 0);
	assert_memory_equal(v.p, FULL, sizeof(FULL) - 1);
	assert_int_equal(get(f, make(f, dir, "l", S_IFLNK | 0777), ACCESS, &v),
			 -ENODATA);
	/* one that is but a mode: no ACL for what is made, but its bits */
	assert_int_equal(set(f, dir, DEFAULT, STR_LIT(PLAIN)), 0);
	file = make(f, dir, "g", S_IFREG | 0777);
	assert_int_equal(fix_attr(f, file).mode & 0777, 0651);
	assert_int_equal(fix_attr(f, file).has_xattrs, 0);
}

static void rubbish_is_refused(void **state)
{
	struct fix *f = *state;
	uint64_t ino = fix_file(f, 1, "f"), dir = fix_dir(f, 1, "d");
	uint64_t link = (uint64_t)fix_mknod(f, 1, "l", S_IFLNK);
	char big[8192] = HEAD;
	struct m_attr was = fix_attr(f, ino), now;

	for (size_t n = 0; n < sizeof(FULL) - 1; n++)
		assert_int_equal(set(f, ino, ACCESS, (struct str){
			FULL, (uint32_t)n }), -EINVAL);
	for (size_t at = 0; at < sizeof(FULL) - 1; at++) {
		char v[sizeof(FULL)] = FULL;

		v[at] ^= 0x58;
		if (at < 4 || (at - 4) % 8 < 4)
			assert_int_equal(set(f, ino, ACCESS, (struct str){
				v, sizeof(FULL) - 1 }), -EINVAL);
	}
	assert_int_equal(set(f, ino, ACCESS, (struct str){ big, 4100 }),
			 -E2BIG);
	assert_int_equal(set(f, ino, DEFAULT, STR_LIT(FULL)), -EACCES);
	assert_int_equal(set(f, link, ACCESS, STR_LIT(FULL)), -EOPNOTSUPP);
	assert_int_equal(set(f, dir, DEFAULT, STR_LIT(FULL)), 0);
	now = fix_attr(f, ino);
	fix_same_attr(&was, &now);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, fix_up, fix_down)
	const struct CMUnitTest tests[] = {
		TEST(mode_and_acl_keep_step), TEST(children_inherit),
		TEST(rubbish_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
